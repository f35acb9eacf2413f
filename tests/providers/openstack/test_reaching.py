"""Floating addresses are given where they are needed, once, and go with their server."""

from __future__ import annotations

from nodepool_tx.providers.cloud.errors import CloudError, Gone, NoCapacity, OverQuota
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.neutron import (
    DESCRIPTION,
    ReachingTestCase,
    floating,
    neutron,
    port,
    with_floating,
)
from tests.providers.openstack.recorded import (
    EXTERNAL,
    NETWORKS,
    PRIVATE,
    ok,
    server,
)


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
