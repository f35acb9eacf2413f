"""What can be taken out of service: which host or provider a name means, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.visit import Visit
from nodepool_tx.config.section import suggest
from nodepool_tx.maintenance import hosts_of
from nodepool_tx.model import Maintenance, Node, NodeState

__all__ = ["HOST", "PROVIDER", "Place", "Remaining", "choose", "remaining"]

HOST = "host"
PROVIDER = "provider"

#: What every launcher names as the launcher of a static node.
_STATIC = "static driver"


@attrs.frozen
class Place:
    """A static host, wherever it is listed, or a provider."""

    kind: str
    name: str

    @classmethod
    def of(cls, record: Maintenance) -> Place:
        if record.host is not None:
            return cls(HOST, record.host)
        return cls(PROVIDER, record.provider or "")

    @property
    def host(self) -> str | None:
        return self.name if self.kind == HOST else None

    @property
    def provider(self) -> str | None:
        return self.name if self.kind == PROVIDER else None

    def is_of(self, record: Maintenance) -> bool:
        return (record.host, record.provider) == (self.host, self.provider)

    def has(self, node: Node) -> bool:
        """A node is one of this place's."""
        if self.kind == PROVIDER:
            return node.provider == self.name
        return node.launcher == _STATIC and node.hostname == self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@attrs.frozen
class Remaining:
    """The nodes of a place that are in ZooKeeper.

    :ivar in_use: somebody has them, or was promised them, or keeps them.
    :ivar free: they could be given to somebody.
    """

    in_use: int = 0
    free: int = 0

    @property
    def total(self) -> int:
        return self.in_use + self.free

    def __str__(self) -> str:
        parts = [f"{self.in_use} in use"] if self.in_use or not self.free else []
        parts += [f"{self.free} free"] if self.free else []
        return "nodes: " + ", ".join(parts)


def remaining(visit: Visit, place: Place) -> Remaining:
    """What is left of it now."""
    table = visit.store.nodes
    nodes = table.of_provider(place.name) if place.kind == PROVIDER else table
    free = in_use = 0
    for node in nodes:
        if not place.has(node):
            continue
        ready = node.state is NodeState.READY and not node.allocated_to
        if ready and not table.is_locked(node.id):
            free += 1
        else:
            in_use += 1
    return Remaining(in_use, free)


def choose(visit: Visit) -> Place:
    """What the name on the command line means.

    :raises Complaint: nothing, or two things.
    """
    name, kind, force = visit.options.target, visit.options.kind, visit.options.force
    known = {HOST: _known_hosts(visit), PROVIDER: _known_providers(visit)}
    if kind is not None:
        found = [kind] if force or name in known[kind] else []
    else:
        found = [each for each in known if name in known[each]]
    if len(found) == 1:
        return Place(found[0], name)
    if found:
        raise Complaint(
            f"{name} is both a host and a provider: say --host or --provider", ExitCode.USAGE
        )
    if force:
        raise Complaint(
            f"nobody knows {name}: say --host or --provider with --force", ExitCode.USAGE
        )
    kinds = [HOST, PROVIDER] if kind is None else [kind]
    hint = suggest(name, (each for one in kinds for each in known[one]))
    what = " or ".join(kinds)
    raise Complaint(
        f"there is no {what} {name} in the configuration or in ZooKeeper"
        + (f", {hint}" if hint else "")
        + (" (--force takes it all the same)" if kind is not None else "")
    )


def _known_hosts(visit: Visit) -> set[str]:
    names: set[str] = set() if visit.config is None else set(hosts_of(visit.config))
    names |= {str(node.hostname) for node in visit.store.nodes if node.launcher == _STATIC}
    return names | {record.host for record in _records(visit) if record.host is not None}


def _known_providers(visit: Visit) -> set[str]:
    store = visit.store
    names: set[str] = set() if visit.config is None else set(visit.config.providers)
    names |= {pool.provider_name for pool in store.components.pools()}
    names |= {name for name in store.nodes.providers() if name}
    return names | {r.provider for r in _records(visit) if r.provider is not None}


def _records(visit: Visit) -> Iterable[Maintenance]:
    return (*visit.store.maintenance.all(), *visit.store.maintenance.over())
