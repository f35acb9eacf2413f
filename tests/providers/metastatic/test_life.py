"""The life of backing nodes: asked for, divided up, kept for a while, released."""

from __future__ import annotations

import json

import attrs
from twisted.internet.defer import Deferred

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.metastatic import MetastaticProvider
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.model import NodeState
from nodepool_tx.providers.cloud.interface import Order
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.providers.metastatic.driver import MetastaticClouds
from nodepool_tx.store import paths
from tests.providers.cloud.world import Launcher, cloud_provider
from tests.providers.metastatic.stage import BIG, OWNER, MetaTestCase, meta_label, meta_provider


class Serving(MetaTestCase):
    """Nodes are carved out of as few backing nodes as will do."""

    def test_three_jobs_on_one_backing_node(self) -> None:
        """Three nodes come from one backing node, with all that is known of it."""
        self.world.both()
        nodes = [self.world.node(id) for id in self.world.serve(3)]
        self.world.check()
        (big,) = self.world.of("cloud")
        self.assertEqual(sorted(node.slot or 0 for node in nodes), [0, 1, 2])
        for node in nodes:
            self.assertEqual(node.external_id, node.id)
            self.assertEqual(node.interface_ip, big.interface_ip)
            self.assertEqual(node.public_ipv4, big.public_ipv4)
            self.assertEqual((node.username, node.host_keys), (big.username, big.host_keys))
            self.assertEqual((node.region, node.az, node.cloud), (big.region, big.az, big.cloud))
            self.assertEqual(node.connection_type, big.connection_type)
            self.assertEqual(node.resources, {"instances": 1})
            self.assertEqual(
                node.driver_data,
                {
                    "metadata": {
                        "nodepool_node_id": node.id,
                        "nodepool_pool_name": "main",
                        "nodepool_provider_name": "meta",
                    },
                    "backing_node": big.id,
                    "slot": node.slot,
                    "node": node.id,
                },
            )
        self.assertEqual(big.state, NodeState.IN_USE)
        self.assertEqual(self.world.asked_for(), [])
        backing = self.world.backing()
        self.assertEqual(
            json.loads(big.user_data),
            {
                "owner": OWNER,
                "label": "small",
                "slots": 3,
                "failed": False,
                "launched": backing.launched,
            },
        )
        contenders = self.world.inspector.dump(paths.node_lock(big.id) + "/")
        self.assertEqual(list(contenders.values()), [OWNER.encode()])
        (path,) = contenders
        stat = self.world.inspector.stat(path)
        assert stat is not None
        self.assertEqual(stat.ephemeralOwner, 0)

    def test_life(self) -> None:
        """A backing node is released when it was not used for its grace-time."""
        self.world.both()
        nodes = self.world.serve(3)
        for node_id in nodes:
            self.world.give_back(node_id)
        self.world.wait(55)
        self.assertEqual(self.world.of("meta"), [])
        self.assertEqual(len(self.world.of("cloud")), 1)
        self.world.wait(30)
        self.assertEqual(self.world.nodes(), {})
        self.assertEqual(self.world.table(), {})
        self.assertEqual(len(self.world.cloud.servers), 0)

    def test_a_fourth_node_needs_another(self) -> None:
        """What is full is full; the next ask for one node gets the slot that is left."""
        self.world.both()
        self.world.serve(4)
        self.assertEqual(len(self.world.of("cloud")), 2)
        free = sum(backing.free for backing in self.world.table().values())
        self.assertEqual(free, 2)
        self.world.serve(2, seconds=3)
        self.assertEqual(len(self.world.of("cloud")), 2)
        self.world.check()

    def test_the_fullest_first(self) -> None:
        """Nodes go where the fewest slots are left, so that others run empty."""
        self.world.both()
        first = self.world.serve(3)
        second = self.world.serve(2)
        self.world.give_back(first[0])
        self.world.give_back(first[1])
        self.world.wait(5)
        (third,) = self.world.serve(1, seconds=3)
        of = {id: self.world.node(id).driver_data["backing_node"] for id in (*second, third)}
        self.assertEqual(of[third], of[second[0]])
        self.world.check()

    def test_a_burst_shares_what_was_asked_for(self) -> None:
        """Requests that come while a backing node is waited for use up its slots first."""
        self.world.both()
        requests = [self.world.ask()]
        self.world.wait(10)
        requests += [self.world.ask(), self.world.ask()]
        self.world.wait(5)
        (asked,) = self.world.asked_for()
        self.assertEqual((asked.node_types, asked.requestor), (("big",), OWNER))
        self.assertTrue(asked.id.startswith("100-"))
        self.assertEqual(self.world.backing().free, 0)
        self.world.wait(60)
        for request in requests:
            self.world.given(request)
        self.assertEqual(len(self.world.of("cloud")), 1)

    def test_one_transaction_for_many(self) -> None:
        """Fifty slots that are wanted at the same time are given out in one step."""
        label = meta_label(max_parallel_jobs=50)
        launcher = self.world.launcher()
        adapter = MetastaticClouds().adapter(meta_provider(label), launcher.context)
        adapter.start()
        pool = meta_provider(label).pools[0]
        taken = [
            Deferred.fromCoroutine(
                adapter.create(Order(node_id=str(n), name="", pool=pool, label=label, metadata={}))
            )
            for n in range(150)
        ]
        self.world.settle()
        self.assertEqual([self.successResultOf(each) for each in taken], [*map(str, range(150))])
        self.assertEqual(len(self.world.asked_for()), 3)
        self.assertEqual([each.free for each in self.world.table().values()], [0, 0, 0])
        self.assertLessEqual(max(each.version for each in self.world.table().values()), 1)
        stopped = Deferred.fromCoroutine(adapter.stop())
        self.world.settle()
        self.successResultOf(stopped)

    def test_stock_is_used(self) -> None:
        """A backing node that is ready already is taken, and is new from then on."""
        launcher, _ = self.world.both()
        cloud = launcher.root.getServiceNamed("cloud")
        node_id = self.world.order(cloud, "big")  # type: ignore[arg-type]
        self.world.wait(60)
        request = self.world.node(node_id).allocated_to
        assert request is not None
        self.world.inspector.delete_tree(paths.request(request))
        self.world.change_node(node_id, allocated_to=None)
        self.world.wait(300)
        began = self.world.clock.seconds()
        self.world.serve(1, seconds=5)
        backing = self.world.backing()
        self.assertEqual(backing.node, node_id)
        assert backing.launched is not None
        self.assertGreaterEqual(backing.launched, began)

    def test_node_attributes(self) -> None:
        """Attributes of the backing node are defaults for its parts."""
        config = meta_provider()
        pool = attrs.evolve(config.pools[0], node_attributes=FrozenMapping({"a": "mine"}))
        self.world.both(config=attrs.evolve(config, pools=(pool,)))
        request = self.world.ask()
        self.world.wait(20)
        (big,) = self.world.of("cloud")
        self.world.change_node(big.id, attributes={"a": "its", "b": "its"})
        self.world.wait(60)
        (node_id,) = self.world.given(request)
        self.assertEqual(self.world.node(node_id).attributes, {"a": "mine", "b": "its"})


