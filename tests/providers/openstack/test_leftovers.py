"""What was left over is found, whatever service it belongs to, and removed."""

from __future__ import annotations

from typing import Any

from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.neutron import (
    ReachingTestCase,
    floating,
    port,
)
from tests.providers.openstack.recorded import (
    ok,
    server,
)


class LeftOverTests(ReachingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cloud.play("network", "GET", "/quotas/tenant", ok({"tenant": {"tenant_id": "mine"}}))
        self.cloud.play("network", "DELETE", "/ports/p-1", Answer(204))
        self.tested = self.adapter(clean_floating_ips=True, port_cleanup_interval=600)
        self.cloud.play("network", "GET", "/ports", ok({"ports": []}))

    def left(self) -> list[tuple[str, str]]:
        found = self.result(self.tested.list_resources())
        self.assertTrue(all(each.orphan for each in found if each.kind in ("port", "floatingip")))
        return [(each.kind, each.external_id) for each in found]

    def test_addresses_that_lead_nowhere(self) -> None:
        """Unattached ones of the project are left over, but not those of another provider."""
        self.have(
            floating(id="attached"),
            floating(id="ours", port_id=None),
            floating(id="unmarked", port_id=None, description=""),
            floating(id="theirs", port_id=None, description="nodepool_provider_name=b server=s"),
            floating(id="foreign", port_id=None, project_id="other"),
        )
        expected = [("floatingip", "ours"), ("floatingip", "unmarked")]
        self.assertEqual(self.left(), expected)
        self.tested = self.adapter(clean_floating_ips=False)
        self.assertEqual(self.left(), [])

    def down(self, number: int, **changes: Any) -> dict[str, Any]:
        plain = {"status": "DOWN", "device_id": "gone", "project_id": "mine"}
        return {**port(number), **plain, **changes}

    def test_ports_that_stay_down(self) -> None:
        """A port of no server is left over once it has been down for the interval."""
        ports = [
            self.down(1),
            self.down(2, device_id="", device_owner=""),
            self.down(3, device_id="s-1"),
            self.down(4, device_owner="network:dhcp"),
            self.down(5, project_id="other"),
            self.down(6, status="ACTIVE"),
        ]
        self.see(server())
        self.cloud.play("network", "GET", "/ports", ok({"ports": ports}))
        self.assertEqual(self.left(), [("instance", "s-1")])
        self.clock.advance(599)
        self.assertEqual(self.left(), [("instance", "s-1")])
        self.clock.advance(1)
        expected = [("instance", "s-1"), ("port", "p-1"), ("port", "p-2")]
        self.assertEqual(self.left(), expected)
        self.cloud.play("network", "GET", "/ports", ok({"ports": []}))
        self.assertEqual(self.left(), [("instance", "s-1")])
        self.cloud.play("network", "GET", "/ports", ok({"ports": ports}))
        self.assertEqual(self.left(), [("instance", "s-1")], "it was up in between")

    def test_ports_are_left_alone_without_an_interval(self) -> None:
        """Zero turns the search off."""
        self.tested = self.adapter(port_cleanup_interval=0)
        self.assertEqual(self.left(), [])
        self.assertEqual(self.cloud.of("GET", "/ports"), [])

    def test_removal(self) -> None:
        """Each kind is removed by its service; what is gone is Gone."""
        self.cloud.play("network", "GET", "/ports", ok({"ports": [self.down(1)]}))
        self.tested = self.adapter(clean_floating_ips=True, port_cleanup_interval=1)
        self.left()
        self.clock.advance(1)
        self.have(floating(port_id=None))
        for resource in self.result(self.tested.list_resources()):
            self.result(self.tested.delete_resource(resource))
        self.assertEqual(len(self.cloud.of("DELETE", "/ports/p-1")), 1)
        self.assertEqual(len(self.cloud.of("DELETE", "/floatingips/f-1")), 1)
        self.cloud.play("network", "DELETE", "/floatingips/f-1", Answer(404))
        self.error(self.tested.delete_resource(resource), Gone)

    def test_another_service_is_down(self) -> None:
        """Servers that are left over are found all the same."""
        self.see(server())
        for path in ("/ports", "/floatingips", "/quotas/tenant"):
            self.cloud.play("network", "GET", path, Answer(500))
        self.cloud.play("image", "GET", "/images", CloudError("down"))
        self.assertEqual(self.left(), [("instance", "s-1")])

    def test_a_cloud_without_networks(self) -> None:
        """There is nothing to be left over."""
        self.cloud.missing.add("network")
        self.assertEqual(self.left(), [])

    def test_images(self) -> None:
        """An image with our provider's name is listed with our keys, others are not."""
        image = {
            "id": "i-1",
            "status": "active",
            "nodepool_provider_name": "cloud",
            "nodepool_build_id": "7",
            "os_hash_algo": "sha512",
        }
        other = {"id": "i-2", "nodepool_provider_name": "other"}
        self.cloud.play("image", "GET", "/images", ok({"images": [image, other]}))
        self.cloud.play("image", "DELETE", "/images/i-1", Answer(204))
        (found,) = self.result(self.tested.list_resources())
        self.assertEqual((found.kind, found.orphan), ("image", False))
        self.assertEqual(
            found.metadata, {"nodepool_provider_name": "cloud", "nodepool_build_id": "7"}
        )
        self.assertEqual(
            self.cloud.of("GET", "/images")[0].query, {"nodepool_provider_name": "cloud"}
        )
        self.result(self.tested.delete_resource(found))
        self.assertEqual(len(self.cloud.of("DELETE", "/images/i-1")), 1)
