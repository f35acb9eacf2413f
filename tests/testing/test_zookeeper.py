"""The controls of the ZooKeeper kept in memory, and what the contract leaves open."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import (
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from twisted.internet.defer import Deferred

from nodepool_tx.testing.zookeeper import MemoryZookeeper, ServerCall
from nodepool_tx.txzookeeper.interface import SessionState, WatchEvent, WatchKind
from tests.testing.zk_steps import MemoryZookeeperTestCase


class TimeTests(MemoryZookeeperTestCase):
    """When requests are carried out and answered."""

    latency = 0.5

    def test_nothing_happens_within_the_call(self) -> None:
        """A request is carried out after half the latency and answered after all of it."""
        client = self.connected()
        creating = client.create("/a")
        self.assertEqual(self.inspector.dump(), {})
        self.clock.advance(0.25)
        self.assertEqual(self.inspector.dump(), {"/a": b""})
        self.assertNoResult(creating)
        self.clock.advance(0.25)
        self.assertEqual(self.successResultOf(creating), "/a")

    def test_each_request_has_its_own_time(self) -> None:
        """Requests made at different times are answered at different times."""
        client = self.connected()
        first = client.create("/a")
        self.clock.advance(0.125)
        second = client.create("/b")
        self.clock.advance(0.125)
        self.assertEqual(list(self.inspector.dump()), ["/a"])
        self.clock.advance(0.125)
        self.assertEqual(list(self.inspector.dump()), ["/a", "/b"])
        self.assertNoResult(first)
        self.clock.advance(0.125)
        self.assertEqual(self.successResultOf(first), "/a")
        self.assertNoResult(second)
        self.clock.advance(0.125)
        self.assertEqual(self.successResultOf(second), "/b")

    def test_settle_stops_when_nothing_is_under_way(self) -> None:
        """Settling takes one latency for each round trip and fires no later timer."""
        client = self.connected()
        fired: list[str] = []
        before = self.clock.seconds()
        self.clock.callLater(3.1, fired.append, "timer")
        client.ensure_path("/a")
        self.settle()
        self.assertEqual(list(self.inspector.dump()), ["/a"])
        self.assertAlmostEqual(self.clock.seconds() - before, 1.5)
        self.assertEqual(fired, [])

    def test_settle_says_when_there_is_no_end(self) -> None:
        """Code that asks for ever is found out."""
        client = self.connected()

        def again(_: object) -> None:
            client.exists("/").addCallback(again)

        again(None)
        with self.assertRaises(RuntimeError):
            self.inspector.settle(self.clock, limit=50)

    def test_answers_come_in_a_turn_of_their_own(self) -> None:
        """Without latency too, an answer is never there when the call returns."""
        zookeeper = MemoryZookeeper(self.clock)
        client = zookeeper.client()
        client.connect()
        zookeeper.inspector.settle(self.clock)
        order: list[str] = []

        def answered(_: object) -> None:
            order.append("first")
            client.exists("/").addCallback(lambda _: order.append("second"))
            order.append("asked")

        client.exists("/").addCallback(answered)
        self.assertEqual(order, [])
        zookeeper.inspector.settle(self.clock)
        self.assertEqual(order, ["first", "asked", "second"])


class ConnectionTests(MemoryZookeeperTestCase):
    """Losing and finding connections and sessions."""

    def states(self, client: Any) -> list[SessionState]:
        states: list[SessionState] = []
        client.observe(states.append)
        return states

    def test_suspended_until_resumed(self) -> None:
        """A suspended client stays so, fails what it has and refuses more."""
        client = self.connected()
        states = self.states(client)
        reading = client.get("/")
        self.inspector.suspend(client)
        self.failureResultOf(reading, ConnectionLoss)
        self.failureResultOf(client.get("/"), ConnectionLoss)
        self.settle()
        self.assertEqual(states, [SessionState.SUSPENDED])
        self.inspector.resume(client)
        self.settle()
        self.assertEqual(states, [SessionState.SUSPENDED, SessionState.CONNECTED])
        self.assertEqual(client.session_epoch, 1)

    def test_what_is_lost_on_the_way(self) -> None:
        """Of the requests in flight those that arrived happened, the others did not."""
        client = self.connected()
        writes = [client.create(f"/{number}") for number in range(4)]
        self.inspector.cut(client, executes=2)
        for write in writes:
            self.failureResultOf(write, ConnectionLoss)
        self.settle()
        self.assertEqual(list(self.inspector.dump()), ["/0", "/1"])
        self.assertIs(client.state, SessionState.CONNECTED)

    def test_a_session_outlives_a_short_silence(self) -> None:
        """A client that is back within its timeout keeps its session."""
        client = self.connected()
        self.done(client.create("/e", ephemeral=True))
        self.inspector.suspend(client)
        self.clock.advance(9.9)
        self.inspector.resume(client)
        self.settle()
        self.clock.advance(20)
        self.assertEqual(list(self.inspector.dump()), ["/e"])
        self.assertEqual(self.inspector.ephemerals(client), ("/e",))

    def test_a_session_ends_with_its_timeout(self) -> None:
        """The server ends the session in time; the client learns when it is back."""
        client = self.connected()
        states = self.states(client)
        self.done(client.create("/e", ephemeral=True))
        self.inspector.suspend(client)
        self.clock.advance(10)
        self.assertEqual(self.inspector.dump(), {})
        self.assertEqual(states, [SessionState.SUSPENDED])
        self.inspector.resume(client)
        self.settle()
        self.assertEqual(
            states, [SessionState.SUSPENDED, SessionState.EXPIRED, SessionState.CONNECTED]
        )
        self.assertEqual(client.session_epoch, 2)

    def test_expired_while_suspended(self) -> None:
        """Expiry can be forced while the client is away."""
        client = self.connected()
        self.done(client.create("/e", ephemeral=True))
        self.inspector.suspend(client)
        self.inspector.expire(client)
        self.assertEqual(self.inspector.dump(), {})
        self.assertIs(client.state, SessionState.SUSPENDED)
        states = self.states(client)
        self.inspector.resume(client)
        self.settle()
        self.assertEqual(states, [SessionState.EXPIRED, SessionState.CONNECTED])

    def test_ephemerals_go_in_one_change(self) -> None:
        """All ephemerals of a session go together, before anyone can see some of them."""
        client, other = self.connected(), self.connected()
        for number in range(3):
            client.create(f"/{number}", ephemeral=True)
        self.settle()
        seen: list[WatchEvent] = []
        self.done(other.watch("/", seen.append, recursive=True))
        self.inspector.expire(client)
        self.assertEqual(self.inspector.dump(), {})
        self.settle()
        self.assertEqual({event.kind for event in seen}, {WatchKind.DELETED})
        self.assertEqual(len(seen), 3)

    def test_what_is_kept(self) -> None:
        """Sessions and ephemerals are counted as long as they last, clients until forgotten."""
        client, other = self.connected(), self.connected()
        client.create("/a", ephemeral=True)
        client.create("/b", ephemeral=True)
        other.create("/c")
        self.settle()
        self.assertEqual((self.inspector.sessions, self.inspector.all_ephemerals), (2, 2))
        client.close()
        self.settle()
        self.assertEqual((self.inspector.sessions, self.inspector.all_ephemerals), (1, 0))
        self.inspector.forget(client)
        with self.assertRaises(KeyError):
            self.inspector.cut(client)
        self.assertEqual(self.inspector.observers(other), 0)

    def test_nothing_is_delivered_over_a_broken_connection(self) -> None:
        """An event under way when the connection breaks is lost, a one-shot watch is not."""
        client = self.connected()
        self.inspector.create("/a")
        events: list[WatchEvent] = []
        self.done(client.watch("/a", events.append))
        reading, watch = client.get_and_watch("/a")
        self.done(reading)
        self.inspector.set("/a", b"1")
        self.inspector.cut(client)
        self.assertNoResult(watch)
        self.settle()
        self.assertEqual(self.successResultOf(watch), WatchEvent(WatchKind.CHANGED, "/a"))
        self.assertEqual(events, [])

    def test_watch_of_an_unanswered_read(self) -> None:
        """A watch whose read was not answered is not there after the reconnect."""
        client = self.connected()
        self.inspector.create("/a")
        reading, watch = client.get_and_watch("/a")
        self.inspector.cut(client, executes=1)
        self.failureResultOf(reading, ConnectionLoss)
        self.settle()
        self.assertEqual(self.inspector.watches, 0)
        self.inspector.set("/a", b"1")
        self.settle()
        self.assertNoResult(watch)

    def test_cancelled_watch(self) -> None:
        """Who cancels the Deferred of a watch is not told, nor is the watch set again."""
        client = self.connected()
        reading, watch = client.get_and_watch("/")
        self.done(reading)
        told: list[Any] = []
        watch.addErrback(told.append)
        watch.cancel()
        self.inspector.cut(client)
        self.settle()
        self.assertEqual(self.inspector.watches, 0)
        self.assertEqual(len(told), 1)

    def test_refused_credentials(self) -> None:
        """A client that is refused says so and tries no more."""
        client = self.zookeeper.client()
        self.inspector.refuse(client)
        connecting = client.connect()
        self.settle()
        self.failureResultOf(connecting, AuthFailedError)
        self.assertIs(client.state, SessionState.AUTH_FAILED)
        self.failureResultOf(client.get("/"), AuthFailedError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_while_away(self) -> None:
        """Credentials may turn bad later."""
        client = self.connected()
        self.inspector.refuse(client)
        self.settle()
        self.assertIs(client.state, SessionState.CONNECTED)
        self.inspector.cut(client)
        self.settle()
        self.assertIs(client.state, SessionState.AUTH_FAILED)

    def test_connect_waits_for_the_server(self) -> None:
        """Connecting takes until the server can be reached."""
        client = self.zookeeper.client()
        self.inspector.suspend(client)
        connecting = client.connect()
        self.settle()
        self.assertNoResult(connecting)
        self.inspector.resume(client)
        self.settle()
        self.successResultOf(connecting)

    def test_close_without_connection(self) -> None:
        """A suspended client closes at once; its session lives until its timeout."""
        client = self.connected()
        self.done(client.create("/e", ephemeral=True))
        self.inspector.suspend(client)
        self.successResultOf(client.close())
        self.inspector.resume(client)
        self.settle()
        self.assertIs(client.state, SessionState.CLOSED)
        self.assertEqual(list(self.inspector.dump()), ["/e"])
        self.clock.advance(10)
        self.assertEqual(self.inspector.dump(), {})

    def test_close_while_reconnecting(self) -> None:
        """A client that is closed while it reconnects ends its session first, if it can."""
        for suspended in (False, True):
            with self.subTest(suspended=suspended):
                client = self.connected()
                self.done(client.create("/e", ephemeral=True))
                self.inspector.cut(client)
                closing = client.close()
                self.assertIs(client.state, SessionState.CLOSED)
                self.assertNoResult(closing)
                if suspended:
                    self.inspector.suspend(client)
                self.done(closing)
                self.assertEqual(list(self.inspector.dump()), ["/e"] if suspended else [])
                self.assertEqual(client.session_id, 0)

    def test_cut_while_closing(self) -> None:
        """A client that loses its connection while closing is closed, not suspended."""
        client = self.connected()
        states = self.states(client)
        writing, closing = client.create("/a"), client.close()
        self.inspector.cut(client)
        self.failureResultOf(writing, ConnectionLoss)
        self.successResultOf(closing)
        self.assertEqual(states, [SessionState.CLOSED])
        self.failureResultOf(client.connect(), ConnectionClosedError)

    def test_closed_by_who_loses_a_request(self) -> None:
        """Closing in answer to a lost request ends in CLOSED, told after the loss."""
        client = self.connected()
        states = self.states(client)
        client.get("/").addErrback(lambda _: client.close())
        self.inspector.cut(client)
        self.settle()
        self.assertEqual(states, [SessionState.SUSPENDED, SessionState.CLOSED])

    def test_what_is_told_first(self) -> None:
        """A state is told before what was in flight fails and before one-shot watches end."""
        client = self.connected()
        order: list[str] = []
        client.observe(lambda state: order.append(state.value))
        reading, watch = client.get_and_watch("/")
        self.done(reading)
        watch.addCallback(lambda event: order.append(event.kind.value))
        client.get("/").addErrback(lambda _: order.append("lost"))
        self.inspector.expire(client)
        self.settle()
        self.assertEqual(order, ["suspended", "lost", "expired", "session-lost", "connected"])

    def test_observers_see_one_order(self) -> None:
        """A change made by an observer is told to all after the one it answers."""
        client = self.connected()
        client.observe(lambda state: client.close() and None)
        states = self.states(client)
        self.inspector.cut(client)
        self.assertEqual(states, [SessionState.SUSPENDED, SessionState.CLOSED])


class StagingTests(MemoryZookeeperTestCase):
    """Failures and races on demand."""

    def test_fail_next(self) -> None:
        """The next matching request fails and has no effect; the one after works."""
        client = self.connected()
        self.inspector.fail_next("create", NoAuthError())
        self.fails(client.create("/a"), NoAuthError)
        self.assertEqual(self.inspector.dump(), {})
        self.assertEqual(self.done(client.create("/a")), "/a")

    def test_fail_next_is_choosy(self) -> None:
        """A fault waits for its operation, path and client."""
        client, other = self.connected(), self.connected()
        self.inspector.fail_next("create", NoAuthError(), path="/b", client=client)
        self.inspector.fail_next("set", NoAuthError(), path=lambda path: path.endswith("z"))
        self.done(client.create("/a"))
        self.done(client.set("/a", b""))
        self.done(other.create("/b"))
        self.done(other.delete("/b"))
        self.fails(client.create("/b"), NoAuthError)
        self.done(client.create("/z"))
        self.fails(other.set("/z", b""), NoAuthError)

    def test_fail_several(self) -> None:
        """A fault may act several times, or until it is called off."""
        client = self.connected()
        self.inspector.fail_next("get", NoAuthError(), times=2)
        call_off = self.inspector.fail_next("exists", NoAuthError(), times=None)
        for _ in range(2):
            self.fails(client.get("/"), NoAuthError)
        self.done(client.get("/"))
        for _ in range(3):
            self.fails(client.exists("/"), NoAuthError)
        call_off()
        call_off()
        self.done(client.exists("/"))

    def test_fail_with_connection_loss(self) -> None:
        """A staged ConnectionLoss breaks the connection: nothing later arrives either."""
        client = self.connected()
        self.inspector.fail_next("create", ConnectionLoss(), path="/b")
        first, second, third = client.create("/a"), client.create("/b"), client.create("/c")
        self.settle()
        for writing in (first, second, third):
            self.failureResultOf(writing, ConnectionLoss)
        self.assertEqual(list(self.inspector.dump()), ["/a"])
        self.assertIs(client.state, SessionState.CONNECTED)

    def test_fail_with_expiry(self) -> None:
        """A staged SessionExpiredError ends the session."""
        client = self.connected()
        self.inspector.fail_next("create", SessionExpiredError())
        self.fails(client.create("/a"), ConnectionLoss)
        self.assertEqual(client.session_epoch, 2)

    def test_lose_reply(self) -> None:
        """The request happens, its client is told ConnectionLoss and reconnects."""
        client = self.connected()
        self.inspector.lose_reply_next("create")
        self.fails(client.create("/a"), ConnectionLoss)
        self.assertEqual(list(self.inspector.dump()), ["/a"])
        self.assertIs(client.state, SessionState.CONNECTED)
        self.assertEqual(client.session_epoch, 1)

    def test_before(self) -> None:
        """A hook before sees and edits the tree the request will find."""
        client = self.connected()
        calls: list[ServerCall] = []

        def hook(call: ServerCall) -> None:
            calls.append(call)
            self.inspector.create("/a", b"theirs")

        self.inspector.before("create", hook)
        self.fails(client.create("/a", b"mine"), NodeExistsError)
        self.assertEqual([(call.op, call.paths) for call in calls], [("create", ("/a",))])
        self.assertEqual(self.inspector.dump(), {"/a": b"theirs"})

    def test_before_may_cut(self) -> None:
        """A request whose client is suspended before it is carried out does not happen."""
        client = self.connected()
        self.inspector.before("create", lambda call: self.inspector.suspend(client))
        self.fails(client.create("/a"), ConnectionLoss)
        self.assertEqual(self.inspector.dump(), {})

    def test_after(self) -> None:
        """A hook after sees the effect; what it causes comes after the answer."""
        client = self.connected()
        order: list[str] = []
        self.done(client.watch("/", lambda event: order.append(event.path), recursive=True))
        self.inspector.after("create", lambda call: self.inspector.delete("/a"), path="/a")
        client.create("/a").addCallback(lambda _: order.append("answer"))
        self.settle()
        self.assertEqual(order, ["/a", "answer", "/a"])
        self.assertEqual(self.inspector.dump(), {})

    def test_any_operation_and_transactions(self) -> None:
        """``*`` is any operation, and a transaction matches by any of its paths."""
        client = self.connected()
        seen: list[tuple[str, tuple[str, ...]]] = []
        self.inspector.before(
            "*", lambda call: seen.append((call.op, call.paths)), path="/b", times=None
        )
        transaction = client.transaction()
        transaction.create("/a")
        transaction.create("/b")
        self.done(transaction.commit())
        self.done(client.get("/a"))
        self.done(client.get("/b"))
        self.assertEqual(seen, [("transaction", ("/a", "/b")), ("get", ("/b",))])

    def test_requests_are_counted(self) -> None:
        """The inspector knows how many requests of each kind were carried out."""
        client = self.connected()
        self.done(client.create("/a"))
        self.done(client.get("/a"))
        self.done(client.get("/a"))
        self.assertEqual(self.inspector.requests, {"create": 1, "get": 2})


class TreeTests(MemoryZookeeperTestCase):
    """The tree beyond what the contract asks."""

    def test_a_refused_transaction_leaves_no_trace(self) -> None:
        """Versions, sequences, zxids and owners are as if it had never been."""
        client = self.connected()
        self.inspector.create("/p/x", b"1")
        self.inspector.create("/p/e", owner=client)
        before = {path: self.inspector.stat(path) for path in ("/p", "/p/x", "/p/e")}
        transaction = client.transaction()
        transaction.create("/p/s-", sequence=True)
        transaction.create("/p/mine", ephemeral=True)
        transaction.set("/p/x", b"2")
        transaction.delete("/p/x")
        transaction.delete("/p/e")
        transaction.check("/p", 5)
        failed = self.fails(transaction.commit())
        self.assertEqual((failed.index, failed.operation), (5, "check"))
        self.assertIsInstance(failed.error, BadVersionError)
        for path, stat in before.items():
            self.assertEqual(self.inspector.stat(path), stat)
        self.assertEqual(self.inspector.ephemerals(client), ("/p/e",))
        self.assertEqual(self.done(client.create("/p/s-", sequence=True)), "/p/s-0000000002")

    def test_one_zxid_per_transaction(self) -> None:
        """What happens together has one zxid."""
        client = self.connected()
        transaction = client.transaction()
        transaction.create("/a")
        transaction.create("/b")
        self.done(transaction.commit())
        stats = [self.inspector.stat(path) for path in ("/a", "/b")]
        self.assertEqual(*[stat and stat.czxid for stat in stats])

    def test_sequences_count_every_child_there_was(self) -> None:
        """A sequence never returns, whatever was created and removed between."""
        client = self.connected()
        self.inspector.create("/p/a")
        self.inspector.delete("/p/a")
        self.assertEqual(self.done(client.create("/p/", sequence=True)), "/p/0000000001")

    def test_own_znodes_of_the_server(self) -> None:
        """The server's own znodes are listed, cannot be forgotten, and are not dumped."""
        client = self.connected()
        self.assertEqual(self.done(client.get_children("/")), ["zookeeper"])
        self.assertEqual(self.inspector.dump(), {})
        self.fails(client.delete("/"), BadArgumentsError)

    def test_too_much_data(self) -> None:
        """A request that no server would take is refused."""
        client = self.connected()
        self.done(client.create("/a"))
        self.fails(client.set("/a", bytes(0x100000)), BadArgumentsError)
        self.fails(client.create("/b", bytes(0x100000)), BadArgumentsError)
        self.assertEqual(self.inspector.dump(), {"/a": b""})

    def test_data_is_bytes(self) -> None:
        """Text where bytes belong is found out at once."""
        client: Any = self.connected()
        with self.assertRaises(TypeError):
            client.set("/", "text")
        with self.assertRaises(TypeError):
            client.create("/a", "text")
        with self.assertRaises(TypeError):
            client.transaction().set("/", "text")

    def test_editing_and_looking(self) -> None:
        """The inspector edits and shows the tree without asking for a turn."""
        self.inspector.create("/a/b", b"1")
        self.assertEqual(self.inspector.create("/a/s-", sequence=True), "/a/s-0000000001")
        self.inspector.set("/a/b", b"2")
        self.assertEqual(
            self.inspector.dump("/a"), {"/a": b"", "/a/b": b"2", "/a/s-0000000001": b""}
        )
        self.inspector.delete_tree("/a")
        self.inspector.delete_tree("/none")
        self.assertIsNone(self.inspector.stat("/a"))
        with self.assertRaises(NoNodeError):
            self.inspector.delete("/a")

    def test_failing_observers_and_watches(self) -> None:
        """One that raises is logged and keeps nobody else from being told."""
        client = self.connected()

        def raises(_: object) -> None:
            raise ValueError("by intent")

        seen: list[Any] = []
        client.observe(raises)
        client.observe(seen.append)
        self.done(client.watch("/", raises))
        self.done(client.watch("/", seen.append))
        self.inspector.set("/", b"1")
        self.settle()
        self.inspector.cut(client)
        self.assertEqual(seen, [WatchEvent(WatchKind.CHANGED, "/"), SessionState.SUSPENDED])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_delete_tree_says_what_prevents_it(self) -> None:
        """A tree that cannot be deleted fails with the reason itself."""
        client = self.connected()
        self.inspector.create("/t/a/b")
        self.inspector.fail_next("delete", NoAuthError(), path="/t/a/b")
        deleting: Deferred[None] = client.delete_tree("/t")
        self.fails(deleting, NoAuthError)