class Keeping(MetaTestCase):
    """How long a backing node is kept is told from times in ZooKeeper."""

    def test_min_retention_time(self) -> None:
        """It is kept in any case until it is so old."""
        self.world.both(config=meta_provider(meta_label(min_retention_time=3600)))
        (node_id,) = self.world.serve(1)
        launched = self.world.backing().launched
        assert launched is not None
        self.world.give_back(node_id)
        self.world.wait(launched + 3590 - self.world.clock.seconds(), step=10)
        self.assertEqual(len(self.world.table()), 1)
        self.world.wait(30)
        self.assertEqual(self.world.nodes(), {})

    def test_max_age(self) -> None:
        """After it a node gets no more parts, and is released when it has none."""
        label = meta_label(max_age=7200, grace_time=86400)
        self.world.both(config=meta_provider(label))
        first, second = self.world.serve(2)
        self.world.give_back(first)
        self.world.wait(7300, step=20)
        (third,) = self.world.serve(1)
        self.assertEqual(len(self.world.of("cloud")), 2)
        old = self.world.node(second).driver_data["backing_node"]
        self.assertNotEqual(self.world.node(third).driver_data["backing_node"], old)
        self.assertEqual(self.world.node(old).state, NodeState.IN_USE)
        self.world.give_back(second)
        self.world.wait(20)
        self.assertNotIn(old, self.world.nodes())
        self.world.check()

    def test_max_age_of_an_idle_node(self) -> None:
        """It is not kept for its grace-time beyond that."""
        self.world.both(config=meta_provider(meta_label(max_age=1800, grace_time=86400)))
        (node_id,) = self.world.serve(1)
        self.world.give_back(node_id)
        self.world.wait(1700, step=10)
        self.assertEqual(len(self.world.of("cloud")), 1)
        self.world.wait(120)
        self.assertEqual(self.world.nodes(), {})

    def test_used_again_and_again(self) -> None:
        """The grace-time begins with each node that is returned."""
        self.world.both()
        for _ in range(20):
            (node_id,) = self.world.serve(1, seconds=50 if not self.world.table() else 3)
            self.world.wait(20)
            self.world.give_back(node_id)
            self.world.wait(50)
            self.assertEqual(len(self.world.of("cloud")), 1)
        self.world.wait(30)
        self.assertEqual(self.world.nodes(), {})

    def test_no_grace(self) -> None:
        """Without a grace-time it is released with its last part."""
        self.world.both(config=meta_provider(meta_label(grace_time=0)))
        nodes = self.world.serve(2)
        self.world.give_back(nodes[0])
        self.world.wait(100)
        self.assertEqual(len(self.world.of("cloud")), 1)
        self.world.give_back(nodes[1])
        self.world.wait(15)
        self.assertEqual(self.world.nodes(), {})

    def test_by_its_own_timer(self) -> None:
        """It is released when it is due, and no later sweep is waited for."""
        self.world.both()
        (node_id,) = self.world.serve(1)
        self.world.give_back(node_id)
        self.world.wait(3)
        due = self.world.backing().last_used + 60
        self.world.wait(due - 0.5 - self.world.clock.seconds(), step=0.5)
        self.assertEqual(len(self.world.table()), 1)
        self.world.wait(1, step=0.5)
        self.assertEqual(self.world.table(), {})

    def test_a_restart_changes_nothing(self) -> None:
        """Times are not counted anew by another process."""
        launcher, _ = self.world.both()
        nodes = self.world.serve(3)
        self.world.give_back(nodes[0])
        self.world.give_back(nodes[1])
        self.world.wait(10)
        self.world.kill(launcher)
        self.world.both("l2")
        self.world.wait(10)
        self.assertEqual(self.world.backing().free, 2)
        (again,) = self.world.serve(1, seconds=5)
        self.world.give_back(nodes[2])
        self.world.give_back(again)
        self.world.wait(30)
        self.world.kill(self.world.launchers[0])
        self.world.both("l3")
        self.world.wait(10)
        self.assertEqual(len(self.world.of("cloud")), 1)
        self.world.wait(25)
        self.assertEqual(self.world.nodes(), {})

    def test_a_restart_while_a_backing_node_is_made(self) -> None:
        """What was asked for is not asked for again."""
        launcher, _ = self.world.both()
        request = self.world.ask(3)
        self.world.wait(10)
        (asked,) = self.world.asked_for()
        self.world.kill(launcher)
        self.assertEqual([each.id for each in self.world.asked_for()], [asked.id])
        self.world.both("l2")
        self.world.wait(90)
        nodes = self.world.given(request)
        self.assertEqual(len(nodes), 3)
        self.assertEqual(len(self.world.of("cloud")), 1)
        self.assertEqual(len(self.world.of("meta")), 3)
        self.world.check()


