"""The life of a cloud provider's service: requests, reloads, removal, and what it tells."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError

from nodepool_tx.config.cloud import CloudProvider
from nodepool_tx.config.schema import Config, ProviderConfig, StaticProvider
from nodepool_tx.janitor import Janitor
from nodepool_tx.model import Node, NodeState, RequestState
from nodepool_tx.providers.cloud.driver import cloud_driver
from nodepool_tx.providers.cloud.errors import CloudError, OverQuota
from nodepool_tx.providers.cloud.memory import MemoryAdapter
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.interface import Phase, ProviderContext, ProviderService
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_request
from nodepool_tx.txzookeeper.interface import SessionState
from tests.providers.cloud.world import Launcher, WorldTestCase, cloud_provider


class LifecycleTestCase(WorldTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.launcher = self.world.launcher()

    def provide(self, *labels: str, **changes: Any) -> CloudProviderService:
        return self.launcher.provide(cloud_provider(*labels, **changes))

    def state_of(self, request_id: str) -> RequestState:
        path = paths.request(request_id)
        return decode_request(request_id, self.world.inspector.dump(path)[path]).state

    def replace(self, old: CloudProviderService, new: CloudProvider) -> CloudProviderService:
        """What a reload does."""
        idled = old.idle()
        self.world.settle()
        self.successResultOf(idled)
        self.launcher.root.namedServices.pop(old.name)
        return self.launcher.provide(new)

    def take_out(self, service: ProviderService) -> None:
        stopped = service.disownServiceParent()
        assert stopped is not None
        self.world.wait(10)
        self.successResultOf(stopped)


class Requests(LifecycleTestCase):
    def test_fulfilled(self) -> None:
        """A request is served with new nodes, which are deleted when they were used."""
        self.provide("small", "large")
        request = self.world.request("small", "large", state=RequestState.REQUESTED)
        self.world.wait(60)
        self.assertEqual(self.state_of(request.id), RequestState.FULFILLED)
        nodes = self.world.nodes()
        self.assertEqual({node.type[0] for node in nodes.values()}, {"small", "large"})
        for node_id in nodes:
            self.world.use(node_id)
            self.world.give_back(node_id)
        self.world.wait(40)
        self.assertEqual((self.world.nodes(), dict(self.world.cloud.servers)), ({}, {}))

    def test_over_quota(self) -> None:
        """A node that the quota put off is replaced, and the request is served."""
        self.provide()
        self.world.cloud.fail_next("create", OverQuota("cores"))
        request = self.world.request("small", state=RequestState.REQUESTED)
        self.world.wait(300)
        self.assertEqual(self.state_of(request.id), RequestState.FULFILLED)

    def test_all_attempts_fail(self) -> None:
        """A request whose node cannot be made fails where nobody else is there."""
        self.provide(launch_retries=2)
        self.world.cloud.fail_next("create", CloudError("no"), times=2)
        request = self.world.request("small", state=RequestState.REQUESTED)
        self.world.wait(60)
        self.assertEqual(self.state_of(request.id), RequestState.FAILED)

    def test_stock_whose_launch_was_not_told(self) -> None:
        """A node is of use to others though the last write of its launch was not answered."""
        inspector, client = self.world.inspector, self.launcher.client
        self.provide("small", "large")
        unwanted = self.world.request(state=RequestState.REQUESTED)
        self.world.wait(10)
        (node_id,) = self.world.nodes()
        inspector.delete_tree(paths.request(unwanted.id))

        def break_off(_: object) -> None:
            if self.world.node(node_id).state is NodeState.READY:
                call_off()
                inspector.suspend(client)

        call_off = inspector.after("transaction", break_off, client=client, times=None)
        self.world.wait(30)
        self.assertEqual(client.state, SessionState.SUSPENDED)
        self.assertFalse(self.world.locked(node_id))
        request = self.world.request("small", "large", state=RequestState.REQUESTED)
        inspector.resume(client)
        self.world.wait(60)
        self.assertEqual(self.state_of(request.id), RequestState.FULFILLED)
        self.assertEqual(self.world.node(node_id).allocated_to, request.id)

    def test_many(self) -> None:
        """Dozens of requests at once are served with a handful of listings."""
        self.provide()
        requests = [self.world.request(state=RequestState.REQUESTED) for _ in range(50)]
        before = self.world.cloud.calls["list_instances"]
        self.world.wait(60)
        self.assertEqual({self.state_of(r.id) for r in requests}, {RequestState.FULFILLED})
        self.assertEqual(self.world.cloud.made, 50)
        self.assertLessEqual(self.world.cloud.calls["list_instances"] - before, 12)


class Restarts(LifecycleTestCase):
    def start_janitor(self, launcher: Launcher) -> None:
        janitor = Janitor(
            self.world.clock, launcher.store, Config, lambda: ["cloud"], interval=60.0, lock_age=1e6
        )
        janitor.setServiceParent(launcher.root)

    def test_requests_get_the_nodes_made_for_them(self) -> None:
        """After a restart requests are served with the servers that were begun before it."""
        self.provide()
        requests = [self.world.request(state=RequestState.REQUESTED) for _ in range(5)]
        self.world.wait(10)
        self.assertEqual({self.state_of(r.id) for r in requests}, {RequestState.PENDING})
        stopped = self.launcher.stop()
        self.world.wait(10)
        self.successResultOf(stopped)
        self.world.launchers.remove(self.launcher)
        successor = self.world.launcher("l2")
        self.start_janitor(successor)
        successor.provide(cloud_provider())
        self.world.wait(60)
        self.assertEqual({self.state_of(r.id) for r in requests}, {RequestState.FULFILLED})
        self.assertEqual((self.world.cloud.made, len(self.world.nodes())), (5, 5))

    def test_killed(self) -> None:
        """A launcher that is killed in the middle of many launches leaves none of them undone."""
        self.start_janitor(self.world.launcher("l2"))
        self.world.launchers[-1].provide(cloud_provider())
        self.provide()
        requests = [self.world.request(state=RequestState.REQUESTED) for _ in range(20)]
        self.world.wait(3)
        killed = self.world.launchers[0]
        self.world.kill(killed)
        killed.root.stopService()
        self.world.wait(120)
        self.assertEqual({self.state_of(r.id) for r in requests}, {RequestState.FULFILLED})
        self.assertEqual((self.world.cloud.made, len(self.world.nodes())), (20, 20))


class Reloads(LifecycleTestCase):
    def test_launches_go_on(self) -> None:
        """An idle service finishes its launches beside its successor, and has then retired."""
        old = self.provide()
        node_id = self.world.order(old)
        new = self.replace(old, cloud_provider("small", "large"))
        retired = old.retired()
        self.world.wait(10)
        self.assertNoResult(retired)
        self.assertEqual((old.phase, new.phase), (Phase.IDLE, Phase.ACTIVE))
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.successResultOf(retired)
        self.assertEqual(self.world.cloud.made, 1)
        self.take_out(old)

    def test_request_taken_before(self) -> None:
        """A request that was taken before a reload is served by who took it."""
        old = self.provide()
        request = self.world.request("small", state=RequestState.REQUESTED)
        self.world.wait(5)
        self.assertEqual(self.state_of(request.id), RequestState.PENDING)
        self.replace(old, cloud_provider("small", "large"))
        self.world.wait(60)
        self.assertEqual(self.state_of(request.id), RequestState.FULFILLED)
        self.successResultOf(old.retired())
        self.take_out(old)

    def test_deletions_go_on(self) -> None:
        """An idle service finishes what it deletes; the rest is its successor's."""
        old = self.provide()
        ids = [self.world.order(old) for _ in range(2)]
        self.world.wait(60)
        self.world.use(ids[0])
        self.world.give_back(ids[0])
        new = self.replace(old, cloud_provider("small", "large"))
        self.world.use(ids[1])
        self.world.give_back(ids[1])
        self.assertEqual(len(old.status().tasks), 1)
        self.assertEqual(len(new.status().tasks), 1)
        self.world.wait(40)
        self.assertEqual(self.world.nodes(), {})
        self.successResultOf(old.retired())
        self.assertEqual(self.world.cloud.calls["delete"], 2)
        self.take_out(old)

    def test_idle_starts_nothing(self) -> None:
        """An idle service neither adopts nor deletes, nor sweeps."""
        service = self.provide()
        node_id = self.world.order(service)
        self.world.wait(60)
        idled = service.idle()
        self.world.settle()
        self.successResultOf(idled)
        self.world.use(node_id)
        self.world.give_back(node_id)
        calls = self.world.cloud.calls["list_resources"]
        self.world.wait(200)
        self.assertEqual(self.world.node(node_id).state, NodeState.USED)
        self.assertEqual(self.world.cloud.calls["list_resources"], calls)
        service.resume()
        self.assertEqual(service.phase, Phase.ACTIVE)
        self.world.wait(40)
        self.assertEqual(self.world.nodes(), {})

    def test_idle_during_a_sweep(self) -> None:
        """A sweep without an answer does not keep a service from being idle."""
        service = self.provide()
        self.world.cloud.hang_next("list_resources")
        self.world.wait(61)
        self.assertIn("sweeping up what is left over", [what for what, _ in service.status().tasks])
        idled = service.idle()
        self.world.settle()
        self.successResultOf(idled)
        service.resume()

    def test_stopped_while_retiring(self) -> None:
        """A retiring service that is stopped leaves its launches to the successor."""
        old = self.provide()
        node_id = self.world.order(old)
        self.replace(old, cloud_provider("small", "large"))
        self.world.wait(10)
        self.take_out(old)
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.cloud.made, 1)

    def test_started_again(self) -> None:
        """A service whose successor could not start is put back, and works."""
        service = self.provide()
        self.take_out(service)
        service.setServiceParent(self.launcher.root)
        service.resume()
        self.world.settle()
        request = self.world.request("small", state=RequestState.REQUESTED)
        self.world.wait(60)
        self.assertEqual(self.state_of(request.id), RequestState.FULFILLED)
        (node_id,) = self.world.nodes()
        self.world.use(node_id)
        self.world.give_back(node_id)
        self.world.wait(40)
        self.assertEqual(self.world.nodes(), {})

    def test_not_retired_before_all_is_cleaned_up(self) -> None:
        """What is left of a node that somebody removed is waited for, too."""
        old = self.provide()
        node_id = self.world.order(old)
        self.world.wait(5)
        self.replace(old, cloud_provider("small", "large"))
        self.world.inspector.delete_tree(paths.node(node_id))
        self.world.wait(3)
        retired = old.retired()
        self.assertEqual(
            [what for what, _ in old.status().tasks], [f"deleting what is left of node {node_id}"]
        )
        self.assertNoResult(retired)
        self.world.wait(30)
        self.successResultOf(retired)
        self.assertEqual(dict(self.world.cloud.servers), {})
        self.take_out(old)

    def test_label_taken_out(self) -> None:
        """What is in stock of a label that a reload takes out is deleted."""
        old = self.provide("small", "large")
        large = self.world.order(old, "large", allocated_to=None)
        small = self.world.order(old, "small", allocated_to=None)
        self.world.wait(60)
        self.replace(old, cloud_provider("small"))
        self.world.wait(40)
        self.assertEqual(list(self.world.nodes()), [small])
        self.assertNotEqual(large, small)
        self.take_out(old)


