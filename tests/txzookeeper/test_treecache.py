"""The tree cache on a ZooKeeper kept in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    NoAuthError,
    NodeExistsError,
    UnimplementedError,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from nodepool_tx.testing.zookeeper import MemoryZookeeper
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache
from nodepool_tx.txzookeeper.treereader import WALK_WINDOW
from tests.testing.zk_steps import MemoryZookeeperTestCase


def not_locks(path: str) -> bool:
    return "/lock" not in path


class TreeCacheTestCase(MemoryZookeeperTestCase):
    """A client, a cache on ``/r`` and what the cache told."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.connected()
        self.told: list[tuple[str, str]] = []

    def cache(
        self, root: str = "/r", wants_data: Callable[[str], bool] = not_locks, start: bool = True
    ) -> TreeCache:
        cache = TreeCache(self.client, root, wants_data=wants_data)
        cache.subscribe(lambda change: self.told.append((change.kind.value, change.path)))
        if start:
            self.done(cache.start())
            self.told.clear()
        return cache

    def assert_mirrors(self, cache: TreeCache) -> None:
        tree = self.inspector.dump(cache.root)
        self.assertEqual(sorted(cache.paths()), sorted(tree))
        for path, data in tree.items():
            known = cache.get(path)
            assert known is not None
            if not_locks(path):
                stat = self.inspector.stat(path)
                assert stat is not None
                assert known.stat is not None
                # An own creation is shown before anybody has said when it was.
                mzxid = known.stat.mzxid or stat.czxid
                self.assertEqual((known.data, mzxid), (data, stat.mzxid))
            else:
                self.assertEqual((known.data, known.stat), (None, None))


