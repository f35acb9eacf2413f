"""A configuration as the service sees it: values that never change.

Everything here compares by value, so "did this provider change?" is ``==``.
Order counts only where it means something (the labels of a node); it does not
for the nodes of a pool, the pools of a provider or any mapping.
"""

from __future__ import annotations

import math

import attrs

from nodepool_tx.config.errors import ConfigWarning
from nodepool_tx.config.frozen import Frozen, FrozenMapping
from nodepool_tx.config.operations import Operations

__all__ = [
    "DEFAULT_PRIORITY",
    "Config",
    "DiskImage",
    "Label",
    "PoolConfig",
    "ProviderConfig",
    "Server",
    "StaticNode",
    "StaticPool",
    "StaticProvider",
    "UnavailableProvider",
    "Webapp",
    "ZookeeperTls",
]

#: What a pool has when neither it nor its provider names a priority.
DEFAULT_PRIORITY = 100


@attrs.frozen
class Server:
    """One ZooKeeper server.

    :ivar host: a name or an address, IPv6 without brackets.
    :ivar chroot: begins with a slash and does not end with one, or is empty;
        the same for all servers of a configuration.
    """

    host: str
    port: int = 2281
    chroot: str = ""


@attrs.frozen
class ZookeeperTls:
    """Paths of PEM files; whether they can be read is seen at the start."""

    cert: str
    key: str
    ca: str


@attrs.frozen
class Webapp:
    """Where to serve HTTP; port 0 takes any that is free."""

    port: int = 8005
    listen_address: str = "0.0.0.0"


@attrs.frozen
class Label:
    """A kind of node that can be asked for.

    :ivar min_ready: how many to keep ready; -1 disables the label.
    :ivar max_ready_age: seconds a node may be ready before it is replaced;
        0 for ever.
    """

    name: str
    min_ready: int = 0
    max_ready_age: int = 0

    @property
    def disabled(self) -> bool:
        """No node of this label is to be made."""
        return self.min_ready < 0


@attrs.frozen
class DiskImage:
    """An image to build, with all that it inherits filled in.

    :ivar elements: what disk-image-create is given, those of parents first.
    :ivar formats: what to build beyond what the providers ask for.
    :ivar build_timeout: seconds.
    :ivar rebuild_age: seconds.
    """

    name: str
    elements: tuple[str, ...] = ()
    env_vars: FrozenMapping[str, str] = attrs.field(factory=FrozenMapping, repr=False)
    formats: frozenset[str] = frozenset()
    keep_formats: frozenset[str] = frozenset()
    delete_after_upload: bool = False
    pause: bool = False
    release: str = ""
    rebuild_age: int = 24 * 60 * 60
    build_timeout: int = 8 * 60 * 60
    dib_cmd: str = "disk-image-create"
    username: str = "zuul"
    python_path: str = "auto"
    shell_type: str | None = None
    metadata: FrozenMapping[str, Frozen] = attrs.field(factory=FrozenMapping)


@attrs.frozen
class PoolConfig:
    """What pools of every driver have.

    :ivar max_servers: how many nodes at once; infinite without a limit, and
        0 closes the pool.
    :ivar priority: what the pool itself says, if it does.
    :ivar provider_priority: what its provider says, if it does.
    :ivar labels: what can be had here.
    """

    name: str
    provider_name: str
    max_servers: float = math.inf
    priority: int | None = None
    provider_priority: int | None = None
    node_attributes: FrozenMapping[str, Frozen] | None = None
    labels: frozenset[str] = frozenset()

    @property
    def effective_priority(self) -> int:
        """The priority that applies; a lesser number goes first."""
        if self.priority is not None:
            return self.priority
        if self.provider_priority is not None:
            return self.provider_priority
        return DEFAULT_PRIORITY


@attrs.frozen
class ProviderConfig:
    """A source of nodes; drivers extend it.

    :ivar max_concurrency: requests handled at once; negative without a limit,
        and 0 takes none.
    """

    name: str
    driver: str
    priority: int | None = None
    max_concurrency: int = -1
    pools: tuple[PoolConfig, ...] = attrs.field(default=(), eq=frozenset)