class Configuring(MetaTestCase):
    """What becomes of backing nodes when the configuration changes."""

    def test_a_label_that_is_gone(self) -> None:
        """Its backing nodes are released as soon as nobody uses them."""
        launcher, service = self.world.both(
            config=meta_provider(
                meta_label(grace_time=9000), meta_label("tiny", backing_label="big")
            )
        )
        first, second = self.world.serve(2)
        self.world.give_back(first)
        self.reload(launcher, service, meta_provider(meta_label("tiny")))
        self.world.wait(100)
        self.assertEqual(len(self.world.of("cloud")), 1)
        self.world.give_back(second)
        self.world.wait(15)
        self.assertEqual(self.world.nodes(), {})

    def test_another_backing_label(self) -> None:
        """Nodes of the old one get no more parts."""
        launcher, service = self.world.both(config=meta_provider(meta_label(grace_time=9000)))
        launcher.provide(cloud_provider("huge", name="other"))
        (first,) = self.world.serve(1)
        self.reload(launcher, service, meta_provider(meta_label(backing_label="huge")))
        self.world.serve(1)
        self.assertEqual([node.type for node in self.world.of("other")], [("huge",)])
        self.assertEqual(len(self.world.of("cloud")), 1)
        self.world.give_back(first)
        self.world.wait(15)
        self.assertEqual(self.world.of("cloud"), [])

    def test_the_new_configuration_holds(self) -> None:
        """The old service that still works on something does not go by the old one."""
        launcher, service = self.world.both(config=meta_provider(meta_label(grace_time=5)))
        (first,) = self.world.serve(1)
        new = self.world.provide_meta_again(launcher, service, meta_provider())
        self.world.give_back(first)
        self.world.wait(40)
        self.assertEqual(len(self.world.of("cloud")), 1)
        self.world.wait(40)
        self.assertEqual(self.world.nodes(), {})
        self.assertTrue(new.running)

    def test_given_up(self) -> None:
        """A provider that is given up leaves no backing node, whatever its grace-time."""
        _, service = self.world.both(config=meta_provider(meta_label(grace_time=9000)))
        first, second = self.world.serve(2)
        self.world.give_back(first)
        self.world.wait(5)
        drained = service.drain()
        self.world.wait(10)
        self.assertFalse(drained.called)
        self.world.give_back(second)
        self.world.wait(5)
        self.successResultOf(drained)
        service.disownServiceParent()
        self.world.settle()
        self.world.wait(15)
        self.assertEqual(self.world.nodes(), {})
        self.assertEqual(self.world.table(), {})

    def test_given_up_while_a_node_is_waited_for(self) -> None:
        """What was asked for is not asked for any longer."""
        self.give_up_after(5)

    def test_given_up_as_a_node_arrives(self) -> None:
        """What was given in this moment goes back."""
        self.give_up_after(28)

    def give_up_after(self, seconds: float) -> None:
        _, service = self.world.both()
        self.world.ask(2)
        self.world.wait(seconds)
        self.assertEqual(len(self.world.asked_for()), 1)
        drained = service.drain()
        self.world.wait(10)
        self.successResultOf(drained)
        service.disownServiceParent()
        self.world.settle()
        self.assertEqual((self.world.table(), self.world.asked_for()), ({}, []))
        self.assertEqual(self.world.of("meta"), [])
        self.world.wait(60)
        for node in self.world.of("cloud"):
            self.assertFalse(self.world.locked(node.id))

    def test_emptied_after_a_restart(self) -> None:
        """A provider of which only the name is known releases what nobody uses."""
        launcher, _ = self.world.both(config=meta_provider(meta_label(grace_time=9000)))
        first, second = self.world.serve(2)
        self.world.give_back(first)
        self.world.wait(5)
        self.world.kill(launcher)
        launcher = self.world.launcher("l2")
        launcher.provide(cloud_provider(BIG))
        service = self.world.provide_meta(
            launcher, ProviderConfig(name="meta", driver="metastatic")
        )
        service.drain()
        self.world.wait(20)
        self.assertEqual(self.world.node(second).state, NodeState.IN_USE)
        self.world.give_back(second)
        self.world.wait(15)
        self.assertEqual(self.world.nodes(), {})

    def reload(
        self, launcher: Launcher, service: CloudProviderService, config: MetastaticProvider
    ) -> None:
        self.world.provide_meta_again(launcher, service, config)
        service.disownServiceParent()
        self.world.settle()
