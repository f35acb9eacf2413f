"""The scanner of hosts in memory keeps the contract, alone and behind simulated hosts."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nodepool_tx.nodescan.interface import (
    Address,
    AddressFamily,
    ConnectFailed,
    ConnectFailure,
    NotSSH,
    Scanner,
    ScanTimeout,
)
from nodepool_tx.nodescan.simulated import SimulatedHosts
from nodepool_tx.testing.scanner import Look, MemoryHosts, MemoryScanner
from tests.nodescan.contract import Place, ScannerContract

T = TypeVar("T")

KEYS = ("ssh-ed25519 AAAA", "ssh-rsa BBBB")


class MemoryWorld:
    """All the places of the contract, in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.hosts = MemoryHosts()

    def up(self) -> Place:
        self.hosts.add("up", keys=KEYS)
        return Place("up", 22, KEYS)

    def closed(self) -> Place:
        self.hosts.add("closed")
        self.hosts.take_down("closed")
        return Place("closed", 22)

    def silent(self) -> Place:
        self.hosts.add("silent")
        self.hosts.silence("silent")
        return Place("silent", 22)

    def dead(self) -> Place:
        self.hosts.add("dead")
        self.hosts.kill("dead")
        return Place("dead", 22)

    def booting(self) -> Place:
        self.hosts.add("booting", keys=KEYS)
        self.hosts.take_down("booting")
        self.clock.callLater(0.5, self.hosts.bring_up, "booting")
        return Place("booting", 22, KEYS)

    def unknown(self) -> Place:
        return Place("unknown", 22)

    def settle(self, answer: Deferred[T]) -> Deferred[T]:
        for _ in range(1000):
            if answer.called:
                break
            self.clock.advance(0.1)
        return answer


class MemoryContract(ScannerContract, TestCase):
    def setUp(self) -> None:
        self.world = MemoryWorld()
        self.scanner: Scanner = MemoryScanner(self.world.clock, self.world.hosts)


class BehindSimulatedHostsContract(ScannerContract, TestCase):
    def setUp(self) -> None:
        self.world = MemoryWorld()
        real = MemoryScanner(self.world.clock, self.world.hosts)
        self.scanner: Scanner = SimulatedHosts(real, r"\.fake$")