@attrs.frozen
class UnavailableProvider(ProviderConfig):
    """A provider whose driver this version does not have.

    Only what all drivers have in common was looked at.

    :ivar raw: the whole section as written, so that a change is noticed.
    """

    raw: FrozenMapping[str, Frozen] = attrs.field(factory=FrozenMapping, repr=False)

    @property
    def reason(self) -> str:
        """Why nothing can be had from it, for an operator."""
        return f"the driver {self.driver} is not available in this version"


@attrs.frozen
class StaticNode:
    """A machine that exists already.

    :ivar name: its host name or address.
    :ivar labels: in the order of the file.
    :ivar host_keys: ``type base64`` each; gathered from the host when empty.
    :ivar timeout: seconds a probe may take.
    :ivar max_parallel_jobs: how many jobs it runs at once: its slots.
    """

    name: str
    labels: tuple[str, ...]
    host_keys: tuple[str, ...] = ()
    host_key_checking: bool = True
    timeout: int = 5
    connection_port: int = 22
    connection_type: str = "ssh"
    shell_type: str | None = None
    username: str = "zuul"
    max_parallel_jobs: int = 1
    python_path: str = "auto"

    @property
    def identity(self) -> tuple[str, str, int]:
        """Host name, user name and port: no two nodes share all three."""
        return (self.name, self.username, self.connection_port)


@attrs.frozen
class StaticPool(PoolConfig):
    """A group of static nodes; ``labels`` are those of its nodes."""

    nodes: tuple[StaticNode, ...] = attrs.field(default=(), eq=frozenset, repr=False)


@attrs.frozen
class StaticProvider(ProviderConfig):
    """Machines that exist already, listed in the configuration."""

    pools: tuple[StaticPool, ...] = attrs.field(default=(), eq=frozenset)


@attrs.frozen
class Config:
    """All of it.

    :ivar zookeeper_servers: empty when ZooKeeper is to be started by us.
    :ivar zookeeper_timeout: the session's, in seconds.
    :ivar build_log_retention: logs kept per image; -1 keeps all.
    :ivar max_hold_age: seconds a node may be held; infinite without a limit.
    :ivar tenant_resource_limits: tenant to resource to limit.  ``cores``,
        ``instances`` and ``ram`` are always there, infinite without a limit.
    :ivar warnings: what works but was probably not meant; not compared.
    :ivar digest: of the files' content; not compared.
    """

    zookeeper_servers: tuple[Server, ...] = attrs.field(default=(), eq=frozenset)
    zookeeper_timeout: float = 10.0
    zookeeper_tls: ZookeeperTls | None = None
    labels: FrozenMapping[str, Label] = attrs.field(factory=FrozenMapping)
    diskimages: FrozenMapping[str, DiskImage] = attrs.field(factory=FrozenMapping)
    providers: FrozenMapping[str, ProviderConfig] = attrs.field(factory=FrozenMapping)
    elements_dir: str | None = None
    images_dir: str | None = None
    build_log_dir: str | None = None
    build_log_retention: int = 7
    max_hold_age: float = math.inf
    webapp: Webapp = attrs.field(factory=Webapp)
    operations: Operations = attrs.field(factory=Operations)
    tenant_resource_limits: FrozenMapping[str, FrozenMapping[str, float]] = attrs.field(
        factory=FrozenMapping
    )
    warnings: tuple[ConfigWarning, ...] = attrs.field(default=(), eq=False, repr=False)
    digest: str = attrs.field(default="", eq=False, repr=False)

    @property
    def zookeeper_chroot(self) -> str:
        """What all paths are below; empty for the root."""
        return self.zookeeper_servers[0].chroot if self.zookeeper_servers else ""

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """The pools of all providers, in the order of the file."""
        return tuple(pool for provider in self.providers.values() for pool in provider.pools)
