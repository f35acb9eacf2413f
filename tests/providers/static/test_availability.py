"""Hosts that are down, go down and come back, and the look before a node is handed out."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import Node, NodeState, RequestState
from nodepool_tx.nodescan.simulated import SIMULATED_KEY, SimulatedHosts
from nodepool_tx.testing.scanner import MemoryScanner
from tests.providers.static.stage import Launcher, StageTestCase, about_nodes
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider


def provider(*names: str, **options: object) -> StaticProvider:
    nodes = [static_node(name, **options) for name in names or ("web1",)]  # type: ignore[arg-type]
    return static_provider(static_pool(*nodes))


class AvailabilityTestCase(StageTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2, 3):
            self.hosts.add(f"web{number}", keys=KEYS)

    def start(self, config: StaticProvider) -> Launcher:
        launcher = self.launcher()
        self.service = launcher.provide(config)
        self.stage.settle()
        return launcher

    def check(self, node: Node, launcher: Launcher | None = None) -> Deferred[bool]:
        """Ask as a pool does: with the node reserved until there is an answer."""
        store = (launcher or self.launchers[0]).store
        store.nodes.reserve([node.id])
        answer = self.service.check(node)

        def give_back(fit: bool) -> bool:
            store.nodes.unreserve([node.id])
            return fit

        return answer.addCallback(give_back)

    def hostnames(self) -> list[str | None]:
        return sorted(str(node.hostname) for node in self.stage.nodes())

    def status_of(self, hostname: str) -> dict[str, object]:
        hosts = self.service.status().details["hosts"]
        found: dict[str, object] = next(h for h in hosts if h["hostname"] == hostname)
        return found


class DownAtStartTests(AvailabilityTestCase):
    """A host that does not answer when its provider starts."""

    def test_it_is_registered_when_it_answers(self) -> None:
        """Seconds after it came up, not a minute."""
        self.hosts.take_down("web1")
        self.start(provider())
        self.stage.wait(30)
        self.assertEqual(self.stage.nodes(), [])
        self.hosts.bring_up("web1")
        self.stage.wait(10.5)
        self.assertEqual(self.hostnames(), ["web1"])

    def test_defect_38_it_is_asked_less_and_less_often_and_seen_to_be_down(self) -> None:
        """After 1, 2, 4, 8 and then at most 10 seconds; the status says why and when next."""
        self.hosts.take_down("web1")
        self.start(provider())
        started = self.clock.seconds()
        at: list[float] = []
        while self.clock.seconds() < started + 60:
            before = len(self.hosts.looks)
            self.stage.wait(0.05, step=0.05)
            if len(self.hosts.looks) > before:
                at.append(self.clock.seconds() - started)
        gaps = [b - a for a, b in zip([0.0, *at], at, strict=False)]
        for gap, longest in zip(gaps, [1, 2, 4, 8, 10, 10, 10], strict=False):
            self.assertTrue(0.75 * longest <= gap <= longest + 0.1, gaps)
        status = self.status_of("web1")
        self.assertEqual((status["state"], status["since"]), ("down", started))
        self.assertIn("refused", str(status["reason"]))
        self.assertGreater(status["next_look"], self.clock.seconds())  # type: ignore[arg-type]
        self.assertEqual(status["free"], 0)

    def test_defect_2_it_holds_up_nobody_else(self) -> None:
        """The others are in service while the dead one's timeout still runs."""
        self.hosts.kill("web2")
        self.start(provider("web1", "web2", "web3", timeout=30))
        self.assertEqual(self.hostnames(), ["web1", "web3"])
        self.assertTrue(self.status_of("web2")["looking"])

    def test_a_wrong_key_keeps_it_out(self) -> None:
        """Until it shows the configured one."""
        self.start(provider(host_keys=("ssh-rsa RIGHT",)))
        self.assertEqual(self.stage.nodes(), [])
        reason = str(self.status_of("web1")["reason"])
        for part in ("host key mismatch at web1:22", "ssh-rsa RIGHT", *KEYS):
            self.assertIn(part, reason)
        self.hosts.change_keys("web1", ("ssh-rsa RIGHT", "ssh-ed25519 ALSO"))
        self.stage.wait(2)
        self.assertEqual(self.stage.only_node().host_keys, ("ssh-rsa RIGHT", "ssh-ed25519 ALSO"))

    def test_unchecked_hosts_are_registered_unseen(self) -> None:
        """host-key-checking: false: no contact, configured keys."""
        self.hosts.kill("web1")
        self.start(provider(host_key_checking=False, host_keys=("ssh-rsa MINE",)))
        self.assertEqual(self.stage.only_node().host_keys, ("ssh-rsa MINE",))
        self.assertEqual([look.kind for look in self.hosts.looks], ["resolve"])

    def test_an_unchecked_address_is_looked_at_once(self) -> None:
        """It is never contacted, and there is no name that could come to mean another one."""
        self.assertEqual(self.looks_for_one_job("192.0.2.7"), 1)

    def test_an_unchecked_name_is_looked_up_after_each_job(self) -> None:
        """It may have another address by now."""
        self.assertGreater(self.looks_for_one_job("web1"), 1)

    def looks_for_one_job(self, hostname: str) -> int:
        self.start(provider(hostname, host_key_checking=False))
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.stage.give_back(node.id)
        self.assertNotEqual(self.stage.only_node().id, node.id)
        return len(self.hosts.looks)

    def test_other_connection_types_are_only_connected_to(self) -> None:
        """They have no host keys."""
        self.hosts.add("win1", 5986)
        self.start(provider("win1", connection_type="winrm", connection_port=5986))
        self.assertEqual(self.stage.only_node().host_keys, ())
        self.assertEqual([look.kind for look in self.hosts.looks], ["probe"])

    def test_simulated_hosts_are_up(self) -> None:
        """With a key that is none, and no address."""
        scanner = SimulatedHosts(MemoryScanner(self.clock, self.hosts), "^fake-")
        launcher = self.launcher(scanner=scanner)
        self.service = launcher.provide(provider("fake-1"))
        self.stage.settle()
        node = self.stage.only_node()
        self.assertEqual(node.host_keys, (SIMULATED_KEY,))
        self.assertEqual((node.public_ipv4, node.public_ipv6), (None, None))
        self.assertTrue(self.successResultOf(self.check(node)))
        self.assertEqual(self.hosts.looks, [])


