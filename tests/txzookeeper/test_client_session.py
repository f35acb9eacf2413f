"""Sessions, time and trouble, with a scripted server and a clock in hand."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

from kazoo.exceptions import (
    AuthFailedError,
    BadArgumentsError,
    ConnectionClosedError,
    ConnectionLoss,
    SessionClosedRequireSaslError,
    SessionExpiredError,
)
from kazoo.protocol.serialization import Connect
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.interface import SessionState, WatchKind
from nodepool_tx.txzookeeper.link import Pauses
from tests.txzookeeper.scripted import STAT, ScriptedReactor, ScriptedServer, make_client

CONNECTING, CONNECTED, SUSPENDED, EXPIRED, AUTH_FAILED, CLOSED = (
    SessionState.CONNECTING,
    SessionState.CONNECTED,
    SessionState.SUSPENDED,
    SessionState.EXPIRED,
    SessionState.AUTH_FAILED,
    SessionState.CLOSED,
)
GET, CLOSE, AUTH = 4, -11, 100


class ScriptedTestCase(SynchronousTestCase):
    """One client, one server, one clock."""

    def setUp(self) -> None:
        self.reactor = ScriptedReactor()
        self.server: ScriptedServer = self.reactor.add()

    def connected(self, **options: Any) -> ZookeeperClient:
        client = make_client(self.reactor, **options)
        connecting = client.connect()
        self.reactor.settle()
        self.successResultOf(connecting)
        return client

    def states(self, client: ZookeeperClient) -> list[SessionState]:
        states: list[SessionState] = []
        client.observe(states.append)
        return states


class HandshakeTests(ScriptedTestCase):
    """What is said first."""

    def test_new_session(self) -> None:
        """A new client greets without session and takes what it is given."""
        self.server.timeout = 4500
        client = self.connected(session_timeout=7.5)
        (greeting,) = self.server.greetings
        self.assertEqual((greeting.session_id, greeting.last_zxid_seen), (0, 0))
        self.assertEqual((greeting.passwd, greeting.time_out), (b"\0" * 16, 7500))
        self.assertEqual((client.session_id, client.session_password), (0x1234, b"p" * 16))
        self.assertEqual(client.session_timeout, 4.5)
        self.assertEqual(client.server, "127.0.0.1:2181")

    def test_known_session(self) -> None:
        """A reconnect presents session, password and the last zxid seen."""
        client = self.connected()
        client.set("/a", b"")
        self.reactor.advance(5)
        self.server.reply(STAT, zxid=77)
        self.server.requests.clear()
        states = self.states(client)
        self.server.drop()
        self.reactor.settle()
        greeting = self.server.greetings[1]
        self.assertEqual((greeting.session_id, greeting.passwd), (0x1234, b"p" * 16))
        self.assertEqual((greeting.last_zxid_seen, greeting.time_out), (77, 10000))
        self.assertEqual(states, [SUSPENDED, CONNECTED])
        self.assertEqual((client.session_epoch, client.counters.reconnects), (1, 1))

    def test_expired_session(self) -> None:
        """A session the server does not know is reported, and a new one asked for at once."""
        client = self.connected()
        states = self.states(client)
        self.reactor.advance(5)
        self.server.expired = True
        self.server.drop()
        self.reactor.settle()
        self.assertEqual([g.session_id for g in self.server.greetings], [0, 0x1234, 0])
        self.assertEqual(states, [SUSPENDED, EXPIRED, CONNECTED])
        self.assertEqual((client.session_id, client.session_epoch), (0x1235, 2))
        self.assertEqual(client.counters.sessions, 2)

    def test_credentials_come_first(self) -> None:
        """No request is possible before every credential was confirmed."""
        client = make_client(self.reactor, auth=[("digest", "a:b"), ("digest", "c:d")])
        connecting = client.connect()
        self.reactor.settle()
        self.assertEqual(self.server.opcodes(), [AUTH, AUTH])
        self.assertIn(b"digest", self.server.requests[0].body)
        self.assertIn(b"a:b", self.server.requests[0].body)
        self.assertIs(client.state, CONNECTING)
        self.server.reply()
        self.assertIs(client.state, CONNECTING)
        self.failureResultOf(client.get("/a"), ConnectionLoss)
        self.server.reply()
        self.assertIs(client.state, CONNECTED)
        self.successResultOf(connecting)

    def test_refused_credentials(self) -> None:
        """Refused credentials end all attempts."""
        client = make_client(self.reactor, auth=[("digest", "a:b")])
        states = self.states(client)
        connecting = client.connect()
        self.reactor.settle()
        self.server.reply(code=-115)
        self.failureResultOf(connecting, AuthFailedError)
        self.assertEqual(states, [AUTH_FAILED])
        self.reactor.pump([1] * 60)
        self.assertEqual(len(self.server.greetings), 1)
        self.failureResultOf(client.get("/a"), AuthFailedError)
        self.failureResultOf(client.connect(), AuthFailedError)
        self.successResultOf(client.close())
        self.assertEqual(states, [AUTH_FAILED, CLOSED])

    def test_credentials_refused_later(self) -> None:
        """A server that comes to refuse us while connected is believed, too."""
        client = self.connected()
        states = self.states(client)
        request = client.get("/a")
        later = client.exists("/b")
        self.reactor.settle()
        self.server.reply(code=-124)
        self.failureResultOf(request, SessionClosedRequireSaslError)
        self.failureResultOf(later, ConnectionLoss)
        self.assertEqual(states, [AUTH_FAILED])
        self.reactor.pump([1] * 60)
        self.assertEqual(len(self.server.greetings), 1)

    def test_connect_twice(self) -> None:
        """Connecting again waits for the same session, or is done."""
        client = make_client(self.reactor)
        both = [client.connect(), client.connect()]
        self.reactor.settle()
        for connecting in (*both, client.connect()):
            self.successResultOf(connecting)
        self.assertEqual(len(self.server.greetings), 1)


class TimeTests(ScriptedTestCase):
    """Pings, silence, pauses."""

    def test_pings(self) -> None:
        """A ping leaves at every third of the timeout, and its answer is no reply."""
        client = self.connected()
        for number in range(5):
            self.assertEqual(self.server.pings, number)
            self.reactor.pump([2.9, 0.1])
            self.assertEqual(self.server.pings, number + 1)
        self.assertEqual((client.counters.pings, client.counters.replies), (5, 0))
        self.assertIs(client.state, CONNECTED)

    def test_silence(self) -> None:
        """A server silent for two thirds of the timeout is given up, its requests failed."""
        client = self.connected()
        states = self.states(client)
        self.server.silent = True
        self.reactor.advance(2)
        request = client.get("/a")
        self.reactor.pump([1, 1, 1, 0.9])
        self.assertNoResult(request)
        self.assertEqual(states, [])
        self.server.silent = False
        self.reactor.advance(0.2)
        error = self.failureResultOf(request, ConnectionLoss).value
        self.assertIn("127.0.0.1:2181: it was silent for 6.0 s", str(error))
        self.reactor.settle()
        self.assertEqual(states, [SUSPENDED, CONNECTED])

    def test_anything_heard_counts(self) -> None:
        """Every frame from the server, an event too, starts the wait anew."""
        client = self.connected()
        self.server.silent = True
        for _ in range(6):
            self.reactor.advance(5)
            self.server.event(3, "/a")
        self.assertIs(client.state, CONNECTED)

    def test_pauses(self) -> None:
        """Fruitless rounds are followed by pauses that double up to a cap, with jitter."""
        client = self.connected()
        self.reactor.advance(5)
        del self.reactor.servers["127.0.0.1", 2181]
        self.server.drop()
        dialled = len(self.reactor.dialled)
        self.reactor.advance(0)
        times = []
        for _ in range(4000):
            while len(self.reactor.dialled) > dialled:
                times.append(self.reactor.seconds())
                dialled += 1
            self.reactor.advance(0.01)
        gaps = [after - before for before, after in itertools.pairwise(times)]
        for gap, longest in zip(gaps, [1, 2, 4, 8, 8], strict=False):
            self.assertLessEqual(gap, longest + 0.05)
            self.assertGreaterEqual(gap, longest / 2 - 0.05)
        self.assertGreaterEqual(len(gaps), 5)
        self.assertIs(client.state, SUSPENDED)

    def test_pauses_spread(self) -> None:
        """Clients that lost the same server do not come back in step."""
        pauses = {Pauses().after(3, Random(seed)) for seed in range(50)}
        self.assertEqual(len(pauses), 50)
        self.assertTrue(all(0.4 <= pause <= 0.8 for pause in pauses))
        self.assertLessEqual(Pauses().after(10_000, Random(1)), 3.0)

    def test_good_connection_lost(self) -> None:
        """A connection that had held is replaced without a pause."""
        client = self.connected()
        self.reactor.advance(3.5)
        self.server.drop()
        self.reactor.settle()
        self.assertIs(client.state, CONNECTED)

    def test_flapping(self) -> None:
        """A server that accepts and drops does not make the client spin."""
        self.connected()
        for _ in range(600):
            while self.server.transports:
                self.server.drop()
            self.reactor.advance(0.1)
        self.assertLess(len(self.server.greetings), 25)

    def test_silent_greeting(self) -> None:
        """A server that accepts and says nothing costs one attempt's time."""
        other = self.reactor.add("10.0.0.2")
        self.server.silent = other.silent = True
        client = make_client(self.reactor, "127.0.0.1,10.0.0.2", session_timeout=6)
        connecting = client.connect()
        self.reactor.settle()
        self.assertEqual(len(self.reactor.dialled), 1)
        other.silent = self.server.silent = False
        self.reactor.advance(1.9)
        self.assertEqual(len(self.reactor.dialled), 1)
        self.reactor.advance(0.2)
        self.reactor.settle()
        self.assertEqual(len(set(self.reactor.dialled)), 2)
        self.successResultOf(connecting)
        self.assertEqual(client.counters.failed_attempts, 1)

    def test_no_session_given(self) -> None:
        """A server that gives no session even to a newcomer is asked with pauses."""
        self.server.gives_sessions = False
        client = make_client(self.reactor)
        connecting = client.connect()
        self.reactor.pump([0.1] * 100)
        self.assertNoResult(connecting)
        self.assertLess(len(self.server.greetings), 8)
        self.assertIn("it gives us no session", client.last_failure)


