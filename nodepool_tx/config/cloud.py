"""What the configurations of all clouds have in common.

The engine reads these; each driver extends them with what its cloud needs.
Defaults are Nodepool 11's.
"""

from __future__ import annotations

import math

import attrs

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import PoolConfig, ProviderConfig

__all__ = ["CloudImage", "CloudLabel", "CloudPool", "CloudProvider"]


@attrs.frozen
class CloudImage:
    """An image that servers can be made from.

    :ivar name: what labels call it; for a disk image its name at the top.
    :ivar diskimage: a builder uploads it; else it is in the cloud already.
    """

    name: str
    diskimage: bool = False
    username: str | None = None
    python_path: str | None = "auto"
    shell_type: str | None = None
    connection_type: str = "ssh"
    connection_port: int = 22


@attrs.frozen
class CloudLabel:
    """A kind of server that a pool makes.

    :ivar image: None where a driver needs none.
    :ivar host_key_checking: gather the host keys before the node is handed out.
    :ivar console_log: show the console of a server that did not come up.
    """

    name: str
    image: CloudImage | None = None
    host_key_checking: bool = True
    console_log: bool = False


@attrs.frozen
class CloudPool(PoolConfig):
    """A part of a cloud account with limits of its own.

    :ivar max_ram: MiB.
    :ivar max_volume_gb: GiB.
    :ivar max_resources: limits of what only this driver counts.
    :ivar ignore_provider_quota: what the cloud says about quotas is not looked
        at; the limits of the pool and of tenants hold all the same.
    :ivar zones: availability zones to choose from; empty for all.
    :ivar cloud_labels: what can be made here, by name.  A label that is
        disabled at the top (``min-ready: -1``) is among them, so that nodes of
        it are understood, but not among the ``labels`` that the pool offers.
    """

    max_cores: float = math.inf
    max_ram: float = math.inf
    max_volumes: float = math.inf
    max_volume_gb: float = math.inf
    max_resources: FrozenMapping[str, float] = attrs.field(factory=FrozenMapping)
    ignore_provider_quota: bool = False
    use_internal_ip: bool = False
    zones: tuple[str, ...] = ()
    cloud_labels: FrozenMapping[str, CloudLabel] = attrs.field(factory=FrozenMapping)

    @property
    def limits(self) -> dict[str, float]:
        """All limits of the pool, by resource."""
        limits = {
            "instances": self.max_servers,
            "cores": self.max_cores,
            "ram": self.max_ram,
            "volumes": self.max_volumes,
            "volume-gb": self.max_volume_gb,
            **self.max_resources,
        }
        return {resource: limit for resource, limit in limits.items() if limit != math.inf}


@attrs.frozen
class CloudProvider(ProviderConfig):
    """One account in one cloud.

    :ivar rate: calls of the cloud per second; 0 for as many as there are.  What
        OpenStack's section gives are the seconds from one call to the next.
    :ivar boot_timeout: seconds from the server being active to its keys.
    :ivar launch_timeout: seconds from asking for a server to its being active.
    :ivar launch_retries: attempts in all before a node has failed.
    """

    pools: tuple[CloudPool, ...] = attrs.field(default=(), eq=frozenset)
    rate: float = 1.0
    boot_timeout: float = 60.0
    launch_timeout: float = 3600.0
    launch_retries: int = 3
