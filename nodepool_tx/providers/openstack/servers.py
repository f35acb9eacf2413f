"""Servers: what Nova shows of them, and what it is asked for."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from nodepool_tx.config.openstack import OpenStackImage, OpenStackLabel, OpenStackPool
from nodepool_tx.providers.cloud.interface import Instance, InstanceState, Order
from nodepool_tx.providers.openstack.addresses import (
    Address,
    Addresses,
    Outlook,
    choose,
    read_addresses,
)
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.faults import fault_of
from nodepool_tx.providers.openstack.paging import everything
from nodepool_tx.providers.openstack.volumes import boot_volume
from nodepool_tx.resources import Amounts

__all__ = ["FLAVOR_EMBEDDED", "Surroundings", "VisibleServer", "list_servers", "order_body"]

#: The micro-version from which on a server shows how large it is.
FLAVOR_EMBEDDED = "2.47"

#: A listing of a thousand servers was seen to take half a minute.
_LISTING = 120.0

#: Servers with these are not there any more; administrators see them.
_NO_MORE = {"DELETED", "SOFT_DELETED"}


@attrs.frozen
class Surroundings:
    """What is said of a server elsewhere than in itself."""

    cloud: str | None = None
    region: str | None = None
    outlook: Outlook = attrs.field(factory=Outlook)


@attrs.frozen(kw_only=True)
class VisibleServer(Instance):
    """A server with all that is needed to judge its addresses again."""

    addresses: tuple[Address, ...] = ()
    access_ipv4: str | None = None
    access_ipv6: str | None = None

    @property
    def floating(self) -> frozenset[str]:
        """Its floating addresses."""
        return frozenset(each.address for each in self.addresses if each.floating)

    def seen_from(self, outlook: Outlook) -> VisibleServer:
        """The same with its addresses judged from there."""
        chosen = choose(self.addresses, outlook, self.access_ipv4, self.access_ipv6)
        return attrs.evolve(self, **_fields(chosen))


def _fields(chosen: Addresses) -> dict[str, Any]:
    return {
        "interface_ip": chosen.interface_ip,
        "public_ipv4": chosen.public_ipv4,
        "public_ipv6": chosen.public_ipv6,
        "private_ipv4": chosen.private_ipv4,
        "private_ipv6": chosen.private_ipv6,
    }


async def list_servers(calls: Calls, version: str | None) -> list[dict[str, Any]]:
    """Every server that there is, as Nova shows it."""
    listed = await everything(
        calls,
        "list the servers",
        "compute",
        "/servers/detail",
        "servers",
        version=version,
        timeout=_LISTING,
    )
    return [server for server in listed if server.get("status") not in _NO_MORE]


def read_server(
    raw: Mapping[str, Any], resources: Amounts | None, around: Surroundings
) -> VisibleServer:
    """A server of a listing."""
    state = state_of(raw)
    addresses = read_addresses(raw)
    access_ipv4, access_ipv6 = raw.get("accessIPv4") or None, raw.get("accessIPv6") or None
    return VisibleServer(
        external_id=str(raw["id"]),
        state=state,
        name=str(raw.get("name") or ""),
        metadata=dict(raw.get("metadata") or {}),
        resources=resources,
        cloud=around.cloud,
        region=around.region,
        zone=raw.get("OS-EXT-AZ:availability_zone") or None,
        host_id=raw.get("hostId") or None,
        fault=fault_of(raw) if state is InstanceState.FAILED else None,
        addresses=addresses,
        access_ipv4=access_ipv4,
        access_ipv6=access_ipv6,
        **_fields(choose(addresses, around.outlook, access_ipv4, access_ipv6)),
    )


def state_of(raw: Mapping[str, Any]) -> InstanceState:
    """How far a server is.

    One that is being deleted keeps its status.  A server that is stopped or
    moved is not what was asked for, and may yet become it.
    """
    if raw.get("OS-EXT-STS:task_state") in ("deleting", "soft-deleting"):
        return InstanceState.DELETING
    status = raw.get("status")
    if status == "ERROR":
        return InstanceState.FAILED
    return InstanceState.ACTIVE if status == "ACTIVE" else InstanceState.BUILDING


def order_body(
    order: Order,
    *,
    flavor_id: str,
    image_id: str,
    network_ids: Sequence[str],
    metadata: Mapping[str, str],
) -> dict[str, Any]:
    """What to POST for a server.

    Nova refuses an explicit null for most of this: what is not set is left out.
    """
    label, pool = label_of(order), order.pool
    server: dict[str, Any] = {
        "name": order.name,
        "flavorRef": flavor_id,
        "metadata": dict(metadata),
    }
    if label.boot_from_volume:
        server["block_device_mapping_v2"] = [boot_volume(image_id, label.volume_size)]
    else:
        server["imageRef"] = image_id
    if order.zone:
        server["availability_zone"] = order.zone
    if label.key_name:
        server["key_name"] = label.key_name
    if isinstance(label.image, OpenStackImage) and label.image.config_drive is not None:
        server["config_drive"] = label.image.config_drive
    if network_ids:
        server["networks"] = [{"uuid": network} for network in network_ids]
    if isinstance(pool, OpenStackPool) and pool.security_groups:
        server["security_groups"] = [{"name": group} for group in pool.security_groups]
    if label.userdata:
        server["user_data"] = base64.b64encode(label.userdata.encode()).decode("ascii")
    return {"server": server}


def label_of(order: Order) -> OpenStackLabel:
    """The label of an order for this driver."""
    assert isinstance(order.label, OpenStackLabel), order.label
    return order.label
