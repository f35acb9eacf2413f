"""Floating addresses are given where they are needed, once, and go with their server."""

from __future__ import annotations

from typing import Any

from nodepool_tx.providers.cloud.errors import CloudError, Gone, NoCapacity, OverQuota
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.recorded import (
    EXTERNAL,
    NETWORKS,
    PRIVATE,
    RecordedTestCase,
    ok,
    server,
)

DESCRIPTION = "nodepool_provider_name=cloud server=s-1"


def port(number: int = 1, network: str = PRIVATE, address: str = "10.0.0.7") -> dict[str, Any]:
    return {
        "id": f"p-{number}",
        "network_id": network,
        "device_id": "s-1",
        "device_owner": "compute:az1",
        "fixed_ips": [{"subnet_id": "s", "ip_address": address}],
        "status": "ACTIVE",
    }


def floating(**changes: Any) -> dict[str, Any]:
    return {
        "id": "f-1",
        "floating_ip_address": "172.24.4.9",
        "port_id": "p-1",
        "description": DESCRIPTION,
        "status": "DOWN",
        "project_id": "mine",
        **changes,
    }


def with_floating(**changes: Any) -> dict[str, Any]:
    shown = server(**changes)
    shown["addresses"]["private"].append(
        {"addr": "172.24.4.9", "version": 4, "OS-EXT-IPS:type": "floating"}
    )
    return shown


def neutron(status: int, kind: str, message: str = "no") -> Answer:
    return Answer(status, {}, {"NeutronError": {"type": kind, "message": message, "detail": ""}})


