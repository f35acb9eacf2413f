"""Static machines that a launcher of Nodepool 11 has as well."""

from __future__ import annotations

import attrs

from nodepool_tx.model import (
    OURS,
    Component,
    ComponentState,
    LauncherComponent,
    NodeState,
    PoolComponent,
    RequestState,
)
from nodepool_tx.providers.static.incumbent import BEGINS_WITHIN, SHOWS_POOLS_WITHIN
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_component
from tests.providers.static.stage import StageTestCase
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider

POOL = PoolComponent(
    id="nl01-PoolWorker.rack-main-1",
    name="main",
    provider_name="rack",
    hostname="nl01",
    version="11.0.0",
)
LAUNCHER = LauncherComponent(kind="launcher", hostname="nl01", version="11.0.0")
STARTING = attrs.evolve(LAUNCHER, state=ComponentState.STOPPED)


class IncumbentTests(StageTestCase):
    """One launcher of ours with the provider ``rack``, and its host web1."""

    def setUp(self) -> None:
        super().setUp()
        self.hosts.add("web1", keys=KEYS)

    def start(self) -> None:
        config = static_provider(static_pool(static_node("web1")))
        self.service = self.launcher().provide(config)
        self.stage.settle()

    def appear(self, component: Component) -> str:
        path = self.stage.inspector.create(
            paths.component(component.kind, component.hostname),
            encode_component(component),
            sequence=True,
        )
        self.stage.settle()
        return path

    def show(self, path: str, component: Component) -> None:
        self.stage.inspector.set(path, encode_component(component))
        self.stage.settle()

    def vanish(self, path: str) -> None:
        self.stage.inspector.delete(path)
        self.stage.settle()

    def return_node(self) -> str:
        """Use the node and give it back; its id."""
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.stage.give_back(node.id)
        return node.id

    def ids(self) -> list[str]:
        return [node.id for node in self.stage.nodes()]

    def troubles(self) -> tuple[str, ...]:
        return self.service.status().troubles

    def test_nothing_is_registered_beside_it(self) -> None:
        """Empty slots are left to it until it is gone."""
        there = self.appear(POOL)
        self.start()
        self.stage.wait(130)
        self.assertEqual(self.ids(), [])
        self.assertEqual(self.hosts.looks, [])
        self.vanish(there)
        self.assertEqual(len(self.ids()), 1)

    def test_nothing_is_put_back_beside_it(self) -> None:
        """Returned nodes are left to it until it is gone, and then put back into service."""
        self.start()
        there = self.appear(POOL)
        returned = self.return_node()
        self.stage.wait(130)
        self.assertEqual(self.ids(), [returned])
        self.assertEqual(self.stage.node(returned).state, NodeState.USED)
        self.vanish(there)
        (fresh,) = self.stage.nodes()
        self.assertNotEqual(fresh.id, returned)
        self.assertEqual(fresh.state, NodeState.READY)

    def test_what_it_registers_is_handed_out(self) -> None:
        """Its nodes are served by our pools while it is there."""
        self.start()
        self.appear(POOL)
        request = self.stage.put_request("small")
        self.stage.settle()
        self.assertEqual(self.stage.request(request).state, RequestState.FULFILLED)

    def test_what_it_registered_is_adopted(self) -> None:
        """When it has gone its nodes stay as they are, and no slot gets a second one."""
        self.start()
        (own,) = self.stage.nodes()
        there = self.appear(POOL)
        self.stage.inspector.delete_tree(paths.node(own.id))
        theirs = self.stage.put_node(attrs.evolve(own, created_time=1.0, state_time=1.0))
        self.stage.settle()
        record = self.stage.node(theirs)
        self.vanish(there)
        self.stage.wait(130)
        self.assertEqual(self.stage.nodes(), [record])

    def test_it_says_so(self) -> None:
        """The status tells who has the machines."""
        self.start()
        there = self.appear(POOL)
        (trouble,) = self.troubles()
        self.assertIn("a launcher of Nodepool 11.0.0 on nl01 has them", trouble)
        self.vanish(there)
        self.assertEqual(self.troubles(), ())

    def test_pools_of_others(self) -> None:
        """Pools of other providers, and of our own other launchers, change nothing."""
        self.appear(attrs.evolve(POOL, provider_name="shelf"))
        self.appear(attrs.evolve(POOL, version="9.9", extra=OURS))
        self.appear(attrs.evolve(STARTING, version="9.9", extra=OURS))
        self.appear(attrs.evolve(STARTING, kind="builder"))
        self.appear(LAUNCHER)
        self.start()
        self.assertEqual(len(self.ids()), 1)
        returned = self.return_node()
        self.assertNotIn(returned, self.ids())

    def test_one_that_starts(self) -> None:
        """The machines are left alone from when it begins until it has shown its pools."""
        self.start()
        there = self.appear(STARTING)
        returned = self.return_node()
        self.stage.wait(BEGINS_WITHIN - 10)
        self.show(there, LAUNCHER)
        self.stage.wait(SHOWS_POOLS_WITHIN - 1)
        pool = self.appear(POOL)
        self.stage.wait(130)
        self.assertEqual(self.ids(), [returned])
        self.vanish(pool)
        self.assertNotIn(returned, self.ids())

    def test_one_that_starts_with_other_providers(self) -> None:
        """Soon after it calls itself running they are looked after again."""
        self.start()
        there = self.appear(STARTING)
        returned = self.return_node()
        self.show(there, LAUNCHER)
        self.stage.wait(SHOWS_POOLS_WITHIN - 1)
        self.assertEqual(self.ids(), [returned])
        self.stage.wait(1)
        self.assertNotIn(returned, self.ids())

    def test_one_that_is_heard_of_late(self) -> None:
        """A slot that it has emptied is not filled, though it is heard of only after that."""
        self.start()
        (node,) = self.stage.nodes()
        path = paths.component(LAUNCHER.kind, LAUNCHER.hostname)
        data = encode_component(LAUNCHER)

        def come(call: object) -> None:
            self.stage.inspector.create(path, data, sequence=True)

        client = self.launchers[0].client
        self.stage.inspector.before("transaction", come, path="/", client=client)
        self.stage.inspector.delete_tree(paths.node(node.id))
        self.stage.wait(SHOWS_POOLS_WITHIN - 1)
        self.assertEqual(self.ids(), [])
        self.stage.wait(2)
        self.assertEqual(len(self.ids()), 1)

    def test_one_that_never_starts(self) -> None:
        """It is not waited for without end."""
        self.start()
        self.appear(STARTING)
        returned = self.return_node()
        self.stage.wait(BEGINS_WITHIN - 1)
        self.assertEqual(self.ids(), [returned])
        self.stage.wait(1)
        self.assertNotIn(returned, self.ids())
