"""Static hosts and providers that operators take out of service and return."""

from __future__ import annotations

from typing import Any

from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import Maintenance, NodeState, RequestState
from nodepool_tx.store import paths
from tests.out_of_service import host_record, provider_record, put_back, take_out
from tests.providers.static.stage import Launcher, StageTestCase, about_nodes
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider


def provider(*names: str, **options: object) -> StaticProvider:
    nodes = [static_node(name, **options) for name in names or ("web1", "web2")]  # type: ignore[arg-type]
    return static_provider(static_pool(*nodes))


class MaintenanceTestCase(StageTestCase):
    """One launcher with the provider ``rack`` and the hosts web1 to web3."""

    def setUp(self) -> None:
        super().setUp()
        self.inspector = self.stage.inspector
        for number in (1, 2, 3):
            self.hosts.add(f"web{number}", keys=KEYS)

    def start(self, config: StaticProvider | None = None, name: str = "l1") -> Launcher:
        launcher = self.launcher(name)
        self.service = launcher.provide(config or provider())
        self.stage.settle()
        return launcher

    def reload(self, config: StaticProvider) -> None:
        """Replace the provider as a reload does."""
        idled = self.service.idle()
        self.stage.settle()
        self.successResultOf(idled)
        launcher = self.launchers[-1]
        launcher.retire(self.service)
        self.service = launcher.provide(config)
        self.stage.settle()

    def maintain(self, host: str = "web1", **changes: Any) -> Maintenance:
        record = host_record(host, since=self.clock.seconds(), **changes)
        take_out(self.inspector, record)
        self.stage.settle()
        return record

    def drain(self) -> Maintenance:
        record = take_out(self.inspector, provider_record(since=self.clock.seconds()))
        self.stage.settle()
        return record

    def put_back(self, record: Maintenance) -> None:
        put_back(self.inspector, record)
        self.stage.settle()

    def free(self) -> list[str]:
        """The hosts of the nodes that are free, one for each node."""
        return sorted(
            str(node.hostname)
            for node in self.stage.nodes()
            if node.state is NodeState.READY and not node.allocated_to
        )

    def node_on(self, hostname: str) -> str:
        (node,) = (node for node in self.stage.nodes() if node.hostname == hostname)
        return node.id

    def host(self, hostname: str) -> dict[str, Any]:
        hosts = self.service.status().details["hosts"]
        found: dict[str, Any] = next(host for host in hosts if host["hostname"] == hostname)
        return found

    def looks(self, hostname: str) -> int:
        return sum(look.host == hostname for look in self.hosts.looks)


