"""A static provider at work: registering, updating, putting back into service."""

from __future__ import annotations

import attrs

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import Node, NodeState
from nodepool_tx.store import paths
from tests.providers.static.stage import Launcher, StageTestCase
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider


def provider(*names: str, **options: object) -> StaticProvider:
    nodes = [static_node(name, **options) for name in names or ("web1",)]  # type: ignore[arg-type]
    return static_provider(static_pool(*nodes))


class ServiceTestCase(StageTestCase):
    """One launcher with the provider ``rack`` and the hosts web1 to web3."""

    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2, 3):
            self.hosts.add(f"web{number}", keys=KEYS, address=f"192.0.2.{number}")

    def start(self, config: StaticProvider | None = None) -> Launcher:
        launcher = self.launcher()
        self.service = launcher.provide(config or provider())
        self.stage.settle()
        return launcher

    def reload(self, config: StaticProvider) -> None:
        """Replace the provider as a reload does."""
        idled = self.service.idle()
        self.stage.settle()
        self.successResultOf(idled)
        (launcher,) = self.launchers
        launcher.retire(self.service)
        self.service = launcher.provide(config)
        self.stage.settle()


class RegistrationTests(ServiceTestCase):
    """From nothing to nodes in service."""

    def test_a_node_is_registered_as_nodepool_would(self) -> None:
        """The whole record, field by field."""
        attributes = FrozenMapping({"key1": "value1"})
        node = static_node(
            "web1",
            ("small", "any"),
            connection_port=22,
            shell_type="csh",
            python_path="/usr/bin/python3",
        )
        self.start(static_provider(static_pool(node, node_attributes=attributes)))
        record = attrs.asdict(self.stage.only_node())
        now = self.clock.seconds()
        self.assertEqual(
            {k: v for k, v in record.items() if v not in (None, {}, ())},
            {
                "id": "0000000000",
                "state": NodeState.READY,
                "state_time": now,
                "created_time": now,
                "provider": "rack",
                "pool": "main",
                "type": ("small", "any"),
                "launcher": "static driver",
                "external_id": "web1",
                "hostname": "web1",
                "interface_ip": "web1",
                "public_ipv4": "192.0.2.1",
                "username": "zuul",
                "connection_port": 22,
                "connection_type": "ssh",
                "shell_type": "csh",
                "python_path": "/usr/bin/python3",
                "host_keys": KEYS,
                "attributes": {"key1": "value1"},
                "slot": 0,
                "version": 0,
                "mzxid": record["mzxid"],
            },
        )

    def test_each_parallel_job_is_a_node(self) -> None:
        """The host is looked at once for all of its slots."""
        self.start(provider(max_parallel_jobs=3))
        self.assertEqual([node.slot for node in self.stage.nodes()], [0, 1, 2])
        self.assertEqual([look.kind for look in self.hosts.looks], ["resolve", "scan_keys"])

    def test_many_nodes_share_transactions(self) -> None:
        """500 nodes are registered in ten of them, each after one that changes nothing."""
        names = [f"n{number}" for number in range(500)]
        for name in names:
            self.hosts.add(name)
        launcher = self.launcher()
        self.stage.inspector.requests.clear()
        launcher.provide(provider(*names))
        self.stage.settle()
        self.assertEqual(len(self.stage.nodes()), 500)
        self.assertLessEqual(self.stage.inspector.requests["transaction"], 22)

    def test_nothing_is_written_twice(self) -> None:
        """A converged provider leaves ZooKeeper alone, also in its full looks."""
        self.start(provider("web1", "web2", max_parallel_jobs=2))
        before = self.stage.inspector.dump()
        looks = len(self.hosts.looks)
        self.stage.inspector.requests.clear()
        self.stage.wait(200, step=10)
        self.assertEqual(self.stage.inspector.dump(), before)
        self.assertEqual(self.stage.inspector.requests["transaction"], 0)
        self.assertEqual(len(self.hosts.looks), looks)

    def test_a_restart_finds_everything_in_order(self) -> None:
        """Nodes that a previous process registered are kept as they are."""
        self.start(provider("web1", "web2"))
        before = self.stage.nodes()
        (launcher,) = self.launchers
        launcher.retire(self.service)
        launcher.provide(provider("web1", "web2"))
        self.stage.settle()
        self.assertEqual(self.stage.nodes(), before)

    def test_a_node_that_vanishes_is_registered_again(self) -> None:
        """At once, without waiting for a sweep, after another look at its host."""
        self.start()
        node = self.stage.only_node()
        self.stage.inspector.delete_tree(paths.node(node.id))
        self.stage.settle()
        self.assertEqual(self.stage.only_node().id, "0000000001")
        self.assertEqual([look.kind for look in self.hosts.looks].count("scan_keys"), 2)

    def test_other_providers_are_left_alone(self) -> None:
        """Whatever state their nodes are in, and however odd they are."""
        strangers = [
            Node(state=state, provider=name, hostname="web1", connection_port=22, slot=0)
            for state in NodeState
            for name in ("other", None)
        ]
        ids = [self.stage.put_node(node) for node in strangers]
        before = [self.stage.node(node_id) for node_id in ids]
        self.start()
        self.stage.wait(130, step=10)
        self.assertEqual([self.stage.node(node_id) for node_id in ids], before)
        self.assertEqual(len(self.stage.nodes("rack")), 1)

    def test_rubbish_in_the_place_of_nodes_is_survived(self) -> None:
        """Unreadable, empty and foreign znodes stay, and stop nothing."""
        rubbish = {
            "0000000100": b"",
            "0000000101": b"not JSON",
            "0000000102": b'["a", "list"]',
            "0000000103": b'{"state": "ready", "provider": "rack", "slot": "x"}',
            "garbage": b"\xff\xfe",
        }
        for name, data in rubbish.items():
            self.stage.inspector.create(paths.node(name), data)
        self.start()
        self.stage.wait(70, step=10)
        dump = self.stage.inspector.dump()
        for name, data in rubbish.items():
            self.assertEqual(dump[paths.node(name)], data)
        ours = [path for path in dump if b'"hostname": "web1"' in dump[path]]
        self.assertEqual(len(ours), 1)

    def test_an_odd_node_of_ours_goes_when_it_is_free(self) -> None:
        """Nothing in the configuration matches it, so nothing wants it."""
        odd = Node(
            state=NodeState.READY, provider="rack", hostname=None, connection_port={"name": "x"}
        )
        self.stage.put_node(odd)
        self.start()
        self.assertEqual([node.hostname for node in self.stage.nodes()], ["web1"])

    def test_a_host_with_no_slots_is_out_of_service(self) -> None:
        """max-parallel-jobs: 0 registers nothing."""
        self.start(provider(max_parallel_jobs=0))
        self.assertEqual(self.stage.nodes(), [])
        self.assertEqual(self.hosts.looks, [])


