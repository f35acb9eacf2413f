"""The scanner of real hosts, on a network and a clock in memory."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.nodescan.interface import (
    ConnectFailed,
    ConnectFailure,
    KeyExchangeFailed,
    NotSSH,
    ScanTimeout,
)
from nodepool_tx.nodescan.scanner import ReactorScanner
from tests.nodescan.network import MemoryNetwork
from tests.nodescan.ssh_server import ImpostorServer, Speaker, line, server

HOST = "192.0.2.1"
DEBIAN = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
DEBIAN_KEYS = tuple(line(name) for name in DEBIAN)


class ScannerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.scanner = self.make()

    def make(self, max_parallel: int = 100) -> ReactorScanner:
        return ReactorScanner(self.network, max_parallel=max_parallel, rng=random.Random(1))

    def serve(self, listener: Callable[[], Protocol], host: str = HOST, port: int = 22) -> None:
        self.network.listeners[host, port] = listener

    def serve_keys(self, keys: Sequence[str] = DEBIAN, host: str = HOST) -> None:
        self.serve(lambda: server(keys=keys), host)

    def serve_in_turn(self, *listeners: Callable[[], Protocol]) -> None:
        """Connections meet one listener after the other, then the last for ever."""
        order = itertools.chain(listeners, itertools.repeat(listeners[-1]))
        self.serve(lambda: next(order)())

    def assertClean(self) -> None:
        """Nothing is open, planned or counted as active."""
        self.network.settle()
        self.assertEqual(self.network.open_connections, 0)
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual((self.scanner.active, self.scanner.queued), (0, 0))

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps, with everybody talking."""
        for _ in range(round(seconds / 0.01)):
            self.network.advance(0.01)
            self.network.settle()


class Keys(ScannerCase):
    """How the keys of a server are gathered."""

    def test_one_connection_per_key(self) -> None:
        """A scan opens as many connections as the server has key types."""
        self.serve_keys(DEBIAN[::-1])
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.network.settle()
        self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS)
        self.assertEqual(len(self.network.contacted), 3)
        self.assertClean()

    def test_every_family(self) -> None:
        """All families there are come in the promised order."""
        names = ("ssh-ed25519", *(f"ecdsa-sha2-nistp{n}" for n in (256, 384, 521)))
        self.serve_keys((*names, "ssh-rsa", "ssh-dss"))
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.network.settle()
        types = [key.split()[0] for key in self.successResultOf(scanning)]
        self.assertEqual(types, [*names, "ssh-rsa", "ssh-dss"])

    def test_stays_with_one_machine(self) -> None:
        """All keys come from the machine that answered first, not from others of that name."""
        self.network.names["rack"] = [HOST, "192.0.2.2", "2001:db8::1"]
        self.serve(ConnectionRefusedError)
        self.serve_keys(host="2001:db8::1")
        self.serve_keys(["ssh-ed25519"], host="192.0.2.2")
        scanning = self.scanner.scan_keys("rack", 22, 5)
        self.network.settle()
        self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS[:1])
        self.assertEqual(self.network.contacted, [HOST, "192.0.2.2"])
        self.assertEqual(self.network.looked_up, ["rack"])

    def test_one_bad_key_fails_the_scan(self) -> None:
        """Half an answer is none: a further key that is not proven fails the scan at once."""
        self.serve_in_turn(
            lambda: server(keys=DEBIAN),
            lambda: Speaker(b"SSH-2.0-x\r\n"),
            lambda: Speaker(b"SSH-2.0-x\r\n", hang_up=True),
        )
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.network.settle()
        self.failureResultOf(scanning, KeyExchangeFailed)
        self.assertClean()

    def test_impostor(self) -> None:
        """A server that does not hold its key fails the scan."""
        self.serve(lambda: server(ImpostorServer))
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.network.settle()
        self.failureResultOf(scanning, KeyExchangeFailed)
        self.assertClean()