class HostTests(MaintenanceTestCase):
    """One host is out of service."""

    def test_its_free_nodes_leave_at_once(self) -> None:
        """All slots of it, and of no other host; they come back when it returns."""
        self.start(provider(max_parallel_jobs=3))
        record = self.maintain()
        self.assertEqual(self.free(), ["web2"] * 3)
        looks = self.looks("web1")
        self.stage.wait(300, step=10)
        self.assertEqual(self.free(), ["web2"] * 3)
        self.assertEqual(self.looks("web1"), looks)
        self.put_back(record)
        self.assertEqual(self.free(), ["web1"] * 3 + ["web2"] * 3)
        self.assertGreater(self.looks("web1"), looks)

    def test_every_port_and_every_provider(self) -> None:
        """A host is meant wherever it is listed."""
        self.hosts.add("web1", 2222, keys=KEYS)
        twice = static_provider(
            static_pool(static_node("web1"), static_node("web1", connection_port=2222))
        )
        launcher = self.start(twice)
        other = static_provider(
            static_pool(static_node("web1", username="other"), provider="other"), name="other"
        )
        launcher.provide(other)
        self.stage.settle()
        self.assertEqual(self.free(), ["web1"] * 3)
        self.maintain()
        self.assertEqual(self.free(), [])

    def test_a_job_ends_in_its_own_time(self) -> None:
        """Its node is then taken out of ZooKeeper, not put back into service."""
        self.start()
        node_id = self.node_on("web1")
        self.stage.use(node_id)
        record = self.maintain()
        self.stage.wait(100, step=10)
        self.assertEqual(self.stage.node(node_id).state, NodeState.IN_USE)
        self.stage.give_back(node_id)
        self.assertEqual(self.free(), ["web2"])
        self.assertEqual(len(self.stage.nodes()), 1)
        self.put_back(record)
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_what_was_promised_is_kept(self) -> None:
        """Until the request is given up; then it goes, too."""
        self.start()
        node_id = self.node_on("web1")
        self.stage.change_node(node_id, allocated_to="100-1")
        self.stage.settle()
        self.maintain()
        self.assertEqual(self.stage.node(node_id).allocated_to, "100-1")
        self.stage.change_node(node_id, allocated_to=None)
        self.stage.settle()
        self.assertEqual(self.free(), ["web2"])

    def test_what_is_held_is_kept(self) -> None:
        """Whoever looks at it goes on looking."""
        self.start()
        node_id = self.node_on("web1")
        self.stage.change_node(node_id, state=NodeState.HOLD)
        self.stage.settle()
        self.maintain()
        self.assertEqual(self.stage.node(node_id).state, NodeState.HOLD)

    def test_it_returns_by_itself(self) -> None:
        """When its time has come, not a minute later."""
        self.start()
        self.maintain(until=self.clock.seconds() + 100)
        self.stage.wait(99.5)
        self.assertEqual(self.free(), ["web2"])
        self.stage.wait(0.5)
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_a_launcher_that_starts_afterwards(self) -> None:
        """Takes it for being back, though nobody has removed the record."""
        self.maintain(until=self.clock.seconds() + 100)
        self.stage.wait(100, step=10)
        self.start()
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_one_that_was_down_when_it_returns(self) -> None:
        """It is looked at then, and again as always until it is up."""
        self.start()
        record = self.maintain()
        self.hosts.take_down("web1")
        looks = self.looks("web1")
        self.stage.wait(60)
        self.assertEqual(self.looks("web1"), looks)
        self.put_back(record)
        self.assertEqual(self.free(), ["web2"])
        self.assertEqual(self.host("web1")["state"], "down")
        self.hosts.bring_up("web1")
        self.stage.wait(11)
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_one_that_was_down_before(self) -> None:
        """Nobody looks at it while it is out of service; at once when it returns."""
        self.hosts.take_down("web1")
        self.start()
        self.stage.wait(60)
        record = self.maintain()
        self.hosts.bring_up("web1")
        looks = self.looks("web1")
        self.stage.wait(60)
        self.assertEqual(self.looks("web1"), looks)
        self.put_back(record)
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_what_old_versions_left_without_a_slot(self) -> None:
        """It goes as well."""
        self.start()
        node = self.stage.node(self.node_on("web1"))
        self.stage.change_node(node.id, slot=None, allocated_to="100-1")
        self.stage.settle()
        self.maintain()
        self.stage.change_node(node.id, allocated_to=None)
        self.stage.settle()
        self.assertEqual(self.free(), ["web2"])

    def test_an_unreadable_record_keeps_it_out(self) -> None:
        """Whoever wrote that did not mean it to be given to a job."""
        self.start()
        self.inspector.create(paths.maintenance_of_host("web1"), b"{")
        self.stage.settle()
        self.assertEqual(self.free(), ["web2"])
        self.assertIn("unreadable", self.service.status().troubles[0])


