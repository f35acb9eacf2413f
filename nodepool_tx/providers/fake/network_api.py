"""The simulated cloud's network service, version 2.0."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from nodepool_tx.providers.fake.api import ENDPOINTS, Call, members, page
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.networks import ROUTER, FloatingAddress, Network, Port, Subnet
from nodepool_tx.providers.fake.rules import PROJECT, Refused, date, text
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["NetworkService"]

#: As many as one likes, unless a limit is asked for.
UNLIMITED = 1 << 40


class NetworkService:
    """Answers calls about networks, subnets, ports, floating addresses and groups."""

    def __init__(self, cloud: SimulatedOpenStack) -> None:
        self._cloud = cloud
        self._networks = cloud.networks

    def __call__(self, call: Call) -> Answer:
        try:
            return self._answer(call)
        except Refused as e:
            return self.refuse(e)

    @staticmethod
    def refuse(error: Refused) -> Answer:
        """How this service says no."""
        body = {"type": error.kind or "HTTPError", "message": error.message, "detail": ""}
        return Answer(error.status, body={"NeutronError": body})

    def _answer(self, call: Call) -> Answer:
        networks = self._networks
        match (call.method, *call.path):
            case ("GET", "networks"):
                return _list(call, "networks", map(_network, networks.networks.values()))
            case ("GET", "networks", network_id):
                return Answer(200, body={"network": _network(self._network(network_id))})
            case ("GET", "subnets"):
                subnets = [s for n in networks.networks.values() for s in n.subnets]
                return _list(call, "subnets", map(_subnet, subnets))
            case ("GET", "security-groups"):
                groups = networks.security_groups.items()
                return _list(call, "security_groups", itertools.starmap(_group, groups))
            case ("GET", "routers"):
                gateway = {"network_id": networks.public.id, "external_fixed_ips": []}
                router = {
                    "id": ROUTER,
                    "name": "router",
                    "status": "ACTIVE",
                    "project_id": PROJECT,
                    "tenant_id": PROJECT,
                    "admin_state_up": True,
                    "external_gateway_info": gateway,
                    "routes": [],
                }
                return _list(call, "routers", [router])
            case ("GET", "quotas", "tenant"):
                return Answer(200, body={"tenant": {"tenant_id": PROJECT}})
            case (_, "ports", *_):
                return self._ports(call)
            case (_, "floatingips", *_):
                return self._floating(call)
        raise _missing("resource", "/".join(call.path))

    def _network(self, network_id: Any) -> Network:
        network = self._networks.networks.get(network_id)
        if network is None:
            raise _missing("Network", network_id)
        return network

    # -- ports -----------------------------------------------------------

    def _ports(self, call: Call) -> Answer:
        networks = self._networks
        match (call.method, *call.path[1:]):
            case ("GET",):
                ports: Iterable[Port] = networks.ports.values()
                if "device_id" in call.query:
                    ports = networks.ports_of(call.query["device_id"])
                return _list(call, "ports", map(_port, ports))
            case ("POST",):
                body = call.content("port")
                port = networks.add_port(
                    self._network(body.get("network_id")),
                    name=text(body, "name"),
                    device_id=text(body, "device_id"),
                    device_owner=text(body, "device_owner"),
                )
                return Answer(201, body={"port": _port(port)})
            case ("GET", port_id):
                return Answer(200, body={"port": _port(self._port(port_id))})
            case ("DELETE", port_id):
                networks.delete_port(self._port(port_id))
                return Answer(204)
        raise _missing("resource", "/".join(call.path))

    def _port(self, port_id: Any) -> Port:
        port = self._networks.ports.get(port_id)
        if port is None:
            raise _missing("Port", port_id)
        return port

    # -- floating addresses ----------------------------------------------

    def _floating(self, call: Call) -> Answer:
        networks = self._networks
        match (call.method, *call.path[1:]):
            case ("GET",):
                return _list(call, "floatingips", map(_floating, networks.floating.values()))
            case ("POST",):
                body = call.content("floatingip")
                made = networks.add_floating(
                    self._network(body.get("floating_network_id")),
                    self._port(body["port_id"]) if body.get("port_id") else None,
                    text(body, "description"),
                )
                return Answer(201, body={"floatingip": _floating(made)})
            case ("GET", floating_id):
                found = self._find(floating_id)
                return Answer(200, body={"floatingip": _floating(found)})
            case ("PUT", floating_id):
                found = self._find(floating_id)
                body = call.content("floatingip")
                if "port_id" in body:
                    networks.point(found, self._port(body["port_id"]) if body["port_id"] else None)
                found.description = text(body, "description", found.description)
                return Answer(200, body={"floatingip": _floating(found)})
            case ("DELETE", floating_id):
                networks.delete_floating(self._find(floating_id))
                return Answer(204)
        raise _missing("resource", "/".join(call.path))

    def _find(self, floating_id: str) -> FloatingAddress:
        floating = self._networks.floating.get(floating_id)
        if floating is None:
            raise _missing("FloatingIP", floating_id)
        return floating


def _missing(kind: str, which: Any) -> Refused:
    return Refused(404, f"{kind} {which} could not be found", f"{kind}NotFound")


def _list(call: Call, kind: str, things: Iterable[dict[str, Any]]) -> Answer:
    part, more = page(call, members(call, things), UNLIMITED, lambda thing: str(thing["id"]))
    body: dict[str, Any] = {kind: list(part)}
    if more is not None:
        href = f"{ENDPOINTS['network']}/{call.path[0]}?{more}"
        body[f"{kind}_links"] = [{"rel": "next", "href": href}]
    return Answer(200, body=body)


def _network(network: Network) -> dict[str, Any]:
    return {
        **({"is_default": network.automatic} if network.external else {}),
        "id": network.id,
        "name": network.name,
        "project_id": PROJECT,
        "tenant_id": PROJECT,
        "admin_state_up": True,
        "status": "ACTIVE",
        "subnets": [subnet.id for subnet in network.subnets],
        "shared": network.external,
        "router:external": network.external,
        "mtu": 1450,
        "description": "",
        "tags": [],
        "port_security_enabled": True,
        "availability_zone_hints": [],
        "availability_zones": [],
        "qinq": False,
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        **_history(0),
    }


def _history(created: float) -> dict[str, Any]:
    moment = date(created)
    return {"created_at": moment, "updated_at": moment, "revision_number": 1}


def _group(group_id: str, name: str) -> dict[str, Any]:
    return {
        "id": group_id,
        "name": name,
        "project_id": PROJECT,
        "tenant_id": PROJECT,
        "description": name,
        "stateful": True,
        "shared": False,
        "tags": [],
        "security_group_rules": [],
        **_history(0),
    }


def _subnet(subnet: Subnet) -> dict[str, Any]:
    first, last = subnet.addresses.first, subnet.addresses.last
    return {
        "id": subnet.id,
        "name": subnet.addresses.cidr,
        "network_id": subnet.network_id,
        "project_id": PROJECT,
        "tenant_id": PROJECT,
        "ip_version": subnet.addresses.version,
        "cidr": subnet.addresses.cidr,
        "gateway_ip": subnet.gateway,
        "enable_dhcp": True,
        "dns_nameservers": [],
        "host_routes": [],
        "allocation_pools": [{"start": first, "end": last}],
        "service_types": [],
        "subnetpool_id": None,
        "router:external": subnet.external,
        "ipv6_ra_mode": None,
        "ipv6_address_mode": None,
        "description": "",
        "tags": [],
        **_history(0),
    }


def _port(port: Port) -> dict[str, Any]:
    return {
        "id": port.id,
        "name": port.name,
        "network_id": port.network.id,
        "project_id": PROJECT,
        "tenant_id": PROJECT,
        "mac_address": port.mac,
        "admin_state_up": True,
        "status": port.status,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "fixed_ips": [{"subnet_id": s.id, "ip_address": a} for s, a in port.fixed],
        "allowed_address_pairs": [],
        "extra_dhcp_opts": [],
        "security_groups": list(port.security_groups),
        "description": "",
        "binding:vnic_type": "normal",
        "port_security_enabled": True,
        "tags": [],
        **_history(port.created),
    }


def _floating(floating: FloatingAddress) -> dict[str, Any]:
    port = floating.port
    return {
        "id": floating.id,
        "project_id": PROJECT,
        "tenant_id": PROJECT,
        "floating_ip_address": floating.address,
        "floating_network_id": floating.network.id,
        "router_id": ROUTER if port else None,
        "port_id": port.id if port else None,
        "fixed_ip_address": floating.fixed,
        "status": floating.status,
        "description": floating.description,
        "port_details": port and _details(port),
        "tags": [],
        **_history(floating.created),
    }


def _details(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "network_id": port.network.id,
        "mac_address": port.mac,
        "admin_state_up": True,
        "status": port.status,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
    }
