"""What every :class:`~nodepool_tx.txzookeeper.interface.ZookeeperAPI` must do.

:class:`ZookeeperContract` is mixed into a trial ``TestCase`` that knows how to
make clients of one implementation and how to hurt them.  Nothing in here knows
whether the server is real.  No test sleeps: what must *not* happen is checked
after an answer which, by the first-in-first-out promise, would have come later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    SessionExpiredError,
)
from twisted.internet.defer import Deferred, DeferredQueue, gatherResults
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.interface import (
    SessionState,
    TransactionFailed,
    WatchEvent,
    WatchKind,
    ZookeeperAPI,
)

__all__ = ["EventLog", "ZookeeperContract", "asynchronous", "reached"]


def asynchronous(
    test: Callable[[Any], Coroutine[Deferred[Any], Any, None]],
) -> Callable[[Any], Deferred[None]]:
    """Let trial and pytest run an ``async def`` test on the reactor."""

    @functools.wraps(test)
    def run(self: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(test(self))

    return run


class EventLog:
    """A persistent watch's callback that keeps what it was called with."""

    def __init__(self) -> None:
        self.events: list[WatchEvent] = []
        self._queue: DeferredQueue[WatchEvent] = DeferredQueue()

    def __call__(self, event: WatchEvent) -> None:
        self.events.append(event)
        self._queue.put(event)

    def next(self) -> Deferred[WatchEvent]:
        """Fires with the first event not yet taken."""
        return self._queue.get()

    @property
    def seen(self) -> list[tuple[WatchKind, str]]:
        return [(event.kind, event.path) for event in self.events]


def reached(client: ZookeeperAPI, state: SessionState) -> Deferred[None]:
    """Fires when ``client`` is next told to be in ``state``."""
    done: Deferred[None] = Deferred()

    def observer(new: SessionState) -> None:
        if new is state and not done.called:
            remove()
            done.callback(None)

    remove = client.observe(observer)
    return done


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """A list that receives the result, or the exception, when there is one."""
    box: list[Any] = []

    def keep(result: Any) -> None:
        box.append(result.value if isinstance(result, Failure) else result)

    deferred.addBoth(keep)
    return box