class OutdatedTests(ScriptedTestCase):
    """Servers that know less than the client has seen."""

    def lose(self) -> tuple[ZookeeperClient, list[SessionState]]:
        client = self.connected()
        client.set("/a", b"")
        self.reactor.settle()
        self.server.reply(STAT, zxid=77)
        self.server.hang_up = lambda greeting: greeting.last_zxid_seen > 0
        states = self.states(client)
        self.server.drop()
        return client, states

    def test_wiped_ensemble(self) -> None:
        """Hung up on for longer than the session lives, the client begins anew."""
        client, states = self.lose()
        looking = client.session_id
        self.reactor.pump([0.5] * 16)
        self.assertEqual(states, [SUSPENDED])
        self.assertTrue(all(g.session_id == looking for g in self.server.greetings[1:]))
        self.reactor.pump([0.5] * 30)
        self.assertEqual(states, [SUSPENDED, EXPIRED, CONNECTED])
        self.assertEqual(self.server.greetings[-1].last_zxid_seen, 0)
        self.assertEqual(client.session_epoch, 2)
        self.server.drop()
        self.reactor.pump([0.5] * 20)
        self.assertEqual(self.server.greetings[-1].last_zxid_seen, 0)

    def test_an_ensemble_that_is_back_meanwhile(self) -> None:
        """Servers that begin to serve amid a round give the old session back."""
        client, states = self.lose()
        mine = client.session_id

        def not_yet(greeting: Connect) -> bool:
            return all(each.last_zxid_seen > 0 for each in self.server.greetings[1:])

        self.server.hang_up = not_yet
        self.reactor.pump([0.5] * 60)
        self.assertEqual(states, [SUSPENDED, CONNECTED])
        self.assertEqual((client.session_id, client.session_epoch), (mine, 1))
        self.assertEqual(self.server.greetings[-1].session_id, mine)
        self.assertEqual([g.last_zxid_seen for g in self.server.greetings].count(0), 2)
        self.server.drop()
        self.reactor.pump([0.5] * 20)
        self.assertEqual(states, [SUSPENDED, CONNECTED] * 2)

    def test_ensemble_without_quorum(self) -> None:
        """Servers that hang up on everybody are no reason to give a session up."""
        client, states = self.lose()
        self.server.hang_up = lambda greeting: True
        self.reactor.pump([0.5] * 100)
        self.assertEqual(states, [SUSPENDED])
        self.server.hang_up = lambda greeting: False
        self.reactor.pump([0.5] * 20)
        self.assertEqual(states, [SUSPENDED, CONNECTED])
        self.assertEqual(client.session_epoch, 1)

    def test_dead_network(self) -> None:
        """Servers that cannot be reached are no reason either."""
        client, states = self.lose()
        self.server.hang_up = lambda greeting: False
        del self.reactor.servers["127.0.0.1", 2181]
        self.reactor.pump([0.5] * 100)
        self.assertEqual(states, [SUSPENDED])
        self.reactor.servers["127.0.0.1", 2181] = self.server
        self.reactor.pump([0.5] * 20)
        self.assertEqual((client.session_id, client.session_epoch), (0x1234, 1))


