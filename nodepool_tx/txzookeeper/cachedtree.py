"""What a tree cache knows: znodes by path, and who is told when that changes."""

from __future__ import annotations

import enum
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import attrs
from kazoo.protocol.states import ZnodeStat
from twisted.logger import Logger

__all__ = ["CacheChange", "CachedTree", "CachedZnode", "ChangeKind", "join"]


class ChangeKind(enum.Enum):
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    #: Everything was read: from now on the cache follows the server.
    CURRENT = "current"
    #: The connection is gone: what the cache holds may be out of date.
    STALE = "stale"


class CachedZnode(NamedTuple):
    """A znode as last seen.

    A tuple, like :class:`CacheChange`, as a job makes a dozen of each.

    ``data`` and ``stat`` are None where the cache does not read data, ``data``
    also where it does not keep it.  The stat belongs to the data: what it says of
    children is as old as that.

    :ivar source: what the data was made from, where it is told of an own write.
    """

    path: str
    data: bytes | None
    stat: ZnodeStat | None
    source: Any = None


class CacheChange(NamedTuple):
    """One difference, told to subscribers.

    :ivar path: of the znode; the cache's root for CURRENT and STALE.
    :ivar znode: as it is now; for REMOVED, as it was; None for CURRENT and STALE.
    """

    kind: ChangeKind
    path: str
    znode: CachedZnode | None = None


Subscriber = Callable[[CacheChange], None]


@attrs.frozen(eq=False)
class _Subscription:
    """One of perhaps several of the same function."""

    subscriber: Subscriber


def join(path: str, name: str) -> str:
    return f"/{name}" if path == "/" else f"{path}/{name}"


class CachedTree:
    """Znodes at and below a root.

    :param keeps_data: without it data is told, and then forgotten.

    Znodes may come before their parents.  Each addition, change and removal is
    told to all subscribers, in one order for all of them: a change that a
    subscriber causes is told after the one it answers.
    """

    _log = Logger()

    def __init__(self, root: str, keeps_data: bool = True) -> None:
        self.root = root
        self._keeps_data = keeps_data
        self._znodes: dict[str, CachedZnode] = {}
        #: Names under each path that has or leads to a znode below it.
        self._names: dict[str, set[str]] = {}
        self._subscriptions: tuple[_Subscription, ...] = ()
        self._news: deque[CacheChange] = deque()
        self._telling = False

    def __len__(self) -> int:
        return len(self._znodes)

    def __contains__(self, path: object) -> bool:
        return path in self._znodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._znodes)

    def get(self, path: str) -> CachedZnode | None:
        return self._znodes.get(path)

    def children(self, path: str) -> frozenset[str]:
        """Names of the znodes known directly below ``path``."""
        names = self._names.get(path, ())
        return frozenset(name for name in names if join(path, name) in self._znodes)

    def names(self, path: str) -> frozenset[str]:
        """As :meth:`children`, with names that only lead to znodes further down."""
        return frozenset(self._names.get(path, ()))

    # -- changing --------------------------------------------------------

    def put(self, znode: CachedZnode) -> None:
        """Add or replace a znode, and tell so."""
        path = znode.path
        added = path not in self._znodes
        if self._keeps_data:
            self._znodes[path] = znode if znode.source is None else znode._replace(source=None)
        elif znode.data is None and znode.source is None:
            self._znodes[path] = znode
        else:
            self._znodes[path] = CachedZnode(path, None, znode.stat)
        if added:
            self._link(path)
        self.tell(CacheChange(ChangeKind.ADDED if added else ChangeKind.CHANGED, path, znode))

    def remove(self, path: str) -> None:
        """Remove one znode, if it is there, and tell so."""
        znode = self._znodes.pop(path, None)
        if znode is not None:
            self._unlink(path)
            self.tell(CacheChange(ChangeKind.REMOVED, path, znode))

    def remove_tree(self, path: str) -> None:
        """Remove a znode after all below it."""
        if path in self._names:
            for name in self.names(path):
                self.remove_tree(join(path, name))
        self.remove(path)

    def _link(self, path: str) -> None:
        while path != self.root:
            parent, _, name = path.rpartition("/")
            parent = parent or "/"
            names = self._names.get(parent)
            if names is None:
                self._names[parent] = {sys.intern(name)}
            elif name in names:
                return
            else:
                names.add(sys.intern(name))
            path = parent

    def _unlink(self, path: str) -> None:
        while path != self.root and path not in self._znodes and path not in self._names:
            parent, _, name = path.rpartition("/")
            parent = parent or "/"
            names = self._names[parent]
            names.remove(name)
            if not names:
                del self._names[parent]
            path = parent

    # -- telling ---------------------------------------------------------

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Tell ``subscriber`` of each change from now on; returns what ends that."""
        subscription = _Subscription(subscriber)
        self._subscriptions += (subscription,)

        def unsubscribe() -> None:
            self._subscriptions = tuple(
                each for each in self._subscriptions if each is not subscription
            )

        return unsubscribe

    def silence(self) -> None:
        """Tell nobody anything any more."""
        self._subscriptions = ()
        self._news.clear()

    def tell(self, change: CacheChange) -> None:
        if self._telling:
            self._news.append(change)
            return
        self._telling = True
        try:
            self._tell(change)
            while self._news:
                self._tell(self._news.popleft())
        finally:
            self._telling = False

    def _tell(self, change: CacheChange) -> None:
        for subscription in self._subscriptions:
            try:
                subscription.subscriber(change)
            except Exception:
                self._log.failure(
                    "a subscriber failed on {path} {kind}",
                    path=change.path,
                    kind=change.kind.value,
                )
