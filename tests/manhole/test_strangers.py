"""What those who have not logged in can do to the console's connections: little."""

from __future__ import annotations

import pathlib
import struct
from typing import Any

from twisted.conch.ssh.common import NS
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.manhole.keys import host_key
from nodepool_tx.manhole.ssh import (
    MOST_PACKETS,
    MOST_STRANGERS,
    PATIENCE,
    ServerFactory,
    Transport,
)

IGNORE, DEBUG, SERVICE_REQUEST, KEXINIT, NEWKEYS, REQUEST = 2, 4, 5, 20, 21, 50


class Wire(StringTransport):
    """A connection whose other end may not read."""

    def __init__(self, protocol: Transport) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.7", 4242))
        self.protocol: Transport | None = protocol

    @property
    def ended(self) -> bool:
        return self.protocol is None

    def abortConnection(self) -> None:
        super().abortConnection()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionDone()))

    def say(self, data: bytes) -> None:
        assert self.protocol is not None, "the connection has ended"
        self.protocol.dataReceived(data)


def packet(kind: int, payload: bytes = b"") -> bytes:
    """One that is not encrypted."""
    padding = 16 - (len(payload) + 6) % 8
    head = struct.pack(">IBB", len(payload) + padding + 2, padding, kind)
    return head + payload + bytes(padding)


class StrangerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        key = host_key(str(pathlib.Path(self.mktemp()).absolute()))
        gate: Any = None
        self.factory = ServerFactory(self.clock, key, gate)

    def visit(self) -> Wire:
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        wire = Wire(protocol)
        protocol.makeConnection(wire)
        wire.say(b"SSH-2.0-visitor\r\n")
        return wire

    def test_many(self) -> None:
        """Whoever just sits there keeps nobody out: the oldest go for the newest."""
        wires = [self.visit() for _ in range(MOST_STRANGERS + 5)]
        self.assertEqual([wire.ended for wire in wires[:6]], [True] * 5 + [False])
        self.assertEqual(len(self.factory.strangers), MOST_STRANGERS)
        self.assertEqual(len(self.factory.transports), MOST_STRANGERS)
        self.clock.advance(PATIENCE)
        self.assertTrue(all(wire.ended for wire in wires))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_those_who_are_known(self) -> None:
        """Who has logged in is not dropped for others, nor for having much to say."""
        wire = self.visit()
        assert wire.protocol is not None
        self.factory.known(wire.protocol)
        wire.say(packet(IGNORE) * 2 * MOST_PACKETS)
        for _ in range(2 * MOST_STRANGERS):
            self.visit()
        self.clock.advance(PATIENCE)
        self.assertFalse(wire.ended)

    def test_too_much(self) -> None:
        """Packets without an end are not answered without an end."""
        wire = self.visit()
        wire.say(packet(IGNORE) * MOST_PACKETS)
        self.assertFalse(wire.ended)
        wire.say(packet(DEBUG) * 5)
        self.assertTrue(wire.ended)

    def test_in_the_clear(self) -> None:
        """Nobody logs in before there is encryption, or has it done by who is in between."""
        for kind, payload in (
            (SERVICE_REQUEST, NS(b"ssh-userauth")),
            (REQUEST, NS(b"ann") + NS(b"ssh-connection") + NS(b"none")),
        ):
            wire = self.visit()
            wire.clear()
            wire.say(packet(kind, payload))
            self.assertTrue(wire.ended)
            self.assertEqual(wire.value(), b"")

    def test_rubbish(self) -> None:
        """What makes no sense ends the connection, and is no fault of ours."""
        for kind in (1, KEXINIT, NEWKEYS, 30, 31, 33):
            for payload in (b"", b"\0", b"\xff" * 40):
                wire = self.visit()
                wire.say(packet(kind, payload))
                wire.abortConnection()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(len(self.factory.transports), 0)