class Removal(LifecycleTestCase):
    def test_drain(self) -> None:
        """A provider that is removed gives up all it has, and waits for what is in use."""
        service = self.provide()
        ready, used = self.world.order(service), self.world.order(service)
        self.world.wait(60)
        self.world.change_node(ready, allocated_to=None)
        self.world.use(used)
        building = self.world.order(service)
        drained = service.drain()
        self.launcher.registry.keep_only_of("cloud", frozenset())
        self.world.wait(40)
        self.assertNoResult(drained)
        self.assertEqual((service.phase, list(self.world.nodes())), (Phase.DRAINING, [used]))
        self.assertNotIn(building, self.world.nodes())
        self.world.give_back(used)
        self.world.wait(40)
        self.successResultOf(drained)
        self.assertEqual((self.world.nodes(), dict(self.world.cloud.servers)), ({}, {}))

    def test_drain_of_an_empty_one(self) -> None:
        """A provider without nodes is given up at once."""
        service = self.provide()
        drained = service.drain()
        self.world.settle()
        self.successResultOf(drained)

    def test_request_under_way(self) -> None:
        """A request that is being served when its provider is removed is given back."""
        service = self.provide()
        request = self.world.request("small", state=RequestState.REQUESTED)
        self.world.wait(5)
        drained = service.drain()
        self.launcher.registry.keep_only_of("cloud", frozenset())
        self.world.wait(60)
        self.successResultOf(drained)
        self.assertNotEqual(self.state_of(request.id), RequestState.PENDING)
        self.assertEqual((self.world.nodes(), dict(self.world.cloud.servers)), ({}, {}))

    def test_another_launcher_has_it(self) -> None:
        """Where another launcher still has the provider its nodes stay."""
        service = self.provide()
        node_id = self.world.order(service, allocated_to=None)
        self.world.wait(60)
        self.world.launcher("l2").provide(cloud_provider())
        drained = service.drain()
        self.launcher.registry.keep_only_of("cloud", frozenset())
        self.world.wait(70)
        self.successResultOf(drained)
        self.assertIn(node_id, self.world.nodes())