class Controls(SynchronousTestCase):
    """What a test can do to the hosts, and what it sees."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hosts = MemoryHosts()
        self.scanner = MemoryScanner(self.clock, self.hosts)
        self.hosts.add("rack", keys=KEYS, latency=0.3)

    def test_latency(self) -> None:
        """An answer takes the host's latency, and none comes in the same turn."""
        scanning = self.scanner.scan_keys("rack", 22, 5)
        self.clock.advance(0.29)
        self.assertNoResult(scanning)
        self.clock.advance(0.02)
        self.assertEqual(self.successResultOf(scanning), KEYS)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_looks_are_kept(self) -> None:
        """The calls made, and those without answer, can be seen."""
        self.scanner.scan_keys("rack", 22, 5)
        self.scanner.probe("nowhere", 23, 6, wait=True).addErrback(lambda _: None)
        first = Look("scan_keys", "rack", 22, 5, False)
        self.assertEqual(self.hosts.looks, [first, Look("probe", "nowhere", 23, 6, True)])
        self.clock.advance(0)
        self.assertEqual(self.hosts.pending, [first])

    def test_hold(self) -> None:
        """Held answers come when they are released, with what is true then."""
        self.hosts.hold("rack")
        scanning = self.scanner.scan_keys("rack", 22, 5)
        self.clock.advance(4)
        self.assertNoResult(scanning)
        self.hosts.change_keys("rack", ["ssh-rsa CCCC"])
        self.hosts.release("rack")
        self.assertEqual(self.successResultOf(scanning), ("ssh-rsa CCCC",))

    def test_hold_until_timeout(self) -> None:
        """A held answer that is not released in time is a timeout, for look-ups too."""
        self.hosts.hold("rack")
        probing = self.scanner.probe("rack", 22, 5)
        resolving = self.scanner.resolve("rack", 22)
        self.clock.advance(5)
        self.failureResultOf(probing, ScanTimeout)
        self.assertNoResult(resolving)
        self.clock.advance(5)
        self.failureResultOf(resolving, ScanTimeout)

    def test_reasons(self) -> None:
        """A host can be down for any reason."""
        self.hosts.take_down("rack", reason=ConnectFailure.UNREACHABLE)
        probing = self.scanner.probe("rack", 22, 5)
        self.clock.advance(1)
        failure = self.failureResultOf(probing, ConnectFailed)
        self.assertIs(failure.value.reason, ConnectFailure.UNREACHABLE)

    def test_change_under_way(self) -> None:
        """A host that dies under a look is dead for it, and may come back for it."""
        self.hosts.kill("rack")
        scanning = self.scanner.scan_keys("rack", 22, 5)
        self.clock.advance(1)
        self.assertNoResult(scanning)
        self.hosts.bring_up("rack")
        self.assertEqual(self.successResultOf(scanning), KEYS)

    def test_silence_at_timeout(self) -> None:
        """Silence shows at the timeout only."""
        self.hosts.silence("rack")
        scanning = self.scanner.scan_keys("rack", 22, 5)
        self.clock.advance(4.9)
        self.assertNoResult(scanning)
        self.clock.advance(0.2)
        self.failureResultOf(scanning, NotSSH)

    def test_cancel_is_clean(self) -> None:
        """A cancelled look leaves no timer and is not pending."""
        scanning = self.scanner.scan_keys("rack", 22, 5)
        scanning.cancel()
        self.failureResultOf(scanning, CancelledError)
        self.assertEqual((self.clock.getDelayedCalls(), self.hosts.pending), ([], []))

    def test_ipv6(self) -> None:
        """A host may live at an IPv6 address."""
        self.hosts.add("six", 2222, address="2001:db8::6")
        resolving = self.scanner.resolve("six", 2222)
        self.clock.advance(0)
        self.assertEqual(
            self.successResultOf(resolving), Address(AddressFamily.IPV6, "2001:db8::6", 2222)
        )


class Simulated(SynchronousTestCase):
    """Hosts that are never contacted."""

    def setUp(self) -> None:
        self.hosts = MemoryHosts()
        self.scanner = SimulatedHosts(MemoryScanner(Clock(), self.hosts), r"^fake|\.sim$")

    def test_always_up(self) -> None:
        """A matching host has the agreed key, takes connections and has no address."""
        for host in ("fake-1", "rack.sim"):
            self.assertEqual(
                self.successResultOf(self.scanner.scan_keys(host, 22, 5)), ("ssh-rsa FAKEKEY",)
            )
            nowhere = Address(AddressFamily.SIMULATED, host, 22)
            self.assertEqual(self.successResultOf(self.scanner.probe(host, 22, 5)), nowhere)
            self.assertEqual(self.successResultOf(self.scanner.resolve(host, 22)), nowhere)
            self.assertEqual((nowhere.ipv4, nowhere.ipv6), (None, None))
        self.assertEqual(self.hosts.looks, [])

    def test_others_are_asked(self) -> None:
        """A host that does not match is really asked, with all that was given."""
        for host in ("rack", "no-fake", "rack.sim.example"):
            self.scanner.probe(host, 23, 7, wait=True)
            self.assertEqual(self.hosts.looks[-1], Look("probe", host, 23, 7, True))
            self.scanner.scan_keys(host, 23, 7, wait=True)
            self.assertEqual(self.hosts.looks[-1], Look("scan_keys", host, 23, 7, True))
            self.scanner.resolve(host, 23)
            self.assertEqual(self.hosts.looks[-1].kind, "resolve")