class ReloadTests(MaintenanceTestCase):
    """The launcher begins again, or its configuration does."""

    def test_a_restart_changes_nothing(self) -> None:
        """The next process registers nothing on it either."""
        launcher = self.start()
        self.maintain()
        launcher.retire(self.service)
        self.start(name="l2")
        self.assertEqual(self.free(), ["web2"])

    def test_a_definition_that_changes(self) -> None:
        """It is not registered as it was, nor as it is now, before it returns."""
        self.start()
        record = self.maintain()
        self.reload(provider("web1", "web2", max_parallel_jobs=2))
        self.stage.wait(100, step=10)
        self.assertEqual(self.free(), ["web2"] * 2)
        self.put_back(record)
        self.assertEqual(self.free(), ["web1"] * 2 + ["web2"] * 2)

    def test_a_host_that_is_taken_out_of_the_configuration(self) -> None:
        """Its record stays, and counts when it is configured again."""
        self.start()
        self.maintain()
        self.reload(provider("web2"))
        self.assertEqual(self.free(), ["web2"])
        self.reload(provider("web1", "web2"))
        self.assertEqual(self.free(), ["web2"])

    def test_taken_out_while_a_reload_is_under_way(self) -> None:
        """Neither the old provider nor the new one registers it."""
        self.start()
        idled = self.service.idle()
        self.maintain()
        self.successResultOf(idled)
        launcher = self.launchers[-1]
        launcher.retire(self.service)
        self.assertEqual(self.free(), ["web1", "web2"])
        self.service = launcher.provide(provider(max_parallel_jobs=2))
        self.stage.settle()
        self.assertEqual(self.free(), ["web2"] * 2)

    def test_it_may_be_returned_while_nobody_looks(self) -> None:
        """Who starts after that finds nothing out of service."""
        self.start()
        record = self.maintain()
        idled = self.service.idle()
        self.put_back(record)
        self.successResultOf(idled)
        self.service.resume()
        self.stage.settle()
        self.assertEqual(self.free(), ["web1", "web2"])


class ProviderTests(MaintenanceTestCase):
    """The whole provider is out of service."""

    def test_its_free_nodes_leave_at_once(self) -> None:
        """And come back at once."""
        self.start()
        record = self.drain()
        self.stage.wait(100, step=10)
        self.assertEqual(self.stage.nodes(), [])
        self.put_back(record)
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_requests_wait_for_it(self) -> None:
        """If nobody else can serve them; they do not fail."""
        self.start()
        record = self.drain()
        request_id = self.stage.put_request("small")
        self.stage.wait(100, step=10)
        request = self.stage.request(request_id)
        self.assertEqual((request.state, request.declined_by), (RequestState.REQUESTED, ()))
        (line,) = self.service.status().waiting
        self.assertIn("provider rack is drained", line)
        self.assertIn("(1 min 40 s) by anna@desk: moving house", line)
        self.put_back(record)
        self.stage.wait(1)
        self.assertEqual(self.stage.request(request_id).state, RequestState.FULFILLED)

    def test_a_host_of_it_that_is_out_as_well(self) -> None:
        """It stays out when only the provider returns."""
        self.start()
        host, whole = self.maintain(), self.drain()
        self.assertEqual(self.host("web1")["maintenance"]["reason"], "new disk")
        self.assertEqual(self.host("web2")["maintenance"]["reason"], "moving house")
        self.put_back(whole)
        self.assertEqual(self.free(), ["web2"])
        self.put_back(host)
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_what_runs_ends_in_its_own_time(self) -> None:
        """Nothing is put back into service after it."""
        self.start()
        node_id = self.node_on("web1")
        self.stage.use(node_id)
        self.drain()
        self.assertEqual([node.id for node in self.stage.nodes()], [node_id])
        self.stage.give_back(node_id)
        self.assertEqual(self.stage.nodes(), [])