class WalkTests(TreeCacheTestCase):
    """Getting to know the tree."""

    def test_walk(self) -> None:
        """A cache that was started shows the tree and then says that it is current."""
        self.inspector.create("/r/a", b"1")
        self.inspector.create("/r/a/lock/x")
        self.inspector.create("/rr/other")
        cache = self.cache(start=False)
        starting = cache.start()
        self.assertFalse(cache.current)
        self.done(starting)
        self.assertTrue(cache.current)
        self.assert_mirrors(cache)
        self.assertEqual(
            self.told,
            [
                ("added", "/r"),
                ("added", "/r/a"),
                ("added", "/r/a/lock"),
                ("added", "/r/a/lock/x"),
                ("current", "/r"),
            ],
        )
        self.assertEqual(len(cache), 4)
        self.assertIn("/r/a/lock", cache)
        self.assertNotIn("/r/b", cache)
        self.assertEqual(cache.children("/r/a"), {"lock"})
        self.assertEqual(cache.children("/r/none"), frozenset())
        znode = cache.get("/r/a")
        assert znode is not None
        self.assertEqual((znode.path, znode.data), ("/r/a", b"1"))
        self.assertIsNone(cache.get("/r/b"))

    def test_whole_tree(self) -> None:
        """The root of a cache may be the root of the tree."""
        self.inspector.create("/a/b", b"1")
        cache = self.cache("/")
        self.assertEqual(cache.children("/"), {"a", "zookeeper"})
        self.assertEqual(cache.children("/a"), {"b"})
        self.inspector.delete_tree("/a")
        self.inspector.create("/c")
        self.settle()
        self.assertEqual(cache.children("/"), {"c", "zookeeper"})

    def test_missing_root(self) -> None:
        """A root that does not exist is an empty cache, which fills when it appears."""
        cache = self.cache()
        self.assertTrue(cache.current)
        self.assertEqual(cache.paths(), ())
        self.inspector.create("/r/a/lock/x", b"1")
        self.inspector.create("/r/b")
        self.settle()
        self.assert_mirrors(cache)
        self.inspector.delete_tree("/r")
        self.settle()
        self.assertEqual(cache.paths(), ())
        self.assertTrue(cache.current)

    def test_root_without_data(self) -> None:
        """A root whose data is not wanted is known to exist all the same."""
        self.inspector.create("/r/lock/x")
        cache = self.cache(wants_data=lambda path: False)
        self.assertEqual(sorted(cache.paths()), ["/r", "/r/lock", "/r/lock/x"])
        self.assertEqual(self.inspector.requests["get"], 0)

    def test_start_waits_for_a_connection(self) -> None:
        """A cache may be started before its client is connected."""
        self.inspector.create("/r/a")
        self.client = self.zookeeper.client()
        cache = self.cache(start=False)
        starting = cache.start()
        self.settle()
        self.assertNoResult(starting)
        self.client.connect()
        self.done(starting)
        self.assert_mirrors(cache)

    def test_start_again(self) -> None:
        """Starting twice is waiting twice."""
        cache = self.cache(start=False)
        first, second = cache.start(), cache.start()
        self.done(first)
        self.done(second)
        self.done(cache.start())
        self.assertEqual(self.inspector.watches, 1)
        self.assertEqual(self.told, [("current", "/r")])

    def test_what_stops_a_start(self) -> None:
        """A start that can never be done fails with the reason."""
        self.inspector.fail_next("watch", UnimplementedError())
        self.fails(self.cache(start=False).start(), UnimplementedError)
        self.assertEqual(len(self.flushLoggedErrors(UnimplementedError)), 1)
        self.inspector.suspend(self.client)
        starting = self.cache(start=False).start()
        cancelled = self.cache(start=False).start()
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.client.close()
        self.failureResultOf(starting, ConnectionClosedError)
        self.failureResultOf(self.cache(start=False).start(), ConnectionClosedError)
        self.client = self.zookeeper.client()
        self.inspector.refuse(self.client)
        starting = self.cache(start=False).start()
        self.fails(self.client.connect(), AuthFailedError)
        self.failureResultOf(starting, AuthFailedError)
        self.failureResultOf(self.cache(start=False).start(), AuthFailedError)

    def test_connection_lost_while_walking(self) -> None:
        """A walk that is cut starts anew and tells nothing twice."""
        for number in range(5):
            self.inspector.create(f"/r/{number}/lock/x")
        for path in ("/r", "/r/3", "/r/2/lock", "/r/4/lock/x"):
            with self.subTest(path):
                self.told.clear()
                cache = self.cache(start=False)
                starting = cache.start()
                self.inspector.fail_next("get_children", ConnectionLoss(), path=path)
                self.done(starting)
                self.assert_mirrors(cache)
                self.assertEqual(max(Counter(self.told).values()), 1)
                self.assertEqual(self.inspector.watches, 1)
                self.done(cache.stop())

    def test_suspended_while_walking(self) -> None:
        """What changes while a walk is cut off is in the next one."""
        for number in range(5):
            self.inspector.create(f"/r/{number}/lock/x")
        cache = self.cache(start=False)
        starting = cache.start()
        self.inspector.before("get", lambda _: self.inspector.suspend(self.client), path="/r/3")
        self.settle()
        self.assertNoResult(starting)
        self.assertFalse(cache.current)
        self.inspector.delete_tree("/r/0")
        self.inspector.create("/r/new", b"1")
        self.inspector.resume(self.client)
        self.done(starting)
        self.assert_mirrors(cache)
        self.assertEqual(max(Counter(self.told).values()), 1)

    def test_changes_while_walking(self) -> None:
        """Whatever comes, changes and goes behind or before the walk is right at its end."""
        for number in range(4):
            self.inspector.create(f"/r/{number}/lock/x", b"1")

        def meddle(_: Any) -> None:
            self.inspector.delete_tree("/r/0")
            self.inspector.delete_tree("/r/3")
            self.inspector.create("/r/3/other/deep", b"2")
            self.inspector.create("/r/new/lock/y", b"3")
            self.inspector.set("/r/1", b"4")
            self.inspector.delete("/r/2/lock/x")

        for op in ("get", "get_children"):
            for path in ("/r", "/r/0", "/r/2", "/r/3"):
                for stage in (self.inspector.before, self.inspector.after):
                    with self.subTest(op=op, path=path, stage=stage.__name__):
                        self.inspector.delete_tree("/r")
                        for number in range(4):
                            self.inspector.create(f"/r/{number}/lock/x", b"1")
                        stage(op, meddle, path=path)
                        cache = self.cache()
                        self.assert_mirrors(cache)
                        self.done(cache.stop())

    def test_a_walk_leaves_room_for_others(self) -> None:
        """Only so many of a walk's requests are under way at a time."""
        clock = Clock()
        zookeeper = MemoryZookeeper(clock, latency=1.0)
        client = zookeeper.client()
        client.connect()
        zookeeper.inspector.settle(clock)
        for number in range(1000):
            zookeeper.inspector.create(f"/r/{number}/lock")
        at: Counter[float] = Counter()
        zookeeper.inspector.before("*", lambda _: at.update([clock.seconds()]), times=None)
        cache = TreeCache(client, "/r", wants_data=not_locks)
        cache.start()
        zookeeper.inspector.settle(clock)
        self.assertEqual(len(cache), 2001)
        self.assertEqual(max(at.values()), WALK_WINDOW)


