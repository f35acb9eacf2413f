"""How the simulated compute service shows servers and flavors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from nodepool_tx.providers.fake.api import ENDPOINTS
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.rules import PROJECT, USER, Identities, date
from nodepool_tx.providers.fake.servers import Flavor, Server

__all__ = ["flavor_view", "links_to", "server_view"]

_ENDPOINT = ENDPOINTS["compute"]
_ROOT = _ENDPOINT.rpartition("/")[0]


def server_view(cloud: SimulatedOpenStack, version: int, server: Server) -> dict[str, Any]:
    order = server.order
    view: dict[str, Any] = {
        "id": server.id,
        "name": order.name,
        "status": server.status,
        "tenant_id": PROJECT,
        "user_id": USER,
        "metadata": dict(order.metadata),
        "hostId": Identities.host(server.host) if server.host else "",
        "image": "",
        "flavor": {"id": server.flavor.id, "links": _bookmark("flavors", server.flavor.id)},
        "created": date(server.created),
        "updated": date(server.updated),
        "addresses": _addresses(cloud, server),
        "accessIPv4": "",
        "accessIPv6": "",
        "links": links_to("servers", server.id),
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": server.zone,
        "config_drive": "True" if order.config_drive else "",
        "key_name": order.key_name,
        "OS-SRV-USG:launched_at": None,
        "OS-SRV-USG:terminated_at": None,
        "OS-EXT-STS:task_state": server.task_state,
        "OS-EXT-STS:vm_state": server.vm_state,
        "OS-EXT-STS:power_state": server.power_state,
        "os-extended-volumes:volumes_attached": _volumes(cloud, version, server),
    }
    if order.image_id is not None:
        links = _bookmark("images", order.image_id)
        view["image"] = {"id": order.image_id, "links": links}
    if server.launched is not None:
        view["OS-SRV-USG:launched_at"] = date(server.launched)[:-1] + ".000000"
    if server.status in ("ACTIVE", "BUILD"):
        view["progress"] = 0
    if cloud.networks.ports_of(server.id):
        groups = order.security_groups or ("default",)
        view["security_groups"] = [{"name": name} for name in groups]
    if server.fault is not None:
        code, message, when = server.fault
        view["fault"] = {"code": code, "created": date(when), "message": message}
    if version >= 9:
        view["locked"] = False
    if version >= 19:
        view["description"] = order.name
    if version >= 26:
        view["tags"] = []
    if version >= 47:
        view["flavor"] = {
            "vcpus": server.flavor.vcpus,
            "ram": server.flavor.ram,
            "disk": server.flavor.disk,
            "ephemeral": 0,
            "swap": 0,
            "original_name": server.flavor.name,
            "extra_specs": {},
        }
    if version >= 63:
        view["trusted_image_certificates"] = None
    if version >= 71:
        view["server_groups"] = []
    if version >= 73:
        view["locked_reason"] = None
    return view


def _volumes(cloud: SimulatedOpenStack, version: int, server: Server) -> list[dict[str, Any]]:
    volumes = cloud.volumes.volumes
    return [
        {
            "id": each,
            **({"delete_on_termination": volumes[each].goes} if version >= 3 else {}),
        }
        for each in server.volumes
    ]


def _addresses(cloud: SimulatedOpenStack, server: Server) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for port in cloud.networks.ports_of(server.id):
        entries = found.setdefault(port.network.name, [])
        for subnet, address in port.fixed:
            entries.append(_address(port.mac, subnet.addresses.version, address, "fixed"))
            floating = cloud.networks.floating_at(port)
            if floating is not None and floating.shown and floating.fixed == address:
                entries.append(_address(port.mac, 4, floating.address, "floating"))
    return found


@lru_cache(maxsize=1024)
def _bookmark(kind: str, each: str) -> list[dict[str, str]]:
    return links_to(kind, each)[1:]


def links_to(kind: str, each: str) -> list[dict[str, str]]:
    """The addresses of a thing, with the version and without."""
    return [
        {"rel": "self", "href": f"{_ENDPOINT}/{kind}/{each}"},
        {"rel": "bookmark", "href": f"{_ROOT}/{kind}/{each}"},
    ]


def _address(mac: str, version: int, address: str, kind: str) -> dict[str, Any]:
    return {
        "version": version,
        "addr": address,
        "OS-EXT-IPS:type": kind,
        "OS-EXT-IPS-MAC:mac_addr": mac,
    }


def flavor_view(version: int, flavor: Flavor) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram,
        "disk": flavor.disk,
        "swap": "" if version < 75 else 0,
        "rxtx_factor": 1.0,
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
        "links": links_to("flavors", flavor.id),
    }
    if version >= 55:
        view["description"] = None
    if version >= 61:
        view["extra_specs"] = {}
    return view
