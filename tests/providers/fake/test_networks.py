"""The simulated cloud's networks, ports and floating addresses."""

from __future__ import annotations

from typing import Any

from tests.providers.fake.stage import CloudCase

PUBLIC = "fake-public-network-name"
PRIVATE = "fake-private-network-name"
ISOLATED = "no-auto-ip-network-name"
DUAL = "fake-ipv6-network-name"


class NetworkCase(CloudCase):
    def on(self, *names: str) -> str:
        """A booted server on these networks."""
        return self.booted(networks=[{"uuid": self.network(name)} for name in names])

    def ports(self, server_id: str) -> list[dict[str, Any]]:
        ports = self.get("network", "/ports", query={"device_id": server_id})["ports"]
        assert isinstance(ports, list)
        return ports

    def float(self, port_id: str | None = None, network: str = PUBLIC) -> Any:
        body = {"floating_network_id": self.network(network), "port_id": port_id}
        return self.ask("network", "POST", "/floatingips", json={"floatingip": body})

    def addresses(self, server_id: str) -> list[tuple[str, int, str]]:
        """Network, version and kind of each address of a server."""
        return [
            (network, entry["version"], entry["OS-EXT-IPS:type"])
            for network, entries in self.server(server_id)["addresses"].items()
            for entry in entries
        ]


class AddressTests(NetworkCase):
    """Addresses of servers by their networks."""

    def test_each_network(self) -> None:
        """A server has an address of each subnet of each of its networks."""
        for names, expected in (
            ((PUBLIC,), [(PUBLIC, 4, "fixed")]),
            ((PRIVATE, PUBLIC), [(PRIVATE, 4, "fixed"), (PUBLIC, 4, "fixed")]),
            ((ISOLATED,), [(ISOLATED, 4, "fixed")]),
            ((DUAL,), [(DUAL, 4, "fixed"), (DUAL, 6, "fixed")]),
        ):
            self.assertEqual(self.addresses(self.on(*names)), expected)

    def test_no_network(self) -> None:
        """A server that asks for nothing is on the public and the private network."""
        self.assertEqual(
            self.addresses(self.booted()), [(PUBLIC, 4, "fixed"), (PRIVATE, 4, "fixed")]
        )

    def test_another_name(self) -> None:
        """A network that was made known works as the public one, with addresses of its own."""
        self.cloud.accept(networks=["mine", PRIVATE, self.network(DUAL)])
        names = [each["name"] for each in self.get("network", "/networks")["networks"]]
        self.assertEqual(names, [PUBLIC, PRIVATE, ISOLATED, DUAL, "mine"])
        self.assertEqual(self.addresses(self.on("mine")), [("mine", 4, "fixed")])
        used = [
            entry["addr"]
            for server in (self.on("mine"), self.on(PUBLIC), self.on("mine"))
            for entries in self.server(server)["addresses"].values()
            for entry in entries
        ]
        self.assertEqual(len(set(used)), 3)

    def test_only_one_network(self) -> None:
        """Where nothing is automatic Nova wants to be told which of several networks."""
        for network in list(self.cloud.networks.networks.values()):
            if network.automatic:
                del self.cloud.networks.networks[network.id]
        self.refused(409)
        del self.cloud.networks.networks[self.network(DUAL)]
        self.assertEqual(self.addresses(self.booted()), [(ISOLATED, 4, "fixed")])

    def test_addresses_run_out(self) -> None:
        """A server for which there is no address fails, and says so."""
        network = self.cloud.networks.find_network(ISOLATED)
        assert network is not None
        (subnet,) = network.subnets
        taken = [subnet.addresses.take() for _ in range((1 << 14) - 2)]
        self.assertEqual(len(set(taken)), len(taken))
        server_id = self.create(networks=[{"uuid": network.id}])
        self.pass_time(1)
        self.assertEqual(self.server(server_id)["status"], "ERROR")
        self.assertIn("no address", self.server(server_id)["fault"]["message"])
        subnet.addresses.give_back(taken[0])
        self.booted(networks=[{"uuid": network.id}])