class ReturnTests(ServiceTestCase):
    """Nodes that come back."""

    def test_a_used_node_is_back_in_service_after_a_look(self) -> None:
        """Under a new id, as soon as its host has answered."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.stage.give_back(node.id)
        fresh = self.stage.only_node()
        self.assertEqual((fresh.id, fresh.state), ("0000000001", NodeState.READY))
        self.assertEqual((fresh.allocated_to, fresh.slot), (None, 0))
        self.assertEqual([look.kind for look in self.hosts.looks].count("scan_keys"), 2)

    def test_replacing_a_node_is_one_step(self) -> None:
        """At no time are there two nodes in a slot, or none."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        counts: list[int] = []
        self.stage.inspector.after(
            "*", lambda call: counts.append(len(self.stage.nodes())), times=None
        )
        self.stage.give_back(node.id)
        self.assertEqual(set(counts), {1})
        self.assertNotEqual(self.stage.only_node().id, node.id)

    def test_the_locks_of_replaced_nodes_go_with_them(self) -> None:
        """Nothing is left below the nodes."""
        self.start()
        for _ in range(3):
            node = self.stage.only_node()
            self.stage.use(node.id)
            self.stage.give_back(node.id)
        self.assertEqual(len(self.stage.inspector.dump(paths.NODES)), 2)

    def test_a_node_abandoned_in_use_comes_back(self) -> None:
        """Its client died: the lock is gone, the state still says in-use."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.stage.wait(120, step=10)
        self.assertEqual(self.stage.only_node().state, NodeState.IN_USE)
        self.stage.unlock(node.id)
        self.stage.settle()
        self.assertEqual(self.stage.only_node().state, NodeState.READY)

    def test_a_node_deleted_by_an_operator_comes_back_fresh(self) -> None:
        """``nodepool delete`` sets the state; the slot gets a new node."""
        self.start()
        node = self.stage.only_node()
        self.stage.change_node(node.id, state=NodeState.DELETING)
        self.stage.settle()
        fresh = self.stage.only_node()
        self.assertEqual(fresh.state, NodeState.READY)
        self.assertNotEqual(fresh.id, node.id)

    def test_a_held_node_keeps_its_slot_until_it_is_let_go(self) -> None:
        """However long that takes."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.stage.change_node(node.id, state=NodeState.HOLD)
        self.stage.unlock(node.id)
        self.stage.wait(300, step=20)
        self.assertEqual(self.stage.only_node().state, NodeState.HOLD)
        self.stage.change_node(node.id, state=NodeState.USED)
        self.stage.settle()
        self.assertEqual(self.stage.only_node().state, NodeState.READY)

    def test_defect_5_returns_do_not_wait_for_each_other(self) -> None:
        """Twenty nodes returned together are back after one scan's time, with one host dead."""
        names = [f"n{number}" for number in range(20)]
        for name in names:
            self.hosts.add(name)
        self.start(provider(*names))
        for node in self.stage.nodes():
            self.stage.use(node.id)
        for name in names:
            self.hosts.add(name, latency=0.3)
        self.hosts.kill("n7")
        for node in self.stage.nodes():
            self.stage.give_back(node.id)
        self.stage.wait(0.7, step=0.1)
        states = {node.hostname: node.state for node in self.stage.nodes()}
        self.assertEqual(states.pop("n7"), NodeState.USED)
        self.assertEqual(set(states.values()), {NodeState.READY})
        self.assertEqual(len(states), 19)

    def test_defect_26_a_return_reads_nothing_but_what_it_is_about(self) -> None:
        """With 300 other nodes a return costs no more requests than alone."""
        costs = []
        for count in (1, 300):
            self.setUp()
            names = [f"n{number}" for number in range(count)]
            for name in names:
                self.hosts.add(name)
            self.start(provider(*names))
            node = self.stage.nodes()[0]
            self.stage.use(node.id)
            self.stage.inspector.requests.clear()
            self.stage.give_back(node.id)
            costs.append(dict(self.stage.inspector.requests))
            self.assertEqual(self.stage.inspector.requests["get_children"], 0)
            self.tearDown()
        self.assertEqual(costs[0], costs[1])

    def test_a_look_from_before_a_return_does_not_count(self) -> None:
        """Each return is followed by a look, also when another slot had one lately."""
        self.start(provider(max_parallel_jobs=2))
        a, b = self.stage.nodes()
        self.stage.use(a.id)
        self.stage.use(b.id)
        self.stage.give_back(a.id)
        looks = len(self.hosts.looks)
        self.stage.give_back(b.id)
        self.assertEqual([look.kind for look in self.hosts.looks[looks:]], ["resolve", "scan_keys"])

    def test_a_return_while_a_look_is_under_way_waits_for_its_end(self) -> None:
        """A second slot of the host shares the look that the first one wanted."""
        self.start(provider(max_parallel_jobs=2))
        a, b = self.stage.nodes()
        self.stage.use(a.id)
        self.stage.use(b.id)
        self.hosts.hold("web1")
        looks = len(self.hosts.looks)
        self.stage.give_back(a.id)
        self.stage.give_back(b.id)
        self.assertEqual(len(self.hosts.looks), looks + 1)
        self.hosts.release("web1")
        self.stage.settle()
        self.assertEqual({n.state for n in self.stage.nodes()}, {NodeState.READY})
        self.assertEqual([look.kind for look in self.hosts.looks[looks:]], ["resolve", "scan_keys"])