class ServerChoiceTests(ScriptedTestCase):
    """Which server is dialled."""

    def test_random_order(self) -> None:
        """Different clients begin with different servers."""
        first = set()
        for seed in range(30):
            self.reactor.dialled.clear()
            make_client(self.reactor, "10.0.0.1,10.0.0.2,10.0.0.3", random=Random(seed)).connect()
            first.add(self.reactor.dialled[0])
        self.assertEqual(len(first), 3)

    def test_all_are_tried(self) -> None:
        """One round tries every server once, whichever answers in the end."""
        client = make_client(self.reactor, "10.0.0.1:1,10.0.0.2:2,127.0.0.1:2181")
        connecting = client.connect()
        self.reactor.settle()
        self.successResultOf(connecting)
        self.assertEqual(len(self.reactor.dialled), len(set(self.reactor.dialled)))
        self.assertEqual(self.reactor.dialled[-1], "127.0.0.1:2181")

    def test_the_lost_server_comes_last(self) -> None:
        """After a loss the other servers are tried first."""
        for seed in range(10):
            self.setUp()
            self.reactor.add("10.0.0.2")
            client = self.connected(servers="127.0.0.1,10.0.0.2", random=Random(seed))
            before = client.server
            self.reactor.advance(5)
            client.drop_connection()
            self.reactor.settle()
            self.assertIs(client.state, CONNECTED)
            self.assertNotEqual(client.server, before)

    def test_names(self) -> None:
        """A name stands for all its addresses; names without any are reported."""
        self.reactor.names = {"zk": ["10.0.0.7", "10.0.0.8"], "slow": None}
        client = make_client(self.reactor, "zk:1,gone:2,slow:3,[::1]:4", session_timeout=9)
        client.connect()
        self.reactor.settle()
        self.assertEqual(self.reactor.dialled, [])
        self.reactor.advance(3.1)
        self.reactor.settle()
        self.assertEqual(sorted(self.reactor.dialled), ["10.0.0.7:1", "10.0.0.8:1", "::1:4"])
        for part in (
            "gone: no address found",
            "slow: no address found",
            "zk (10.0.0.7:1): Connection was refused",
            "[::1]:4: Connection was refused",
        ):
            self.assertIn(part, client.last_failure)
        self.reactor.names["gone"] = ["127.0.0.1"]
        self.reactor.servers["127.0.0.1", 2] = self.server
        self.reactor.pump([0.5] * 40)
        self.assertEqual(client.server, "gone (127.0.0.1:2)")

    def test_broken_resolver(self) -> None:
        """A resolver that raises is logged, and asked again after a pause."""
        client = make_client(self.reactor, "zk")
        self.reactor.nameResolver = None  # type: ignore[assignment]
        client.connect()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.reactor.nameResolver = self.reactor
        self.reactor.names["zk"] = ["127.0.0.1"]
        self.reactor.pump([0.5] * 3)
        self.assertEqual(client.server, "zk (127.0.0.1:2181)")


