"""How a tree cache reads: events, reads of single znodes, walks of the whole tree.

The reasoning is in the design note of :mod:`nodepool_tx.txzookeeper.treecache`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    NoNodeError,
    SessionExpiredError,
)
from kazoo.protocol.states import ZnodeStat
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.cachedtree import CachedTree, CachedZnode, join
from nodepool_tx.txzookeeper.interface import WatchEvent, WatchKind, ZookeeperAPI

__all__ = ["WALK_WINDOW", "TreeReader"]

#: How many requests of a walk are under way at most: other requests of the same
#: client queue up behind them.
WALK_WINDOW = 256

#: The cache hears of these from the session, and walks again.
_connection_errors = (ConnectionLoss, SessionExpiredError, ConnectionClosedError)


def _undated(data: bytes) -> ZnodeStat:
    """Of a znode that was just created, at a time that is not known."""
    # By keyword, or as a changed copy, it would take thrice as long.
    return ZnodeStat(0, 0, 0, 0, 0, 0, 0, 0, len(data), 0, 0)


@attrs.define(eq=False)
class _Read:
    """A read under way.

    :ivar again: something happened since: read once more when it is answered.
    :ivar void: the znode was deleted since: what the answer shows does not count.
    :ivar asked: the request has been made.
    """

    again: bool = False
    void: bool = False
    asked: bool = False


@attrs.define(eq=False)
class _Write:
    """Own writes of a znode that are under way, at least one.

    :ivar seen: the znode has changed, and nothing has shown to what.
    """

    under_way: int = 0
    seen: bool = False


@attrs.define(eq=False)
class _Walk:
    """A walk under way: what is still to visit, and which answers it waits for."""

    to_visit: deque[str]
    reading: set[str] = attrs.field(factory=set)
    listing: int = 0

    @property
    def under_way(self) -> int:
        return len(self.reading) + self.listing


class TreeReader:
    """Keeps a :class:`CachedTree` as the server's answers and events say.

    :param arrived: called whenever a walk has seen everything.
    """

    _log = Logger()

    def __init__(
        self,
        client: ZookeeperAPI,
        tree: CachedTree,
        wants_data: Callable[[str], bool],
        arrived: Callable[[], None],
    ) -> None:
        self._client = client
        self._tree = tree
        self._wants_data = wants_data
        self._arrived = arrived
        self._reads: dict[str, _Read] = {}
        #: Those of them that are to be asked for when all has been looked at that has arrived.
        self._wanted: dict[str, _Read] = {}
        self._writes: dict[str, _Write] = {}
        #: Own creations under way, and what was created since the last answer to one.
        self._creations = 0
        self._created: dict[str, None] = {}
        self._walk: _Walk | None = None

    def walk(self) -> None:
        """Read the whole tree; the recursive watch must have been asked for before."""
        self._walk = _Walk(deque([self._tree.root]))
        self._go_on(self._walk)

    def abandon(self) -> None:
        """Let nothing count any more that was asked until now."""
        self._walk = None
        self._reads.clear()
        self._wanted.clear()
        self._created.clear()
        for write in self._writes.values():
            write.seen = False

    @property
    def reading(self) -> bool:
        """Whether an event called for a read that is not answered yet, or may call for one."""
        held_back = any(write.seen for write in self._writes.values())
        return bool(self._reads or self._created or held_back)

    @property
    def reads_waited_for(self) -> int:
        """How many znodes are read again, as events have called for."""
        return len(self._reads)

    @property
    def walk_left(self) -> int:
        """How many znodes that are known of the walk under way has still to read."""
        walk = self._walk
        return len(walk.to_visit) + walk.under_way if walk is not None else 0

    def expect(self, path: str) -> None:
        """See :meth:`TreeCache.expect`."""
        write = self._writes.get(path)
        if write is None:
            write = self._writes[path] = _Write()
        write.under_way += 1

    def settle(self, path: str) -> None:
        """See :meth:`TreeCache.settle`."""
        write = self._writes[path]
        write.under_way -= 1
        if not write.under_way:
            del self._writes[path]
        if write.seen:
            write.seen = False
            self._read(path)

    def expect_creation(self) -> None:
        """See :meth:`TreeCache.expect_creation`."""
        self._creations += 1

    def settle_creation(self) -> None:
        """See :meth:`TreeCache.settle_creation`."""
        self._creations -= 1
        created, self._created = self._created, {}
        for path in created:
            self._read(path)

    def offer_created(self, path: str, data: bytes, source: object) -> None:
        """See :meth:`TreeCache.offer_created`."""
        if path in self._created:
            del self._created[path]
            self._tree.put(CachedZnode(path, data, _undated(data), source))

    def offer(self, path: str, data: bytes, stat: ZnodeStat, source: object = None) -> None:
        """See :meth:`TreeCache.offer`."""
        write = self._writes.get(path)
        if write is not None:
            write.seen = False
        known = self._tree.get(path)
        if known is None:
            read = self._reads.get(path)
            # Its creation was announced before our write was answered: unless
            # it is being read for that, it is gone again.
            if read is None or read.void:
                return
        elif known.stat is None or stat.mzxid <= known.stat.mzxid:
            return
        self._tree.put(CachedZnode(path, data, stat, source))

    # -- events ----------------------------------------------------------

    def event(self, event: WatchEvent) -> None:
        """Do what a watch event calls for."""
        kind, path = event
        if kind is WatchKind.DELETED:
            unasked = self._wanted.pop(path, None)
            if unasked is not None:
                del self._reads[path]
            elif (read := self._reads.get(path)) is not None:
                read.void, read.again = True, False
            write = self._writes.get(path)
            if write is not None:
                write.seen = False
            self._created.pop(path, None)
            self._tree.remove_tree(path)
            if unasked is not None:
                self._visited(path, None)
        elif kind is WatchKind.CREATED or kind is WatchKind.CHANGED:
            if self._wants_data(path):
                self._record_changed(path, kind is WatchKind.CREATED)
            elif self._tree.get(path) is None:
                self._tree.put(CachedZnode(path, None, None))

    def _record_changed(self, path: str, created: bool) -> None:
        """Read it, unless the answer to an own write is to show it."""
        write = self._writes.get(path)
        if path in self._reads:
            self._read(path)
        elif created and self._creations:
            self._created[path] = None
        elif write is None or created:
            self._created.pop(path, None)
            self._read(path)
        else:
            write.seen = True

    # -- reading znodes --------------------------------------------------

    def _read(self, path: str) -> None:
        """Read it soon, or once more when the present read is answered.

        Events of one znode often come together; then it is read once.
        """
        read = self._reads.get(path)
        if read is not None:
            read.again = read.asked
            return
        first = not self._wanted
        self._wanted[path] = self._reads[path] = _Read()
        if first:
            self._client.soon(self.ask)

    def ask(self) -> None:
        """Make the requests for what is to be read."""
        wanted, self._wanted = self._wanted, {}
        for path, read in wanted.items():
            read.asked = True
            self._client.get(path).addCallbacks(
                self._read_done,
                self._read_failed,
                callbackArgs=(path, read),
                errbackArgs=(path, read),
            )

    def _read_done(self, answer: tuple[bytes, ZnodeStat], path: str, read: _Read) -> None:
        if self._reads.get(path) is not read:
            return
        del self._reads[path]
        data, stat = answer
        if read.void:
            self._after_void(path, read)
            return
        known = self._tree.get(path)
        if known is None or known.stat is None or self._replaces(stat, known.stat):
            self._tree.put(CachedZnode(path, data, stat))
        if read.again:
            self._read(path)
        self._visited(path, stat.numChildren)

    def _after_void(self, path: str, read: _Read) -> None:
        """A deleted znode is there again, or the event said all there is to say."""
        if read.again:
            self._read(path)
        else:
            self._visited(path, None)

    def _replaces(self, stat: ZnodeStat, known: ZnodeStat) -> bool:
        if self._walk is not None:
            # A new session may be with a server whose data was restored.
            return bool(stat.mzxid != known.mzxid)
        return bool(stat.mzxid > known.mzxid)

    def _read_failed(self, failure: Failure, path: str, read: _Read) -> None:
        if self._reads.get(path) is not read:
            return
        del self._reads[path]
        if failure.check(*_connection_errors):
            return
        if read.void:
            self._after_void(path, read)
            return
        if failure.check(NoNodeError):
            self._tree.remove_tree(path)
        else:
            self._log.failure("cannot read {path}", failure=failure, path=path)
            self._tree.remove(path)
        if read.again:
            self._read(path)
        self._visited(path, None)

    # -- walking ---------------------------------------------------------

    def _go_on(self, walk: _Walk) -> None:
        while walk is self._walk:
            if walk.to_visit and walk.under_way < WALK_WINDOW:
                path = walk.to_visit.popleft()
                if self._wants_data(path):
                    walk.reading.add(path)
                    self._read(path)
                else:
                    self._list(walk, path)
            elif walk.under_way:
                return
            else:
                self._walk = None
                self._arrived()

    def _visited(self, path: str, children: int | None) -> None:
        """The walk, if it waits for this, knows now whether there is more below.

        :param children: how many; None if the znode itself is not there.
        """
        walk = self._walk
        if walk is None or path not in walk.reading:
            return
        walk.reading.remove(path)
        if children:
            self._list(walk, path)
        elif children == 0:
            self._keep_only(path, frozenset())
        self._go_on(walk)

    def _list(self, walk: _Walk, path: str) -> None:
        walk.listing += 1
        self._client.get_children(path).addCallbacks(
            self._listed, self._list_failed, callbackArgs=(walk, path), errbackArgs=(walk, path)
        )

    def _listed(self, names: list[str], walk: _Walk, path: str) -> None:
        if walk is not self._walk:
            return
        walk.listing -= 1
        self._keep_only(path, frozenset(names))
        if path not in self._tree and not self._wants_data(path):
            self._tree.put(CachedZnode(path, None, None))
        for name in names:
            child = join(path, name)
            walk.to_visit.append(child)
            if child not in self._tree and not self._wants_data(child):
                self._tree.put(CachedZnode(child, None, None))
        self._go_on(walk)

    def _list_failed(self, failure: Failure, walk: _Walk, path: str) -> None:
        if walk is not self._walk or failure.check(*_connection_errors):
            return
        walk.listing -= 1
        if failure.check(NoNodeError):
            self._tree.remove_tree(path)
        else:
            self._log.failure("cannot list {path}", failure=failure, path=path)
        self._go_on(walk)

    def _keep_only(self, path: str, names: frozenset[str]) -> None:
        """Remove what is known below ``path`` and is not there any more."""
        for name in self._tree.names(path) - names:
            self._tree.remove_tree(join(path, name))