class FewConnections(ScannerCase):
    """Servers that take few connections at a time are asked again."""

    def turn_away(self) -> Speaker:
        return Speaker(b"Exceeded MaxStartups\r\n", hang_up=True)

    def test_further_connections_turned_away(self) -> None:
        """Keys that were not shown in the first round are asked for one after the other."""
        self.serve_in_turn(
            lambda: server(keys=DEBIAN),
            self.turn_away,
            self.turn_away,
            lambda: server(keys=DEBIAN),
        )
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.network.settle()
        self.assertNoResult(scanning)
        self.assertEqual(self.network.open_connections, 0)
        self.wait(0.2)
        self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS)
        self.assertEqual(len(self.network.contacted), 5)
        self.assertClean()

    def test_first_connection_turned_away(self) -> None:
        """A server that is busy with others is asked again for its first key."""
        self.serve_in_turn(self.turn_away, self.turn_away, lambda: server(keys=DEBIAN))
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.wait(0.3)
        self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS)
        self.assertClean()

    def test_never_lets_us_in(self) -> None:
        """A server that turns everyone away is given up, with its own words."""
        self.serve(self.turn_away)
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.wait(2.5)
        self.assertIn("Exceeded MaxStartups", str(self.failureResultOf(scanning, NotSSH).value))
        self.assertClean()

    def test_never_lets_us_in_again(self) -> None:
        """A server that never shows its other keys fails the scan, with advice."""
        self.serve_in_turn(lambda: server(keys=DEBIAN), self.turn_away)
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.wait(2.5)
        error = self.failureResultOf(scanning, KeyExchangeFailed).value
        self.assertIn("PerSourcePenalties", str(error))
        self.assertIn("ecdsa-sha2-nistp256", str(error))
        self.assertClean()


class Time(ScannerCase):
    """One timeout bounds the whole of a look."""

    def fails_at(self, seconds: float, answer: Deferred[object], kind: type[Exception]) -> str:
        self.network.settle()
        self.network.advance(seconds - 0.01)
        self.network.settle()
        self.assertNoResult(answer)
        self.network.advance(0.02)
        text = str(self.failureResultOf(answer, kind).value)
        self.assertClean()
        return text

    def test_no_connection(self) -> None:
        """A host that swallows packets."""
        for look in (self.scanner.scan_keys, self.scanner.probe):
            text = self.fails_at(5, look(HOST, 22, 5), ScanTimeout)
            self.assertIn("192.0.2.1:22: no connection in 5 s", text)

    def test_no_name_service(self) -> None:
        """A name service that does not answer."""
        self.network.names["rack"] = None
        text = self.fails_at(5, self.scanner.scan_keys("rack", 22, 5), ScanTimeout)
        self.assertIn("no answer from the name service", text)
        text = self.fails_at(10, self.scanner.resolve("rack", 22), ScanTimeout)
        self.assertIn("no answer from the name service", text)

    def test_silence(self) -> None:
        """A port that takes the connection and says nothing."""
        self.serve(Speaker)
        text = self.fails_at(5, self.scanner.scan_keys(HOST, 22, 5), NotSSH)
        self.assertIn("has said nothing in 5 s", text)

    def test_stalled_exchange(self) -> None:
        """A server that starts the exchange and never ends it."""
        self.serve(lambda: Speaker(b"SSH-2.0-x\r\n"))
        text = self.fails_at(5, self.scanner.scan_keys(HOST, 22, 5), ScanTimeout)
        self.assertIn("did not show all its keys", text)

    def test_stalled_further_exchange(self) -> None:
        """A server of which only the first connection works; no partial answer is given."""
        self.serve_in_turn(lambda: server(keys=DEBIAN), Speaker)
        text = self.fails_at(5, self.scanner.scan_keys(HOST, 22, 5), ScanTimeout)
        self.assertIn("did not show all its keys", text)


