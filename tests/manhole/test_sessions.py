"""Sessions, channels and commands, without a network."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import attrs
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.connection import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
    MSG_REQUEST_FAILURE,
)
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import StringTransport

from nodepool_tx.audit import LONGEST, Audit
from nodepool_tx.auth.interface import Denied, DirectoryTrouble, Principal
from nodepool_tx.manhole import sessions
from nodepool_tx.manhole.scene import Scene
from nodepool_tx.manhole.sessions import Session
from nodepool_tx.manhole.ssh import MOST_CHANNELS
from nodepool_tx.manhole.userauth import MOST_KEYS, MOST_PASSWORDS, PATIENCE, UserAuth
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.tally import Tally
from nodepool_tx.work import Tracker
from tests.manhole.test_tools import Watcher
from tests.metrics.stage import FarmTestCase


class FakeTransport:
    """What a service of SSH sees of its connection."""

    sessionID = b"id"

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.ended: list[str] = []
        self.service: Any = None
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.7", 4242))

    def sendPacket(self, kind: int, payload: bytes) -> None:
        self.sent.append((kind, payload))

    def sendDisconnect(self, _reason: int, words: bytes) -> None:
        self.end(words.decode())

    def sendUnimplemented(self) -> None:
        self.sent.append((3, b""))

    def end(self, words: str) -> None:
        self.ended.append(words)

    def setService(self, service: Any) -> None:
        self.service = service

    def take(self, kind: int) -> list[bytes]:
        """Payloads of one kind, which are then forgotten."""
        found = [payload for each, payload in self.sent if each == kind]
        self.sent = [(each, payload) for each, payload in self.sent if each != kind]
        return found


class Many:
    """Something with a million lines, of which each is counted when it is made."""

    def __init__(self) -> None:
        self.made = 0

    def lines(self, width: int) -> Iterator[str]:
        for number in range(10**6):
            self.made += 1
            yield f"line {number}"


class Turns:
    """A reactor that goes on when a test says so."""

    def __init__(self, turns: list[Any]) -> None:
        self._turns = turns

    def callLater(self, _delay: float, work: Any) -> None:
        self._turns.append(work)


class SessionTests(FarmTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.bring()
        farm = Farm(
            clock=self.clock,
            store=self.store,
            tally=Tally(self.store),
            reloader=self.reloader,
            launcher=self.process,
            hostname="host.example",
            version="1.0",
            started=self.clock.seconds(),
        )
        self.consoles = Tracker(self.clock)
        scene = Scene(farm=farm, watcher=Watcher(), levels=None, consoles=self.consoles)
        self.records: list[tuple[Any, ...]] = []
        audit = Audit(self.clock)
        audit.record = lambda *words, **more: self.records.append(words)  # type: ignore[method-assign,assignment]
        self.wire: Any = FakeTransport()
        self.over: list[Session] = []
        self.session = Session(
            self.clock,
            scene,
            audit,
            self.wire,
            Principal("eve", "key"),
            1,
            self.mktemp(),
            self.over.append,
        )
        self.connection = self.session.connection()
        self.connection.transport = self.wire
        self.connection.serviceStarted()

    def test_all_of_it_is_written_down(self) -> None:
        """Also what comes behind a long text that says nothing, in as many entries as it takes."""
        typed = "1" + " " * 25_000 + "+ 1"
        self.session.begins(typed, how="command")
        told = [record for record in self.records if record[3] == "begins"]
        self.assertEqual("".join(record[2] for record in told), typed)
        self.assertEqual(len(told), 3)
        self.assertLessEqual(max(len(record[2]) for record in told), LONGEST)

    def stop(self) -> None:
        if not self.over:
            self.connection.serviceStopped()
        super().stop()

    def say(self, kind: int, payload: bytes) -> None:
        self.connection.packetReceived(kind, payload)

    def open(self, kind: bytes = b"session", window: int = 10_000) -> int | None:
        """Open a channel; gives its number, or None if it was refused."""
        self.say(MSG_CHANNEL_OPEN, NS(kind) + struct.pack(">3L", 0, window, 32768))
        if self.wire.take(MSG_CHANNEL_OPEN_FAILURE):
            return None
        (confirmed,) = self.wire.take(MSG_CHANNEL_OPEN_CONFIRMATION)
        number: int = struct.unpack(">4L", confirmed)[1]
        return number

    def ask(self, channel: int, kind: bytes, data: bytes = b"") -> bool:
        """Make a request; tells whether it was granted."""
        self.say(MSG_CHANNEL_REQUEST, struct.pack(">L", channel) + NS(kind) + b"\1" + data)
        granted = bool(self.wire.take(MSG_CHANNEL_SUCCESS))
        self.assertEqual(bool(self.wire.take(MSG_CHANNEL_FAILURE)), not granted)
        return granted

    def heard(self, kind: int = MSG_CHANNEL_DATA) -> str:
        skip = 8 if kind == MSG_CHANNEL_DATA else 12
        return b"".join(payload[skip:] for payload in self.wire.take(kind)).decode()

    def status(self) -> int | None:
        """The exit status that was told, if one was."""
        found = self.wire.take(MSG_CHANNEL_REQUEST)
        return struct.unpack(">L", found[-1][-4:])[0] if found else None

    def command(self, source: str, window: int = 10_000) -> int:
        channel = self.open(window=window)
        assert channel is not None
        self.assertTrue(self.ask(channel, b"exec", NS(source.encode())))
        self.settle()
        return channel

    def test_a_command(self) -> None:
        """Its value, its status, and an entry before and after."""
        self.command("1 + 1")
        self.assertEqual((self.heard(), self.status()), ("2\n", 0))
        self.assertEqual(len(self.wire.take(MSG_CHANNEL_CLOSE)), 1)
        self.command("1 / 0")
        self.assertIn("ZeroDivisionError", self.heard(MSG_CHANNEL_EXTENDED_DATA))
        self.assertEqual(self.status(), 1)
        self.assertEqual(
            self.records,
            [
                ("eve", "console 192.0.2.7", "1 + 1", "begins"),
                ("eve", "console 192.0.2.7", "1 + 1", "ok"),
                ("eve", "console 192.0.2.7", "1 / 0", "begins"),
                ("eve", "console 192.0.2.7", "1 / 0", "ZeroDivisionError: division by zero"),
            ],
        )

    def test_who_does_not_read_gets_no_more(self) -> None:
        """Lines are made when the client has room for them."""
        sessions.__dict__["many"] = many = Many()
        self.addCleanup(sessions.__dict__.pop, "many")
        source = "__import__('nodepool_tx.manhole.sessions').manhole.sessions.many"
        channel = self.command(source, window=500)
        self.settle()
        self.clock.pump([0] * 20)
        first = many.made
        self.assertLess(first, 200)
        self.assertLessEqual(len(self.heard()), 500)
        self.say(MSG_CHANNEL_WINDOW_ADJUST, struct.pack(">2L", channel, 2000))
        self.clock.pump([0] * 20)
        self.assertLessEqual(len(self.heard()), 2000)
        self.assertLess(many.made, first + 400)
        self.say(MSG_CHANNEL_CLOSE, struct.pack(">L", channel))
        made = many.made
        self.clock.pump([0] * 20)
        self.assertEqual(many.made, made)

    def test_many_lines_come_in_turns(self) -> None:
        """Ten thousand of them do not keep the reactor."""
        sessions.__dict__["many"] = many = Many()
        self.addCleanup(sessions.__dict__.pop, "many")
        source = "__import__('nodepool_tx.manhole.sessions').manhole.sessions.many"
        turns: list[Any] = []
        self.session._clock = Turns(turns)  # type: ignore[assignment]
        channel = self.open(window=2**31)
        assert channel is not None
        self.ask(channel, b"exec", NS(source.encode()))
        for turn in range(1, 10):
            self.assertEqual(many.made, 100 * turn)
            self.assertEqual(len(turns), 1)
            turns.pop()()
        self.say(MSG_CHANNEL_CLOSE, struct.pack(">L", channel))

    def test_cancelling_a_command(self) -> None:
        """By a signal, or by going away."""
        waits = "__import__('twisted.internet.defer').internet.defer.Deferred()"
        channel = self.command(waits)
        self.assertEqual(len(self.consoles), 1)
        self.ask(channel, b"signal", NS(b"INT"))
        self.assertEqual(self.status(), 130)
        self.assertEqual(len(self.consoles), 0)
        channel = self.command(waits)
        self.say(MSG_CHANNEL_CLOSE, struct.pack(">L", channel))
        self.assertEqual(len(self.consoles), 0)

    def test_what_is_refused(self) -> None:
        """Everything but a terminal and commands, and more than a few of them."""
        for kind in (b"direct-tcpip", b"x11", b"auth-agent@openssh.com", b"forwarded-tcpip"):
            self.assertIsNone(self.open(kind))
        self.say(MSG_GLOBAL_REQUEST, NS(b"tcpip-forward") + b"\1" + NS(b"") + b"\0\0\0\0")
        self.assertEqual(len(self.wire.take(MSG_REQUEST_FAILURE)), 1)
        channel = self.open()
        assert channel is not None
        for kind in (b"subsystem", b"env", b"x11-req", b"auth-agent-req@openssh.com", b"\xff"):
            self.assertFalse(self.ask(channel, kind, NS(b"sftp") + NS(b"x")))
        self.assertFalse(self.ask(channel, b"pty-req", b"short"))
        self.assertTrue(self.ask(channel, b"shell"))
        self.assertFalse(self.ask(channel, b"exec", NS(b"1")))
        others = [self.open() for _ in range(MOST_CHANNELS)]
        self.assertEqual(others.count(None), 1)
        self.say(MSG_CHANNEL_REQUEST, struct.pack(">L", 4711) + NS(b"shell") + b"\1")
        self.assertEqual(self.wire.ended, ["that makes no sense"])

    def test_a_terminal(self) -> None:
        """It greets, answers, and takes what was typed before it was there."""
        channel = self.open()
        assert channel is not None
        size = struct.pack(">4L", 50, 12, 0, 0)
        self.assertTrue(self.ask(channel, b"pty-req", NS(b"xterm") + size + NS(b"")))
        self.say(MSG_CHANNEL_DATA, struct.pack(">L", channel) + NS(b"20 + 1\r"))
        self.assertTrue(self.ask(channel, b"shell"))
        shown = self.heard()
        self.assertIn("help shows what there is", shown)
        self.assertIn("21\r\n", shown)
        self.assertTrue(self.ask(channel, b"window-change", struct.pack(">4L", 99, 40, 0, 0)))
        self.say(MSG_CHANNEL_DATA, struct.pack(">L", channel) + NS(b"\x04"))
        self.assertEqual(self.status(), 0)

    def test_silence_ends_a_session(self) -> None:
        """After an hour without a key; what is shown by itself does not count."""
        channel = self.open()
        assert channel is not None
        self.ask(channel, b"shell")
        self.clock.advance(3000)
        self.say(MSG_CHANNEL_DATA, struct.pack(">L", channel) + NS(b"x"))
        self.clock.advance(3000)
        self.assertEqual(self.wire.ended, [])
        self.clock.advance(601)
        self.assertIn("goodbye", self.heard())
        self.assertEqual(len(self.wire.ended), 1)
        self.assertIn(("eve", "console 192.0.2.7", "idle", "ended"), self.records)

    def test_a_lost_connection(self) -> None:
        """Everything of it ends, and it is written down."""
        self.command("__import__('twisted.internet.defer').internet.defer.Deferred()")
        self.connection.serviceStopped()
        self.assertEqual(len(self.consoles), 0)
        self.assertEqual(self.over, [self.session])
        self.assertEqual(self.records[-1][2], "disconnect")


@attrs.define
class MemoryGate:
    """Lets in who knows the word."""

    with_passwords: bool = True
    refusals: list[str] = attrs.field(factory=list)
    entered: list[Principal] = attrs.field(factory=list)
    hanging: Deferred[Principal] | None = None
    room: bool = True

    def key_user(self, blob: bytes) -> str | None:
        return None

    def passwords(self) -> bool:
        return self.with_passwords

    def log_in(self, user: str, password: str, address: str) -> Deferred[Principal]:
        if self.hanging is not None:
            return self.hanging
        if password == "trouble":
            return fail(DirectoryTrouble("it is down"))
        if password != "word":
            return fail(Denied("wrong"))
        return succeed(Principal(user, "password"))

    def refused(self, user: str, address: str, why: str) -> None:
        self.refusals.append(f"{user} {address}: {why}")

    def come_in(self, transport: Any, principal: Principal) -> Any:
        if not self.room:
            return None
        self.entered.append(principal)
        return "service"


class UserAuthTests(FarmTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.gate = MemoryGate()
        self.wire: Any = FakeTransport()
        self.service = UserAuth(self.clock, self.gate)
        self.service.transport = self.wire
        self.service.serviceStarted()
        self.addCleanup(self.service.serviceStopped)

    def ask(self, method: bytes, rest: bytes, user: bytes = b"eve") -> list[tuple[int, bytes]]:
        self.wire.sent.clear()
        head = NS(user) + NS(b"ssh-connection") + NS(method)
        self.service.packetReceived(50, head + rest)
        return list(self.wire.sent)

    def password(self, word: bytes) -> list[tuple[int, bytes]]:
        return self.ask(b"password", b"\0" + NS(word))

    def test_passwords(self) -> None:
        """The right one opens; a few wrong ones end the connection."""
        refusal = (51, NS(b"publickey,password") + b"\0")
        self.assertEqual(self.ask(b"none", b""), [refusal])
        for word in (b"wrong", b"trouble")[: MOST_PASSWORDS - 1]:
            self.assertEqual(self.password(word), [refusal])
        self.assertEqual(self.password(b"word"), [(52, b"")])
        self.assertEqual(self.gate.entered, [Principal("eve", "password")])
        self.assertEqual(self.wire.service, "service")

    def test_too_many_passwords(self) -> None:
        """The connection ends."""
        for _ in range(MOST_PASSWORDS):
            self.password(b"\xff\xfe")
        self.assertEqual(self.wire.ended, ["too many attempts"])

    def test_no_passwords(self) -> None:
        """Where there are none, none are looked at."""
        self.gate.with_passwords = False
        self.assertEqual(self.password(b"word"), [(51, NS(b"publickey") + b"\0")])
        self.assertEqual(self.gate.entered, [])

    def test_too_many_keys(self) -> None:
        """A client may offer a number of keys, and each is written down."""
        for _ in range(MOST_KEYS):
            self.ask(b"publickey", b"\0" + NS(b"ssh-ed25519") + NS(b"blob"))
        self.assertEqual(len(self.gate.refusals), MOST_KEYS)
        self.assertEqual(self.wire.ended, ["too many keys"])

    def test_no_room(self) -> None:
        """Who could come in is told why they cannot."""
        self.gate.room = False
        self.password(b"word")
        self.assertEqual(self.wire.ended, ["too many sessions"])

    def test_one_at_a_time(self) -> None:
        """A second attempt while one is checked ends the connection, and the first with it."""
        self.gate.hanging = Deferred()
        self.password(b"word")
        self.password(b"word")
        self.assertEqual(self.wire.ended, ["one at a time"])

    def test_going_away(self) -> None:
        """Whoever leaves is not let in afterwards."""
        cancelled: list[object] = []
        self.gate.hanging = Deferred(cancelled.append)
        self.password(b"word")
        self.service.serviceStopped()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.gate.entered, [])

    def test_dawdling(self) -> None:
        """There is a time for everything."""
        self.clock.advance(PATIENCE)
        self.assertEqual(self.wire.ended, ["you took too long"])

    def test_nonsense(self) -> None:
        """Packets that make no sense end the connection, and nothing else."""
        self.service.packetReceived(50, b"\0\0")
        self.assertEqual(self.wire.ended, ["that makes no sense"])
