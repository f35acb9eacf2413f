"""All node requests, kept in memory as ZooKeeper last showed them.

Requests and their locks lie in different trees, so two tree caches feed this
table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from twisted.logger import Logger

from nodepool_tx.model import NodeRequest
from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_request
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache

__all__ = ["RequestChange", "RequestTable"]


class RequestChange(NamedTuple):
    """What became of one request: its record, or who locks it, or both."""

    request_id: str
    before: NodeRequest | None
    after: NodeRequest | None
    locked: bool


class RequestTable:
    """The node requests in ZooKeeper.

    :ivar unreadable: id and reason of each request znode that makes no sense.
    """

    _log = Logger()

    def __init__(self, cache: TreeCache, locks: TreeCache) -> None:
        self._requests: dict[str, NodeRequest] = {}
        self._contenders: dict[str, set[str]] = {}
        self._observers: list[Callable[[RequestChange], None]] = []
        self.unreadable: dict[str, str] = {}
        cache.subscribe(self._on_request)
        locks.subscribe(self._on_lock)

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[NodeRequest]:
        return iter(tuple(self._requests.values()))

    def get(self, request_id: str) -> NodeRequest | None:
        return self._requests.get(request_id)

    def exists(self, request_id: str) -> bool:
        """There is a request of that id, readable or not."""
        return request_id in self._requests or request_id in self.unreadable

    def is_locked(self, request_id: str) -> bool:
        """Somebody holds the request's lock, or waits for it."""
        return bool(self._contenders.get(request_id))

    def contenders(self, request_id: str) -> frozenset[str]:
        """Names of those who hold the request's lock or wait for it."""
        return frozenset(self._contenders.get(request_id, ()))

    def has_lock_directory(self, request_id: str) -> bool:
        return request_id in self._contenders

    def lock_directories(self) -> tuple[str, ...]:
        """Ids of the requests, gone or not, that have a lock directory."""
        return tuple(self._contenders)

    def subscribe(self, observer: Callable[[RequestChange], None]) -> Callable[[], None]:
        """Hear of every change, after the table shows it; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _tell(self, request_id: str, before: NodeRequest | None) -> None:
        change = RequestChange(
            request_id, before, self._requests.get(request_id), self.is_locked(request_id)
        )
        for observer in tuple(self._observers):
            try:
                observer(change)
            except Exception:
                self._log.failure(
                    "observer of requests failed on {request_id}", request_id=request_id
                )

    def _on_request(self, change: CacheChange) -> None:
        if change.kind in (ChangeKind.CURRENT, ChangeKind.STALE):
            return
        parts = paths.below(paths.REQUESTS, change.path)
        if len(parts) != 1:
            return
        request_id = parts[0]
        before = self._requests.get(request_id)
        if change.kind is ChangeKind.REMOVED:
            unreadable = self.unreadable.pop(request_id, None)
            if self._requests.pop(request_id, None) is None and unreadable is None:
                return
        else:
            znode = change.znode
            assert znode is not None
            stat = znode.stat
            assert stat is not None
            try:
                if isinstance(znode.source, NodeRequest):
                    request = znode.source.as_written(stat.version, stat.mzxid)
                else:
                    request = decode_request(
                        request_id, znode.data or b"", version=stat.version, mzxid=stat.mzxid
                    )
                self._requests[request_id] = request
                self.unreadable.pop(request_id, None)
            except Unreadable as e:
                self._requests.pop(request_id, None)
                self.unreadable[request_id] = str(e)
                self._log.warn(
                    "{path} is unreadable and is left alone: {reason}",
                    path=change.path,
                    request_id=request_id,
                    reason=str(e),
                )
        self._tell(request_id, before)

    def _on_lock(self, change: CacheChange) -> None:
        if change.kind in (ChangeKind.CURRENT, ChangeKind.STALE):
            return
        parts = paths.below(paths.REQUEST_LOCKS, change.path)
        if not parts or len(parts) > 2:
            return
        request_id = parts[0]
        was_locked = self.is_locked(request_id)
        present = change.kind is not ChangeKind.REMOVED
        if len(parts) == 2:
            contenders = self._contenders.setdefault(request_id, set())
            (contenders.add if present else contenders.discard)(parts[1])
        elif present:
            self._contenders.setdefault(request_id, set())
        else:
            self._contenders.pop(request_id, None)
        if was_locked != self.is_locked(request_id) and request_id in self._requests:
            self._tell(request_id, self._requests[request_id])
