"""What the configuration wants: one value per machine, looked up by slot.

Pure: nothing in here knows ZooKeeper, Twisted or the time.
"""

from __future__ import annotations

import enum
import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import attrs

from nodepool_tx.config.frozen import thaw
from nodepool_tx.config.schema import StaticNode, StaticPool, StaticProvider
from nodepool_tx.model import Node

__all__ = ["Desired", "DesiredNode", "Identity", "Look", "SlotKey", "desired_of", "key_of"]

#: Host name, user name and port.  A record in ZooKeeper may hold anything
#: there; what the configuration holds is always ``(str, str, int)``.
Identity = tuple[Any, Any, Any]

#: Connection types behind which an SSH server with host keys is expected.
SSH_TYPES = frozenset({"ssh", "network_cli"})


class Look(enum.Enum):
    """How a machine is looked at before one of its slots goes into service."""

    #: Its SSH host keys are gathered.
    KEYS = "gather host keys"
    #: It has to take a connection.
    PORT = "connect"
    #: It is never contacted.
    NONE = "trust the configuration"


class SlotKey(NamedTuple):
    """Where a node belongs: one of the parallel jobs of one machine.

    A tuple, as it is looked up several times with every change of a node.

    :ivar slot: None for a record that names no slot.
    """

    identity: Identity
    slot: int | None


@attrs.frozen
class DesiredNode:
    """A machine, and so what each of its nodes should look like.

    :ivar slots: how many jobs it takes at a time; they are numbered from 0.
    :ivar host_keys: those that must be among the ones it shows.
    :ivar timeout: seconds it may take to answer.
    :ivar attributes: as they are read back from JSON.
    """

    provider: str
    pool: str
    hostname: str
    username: str
    port: int
    slots: int = 1
    labels: tuple[str, ...] = ()
    connection_type: str = "ssh"
    shell_type: str | None = None
    python_path: str | None = "auto"
    attributes: Mapping[str, Any] | None = None
    host_keys: tuple[str, ...] = ()
    host_key_checking: bool = True
    timeout: float = 5.0
    identity: Identity = attrs.field(init=False, repr=False, eq=False)
    look: Look = attrs.field(init=False, repr=False, eq=False)

    @identity.default
    def _identity(self) -> Identity:
        return (self.hostname, self.username, self.port)

    @look.default
    def _look(self) -> Look:
        if self.connection_type not in SSH_TYPES:
            return Look.PORT
        return Look.KEYS if self.host_key_checking else Look.NONE

    @property
    def never_changes(self) -> bool:
        """A look at it always shows the same: it is an address, and is never contacted."""
        return self.look is Look.NONE and _is_address(self.hostname)

    def has_slot(self, slot: int | None) -> bool:
        return slot is not None and 0 <= slot < self.slots

    def slot_keys(self) -> Iterator[SlotKey]:
        """Every slot it should have a node in."""
        return (SlotKey(self.identity, slot) for slot in range(self.slots))


@attrs.frozen
class Desired:
    """All machines of a provider, by identity."""

    hosts: Mapping[Identity, DesiredNode]

    def at(self, key: SlotKey) -> DesiredNode | None:
        """What should be in a slot; None if nothing should."""
        host = self.hosts.get(key.identity)
        return host if host is not None and host.has_slot(key.slot) else None

    def slot_keys(self) -> Iterator[SlotKey]:
        return (key for host in self.hosts.values() for key in host.slot_keys())


def desired_of(config: StaticProvider) -> Desired:
    """What a provider's configuration wants.

    Two definitions of one machine are refused when a configuration is read;
    should they get here, the first counts.
    """
    hosts: dict[Identity, DesiredNode] = {}
    for pool in config.pools:
        attributes = _plain(pool)
        for node in pool.nodes:
            hosts.setdefault(node.identity, _desired_node(config.name, pool, node, attributes))
    return Desired(hosts)


def key_of(node: Node) -> SlotKey:
    """Where a record says that it belongs."""
    port = node.connection_port
    if not isinstance(port, (int, str)):
        port = repr(port)
    return SlotKey((node.hostname, node.username, port), node.slot)


def _desired_node(
    provider: str, pool: StaticPool, node: StaticNode, attributes: Mapping[str, Any] | None
) -> DesiredNode:
    return DesiredNode(
        provider=provider,
        pool=pool.name,
        hostname=node.name,
        username=node.username,
        port=node.connection_port,
        slots=node.max_parallel_jobs,
        labels=tuple(node.labels),
        connection_type=node.connection_type,
        shell_type=node.shell_type,
        python_path=node.python_path,
        attributes=attributes,
        host_keys=tuple(node.host_keys),
        host_key_checking=node.host_key_checking,
        timeout=float(node.timeout),
    )


def _is_address(hostname: str) -> bool:
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return True


def _plain(pool: StaticPool) -> Mapping[str, Any] | None:
    """The pool's attributes as they will be read back, or they would never match."""
    if pool.node_attributes is None:
        return None
    plain: Mapping[str, Any] = json.loads(json.dumps(thaw(pool.node_attributes), default=str))
    return plain
