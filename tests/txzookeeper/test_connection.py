"""Frames, order and rubbish, with a scripted server."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    NoNodeError,
    SessionExpiredError,
    ZookeeperError,
)
from kazoo.protocol.serialization import write_buffer, write_string
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.connection import AT_ONCE, TURN
from nodepool_tx.txzookeeper.interface import SessionState, WatchEvent, WatchKind
from tests.txzookeeper.scripted import STAT, ScriptedReactor, ScriptedServer, make_client

GET, SET, CHILDREN, SET_WATCHES, ADD_WATCH, REMOVE_WATCHES = 4, 5, 8, 105, 106, 18


class Steps:
    """A connected client, its server and their clock."""

    def __init__(self, **options: Any) -> None:
        self.reactor = ScriptedReactor()
        self.server: ScriptedServer = self.reactor.add()
        self.client: ZookeeperClient = make_client(self.reactor, **options)
        self.client.connect()
        self.reactor.settle()

    def reconnect(self) -> None:
        self.reactor.advance(4)
        self.server.requests.clear()
        self.server.drop()
        self.reactor.settle()


class FramingTests(SynchronousTestCase):
    """How requests leave and answers arrive."""

    def setUp(self) -> None:
        self.steps = Steps()
        self.client, self.server = self.steps.client, self.steps.server
        self.reactor = self.steps.reactor

    def test_one_write_per_turn(self) -> None:
        """Everything asked in one reactor turn leaves in one write."""
        writes = self.server.transport.writes
        before = len(writes)
        for _ in range(100):
            self.client.set("/a", b"1").addErrback(lambda _: None)
        self.assertEqual(len(writes), before)
        self.reactor.advance(0)
        self.assertEqual(len(writes), before + 1)
        self.assertEqual(self.server.opcodes(), [SET] * 100)

    def test_answers_ask_on_in_one_write(self) -> None:
        """What the answers of one read cause to be asked leaves at once, in one write."""
        writes = self.server.transport.writes
        for _ in range(10):
            self.client.set("/a", b"1").addCallback(lambda _: self.client.set("/b", b"2"))
        self.reactor.advance(0)
        before = len(writes)
        answers = b"".join(self.server.frame(self.server.take().xid, STAT) for _ in range(10))
        self.server.send(answers)
        self.assertEqual(len(writes), before + 1)
        self.assertEqual(self.server.opcodes(), [SET] * 10)
        self.reactor.advance(0)
        self.assertEqual(len(writes), before + 1)

    def test_many_answers_take_many_turns(self) -> None:
        """Answers that take their receivers long are spread over turns, in their order."""
        got: list[int] = []

        def take(_: object, number: int) -> None:
            got.append(number)
            self.reactor.rightNow += TURN * 0.4 / AT_ONCE

        count = 8 * AT_ONCE + 1
        for number in range(count):
            self.client.set("/a", b"1").addCallback(take, number)
        self.reactor.advance(0)
        answers = [self.server.frame(self.server.take().xid, STAT) for _ in range(count)]
        self.server.send(b"".join(answers[:-1]) + answers[-1][:5])
        first = list(range(3 * AT_ONCE))
        self.assertEqual(got, first)
        self.reactor.callLater(0, got.append, -1)
        self.server.send(answers[-1][5:])
        second = [*first, *range(3 * AT_ONCE, 6 * AT_ONCE), -1]
        self.assertEqual(got, second)
        self.reactor.turn()
        self.assertEqual(got, [*second, *range(6 * AT_ONCE, count)])

    def test_what_comes_in_pieces_is_taken_in_at_once(self) -> None:
        """All that was received in one turn is read together; what it leads to is one write."""
        for _ in range(10):
            self.client.set("/a", b"1").addCallback(lambda _: self.client.set("/b", b"2"))
        self.reactor.turn()
        writes = self.server.transport.writes
        before = len(writes)
        for _ in range(9):
            answer = self.server.frame(self.server.take().xid, STAT)
            self.server.transport.protocol.dataReceived(answer)
        self.assertEqual(self.server.opcodes(), [SET])
        self.server.reply(STAT)
        self.assertEqual(len(writes), before + 1)
        self.assertEqual(self.server.opcodes(), [SET] * 10)

    def test_answers_before_the_end(self) -> None:
        """What was answered before the server closed counts, however long it takes."""
        got: list[int] = []

        def take(_: object, number: int) -> None:
            got.append(number)
            self.reactor.rightNow += TURN * 2

        count = 5 * AT_ONCE
        for number in range(count):
            self.client.set("/a", b"1").addCallback(take, number)
        self.reactor.advance(0)
        answers = [self.server.frame(self.server.take().xid, STAT) for _ in range(count)]
        self.server.send(b"".join(answers))
        self.assertEqual(got, list(range(AT_ONCE)))
        self.server.drop()
        self.assertEqual(got, list(range(count)))

    def test_numbers_of_requests(self) -> None:
        """Requests are numbered from 1, each with its own number."""
        for _ in range(3):
            self.client.get("/a").addErrback(lambda _: None)
        self.reactor.advance(0)
        self.assertEqual([request.xid for request in self.server.requests], [1, 2, 3])

    def test_errors(self) -> None:
        """A server's error is kazoo's exception with the path; unknown ones carry the code."""
        requests = [self.client.get("/a"), self.client.set("/b", b"", 3), self.client.get("/c")]
        self.reactor.advance(0)
        self.server.reply(code=-101)
        self.server.reply(code=-103)
        self.server.reply(code=-4711)
        self.assertEqual(self.failureResultOf(requests[0], NoNodeError).value.args, ("/a",))
        self.assertEqual(self.failureResultOf(requests[1], BadVersionError).value.args, ("/b",))
        error = self.failureResultOf(requests[2], ZookeeperError).value
        self.assertIn("-4711", str(error))
        self.assertEqual((self.client.counters.errors, self.client.counters.replies), (3, 3))

    def test_latency(self) -> None:
        """Counters know how long answers took since the requests left, and what is still out."""
        requests = [self.client.get("/a")]
        self.reactor.advance(0)
        requests.append(self.client.get("/a"))
        self.reactor.turn()
        self.reactor.advance(1.5)
        self.server.reply(code=-101)
        self.reactor.advance(0.5)
        self.assertEqual(self.client.counters.in_flight, 1)
        self.server.reply(code=-101)
        for request in requests:
            self.failureResultOf(request, NoNodeError)
        counters = self.client.counters
        self.assertEqual((counters.latency_sum, counters.latency_max), (3.5, 2.0))
        self.assertEqual((counters.in_flight, counters.requests, counters.lost), (0, 2, 0))

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(0, 40))
    def test_any_division_of_the_stream(self, sizes: list[int], length: int) -> None:
        """Answers are the same however the network cuts the stream."""
        steps = Steps()
        data = bytes(range(length))
        requests = [steps.client.get("/a") for _ in range(8)]
        listing = steps.client.get_children("/")
        steps.reactor.advance(0)
        stream = b""
        for _ in requests:
            stream += steps.server.frame(steps.server.take().xid, write_buffer(data) + STAT)
        names = struct.pack("!i", 2) + write_string("ä") + write_string("b")
        stream += steps.server.frame(steps.server.take().xid, names)
        position = index = 0
        while position < len(stream):
            size = sizes[index % len(sizes)]
            steps.server.send(stream[position : position + size])
            position += size
            index += 1
        for request in requests:
            got, stat = self.successResultOf(request)
            self.assertEqual((got, stat.version), (data, 7))
            self.assertIs(type(got), bytes)
        self.assertEqual(self.successResultOf(listing), ["ä", "b"])


class RubbishTests(SynchronousTestCase):
    """A server that makes no sense is left, and said why."""

    def lost(self, data: bytes, **options: Any) -> str:
        """Send rubbish while a request waits; answers with why that failed."""
        steps = Steps(**options)
        steps.reactor.advance(4)
        request = steps.client.get("/a")
        steps.reactor.advance(0)
        steps.server.send(data)
        self.assertIs(steps.client.state, SessionState.SUSPENDED)
        why = str(self.failureResultOf(request, ConnectionLoss).value)
        steps.reactor.settle()
        self.assertIs(steps.client.state, SessionState.CONNECTED)
        self.assertEqual(len(steps.server.greetings), 2)
        return why

    def frame(self, body: bytes) -> bytes:
        return struct.pack("!i", len(body)) + body

    def test_negative_size(self) -> None:
        """A frame cannot be shorter than nothing."""
        self.assertIn("a frame of -5 bytes", self.lost(struct.pack("!i", -5)))

    def test_oversize(self) -> None:
        """A frame beyond all reason is not waited for."""
        self.assertIn("a frame of 1213486160 bytes", self.lost(b"HTTP/1.1 400 Bad Request"))

    def test_short_header(self) -> None:
        """A frame too short for a header is unreadable."""
        self.assertIn("unreadable", self.lost(self.frame(b"abc")))
        self.flushLoggedErrors(struct.error)

    def test_short_answer(self) -> None:
        """An answer that ends early is unreadable, and not somebody else's bytes."""
        answer = self.frame(struct.pack("!iqi", 1, 9, 0) + write_buffer(b"data") + STAT[:20])
        self.assertIn("unreadable", self.lost(answer + self.frame(bytes(100))))
        self.flushLoggedErrors(struct.error)

    def test_lying_list(self) -> None:
        """A list that claims more than its frame holds is unreadable."""
        for body in (
            struct.pack("!ii", 1, 100) + b"short",
            struct.pack("!i", 2_000_000_000),
            struct.pack("!ii", 1, -70),
        ):
            steps = Steps()
            listing = steps.client.get_children("/a")
            steps.reactor.advance(0)
            steps.server.reply(body)
            self.failureResultOf(listing, ConnectionLoss)
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_out_of_order(self) -> None:
        """An answer to something else than the oldest request breaks the connection."""
        self.assertIn("answered request 7 out of order", self.lost(Steps().server.frame(7)))

    def test_unasked(self) -> None:
        """An answer when nothing was asked breaks the connection."""
        steps = Steps()
        steps.server.send(steps.server.frame(1, STAT))
        self.assertIs(steps.client.state, SessionState.SUSPENDED)

    def test_nothing_is_read_after_rubbish(self) -> None:
        """What follows rubbish in the same read is not believed."""
        steps = Steps()
        request = steps.client.set("/a", b"")
        steps.reactor.advance(0)
        xid = steps.server.take().xid
        steps.server.send(struct.pack("!i", -5) + steps.server.frame(xid, STAT))
        self.failureResultOf(request, ConnectionLoss)

    def test_rubbish_instead_of_a_session(self) -> None:
        """A server that answers the greeting with rubbish is one that has none for us."""
        reactor = ScriptedReactor()
        server = reactor.add()
        server.silent = True
        client = make_client(reactor)
        client.connect()
        reactor.settle()
        server.send(b"\0\0\0\x03abc")
        reactor.settle()
        self.assertIs(client.state, SessionState.CONNECTING)
        self.assertIn("unreadable", client.last_failure)
        self.flushLoggedErrors(struct.error)

    def test_unknown_events(self) -> None:
        """Events of kinds we do not know are counted and passed over."""
        steps = Steps()
        for kind in (-1, 5, 6, 99):
            steps.server.event(kind, "/a")
        self.assertIs(steps.client.state, SessionState.CONNECTED)
        self.assertEqual(steps.client.counters.events, 4)