class Status(LifecycleTestCase):
    def test_what_is_going_on(self) -> None:
        """The status tells what is under way, and what the cloud and the nodes amount to."""
        service = self.provide()
        self.world.order(service)
        self.world.wait(5)
        status = service.status()
        self.assertEqual((status.name, status.driver, status.owner), ("cloud", "memory", True))
        self.assertEqual(status.phase, Phase.ACTIVE)
        self.assertEqual(
            [what for what, _ in status.tasks],
            ["launching node 0000000000: waiting for its server"],
        )
        self.assertEqual(status.details["launching"], 1)
        self.assertEqual(status.details["used"], {"instances": 1, "cores": 2, "ram": 4096})
        self.assertEqual(status.details["calls"]["create"].calls, 1)
        self.assertEqual(status.troubles, ())

    def test_troubles(self) -> None:
        """What is wrong is told in words: listings, labels that are left alone."""
        service = self.provide(launch_retries=3)
        self.world.cloud.fail_next("create", CloudError("no valid host"), times=3)
        self.world.order(service)
        self.world.wait(20)
        (breaker,) = service.status().details["breakers"]
        self.assertEqual((breaker.label, breaker.failures), ("small", 3))
        (line,) = service.status().troubles
        self.assertIn("no valid host", line)
        self.world.cloud.broken = CloudError("503")
        self.world.order(service)
        service._account.poller.next_listing().addErrback(lambda _: None)
        self.world.wait(3)
        self.assertTrue(any("cannot be listed" in line for line in service.status().troubles))
        self.world.cloud.broken = None
        self.world.wait(300)


