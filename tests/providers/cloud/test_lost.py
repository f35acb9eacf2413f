"""A node in stock whose server is gone is removed, and nobody else's is."""

from __future__ import annotations

from random import Random

from nodepool_tx.model import NodeState
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.memory import MemoryAdapter
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.testing.zookeeper import MemoryClient
from tests.providers.cloud.test_housekeeping import HousekeepingTestCase
from tests.providers.cloud.world import cloud_provider

GONE = "and nobody here has deleted it"


class LostServerTests(HousekeepingTestCase):
    def stocked(self, **changes: object) -> str:
        """A node in stock, and its server lost."""
        node_id = self.put(NodeState.READY, **changes)
        self.world.cloud.lose_server(str(self.world.node(node_id).external_id))
        return node_id

    def test_in_stock(self) -> None:
        """A node in stock is removed when two sweeps have not found its server."""
        node_id = self.stocked()
        kept = self.put(NodeState.READY)
        self.provide()
        self.world.wait(55)
        self.assertIn(node_id, self.world.nodes())
        self.world.wait(70)
        self.assertEqual(list(self.world.nodes()), [kept])
        self.assertTrue(self.world.said(GONE))

    def test_shares_the_listing(self) -> None:
        """Servers are looked for in what the sweep lists anyway: one listing a minute."""
        self.provide()
        self.stocked()
        self.put(NodeState.READY)
        calls = self.world.cloud.calls["list_resources"]
        self.world.wait(300)
        self.assertEqual(self.world.cloud.calls["list_resources"] - calls, 5)

    def test_somebodys(self) -> None:
        """What is promised, locked, in use or held is left alone."""
        request = self.world.request("small")
        promised = self.stocked(allocated_to=request.id)
        in_use, held, locked = self.stocked(), self.stocked(), self.stocked()
        self.world.use(in_use)
        self.world.lock(locked)
        self.world.change_node(held, state=NodeState.HOLD)
        self.provide()
        self.world.wait(600)
        self.assertEqual(set(self.world.nodes()), {promised, in_use, held, locked})
        self.assertFalse(self.world.said(GONE))

    def test_given_away_meanwhile(self) -> None:
        """A node that is promised between the two sweeps stays."""
        self.provide()
        node_id = self.stocked()
        self.world.wait(70)
        self.world.change_node(node_id, allocated_to=self.world.request("small").id)
        self.world.wait(300)
        self.assertIn(node_id, self.world.nodes())

    def test_seen_again(self) -> None:
        """A server that is missing in every other listing only is not lost."""
        self.provide()
        node_id = self.put(NodeState.READY)
        servers = self.world.cloud._shown
        for _ in range(5):
            hidden = dict(servers)
            servers.clear()
            self.world.wait(60)
            servers.update(hidden)
            self.world.wait(60)
        self.assertIn(node_id, self.world.nodes())

    def test_last_look(self) -> None:
        """A server that is shown when it is looked for once more is not lost."""
        node_id = self.put(NodeState.READY)
        service = self.provide()

        class Forgetful(MemoryAdapter):
            async def list_resources(self) -> list[object]:  # type: ignore[override]
                return []

        service.disownServiceParent()
        self.world.settle()
        launcher = self.world.launchers[0]
        other = CloudProviderService(
            cloud_provider(), launcher.context, Forgetful(self.world.cloud), random=Random(1)
        )
        other.setServiceParent(launcher.root)
        self.world.wait(400)
        self.assertIn(node_id, self.world.nodes())
        self.assertGreater(self.world.cloud.calls["list_instances"], 0)

    def test_cloud_that_does_not_answer(self) -> None:
        """While nothing is listed nothing is missing."""
        node_id = self.stocked()
        self.world.cloud.fail_next("list_resources", CloudError("503"), times=5)
        self.provide()
        self.world.wait(290)
        self.assertIn(node_id, self.world.nodes())
        self.world.wait(200)
        self.assertEqual(self.world.nodes(), {})

    def test_no_connection(self) -> None:
        """What was missing before the connection was lost is looked for anew."""
        node_id = self.stocked()
        self.provide()
        client: MemoryClient = self.world.launchers[0].client
        self.world.wait(61)
        self.world.inspector.suspend(client)
        self.world.wait(60)
        self.world.inspector.resume(client)
        self.world.wait(61)
        self.assertIn(node_id, self.world.nodes())
        self.world.wait(120)
        self.assertEqual(self.world.nodes(), {})

    def test_owner_only(self) -> None:
        """One launcher removes it, whoever has made it."""
        node_id = self.stocked(launcher="somebody else")
        first, second = self.provide(name="l1"), self.provide(name="l2")
        self.assertEqual((first.owner, second.owner), (True, False))
        self.world.wait(200)
        self.assertNotIn(node_id, self.world.nodes())
        said = [event for event in self.world.logged if GONE in str(event.get("log_format"))]
        self.assertEqual(len(said), 1)

    def test_cloud_of_ones_own(self) -> None:
        """In a cloud that others do not see, nodes of launchers that are there are theirs."""
        owner = self.world.launcher("l1")
        service = CloudProviderService(
            cloud_provider(),
            owner.context,
            MemoryAdapter(self.world.cloud),
            random=Random(1),
            shared=False,
        )
        service.setServiceParent(owner.root)
        self.world.settle()
        other = self.world.launcher("l2")
        other.provide(cloud_provider())
        pool = other.registry.get("cloud", "main")
        assert pool is not None
        node_id = self.stocked(launcher=pool.id)
        self.world.wait(300)
        self.assertIn(node_id, self.world.nodes())
        stopped = other.stop()
        self.world.wait(200)
        self.successResultOf(stopped)
        self.world.launchers.remove(other)
        self.assertEqual(self.world.nodes(), {})