class WatchRenewalTests(SynchronousTestCase):
    """What is said about watches on a new connection."""

    def arm(self, steps: Steps, call: Any, code: int = 0, zxid: int = 5) -> Any:
        reading, watch = call
        steps.reactor.advance(0)
        request = steps.server.take()
        body = struct.pack("!i", 0) if request.opcode == CHILDREN else b""
        body = write_buffer(b"") + STAT if request.opcode == GET else body or STAT
        steps.server.send(steps.server.frame(request.xid, body, code, zxid))
        self.successResultOf(reading)
        return watch

    def paths(self, body: bytes) -> tuple[int, list[list[str]]]:
        (zxid,) = struct.unpack_from("!q", body)
        offset, lists = 8, []
        for _ in range(5):
            (count,) = struct.unpack_from("!i", body, offset)
            offset += 4
            names = []
            for _ in range(count):
                (size,) = struct.unpack_from("!i", body, offset)
                names.append(body[offset + 4 : offset + 4 + size].decode())
                offset += 4 + size
            lists.append(names)
        self.assertEqual(offset, len(body))
        return zxid, lists

    def persistent(self, steps: Steps, path: str, recursive: bool) -> Any:
        setting = steps.client.watch(path, lambda _: None, recursive=recursive)
        steps.reactor.advance(0)
        steps.server.reply()
        return self.successResultOf(setting)

    def test_all_kinds(self) -> None:
        """Every watch is set again by its kind, with chroot and last zxid, before all else."""
        steps = Steps(servers="127.0.0.1/ch")
        client = steps.client
        self.arm(steps, client.get_and_watch("/data"))
        self.arm(steps, client.exists_and_watch("/there"))
        self.arm(steps, client.exists_and_watch("/missing"), code=-101)
        self.arm(steps, client.get_children_and_watch("/"), zxid=9)
        self.persistent(steps, "/plain", False)
        self.persistent(steps, "/both", False)
        self.persistent(steps, "/both", True)
        self.persistent(steps, "/", True)
        client.observe(lambda state: client.get("/x").addErrback(lambda _: None))
        steps.reconnect()
        self.assertEqual(steps.server.opcodes(), [SET_WATCHES, GET])
        zxid, lists = self.paths(steps.server.take().body)
        self.assertEqual(zxid, 9)
        data, exist, child, plain, recursive = lists
        self.assertEqual((data, exist), (["/ch/data", "/ch/there"], ["/ch/missing"]))
        self.assertEqual((child, plain), (["/ch"], ["/ch/plain"]))
        self.assertEqual(sorted(recursive), ["/ch", "/ch/both"])

    def test_nothing_to_renew(self) -> None:
        """A client without watches says nothing about them."""
        steps = Steps()
        steps.reconnect()
        self.assertEqual(steps.server.opcodes(), [])

    def test_fired_and_cancelled_watches(self) -> None:
        """Watches that fired or were cancelled are not set again."""
        steps = Steps()
        fired = self.arm(steps, steps.client.get_and_watch("/a"))
        cancelled = self.arm(steps, steps.client.get_and_watch("/b"))
        cancelled.addErrback(lambda _: None)
        steps.server.event(3, "/a")
        self.assertEqual(self.successResultOf(fired), WatchEvent(WatchKind.CHANGED, "/a"))
        cancelled.cancel()
        self.assertEqual(steps.client.counters.watches, 0)
        steps.reconnect()
        self.assertEqual(steps.server.opcodes(), [])

    def test_new_session(self) -> None:
        """A new session has the persistent watches and none of the one-shots."""
        steps = Steps()
        self.arm(steps, steps.client.get_and_watch("/a"))
        self.persistent(steps, "/p", True)
        steps.server.expired = True
        steps.reconnect()
        _, lists = self.paths(steps.server.take(SET_WATCHES).body)
        self.assertEqual(lists, [[], [], [], [], ["/p"]])

    def test_persistent_ones_come_last(self) -> None:
        """With too many paths for one request, the persistent ones still come last."""
        steps = Steps()
        for number in range(100):
            self.arm(steps, steps.client.get_and_watch(f"/{'x' * 3000}{number}"))
        self.persistent(steps, f"/{'x' * 3000}7", False)
        steps.reconnect()
        renewals = [self.paths(request.body)[1] for request in steps.server.requests]
        self.assertEqual(steps.server.opcodes(), [SET_WATCHES] * 3)
        self.assertEqual(sum(len(lists[0]) for lists in renewals), 100)
        self.assertEqual([len(lists[3]) for lists in renewals], [0, 0, 1])

    def test_refused_renewal(self) -> None:
        """A server that will not set watches again is left for another."""
        steps = Steps()
        self.arm(steps, steps.client.get_and_watch("/a"))
        steps.reconnect()
        steps.server.reply(code=-6)
        self.assertIs(steps.client.state, SessionState.SUSPENDED)
        self.assertEqual(len(self.flushLoggedErrors(ZookeeperError)), 1)

    def test_session_ends_before_the_renewal(self) -> None:
        """A session that expires between the greeting and the watches is no trouble of a server."""
        steps = Steps()
        self.arm(steps, steps.client.get_and_watch("/a"))
        steps.reconnect()
        steps.server.reply(code=SessionExpiredError.code)
        self.assertIs(steps.client.state, SessionState.SUSPENDED)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_covered_reads_set_no_watch(self) -> None:
        """Beside a persistent watch a one-shot is kept by the client alone."""
        steps = Steps()
        self.persistent(steps, "/a", True)
        for call, flag in (
            (steps.client.get_and_watch("/a"), 0),
            (steps.client.get_and_watch("/b"), 1),
        ):
            call[0].addErrback(lambda _: None)
            steps.reactor.advance(0)
            self.assertEqual(steps.server.take(GET).body[-1], flag)

    def test_stop_keeps_one_shots(self) -> None:
        """Stopping the last persistent watch sets the one-shots on its path again."""
        steps = Steps()
        watch = self.persistent(steps, "/a", True)
        shot = self.arm(steps, steps.client.get_and_watch("/a"), zxid=20)
        children = self.arm(steps, steps.client.get_children_and_watch("/a"), zxid=21)
        stopping = watch.stop()
        steps.reactor.advance(0)
        self.assertNoResult(stopping)
        self.assertEqual(steps.server.reply(zxid=40).opcode, REMOVE_WATCHES)
        self.successResultOf(stopping)
        steps.reactor.advance(0)
        zxid, lists = self.paths(steps.server.take(SET_WATCHES).body)
        self.assertEqual((zxid, lists), (21, [["/a"], [], ["/a"], [], []]))
        steps.server.event(2, "/a")
        self.assertIs(self.successResultOf(shot).kind, WatchKind.DELETED)
        self.assertIs(self.successResultOf(children).kind, WatchKind.DELETED)

    def test_stop_and_watch_again(self) -> None:
        """A watch set before the removal was answered survives it."""
        steps = Steps()
        first = self.persistent(steps, "/a", False)
        shot = self.arm(steps, steps.client.get_and_watch("/a"))
        events: list[WatchEvent] = []
        first.stop()
        setting = steps.client.watch("/a", events.append)
        steps.reactor.advance(0)
        self.assertEqual(steps.server.opcodes(), [REMOVE_WATCHES, ADD_WATCH])
        steps.server.reply()
        steps.server.reply()
        self.successResultOf(setting)
        steps.reactor.advance(0)
        _, lists = self.paths(steps.server.take(SET_WATCHES).body)
        self.assertEqual(lists, [["/a"], [], [], ["/a"], []])
        steps.server.event(3, "/a")
        self.assertEqual(events, [WatchEvent(WatchKind.CHANGED, "/a")])
        self.successResultOf(shot)

    def test_stop_without_connection(self) -> None:
        """Stopping while suspended is done at once, and the watch is not set again."""
        steps = Steps()
        watch = self.persistent(steps, "/a", False)
        steps.reactor.advance(4)
        steps.server.drop()
        self.successResultOf(watch.stop())
        self.successResultOf(watch.stop())
        steps.reactor.settle()
        self.assertEqual(steps.server.opcodes(), [])

    def test_stop_in_flight(self) -> None:
        """A connection lost while the watch is taken off has taken it off."""
        steps = Steps()
        watch = self.persistent(steps, "/a", False)
        stopping = watch.stop()
        steps.reconnect()
        self.successResultOf(stopping)
        self.assertEqual(steps.server.opcodes(), [])

    def test_failed_watch(self) -> None:
        """A watch that could not be set is not there, and not set again."""
        steps = Steps()
        events: list[WatchEvent] = []
        setting = steps.client.watch("/a", events.append)
        steps.reactor.advance(0)
        steps.server.reply(code=-102)
        self.failureResultOf(setting, ZookeeperError)
        steps.server.event(3, "/a")
        self.assertEqual(events, [])
        self.assertEqual(steps.client.counters.watches, 0)

    def test_broken_callback(self) -> None:
        """A callback that raises is logged and harms no other watch."""
        steps = Steps()

        def broken(event: WatchEvent) -> None:
            raise ZeroDivisionError

        events: list[WatchEvent] = []
        for callback in (broken, events.append):
            steps.client.watch("/a", callback)
            steps.reactor.advance(0)
            steps.server.reply()
        steps.server.event(3, "/a")
        self.assertEqual(len(events), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(steps.client.state, SessionState.CONNECTED)

    def test_watch_stopped_by_another(self) -> None:
        """A callback may stop a watch that the same event would have told next."""
        steps = Steps()
        watches: list[Any] = []
        events: list[WatchEvent] = []
        for callback in (lambda event: watches[1].stop(), events.append):
            setting = steps.client.watch("/a", callback)
            steps.reactor.advance(0)
            steps.server.reply()
            watches.append(self.successResultOf(setting))
        steps.server.event(3, "/a")
        self.assertEqual(events, [])
