"""Named after what goes wrong with clouds in Nodepool 11.0.0, and must not here.

The numbers are those of ``docs/defects.md``.
"""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.config.schema import Config, Label
from nodepool_tx.minready.service import MinReady
from nodepool_tx.model import NodeRequest, NodeState, RequestState
from nodepool_tx.providers.cloud.errors import CloudError, InvalidConfiguration
from nodepool_tx.providers.cloud.memory_cloud import Timing
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_request
from tests.providers.cloud.world import Launcher, World, WorldTestCase, cloud_provider

HOUR = 3600.0


class DefectTests(WorldTestCase):
    def make_world(self) -> World:
        return World(
            flavors={
                "small": {"instances": 1, "cores": 2, "volume-gb": 10},
                "large": {"instances": 1, "cores": 8, "volume-gb": 100},
            }
        )

    def provide(self, **changes: Any) -> CloudProviderService:
        return self.world.launcher().provide(cloud_provider("small", "large", **changes))

    def ask(self, label: str = "small") -> NodeRequest:
        request = self.world.request(label, state=RequestState.REQUESTED)
        self.world.settle()
        return request

    def state(self, request: NodeRequest) -> RequestState:
        path = paths.request(request.id)
        return decode_request(request.id, self.world.inspector.dump(path)[path]).state

    def keep_in_stock(self, launcher: Launcher, **counts: int) -> None:
        """Have the launcher keep so many nodes of each label."""
        provider = cloud_provider("small", "large")
        config = Config(
            labels={name: Label(name, min_ready=count) for name, count in counts.items()},
            providers={provider.name: provider},
        )
        keeper = MinReady(
            self.world.clock, launcher.store, lambda: config, launcher.name, interval=60.0
        )
        keeper.setServiceParent(launcher.root)

    def test_defect_3_and_4_what_makes_room_is_not_made_again_before_the_room_is_used(self) -> None:
        """A few nodes in stock go for a larger one; none are made in their place until it is."""
        self.world.cloud.quota = {"cores": 10}
        launcher = self.world.launcher()
        launcher.provide(cloud_provider("small", "large"))
        self.keep_in_stock(launcher, small=2)
        self.world.wait(60)
        self.assertEqual(self.world.cloud.made, 2)
        request = self.ask("large")
        self.world.wait(90)
        self.assertEqual(self.state(request), RequestState.FULFILLED)
        self.assertLessEqual(self.world.cloud.made, 4)

    def test_defect_6_a_promised_node_survives_a_reload_that_removes_its_label(self) -> None:
        """It is there for its client, and deleted when that has used it."""
        launcher = self.world.launcher()
        old = launcher.provide(cloud_provider("small", "large"))
        request = self.ask("large")
        self.world.wait(60)
        self.assertEqual(self.state(request), RequestState.FULFILLED)
        (node_id,) = self.world.nodes()
        self.successResultOf(old.idle())
        launcher.root.namedServices.pop(old.name)
        launcher.provide(cloud_provider("small"))
        self.world.wait(300)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.world.use(node_id)
        self.world.inspector.delete(paths.request(request.id))
        self.world.wait(300)
        self.assertEqual(self.world.node(node_id).state, NodeState.IN_USE)
        self.world.give_back(node_id)
        self.world.wait(60)
        self.assertEqual((self.world.nodes(), dict(self.world.cloud.servers)), ({}, {}))
        self.successResultOf(old.retired())
        stopped = old.disownServiceParent()
        assert stopped is not None
        self.world.wait(10)
        self.successResultOf(stopped)

    def test_defect_7_a_deletion_that_goes_wrong_leaves_no_lock(self) -> None:
        """A mistake of the driver's is tried again, and so is one of ours; the node goes."""
        service = self.provide()
        node_id = self.world.order(service)
        self.world.wait(60)
        self.world.use(node_id)
        self.world.cloud.fail_next("delete", ZeroDivisionError("a bug"), times=3)
        mistakes = [ZeroDivisionError("another")]
        until_gone = service._account.deletions.until_gone

        async def mistaken(external_id: str, node_id: str | None = None) -> None:
            if mistakes:
                raise mistakes.pop()
            await until_gone(external_id)

        self.patch(service._account.deletions, "until_gone", mistaken)
        self.world.give_back(node_id)
        self.assertEqual((mistakes, self.world.locked(node_id)), ([], False))
        self.world.wait(240)
        self.assertEqual((self.world.nodes(), dict(self.world.cloud.servers)), ({}, {}))
        self.assertEqual(len(self.world.failures), 4)
        self.world.failures.clear()
        self.flushLoggedErrors(ZeroDivisionError)

    def test_defect_9_a_node_of_the_stock_that_somebody_deletes_is_made_again(self) -> None:
        """While it is made as well as later, and other labels go on being kept."""
        launcher = self.world.launcher()
        launcher.provide(cloud_provider("small", "large"))
        self.keep_in_stock(launcher, small=1, large=1)
        self.world.wait(5)
        building = [n.id for n in self.world.nodes().values() if n.state is NodeState.BUILDING]
        self.assertEqual(len(building), 2)
        for node_id in building:
            self.world.inspector.delete_tree(paths.node(node_id))
        self.world.wait(300)
        for _ in range(3):
            nodes = list(self.world.nodes().values())
            self.assertEqual(sorted(node.type[0] for node in nodes), ["large", "small"])
            self.assertEqual({node.state for node in nodes}, {NodeState.READY})
            for node in nodes:
                self.world.inspector.delete_tree(paths.node(node.id))
            self.world.wait(300)
        self.assertEqual(len(self.world.cloud.servers), 2)

    def test_defect_11_a_request_beyond_max_volume_gb_is_declined(self) -> None:
        """One within it waits while others have the room, and the pool goes on meanwhile."""
        self.provide(pool_max_volume_gb=90)
        beyond = self.ask("large")
        self.assertEqual(self.state(beyond), RequestState.FAILED)
        requests = [self.ask("small") for _ in range(10)]
        self.world.wait(60)
        states = [self.state(request) for request in requests]
        served = [RequestState.FULFILLED] * 9
        self.assertEqual(states, [*served, RequestState.REQUESTED])
        self.world.change_node(next(iter(self.world.nodes())), state=NodeState.USED)
        self.world.wait(60)
        self.assertEqual(self.state(requests[9]), RequestState.FULFILLED)

    def test_defect_19_a_burst_cannot_overrun_the_quota(self) -> None:
        """However many ask at once: so many servers are asked for as there may be."""
        self.world.cloud.quota = {"cores": 10}
        self.provide()
        requests = [self.ask() for _ in range(30)]
        for _ in range(120):
            self.world.wait(1)
            self.assertLessEqual(self.world.cloud.used.get("cores", 0), 10)
        self.assertEqual(self.world.cloud.calls["create"], 5)
        served = [r for r in requests if self.state(r) is RequestState.FULFILLED]
        self.assertEqual(served, requests[:5])

    def test_defect_20_what_always_fails_is_tried_less_and_less_often(self) -> None:
        """A request each minute for an hour costs no three attempts each; deletions pause, too."""
        service = self.provide()
        self.world.cloud.fail_next("create", CloudError("no valid host"), times=10_000)
        for _ in range(60):
            self.ask()
            self.world.wait(HOUR / 60, step=5)
        self.assertLess(self.world.cloud.calls["create"], 40)
        self.world.cloud.fail_next("delete", CloudError("not now"), times=10_000)
        drafted = service.making.draft("main", "small", self.world.request(), None)
        used = self.world.put_node(
            attrs.evolve(drafted, state=NodeState.USED, external_id="server-x")
        )
        self.world.wait(HOUR, step=5)
        self.assertIn(used, self.world.nodes())
        self.assertLess(self.world.cloud.calls["delete"], 30)

    def test_defect_20_trouble_that_passes_is_no_decline(self) -> None:
        """A label that is left alone for a while is asked for later, declined by nobody."""
        self.provide()
        self.world.cloud.fail_next("create", CloudError("no valid host"), times=3)
        first = self.ask()
        self.world.wait(30)
        self.assertEqual(self.state(first), RequestState.FAILED)
        second = self.ask()
        self.assertEqual(self.state(second), RequestState.REQUESTED)
        self.world.wait(120)
        self.assertEqual(self.state(second), RequestState.FULFILLED)

    def test_defect_21_a_slow_deletion_takes_no_time_from_the_next_attempt(self) -> None:
        """Its server has the whole of launch-timeout, however long the last one took to go."""
        self.world.cloud.timing = Timing(boot=90.0, delete=500.0)
        node_id = self.world.order(self.provide(launch_timeout=100.0, boot_timeout=10.0))
        self.world.scanner.deaf = 1
        self.world.wait(610, step=5)
        self.assertEqual(self.world.cloud.calls["create"], 2)
        self.world.wait(110)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.cloud.calls["create"], 2)

    def test_defect_22_a_label_that_failed_is_tried_again(self) -> None:
        """When its image is there at last, without a reload."""
        self.provide()
        self.world.cloud.fail_next("create", InvalidConfiguration("no such image"))
        first = self.ask()
        self.world.wait(30)
        self.assertEqual(self.state(first), RequestState.FAILED)
        second = self.ask()
        self.world.wait(10)
        self.assertEqual(self.state(second), RequestState.REQUESTED)
        self.world.wait(120)
        self.assertEqual(self.state(second), RequestState.FULFILLED)

    def test_defect_33_many_launchers_keep_one_stock(self) -> None:
        """Three that begin with the same label at once make no more than one of them would."""
        launchers = [self.world.launcher(name) for name in ("l1", "l2", "l3")]
        for launcher in launchers:
            launcher.provide(cloud_provider("small", "large"))
        for launcher in launchers:
            self.keep_in_stock(launcher, small=2)
        self.world.settle()
        self.world.wait(600, step=2)
        self.assertEqual((len(self.world.nodes()), self.world.cloud.made), (2, 2))
