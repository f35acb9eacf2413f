"""Looking at machines: back-off, lanes, keys, and what is remembered."""

from __future__ import annotations

import itertools
import random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.nodescan.simulated import SIMULATED_KEY, SimulatedHosts
from nodepool_tx.providers.static.desired import DesiredNode, Identity
from nodepool_tx.providers.static.hosts import (
    FIRST_RETRY,
    LONGEST_RETRY,
    LOOKS_AT_ONCE,
    RETRIES_AT_ONCE,
    Hosts,
    retry_delay,
)
from nodepool_tx.providers.static.observed import HostState
from nodepool_tx.testing.scanner import MemoryHosts, MemoryScanner
from tests.providers.static.values import HOST, KEYS


def host(name: str, **changes: object) -> DesiredNode:
    return attrs.evolve(HOST, hostname=name, **changes)


class RetryDelayTests(SynchronousTestCase):
    """The pause before a machine that is down is asked again."""

    def test_it_doubles_up_to_ten_seconds(self) -> None:
        """1, 2, 4, 8, 10, 10, ... seconds, and no overflow after a year."""
        delays = [retry_delay(n, 0.0) for n in range(1, 8)]
        self.assertEqual(delays, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0])
        self.assertEqual(retry_delay(10**9, 0.0), LONGEST_RETRY)

    def test_jitter_only_shortens_it(self) -> None:
        """Ten seconds is a promise, so hosts are spread below it."""
        self.assertEqual(retry_delay(1, 1.0), 0.8 * FIRST_RETRY)
        self.assertAlmostEqual(retry_delay(9, 0.5), 9.0)


