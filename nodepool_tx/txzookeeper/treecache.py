"""A part of ZooKeeper's tree, held in memory and kept up to date.

Design note: why a walk and events cannot disagree
--------------------------------------------------
The recursive watch is set first, then the tree is walked; both go over one
connection, on which answers and events arrive in the order in which things
happened on the server, an event before any answer that shows its change.  So
what an answer shows is applied when it arrives: what happened before it is in
it, and what happened after it comes as an event.  An event says only that
something happened, so the znode is read again; a read under way when its znode
is deleted is void, whatever it says.

Where a znode's data can come from elsewhere, an own write whose answer holds
the new stat, ``mzxid`` decides which is newer.  While such a write is under way
the znode is not read for an event: all that was told before the write's answer
happened before it, and so is covered by what it wrote.  While own creations are
under way, whose paths the server chooses, what is created is not read, either:
the next answer to one of them says which of that is ours, as what ours of a later
one made is told of only behind that answer.

When the connection breaks, events are lost.  The cache is *stale* until it has
walked the tree again over the next connection; of that walk only the
differences are told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kazoo.exceptions import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    SessionExpiredError,
)
from kazoo.protocol.states import ZnodeStat
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.cachedtree import CacheChange, CachedTree, CachedZnode, ChangeKind
from nodepool_tx.txzookeeper.caughtup import caught_up
from nodepool_tx.txzookeeper.interface import SessionState, Watch, ZookeeperAPI
from nodepool_tx.txzookeeper.treereader import TreeReader

__all__ = ["CacheChange", "CachedZnode", "ChangeKind", "TreeCache", "pass_barrier"]


class TreeCache:
    """The znodes at and below ``root``, which need not exist.

    :param wants_data: whether the data of a path is read and followed; other
        znodes are known to exist, which costs no read.
    :param keeps_data: whether :meth:`get` has it; without that only changes do,
        for subscribers that make something else of it.
    """

    _log = Logger()

    def __init__(
        self,
        client: ZookeeperAPI,
        root: str,
        *,
        wants_data: Callable[[str], bool] = lambda path: True,
        keeps_data: bool = True,
    ) -> None:
        self._client = client
        self.root = root
        self._tree = CachedTree(root, keeps_data)
        self._reader = TreeReader(client, self._tree, wants_data, self._arrived)
        self._watch: Watch | None = None
        self._setting_watch = False
        self._current = False
        self._waiting: dict[Deferred[None], None] = {}
        self._unobserve: Callable[[], None] | None = None
        self._stopped = False

    # -- reading ---------------------------------------------------------

    def __len__(self) -> int:
        return len(self._tree)

    def __contains__(self, path: object) -> bool:
        return path in self._tree

    @property
    def current(self) -> bool:
        """Nothing is missing but what is on its way from the server."""
        return self._current and self._client.state is SessionState.CONNECTED

    @property
    def lag(self) -> tuple[int, int]:
        """How many znodes are read again after events, and are still to be read by a walk."""
        return self._reader.reads_waited_for, self._reader.walk_left

    def get(self, path: str) -> CachedZnode | None:
        """The znode, or None if it does not exist."""
        return self._tree.get(path)

    def children(self, path: str) -> frozenset[str]:
        """Names of the znodes directly below ``path``; takes time by their number."""
        return self._tree.children(path)

    def paths(self) -> tuple[str, ...]:
        """Every path known, in no order."""
        return tuple(self._tree)

    def subscribe(self, callback: Callable[[CacheChange], None]) -> Callable[[], None]:
        """Call ``callback`` with each difference from now on; returns what ends that.

        The cache shows a change before it is told.  What the callback raises is
        logged.
        """
        return self._tree.subscribe(callback)

    # -- life ------------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Follow the server whenever there is a connection.

        Fires when the cache is current for the first time.  Fails with
        CancelledError when it is stopped before that, and with the server's
        error when it knows no persistent watches.
        """
        if self._stopped:
            raise RuntimeError("a tree cache is started once")
        starting = self.when_current()
        if self._unobserve is None:
            self._unobserve = self._client.observe(self._on_state)
            self._on_state(self._client.state)
        return starting

    def stop(self) -> Deferred[None]:
        """Follow no more; nothing is told from this call on.

        Fires when the server's watch is off.
        """
        self._stopped = True
        if self._unobserve is not None:
            self._unobserve()
        self._tree.silence()
        self._lose_touch()
        self._release_waiting(Failure(CancelledError()))
        watch, self._watch = self._watch, None
        return succeed(None) if watch is None else watch.stop()

    def barrier(self) -> Deferred[None]:
        """Fires when all that anybody wrote before this call is in the cache.

        Waits for a connection if there is none.
        """
        return Deferred.fromCoroutine(pass_barrier(self._client, [self]))

    @property
    def reading(self) -> bool:
        """Something that an event told of is being read."""
        return self._reader.reading

    def hasten(self) -> None:
        """Ask for what is to be read now, before whatever is asked next."""
        self._reader.ask()

    def expect(self, path: str) -> None:
        """An own write of a znode is under way, whose outcome comes by :meth:`offer`.

        Call :meth:`settle` when it has, or when there will be none.
        """
        self._reader.expect(path)

    def settle(self, path: str) -> None:
        """The write is over: read the znode if it has changed without our being told to what."""
        self._reader.settle(path)

    def expect_creation(self) -> None:
        """Own creations are under way whose outcome comes by :meth:`offer_created`.

        Call :meth:`settle_creation` when it has, or when there will be none.
        """
        self._reader.expect_creation()

    def settle_creation(self) -> None:
        """The oldest of the creations under way are over: read what else was created."""
        self._reader.settle_creation()

    def offer_created(self, path: str, data: bytes, source: object = None) -> None:
        """Take over an own creation, known from its answer; ``source`` as in :meth:`offer`.

        The answer does not say when it happened, so the stat is one of a version
        that is older than whatever the server shows: the next walk tells of it again.
        """
        self._reader.offer_created(path, data, source)

    def offer(self, path: str, data: bytes, stat: ZnodeStat, source: object = None) -> None:
        """Take over an own write, known from its answer, before its event is read.

        Anything the server has shown that is as new is left alone, and so is a
        znode that the cache does not know any more.

        :param source: what ``data`` was made from, for subscribers who would make
            the same of it again.
        """
        self._reader.offer(path, data, stat, source)

    # -- staying current -------------------------------------------------

    def _on_state(self, state: SessionState) -> None:
        self._lose_touch()
        if state is SessionState.CONNECTED:
            self._begin()
        elif state is SessionState.CLOSED:
            self._release_waiting(Failure(ConnectionClosedError()))
        elif state is SessionState.AUTH_FAILED:
            self._release_waiting(Failure(AuthFailedError()))

    def _lose_touch(self) -> None:
        self._reader.abandon()
        if self._current:
            self._current = False
            self._tree.tell(CacheChange(ChangeKind.STALE, self.root))

    def _begin(self) -> None:
        if self._watch is None and not self._setting_watch:
            self._setting_watch = True
            self._client.watch(self.root, self._reader.event, recursive=True).addCallbacks(
                self._watch_set, self._watch_failed
            )
        self._reader.walk()

    def _arrived(self) -> None:
        self._current = True
        self._tree.tell(CacheChange(ChangeKind.CURRENT, self.root))
        self._release_waiting(None)

    def _watch_set(self, watch: Watch) -> None:
        self._setting_watch = False
        if self._stopped:
            watch.stop()
        else:
            self._watch = watch

    def _watch_failed(self, failure: Failure) -> None:
        self._setting_watch = False
        if failure.check(ConnectionLoss, SessionExpiredError, ConnectionClosedError) is None:
            self._log.failure("cannot watch {root}", failure=failure, root=self.root)
            self._lose_touch()
            self._release_waiting(failure)

    def when_current(self) -> Deferred[None]:
        """Fires when the cache is current; at once if it is."""
        if self.current:
            return succeed(None)
        waiting: Deferred[None] = Deferred(lambda _: self._waiting.pop(waiting, None))
        self._waiting[waiting] = None
        return waiting

    def _release_waiting(self, outcome: Failure | None) -> None:
        while self._waiting:
            waiting = next(iter(self._waiting))
            del self._waiting[waiting]
            waiting.callback(None) if outcome is None else waiting.errback(outcome)


async def pass_barrier(client: ZookeeperAPI, caches: Sequence[TreeCache]) -> None:
    """Wait until all that anybody wrote before this call is in all of these caches of a client.

    It costs one write, however many they are.  Waits for a connection if there is none.
    """
    while True:
        for cache in caches:
            await cache.when_current()
        try:
            await caught_up(client)
            # All events are here.  What they made us read is answered before anything
            # asked now; the second time also what those answers, and those to own writes
            # that were asked for meanwhile, make us read.
            for _ in range(2):
                reading = [cache for cache in caches if cache.reading]
                for cache in reading:
                    cache.hasten()
                if reading:
                    await client.exists(caches[0].root)
        except (ConnectionLoss, SessionExpiredError):
            continue
        return