class TellingTests(MaintenanceTestCase):
    """What is shown of it."""

    def test_a_host(self) -> None:
        """How, why, since when and by whom; that it does not answer is no trouble then."""
        self.start()
        since = self.clock.seconds()
        self.maintain(until=since + 7200)
        self.hosts.take_down("web1")
        self.stage.wait(3700, step=50)
        host = self.host("web1")
        self.assertEqual(
            host["maintenance"],
            {
                "mode": "maintain",
                "reason": "new disk",
                "since": since,
                "until": since + 7200,
                "by": "anna@desk",
            },
        )
        self.assertEqual((host["state"], host["free"]), ("unknown", 0))
        self.assertIn("new disk", host["waits"][0])
        self.assertIsNone(self.host("web2")["maintenance"])
        status = self.service.status()
        self.assertIsNone(status.details["maintenance"])
        (line,) = status.troubles
        self.assertIn("main: host web1 is in maintenance since 1970-01-01 00:16:40 UTC", line)
        self.assertIn("(1 h 1 min) until 1970-01-01 02:16:40 UTC by anna@desk: new disk", line)

    def test_a_provider(self) -> None:
        """One line for all of it."""
        self.start()
        self.drain()
        status = self.service.status()
        self.assertEqual(status.details["maintenance"]["reason"], "moving house")
        (line,) = status.troubles
        self.assertIn("provider rack is drained since", line)


class RaceTests(MaintenanceTestCase):
    """It is taken out of service at the worst moment."""

    def test_while_its_node_is_looked_at_before_it_is_handed_out(self) -> None:
        """The request does not get it, and waits for the next."""
        self.start(provider("web1"))
        self.hosts.hold("web1")
        request_id = self.stage.put_request("small")
        self.stage.settle()
        record = self.maintain()
        self.hosts.release("web1")
        self.stage.wait(1)
        self.assertEqual(self.stage.request(request_id).state, RequestState.REQUESTED)
        self.assertEqual(self.stage.nodes(), [])
        self.put_back(record)
        self.stage.wait(1)
        self.assertEqual(self.stage.request(request_id).state, RequestState.FULFILLED)

    def test_while_it_is_promised(self) -> None:
        """The request has it whole: nothing takes it away any more."""
        self.start(provider("web1"))
        record = host_record("web1")
        self.inspector.before(
            "transaction",
            lambda _: take_out(self.inspector, record),
            path=about_nodes,
            client=self.launchers[0].client,
        )
        request_id = self.stage.put_request("small")
        self.stage.wait(1)
        request = self.stage.request(request_id)
        self.assertEqual(request.state, RequestState.FULFILLED)
        node = self.stage.node(request.nodes[0])
        self.assertEqual((node.state, node.allocated_to), (NodeState.READY, request_id))
        self.stage.lock(node.id)
        self.inspector.delete_tree(paths.request(request_id))
        self.stage.change_node(node.id, state=NodeState.IN_USE)
        self.stage.wait(1)
        self.stage.give_back(node.id)
        self.assertEqual(self.stage.nodes(), [])

    def test_somebody_promises_it_while_it_is_taken_out(self) -> None:
        """A Nodepool 11 launcher beside us, say: then it is left alone."""
        self.start(provider("web1"))
        node_id = self.node_on("web1")
        self.inspector.before(
            "transaction",
            lambda _: self.stage.change_node(node_id, allocated_to="100-7"),
            path=about_nodes,
            client=self.launchers[0].client,
        )
        self.maintain()
        self.stage.wait(5)
        self.assertEqual(self.stage.node(node_id).allocated_to, "100-7")

    def test_somebody_locks_it_while_it_is_taken_out(self) -> None:
        """Then it is left alone, and goes when it is let go."""
        self.start(provider("web1"))
        node_id = self.node_on("web1")
        self.inspector.before(
            "transaction",
            lambda _: self.stage.lock(node_id),
            path=about_nodes,
            client=self.launchers[0].client,
        )
        self.maintain()
        self.stage.wait(5)
        self.assertEqual(self.stage.node(node_id).state, NodeState.READY)
        self.stage.unlock(node_id)
        self.stage.settle()
        self.assertEqual(self.stage.nodes(), [])

    def test_while_it_is_looked_at_before_it_goes_back_into_service(self) -> None:
        """Whatever is found, it stays out."""
        self.start(provider("web1"))
        node_id = self.node_on("web1")
        self.stage.use(node_id)
        self.hosts.hold("web1")
        self.stage.give_back(node_id)
        record = self.maintain()
        self.hosts.release("web1")
        self.stage.wait(2)
        self.assertEqual(self.stage.nodes(), [])
        self.put_back(record)
        self.assertEqual(self.free(), ["web1"])

    def test_while_it_is_written_as_back_in_service(self) -> None:
        """The fresh node leaves right after that."""
        self.start(provider("web1"))
        node_id = self.node_on("web1")
        self.stage.use(node_id)
        record = host_record("web1")
        self.inspector.before(
            "transaction",
            lambda _: take_out(self.inspector, record),
            path=about_nodes,
            client=self.launchers[0].client,
        )
        self.stage.give_back(node_id)
        self.stage.wait(2)
        self.assertEqual(self.stage.nodes(), [])
        self.put_back(record)
        self.assertEqual(self.free(), ["web1"])

    def test_zookeeper_is_lost_meanwhile(self) -> None:
        """What was decided there counts as soon as it is back."""
        self.start()
        client = self.launchers[0].client
        self.inspector.suspend(client)
        record = host_record("web1", since=self.clock.seconds())
        take_out(self.inspector, record)
        self.stage.wait(3)
        self.assertEqual(self.free(), ["web1", "web2"])
        self.inspector.resume(client)
        self.stage.wait(3)
        self.assertEqual(self.free(), ["web2"])
        self.inspector.suspend(client)
        put_back(self.inspector, record)
        self.inspector.expire(client)
        self.inspector.resume(client)
        self.stage.wait(10)
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_the_answer_is_lost_when_its_nodes_leave(self) -> None:
        """They have left, once."""
        self.start()
        self.inspector.lose_reply_next(
            "transaction", path=about_nodes, client=self.launchers[0].client
        )
        record = self.maintain()
        self.stage.wait(5)
        self.assertEqual(self.free(), ["web2"])
        self.put_back(record)
        self.stage.wait(5)
        self.assertEqual(self.free(), ["web1", "web2"])

    def test_two_launchers(self) -> None:
        """The one that only stands by hands nothing of it out and goes on when the other dies."""
        first = self.start(name="l1")
        standing_by = self.start(name="l2")
        self.inspector.suspend(first.client)
        self.maintain()
        request_id = self.stage.put_request("small")
        other_id = self.stage.put_request("small")
        self.stage.wait(3)
        served = [self.stage.request(each) for each in (request_id, other_id)]
        hosts = [self.stage.node(r.nodes[0]).hostname for r in served if r.nodes]
        self.assertEqual(hosts, ["web2"])
        self.inspector.expire(first.client)
        self.stage.wait(3)
        self.assertEqual(self.free(), [])
        self.inspector.resume(first.client)
        self.stage.wait(3)
        self.assertEqual(len(standing_by.store.maintenance.all()), 1)


