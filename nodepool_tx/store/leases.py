"""Nodes that are lent over HTTP, as all launchers see it.

Design note: a lease and its request
------------------------------------
A lease and the node request for it are made in one transaction.  The request
says in ``requestor`` for which lease it is, as its own id is known only
afterwards; so each is found from the other, and neither is ever there alone.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from twisted.logger import Logger

from nodepool_tx.model import NodeRequest
from nodepool_tx.store import paths
from nodepool_tx.store.change import Change
from nodepool_tx.store.codec import EMPTY, Unreadable, encode_request
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache

__all__ = ["Lease", "LeaseState", "LeaseTable", "decode_lease", "encode_lease", "lease_of"]

#: What the requestor of a lease's request begins with; the lease's id follows.
REQUESTOR = "nodepool_tx-lease:"

#: Numbers beyond this are no times (the year 5138); twice as much can still be shown.
LATEST = 1e11


class LeaseState(str, enum.Enum):
    """How far a lease has come."""

    #: Its request is in the queue.
    WAITING = "waiting"
    #: Its nodes are held for its user.
    READY = "ready"
    #: There are no nodes, or none any more, and not because its user wanted so.
    FAILED = "failed"
    #: It was given back, or nobody renewed it.
    ENDED = "ended"


@attrs.frozen(kw_only=True)
class Lease:
    """Nodes for somebody, for some time.

    :ivar user: whose it is, and ``how`` they prove that: only together do these
        say who may use it.
    :ivar created: when it was asked for (seconds since the epoch).
    :ivar since: when it came to its present state.
    :ivar expires: when it ends unless it is renewed.
    :ivar ttl: for how long it was granted the last time, seconds.
    :ivar priority: what its request's id begins with.
    :ivar key: the user's own name for what was asked; "" if there is none.
    :ivar request: of its request; None until it was served.
    :ivar nodes: the nodes it was given, one for each label, in that order.
    """

    id: str
    user: str
    how: str
    state: LeaseState = LeaseState.WAITING
    labels: tuple[str, ...]
    created: float
    since: float
    expires: float
    ttl: float
    priority: int = 100
    tenant: str | None = None
    comment: str = ""
    key: str = ""
    reason: str = ""
    request: str | None = None
    nodes: tuple[str, ...] = ()
    version: int = attrs.field(default=-1, eq=False)

    @property
    def owner(self) -> tuple[str, str]:
        """Who may use it."""
        return (self.user, self.how)

    @property
    def over(self) -> bool:
        """Nothing comes of it any more."""
        return self.state in (LeaseState.FAILED, LeaseState.ENDED)


def requestor_for(lease_id: str) -> str:
    """What a request says that is made for a lease."""
    return REQUESTOR + lease_id


def lease_of(request: NodeRequest) -> str | None:
    """The id of the lease that a request was made for; None if it was not."""
    requestor = request.requestor or ""
    if not requestor.startswith(REQUESTOR):
        return None
    return requestor[len(REQUESTOR) :] or None


class LeaseTable:
    """The leases in ZooKeeper.

    :ivar unreadable: id and reason of each znode that makes no sense.
    """

    _log = Logger()

    def __init__(self, cache: TreeCache) -> None:
        self._cache = cache
        self._leases: dict[str, Lease] = {}
        self._by_owner: dict[tuple[str, str], set[str]] = {}
        self._observers: list[Callable[[str], None]] = []
        self.unreadable: dict[str, str] = {}
        cache.subscribe(self._on_change)

    # -- reading ---------------------------------------------------------

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(tuple(self._leases.values()))

    def get(self, lease_id: str) -> Lease | None:
        return self._leases.get(lease_id)

    def exists(self, lease_id: str) -> bool:
        """There is a lease of that id, readable or not."""
        return lease_id in self._leases or lease_id in self.unreadable

    def of_owner(self, user: str, how: str) -> list[Lease]:
        """Somebody's leases, oldest first."""
        ids = self._by_owner.get((user, how), ())
        found = [self._leases[lease_id] for lease_id in ids]
        return sorted(found, key=lambda lease: (lease.created, lease.id))

    # -- following -------------------------------------------------------

    def subscribe(self, observer: Callable[[str], None]) -> Callable[[], None]:
        """Hear of each lease that is made, changed or removed; returns the removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _on_change(self, change: CacheChange) -> None:
        if change.kind in (ChangeKind.CURRENT, ChangeKind.STALE):
            return
        parts = paths.below(paths.LEASES, change.path)
        if len(parts) != 1:
            return
        lease_id = parts[0]
        before = self._leases.pop(lease_id, None)
        self.unreadable.pop(lease_id, None)
        if change.kind is not ChangeKind.REMOVED:
            self._read(lease_id, change)
        after = self._leases.get(lease_id)
        if before is not None:
            owned = self._by_owner[before.owner]
            owned.discard(lease_id)
            if not owned:
                del self._by_owner[before.owner]
        if after is not None:
            self._by_owner.setdefault(after.owner, set()).add(lease_id)
        for observer in tuple(self._observers):
            try:
                observer(lease_id)
            except Exception:
                self._log.failure("an observer of leases failed on {lease}", lease=lease_id)

    def _read(self, lease_id: str, change: CacheChange) -> None:
        znode = change.znode
        assert znode is not None
        assert znode.stat is not None
        try:
            self._leases[lease_id] = decode_lease(
                lease_id, znode.data or b"", version=znode.stat.version
            )
        except Unreadable as e:
            self.unreadable[lease_id] = str(e)
            self._log.warn(
                "{path} is unreadable and is left alone: {reason}",
                path=change.path,
                reason=str(e),
            )

    # -- changing, as a part of a change of nodes and requests -------------

    def make_in(
        self, change: Change, lease: Lease, request: NodeRequest, made: Callable[[str], None]
    ) -> None:
        """Add a lease and its request, of whose id ``made`` is told.

        The change fails with :class:`Moved` if there is a lease of that id.
        """
        path, data = paths.lease(lease.id), encode_lease(lease)
        change.also("lease", lease.id, lambda txn: txn.create(path, data))
        wish = encode_request(request.changed(requestor=requestor_for(lease.id)))
        prefix = f"{paths.REQUESTS}/{lease.priority:03d}-"
        change.also(
            "directory",
            paths.REQUESTS,
            lambda txn: txn.create(prefix, wish, sequence=True),
            lambda result: made(result.rpartition("/")[2]),
        )

    def update_in(self, change: Change, before: Lease, after: Lease) -> None:
        """Write ``after`` if the lease is still what it was in ``before``."""
        path, data = paths.lease(before.id), encode_lease(after)
        change.also(
            "lease",
            before.id,
            lambda txn: txn.set(path, data, before.version),
            lambda stat: self._cache.offer(path, data, stat),
        )

    def remove_in(self, change: Change, lease: Lease) -> None:
        """Remove the lease if it is still what it was."""
        path = paths.lease(lease.id)
        change.also("lease", lease.id, lambda txn: txn.delete(path, lease.version))


# -- JSON --------------------------------------------------------------------


def encode_lease(lease: Lease) -> bytes:
    """The content of a lease's znode."""
    values = attrs.asdict(lease, filter=lambda field, _: field.name not in ("id", "version"))
    return json.dumps({**values, "state": lease.state.value}).encode()


