"""Idling, resuming, draining and stopping, with work held open."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.nodescan.simulated import SimulatedHosts
from nodepool_tx.providers.interface import Phase, ProviderService
from nodepool_tx.providers.static.driver import DRIVER
from nodepool_tx.store import paths
from nodepool_tx.testing.scanner import MemoryScanner
from nodepool_tx.testing.zookeeper import ServerCall
from tests.providers.static.stage import StageTestCase, about_nodes
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider


def provider(*names: str, **options: object) -> StaticProvider:
    nodes = [static_node(name, **options) for name in names or ("web1",)]  # type: ignore[arg-type]
    return static_provider(static_pool(*nodes))


class LifecycleTestCase(StageTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2):
            self.hosts.add(f"web{number}", keys=KEYS)
        self.launch = self.launcher()

    def start(self, config: StaticProvider | None = None) -> None:
        self.service = self.launch.provide(config or provider())
        self.stage.settle()

    def watch_writes(self) -> list[ServerCall]:
        """Everything our launcher writes from now on."""
        written: list[ServerCall] = []
        for op in ("transaction", "create", "set", "delete"):
            self.stage.inspector.before(
                op, written.append, path=about_nodes, client=self.launch.client, times=None
            )
        return written


class BuildingTests(LifecycleTestCase):
    def test_the_driver_builds_it(self) -> None:
        """What the registry offers is what the interface promises."""
        service: ProviderService = DRIVER.build(provider(), self.launch.context)
        self.assertEqual((service.name, service.phase), ("rack", Phase.NEW))
        self.assertEqual(service.config, provider())
        self.assertEqual(self.stage.nodes(), [])

    def test_it_starts_before_there_is_a_connection(self) -> None:
        """And does its work when there is one."""
        launcher = self.launcher("l2")
        self.stage.inspector.suspend(launcher.client)
        service = launcher.provide(provider())
        self.stage.wait(2)
        self.assertEqual(self.stage.nodes(), [])
        self.assertIs(service.phase, Phase.ACTIVE)
        self.stage.inspector.resume(launcher.client)
        self.stage.settle()
        self.assertEqual(len(self.stage.nodes()), 1)


class IdleTests(LifecycleTestCase):
    """idle(): from the call on nothing new begins, and it fires when the old has ended."""

    def test_it_is_idle_at_once(self) -> None:
        """With nothing in flight the Deferred has fired already."""
        self.start()
        self.stage.settle()
        idled = self.service.idle()
        self.assertIs(self.service.phase, Phase.IDLE)
        self.stage.settle()
        self.successResultOf(idled)

    def test_it_waits_for_looks_under_way(self) -> None:
        """A look that is held open holds idle() open; what it finds is not acted upon."""
        self.hosts.hold("web1")
        self.start()
        written = self.watch_writes()
        idled = self.service.idle()
        self.stage.wait(1)
        self.assertNoResult(idled)
        self.assertEqual(len(self.service.status().tasks), 1)
        self.hosts.release("web1")
        self.stage.settle()
        self.successResultOf(idled)
        self.stage.wait(130, step=10)
        self.assertEqual(written, [])
        self.assertEqual(self.stage.nodes(), [])

    def test_looks_in_line_are_given_up(self) -> None:
        """Only those under way are waited for, not hundreds behind them."""
        names = [f"n{number}" for number in range(300)]
        for name in names:
            self.hosts.add(name, latency=2.0)
        self.start(provider(*names))
        looks = len(self.hosts.looks)
        idled = self.service.idle()
        self.stage.wait(4.1)
        self.successResultOf(idled)
        hosts = {look.host for look in self.hosts.looks}
        self.assertLess(looks, 300)
        self.assertLess(len(hosts), 300)

    def test_it_waits_for_transactions_under_way(self) -> None:
        """The write that had begun lands before idle() fires, and none after."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        seen: list[tuple[bool, bool]] = []

        def about_to_land(call: ServerCall) -> None:
            self.idled = self.service.idle()
            seen.append((self.idled.called, self.service.phase is Phase.IDLE))

        self.stage.inspector.before("transaction", about_to_land, path=about_nodes)
        self.stage.give_back(node.id)
        self.assertEqual(seen, [(False, True)])
        self.successResultOf(self.idled)
        self.assertIs(self.stage.only_node().state, NodeState.READY)
        self.assertNotEqual(self.stage.only_node().id, node.id)

    def test_it_waits_for_the_pools(self) -> None:
        """A request being served when idle() comes is served or given back first."""
        self.start()
        self.hosts.hold("web1")
        request_id = self.stage.put_request("small")
        self.stage.settle()
        idled = self.service.idle()
        self.stage.wait(1)
        self.assertNoResult(idled)
        self.hosts.release("web1")
        self.stage.settle()
        self.successResultOf(idled)
        request = self.stage.request(request_id)
        self.assertIn(request.state, (RequestState.FULFILLED, RequestState.REQUESTED))
        promised = self.stage.only_node().allocated_to
        self.assertEqual(promised is not None, request.state is RequestState.FULFILLED)

    def test_a_check_that_fails_while_idling_removes_nothing(self) -> None:
        """The successor finds out for itself."""
        self.start()
        self.hosts.hold("web1")
        request_id = self.stage.put_request("small")
        self.stage.settle()
        node = self.stage.only_node()
        idled = self.service.idle()
        written = self.watch_writes()
        self.hosts.take_down("web1")
        self.hosts.release("web1")
        self.stage.settle()
        self.successResultOf(idled)
        self.assertEqual(written, [])
        self.assertEqual(self.stage.only_node(), node)
        self.assertTrue(self.launch.store.nodes.is_free(node.id))
        self.assertIs(self.stage.request(request_id).state, RequestState.REQUESTED)

    def test_nothing_wakes_it(self) -> None:
        """Neither nodes nor hosts nor time nor ZooKeeper."""
        self.hosts.add("web1", keys=KEYS)
        self.hosts.take_down("web2")
        self.start(provider("web1", "web2"))
        node = self.stage.only_node()
        self.service.idle()
        self.stage.settle()
        written = self.watch_writes()
        looks = len(self.hosts.looks)
        self.stage.use(node.id)
        self.stage.give_back(node.id)
        self.stage.put_request("small")
        self.hosts.bring_up("web2")
        self.stage.wait(70, step=5)
        self.stage.inspector.cut(self.launch.client)
        self.stage.wait(70, step=5)
        self.assertEqual(written, [])
        self.assertEqual(len(self.hosts.looks), looks)
        self.assertEqual(self.stage.only_node().state, NodeState.USED)

    def test_a_batch_that_was_refused_is_not_tried_one_by_one(self) -> None:
        """That would be something new."""
        self.start(provider("web1", "web2"))
        nodes = self.stage.nodes()
        self.launch.retire(self.service)

        def spoil(call: ServerCall) -> None:
            self.stage.lock(nodes[0].id)
            self.idled = self.service.idle()

        self.stage.inspector.before("transaction", spoil, path=about_nodes)
        relabelled = [static_node(name, ("other",)) for name in ("web1", "web2")]
        self.start(static_provider(static_pool(*relabelled)))
        self.successResultOf(self.idled)
        self.assertEqual([node.type for node in self.stage.nodes()], [("small",), ("small",)])

    def test_idling_twice_is_one_wait(self) -> None:
        """Both Deferreds fire when the work has ended, and a late third one at once."""
        self.hosts.hold("web1")
        self.start()
        first, second = self.service.idle(), self.service.idle()
        self.stage.settle()
        self.assertNoResult(first)
        self.assertNoResult(second)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.hosts.release("web1")
        self.stage.settle()
        self.successResultOf(first)
        self.successResultOf(self.service.idle())

    def test_it_stays_registered(self) -> None:
        """Others must not decline requests for want of it while it is replaced."""
        self.start()
        before = self.launch.registry.ids()
        self.assertEqual(len(before), 1)
        self.service.idle()
        self.stage.settle()
        self.assertEqual(self.launch.registry.ids(), before)
        self.assertTrue(self.service.status().owner)

    def test_resume_goes_on_where_it_was(self) -> None:
        """What came back meanwhile is looked at and put into service."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.service.idle()
        self.stage.settle()
        self.stage.give_back(node.id)
        looks = len(self.hosts.looks)
        self.service.resume()
        self.stage.settle()
        self.assertIs(self.service.phase, Phase.ACTIVE)
        self.assertGreater(len(self.hosts.looks), looks)
        self.assertIs(self.stage.only_node().state, NodeState.READY)
        request_id = self.stage.put_request("small")
        self.stage.settle()
        self.assertIs(self.stage.request(request_id).state, RequestState.FULFILLED)

    def test_resume_takes_retries_up_again(self) -> None:
        """A host that was down is still asked again."""
        self.hosts.take_down("web1")
        self.start()
        self.service.idle()
        self.stage.wait(60, step=5)
        self.service.resume()
        self.hosts.bring_up("web1")
        self.stage.wait(10)
        self.assertEqual(len(self.stage.nodes()), 1)

    def test_a_rollback_puts_the_old_one_back(self) -> None:
        """Idled, taken out, put in again and resumed, it works as before."""
        self.start()
        self.service.idle()
        self.stage.settle()
        self.launch.retire(self.service)
        self.service.setServiceParent(self.launch.root)
        self.service.resume()
        self.stage.settle()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.stage.give_back(node.id)
        self.assertIs(self.stage.only_node().state, NodeState.READY)
        self.assertIs(self.service.phase, Phase.ACTIVE)


class SuccessorTests(LifecycleTestCase):
    """One object after another, with answers of ZooKeeper still on their way."""

    latency = 0.02

    def test_a_successor_finds_what_was_just_written(self) -> None:
        """It registers nothing that its predecessor has registered a moment before."""
        scanner = SimulatedHosts(MemoryScanner(self.clock, self.hosts), "")
        self.launch = self.launcher("l2", scanner)
        names = [f"n{number}" for number in range(120)]
        self.service = self.launch.provide(provider(*names))
        done: list[StaticProvider] = []

        def replace(call: ServerCall) -> None:
            old = self.service
            idled = old.idle()

            def go_on(_: object) -> None:
                stopped = old.disownServiceParent()
                assert stopped is not None
                stopped.addCallback(lambda _: self.launch.provide(provider(*names)))

            idled.addCallback(go_on)
            done.append(old.config)

        most: list[int] = []
        self.stage.inspector.after(
            "transaction",
            lambda call: most.append(len(self.stage.nodes())),
            path=about_nodes,
            times=None,
        )
        self.stage.inspector.after(
            "transaction",
            replace,
            path=about_nodes,
            client=self.launch.client,
        )
        self.stage.settle()
        self.assertEqual(len(done), 1)
        self.assertEqual({node.hostname for node in self.stage.nodes()}, set(names))
        self.assertEqual(max(most), len(names))


class DrainTests(LifecycleTestCase):
    """drain(): everything is given up as it comes free."""

    def test_free_nodes_go_and_then_it_is_done(self) -> None:
        """Also those of hosts that are down."""
        self.start(provider("web1", "web2", max_parallel_jobs=2))
        drained = self.service.drain()
        self.assertIs(self.service.phase, Phase.DRAINING)
        self.stage.settle()
        self.assertEqual(self.stage.nodes(), [])
        self.successResultOf(drained)

    def test_nodes_in_use_go_as_they_return(self) -> None:
        """It is done when the last one is gone; no host is looked at for that."""
        self.start(provider("web1", "web2"))
        a, b = self.stage.nodes()
        self.stage.use(a.id)
        self.stage.change_node(b.id, allocated_to="200-0000000001")
        self.stage.settle()
        drained = self.service.drain()
        looks = len(self.hosts.looks)
        self.stage.wait(130, step=10)
        self.assertEqual(len(self.stage.nodes()), 2)
        self.stage.give_back(a.id)
        self.assertNoResult(drained)
        self.stage.use(b.id)
        self.stage.give_back(b.id)
        self.successResultOf(drained)
        self.assertEqual(self.stage.nodes(), [])
        self.assertEqual(len(self.hosts.looks), looks)

    def test_it_takes_no_requests(self) -> None:
        """A request that comes meanwhile is not for this provider."""
        self.start(provider(max_parallel_jobs=2))
        node = self.stage.nodes()[0]
        self.stage.use(node.id)
        self.service.drain().addErrback(lambda failure: failure.trap(CancelledError))
        request_id = self.stage.put_request("small")
        self.stage.wait(5)
        self.assertIs(self.stage.request(request_id).state, RequestState.REQUESTED)

    def test_a_registration_under_way_is_undone(self) -> None:
        """A node whose making had begun when drain() came does not stay."""
        self.service = self.launch.provide(provider())
        drains = []
        self.stage.inspector.after(
            "transaction",
            lambda call: drains.append(self.service.drain()),
            path=about_nodes,
        )
        self.stage.settle()
        self.assertEqual(len(drains), 1)
        self.assertEqual(self.stage.nodes(), [])
        self.successResultOf(drains[0])

    def test_other_providers_are_no_part_of_it(self) -> None:
        """Their nodes are neither removed nor waited for."""
        self.start()
        other = self.stage.put_node(self.stage.only_node())
        self.stage.change_node(other, provider="other")
        drained = self.service.drain()
        self.stage.settle()
        self.successResultOf(drained)
        self.assertEqual([node.id for node in self.stage.nodes()], [other])

    def test_a_provider_configured_again_is_replaced_while_it_drains(self) -> None:
        """It idles like any other; nobody waits for the end of the draining any more."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        drained = self.service.drain()
        ended: list[object] = []
        drained.addBoth(ended.append)
        self.stage.settle()
        idled = self.service.idle()
        self.stage.settle()
        self.successResultOf(idled)
        self.launch.retire(self.service)
        (outcome,) = ended
        assert isinstance(outcome, Failure)
        self.assertTrue(outcome.check(CancelledError))
        self.start()
        self.stage.give_back(node.id)
        self.assertIs(self.stage.only_node().state, NodeState.READY)

    def test_idling_and_resuming_a_draining_one(self) -> None:
        """It goes on draining."""
        self.start(provider("web1", "web2"))
        for node in self.stage.nodes():
            self.stage.use(node.id)
        drained = self.service.drain()
        self.service.idle()
        self.stage.settle()
        for node in self.stage.nodes():
            self.stage.give_back(node.id)
        self.assertEqual(len(self.stage.nodes()), 2)
        self.service.resume()
        self.assertIs(self.service.phase, Phase.DRAINING)
        self.stage.settle()
        self.assertEqual(self.stage.nodes(), [])
        self.successResultOf(drained)

    def test_what_another_launcher_has_is_left_to_it(self) -> None:
        """It is kept in order until the other may take it over, and nothing is removed."""
        self.start()
        other = self.launcher("l2")
        their_service = other.provide(provider())
        self.stage.settle()
        node = self.stage.only_node()
        self.stage.use(node.id)
        drained = self.service.drain()
        self.stage.give_back(node.id)
        self.assertIs(self.stage.only_node().state, NodeState.READY)
        self.stage.wait(59, step=5)
        self.assertNoResult(drained)
        self.stage.wait(2)
        self.successResultOf(drained)
        self.launch.retire(self.service)
        self.launch.ownerships.keep_only(set())
        self.stage.settle()
        self.assertTrue(their_service.status().owner)
        self.assertEqual(len(self.stage.nodes()), 1)

    def test_what_all_launchers_give_up_is_removed(self) -> None:
        """The second reads the new configuration a moment after the first."""
        self.start()
        other = self.launcher("l2")
        their_service = other.provide(provider())
        self.stage.settle()
        drains = [self.service.drain()]
        self.stage.wait(3)
        drains.append(their_service.drain())
        other.registry.keep_only(set())
        self.stage.settle()
        self.launch.registry.keep_only(set())
        self.stage.settle()
        self.assertEqual(self.stage.nodes(), [])
        for drained in drains:
            self.successResultOf(drained)

    def test_draining_again_is_the_same(self) -> None:
        """A second call waits for the same end."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        drains = [self.service.drain(), self.service.drain()]
        self.stage.settle()
        self.stage.give_back(node.id)
        for drained in drains:
            self.successResultOf(drained)


class StopTests(LifecycleTestCase):
    """stopService(): bounded, and final."""

    def test_looks_under_way_are_cut_short(self) -> None:
        """Stopping waits for no host."""
        self.hosts.kill("web1")
        self.start(provider(timeout=300))
        self.assertEqual(len(self.hosts.pending), 1)
        stopped = self.service.disownServiceParent()
        assert stopped is not None
        self.stage.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.hosts.pending, [])
        self.assertIs(self.service.phase, Phase.STOPPED)

    def test_transactions_under_way_are_waited_for(self) -> None:
        """Their outcome is known when the stop has ended."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        stops = []

        def stop(call: ServerCall) -> None:
            stopped = self.service.stopService()
            stops.append((stopped, stopped.called))

        self.stage.inspector.before("transaction", stop, path=about_nodes)
        self.stage.give_back(node.id)
        ((stopped, at_once),) = stops
        self.assertFalse(at_once)
        self.successResultOf(stopped)
        self.assertIs(self.stage.only_node().state, NodeState.READY)

    def test_a_withdrawal_under_way_is_finished(self) -> None:
        """Also when the pool that asked is stopped and cancels its question."""
        self.start()
        self.hosts.take_down("web1")
        stops = []
        self.stage.inspector.before(
            "transaction",
            lambda call: stops.append(self.service.stopService()),
            path=about_nodes,
        )
        self.stage.put_request("small")
        self.stage.settle()
        self.successResultOf(stops[0])
        self.assertEqual(self.stage.nodes(), [])

    def test_nothing_happens_afterwards(self) -> None:
        """No timer is left, no event is heard."""
        self.hosts.take_down("web2")
        self.start(provider("web1", "web2"))
        node = self.stage.only_node()
        self.launch.retire(self.service)
        written = self.watch_writes()
        looks = len(self.hosts.looks)
        self.stage.use(node.id)
        self.stage.give_back(node.id)
        self.stage.wait(130, step=10)
        self.assertEqual(written, [])
        self.assertEqual(len(self.hosts.looks), looks)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_without_a_connection(self) -> None:
        """Nothing that cannot be had is waited for."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.stage.inspector.suspend(self.launch.client)
        self.stage.give_back(node.id)
        self.launch.retire(self.service)
        self.stage.inspector.resume(self.launch.client)
        self.stage.settle()

    def test_the_state_left_is_one_to_go_on_from(self) -> None:
        """A new process puts into service what came back meanwhile."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.launch.retire(self.service)
        self.stage.give_back(node.id)
        self.start()
        self.assertIs(self.stage.only_node().state, NodeState.READY)
        self.assertEqual(len(self.stage.inspector.dump(paths.NODES)), 2)


