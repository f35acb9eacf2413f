"""The launch of one node, from its record to a server that can be used."""

from __future__ import annotations

import attrs

from nodepool_tx.model import NodeState
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from tests.providers.cloud.world import WorldTestCase, cloud_label, cloud_provider


class WhenAllGoesWell(WorldTestCase):
    def test_ready(self) -> None:
        """A node that was ordered is ready when its server can be reached."""
        service = self.world.launcher().provide(cloud_provider())
        node_id = self.world.order(service)
        self.assertEqual(self.world.node(node_id).state, NodeState.BUILDING)
        self.world.wait(60)
        node = self.world.node(node_id)
        (server,) = self.world.cloud.servers.values()
        self.assertEqual(
            (node.state, node.external_id, node.interface_ip, node.public_ipv4),
            (NodeState.READY, server.external_id, server.interface_ip, server.interface_ip),
        )
        self.assertEqual(node.host_keys, (f"ssh-ed25519 {server.interface_ip}",))
        self.assertFalse(self.world.locked(node_id))