class DefinitionTests(ServiceTestCase):
    """A configuration that changes."""

    def test_changed_labels_reach_a_free_node_in_place(self) -> None:
        """It keeps its id."""
        self.start()
        node = self.stage.only_node()
        self.reload(static_provider(static_pool(static_node("web1", ("small", "large")))))
        self.assertEqual(self.stage.only_node(), attrs.evolve(node, type=("small", "large")))

    def test_defect_38_changed_attributes_reach_a_free_node(self) -> None:
        """As Nodepool 11 forgets to do."""
        self.start()
        attributes = FrozenMapping({"zone": 1})
        self.reload(static_provider(static_pool(static_node(), node_attributes=attributes)))
        self.assertEqual(self.stage.only_node().attributes, {"zone": 1})

    def test_a_node_in_use_is_fixed_when_it_returns(self) -> None:
        """Not before."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        in_use = self.stage.only_node()
        self.reload(static_provider(static_pool(static_node("web1", ("large",)))))
        self.assertEqual(self.stage.only_node(), in_use)
        self.stage.give_back(node.id)
        self.assertEqual(self.stage.only_node().type, ("large",))

    def test_another_user_is_another_node(self) -> None:
        """User name and port are part of what a node is."""
        self.start()
        node = self.stage.only_node()
        self.reload(provider(username="admin"))
        self.assertEqual(self.stage.only_node().username, "admin")
        self.assertNotEqual(self.stage.only_node().id, node.id)

    def test_more_and_fewer_slots(self) -> None:
        """Nodes come with the increase and go with the reduction."""
        self.start(provider(max_parallel_jobs=1))
        self.reload(provider(max_parallel_jobs=3))
        self.assertEqual([node.slot for node in self.stage.nodes()], [0, 1, 2])
        self.reload(provider(max_parallel_jobs=2))
        self.assertEqual([node.slot for node in self.stage.nodes()], [0, 1])

    def test_a_reduction_waits_for_nodes_in_use(self) -> None:
        """They go when they return, and nothing is added while there are too many."""
        self.start(provider(max_parallel_jobs=3))
        first, _, last = self.stage.nodes()
        self.stage.use(last.id)
        self.reload(provider(max_parallel_jobs=1))
        self.assertEqual([n.id for n in self.stage.nodes()], [first.id, last.id])
        self.stage.inspector.delete_tree(paths.node(first.id))
        self.stage.wait(5)
        self.assertEqual([n.id for n in self.stage.nodes()], [last.id])
        self.stage.give_back(last.id)
        self.assertEqual([n.slot for n in self.stage.nodes()], [0])

    def test_defect_6_a_promised_node_survives_a_reload_that_removes_it(self) -> None:
        """Its request was fulfilled and its client has not come yet; later it goes."""
        self.start(provider("web1", "web2", max_parallel_jobs=2))
        promised = [n for n in self.stage.nodes() if n.hostname == "web2" or n.slot == 1]
        for node in promised:
            self.stage.change_node(node.id, allocated_to="200-0000000005")
        self.stage.settle()
        self.reload(provider("web1"))
        self.stage.wait(130, step=10)
        left = {node.id for node in self.stage.nodes()}
        self.assertLessEqual({node.id for node in promised}, left)
        for node in promised:
            self.stage.use(node.id)
            self.stage.give_back(node.id)
        self.assertEqual([(n.hostname, n.slot) for n in self.stage.nodes()], [("web1", 0)])

    def test_a_node_that_moves_to_another_pool(self) -> None:
        """It stays the same node."""
        self.start()
        node = self.stage.only_node()
        self.reload(static_provider(static_pool(static_node(), name="other")))
        self.assertEqual(self.stage.only_node(), attrs.evolve(node, pool="other"))

    def test_defect_31_a_reload_does_not_scan_what_did_not_change(self) -> None:
        """Nor does it take a host out of service that happens to be down just then."""
        self.start(provider("web1", "web2"))
        before = {node.hostname: node for node in self.stage.nodes()}
        looks = len(self.hosts.looks)
        self.hosts.take_down("web1")
        self.reload(provider("web1", "web2", "web3"))
        after = {node.hostname: node for node in self.stage.nodes()}
        self.assertEqual({n: after[n] for n in before}, before)
        self.assertEqual({look.host for look in self.hosts.looks[looks:]}, {"web3"})

    def test_changed_connection_type(self) -> None:
        """From SSH to Windows: the host keys go; back again: they are gathered."""
        self.start()
        self.reload(provider(connection_type="winrm"))
        node = self.stage.only_node()
        self.assertEqual((node.connection_type, node.host_keys), ("winrm", ()))
        self.reload(provider(connection_type="ssh"))
        node = self.stage.only_node()
        self.assertEqual(
            (node.id, node.connection_type, node.host_keys), ("0000000000", "ssh", KEYS)
        )

    def test_a_new_configured_key_is_compared(self) -> None:
        """One the host has is fine; with one it has not, the node leaves service."""
        self.start()
        self.reload(provider(host_keys=KEYS[:1]))
        self.assertEqual(self.stage.only_node().host_keys, KEYS)
        self.reload(provider(host_keys=("ssh-rsa OTHER",)))
        self.assertEqual(self.stage.nodes(), [])
        (host,) = self.service.status().details["hosts"]
        self.assertEqual(host["state"], "down")
        self.assertIn("host key mismatch", host["reason"])
        (trouble,) = self.service.status().troubles
        self.assertIn("web1 is down: host key mismatch", trouble)

    def test_records_without_slots_are_taken_over(self) -> None:
        """A node of an old version keeps its id and gets a slot."""
        self.start(provider(max_parallel_jobs=2))
        for node in self.stage.nodes():
            self.stage.change_node(node.id, slot=None)
        ids = [node.id for node in self.stage.nodes()]
        self.stage.settle()
        self.assertEqual([n.slot for n in self.stage.nodes()], [0, 1])
        self.assertEqual([n.id for n in self.stage.nodes()], ids)

    def test_two_nodes_in_one_slot_become_one(self) -> None:
        """The older one stays."""
        self.start()
        node = self.stage.only_node()
        self.stage.put_node(node)
        self.stage.settle()
        self.assertEqual(self.stage.only_node(), node)