class BadPathTests(ScriptedTestCase):
    """Paths that no server would take."""

    def test_bad_paths(self) -> None:
        """They fail every kind of request, and nothing is sent."""
        client = self.connected()
        for path in ("", "a", "/a/", "//", "/a//b"):
            for request in (
                client.get(path),
                client.exists(path),
                client.get_children_and_watch(path)[0],
                client.set(path, b""),
                client.delete(path),
                client.create(path),
                client.create(path, makepath=True),
                client.ensure_path(path),
                client.delete_tree(path),
                client.watch(path, lambda _: None),
                client.sync(path),
            ):
                self.failureResultOf(request, BadArgumentsError)
        self.failureResultOf(client.create("a/", sequence=True), BadArgumentsError)
        self.reactor.settle()
        self.assertEqual(self.server.opcodes(), [])
        self.assertEqual(client.counters.watches, 0)


class ClosingTests(ScriptedTestCase):
    """The end, in order and in time."""

    def test_close(self) -> None:
        """Closing waits for the answers before it, then for the session's end."""
        client = self.connected()
        request = client.get("/a")
        closing = client.close()
        self.assertIs(client.state, CLOSED)
        self.reactor.settle()
        self.assertEqual(self.server.opcodes(), [GET, CLOSE])
        self.failureResultOf(client.get("/a"), ConnectionClosedError)
        self.server.reply(b"\xff" * 4 + STAT)
        self.successResultOf(request)
        self.assertNoResult(closing)
        self.server.reply()
        self.reactor.settle()
        self.successResultOf(closing)
        self.assertEqual(self.server.transports, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(client.session_id, 0)

    def test_close_of_a_silent_server(self) -> None:
        """What is not answered in time fails, and nothing is left behind."""
        client = self.connected(close_timeout=2)
        request = client.get("/a")
        closing = client.close()
        self.reactor.advance(1.9)
        self.assertNoResult(closing)
        self.reactor.advance(0.2)
        self.reactor.settle()
        self.successResultOf(closing)
        self.failureResultOf(request, ConnectionLoss)
        self.assertEqual(self.server.transports, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_connection_lost_while_closing(self) -> None:
        """A connection that breaks while closing ends the waiting."""
        client = self.connected()
        closing = client.close()
        self.reactor.settle()
        self.server.drop()
        self.reactor.settle()
        self.successResultOf(closing)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_close_while_suspended(self) -> None:
        """A session without connection is taken up once more, to end it."""
        client = self.connected()
        self.server.drop()
        self.assertIs(client.state, SUSPENDED)
        states = self.states(client)
        closing = client.close()
        self.reactor.settle()
        self.assertEqual(self.server.greetings[-1].session_id, 0x1234)
        self.assertEqual(self.server.opcodes(), [CLOSE])
        self.server.reply()
        self.reactor.settle()
        self.successResultOf(closing)
        self.assertEqual(states, [CLOSED])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_close_while_suspended_for_good(self) -> None:
        """Without servers closing gives up in time."""
        client = self.connected(close_timeout=2)
        del self.reactor.servers["127.0.0.1", 2181]
        self.server.drop()
        closing = client.close()
        self.reactor.pump([0.1] * 19)
        self.assertNoResult(closing)
        self.reactor.pump([0.1] * 2)
        self.successResultOf(closing)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_close_of_an_expired_session(self) -> None:
        """A session that turns out to be gone needs no ending."""
        client = self.connected()
        self.server.expired = True
        self.server.drop()
        closing = client.close()
        self.reactor.settle()
        self.successResultOf(closing)
        self.assertEqual(len(self.server.greetings), 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_close_before_connected(self) -> None:
        """Whoever waits for a first session is told that none will come."""
        for after in (0, 1):
            self.setUp()
            self.server.silent = True
            client = make_client(self.reactor)
            connecting = client.connect()
            self.reactor.pump([0] * after * 3)
            closing = client.close()
            self.failureResultOf(connecting, ConnectionClosedError)
            self.reactor.settle()
            self.successResultOf(closing)
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(self.server.transports, [])
            self.failureResultOf(client.connect(), ConnectionClosedError)

    def test_close_between_rounds(self) -> None:
        """Closing during a pause ends the pause."""
        client = make_client(self.reactor, "10.0.0.1")
        connecting = client.connect()
        self.reactor.settle()
        self.successResultOf(client.close())
        self.failureResultOf(connecting, ConnectionClosedError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_close_never_connected(self) -> None:
        """A client that was never used is closed at once."""
        client = make_client(self.reactor)
        self.successResultOf(client.close())
        self.successResultOf(client.close())
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ObserverTests(ScriptedTestCase):
    """Who is told what, whatever the observers do."""

    def test_closing_from_an_observer(self) -> None:
        """An observer may close the client on any state; all hear it in order."""
        for trigger in (CONNECTED, SUSPENDED, EXPIRED):
            self.setUp()
            client = make_client(self.reactor)
            closing: list[Any] = []

            def close(state: SessionState, client=client, closing=closing, on=trigger) -> None:
                if state is on:
                    closing.append(client.close())
                    self.assertIs(client.state, CLOSED)
                    self.failureResultOf(client.get("/a"), ConnectionClosedError)

            client.observe(close)
            states = self.states(client)
            connecting = client.connect()
            self.reactor.settle()
            if trigger is not CONNECTED:
                self.server.expired = trigger is EXPIRED
                self.reactor.advance(5)
                self.server.requests.clear()
                self.server.drop()
                self.reactor.settle()
            if self.server.requests:
                self.assertEqual(self.server.reply().opcode, CLOSE)
            self.reactor.settle()
            connecting.addErrback(lambda failure: failure.trap(ConnectionClosedError))
            self.successResultOf(connecting)
            self.successResultOf(closing[0])
            order = [CONNECTED, SUSPENDED, EXPIRED]
            self.assertEqual(states, [*order[: order.index(trigger) + 1], CLOSED])
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_requests_from_an_observer(self) -> None:
        """A request made on SUSPENDED or EXPIRED fails at once; one on CONNECTED leaves."""
        client = self.connected()
        requests: list[Any] = []
        client.observe(lambda state: requests.append(client.get("/a")))
        self.reactor.advance(5)
        self.server.requests.clear()
        self.server.expired = True
        self.server.drop()
        self.reactor.settle()
        self.failureResultOf(requests[0], ConnectionLoss)
        self.failureResultOf(requests[1], SessionExpiredError)
        self.assertEqual(self.server.opcodes(), [GET])

    def test_broken_observer(self) -> None:
        """An observer that raises is logged and harms nobody."""
        client = self.connected()

        def broken(state: SessionState) -> None:
            raise ZeroDivisionError

        client.observe(broken)
        states = self.states(client)
        self.reactor.advance(5)
        self.server.drop()
        self.reactor.settle()
        self.assertEqual(states, [SUSPENDED, CONNECTED])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_suspended_comes_before_the_failures(self) -> None:
        """The state is told before what was in flight fails."""
        client = self.connected()
        order: list[str] = []
        client.observe(lambda state: order.append(state.value))
        client.get("/a").addErrback(lambda failure: order.append(failure.type.__name__))
        self.server.drop()
        self.assertEqual(order, ["suspended", "ConnectionLoss"])

    def test_watches_end_with_the_session(self) -> None:
        """EXPIRED is told before the session's one-shot watches end."""
        client = self.connected()
        reading, watch = client.get_and_watch("/a")
        self.reactor.settle()
        self.server.reply(b"\xff" * 4 + STAT)
        self.successResultOf(reading)
        order: list[str] = []
        client.observe(lambda state: order.append(state.value))
        watch.addCallback(lambda event: order.append(event.kind.value) or event)
        self.server.expired = True
        self.reactor.advance(5)
        self.server.drop()
        self.reactor.settle()
        self.assertEqual(order, ["suspended", "expired", "session-lost", "connected"])
        self.assertIs(self.successResultOf(watch).kind, WatchKind.SESSION_LOST)