class EventTests(TreeCacheTestCase):
    """Following what happens."""

    def test_changes_are_told(self) -> None:
        """Each addition, change and removal is told once, when the cache shows it."""
        self.inspector.create("/r")
        cache = self.cache()
        shown: list[Any] = []
        cache.subscribe(lambda change: shown.append((change.znode, cache.get(change.path))))
        self.inspector.create("/r/a", b"1")
        self.settle()
        self.inspector.set("/r/a", b"2")
        self.settle()
        self.inspector.delete("/r/a")
        self.settle()
        self.assertEqual(self.told, [("added", "/r/a"), ("changed", "/r/a"), ("removed", "/r/a")])
        self.assertEqual([told.data for told, _ in shown], [b"1", b"2", b"2"])
        self.assertEqual([now and now.data for _, now in shown], [b"1", b"2", None])

    def test_locks_are_followed_without_reads(self) -> None:
        """What carries no data of interest comes and goes without a request."""
        self.inspector.create("/r/a")
        cache = self.cache()
        self.inspector.requests.clear()
        self.inspector.create("/r/a/lock/x", b"me")
        self.inspector.set("/r/a/lock/x", b"you")
        self.settle()
        self.assertEqual(cache.children("/r/a/lock"), {"x"})
        self.inspector.delete("/r/a/lock/x")
        self.settle()
        self.assertEqual(cache.children("/r/a/lock"), frozenset())
        self.assertEqual(
            self.told,
            [("added", "/r/a/lock"), ("added", "/r/a/lock/x"), ("removed", "/r/a/lock/x")],
        )
        self.assertEqual(self.inspector.requests.total(), 0)

    def test_gone_between_event_and_read(self) -> None:
        """A znode that is gone when it is read was never there."""
        self.inspector.create("/r")
        cache = self.cache()
        self.inspector.before("get", lambda _: self.inspector.delete("/r/a"), path="/r/a")
        self.inspector.create("/r/a")
        self.settle()
        self.assertEqual(self.told, [])
        self.assert_mirrors(cache)

    def test_gone_while_its_answer_is_on_the_way(self) -> None:
        """A znode deleted after it was read is added and removed."""
        self.inspector.create("/r")
        cache = self.cache()
        self.inspector.after("get", lambda _: self.inspector.delete("/r/a"), path="/r/a")
        self.inspector.create("/r/a")
        self.settle()
        self.assertEqual(self.told, [("added", "/r/a"), ("removed", "/r/a")])
        self.assert_mirrors(cache)

    def test_recreated_while_being_read(self) -> None:
        """A znode that is deleted and created again while it is read ends as the new one."""
        self.inspector.create("/r")
        cache = self.cache()

        def recreate(_: Any) -> None:
            self.inspector.delete("/r/a")
            self.inspector.create("/r/a", b"new")

        for stage in (self.inspector.before, self.inspector.after):
            stage("get", recreate, path="/r/a")
            self.inspector.create("/r/a", b"old")
            self.settle()
            self.assert_mirrors(cache)
            self.inspector.delete("/r/a")
            self.settle()

    def test_what_arrives_together_is_read_once(self) -> None:
        """Any number of changes that are heard of in one turn cost one read."""
        self.inspector.create("/r/a", b"0")
        cache = self.cache()
        self.inspector.requests.clear()
        for number in range(100):
            self.inspector.set("/r/a", b"%d" % number)
        self.settle()
        self.assertEqual(self.inspector.requests, {"get": 1})
        self.assertEqual(self.told, [("changed", "/r/a")])
        self.assert_mirrors(cache)

    def test_what_is_gone_before_it_is_asked_for_is_not_read(self) -> None:
        """A znode that came and went in one turn costs nothing."""
        self.inspector.create("/r")
        cache = self.cache()
        self.inspector.requests.clear()
        self.inspector.create("/r/a", b"0")
        self.inspector.delete("/r/a")
        self.settle()
        self.assertEqual(self.inspector.requests, {})
        self.assertEqual(self.told, [])
        self.assert_mirrors(cache)

    def test_a_burst_is_read_twice_at_most(self) -> None:
        """Any number of changes while the znode is read costs one read more."""
        clock = Clock()
        zookeeper = MemoryZookeeper(clock, latency=1.0)
        inspector = zookeeper.inspector
        client = zookeeper.client()
        client.connect()
        inspector.create("/r/a", b"0")
        cache = TreeCache(client, "/r", wants_data=not_locks)
        cache.start()
        inspector.settle(clock)
        inspector.requests.clear()
        for number in range(90):
            inspector.set("/r/a", b"%d" % number)
            clock.advance(0.01)
        inspector.settle(clock)
        self.assertEqual(inspector.requests, {"get": 2})
        known = cache.get("/r/a")
        assert known is not None
        self.assertEqual(known.data, b"89")

    def test_cost_does_not_grow_with_the_tree(self) -> None:
        """One change in a large tree costs one read."""
        for number in range(500):
            self.inspector.create(f"/r/{number}/lock")
        cache = self.cache()
        self.inspector.requests.clear()
        self.inspector.set("/r/250", b"1")
        self.settle()
        self.assertEqual(self.inspector.requests, {"get": 1})
        self.assert_mirrors(cache)

    def test_failing_subscriber(self) -> None:
        """A subscriber that raises is logged and harms nobody."""

        def raises(_: CacheChange) -> None:
            raise ValueError("by intent")

        cache = self.cache(start=False)
        cache.subscribe(raises)
        after: list[CacheChange] = []
        cache.subscribe(after.append)
        self.inspector.create("/r/a")
        self.done(cache.start())
        self.assert_mirrors(cache)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3)
        self.assertEqual(len(after), 3)

    def test_unsubscribe(self) -> None:
        """A subscriber may leave at any time, while it is told too."""
        self.inspector.create("/r")
        cache = self.cache()
        told: list[CacheChange] = []

        def once(change: CacheChange) -> None:
            told.append(change)
            leave()

        leave = cache.subscribe(once)
        self.inspector.create("/r/a")
        self.inspector.create("/r/b")
        self.settle()
        leave()
        self.assertEqual(len(told), 1)
        self.assertEqual(len(self.told), 2)

    def test_subscribers_are_told_in_one_order(self) -> None:
        """A change caused by a subscriber is told to all after the one it answers."""
        self.inspector.create("/r/a")
        cache = self.cache()
        stat = self.inspector.stat("/r/a")
        assert stat is not None
        newer = stat._replace(mzxid=stat.mzxid + 100)

        def answer(change: CacheChange) -> None:
            if change.path == "/r/b":
                cache.offer("/r/a", b"1", newer)

        cache.subscribe(answer)
        late: list[tuple[str, str]] = []
        cache.subscribe(lambda change: late.append((change.kind.value, change.path)))
        self.inspector.create("/r/b")
        self.settle()
        self.assertEqual(late, [("added", "/r/b"), ("changed", "/r/a")])
        self.assertEqual(self.told, late)

    def test_unreadable_znode(self) -> None:
        """A znode that may not be read is logged and left out."""
        self.inspector.create("/r/a", b"1")
        self.inspector.create("/r/b", b"1")
        self.inspector.fail_next("get", NoAuthError(), path="/r/a")
        self.inspector.fail_next("get_children", NoAuthError(), path="/r/b/lock")
        self.inspector.create("/r/b/lock")
        cache = self.cache()
        self.assertEqual(sorted(cache.paths()), ["/r", "/r/b", "/r/b/lock"])
        self.assertTrue(cache.current)
        self.inspector.fail_next("get", NoAuthError(), path="/r/b")
        self.inspector.set("/r/b", b"2")
        self.settle()
        self.assertNotIn("/r/b", cache)
        self.inspector.set("/r/a", b"2")
        self.settle()
        self.assertIn("/r/a", cache)
        self.assertEqual(len(self.flushLoggedErrors(NoAuthError)), 3)


