"""All that there is, frozen at one look: what the finders work from."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import TypeVar

import attrs

from nodepool_tx.config.schema import Config
from nodepool_tx.model import (
    ImageBuild,
    ImageUpload,
    Maintenance,
    Node,
    NodeRequest,
    PoolComponent,
)
from nodepool_tx.preview.nodes import NodeEffect
from nodepool_tx.providers.cloud.interface import Resource
from nodepool_tx.providers.metastatic.backing import owner_of
from nodepool_tx.store import paths
from nodepool_tx.store.image_tree import Znode

__all__ = ["CONTENDER", "Ages", "CloudView", "Farm", "Holder", "Rubbish"]

T = TypeVar("T")

#: In the name of everyone who holds a lock or waits for it.
CONTENDER = "__lock__"

#: Begins what the owner of a backing node calls itself in the lock that it
#: takes for as long as it has the node, whichever process that is.
_STANDING = owner_of("")


@attrs.frozen
class Ages:
    """From when on what the launchers put right by themselves counts, in seconds.

    :ivar swept: what they look for every minute.
    :ivar overdue: what may take long.
    :ivar locks: the locks of requests that are gone, which Nodepool 11 keeps for eight hours.
    """

    swept: float = 180.0
    overdue: float = 3600.0
    locks: float = 9 * 3600.0

    @classmethod
    def at_most(cls, seconds: float) -> Ages:
        usual = cls()
        return cls(
            min(usual.swept, seconds), min(usual.overdue, seconds), min(usual.locks, seconds)
        )


@attrs.frozen(kw_only=True)
class Holder:
    """Who holds a lock or waits for it.

    :ivar session: that it goes with; 0 if it stays without.
    :ivar since: seconds since the epoch.
    """

    path: str
    session: int
    identifier: str = ""
    since: float = 0.0
    version: int = 0

    @property
    def ownerless(self) -> bool:
        """Nobody will ever let go of it."""
        return self.session == 0 and not self.identifier.startswith(_STANDING)


@attrs.frozen(kw_only=True)
class Rubbish:
    """A znode that makes no sense.

    :ivar since: when it was made (seconds since the epoch).
    """

    path: str
    reason: str
    since: float
    version: int
    mzxid: int


@attrs.frozen(kw_only=True)
class CloudView:
    """What a provider's cloud shows.

    :ivar before: servers by node, as recorded before the cloud was asked.
    :ivar trouble: why it did not show all.
    """

    resources: tuple[Resource, ...] = ()
    before: Mapping[str, str] = attrs.field(factory=dict)
    trouble: str | None = None


def _empty() -> Mapping[str, T]:
    return {}


@attrs.frozen(kw_only=True)
class Farm:
    """Everything, as it was at one look.

    :ivar now: seconds since the epoch.
    :ivar config: None if none is known.
    :ivar node_locks: who holds or wants each node's lock, of those with any.
    :ivar lock_dirs: nodes that have a lock's directory.
    :ivar request_locks: the same for every request with a lock's directory,
        be that empty or the request gone.
    :ivar lock_stats: since when the locks of requests that are gone are there,
        and the versions of their znodes.
    :ivar persistent: requests that no session owns, among those that should have one.
    :ivar unreadable_nodes: by id; ``unreadable_requests`` too.
    :ivar unreadable_images: by path; ``unreadable_maintenance`` too.
    :ivar trees: the znodes of everything but nodes and requests, by path.
    :ivar effects: what the static planner would do, by provider.
    :ivar clouds: what the clouds have shown that were asked.
    """

    now: float
    ages: Ages = Ages()
    config: Config | None = None
    nodes: Mapping[str, Node] = attrs.field(factory=_empty)
    node_locks: Mapping[str, tuple[Holder, ...]] = attrs.field(factory=_empty)
    lock_dirs: frozenset[str] = frozenset()
    unreadable_nodes: Mapping[str, Rubbish] = attrs.field(factory=_empty)
    requests: Mapping[str, NodeRequest] = attrs.field(factory=_empty)
    request_locks: Mapping[str, tuple[Holder, ...]] = attrs.field(factory=_empty)
    lock_stats: Mapping[str, tuple[float, int]] = attrs.field(factory=_empty)
    persistent: frozenset[str] = frozenset()
    unreadable_requests: Mapping[str, str] = attrs.field(factory=_empty)
    pools: tuple[PoolComponent, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    unreadable_maintenance: Mapping[str, str] = attrs.field(factory=_empty)
    builds: tuple[ImageBuild, ...] = ()
    uploads: tuple[ImageUpload, ...] = ()
    unreadable_images: Mapping[str, str] = attrs.field(factory=_empty)
    trees: Mapping[str, Znode] = attrs.field(factory=_empty)
    effects: Mapping[str, tuple[NodeEffect, ...]] = attrs.field(factory=_empty)
    clouds: Mapping[str, CloudView] = attrs.field(factory=_empty)

    def is_locked(self, node_id: str) -> bool:
        return node_id in self.node_locks

    def is_request(self, request_id: str) -> bool:
        """There is a request of that id, readable or not."""
        return request_id in self.requests or request_id in self.unreadable_requests

    def age(self, since: float) -> float:
        return self.now - since

    @functools.cached_property
    def _children(self) -> Mapping[str, list[str]]:
        children: dict[str, list[str]] = {}
        for path in self.trees:
            children.setdefault(path.rpartition("/")[0], []).append(path)
        return children

    def children(self, path: str) -> Iterator[tuple[str, Znode]]:
        """What lies directly below a path, of :attr:`trees`."""
        return ((child, self.trees[child]) for child in self._children.get(path, ()))

    def holders_in(self, directory: str) -> tuple[Holder, ...]:
        """Who holds or wants a lock among :attr:`trees`."""
        return tuple(
            Holder(
                path=path,
                session=znode.stat.ephemeralOwner,
                identifier=znode.data.decode("utf-8", "replace"),
                since=znode.stat.ctime / 1000,
                version=znode.stat.version,
            )
            for path, znode in self.children(directory)
            if CONTENDER in path.rpartition("/")[2]
        )

    def serves(self, provider: str) -> bool:
        """A launcher online looks after the provider, or is emptying it."""
        if any(pool.provider_name == provider for pool in self.pools):
            return True
        return any(owner.session for owner in self.holders_in(paths.owner_lock(provider)))