class SlowZookeeperTests(MaintenanceTestCase):
    """What operators do while everything is on its way."""

    latency = 0.01

    def test_it_returns_while_its_nodes_still_leave(self) -> None:
        """Whenever that is, every slot has one node in the end."""
        self.start(provider("web1", max_parallel_jobs=4))
        self.stage.wait(2)
        seen = set()
        for step in range(15):
            record = take_out(self.inspector, host_record("web1"))
            self.stage.wait(0.005 * step, step=0.005)
            seen.add(len(self.stage.nodes()))
            put_back(self.inspector, record)
            self.stage.wait(3)
            self.assertEqual(sorted(n.slot or 0 for n in self.stage.nodes()), [0, 1, 2, 3])
        self.assertEqual(seen, {0, 4})

    def test_it_is_taken_out_while_its_nodes_come_back(self) -> None:
        """Whenever that is, none is left in the end."""
        self.start(provider("web1", max_parallel_jobs=4))
        record = take_out(self.inspector, host_record("web1"))
        seen = set()
        for step in range(15):
            self.stage.wait(3)
            self.assertEqual(self.stage.nodes(), [])
            put_back(self.inspector, record)
            self.stage.wait(0.005 * step, step=0.005)
            seen.add(len(self.stage.nodes()))
            take_out(self.inspector, record)
        self.assertEqual(seen, {0, 4})
