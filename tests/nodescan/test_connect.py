"""From names to connections, on a network in memory."""

from __future__ import annotations

import errno
import os

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.nodescan.connect import connect, connect_failed, look_up, peer_address
from nodepool_tx.nodescan.interface import (
    Address,
    AddressFamily,
    ConnectFailed,
    ConnectFailure,
    ScanTimeout,
)
from tests.nodescan.network import MemoryNetwork
from tests.nodescan.ssh_server import Speaker


def v4(host: str) -> Address:
    return Address(AddressFamily.IPV4, host, 22)


class LookUp(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()

    def look_up(self, host: str) -> Deferred[tuple[Address, ...]]:
        return Deferred.fromCoroutine(look_up(self.network, host, 22))

    def test_literals(self) -> None:
        """IP addresses are answered without asking the name service."""
        for text, family in (
            ("192.0.2.7", AddressFamily.IPV4),
            ("2001:db8::7", AddressFamily.IPV6),
            ("::1", AddressFamily.IPV6),
        ):
            found = self.successResultOf(self.look_up(text))
            self.assertEqual(found, (Address(family, text, 22),))
        self.assertEqual(self.network.looked_up, [])

    def test_order_is_kept(self) -> None:
        """The system's order of preference is kept, duplicates are not."""
        self.network.names["rack"] = ["2001:db8::1", "192.0.2.1", "2001:db8::1"]
        found = self.successResultOf(self.look_up("rack"))
        self.assertEqual([address.host for address in found], ["2001:db8::1", "192.0.2.1"])
        self.assertEqual((found[0].ipv4, found[0].ipv6), (None, "2001:db8::1"))
        self.assertEqual((found[1].ipv4, found[1].ipv6), ("192.0.2.1", None))

    def test_unknown(self) -> None:
        """A name without addresses is reported as such."""
        failure = self.failureResultOf(self.look_up("nowhere"), ConnectFailed)
        self.assertIs(failure.value.reason, ConnectFailure.NAME_UNKNOWN)
        self.assertIn("nowhere:22", str(failure.value))

    def test_no_name_at_all(self) -> None:
        """What cannot be a name is unknown, without asking (the resolver would hang)."""
        for text in ("", "a" * 64 + ".example", "a..b", "nul\0byte"):
            failure = self.failureResultOf(self.look_up(text), ConnectFailed)
            self.assertIs(failure.value.reason, ConnectFailure.NAME_UNKNOWN)
        self.assertEqual(self.network.looked_up, [])

    def test_late_answer(self) -> None:
        """An answer that comes after the caller has gone harms nobody."""
        self.network.names["slow"] = None
        waiting = self.look_up("slow")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.network.unanswered.resolutionComplete()


class Connecting(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()

    def connect(self, *hosts: str) -> Deferred[Protocol]:
        return connect(self.network, tuple(map(v4, hosts)), Protocol)

    def test_one_address(self) -> None:
        """The protocol comes back connected and knows its peer."""
        self.network.listeners["192.0.2.1", 22] = Speaker
        connecting = self.connect("192.0.2.1")
        self.network.settle()
        self.assertEqual(peer_address(self.successResultOf(connecting)), v4("192.0.2.1"))
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_next_at_once_after_failure(self) -> None:
        """An address that fails makes way for the next without delay."""
        self.network.listeners["192.0.2.1", 22] = error.ConnectionRefusedError
        self.network.listeners["192.0.2.2", 22] = Speaker
        connecting = self.connect("192.0.2.1", "192.0.2.2", "192.0.2.3")
        self.network.settle()
        self.assertEqual(peer_address(self.successResultOf(connecting)).host, "192.0.2.2")
        self.assertEqual(self.network.seconds(), 0)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_next_beside_silence(self) -> None:
        """An address that does not answer is joined by the next, and left when that wins."""
        self.network.listeners["192.0.2.2", 22] = Speaker
        connecting = self.connect("192.0.2.1", "192.0.2.2")
        self.network.advance(0.24)
        self.assertNoResult(connecting)
        self.network.advance(0.02)
        self.network.settle()
        self.assertEqual(peer_address(self.successResultOf(connecting)).host, "192.0.2.2")
        self.assertTrue(self.network.connectors[0].stoppedConnecting)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_all_fail(self) -> None:
        """When all addresses failed, the last error is reported."""
        self.network.listeners["192.0.2.1", 22] = error.ConnectionRefusedError
        self.network.listeners["192.0.2.2", 22] = error.NoRouteError
        connecting = self.connect("192.0.2.1", "192.0.2.2")
        self.network.settle()
        self.failureResultOf(connecting, error.NoRouteError)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """Cancelling ends all attempts and starts no more."""
        connecting = self.connect("192.0.2.1", "192.0.2.2", "192.0.2.3")
        self.network.advance(0.3)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.network.advance(5)
        self.assertEqual([c.stoppedConnecting for c in self.network.connectors], [True, True])
        self.assertEqual(self.network.getDelayedCalls(), [])


class Reasons(SynchronousTestCase):
    def test_reasons_are_kept_apart(self) -> None:
        """Each kind of failure has its own reason and its own advice."""
        cases = {
            errno.ECONNREFUSED: (ConnectFailure.REFUSED, "nothing listens"),
            errno.ECONNRESET: (ConnectFailure.REFUSED, "nothing listens"),
            errno.ENETUNREACH: (ConnectFailure.UNREACHABLE, "no way to the host"),
            errno.EHOSTUNREACH: (ConnectFailure.UNREACHABLE, "no way to the host"),
            errno.EMFILE: (ConnectFailure.LOCAL, "Too many open files"),
            errno.EPERM: (ConnectFailure.LOCAL, "not permitted"),
        }
        for number, (reason, words) in cases.items():
            cause = error.getConnectError(OSError(number, os.strerror(number)))
            failure = connect_failed("rack", 2222, cause)
            assert isinstance(failure, ConnectFailed)
            self.assertIs(failure.reason, reason, errno.errorcode[number])
            self.assertIn(words, str(failure))
            self.assertIn("rack:2222", str(failure))

    def test_kernel_timeout(self) -> None:
        """The kernel's own giving up is a timeout like any other."""
        cause = error.getConnectError(OSError(errno.ETIMEDOUT, "timed out"))
        self.assertIsInstance(connect_failed("2001:db8::1", 22, cause), ScanTimeout)
        self.assertIn("[2001:db8::1]:22", str(connect_failed("2001:db8::1", 22, cause)))