class HostsTests(SynchronousTestCase):
    """Hosts over a scanner of machines in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.world = MemoryHosts()
        self.told: list[tuple[Identity, bool]] = []
        self.hosts = self.make_hosts(MemoryScanner(self.clock, self.world))

    def tearDown(self) -> None:
        """Nothing is left of any look once they are cancelled."""
        closed = self.hosts.close()
        self.hosts.cancel()
        self.successResultOf(closed)
        self.assertEqual(self.world.pending, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make_hosts(self, scanner: object) -> Hosts:
        counter = itertools.count(1)
        return Hosts(
            self.clock,
            scanner,  # type: ignore[arg-type]
            lambda identity, news: self.told.append((identity, news)),
            lambda: next(counter),
            rng=random.Random(1),
        )

    def settle(self) -> None:
        for _ in range(5):
            self.clock.advance(0)

    def look(self, desired: DesiredNode) -> HostState:
        self.hosts.look(desired)
        self.settle()
        return self.hosts.facts(desired.identity).state

    def kinds(self) -> list[str]:
        return [look.kind for look in self.world.looks]

    # -- what a look is

    def test_ssh_hosts_show_their_keys_and_address(self) -> None:
        """Keys are gathered over SSH, the name is looked up."""
        self.world.add("web1", keys=KEYS, address="2001:db8::1")
        self.assertIs(self.look(host("web1")), HostState.UP)
        facts = self.hosts.facts(HOST.identity)
        self.assertEqual((facts.keys, facts.ipv4, facts.ipv6), (KEYS, None, "2001:db8::1"))
        self.assertEqual(self.kinds(), ["resolve", "scan_keys"])
        self.assertEqual(self.told, [(HOST.identity, True)])

    def test_network_cli_hosts_show_their_keys(self) -> None:
        """They are reached over SSH as well."""
        self.world.add("web1", keys=KEYS)
        self.look(host("web1", connection_type="network_cli"))
        self.assertEqual(self.hosts.facts(HOST.identity).keys, KEYS)

    def test_other_hosts_only_have_to_take_a_connection(self) -> None:
        """No keys are known of a Windows machine, whatever is configured."""
        self.world.add("web1", 5986)
        desired = host("web1", connection_type="winrm", port=5986, host_keys=("ssh-rsa X",))
        self.assertIs(self.look(desired), HostState.UP)
        self.assertEqual(self.hosts.facts(desired.identity).keys, ())
        self.assertEqual(self.kinds(), ["probe"])
        self.assertEqual(self.hosts.facts(desired.identity).ipv4, "192.0.2.1")

    def test_unchecked_hosts_are_never_contacted(self) -> None:
        """host-key-checking: false takes the configuration's word; only the name is looked up."""
        self.world.add("web1")
        self.world.kill("web1")
        desired = host("web1", host_key_checking=False, host_keys=("ssh-rsa MINE",))
        self.assertIs(self.look(desired), HostState.UP)
        self.assertEqual(self.hosts.facts(desired.identity).keys, ("ssh-rsa MINE",))
        self.assertEqual(self.kinds(), ["resolve"])
        self.assertTrue(self.successResultOf(self.alive(desired)))
        self.assertEqual(self.kinds(), ["resolve"])

    def test_unchecked_hosts_need_no_name_that_is_known_here(self) -> None:
        """They may live in a network that this process does not see."""
        self.assertIs(self.look(host("nowhere", host_key_checking=False)), HostState.UP)
        facts = self.hosts.facts(("nowhere", "zuul", 22))
        self.assertEqual((facts.ipv4, facts.ipv6), (None, None))

    def test_simulated_hosts_have_one_key_and_no_address(self) -> None:
        """They are up at once, and nothing is sent anywhere."""
        scanner = SimulatedHosts(MemoryScanner(self.clock, self.world), "^fake-")
        self.hosts = self.make_hosts(scanner)
        desired = host("fake-1")
        self.hosts.look(desired)
        facts = self.hosts.facts(desired.identity)
        self.assertIs(facts.state, HostState.UP)
        self.assertEqual(facts.keys, (SIMULATED_KEY,))
        self.assertEqual((facts.ipv4, facts.ipv6), (None, None))
        self.assertEqual(self.world.looks, [])

    # -- keys

    def test_configured_keys_must_be_among_those_shown(self) -> None:
        """A subset is enough, and all that are shown are recorded."""
        self.world.add("web1", keys=KEYS)
        self.assertIs(self.look(host("web1", host_keys=KEYS[1:])), HostState.UP)
        self.assertEqual(self.hosts.facts(HOST.identity).keys, KEYS)

    def test_another_key_than_configured_takes_the_host_down(self) -> None:
        """The reason names the host, what was configured and what was found."""
        self.world.add("web1", keys=KEYS)
        self.assertIs(self.look(host("web1", host_keys=("ssh-rsa EVIL",))), HostState.DOWN)
        reason = self.hosts.facts(HOST.identity).reason
        for part in ("host key mismatch", "web1:22", "ssh-rsa EVIL", *KEYS):
            self.assertIn(part, reason)

    def test_changed_keys_are_news(self) -> None:
        """Free nodes of the host have to be told; the same keys again are not news."""
        self.world.add("web1", keys=KEYS)
        self.look(host("web1"))
        self.look(host("web1"))
        self.world.change_keys("web1", ("ssh-ed25519 NEW",))
        self.look(host("web1"))
        self.assertEqual([news for _, news in self.told], [True, False, True])

    # -- sharing

    def test_slots_of_one_host_share_a_look(self) -> None:
        """A second wish while a look is under way is answered by it."""
        self.world.add("web1", latency=0.5)
        for _ in range(10):
            self.hosts.look(HOST)
        self.assertTrue(self.hosts.is_looking(HOST.identity))
        self.clock.pump([0.5, 0.5])
        self.assertEqual(self.kinds(), ["resolve", "scan_keys"])
        self.assertFalse(self.hosts.is_looking(HOST.identity))

    def test_defect_2_and_5_a_dead_host_holds_up_nobody(self) -> None:
        """Twenty hosts are up after their own time, not after the dead one's timeout."""
        self.world.add("dead")
        self.world.kill("dead")
        self.hosts.look(host("dead"))
        for number in range(20):
            self.world.add(f"web{number}", latency=0.15)
            self.hosts.look(host(f"web{number}"))
        self.clock.pump([0.15, 0.15, 0.01])
        states = [self.hosts.facts((f"web{n}", "zuul", 22)).state for n in range(20)]
        self.assertEqual(states, [HostState.UP] * 20)
        self.assertIs(self.hosts.facts(("dead", "zuul", 22)).state, HostState.UNKNOWN)

    def test_looks_at_the_same_time_are_bounded(self) -> None:
        """The rest stands in line."""
        for number in range(LOOKS_AT_ONCE + 5):
            self.world.add(f"web{number}", latency=1.0)
            self.hosts.look(host(f"web{number}"))
        self.assertEqual(len(self.world.pending), LOOKS_AT_ONCE)
        self.clock.pump([1.0, 1.0])
        self.assertEqual(len(self.world.pending), 5)

    def test_dead_hosts_are_retried_in_a_lane_of_their_own(self) -> None:
        """However many are dead, only so many looks are spent on them, and none are in the way."""
        dead = [host(f"dead{n}") for n in range(LOOKS_AT_ONCE + RETRIES_AT_ONCE)]
        for desired in dead:
            self.world.add(desired.hostname)
            self.world.take_down(desired.hostname)
            self.look(desired)
            self.world.kill(desired.hostname)
        for desired in dead:
            self.hosts.look(desired)
        self.clock.advance(0)
        self.assertEqual(len(self.world.pending), RETRIES_AT_ONCE)
        self.world.add("web1")
        self.assertIs(self.look(host("web1")), HostState.UP)

    # -- being down

    def test_failures_back_off(self) -> None:
        """Each failed look moves the next one further away; the state began with the first."""
        self.world.add("web1")
        self.world.take_down("web1")
        for number in range(1, 7):
            now = self.clock.seconds()
            self.assertIs(self.look(host("web1")), HostState.DOWN)
            facts = self.hosts.facts(HOST.identity)
            self.assertEqual((facts.failures, facts.since), (number, 0.0))
            longest = retry_delay(number, 0.0)
            self.assertTrue(0.8 * longest <= facts.retry_at - now <= longest)
            self.clock.advance(longest)

    def test_a_host_that_is_back_is_up_again_with_what_it_shows_now(self) -> None:
        """Nothing is left of its failures."""
        self.world.add("web1")
        self.world.take_down("web1")
        self.look(host("web1"))
        self.clock.advance(3)
        self.world.bring_up("web1")
        self.world.change_keys("web1", KEYS)
        self.look(host("web1"))
        facts = self.hosts.facts(HOST.identity)
        self.assertEqual((facts.state, facts.failures, facts.reason), (HostState.UP, 0, ""))
        self.assertEqual((facts.keys, facts.since), (KEYS, 3.0))

    def test_a_later_look_is_later_in_the_sequence_of_events(self) -> None:
        """That is how a plan knows which came first, the look or the node."""
        self.world.add("web1")
        self.look(host("web1"))
        first = self.hosts.facts(HOST.identity).checked
        self.look(host("web1"))
        self.assertGreater(self.hosts.facts(HOST.identity).checked, first)

    def test_a_scanner_that_breaks_counts_as_a_host_that_is_down(self) -> None:
        """It is logged, and tried again like any other failure."""

        class Broken(MemoryScanner):
            def scan_keys(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
                raise ZeroDivisionError("bug")

        self.hosts = self.make_hosts(Broken(self.clock, self.world))
        self.world.add("web1")
        self.assertIs(self.look(host("web1")), HostState.DOWN)
        self.assertIn("bug", self.hosts.facts(HOST.identity).reason)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    # -- before handing out

    def alive(self, desired: DesiredNode) -> Deferred[bool]:
        return Deferred.fromCoroutine(self.hosts.alive(desired))

    def test_a_live_host_takes_a_connection(self) -> None:
        """One probe of the port, no keys."""
        self.world.add("web1")
        answer = self.alive(host("web1"))
        self.settle()
        self.assertTrue(self.successResultOf(answer))
        self.assertEqual(self.kinds(), ["probe"])
        self.assertEqual(self.told, [])

    def test_a_host_found_dead_is_down_once(self) -> None:
        """Ten nodes of it handed out at once are one failure, told as news once."""
        self.world.add("web1")
        self.world.take_down("web1")
        answers = [self.alive(host("web1")) for _ in range(10)]
        self.settle()
        self.assertEqual([self.successResultOf(a) for a in answers], [False] * 10)
        facts = self.hosts.facts(HOST.identity)
        self.assertEqual((facts.state, facts.failures), (HostState.DOWN, 1))
        self.assertEqual(self.told, [(HOST.identity, True)])

    def test_the_timeout_of_the_node_bounds_it(self) -> None:
        """A host that says nothing costs its own timeout."""
        self.world.add("web1")
        self.world.kill("web1")
        answer = self.alive(host("web1", timeout=3.0))
        self.clock.advance(2.9)
        self.assertNoResult(answer)
        self.clock.advance(0.1)
        self.assertFalse(self.successResultOf(answer))

    # -- life

    def test_closing_waits_for_looks_under_way_and_drops_those_in_line(self) -> None:
        """No host is contacted after the close."""
        for number in range(LOOKS_AT_ONCE + 5):
            self.world.add(f"web{number}")
            self.world.hold(f"web{number}")
            self.hosts.look(host(f"web{number}"))
        closed = self.hosts.close()
        self.hosts.look(host("another"))
        self.assertNoResult(closed)
        for number in range(LOOKS_AT_ONCE):
            self.world.release(f"web{number}")
        self.settle()
        self.successResultOf(closed)
        self.assertEqual(len({look.host for look in self.world.looks}), LOOKS_AT_ONCE)

    def test_cancelling_ends_looks_without_a_verdict(self) -> None:
        """A look that was cut short says nothing about the host."""
        self.world.add("web1")
        self.world.hold("web1")
        self.hosts.look(HOST)
        closed = self.hosts.close()
        self.hosts.cancel()
        self.successResultOf(closed)
        self.assertIs(self.hosts.facts(HOST.identity).state, HostState.UNKNOWN)
        self.assertEqual(self.world.pending, [])
        self.assertEqual(self.told, [])
        self.hosts.open()
        self.world.release("web1")
        self.assertIs(self.look(host("web1")), HostState.UP)

    def test_forgetting(self) -> None:
        """After another launcher had the provider nothing is known."""
        self.world.add("web1")
        self.look(host("web1"))
        self.hosts.forget()
        self.assertIs(self.hosts.facts(HOST.identity).state, HostState.UNKNOWN)