class ReachingTestCase(RecordedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cloud.play("network", "GET", "/ports", ok({"ports": [port()]}))
        self.cloud.play("network", "POST", "/floatingips", ok({"floatingip": floating()}, 201))
        self.cloud.play("network", "DELETE", "/floatingips/f-1", Answer(204))
        self.cloud.play("compute", "DELETE", "/servers/s-1", Answer(204))
        self.tested = self.adapter()

    def have(self, *addresses: dict[str, Any]) -> None:
        self.cloud.play("network", "GET", "/floatingips", ok({"floatingips": list(addresses)}))

    def see(self, *servers: dict[str, Any]) -> Any:
        self.cloud.play("compute", "GET", "/servers/detail", ok({"servers": list(servers)}))
        return (*self.result(self.tested.list_instances()), None)[0]

    def finish(self, shown: dict[str, Any], **order: Any) -> Any:
        seen = self.see(shown)
        return self.result(self.tested.finish(self.order(**order), seen))

    def made(self) -> list[dict[str, Any]]:
        return [asked.json["floatingip"] for asked in self.cloud.of("POST", "/floatingips")]


class GivingTests(ReachingTestCase):
    def test_given_once_and_waited_for(self) -> None:
        """A private server gets one with its port, and is finished when Nova shows it."""
        self.assertIsNone(self.finish(server()))
        self.assertEqual(
            self.made(),
            [
                {
                    "floating_network_id": EXTERNAL,
                    "port_id": "p-1",
                    "fixed_ip_address": "10.0.0.7",
                    "description": DESCRIPTION,
                }
            ],
        )
        for _ in range(5):
            self.clock.advance(1)
            self.assertIsNone(self.finish(server()))
        done = self.finish(with_floating())
        self.assertEqual((done.interface_ip, done.private_ipv4), ("172.24.4.9", "10.0.0.7"))
        self.assertEqual(len(self.made()), 1)
        asked = len(self.cloud.asked)
        again = self.finish(with_floating())
        self.assertEqual(again, done)
        self.assertEqual(len(self.cloud.asked), asked + 1, "only the listing")

    def test_after_a_restart(self) -> None:
        """What another process has attached is not made again."""
        self.have(floating())
        self.assertIsNone(self.finish(server()))
        self.assertEqual(self.made(), [])

    def test_nova_never_shows_it(self) -> None:
        """After a minute Neutron's word is enough."""
        self.assertIsNone(self.finish(server()))
        self.have(floating())
        self.clock.advance(60)
        done = self.finish(server())
        self.assertEqual((done.interface_ip, done.public_ipv4), ("172.24.4.9", "172.24.4.9"))
        self.assertEqual(len(self.made()), 1)

    def test_it_was_taken_away(self) -> None:
        """One that is not there after a minute is made again."""
        self.assertIsNone(self.finish(server()))
        self.clock.advance(60)
        self.assertEqual(self.finish(server()).public_ipv4, "172.24.4.9")
        self.assertEqual(len(self.made()), 2)

    def test_not_needed(self) -> None:
        """Nothing is made for who has a public address, or is not to have one."""
        external = server(addresses={"public": server()["addresses"]["private"]})
        self.assertEqual(self.finish(external).public_ipv4, "10.0.0.7")
        six = [{"addr": "2001:db8::1", "version": 6, "OS-EXT-IPS:type": "fixed"}]
        self.assertEqual(self.finish(server(addresses={"net": six})).interface_ip, "2001:db8::1")
        pool = self.pool(auto_floating_ip=False)
        self.assertEqual(self.finish(server(), pool=pool).interface_ip, "10.0.0.7")
        self.assertEqual(self.made(), [])

    def test_not_to_be_had(self) -> None:
        """Without an external network the private address has to do."""
        self.cloud.play("network", "GET", "/networks", ok({"networks": NETWORKS[:1]}))
        self.assertEqual(self.finish(server()).interface_ip, "10.0.0.7")
        self.cloud.missing.add("network")
        self.tested = self.adapter()
        self.assertEqual(self.finish(server()).interface_ip, "10.0.0.7")
        self.assertEqual(self.made(), [])

    def test_no_addresses_yet(self) -> None:
        """An active server whose addresses Nova does not know yet is waited for, not for ever."""
        pool = self.pool(auto_floating_ip=False)
        for seconds in (0, 59):
            self.clock.advance(seconds)
            self.assertIsNone(self.finish(server(addresses={}), pool=pool))
        self.clock.advance(1)
        seen = self.see(server(addresses={}))
        self.assertIn("no address", self.error(self.tested.finish(self.order(), seen), CloudError))
        self.assertEqual(
            self.finish(server(addresses={}, accessIPv4="192.0.2.7")).interface_ip, "192.0.2.7"
        )

    def test_the_network_with_a_way_out(self) -> None:
        """Of several ports and external networks those are taken that a router joins."""
        other = {"id": "ext-2", "name": "a-external", "router:external": True}
        isolated = {"id": "isolated", "name": "isolated"}
        self.cloud.play(
            "network", "GET", "/networks", ok({"networks": [*NETWORKS, other, isolated]})
        )
        self.cloud.play(
            "network",
            "GET",
            "/routers",
            ok(
                {
                    "routers": [
                        {"id": "r-1", "external_gateway_info": None},
                        {"id": "r-2", "external_gateway_info": {"network_id": "ext-2"}},
                    ]
                }
            ),
        )
        inside = {"id": "ri", "device_id": "r-2", "network_id": PRIVATE}
        ports = [port(2, "isolated", "10.1.0.7"), port(3, PRIVATE, "fd00::7"), port(1)]
        self.cloud.play("network", "GET", "/ports", ok({"ports": [inside]}), ok({"ports": ports}))
        self.assertIsNone(self.finish(server()))
        (made,) = self.made()
        self.assertEqual((made["floating_network_id"], made["port_id"]), ("ext-2", "p-1"))

    def test_hidden_routers(self) -> None:
        """Where no router is seen, external networks are tried, the default first."""
        other = {"id": "ext-2", "name": "a-external", "router:external": True}
        self.cloud.play("network", "GET", "/networks", ok({"networks": [other, *NETWORKS]}))
        self.cloud.play("network", "GET", "/routers", Answer(403))
        self.cloud.play(
            "network",
            "POST",
            "/floatingips",
            neutron(404, "ExternalGatewayForFloatingIPNotFound"),
            ok({"floatingip": floating()}, 201),
        )
        self.assertIsNone(self.finish(server()))
        self.assertEqual([made["floating_network_id"] for made in self.made()], [EXTERNAL, "ext-2"])

    def test_the_labels_first_network(self) -> None:
        """Of several networks that could do it is the label's first."""
        second = {"id": "a-second", "name": "second"}
        self.cloud.play("network", "GET", "/networks", ok({"networks": [*NETWORKS, second]}))
        ports = [port(1, "a-second", "10.1.0.7"), port(2)]
        self.cloud.play("network", "GET", "/ports", ok({"ports": []}), ok({"ports": ports}))
        self.cloud.play("network", "GET", "/ports", ok({"ports": ports}))
        label = self.label(networks=("private", "second"))
        self.assertIsNone(self.finish(server(), label=label))
        self.assertEqual(self.made()[0]["port_id"], "p-2")

    def test_what_the_client_configuration_says(self) -> None:
        """From inside the cloud, or where there are none, no address is given."""
        for hints in (NetworkHints(private=True), NetworkHints(floating=False)):
            self.hints = hints
            self.tested = self.adapter()
            self.assertEqual(self.finish(server()).interface_ip, "10.0.0.7")
        self.assertEqual(self.made(), [])

    def test_networks_that_are_meant_for_it(self) -> None:
        """The configuration may say where addresses come from and lead to."""
        other = {"id": "ext-2", "name": "second-external", "router:external": True}
        second = {"id": "second-id", "name": "second"}
        listed = [*NETWORKS, other, second]
        self.cloud.play("network", "GET", "/networks", ok({"networks": listed}))
        ports = [port(1), port(2, "second-id", "10.1.0.7")]
        self.cloud.play("network", "GET", "/ports", ok({"ports": ports}))
        self.hints = NetworkHints(nat_source="second-external", nat_destination="second")
        self.tested = self.adapter()
        self.assertIsNone(self.finish(server()))
        (made,) = self.made()
        self.assertEqual((made["floating_network_id"], made["port_id"]), ("ext-2", "p-2"))

    def test_a_lost_answer(self) -> None:
        """A conflict with the address that an earlier call has made is no error."""
        self.cloud.play(
            "network",
            "GET",
            "/floatingips",
            ok({"floatingips": []}),
            ok({"floatingips": [floating()]}),
        )
        self.cloud.play(
            "network", "POST", "/floatingips", neutron(409, "FloatingIPPortAlreadyAssociated")
        )
        self.assertIsNone(self.finish(server()))
        self.assertEqual(len(self.made()), 1)

    def test_networks_that_have_changed(self) -> None:
        """When an address leads nowhere, the networks are looked up again for the next one."""
        lost = neutron(404, "NetworkNotFound")
        self.cloud.play("network", "POST", "/floatingips", lost)
        seen = self.see(server())
        self.error(self.tested.finish(self.order(), seen), CloudError)
        new = {"id": "ext-new", "name": "public", "router:external": True}
        self.cloud.play("network", "GET", "/networks", ok({"networks": [NETWORKS[0], new]}))
        self.cloud.play("network", "POST", "/floatingips", ok({"floatingip": floating()}, 201))
        self.assertIsNone(self.result(self.tested.finish(self.order(), seen)))
        self.assertEqual(self.made()[-1]["floating_network_id"], "ext-new")

    def test_refusals(self) -> None:
        """Quota and exhausted networks are of their kind; no way out is a failed attempt."""
        for answer, kind in (
            (neutron(409, "OverQuota", "Quota exceeded for resources: ['floatingip']."), OverQuota),
            (neutron(409, "IpAddressGenerationFailure", "No more IP addresses"), NoCapacity),
            (neutron(404, "ExternalGatewayForFloatingIPNotFound"), CloudError),
            (Answer(500), CloudError),
        ):
            self.cloud.play("network", "POST", "/floatingips", answer)
            seen = self.see(server())
            self.error(self.tested.finish(self.order(), seen), kind)


class LeavingTests(ReachingTestCase):
    def delete(self) -> list[tuple[str, str]]:
        before = len(self.cloud.asked)
        self.result(self.tested.delete("s-1"))
        return [(asked.method, asked.path) for asked in self.cloud.asked[before:]]

    def test_it_goes_with_its_server(self) -> None:
        """The address is removed first, found by its description."""
        self.see(with_floating())
        self.have(floating())
        self.assertEqual(
            self.delete(),
            [
                ("GET", "/floatingips"),
                ("DELETE", "/floatingips/f-1"),
                ("DELETE", "/servers/s-1"),
            ],
        )
        self.assertEqual(self.cloud.asked[-3].query, {"description": DESCRIPTION})

    def test_one_that_another_has_made(self) -> None:
        """An address without our description is found by what the server shows."""
        self.see(with_floating())
        other = floating(id="f-2", floating_ip_address="172.24.4.8", description="")
        self.have(floating(description=""), other)
        deleted = [path for method, path in self.delete() if method == "DELETE"]
        self.assertEqual(deleted, ["/floatingips/f-1", "/servers/s-1"])

    def test_one_that_no_listing_has_shown(self) -> None:
        """One that was made a moment ago is removed, too."""
        self.assertIsNone(self.finish(server()))
        self.have(floating())
        self.assertIn(("DELETE", "/floatingips/f-1"), self.delete())

    def test_a_server_that_was_in_no_listing(self) -> None:
        """It is looked at before it is deleted."""
        self.cloud.play("compute", "GET", "/servers/s-1", ok({"server": with_floating()}))
        self.have(floating(description=""))
        asked = self.delete()
        self.assertEqual(asked[0], ("GET", "/servers/s-1"))
        self.assertIn(("DELETE", "/floatingips/f-1"), asked)

    def test_a_server_that_is_gone(self) -> None:
        """Its address goes all the same, and that it is gone is said."""
        self.cloud.play("compute", "GET", "/servers/s-1", Answer(404))
        self.cloud.play("compute", "DELETE", "/servers/s-1", Answer(404))
        self.have(floating(port_id=None))
        self.error(self.tested.delete("s-1"), Gone)
        self.assertEqual(len(self.cloud.of("DELETE", "/floatingips/f-1")), 1)

    def test_nothing_to_look_for(self) -> None:
        """Where no floating addresses are in use, a deletion is one call."""
        self.tested = self.adapter(pools=(self.pool(auto_floating_ip=False),))
        self.see(server())
        self.assertEqual(self.delete(), [("DELETE", "/servers/s-1")])

    def test_the_address_is_gone_already(self) -> None:
        """That does not keep the server from being deleted."""
        self.see(with_floating())
        self.have(floating())
        self.cloud.play("network", "DELETE", "/floatingips/f-1", Answer(404))
        self.assertEqual(self.delete()[-1], ("DELETE", "/servers/s-1"))

    def test_the_network_service_is_down(self) -> None:
        """The server waits: after it nobody would know what the address was for."""
        self.see(with_floating())
        self.cloud.play("network", "GET", "/floatingips", Answer(502))
        self.error(self.tested.delete("s-1"), CloudError)
        self.assertEqual(self.cloud.of("DELETE", "/servers/s-1"), [])


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
        self.error(self.tested.delete_resource(resource), KeyError, Gone)

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