class StatusTests(LifecycleTestCase):
    def test_it_shows_hosts_slots_and_what_is_waited_for(self) -> None:
        """One entry per machine."""
        self.start(provider("web1", "web2", max_parallel_jobs=3))
        by_slot = {(n.hostname, n.slot): n for n in self.stage.nodes()}
        self.stage.use(by_slot["web1", 0].id)
        self.stage.change_node(by_slot["web1", 1].id, allocated_to="200-0000000009")
        self.stage.settle()
        status = self.service.status()
        self.assertEqual((status.name, status.driver, status.owner), ("rack", "static", True))
        self.assertEqual(status.tasks, ())
        web1, web2 = status.details["hosts"]
        self.assertEqual((web1["slots"], web1["free"], web1["used"]), (3, 1, 2))
        self.assertEqual((web2["slots"], web2["free"], web2["used"]), (3, 3, 0))
        self.assertEqual((web2["state"], web2["reason"], web2["next_look"]), ("up", "", None))
        waits = " ".join(web1["waits"])
        self.assertIn("is in use", waits)
        self.assertIn("promised to 200-0000000009", waits)

    def test_it_shows_what_is_under_way_and_since_when(self) -> None:
        """Looks, by the host they are at."""
        self.hosts.hold("web1")
        self.start()
        started = self.clock.seconds()
        self.stage.wait(1)
        self.assertEqual(self.service.status().tasks, (("looking at web1:22", started),))
        self.hosts.release("web1")

    def test_the_age_of_the_last_full_look_is_shown(self) -> None:
        """A loop is healthy when it did something lately, not because it runs."""
        self.start()
        self.assertIsNone(self.service.status().details["last_full_look"])
        self.stage.wait(61, step=1)
        self.assertEqual(self.service.status().details["last_full_look"], 1060.0)
