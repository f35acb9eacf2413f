"""The simulated cloud's compute service, version 2.1."""

from __future__ import annotations

from typing import Any

from nodepool_tx.providers.fake.api import ENDPOINTS, Call, page
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.compute_views import flavor_view, links_to, server_view
from nodepool_tx.providers.fake.orders import read_order
from nodepool_tx.providers.fake.rules import Refused
from nodepool_tx.providers.fake.servers import Flavor, Server
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["ComputeService"]

#: The newest micro-version there is.
NEWEST = 96

#: How many things a page of a listing has at most.
PAGE = 1000

_ERRORS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    409: "conflictingRequest",
    413: "overLimit",
    429: "overLimit",
}


class ComputeService:
    """Answers calls about servers, flavors, zones and limits."""

    def __init__(self, cloud: SimulatedOpenStack) -> None:
        self._cloud = cloud
        self._compute = cloud.compute

    def __call__(self, call: Call) -> Answer:
        if call.version > NEWEST:
            return self.refuse(Refused(406, f"version 2.{call.version} is not supported"))
        try:
            return self._answer(call)
        except Refused as e:
            return self.refuse(e)

    @staticmethod
    def refuse(error: Refused) -> Answer:
        """How this service says no."""
        kind = _ERRORS.get(error.status, "computeFault")
        return Answer(error.status, body={kind: {"code": error.status, "message": error.message}})

    def _answer(self, call: Call) -> Answer:
        match (call.method, *call.path):
            case ("GET", "servers", "detail"):
                return self._list(call, self._view)
            case ("GET", "servers"):
                return self._list(call, self._reference)
            case ("POST", "servers"):
                return self._create(call)
            case ("GET", "servers", server_id):
                return Answer(200, body={"server": self._view(call, self._find(server_id))})
            case ("DELETE", "servers", server_id):
                self._compute.delete(self._find(server_id))
                return Answer(204)
            case ("POST", "servers", server_id, "action"):
                return self._act(call, self._find(server_id))
            case ("GET", "servers", server_id, "os-interface"):
                return self._interfaces(self._find(server_id))
            case ("GET", "flavors", "detail"):
                return self._flavors(call)
            case ("GET", "flavors", flavor_id):
                return Answer(
                    200, body={"flavor": flavor_view(call.version, self._flavor(flavor_id))}
                )
            case ("GET", "flavors", flavor_id, "os-extra_specs"):
                self._flavor(flavor_id)
                return Answer(200, body={"extra_specs": {}})
            case ("GET", "limits"):
                return self._limits(call)
            case ("GET", "os-availability-zone"):
                zones = [
                    {"zoneName": zone, "zoneState": {"available": True}, "hosts": None}
                    for zone in self._cloud.simulation.zones
                ]
                return Answer(200, body={"availabilityZoneInfo": zones})
            case ("GET", "os-keypairs"):
                keys = [{"keypair": {"name": name}} for name in sorted(self._compute.keys)]
                return Answer(200, body={"keypairs": keys})
        raise Refused(404, "The resource could not be found.")

    # -- servers ---------------------------------------------------------

    def _find(self, server_id: str) -> Server:
        server = self._compute.servers.get(server_id)
        if server is None:
            raise Refused(404, f"there is no server {server_id}")
        return server

    def _list(self, call: Call, show: Any) -> Answer:
        servers = list(reversed(self._compute.servers.values()))
        if "name" in call.query:
            servers = [s for s in servers if call.query["name"] in s.order.name]
        if "status" in call.query:
            servers = [s for s in servers if s.status == call.query["status"].upper()]
        part, more = page(call, servers, PAGE, lambda server: server.id)
        body: dict[str, Any] = {"servers": [show(call, server) for server in part]}
        if more is not None:
            where = "/".join(call.path)
            href = f"{ENDPOINTS['compute']}/{where}?{more}"
            body["servers_links"] = [{"rel": "next", "href": href}]
        return Answer(200, body=body)

    def _create(self, call: Call) -> Answer:
        order = read_order(call, self._cloud.networks)
        server = self._compute.create(order)
        links = links_to("servers", server.id)
        body = {
            "id": server.id,
            "links": links,
            "OS-DCF:diskConfig": "MANUAL",
            "security_groups": [{"name": name} for name in order.security_groups or ("default",)],
            "adminPass": f"{self._cloud.random.getrandbits(60):x}"[:12],
        }
        return Answer(202, {"location": links[0]["href"]}, {"server": body})

    def _act(self, call: Call, server: Server) -> Answer:
        if not isinstance(call.body, dict) or list(call.body) != ["os-getConsoleOutput"]:
            raise Refused(400, "there is no such action")
        if server.host is None:
            raise Refused(409, f"the server {server.id} is not ready")
        lines = [f"simulated server {server.order.name}", f"{server.order.name} login: "]
        length = (call.body["os-getConsoleOutput"] or {}).get("length")
        if length is not None:
            lines = lines[-int(length) :] if int(length) else []
        return Answer(200, body={"output": "\n".join(lines)})

    def _interfaces(self, server: Server) -> Answer:
        ports = [
            {
                "port_state": port.status,
                "port_id": port.id,
                "net_id": port.network.id,
                "mac_addr": port.mac,
                "fixed_ips": [{"subnet_id": s.id, "ip_address": a} for s, a in port.fixed],
            }
            for port in self._cloud.networks.ports_of(server.id)
        ]
        return Answer(200, body={"interfaceAttachments": ports})

    def _reference(self, call: Call, server: Server) -> dict[str, Any]:
        links = links_to("servers", server.id)
        return {"id": server.id, "name": server.order.name, "links": links}

    def _view(self, call: Call, server: Server) -> dict[str, Any]:
        """How a server looks; kept until something changes, and never altered."""
        form = tuple(call.version >= change for change in (3, 9, 19, 26, 47, 63, 71, 73))
        view: dict[str, Any] | None = server.views.get(form)
        if view is None:
            view = server.views[form] = server_view(self._cloud, call.version, server)
        return view

    # -- the rest --------------------------------------------------------

    def _flavor(self, flavor_id: str) -> Flavor:
        flavor = self._compute.flavors.get(flavor_id)
        if flavor is None:
            raise Refused(404, f"there is no flavor {flavor_id}")
        return flavor

    def _flavors(self, call: Call) -> Answer:
        flavors = list(self._compute.flavors.values())
        part, more = page(call, flavors, PAGE, lambda flavor: flavor.id)
        body: dict[str, Any] = {"flavors": [flavor_view(call.version, flavor) for flavor in part]}
        if more is not None:
            href = f"{ENDPOINTS['compute']}/flavors/detail?{more}"
            body["flavors_links"] = [{"rel": "next", "href": href}]
        return Answer(200, body=body)

    def _limits(self, call: Call) -> Answer:
        simulation, used = self._cloud.simulation, self._compute.used
        absolute = {
            "maxTotalInstances": simulation.max_instances,
            "maxTotalCores": simulation.max_cores,
            "maxTotalRAMSize": simulation.max_ram,
            "totalInstancesUsed": used["instances"],
            "totalCoresUsed": used["cores"],
            "totalRAMUsed": used["ram"],
            "maxServerMeta": 128,
            "maxTotalKeypairs": 100,
            "maxServerGroups": 10,
            "maxServerGroupMembers": 10,
            "totalServerGroupsUsed": 0,
        }
        if call.version < 36:
            absolute |= {
                "maxSecurityGroups": -1,
                "maxSecurityGroupRules": -1,
                "maxTotalFloatingIps": -1,
                "totalSecurityGroupsUsed": 0,
                "totalFloatingIpsUsed": 0,
            }
        if call.version < 39:
            absolute["maxImageMeta"] = 128
        if call.version < 57:
            absolute |= {"maxPersonality": 5, "maxPersonalitySize": 10240}
        return Answer(200, body={"limits": {"rate": [], "absolute": absolute}})