class Line(ScannerCase):
    """Defect 32 of Nodepool 11: hosts in the queue ran out of time before their turn."""

    def test_waiting_costs_no_time(self) -> None:
        """A host has its full timeout when its turn comes, however long that took."""
        self.scanner = self.make(max_parallel=2)
        dead = [self.scanner.probe(f"192.0.2.{n}", 22, 30) for n in (11, 12)]
        queued = self.scanner.probe("192.0.2.13", 22, 5)
        self.assertEqual((self.scanner.active, self.scanner.queued), (2, 1))
        self.network.advance(29.9)
        self.assertNoResult(queued)
        self.network.advance(0.1)
        for probing in dead:
            self.failureResultOf(probing, ScanTimeout)
        self.assertEqual((self.scanner.active, self.scanner.queued), (1, 0))
        self.network.advance(4.9)
        self.assertNoResult(queued)
        self.network.advance(0.2)
        self.failureResultOf(queued, ScanTimeout)
        self.assertClean()

    def test_nobody_is_skipped(self) -> None:
        """Everybody's turn comes, in order of asking."""
        self.scanner = self.make(max_parallel=3)
        hosts = [f"192.0.2.{n}" for n in range(50)]
        for host in hosts:
            self.serve(Speaker, host)
        probes = [self.scanner.probe(host, 22, 5) for host in hosts]
        self.network.settle()
        self.assertEqual([self.successResultOf(probe).host for probe in probes], hosts)
        self.assertEqual(self.network.contacted, hosts)
        self.assertClean()

    def test_dead_host_costs_its_place_only(self) -> None:
        """Beside a dead host the others are served without delay."""
        self.scanner = self.make(max_parallel=2)
        dead = self.scanner.scan_keys("192.0.2.99", 22, 60)
        self.serve_keys()
        for _ in range(5):
            scanning = self.scanner.scan_keys(HOST, 22, 5)
            self.network.settle()
            self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS)
        self.assertEqual(self.network.seconds(), 0)
        dead.cancel()
        self.failureResultOf(dead, CancelledError)
        self.assertClean()

    def test_cancel_in_line(self) -> None:
        """Who leaves the line was never there: the host is not contacted."""
        self.scanner = self.make(max_parallel=1)
        first = self.scanner.probe("192.0.2.11", 22, 5)
        second = self.scanner.probe("192.0.2.12", 22, 5)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.network.contacted, ["192.0.2.11"])
        self.assertClean()

    def test_cancel_gives_place_back(self) -> None:
        """Who is cancelled while being served lets the next in, at any stage."""
        stages: list[Callable[[], Protocol]] = [
            lambda: Speaker(),
            lambda: Speaker(b"SSH-2.0-x\r\n"),
            lambda: server(keys=DEBIAN),
        ]
        for stage in stages:
            for turns in range(8):
                self.scanner = self.make(max_parallel=1)
                self.serve(stage)
                scanning = self.scanner.scan_keys(HOST, 22, 5)
                next_one = self.scanner.probe("192.0.2.2", 22, 5)
                for _ in range(turns):
                    self.network.advance(0)
                    for pump in self.network.pumps:
                        pump.pump()
                self.network.listeners["192.0.2.2", 22] = Speaker
                if not scanning.called:
                    scanning.cancel()
                    self.failureResultOf(scanning, CancelledError)
                self.network.settle()
                self.successResultOf(next_one)
                self.assertClean()