class HandOutTests(AvailabilityTestCase):
    """The look before a node is handed out."""

    def test_a_live_node_is_fit(self) -> None:
        """One connection to its port; nothing is written."""
        self.start(provider())
        before = self.stage.inspector.dump()
        answer = self.check(self.stage.only_node())
        self.stage.settle()
        self.assertTrue(self.successResultOf(answer))
        self.assertEqual(self.hosts.looks[-1].kind, "probe")
        self.assertEqual(self.stage.inspector.dump(), before)

    def test_unchecked_nodes_count_as_alive(self) -> None:
        """Nobody is asked."""
        self.start(provider(host_key_checking=False))
        looks = len(self.hosts.looks)
        self.hosts.kill("web1")
        answer = self.check(self.stage.only_node())
        self.assertTrue(self.successResultOf(answer))
        self.assertEqual(len(self.hosts.looks), looks)

    def test_a_dead_host_leaves_service_with_all_its_free_nodes(self) -> None:
        """At once; what is in use stays, and so do the other hosts."""
        self.start(provider("web1", "web2", max_parallel_jobs=3))
        in_use = next(n for n in self.stage.nodes() if (n.hostname, n.slot) == ("web1", 2))
        self.stage.use(in_use.id)
        victim = next(n for n in self.stage.nodes() if (n.hostname, n.slot) == ("web1", 0))
        self.hosts.take_down("web1")
        answer = self.check(victim)
        self.stage.settle()
        self.assertFalse(self.successResultOf(answer))
        left = [(n.hostname, n.slot) for n in self.stage.nodes()]
        self.assertEqual(left, [("web1", 2), ("web2", 0), ("web2", 1), ("web2", 2)])
        self.assertEqual(self.status_of("web1")["state"], "down")

    def test_a_host_known_to_be_down_is_not_asked_again(self) -> None:
        """Before its back-off is over the answer is no; a promised node stays all the same."""
        self.start(provider(max_parallel_jobs=2))
        a, b = self.stage.nodes()
        self.stage.change_node(b.id, allocated_to="200-0000000001")
        self.stage.settle()
        self.hosts.take_down("web1")
        self.check(a)
        self.stage.settle()
        looks = len(self.hosts.looks)
        self.assertFalse(self.successResultOf(self.service.check(b)))
        self.stage.settle()
        self.assertEqual(len(self.hosts.looks), looks)
        self.assertEqual([node.id for node in self.stage.nodes()], [b.id])

    def test_it_is_gone_before_the_answer(self) -> None:
        """Whoever is told False cannot find the node any more."""
        self.start(provider())
        node = self.stage.only_node()
        store = self.launchers[0].store
        self.hosts.take_down("web1")
        found: list[object] = []
        answer = self.check(node)
        answer.addCallback(lambda fit: found.append((fit, store.nodes.get(node.id))))
        self.stage.settle()
        self.assertEqual(found, [(False, None)])

    def test_it_comes_back_by_itself(self) -> None:
        """With a new id, within its back-off."""
        self.start(provider())
        self.hosts.take_down("web1")
        self.check(self.stage.only_node())
        self.stage.wait(20)
        self.assertEqual(self.stage.nodes(), [])
        self.hosts.bring_up("web1")
        self.stage.wait(10.5)
        self.assertEqual(self.stage.only_node().id, "0000000001")

    def test_defect_17_a_check_waits_for_no_other(self) -> None:
        """A dead host's check takes its timeout, others are answered meanwhile."""
        self.start(provider("web1", "web2", timeout=5))
        a, b = self.stage.nodes()
        self.hosts.kill("web1")
        dead, alive = self.check(a), self.check(b)
        self.stage.settle()
        self.assertTrue(self.successResultOf(alive))
        self.assertNoResult(dead)
        self.stage.wait(5)
        self.assertFalse(self.successResultOf(dead))

    def test_defect_3_no_other_node_suffers_from_a_failed_check(self) -> None:
        """Free nodes of other labels and hosts are what they were."""
        nodes = [static_node("web1", ("a",)), static_node("web2", ("b",))]
        self.start(static_provider(static_pool(*nodes)))
        a, b = self.stage.nodes()
        self.hosts.take_down("web1")
        self.check(a)
        self.stage.settle()
        self.assertEqual(self.stage.nodes(), [b])

    def test_a_request_moves_on_to_another_node(self) -> None:
        """The pool takes the next one at once when a host turns out to be dead."""
        self.start(provider("web1", "web2"))
        self.hosts.take_down("web1")
        request_id = self.stage.put_request("small")
        self.stage.settle()
        request = self.stage.request(request_id)
        self.assertIs(request.state, RequestState.FULFILLED)
        self.assertEqual(self.stage.node(request.nodes[0]).hostname, "web2")

    def test_a_node_that_is_not_configured_any_more_is_not_fit(self) -> None:
        """It is taken out of service instead."""
        self.start(provider())
        stray = Node(
            state=NodeState.READY,
            provider="rack",
            pool="main",
            hostname="old",
            connection_port=22,
            slot=0,
            allocated_to="200-1",
        )
        node_id = self.stage.put_node(stray)
        self.stage.settle()
        self.stage.change_node(node_id, allocated_to=None)
        # Reserved in the moment it comes free, as a pool would.
        store = self.launchers[0].store
        remove = store.nodes.subscribe(
            lambda change: (
                store.nodes.reserve([node_id])
                if change.node_id == node_id and store.nodes.is_free(node_id)
                else None
            )
        )
        self.stage.settle()
        remove()
        answer = self.service.check(self.stage.node(node_id))
        self.stage.settle()
        self.assertFalse(self.successResultOf(answer))
        store.nodes.unreserve([node_id])
        self.assertEqual(self.hostnames(), ["web1"])

    def test_a_check_that_is_given_up_decides_nothing(self) -> None:
        """The host is not down because nobody wants to know any more."""
        self.start(provider())
        self.hosts.hold("web1")
        node = self.stage.only_node()
        self.launchers[0].store.nodes.reserve([node.id])
        answer = self.service.check(node)
        answer.cancel()
        self.stage.settle()
        self.assertFalse(self.successResultOf(answer))
        self.launchers[0].store.nodes.unreserve([node.id])
        self.assertEqual(self.status_of("web1")["state"], "up")
        self.assertEqual(self.stage.nodes(), [node])


