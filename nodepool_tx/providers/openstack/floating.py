"""Floating addresses: given to servers that nobody could reach otherwise.

Each is made with its port in one call, so that none is ever unattached unless
its server is gone, and with a description by which it is known again.  Neutron
allows one for each port and external network: a second call cannot make a
second address.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import attrs

from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.cloud.interface import PROVIDER_NAME, Resource
from nodepool_tx.providers.openstack.calls import Calls, part
from nodepool_tx.providers.openstack.faults import error_for
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.networks import Network
from nodepool_tx.providers.openstack.paging import everything

__all__ = ["Place", "attach", "delete_floating", "places_for", "ports_of", "release", "unattached"]

_NO_HINTS = NetworkHints()

_MAKING = "give a server a floating address"


@attrs.frozen
class Place:
    """Where a floating address leads to.

    :ivar network_id: the external network that it is taken from.
    :ivar fixed: the address of the server that it stands for.
    """

    network_id: str
    port_id: str
    fixed: str


def description(provider_name: str, server_id: str) -> str:
    """By what we know an address again."""
    return f"{PROVIDER_NAME}={provider_name} server={server_id}"


def places_for(
    ports: Iterable[Mapping[str, Any]],
    networks: Sequence[Network],
    routes: Mapping[str, Sequence[str]],
    wanted: Sequence[str] = (),
    hints: NetworkHints = _NO_HINTS,
) -> tuple[Place, ...]:
    """The ports of a server to reach it by, and the networks that may lead there.

    Where we see a router from a port's network to the outside, it is that way.
    Routers may be hidden, and then every external network may be the one: the
    cloud's default first.

    :param routes: see :func:`~nodepool_tx.providers.openstack.networks.list_routes`.
    :param wanted: ids of networks, the preferred first.
    :param hints: which networks are meant for it.
    :returns: the best first; nothing where there is nothing to be had.
    """
    external = sorted(
        (
            network
            for network in networks
            if network.external
            and (hints.nat_source is None or network.is_one_of({hints.nat_source}))
        ),
        key=lambda network: (not network.default, network.name, network.id),
    )
    outside = {network.id for network in external}
    destination = hints.nat_destination
    unfit = {
        network.id
        for network in networks
        if network.external or not (destination is None or network.is_one_of({destination}))
    }
    order = {network: number for number, network in enumerate(wanted)}
    candidates = [
        (port, fixed)
        for port in sorted(
            ports,
            key=lambda port: (
                order.get(port["network_id"], len(order)),
                port["network_id"],
                port["id"],
            ),
        )
        if port["network_id"] not in unfit and (fixed := _fixed_ipv4(port)) is not None
    ]
    routed = tuple(
        Place(network_id, port["id"], fixed)
        for port, fixed in candidates
        for network_id in routes.get(port["network_id"], ())
        if network_id in outside
    )
    return routed or tuple(
        Place(network.id, port["id"], fixed) for port, fixed in candidates for network in external
    )


def _fixed_ipv4(port: Mapping[str, Any]) -> str | None:
    for entry in port.get("fixed_ips") or ():
        address = entry.get("ip_address")
        if address and ip_address(address).version == 4:
            return str(address)
    return None


async def ports_of(calls: Calls, server_id: str) -> list[dict[str, Any]]:
    """The ports of a server; none where the cloud has no network service."""
    return await everything(
        calls,
        "list the ports of a server",
        "network",
        "/ports",
        "ports",
        query={"device_id": server_id},
    )


async def attach(calls: Calls, provider_name: str, server_id: str, places: Sequence[Place]) -> str:
    """Give a server a floating address, unless it has one.

    :param places: where it may lead, at least one; the first that the cloud
        agrees to is taken.
    :returns: the address.
    :raises OverQuota: the project may not have more of them.
    :raises NoCapacity: the external network has none left.
    """
    known = await _attached(calls, places)
    if known is not None:
        return known
    error = CloudError(f"could not {_MAKING}: no network leads to it")
    for place in places:
        answer = await calls.transport.request(
            "network",
            "POST",
            "/floatingips",
            json={
                "floatingip": {
                    "floating_network_id": place.network_id,
                    "port_id": place.port_id,
                    "fixed_ip_address": place.fixed,
                    "description": description(provider_name, server_id),
                }
            },
        )
        if 200 <= answer.status < 300:
            made = part(_MAKING, answer.body, "floatingip")
            return str(made["floating_ip_address"])
        if answer.status == 409:
            # Perhaps made by a call whose answer was lost.
            known = await _attached(calls, [place])
            if known is not None:
                return known
        error = error_for(_MAKING, answer)
        if not isinstance(error, Gone):
            raise error
    # Neither is there: the way from any of these networks, or the server.
    raise CloudError(str(error))


async def _attached(calls: Calls, places: Iterable[Place]) -> str | None:
    """The floating address of one of these ports."""
    for port_id in dict.fromkeys(place.port_id for place in places):
        for floating in await _find(calls, {"port_id": port_id}):
            return str(floating["floating_ip_address"])
    return None


async def release(
    calls: Calls, provider_name: str, server_id: str, addresses: Collection[str]
) -> None:
    """Remove what leads to a server.

    :param addresses: those that it is known to have; others are found by what
        they are described with.
    """
    found = await _find(calls, {"description": description(provider_name, server_id)})
    seen = {floating["floating_ip_address"] for floating in found}
    for address in sorted(set(addresses) - seen):
        found += await _find(calls, {"floating_ip_address": address})
    for floating in found:
        with suppress(Gone):
            await delete_floating(calls, floating["id"])


async def delete_floating(calls: Calls, floating_id: str) -> None:
    """:raises Gone: there is no such address."""
    await calls.ask("delete a floating address", "network", "DELETE", f"/floatingips/{floating_id}")


async def unattached(calls: Calls, provider_name: str, project: str | None) -> list[Resource]:
    """The addresses of the project that lead nowhere.

    The project is taken to be ours, as the option ``clean-floating-ips`` says;
    only what another of our providers has made is left to that one.

    :param project: whose to look at; None for all that are shown.
    """
    ours, marked = f"{PROVIDER_NAME}={provider_name} ", f"{PROVIDER_NAME}="
    return [
        Resource(kind="floatingip", external_id=str(floating["id"]), orphan=True)
        for floating in await _find(calls, {})
        if not floating.get("port_id")
        and (
            project is None or (floating.get("project_id") or floating.get("tenant_id")) == project
        )
        and (
            (text := floating.get("description") or "").startswith(ours)
            or not text.startswith(marked)
        )
    ]


async def _find(calls: Calls, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Floating addresses by what they have; none where there is no network service."""
    try:
        found = await everything(
            calls,
            "list the floating addresses",
            "network",
            "/floatingips",
            "floatingips",
            query=query,
        )
    except Gone:
        return []
    # A service that does not know a filter answers with everything.
    return [
        floating
        for floating in found
        if all(floating.get(key) == value for key, value in query.items())
    ]