class ZookeeperContract:
    """Mix into ``twisted.trial.unittest.TestCase`` and provide three methods."""

    #: Seconds a single test may take (trial's own limit).
    timeout = 60

    # -- what the implementation under test provides

    def make_client(self, chroot: str = "") -> ZookeeperAPI:
        """A client that is not connected yet.

        All clients of one test see the same tree, which starts empty and is
        no other test's.  With ``chroot`` the client's ``/`` is that path in
        the tree, which need not exist.  The contract closes what it connects.
        """
        raise NotImplementedError

    def expire(self, client: ZookeeperAPI) -> Deferred[None]:
        """End the client's session on the server without telling the client.

        Fires when the server has forgotten it; the client may notice later.
        """
        raise NotImplementedError

    def cut(self, client: ZookeeperAPI) -> None:
        """Break the client's connection now; it may reconnect at once.

        Nothing in flight at the time of the call is answered any more.
        """
        raise NotImplementedError

    # -- steps

    async def connected(self, chroot: str = "") -> Any:
        client = self.make_client(chroot)
        self.addCleanup(client.close)
        await client.connect()
        return client

    async def assert_fails(self, deferred: Deferred[Any], *errors: type[Exception]) -> Exception:
        try:
            result = await deferred
        except errors as error:
            return error
        self.fail(f"expected {errors}, got {result!r}")
        raise AssertionError

    # -- znodes

    @asynchronous
    async def test_create_and_read(self) -> None:
        """What was created is read back, with the stat of a fresh znode."""
        client = await self.connected()
        self.assertEqual(await client.create("/a", b"data"), "/a")
        data, stat = await client.get("/a")
        self.assertEqual(data, b"data")
        self.assertEqual(
            (stat.version, stat.cversion, stat.ephemeralOwner, stat.dataLength, stat.numChildren),
            (0, 0, 0, 4, 0),
        )
        self.assertEqual(stat.czxid, stat.mzxid)
        self.assertGreater(stat.czxid, 0)
        self.assertGreater(stat.ctime, 1_500_000_000_000)

    @asynchronous
    async def test_data_is_empty_by_default(self) -> None:
        """A znode created without data holds no bytes."""
        client = await self.connected()
        await client.create("/a")
        self.assertEqual((await client.get("/a"))[0], b"")

    @asynchronous
    async def test_large_data(self) -> None:
        """Half a megabyte of arbitrary bytes survives."""
        client = await self.connected()
        data = bytes(range(256)) * 2048
        await client.create("/big", data)
        self.assertEqual((await client.get("/big"))[0], data)

    @asynchronous
    async def test_names_beyond_ascii(self) -> None:
        """Paths are text, not bytes."""
        client = await self.connected()
        self.assertEqual(await client.create("/größe-日本", b"1"), "/größe-日本")
        self.assertEqual(await client.get_children("/"), ["größe-日本"])
        self.assertEqual((await client.get("/größe-日本"))[0], b"1")

    @asynchronous
    async def test_create_twice(self) -> None:
        """A path exists once."""
        client = await self.connected()
        await client.create("/a", b"first")
        await self.assert_fails(client.create("/a", b"second"), NodeExistsError)
        self.assertEqual((await client.get("/a"))[0], b"first")

    @asynchronous
    async def test_create_without_parent(self) -> None:
        """A znode needs its parent."""
        client = await self.connected()
        await self.assert_fails(client.create("/a/b"), NoNodeError)

    @asynchronous
    async def test_create_with_parents(self) -> None:
        """``makepath`` makes what is missing above, and minds nothing that is there."""
        client = await self.connected()
        self.assertEqual(await client.create("/a/b/c", b"1", makepath=True), "/a/b/c")
        self.assertEqual(await client.create("/a/b/d", b"2", makepath=True), "/a/b/d")
        self.assertEqual((await client.get("/a/b"))[0], b"")
        self.assertEqual(sorted(await client.get_children("/a/b")), ["c", "d"])
        await self.assert_fails(client.create("/a/b/c", makepath=True), NodeExistsError)

    @asynchronous
    async def test_sequence(self) -> None:
        """Sequence znodes get ten digits that grow, also with an empty name."""
        client = await self.connected()
        first = await client.create("/q/x-", sequence=True, makepath=True)
        second = await client.create("/q/x-", sequence=True)
        third = await client.create("/q/", sequence=True)
        self.assertEqual(
            [first, second, third], ["/q/x-0000000000", "/q/x-0000000001", "/q/0000000002"]
        )
        await client.delete(third)
        self.assertGreater(await client.create("/q/", sequence=True), third)

    @asynchronous
    async def test_ephemeral(self) -> None:
        """An ephemeral belongs to its session, has no children and goes with it at once."""
        client = await self.connected()
        other = await self.connected()
        await client.create("/e", b"", ephemeral=True)
        sequence = await client.create("/e-", b"", ephemeral=True, sequence=True)
        self.assertEqual((await client.exists("/e")).ephemeralOwner, client.session_id)
        self.assertEqual((await client.exists(sequence)).ephemeralOwner, client.session_id)
        await self.assert_fails(client.create("/e/child"), NoChildrenForEphemeralsError)
        await client.close()
        await other.sync()
        self.assertEqual(await other.get_children("/"), [])

    @asynchronous
    async def test_set(self) -> None:
        """A write answers with the stat a read shows next."""
        client = await self.connected()
        await client.create("/a", b"1")
        before = await client.exists("/a")
        stat = await client.set("/a", b"22")
        self.assertEqual((stat.version, stat.dataLength, stat.czxid), (1, 2, before.czxid))
        self.assertGreater(stat.mzxid, before.mzxid)
        self.assertEqual(await client.get("/a"), (b"22", stat))
        await self.assert_fails(client.set("/none", b""), NoNodeError)

    @asynchronous
    async def test_set_at_version(self) -> None:
        """A write at a version that has moved changes nothing."""
        client = await self.connected()
        await client.create("/a", b"1")
        self.assertEqual((await client.set("/a", b"2", 0)).version, 1)
        await self.assert_fails(client.set("/a", b"3", 0), BadVersionError)
        self.assertEqual((await client.get("/a"))[0], b"2")

    @asynchronous
    async def test_delete(self) -> None:
        """Deleting minds version, children and absence."""
        client = await self.connected()
        await client.create("/a/b", makepath=True)
        await self.assert_fails(client.delete("/a"), NotEmptyError)
        await self.assert_fails(client.delete("/a/b", 1), BadVersionError)
        self.assertIsNone(await client.delete("/a/b", 0))
        self.assertIsNone(await client.delete("/a"))
        await self.assert_fails(client.delete("/a"), NoNodeError)

    @asynchronous
    async def test_exists(self) -> None:
        """``exists`` answers with the stat or None."""
        client = await self.connected()
        self.assertIsNone(await client.exists("/a"))
        await client.create("/a", b"1")
        self.assertEqual(await client.exists("/a"), (await client.get("/a"))[1])

    @asynchronous
    async def test_reading_what_is_not_there(self) -> None:
        """Reads of a missing znode say so."""
        client = await self.connected()
        await self.assert_fails(client.get("/a"), NoNodeError)
        await self.assert_fails(client.get_children("/a"), NoNodeError)

    @asynchronous
    async def test_children(self) -> None:
        """Children are names; the parent's stat counts them and dates the last change."""
        client = await self.connected()
        await client.create("/p")
        self.assertEqual(await client.get_children("/p"), [])
        for name in ("a", "b", "c"):
            await client.create("/p/" + name)
        await client.create("/p/a/deeper")
        await client.delete("/p/b")
        self.assertEqual(sorted(await client.get_children("/p")), ["a", "c"])
        stat = await client.exists("/p")
        self.assertEqual((stat.numChildren, stat.cversion, stat.version), (2, 4, 0))
        self.assertGreater(stat.pzxid, (await client.exists("/p/c")).czxid)

    @asynchronous
    async def test_zxids_order_changes(self) -> None:
        """Of two changes anywhere in the tree the later one has the greater zxid."""
        client = await self.connected()
        other = await self.connected()
        await client.create("/a")
        await other.create("/b")
        a = await client.set("/a", b"1")
        b = await other.exists("/b")
        self.assertGreater(a.mzxid, b.czxid)
        self.assertGreater(b.czxid, a.czxid)

    @asynchronous
    async def test_bad_paths(self) -> None:
        """A path that no server would take fails the request, not the connection."""
        client = await self.connected()
        for path in ("", "a", "/a/", "//a", "/a//b"):
            await self.assert_fails(client.create(path), BadArgumentsError)
            await self.assert_fails(client.get(path), BadArgumentsError)
        self.assertIs(client.state, SessionState.CONNECTED)

    @asynchronous
    async def test_sync(self) -> None:
        """After ``sync`` the other client's finished write is seen."""
        client = await self.connected()
        other = await self.connected()
        await other.create("/a", b"1")
        self.assertIsNone(await client.sync())
        self.assertEqual((await client.get("/a"))[0], b"1")
        await other.set("/a", b"2")
        syncing = client.sync("/a")
        reading = client.get("/a")
        await syncing
        self.assertEqual((await reading)[0], b"2")

    # -- whole paths and trees

    @asynchronous
    async def test_ensure_path(self) -> None:
        """Whatever is missing is made, and asking again changes nothing."""
        client = await self.connected()
        self.assertIsNone(await client.ensure_path("/a/b/c"))
        stat = await client.exists("/a/b/c")
        await client.ensure_path("/a/b/c")
        await client.ensure_path("/a")
        await client.ensure_path("/")
        self.assertEqual(await client.exists("/a/b/c"), stat)

    @asynchronous
    async def test_ensure_path_by_many(self) -> None:
        """Any number of clients may ensure overlapping paths at the same time."""
        client = await self.connected()
        other = await self.connected()
        await gatherResults(
            [
                who.ensure_path(f"/a/b/{number % 3}/c/{number}")
                for number in range(12)
                for who in (client, other)
            ]
        )
        self.assertEqual(sorted(await client.get_children("/a/b")), ["0", "1", "2"])

    @asynchronous
    async def test_delete_tree(self) -> None:
        """A tree goes with all below it and leaves its neighbours alone."""
        client = await self.connected()
        for path in ("/t/a/1", "/t/a/2/x/y", "/t/b", "/tt/a"):
            await client.create(path, b"", makepath=True)
        self.assertIsNone(await client.delete_tree("/t"))
        self.assertEqual(await client.get_children("/"), ["tt"])
        self.assertEqual(await client.get_children("/tt"), ["a"])

    @asynchronous
    async def test_delete_tree_of_nothing(self) -> None:
        """Deleting a tree that is not there is fine."""
        client = await self.connected()
        self.assertIsNone(await client.delete_tree("/none"))
        self.assertIsNone(await client.delete_tree("/none/below"))

    @asynchronous
    async def test_delete_tree_against_others(self) -> None:
        """Two clients deleting a tree while a third adds to it do not fail."""
        client = await self.connected()
        other = await self.connected()
        third = await self.connected()
        await client.ensure_path("/t/sub")
        for number in range(20):
            await client.create(f"/t/sub/{number}")
        busy = [client.delete_tree("/t"), other.delete_tree("/t")]
        adding = [outcome(third.create(f"/t/sub/new-{number}")) for number in range(5)]
        await gatherResults(busy)
        await third.sync()
        for result in adding:
            if isinstance(result[0], Exception):
                self.assertIsInstance(result[0], NoNodeError)
        await client.delete_tree("/t")
        self.assertIsNone(await client.exists("/t"))

    # -- first in, first out

    @asynchronous
    async def test_answers_come_in_order(self) -> None:
        """Requests of every kind, failures too, are answered in the order they were made."""
        client = await self.connected()
        await client.create("/a")
        order: list[int] = []
        requests: list[Deferred[Any]] = []
        for number in range(60):
            made = (
                client.set("/a", b"%d" % number),
                client.get("/a"),
                client.set("/none", b""),
                client.create("/s-", sequence=True),
                client.exists("/none"),
                client.get_children("/"),
            )
            for request in made:
                place = len(requests)
                requests.append(request)
                request.addBoth(
                    lambda result, place=place: (
                        order.append(place) or (None if isinstance(result, Failure) else result)
                    )
                )
        results = await gatherResults(requests)
        self.assertEqual(order, list(range(360)))
        for number in range(60):
            self.assertEqual(results[6 * number + 1][0], b"%d" % number)
            self.assertEqual(len(results[6 * number + 5]), number + 2)

    @asynchronous
    async def test_requests_see_those_before_them(self) -> None:
        """Creating, listing and reading written back to back see each other's effect."""
        client = await self.connected()
        creating = client.create("/a", b"1")
        listing = client.get_children("/")
        transaction = client.transaction()
        transaction.set("/a", b"2", 0)
        committing = transaction.commit()
        reading = client.get("/a")
        deleting = client.delete("/a", 1)
        looking = client.exists("/a")
        self.assertEqual(await creating, "/a")
        self.assertEqual(await listing, ["a"])
        await committing
        self.assertEqual((await reading)[0], b"2")
        await deleting
        self.assertIsNone(await looking)

    @asynchronous
    async def test_cancelled_request(self) -> None:
        """Cancelling one request's Deferred leaves the answers of the others alone."""
        client = await self.connected()
        await client.create("/a", b"1")
        given_up = outcome(client.get("/none"))
        cancelled = client.get("/")
        given_up_too = outcome(cancelled)
        reading = client.get("/a")
        cancelled.cancel()
        self.assertEqual((await reading)[0], b"1")
        self.assertIsInstance(given_up[0], NoNodeError)
        self.assertEqual(len(given_up_too), 1)

    # -- transactions

    @asynchronous
    async def test_transaction(self) -> None:
        """All operations happen, each sees those before it, and each has its result."""
        client = await self.connected()
        await client.create("/old", b"1")
        transaction = client.transaction()
        transaction.check("/old", 0)
        transaction.create("/new", b"n")
        transaction.create("/new/child-", sequence=True)
        transaction.create("/mine", ephemeral=True)
        transaction.set("/new", b"nn", 0)
        transaction.delete("/old", 0)
        results = await transaction.commit()
        stat = (await client.get("/new"))[1]
        self.assertEqual(
            results,
            [None, "/new", "/new/child-0000000000", "/mine", results[4], None],
        )
        self.assertEqual((results[4].version, results[4].dataLength), (1, 2))
        self.assertEqual((stat.version, stat.mzxid), (1, results[4].mzxid))
        self.assertEqual(sorted(await client.get_children("/")), ["mine", "new"])
        self.assertEqual((await client.exists("/mine")).ephemeralOwner, client.session_id)

    @asynchronous
    async def test_refused_transaction(self) -> None:
        """One failing operation undoes all, and is named with its reason."""
        client = await self.connected()
        await client.create("/a", b"1")
        cases: list[tuple[str, type[Exception], Callable[[Any], None]]] = [
            ("check", BadVersionError, lambda t: t.check("/a", 7)),
            ("check", NoNodeError, lambda t: t.check("/none")),
            ("set", BadVersionError, lambda t: t.set("/a", b"2", 7)),
            ("delete", NoNodeError, lambda t: t.delete("/none")),
            ("create", NodeExistsError, lambda t: t.create("/a")),
            ("create", NoNodeError, lambda t: t.create("/none/below")),
        ]
        for operation, error, add in cases:
            transaction = client.transaction()
            transaction.create("/b")
            transaction.set("/a", b"changed")
            add(transaction)
            transaction.create("/c")
            failed = await self.assert_fails(transaction.commit(), TransactionFailed)
            assert isinstance(failed, TransactionFailed)
            self.assertEqual((failed.index, failed.operation), (2, operation))
            self.assertIsInstance(failed.error, error)
            self.assertNotIsInstance(failed.error, RolledBackError)
        self.assertEqual(await client.get_children("/"), ["a"])
        self.assertEqual((await client.get("/a"))[0], b"1")

    @asynchronous
    async def test_refused_first_and_last(self) -> None:
        """The index is right at both ends."""
        client = await self.connected()
        for index in (0, 2):
            transaction = client.transaction()
            for position in range(3):
                if position == index:
                    transaction.delete("/none")
                else:
                    transaction.create(f"/{position}")
            failed = await self.assert_fails(transaction.commit(), TransactionFailed)
            assert isinstance(failed, TransactionFailed)
            self.assertEqual(failed.index, index)
        self.assertEqual(await client.get_children("/"), [])

    @asynchronous
    async def test_empty_transaction(self) -> None:
        """Nothing to do is done."""
        client = await self.connected()
        self.assertEqual(await client.transaction().commit(), [])

    @asynchronous
    async def test_check_alone(self) -> None:
        """A transaction may consist of conditions only."""
        client = await self.connected()
        await client.create("/a")
        transaction = client.transaction()
        transaction.check("/a")
        transaction.check("/a", 0)
        self.assertEqual(await transaction.commit(), [None, None])

    # -- one-shot watches

    @asynchronous
    async def test_data_watch(self) -> None:
        """A data watch fires once, with the first change."""
        client = await self.connected()
        await client.create("/a", b"1")
        reading, watch = client.get_and_watch("/a")
        self.assertEqual((await reading)[0], b"1")
        seen = outcome(watch)
        await client.create("/a/child")
        self.assertEqual(seen, [])
        await client.set("/a", b"2")
        await client.set("/a", b"3")
        self.assertEqual(seen, [WatchEvent(WatchKind.CHANGED, "/a")])

    @asynchronous
    async def test_data_watch_sees_deletion(self) -> None:
        """A data watch fires when the znode goes."""
        client = await self.connected()
        other = await self.connected()
        await client.create("/a")
        reading, watch = client.get_and_watch("/a")
        await reading
        await other.delete("/a")
        self.assertEqual(await watch, WatchEvent(WatchKind.DELETED, "/a"))

    @asynchronous
    async def test_exists_watch(self) -> None:
        """An existence watch sees creation, change and deletion, one at a time."""
        client = await self.connected()
        other = await self.connected()
        expected = [
            (WatchKind.CREATED, lambda: other.create("/a")),
            (WatchKind.CHANGED, lambda: other.set("/a", b"1")),
            (WatchKind.DELETED, lambda: other.delete("/a")),
            (WatchKind.CREATED, lambda: other.create("/a")),
        ]
        for kind, change in expected:
            looking, watch = client.exists_and_watch("/a")
            await looking
            await change()
            self.assertEqual(await watch, WatchEvent(kind, "/a"))
            await client.sync()

    @asynchronous
    async def test_child_watch(self) -> None:
        """A child watch sees a child come or go and the znode itself go, but no data."""
        client = await self.connected()
        await client.create("/a")
        for kind, change in [
            (WatchKind.CHILDREN, lambda: client.create("/a/b")),
            (WatchKind.CHILDREN, lambda: client.delete("/a/b")),
            (WatchKind.DELETED, lambda: client.delete("/a")),
        ]:
            listing, watch = client.get_children_and_watch("/a")
            await listing
            seen = outcome(watch)
            await client.set("/a", b"1")
            self.assertEqual(seen, [])
            await change()
            self.assertEqual(seen, [WatchEvent(kind, "/a")])

    @asynchronous
    async def test_many_watches_on_one_path(self) -> None:
        """Every watch on a path is told, whatever its kind and number."""
        client = await self.connected()
        await client.create("/a")
        reads = [
            client.get_and_watch("/a"),
            client.get_and_watch("/a"),
            client.exists_and_watch("/a"),
            client.get_children_and_watch("/a"),
        ]
        seen = [outcome(watch) for _, watch in reads]
        for reading, _ in reads:
            await reading
        await client.delete("/a")
        self.assertEqual(seen, [[WatchEvent(WatchKind.DELETED, "/a")]] * 4)

    @asynchronous
    async def test_no_watch_without_an_answer(self) -> None:
        """A read that fails leaves no watch behind."""
        client = await self.connected()
        reading, watch = client.get_and_watch("/a")
        listing, children = client.get_children_and_watch("/a")
        seen = [outcome(watch), outcome(children)]
        await self.assert_fails(reading, NoNodeError)
        await self.assert_fails(listing, NoNodeError)
        await client.create("/a")
        await client.set("/a", b"1")
        self.assertEqual(seen, [[], []])

    @asynchronous
    async def test_event_before_answer(self) -> None:
        """The event comes before the answer of the very write that caused it."""
        client = await self.connected()
        await client.create("/a")
        await client.get_and_watch("/a")[0]
        order: list[str] = []
        reading, watch = client.get_and_watch("/a")
        await reading
        watch.addCallback(lambda _: order.append("event"))
        log: list[WatchEvent] = []

        def persistent(event: WatchEvent) -> None:
            log.append(event)
            order.append("persistent")

        await client.watch("/", persistent, recursive=True)
        writing = client.set("/a", b"1").addCallback(lambda _: order.append("set"))
        rereading = client.get("/a").addCallback(lambda _: order.append("get"))
        await gatherResults([writing, rereading])
        self.assertEqual(sorted(order[:2]), ["event", "persistent"])
        self.assertEqual(order[2:], ["set", "get"])
        self.assertEqual(log, [WatchEvent(WatchKind.CHANGED, "/a")])

    @asynchronous
    async def test_event_before_data_of_others(self) -> None:
        """Who is shown another client's change has had the event before."""
        client = await self.connected()
        other = await self.connected()
        await client.create("/a", b"0")
        for number in range(1, 30):
            reading, watch = client.get_and_watch("/a")
            await reading
            seen = outcome(watch)
            writing = other.set("/a", b"%d" % number)
            while True:
                data = (await client.get("/a"))[0]
                if data == b"%d" % number:
                    break
                self.assertEqual(data, b"%d" % (number - 1))
            self.assertEqual(seen, [WatchEvent(WatchKind.CHANGED, "/a")])
            await writing

    # -- persistent watches

    @asynchronous
    async def test_persistent_watch(self) -> None:
        """It sees all that happens to its path and to the list of its children, again and again."""
        client = await self.connected()
        log = EventLog()
        await client.watch("/a", log)
        await client.create("/a")
        await client.set("/a", b"1")
        await client.set("/a", b"2")
        await client.create("/a/b")
        await client.set("/a/b", b"1")
        await client.create("/a/b/c")
        await client.delete("/a/b/c")
        await client.delete("/a/b")
        await client.delete("/a")
        await client.create("/a")
        self.assertEqual(
            log.seen,
            [
                (WatchKind.CREATED, "/a"),
                (WatchKind.CHANGED, "/a"),
                (WatchKind.CHANGED, "/a"),
                (WatchKind.CHILDREN, "/a"),
                (WatchKind.CHILDREN, "/a"),
                (WatchKind.DELETED, "/a"),
                (WatchKind.CREATED, "/a"),
            ],
        )

    @asynchronous
    async def test_recursive_watch(self) -> None:
        """It sees everything at and below its path, and nothing beside it."""
        client = await self.connected()
        log = EventLog()
        await client.watch("/a", log, recursive=True)
        await client.create("/a")
        await client.create("/a/b")
        await client.set("/a/b", b"1")
        await client.create("/a/b/c")
        await client.create("/ab")
        await client.set("/a", b"1")
        await client.delete("/a/b/c")
        await client.delete("/a/b")
        await client.delete("/a")
        self.assertEqual(
            log.seen,
            [
                (WatchKind.CREATED, "/a"),
                (WatchKind.CREATED, "/a/b"),
                (WatchKind.CHANGED, "/a/b"),
                (WatchKind.CREATED, "/a/b/c"),
                (WatchKind.CHANGED, "/a"),
                (WatchKind.DELETED, "/a/b/c"),
                (WatchKind.DELETED, "/a/b"),
                (WatchKind.DELETED, "/a"),
            ],
        )

    @asynchronous
    async def test_recursive_watch_on_the_root(self) -> None:
        """The root can be watched, and others' changes are seen."""
        client = await self.connected()
        other = await self.connected()
        log = EventLog()
        await client.watch("/", log, recursive=True)
        await other.create("/a/b", makepath=True)
        self.assertEqual(await log.next(), WatchEvent(WatchKind.CREATED, "/a"))
        self.assertEqual(await log.next(), WatchEvent(WatchKind.CREATED, "/a/b"))

    @asynchronous
    async def test_watch_sees_transactions(self) -> None:
        """Each operation of a transaction is an event."""
        client = await self.connected()
        await client.create("/a")
        log = EventLog()
        await client.watch("/", log, recursive=True)
        transaction = client.transaction()
        transaction.create("/b")
        transaction.set("/a", b"1")
        transaction.delete("/a")
        await transaction.commit()
        self.assertEqual(
            log.seen,
            [(WatchKind.CREATED, "/b"), (WatchKind.CHANGED, "/a"), (WatchKind.DELETED, "/a")],
        )

    @asynchronous
    async def test_stopped_watch(self) -> None:
        """From the call of ``stop`` on nothing is delivered."""
        client = await self.connected()
        await client.create("/a")
        log = EventLog()
        watch = await client.watch("/a", log)
        stopping = watch.stop()
        await client.set("/a", b"1")
        self.assertIsNone(await stopping)
        await client.set("/a", b"2")
        await client.delete("/a")
        self.assertEqual(log.seen, [])

    @asynchronous
    async def test_one_of_two_watches_stopped(self) -> None:
        """Stopping one watch leaves another on the same path, recursive or not, alone."""
        client = await self.connected()
        await client.create("/a")
        for first, second in [(False, False), (True, True), (False, True), (True, False)]:
            gone, left = EventLog(), EventLog()
            stopped = await client.watch("/a", gone, recursive=first)
            staying = await client.watch("/a", left, recursive=second)
            await client.create("/a/b")
            await stopped.stop()
            gone.events.clear()
            left.events.clear()
            await client.set("/a", b"1")
            await client.delete("/a/b")
            self.assertEqual(gone.seen, [])
            below = (WatchKind.DELETED, "/a/b") if second else (WatchKind.CHILDREN, "/a")
            self.assertEqual(left.seen, [(WatchKind.CHANGED, "/a"), below])
            await staying.stop()

    @asynchronous
    async def test_plain_and_recursive_on_one_path(self) -> None:
        """Both kinds on one path each see what they would see alone, in either order."""
        client = await self.connected()
        for recursive_first in (True, False):
            plain, recursive = EventLog(), EventLog()
            watches = []
            if recursive_first:
                watches.append(await client.watch("/a", recursive, recursive=True))
            watches.append(await client.watch("/a", plain))
            if not recursive_first:
                watches.append(await client.watch("/a", recursive, recursive=True))
            await client.create("/a")
            await client.create("/a/b")
            await client.create("/a/b/c")
            await client.delete_tree("/a")
            self.assertEqual(
                plain.seen,
                [
                    (WatchKind.CREATED, "/a"),
                    (WatchKind.CHILDREN, "/a"),
                    (WatchKind.CHILDREN, "/a"),
                    (WatchKind.DELETED, "/a"),
                ],
            )
            self.assertEqual(
                recursive.seen,
                [
                    (WatchKind.CREATED, "/a"),
                    (WatchKind.CREATED, "/a/b"),
                    (WatchKind.CREATED, "/a/b/c"),
                    (WatchKind.DELETED, "/a/b/c"),
                    (WatchKind.DELETED, "/a/b"),
                    (WatchKind.DELETED, "/a"),
                ],
            )
            for watch in watches:
                await watch.stop()

    @asynchronous
    async def test_one_shot_beside_persistent(self) -> None:
        """A one-shot watch on a path neither wears out nor needs the persistent one there."""
        client = await self.connected()
        await client.create("/a")
        for recursive in (False, True):
            log = EventLog()
            watch = await client.watch("/a", log, recursive=recursive)
            reading, shot = client.get_and_watch("/a")
            listing, children = client.get_children_and_watch("/a")
            await gatherResults([reading, listing])
            seen = [outcome(shot), outcome(children)]
            await client.set("/a", b"1")
            await client.create("/a/b")
            self.assertEqual(seen[0], [WatchEvent(WatchKind.CHANGED, "/a")])
            self.assertEqual(seen[1], [WatchEvent(WatchKind.CHILDREN, "/a")])
            await client.set("/a", b"2")
            await client.delete("/a/b")
            self.assertEqual(len(log.events), 4)
            reading, shot = client.get_and_watch("/a")
            listing, children = client.get_children_and_watch("/a")
            await watch.stop()
            await gatherResults([reading, listing])
            seen = [outcome(shot), outcome(children)]
            await client.set("/a", b"3")
            await client.create("/a/c")
            self.assertEqual(seen[0], [WatchEvent(WatchKind.CHANGED, "/a")])
            self.assertEqual(seen[1], [WatchEvent(WatchKind.CHILDREN, "/a")])
            self.assertEqual(len(log.events), 4)
            await client.delete("/a/c")

    # -- losing the connection

    @asynchronous
    async def test_before_connect(self) -> None:
        """A client that was never connected has no session and refuses requests at once."""
        client = self.make_client()
        self.addCleanup(client.close)
        self.assertIs(client.state, SessionState.CONNECTING)
        self.assertEqual((client.session_id, client.session_epoch), (0, 0))
        failed = outcome(client.get("/"))
        self.assertIsInstance(failed[0], ConnectionLoss)
        seen: list[SessionState] = []
        client.observe(seen.append)
        await client.connect()
        self.assertEqual(seen, [SessionState.CONNECTED])
        self.assertNotEqual(client.session_id, 0)
        self.assertEqual(client.session_epoch, 1)
        self.assertGreater(client.session_timeout, 0)

    @asynchronous
    async def test_observers(self) -> None:
        """Each observer is told until it is removed, and may remove itself while told."""
        client = await self.connected()
        one: list[SessionState] = []
        two: list[SessionState] = []

        def once(state: SessionState) -> None:
            one.append(state)
            remove()

        remove = client.observe(once)
        client.observe(two.append)
        back = reached(client, SessionState.CONNECTED)
        self.cut(client)
        await back
        self.assertEqual(one, [SessionState.SUSPENDED])
        self.assertEqual(two, [SessionState.SUSPENDED, SessionState.CONNECTED])

    @asynchronous
    async def test_cut(self) -> None:
        """A broken connection fails what is in flight; the session goes on."""
        client = await self.connected()
        other = await self.connected()
        await client.create("/e", ephemeral=True)
        session = (client.session_id, client.session_epoch)
        refused: list[Any] = []

        def observer(state: SessionState) -> None:
            if state is SessionState.SUSPENDED:
                self.assertIs(client.state, SessionState.SUSPENDED)
                refused.append(outcome(client.get("/"))[0])

        client.observe(observer)
        back = reached(client, SessionState.CONNECTED)
        flying = [client.get("/e"), client.set("/e", b"1"), client.exists("/none")]
        self.cut(client)
        for request in flying:
            await self.assert_fails(request, ConnectionLoss)
        await back
        self.assertIsInstance(refused[0], ConnectionLoss)
        self.assertNotIsInstance(refused[0], SessionExpiredError)
        self.assertEqual((client.session_id, client.session_epoch), session)
        self.assertEqual((await client.exists("/e")).ephemeralOwner, session[0])
        self.assertEqual((await other.exists("/e")).ephemeralOwner, session[0])

    @asynchronous
    async def test_one_shot_watches_survive_a_cut(self) -> None:
        """One-shot watches fire after a reconnect, for what was missed and for what follows."""
        client = await self.connected()
        other = await self.connected()
        for name in ("changed", "deleted", "parent", "gone", "later"):
            await client.create("/" + name)
        reads = {
            "/changed": client.get_and_watch("/changed"),
            "/deleted": client.exists_and_watch("/deleted"),
            "/created": client.exists_and_watch("/created"),
            "/parent": client.get_children_and_watch("/parent"),
            "/gone": client.get_children_and_watch("/gone"),
            "/later": client.get_and_watch("/later"),
        }
        for reading, _ in reads.values():
            await reading
        seen = outcome(reads["/later"][1])
        back = reached(client, SessionState.CONNECTED)
        self.cut(client)
        await gatherResults(
            [
                other.set("/changed", b"1"),
                other.delete("/deleted"),
                other.create("/created"),
                other.create("/parent/child"),
                other.delete("/gone"),
            ]
        )
        for path, kind in [
            ("/changed", WatchKind.CHANGED),
            ("/deleted", WatchKind.DELETED),
            ("/created", WatchKind.CREATED),
            ("/parent", WatchKind.CHILDREN),
            ("/gone", WatchKind.DELETED),
        ]:
            self.assertEqual(await reads[path][1], WatchEvent(kind, path))
        await back
        self.assertEqual(seen, [])
        await client.set("/later", b"1")
        self.assertEqual(seen, [WatchEvent(WatchKind.CHANGED, "/later")])

    @asynchronous
    async def test_persistent_watches_survive_a_cut(self) -> None:
        """Who reads on CONNECTED misses nothing that happens after it."""
        client = await self.connected()
        other = await self.connected()
        await client.create("/a")
        plain, recursive = EventLog(), EventLog()
        await client.watch("/a", plain)
        await client.watch("/", recursive, recursive=True)
        back = reached(client, SessionState.CONNECTED)
        self.cut(client)
        await back
        await client.get("/a")
        plain.events.clear()
        recursive.events.clear()
        await other.create("/a/b")
        await client.sync()
        self.assertEqual(plain.seen, [(WatchKind.CHILDREN, "/a")])
        self.assertEqual(recursive.seen, [(WatchKind.CREATED, "/a/b")])

    # -- losing the session

    @asynchronous
    async def test_expiry(self) -> None:
        """An expired session is said, takes its ephemerals along and has a successor."""
        client = await self.connected()
        other = await self.connected()
        await client.create("/e", ephemeral=True)
        await client.create("/p")
        old = (client.session_id, client.session_epoch)
        states: list[SessionState] = []
        told: list[Any] = []

        def observer(state: SessionState) -> None:
            states.append(state)
            if state is SessionState.EXPIRED:
                told.append(client.session_id)
                told.append(outcome(client.get("/p"))[0])
            elif state is SessionState.CONNECTED:
                told.append(client.session_epoch)

        client.observe(observer)
        looking, watch = other.exists_and_watch("/e")
        await looking
        back = reached(client, SessionState.CONNECTED)
        await self.expire(client)
        self.assertEqual(await watch, WatchEvent(WatchKind.DELETED, "/e"))
        await back
        self.assertEqual(
            [state for state in states if state is not SessionState.SUSPENDED],
            [SessionState.EXPIRED, SessionState.CONNECTED],
        )
        self.assertEqual(told[0], 0)
        self.assertIsInstance(told[1], SessionExpiredError)
        self.assertNotIsInstance(told[1], ConnectionClosedError)
        self.assertEqual(told[2], old[1] + 1)
        self.assertNotIn(client.session_id, (0, old[0]))
        self.assertEqual(await client.get_children("/"), ["p"])
        await client.create("/e", ephemeral=True)
        self.assertEqual((await other.exists("/e")).ephemeralOwner, client.session_id)

    @asynchronous
    async def test_watches_and_expiry(self) -> None:
        """One-shot watches end with the session; persistent ones go on in the next."""
        client = await self.connected()
        other = await self.connected()
        await client.create("/a")
        log = EventLog()
        watch = await client.watch("/", log, recursive=True)
        reads = [
            client.get_and_watch("/a"),
            client.exists_and_watch("/none"),
            client.get_children_and_watch("/"),
        ]
        for reading, _ in reads:
            await reading
        back = reached(client, SessionState.CONNECTED)
        await self.expire(client)
        for _, shot in reads:
            self.assertIs((await shot).kind, WatchKind.SESSION_LOST)
        await back
        await client.get("/a")
        log.events.clear()
        await other.set("/a", b"1")
        await client.sync()
        self.assertEqual(log.seen, [(WatchKind.CHANGED, "/a")])
        await watch.stop()
        await other.set("/a", b"2")
        await client.sync()
        self.assertEqual(len(log.seen), 1)

    @asynchronous
    async def test_expiry_twice(self) -> None:
        """Every session that ends is counted."""
        client = await self.connected()
        for epoch in (2, 3):
            back = reached(client, SessionState.CONNECTED)
            await self.expire(client)
            await back
            self.assertEqual(client.session_epoch, epoch)

    # -- the end

    @asynchronous
    async def test_close(self) -> None:
        """A closed client says so, ends its watches and refuses requests."""
        client = await self.connected()
        await client.create("/a")
        states: list[SessionState] = []
        client.observe(states.append)
        reading, watch = client.get_and_watch("/a")
        await reading
        seen = outcome(watch)
        self.assertIsNone(await client.close())
        self.assertEqual(states, [SessionState.CLOSED])
        self.assertIs(client.state, SessionState.CLOSED)
        self.assertEqual([event.kind for event in seen], [WatchKind.SESSION_LOST])
        for request in (
            client.get("/a"),
            client.set("/a", b""),
            client.create("/b"),
            client.ensure_path("/b"),
            client.watch("/", states.append),
        ):
            await self.assert_fails(request, ConnectionClosedError)
        transaction = client.transaction()
        transaction.delete("/a")
        await self.assert_fails(transaction.commit(), ConnectionClosedError)

    @asynchronous
    async def test_close_answers_what_came_before(self) -> None:
        """Requests made before ``close`` are carried out and answered."""
        client = await self.connected()
        other = await self.connected()
        writing = [client.create(f"/{number}") for number in range(20)]
        closing = client.close()
        refused = outcome(client.create("/late"))
        self.assertEqual(await gatherResults(writing), [f"/{number}" for number in range(20)])
        await closing
        self.assertIsInstance(refused[0], ConnectionClosedError)
        await other.sync()
        self.assertEqual(len(await other.get_children("/")), 20)

    @asynchronous
    async def test_close_twice(self) -> None:
        """Closing again, at the same time or later, is fine."""
        client = await self.connected()
        await gatherResults([client.close(), client.close()])
        await client.close()

    # -- chroot

    @asynchronous
    async def test_chroot(self) -> None:
        """A client with a chroot neither shows nor needs to know it."""
        outside = await self.connected()
        inside = await self.connected("/some/where")
        await self.assert_fails(inside.create("/a"), NoNodeError)
        await inside.ensure_path("/")
        self.assertEqual(await inside.create("/a", b"1"), "/a")
        self.assertEqual(await inside.create("/s-", sequence=True), "/s-0000000001")
        self.assertEqual((await outside.get("/some/where/a"))[0], b"1")
        self.assertEqual(sorted(await inside.get_children("/")), ["a", "s-0000000001"])
        transaction = inside.transaction()
        transaction.create("/t")
        transaction.delete("/a")
        self.assertEqual(await transaction.commit(), ["/t", None])
        await inside.delete_tree("/t")
        self.assertEqual(await outside.get_children("/some/where"), ["s-0000000001"])

    @asynchronous
    async def test_chroot_and_watches(self) -> None:
        """Events of a client with a chroot carry its own paths, the root's included."""
        outside = await self.connected()
        inside = await self.connected("/some/where")
        await inside.ensure_path("/")
        log = EventLog()
        await inside.watch("/", log, recursive=True)
        listing, watch = inside.get_children_and_watch("/")
        await listing
        reading, data = inside.get_and_watch("/")
        await reading
        await outside.create("/some/where/a")
        await outside.set("/some/where", b"1")
        self.assertEqual(await watch, WatchEvent(WatchKind.CHILDREN, "/"))
        self.assertEqual(await data, WatchEvent(WatchKind.CHANGED, "/"))
        self.assertEqual(await log.next(), WatchEvent(WatchKind.CREATED, "/a"))
        self.assertEqual(await log.next(), WatchEvent(WatchKind.CHANGED, "/"))

    @asynchronous
    async def test_makepath_creates_the_chroot(self) -> None:
        """``makepath`` reaches above the client's root."""
        inside = await self.connected("/not/yet")
        self.assertEqual(await inside.create("/a/b", makepath=True), "/a/b")