class Driver(LifecycleTestCase):
    def build(self, config: ProviderConfig, **changes: Any) -> ProviderService:
        def make_adapter(config: CloudProvider, context: ProviderContext) -> MemoryAdapter:
            if changes.get("refuse"):
                raise ValueError("no account")
            return MemoryAdapter(self.world.cloud)

        driver = cloud_driver("memory", CloudProvider, make_adapter)
        service = driver.build(config, self.launcher.context)
        service.setServiceParent(self.launcher.root)
        self.world.settle()
        return service

    def test_built(self) -> None:
        """A driver makes a service of its configuration."""
        service = self.build(cloud_provider())
        self.assertEqual((service.name, service.phase), ("cloud", Phase.ACTIVE))

    def test_of_another_driver(self) -> None:
        """A configuration of another driver is refused."""
        with self.assertRaises(TypeError):
            self.build(StaticProvider(name="rack", driver="static"))

    def leave_nodes(self) -> list[str]:
        service = self.provide()
        ids = [self.world.order(service) for _ in range(2)]
        self.world.wait(60)
        self.take_out(service)
        self.launcher.registry.keep_only_of("cloud", frozenset())
        self.world.change_node(ids[0], allocated_to=None)
        self.world.settle()
        return ids

    def test_to_be_emptied(self) -> None:
        """A provider of which only the name is left is emptied, if its account is known."""
        ids = self.leave_nodes()
        service = self.build(ProviderConfig(name="cloud", driver="memory"))
        drained = service.drain()
        self.world.wait(40)
        self.assertEqual(list(self.world.nodes()), ids[1:])
        self.world.use(ids[1])
        self.world.give_back(ids[1])
        self.world.wait(40)
        self.successResultOf(drained)

    def test_to_be_emptied_without_account(self) -> None:
        """Without its account its servers stay, and that is said."""
        ids = self.leave_nodes()
        bare = Node(state=NodeState.INIT, provider="cloud", pool="main", type=("small",))
        self.world.put_node(bare)
        service = self.build(ProviderConfig(name="cloud", driver="memory"), refuse=True)
        drained = service.drain()
        self.world.wait(100)
        self.assertNoResult(drained)
        drained.addErrback(lambda failure: failure.trap(CancelledError))
        self.assertEqual(sorted(self.world.nodes()), ids)
        self.assertEqual(len(self.world.cloud.servers), 2)
        self.assertTrue(self.world.said("its servers cannot be deleted (no account)"))
        (line,) = [line for line in service.status().troubles if "is not deleted" in line]
        self.assertIn(ids[0], line)