class Sharing(ScannerCase):
    """The same question at the same time is asked once."""

    def test_one_look_for_all(self) -> None:
        """All who ask together get the one answer; who asks later gets a new one."""
        self.serve_keys(["ssh-ed25519"])
        scans = [self.scanner.scan_keys(HOST, 22, 5) for _ in range(10)]
        self.assertEqual(self.scanner.active, 1)
        self.network.settle()
        for scanning in scans:
            self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS[:1])
        self.assertEqual(len(self.network.contacted), 1)
        self.serve_keys(["ssh-rsa"])
        scanning = self.scanner.scan_keys(HOST, 22, 5)
        self.network.settle()
        self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS[2:])

    def test_errors_are_shared(self) -> None:
        """A dead host with many slots takes one place, and all learn it together."""
        probes = [self.scanner.probe(HOST, 22, 5) for _ in range(10)]
        self.assertEqual((self.scanner.active, self.scanner.queued), (1, 0))
        self.network.advance(5)
        for probing in probes:
            self.failureResultOf(probing, ScanTimeout)
        self.assertClean()

    def test_different_questions(self) -> None:
        """Another port, timeout or patience is another question."""
        self.scanner.probe(HOST, 22, 5).addErrback(lambda _: None)
        self.scanner.probe(HOST, 23, 5).addErrback(lambda _: None)
        self.scanner.probe(HOST, 22, 6).addErrback(lambda _: None)
        self.scanner.probe(HOST, 22, 5, wait=True).addErrback(lambda _: None)
        self.scanner.scan_keys(HOST, 22, 5).addErrback(lambda _: None)
        self.assertEqual(self.scanner.active, 5)
        self.network.advance(6)
        self.assertClean()

    def test_one_leaves(self) -> None:
        """The work goes on while anybody waits for it, and ends with the last."""
        first, second = (self.scanner.probe(HOST, 22, 5) for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.scanner.active, 1)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertClean()

    def test_asked_again_from_the_answer(self) -> None:
        """Who asks again when the answer comes starts a new look."""
        self.serve(Speaker)
        again: list[Deferred[object]] = []
        probing = self.scanner.probe(HOST, 22, 5)
        probing.addCallback(lambda _: again.append(self.scanner.probe(HOST, 22, 5)))
        self.network.settle()
        self.successResultOf(again[0])
        self.assertEqual(len(self.network.contacted), 2)
        self.assertClean()


class Patience(ScannerCase):
    """With ``wait`` a host that boots is looked at until it is up."""

    def test_boot(self) -> None:
        """Refusals, hang-ups and half exchanges pass; the keys come in the end."""
        self.serve_in_turn(
            ConnectionRefusedError,
            lambda: Speaker(hang_up=True),
            lambda: Speaker(b"SSH-2.0-x\r\n", hang_up=True),
            lambda: server(keys=DEBIAN),
        )
        scanning = self.scanner.scan_keys(HOST, 22, 60, wait=True)
        self.wait(2)
        self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS)
        self.assertClean()

    def test_back_off(self) -> None:
        """Attempts come quickly at first and then about every two seconds."""
        self.serve(ConnectionRefusedError)
        answer = self.scanner.probe(HOST, 22, 60, wait=True)
        self.wait(1.2)
        self.assertIn(len(self.network.contacted), (3, 4, 5))
        self.wait(28.8)
        self.assertTrue(15 <= len(self.network.contacted) <= 25, self.network.contacted)
        answer.addErrback(lambda _: None).cancel()
        self.assertClean()

    def test_last_error(self) -> None:
        """When the time is over the last error is told, not later than the timeout."""
        self.serve(ConnectionRefusedError)
        probing = self.scanner.probe(HOST, 22, 10, wait=True)
        self.wait(10)
        failure = self.failureResultOf(probing, ConnectFailed)
        self.assertIs(failure.value.reason, ConnectFailure.REFUSED)
        self.assertClean()

    def test_hanging_attempt(self) -> None:
        """An attempt that hangs is ended after ten seconds, for another with fresh luck."""
        scanning = self.scanner.scan_keys(HOST, 22, 60, wait=True)
        self.wait(9)
        self.serve_keys()
        self.wait(2)
        self.assertEqual(self.successResultOf(scanning), DEBIAN_KEYS)
        self.assertClean()

    def test_pauses_take_no_place(self) -> None:
        """Between two attempts the place belongs to others, and their time is not counted."""
        self.scanner = self.make(max_parallel=1)
        self.serve(ConnectionRefusedError)
        booting = self.scanner.probe(HOST, 22, 10, wait=True)
        self.network.settle()
        self.assertEqual(self.scanner.active, 0)
        other = self.scanner.probe("192.0.2.99", 22, 30)
        self.wait(30.5)
        self.failureResultOf(other, ScanTimeout)
        self.assertNoResult(booting)
        self.serve(Speaker)
        self.wait(3)
        self.successResultOf(booting)
        self.assertClean()

    def test_cancel_in_a_pause(self) -> None:
        """Cancelling between two attempts ends it."""
        self.serve(ConnectionRefusedError)
        probing = self.scanner.probe(HOST, 22, 10, wait=True)
        self.network.settle()
        probing.cancel()
        self.failureResultOf(probing, CancelledError)
        self.assertClean()