class ReconnectTests(TreeCacheTestCase):
    """Losing touch and finding back."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("a", "b", "c"):
            self.inspector.create(f"/r/{name}/lock", b"1")
        self.inspector.create("/r/a/lock/x")

    def meddle(self) -> None:
        self.inspector.delete_tree("/r/a")
        self.inspector.set("/r/b", b"2")
        self.inspector.create("/r/b/lock/y")
        self.inspector.create("/r/d", b"1")

    differences = [
        ("removed", "/r/a"),
        ("removed", "/r/a/lock"),
        ("removed", "/r/a/lock/x"),
        ("changed", "/r/b"),
        ("added", "/r/b/lock/y"),
        ("added", "/r/d"),
    ]

    def test_stale_until_walked(self) -> None:
        """Without connection the cache is stale; the next walk tells the differences only."""
        cache = self.cache()
        self.inspector.suspend(self.client)
        self.assertFalse(cache.current)
        self.assertEqual(self.told, [("stale", "/r")])
        self.assertIn("/r/a", cache)
        self.meddle()
        self.inspector.resume(self.client)
        self.settle()
        self.assertTrue(cache.current)
        self.assert_mirrors(cache)
        self.assertEqual(self.told[-1], ("current", "/r"))
        self.assertEqual(sorted(self.told[1:-1]), sorted(self.differences))
        self.assertLess(
            self.told.index(("removed", "/r/a/lock/x")), self.told.index(("removed", "/r/a"))
        )

    def test_new_session(self) -> None:
        """The same holds when the session was lost, and the cache goes on following."""
        cache = self.cache()
        self.inspector.suspend(self.client)
        self.inspector.expire(self.client)
        self.meddle()
        self.inspector.resume(self.client)
        self.settle()
        self.assert_mirrors(cache)
        self.assertEqual(sorted(self.told[1:-1]), sorted(self.differences))
        self.inspector.set("/r/c", b"3")
        self.settle()
        self.assert_mirrors(cache)
        self.assertEqual(self.inspector.watches, 1)

    def test_everything_gone(self) -> None:
        """A tree that is gone after a reconnect is removed, the root last."""
        caches = [self.cache(), self.cache(wants_data=lambda path: path != "/r")]
        self.inspector.suspend(self.client)
        self.inspector.delete_tree("/r")
        self.inspector.resume(self.client)
        self.settle()
        for cache in caches:
            self.assertTrue(cache.current)
            self.assertEqual(cache.paths(), ())
        self.assertEqual(self.told[-2:], [("removed", "/r"), ("current", "/r")])

    def test_children_gone(self) -> None:
        """What is gone below a znode that stays is removed."""
        cache = self.cache()
        self.inspector.suspend(self.client)
        for name in ("a", "b", "c"):
            self.inspector.delete_tree(f"/r/{name}/lock")
            self.inspector.set(f"/r/{name}", b"2")
        self.inspector.resume(self.client)
        self.settle()
        self.assert_mirrors(cache)

    def test_nothing_new(self) -> None:
        """A reconnect without changes tells only that."""
        self.cache()
        self.inspector.cut(self.client)
        self.settle()
        self.assertEqual(self.told, [("stale", "/r"), ("current", "/r")])

    def test_stale_is_said_once(self) -> None:
        """Being suspended, expired and cut while walking is one time of being stale."""
        cache = self.cache()
        self.inspector.suspend(self.client)
        self.inspector.expire(self.client)
        self.inspector.fail_next("get", ConnectionLoss(), path="/r/b")
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.told, [("stale", "/r"), ("current", "/r")])
        self.assertTrue(cache.current)

    def test_not_current_as_soon_as_the_connection_is_gone(self) -> None:
        """Who hears of a lost request finds the cache not current already."""
        cache = self.cache()
        seen: list[bool] = []
        self.client.get("/").addErrback(lambda _: seen.append(cache.current))
        self.inspector.cut(self.client)
        self.assertEqual(seen, [False])

    def test_restored_server(self) -> None:
        """Data older than what is known counts if the server shows it in a new session."""
        cache = self.cache()
        known = cache.get("/r/b")
        assert known is not None
        assert known.stat is not None
        cache.offer("/r/b", b"lost", known.stat._replace(mzxid=known.stat.mzxid + 1000))
        self.assertEqual(self.told, [("changed", "/r/b")])
        self.inspector.expire(self.client)
        self.settle()
        self.assert_mirrors(cache)

    def test_cut_while_the_watch_is_being_set(self) -> None:
        """A watch whose setting was not answered is set again, once."""
        cache = self.cache(start=False)
        starting = cache.start()
        self.inspector.lose_reply_next("watch")
        self.done(starting)
        self.assertEqual(self.inspector.watches, 1)
        self.inspector.set("/r/b", b"3")
        self.settle()
        self.assert_mirrors(cache)


class OfferTests(TreeCacheTestCase):
    """Own writes, known before their events are read."""

    def setUp(self) -> None:
        super().setUp()
        self.inspector.create("/r/a", b"0")

    def write(self, cache: TreeCache, data: bytes) -> None:
        self.client.set("/r/a", data).addCallback(lambda stat: cache.offer("/r/a", data, stat))

    def test_an_offer_is_one_change(self) -> None:
        """An own write is shown when it is answered, and its event changes nothing more."""
        cache = self.cache()
        shown: list[bytes | None] = []
        self.client.set("/r/a", b"1").addCallback(
            lambda stat: cache.offer("/r/a", b"1", stat)
        ).addCallback(lambda _: shown.append(cache.get("/r/a").data))  # type: ignore[union-attr]
        self.settle()
        self.assertEqual(shown, [b"1"])
        self.assertEqual(self.told, [("changed", "/r/a")])
        self.assert_mirrors(cache)

    def test_an_expected_write_is_not_read(self) -> None:
        """What is known from the answer of an own write is not asked for."""
        cache = self.cache()
        self.inspector.requests.clear()
        cache.expect("/r/a")
        self.write(cache, b"1")
        self.settle()
        cache.settle("/r/a")
        self.settle()
        self.assertEqual(self.inspector.requests, {"set": 1})
        self.assertEqual(self.told, [("changed", "/r/a")])
        self.assert_mirrors(cache)

    def test_an_expected_write_that_fails(self) -> None:
        """Somebody else has written first: that is read when it is known."""
        cache = self.cache()
        cache.expect("/r/a")
        self.inspector.set("/r/a", b"theirs")
        failing = self.client.set("/r/a", b"mine", 1000)
        self.settle()
        self.failureResultOf(failing, BadVersionError)
        self.assertEqual(self.told, [])
        cache.settle("/r/a")
        self.settle()
        self.assertEqual(self.told, [("changed", "/r/a")])
        self.assert_mirrors(cache)

    def test_a_late_offer(self) -> None:
        """An offer older than what the server has shown is not taken."""
        cache = self.cache()
        old = self.done(self.client.set("/r/a", b"mine"))
        self.inspector.set("/r/a", b"theirs")
        self.settle()
        self.told.clear()
        cache.offer("/r/a", b"mine", old)
        self.assertEqual(self.told, [])
        self.assert_mirrors(cache)

    def test_an_older_read_after_an_offer(self) -> None:
        """An answer older than an offer does not undo it."""
        cache = self.cache()
        stat = self.inspector.stat("/r/a")
        assert stat is not None
        cache.offer("/r/a", b"next", stat._replace(mzxid=stat.mzxid + 2))
        self.inspector.set("/r/a", b"before")
        self.settle()
        known = cache.get("/r/a")
        self.assertEqual(known and known.data, b"next")
        self.assertEqual(self.told, [("changed", "/r/a")])

    def test_an_offer_of_what_is_gone(self) -> None:
        """An offer does not bring back a znode that was deleted meanwhile."""
        cache = self.cache()
        stat = self.done(self.client.set("/r/a", b"mine"))
        self.inspector.delete("/r/a")
        self.settle()
        self.told.clear()
        cache.offer("/r/a", b"mine", stat)
        self.assertEqual(self.told, [])
        self.assertIsNone(cache.get("/r/a"))

    def test_an_offer_of_what_was_deleted_while_read(self) -> None:
        """Nor does it while a read of the deleted znode is still under way."""
        cache = self.cache()
        stat = self.done(self.client.set("/r/a", b"mine"))
        self.told.clear()
        offered: list[Any] = []

        def see_removal(change: CacheChange) -> None:
            if change.kind is ChangeKind.REMOVED:
                cache.offer("/r/a", b"mine", stat)
                offered.append(cache.get("/r/a"))

        cache.subscribe(see_removal)
        self.inspector.set("/r/a", b"theirs")
        self.inspector.delete("/r/a")
        self.settle()
        self.assertEqual(offered, [None])
        self.assertEqual(self.told, [("removed", "/r/a")])

    def test_an_offer_of_a_created_znode(self) -> None:
        """An own new znode may be offered when its creation is answered."""
        cache = self.cache()

        async def create() -> None:
            creating, looking = self.client.create("/r/b", b"1"), self.client.exists("/r/b")
            path, stat = await creating, await looking
            assert stat is not None
            cache.offer(path, b"1", stat)
            self.told.append(("offered", path))

        self.done(create())
        self.assertEqual(self.told, [("added", "/r/b"), ("offered", "/r/b")])
        self.assert_mirrors(cache)

    def create(self, cache: TreeCache, data: bytes) -> Deferred[str]:
        cache.expect_creation()

        def created(path: str) -> str:
            cache.offer_created(path, data)
            cache.settle_creation()
            return path

        return self.client.create("/r/n-", data, sequence=True).addCallback(created)

    def test_an_expected_creation_is_not_read(self) -> None:
        """What was created is known from the answer, path and all, and shown at once."""
        cache = self.cache()
        self.inspector.requests.clear()
        path = self.done(self.create(cache, b"1"))
        known = cache.get(path)
        assert known is not None
        assert known.stat is not None
        self.assertEqual(
            {**known.stat._asdict(), "dataLength": 0}, dict.fromkeys(known.stat._fields, 0)
        )
        self.assertEqual(known.stat.dataLength, 1)
        self.assertEqual(self.told, [("added", path)])
        self.settle()
        self.assertEqual(self.inspector.requests, {"create": 1})
        self.assert_mirrors(cache)

    def test_a_change_of_an_expected_creation(self) -> None:
        """Whoever writes it next is newer, whatever the version that was offered."""
        cache = self.cache()
        path = self.done(self.create(cache, b"1"))
        self.inspector.set(path, b"2")
        self.settle()
        self.assertEqual(self.told, [("added", path), ("changed", path)])
        self.assert_mirrors(cache)

    def test_others_create_meanwhile(self) -> None:
        """What others create while an own creation is under way is read after its answer."""
        cache = self.cache()
        creating, again = self.create(cache, b"1"), self.create(cache, b"2")
        self.inspector.create("/r/theirs", b"3")
        paths = [self.done(creating), self.done(again)]
        self.settle()
        self.assertEqual(sorted(self.told), [("added", path) for path in [*paths, "/r/theirs"]])
        self.assert_mirrors(cache)

    def test_an_expected_creation_that_fails(self) -> None:
        """Then what was created meanwhile is somebody else's, and is read."""
        cache = self.cache()
        cache.expect_creation()
        failing = self.client.create("/r/a", b"mine")
        self.inspector.create("/r/b", b"theirs")
        self.settle()
        self.failureResultOf(failing, NodeExistsError)
        self.assertEqual(self.told, [])
        cache.settle_creation()
        self.settle()
        self.assertEqual(self.told, [("added", "/r/b")])
        self.assert_mirrors(cache)

    def test_a_creation_that_is_gone_again(self) -> None:
        """What was deleted before the answer could be offered does not come back."""
        cache = self.cache()
        cache.expect_creation()
        path = self.done(self.client.create("/r/b", b"1"))
        self.inspector.delete(path)
        self.settle()
        cache.offer_created(path, b"1")
        cache.settle_creation()
        self.settle()
        self.assertEqual(self.told, [])
        self.assert_mirrors(cache)

    def test_an_offer_names_its_source(self) -> None:
        """Subscribers are told what offered data was made from; the cache does not keep it."""
        cache = self.cache()
        sources: list[object] = []
        cache.subscribe(lambda change: sources.append(change.znode and change.znode.source))
        stat = self.done(self.client.set("/r/a", b"1"))
        cache.offer("/r/a", b"1", stat._replace(mzxid=stat.mzxid + 1), "one")
        known = cache.get("/r/a")
        self.assertEqual((sources[-1], known and known.source), ("one", None))
        self.inspector.set("/r/a", b"2")
        self.inspector.set("/r/a", b"3")
        self.settle()
        self.assertIsNone(sources[-1])

    def test_an_offer_of_what_carries_no_data(self) -> None:
        """What is followed without data stays without."""
        self.inspector.create("/r/a/lock")
        cache = self.cache()
        stat = self.done(self.client.set("/r/a/lock", b"1"))
        cache.offer("/r/a/lock", b"1", stat)
        cache.offer("/r/lock/none", b"1", stat)
        self.assert_mirrors(cache)
        self.assertEqual(self.told, [])