def decode_lease(lease_id: str, data: bytes, *, version: int = -1) -> Lease:
    """The lease in a znode's data.

    :raises Unreadable: it is none.
    """
    if not data:
        raise Unreadable(EMPTY)
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise Unreadable(f"it is not JSON: {e}") from None
    if not isinstance(raw, dict):
        raise Unreadable("it is not an object")
    try:
        state = LeaseState(raw.get("state"))
    except ValueError as e:
        raise Unreadable(f"state: {e}") from None
    values: dict[str, Any] = {
        **{key: _text(raw, key) for key in ("user", "how", "comment", "key", "reason")},
        **{key: _number(raw, key) for key in ("created", "since", "expires", "ttl")},
        **{key: _texts(raw, key) for key in ("labels", "nodes")},
        **{key: None if raw.get(key) is None else _text(raw, key) for key in ("tenant", "request")},
    }
    priority = int(_number(raw, "priority"))
    return Lease(id=lease_id, state=state, priority=priority, version=version, **values)


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise Unreadable(f"{key} is not text")
    return value


def _number(raw: dict[str, Any], key: str) -> float:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"{key} is not a number")
    if not 0 <= value <= LATEST:
        raise Unreadable(f"{key} is out of bounds")
    return value


def _texts(raw: dict[str, Any], key: str) -> tuple[str, ...]:
    value = raw.get(key)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Unreadable(f"{key} is not a list of texts")
    return tuple(value)