class StandbyTests(AvailabilityTestCase):
    """Two launchers with the same provider."""

    def setUp(self) -> None:
        super().setUp()
        self.owner = self.launcher("l1")
        self.owner_service = self.owner.provide(provider("web1", "web2"))
        self.stage.settle()
        self.standby = self.launcher("l2")
        self.service = self.standby.provide(provider("web1", "web2"))
        self.stage.settle()

    def test_one_looks_after_the_nodes(self) -> None:
        """The one that came first; nothing is registered twice."""
        self.assertTrue(self.owner_service.status().owner)
        self.assertFalse(self.service.status().owner)
        self.assertEqual(self.hostnames(), ["web1", "web2"])

    def test_the_other_writes_nothing(self) -> None:
        """Whatever happens to the nodes."""
        self.stage.wait(70, step=10)
        written: list[object] = []
        for op in ("transaction", "create", "set", "delete"):
            self.stage.inspector.before(
                op, written.append, path=about_nodes, client=self.standby.client, times=None
            )
        node = self.stage.nodes()[0]
        self.stage.use(node.id)
        self.stage.give_back(node.id)
        self.stage.wait(70, step=10)
        self.assertEqual(self.hostnames(), ["web1", "web2"])
        self.assertEqual(written, [])

    def test_it_takes_over_when_the_first_is_gone(self) -> None:
        """A node that came back meanwhile is put into service by the second."""
        node = self.stage.nodes()[0]
        self.stage.use(node.id)
        self.stage.inspector.suspend(self.owner.client)
        self.stage.give_back(node.id)
        self.assertEqual(self.stage.node(node.id).state, NodeState.USED)
        self.stage.wait(11)
        self.assertTrue(self.service.status().owner)
        self.assertEqual({n.state for n in self.stage.nodes()}, {NodeState.READY})
        self.stage.inspector.resume(self.owner.client)
        self.stage.wait(2)
        self.assertFalse(self.owner_service.status().owner)

    def test_it_sees_all_that_was_done_before_it_acts(self) -> None:
        """A node registered in the last moment of the first is not registered again."""
        scanner = SimulatedHosts(MemoryScanner(self.clock, self.hosts), "")
        third = self.launcher("l3", scanner=scanner)
        third.provide(provider("web1", "web2"))
        self.owner.retire(self.owner_service)
        self.standby.retire(self.service)
        node = self.stage.nodes()[0]
        self.stage.inspector.delete_tree(f"/nodepool/nodes/{node.id}")
        self.stage.put_node(node)
        for launcher in (self.owner, self.standby):
            launcher.ownerships.keep_only(set())
        self.stage.settle()
        self.assertEqual(self.hostnames(), ["web1", "web2"])

    def test_it_passes_over_a_dead_host_without_touching_its_nodes(self) -> None:
        """They stay registered, but are not tried again before the host is due."""
        self.hosts.take_down("web1")
        before = self.stage.nodes()
        dead = next(n for n in before if n.hostname == "web1")
        answer = self.check(dead, self.standby)
        self.stage.settle()
        self.assertFalse(self.successResultOf(answer))
        self.assertEqual(self.stage.nodes(), before)
        table = self.standby.store.nodes
        self.assertEqual(table.count_free("rack", "main", "small"), 1)
        self.assertFalse(table.is_free(dead.id))
        self.stage.wait(1.1)
        self.assertTrue(table.is_free(dead.id))

    def test_its_requests_are_not_tried_on_a_dead_host_over_and_over(self) -> None:
        """A request that only the dead host could serve waits for its back-off."""
        free = [n for n in self.stage.nodes() if n.hostname == "web2"]
        self.stage.change_node(free[0].id, state=NodeState.HOLD)
        self.owner.retire(self.owner_service)
        self.hosts.take_down("web1")
        looks = len(self.hosts.looks)
        request_id = self.stage.put_request("small")
        self.stage.wait(30)
        self.assertIs(self.stage.request(request_id).state, RequestState.REQUESTED)
        self.assertLessEqual(len(self.hosts.looks) - looks, 10)
        self.hosts.bring_up("web1")
        self.stage.wait(11)
        self.assertIs(self.stage.request(request_id).state, RequestState.FULFILLED)

    def test_becoming_the_owner_it_forgets_what_it_passed_over(self) -> None:
        """The nodes are looked at afresh."""
        self.hosts.take_down("web1")
        dead = next(n for n in self.stage.nodes() if n.hostname == "web1")
        self.check(dead, self.standby)
        self.stage.settle()
        self.owner.retire(self.owner_service)
        self.owner.ownerships.keep_only(set())
        self.stage.settle()
        self.assertTrue(self.service.status().owner)
        self.assertTrue(self.standby.store.nodes.is_free(dead.id))

    def test_a_node_that_vanishes_while_it_is_passed_over(self) -> None:
        """Leaves nothing behind in the tables."""
        self.hosts.take_down("web1")
        dead = next(n for n in self.stage.nodes() if n.hostname == "web1")
        self.check(dead, self.standby)
        self.stage.settle()
        self.stage.inspector.delete_tree(f"/nodepool/nodes/{dead.id}")
        self.stage.settle()
        self.assertFalse(self.standby.store.nodes.is_reserved(dead.id))
        self.assertIsNone(self.standby.store.nodes.get(dead.id))