class BarrierTests(TreeCacheTestCase):
    """Waiting until what was written is seen."""

    def test_barrier(self) -> None:
        """When it fires, everything written before it was asked for is in the cache."""
        self.inspector.create("/r/a", b"0")
        cache = self.cache()
        other = self.connected()
        seen: list[Any] = []
        for number in range(1, 6):
            other.set("/r/a", b"%d" % number)
        self.done(other.create("/r/b", b"1"))
        cache.barrier().addCallback(lambda _: seen.append((cache.get("/r/a"), cache.get("/r/b"))))
        self.settle()
        [(a, b)] = seen
        self.assertEqual((a.data, b.data), (b"5", b"1"))

    def test_own_writes_that_begin_meanwhile(self) -> None:
        """They hide nothing that was written before the barrier was asked for."""
        self.inspector.create("/r/a", b"0")
        cache = self.cache()
        self.inspector.set("/r/a", b"theirs")
        seen: list[Any] = []
        cache.barrier().addCallback(lambda _: seen.append(cache.get("/r/a")))
        cache.expect("/r/a")
        writing = self.client.set("/r/a", b"ours", 0)
        writing.addErrback(lambda failure: failure.trap(BadVersionError))
        writing.addCallback(lambda _: cache.settle("/r/a"))
        self.settle()
        [known] = seen
        self.assertEqual(known.data, b"theirs")

    def test_nothing_to_wait_for(self) -> None:
        """A barrier costs one round trip when nothing is being read."""
        cache = self.cache()
        self.inspector.requests.clear()
        self.done(cache.barrier())
        self.assertEqual(self.inspector.requests, {"transaction": 1})

    def test_reads_are_waited_for(self) -> None:
        """What the last events call for is read before the barrier is passed."""
        self.inspector.create("/r/a", b"0")
        cache = self.cache()
        seen: list[Any] = []
        self.inspector.before("transaction", lambda _: self.inspector.set("/r/a", b"1"))
        cache.barrier().addCallback(lambda _: seen.append(cache.get("/r/a")))
        self.settle()
        self.assertEqual([known.data for known in seen], [b"1"])

    def test_without_connection(self) -> None:
        """A barrier waits for the connection and the walk."""
        self.inspector.create("/r/a", b"0")
        cache = self.cache()
        self.inspector.suspend(self.client)
        self.inspector.set("/r/a", b"1")
        waiting = cache.barrier()
        self.settle()
        self.assertNoResult(waiting)
        self.inspector.resume(self.client)
        self.done(waiting)
        self.assert_mirrors(cache)

    def test_cut_while_waiting(self) -> None:
        """A barrier survives losing connection and session in the middle."""
        cache = self.cache()
        for op in ("transaction", "exists"):
            self.inspector.create(f"/r/{op}", b"1")
            waiting = cache.barrier()
            self.inspector.fail_next(op, ConnectionLoss())
            self.done(waiting)
            self.assert_mirrors(cache)
        waiting = cache.barrier()
        self.inspector.expire(self.client)
        self.assertNoResult(waiting)
        self.done(waiting)

    def test_closed(self) -> None:
        """A barrier on a closed client fails."""
        cache = self.cache()
        self.inspector.suspend(self.client)
        waiting = cache.barrier()
        self.client.close()
        self.failureResultOf(waiting, ConnectionClosedError)