class PortTests(NetworkCase):
    """Ports, made by servers and by users."""

    def test_ports_of_a_server(self) -> None:
        """They are the server's, become active with it, and go with it."""
        server_id = self.create()
        self.assertEqual(self.ports(server_id), [])
        self.pass_time(0.6)
        self.assertEqual({each["status"] for each in self.ports(server_id)}, {"DOWN"})
        self.pass_time(0.5)
        ports = self.ports(server_id)
        self.assertEqual({each["status"] for each in ports}, {"ACTIVE"})
        self.assertEqual({each["device_owner"].partition(":")[0] for each in ports}, {"compute"})
        shown = self.get("compute", f"/servers/{server_id}/os-interface")["interfaceAttachments"]
        self.assertEqual([each["port_id"] for each in shown], [each["id"] for each in ports])
        self.delete(server_id)
        self.clock.advance(0)
        answer = self.ask("network", "GET", f"/ports/{ports[0]['id']}")
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.body["NeutronError"]["type"], "PortNotFound")

    def test_a_port_of_the_user(self) -> None:
        """It outlives its server, down and without an owner, and serves another one."""
        body = {"port": {"network_id": self.network(PRIVATE), "name": "mine"}}
        port = self.ask("network", "POST", "/ports", json=body).body["port"]["id"]
        server_id = self.booted(networks=[{"port": port}])
        self.assertEqual(self.addresses(server_id), [(PRIVATE, 4, "fixed")])
        self.refused(409, networks=[{"port": port}])
        self.delete(server_id)
        self.clock.advance(0)
        left = self.get("network", f"/ports/{port}")["port"]
        self.assertEqual(
            (left["status"], left["device_id"], left["device_owner"]), ("DOWN", "", "")
        )
        down = self.get("network", "/ports", query={"status": "DOWN", "name": "mine"})["ports"]
        self.assertEqual([each["id"] for each in down], [port])
        self.booted(networks=[{"port": port}])
        self.assertEqual(self.ask("network", "DELETE", f"/ports/{port}").status, 204)

    def test_pages(self) -> None:
        """A listing is whole unless a limit is asked for; then it has pages."""
        for _ in range(5):
            self.create()
        self.pass_time(0.6)
        everything = [each["id"] for each in self.get("network", "/ports")["ports"]]
        self.assertEqual(len(everything), 11)
        body = self.get("network", "/ports", query={"limit": "6"})
        first = [each["id"] for each in body["ports"]]
        body = self.get("network", body["ports_links"][0]["href"])
        self.assertEqual(first + [each["id"] for each in body["ports"]], everything)
        self.assertNotIn("ports_links", body)


class FloatingTests(NetworkCase):
    """Floating addresses."""

    def test_shown_late(self) -> None:
        """A server shows its floating address some time after it was attached."""
        server_id = self.on(PRIVATE)
        (port,) = self.ports(server_id)
        answer = self.float(port["id"])
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.body["floatingip"]["status"], "DOWN")
        self.assertEqual(self.addresses(server_id), [(PRIVATE, 4, "fixed")])
        self.pass_time(1)
        self.assertEqual(
            self.addresses(server_id), [(PRIVATE, 4, "fixed"), (PRIVATE, 4, "floating")]
        )
        fixed, floating = self.server(server_id)["addresses"][PRIVATE]
        self.assertEqual(fixed["OS-EXT-IPS-MAC:mac_addr"], floating["OS-EXT-IPS-MAC:mac_addr"])
        found = self.get("network", "/floatingips", query={"port_id": port["id"]})["floatingips"]
        self.assertEqual([each["status"] for each in found], ["ACTIVE"])
        self.assertEqual(found[0]["fixed_ip_address"], fixed["addr"])
        self.assertEqual(found[0]["floating_ip_address"], floating["addr"])

    def test_left_over(self) -> None:
        """It outlives its server, leads nowhere then, and is deleted by itself."""
        server_id = self.on(PRIVATE)
        made = self.float(self.ports(server_id)[0]["id"]).body["floatingip"]["id"]
        self.delete(server_id)
        self.pass_time(5)
        left = self.get("network", f"/floatingips/{made}")["floatingip"]
        self.assertEqual((left["port_id"], left["status"]), (None, "DOWN"))
        self.assertEqual(self.ask("network", "DELETE", f"/floatingips/{made}").status, 204)
        self.assertEqual(self.ask("network", "DELETE", f"/floatingips/{made}").status, 404)

    def test_moved(self) -> None:
        """It can be pointed elsewhere, and to nothing."""
        first, second = self.on(PRIVATE), self.on(PRIVATE)
        made = self.float(self.ports(first)[0]["id"]).body["floatingip"]["id"]
        self.pass_time(1)
        for port, shown_by in ((self.ports(second)[0]["id"], second), (None, None)):
            body = {"floatingip": {"port_id": port}}
            answer = self.ask("network", "PUT", f"/floatingips/{made}", json=body)
            self.assertEqual(answer.body["floatingip"]["port_id"], port)
            self.pass_time(1)
            for server_id in (first, second):
                self.assertEqual(len(self.addresses(server_id)), 1 + (server_id == shown_by))

    def test_refusals(self) -> None:
        """One for each port, from an external network, and only where there is a way out."""
        (port,) = self.ports(self.on(PRIVATE))
        self.float(port["id"])
        self.assertEqual(self.float(port["id"]).status, 409)
        self.assertEqual(self.float(network=PRIVATE).status, 400)
        (isolated,) = self.ports(self.on(ISOLATED))
        answer = self.float(isolated["id"])
        self.assertEqual(answer.status, 404)
        self.assertEqual(
            answer.body["NeutronError"]["type"], "ExternalGatewayForFloatingIPNotFound"
        )
        self.assertEqual(self.float("no").status, 404)
        self.assertEqual(len(self.cloud.networks.floating), 1)