class StopTests(TreeCacheTestCase):
    """The end."""

    def test_stop(self) -> None:
        """A stopped cache tells nothing and leaves no watch."""
        self.inspector.create("/r/a")
        cache = self.cache()
        self.inspector.set("/r/a", b"1")
        stopping = cache.stop()
        self.done(stopping)
        self.inspector.cut(self.client)
        self.settle()
        self.assertEqual(self.told, [])
        self.assertFalse(cache.current)
        self.assertEqual(self.inspector.watches, 0)
        with self.assertRaises(RuntimeError):
            cache.start()

    def test_stop_before_it_is_current(self) -> None:
        """Stopping while walking fails the start, and takes the watch off all the same."""
        cache = self.cache(start=False)
        starting = cache.start()
        self.done(cache.stop())
        self.failureResultOf(starting, CancelledError)
        self.settle()
        self.assertEqual(self.inspector.watches, 0)
        self.assertEqual(self.told, [])

    def test_stop_while_walking(self) -> None:
        """A stopped cache asks nothing more, and what is answered does not count."""
        for number in range(3):
            self.inspector.create(f"/r/{number}/lock")
        cache = self.cache(start=False)
        starting = cache.start()
        self.inspector.after("get_children", lambda _: cache.stop(), path="/r")
        self.settle()
        self.failureResultOf(starting, CancelledError)
        self.assertEqual(cache.paths(), ("/r",))
        self.assertEqual(
            self.inspector.requests, {"watch": 1, "get": 1, "get_children": 1, "unwatch": 1}
        )

    def test_stop_while_reading(self) -> None:
        """What is answered after the stop does not count."""
        self.inspector.create("/r/a", b"0")
        cache = self.cache()
        self.inspector.after("get", lambda _: cache.stop(), path="/r/a")
        self.inspector.set("/r/a", b"1")
        self.settle()
        known = cache.get("/r/a")
        self.assertEqual(known and known.data, b"0")

    def test_stop_in_a_subscriber(self) -> None:
        """A cache may be stopped by who is told of a change."""
        self.inspector.create("/r/a")
        cache = self.cache(start=False)
        cache.subscribe(lambda change: cache.stop() and None)
        starting = cache.start()
        self.settle()
        self.failureResultOf(starting, CancelledError)
        self.assertEqual(self.told, [("added", "/r")])
        self.assertEqual(self.inspector.watches, 0)

    def test_stop_before_start(self) -> None:
        """A cache that was never started stops at once."""
        self.successResultOf(self.cache(start=False).stop())
