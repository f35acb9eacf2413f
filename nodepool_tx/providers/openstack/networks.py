"""Networks: found by name or id, and which of them lead to the outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from nodepool_tx.providers.cloud.errors import Gone, InvalidConfiguration
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.paging import everything

__all__ = ["Network", "external_names", "find", "list_networks", "list_routes"]


@attrs.frozen
class Network:
    """A network.

    :ivar external: floating addresses come from it.
    :ivar default: it is the one to take when there are several.
    """

    id: str
    name: str
    external: bool = False
    default: bool = False


async def list_networks(calls: Calls) -> tuple[Network, ...]:
    """All that the project sees; none where the cloud has no network service."""
    try:
        listed = await everything(calls, "list the networks", "network", "/networks", "networks")
    except Gone:
        return ()
    return tuple(map(_read, listed))


async def list_routes(calls: Calls) -> Mapping[str, tuple[str, ...]]:
    """To which external networks each network has a router, by their ids.

    Routers of other projects are hidden: a network that is not here may have
    a way out all the same.
    """
    routers = await everything(calls, "list the routers", "network", "/routers", "routers")
    outside = {
        router["id"]: gateway["network_id"]
        for router in routers
        if (gateway := router.get("external_gateway_info")) and gateway.get("network_id")
    }
    routes: dict[str, tuple[str, ...]] = {}
    if outside:
        ports = await everything(
            calls,
            "list the ports of routers",
            "network",
            "/ports",
            "ports",
            query={"device_owner": "network:router_interface"},
        )
        for port in ports:
            external = outside.get(port.get("device_id"))
            if external is not None:
                known = routes.get(port["network_id"], ())
                routes[port["network_id"]] = tuple(sorted({*known, external}))
    return routes


def find(networks: Iterable[Network], name: str) -> Network | None:
    """The network with that id or name.

    :raises InvalidConfiguration: several have the name.
    """
    named = [network for network in networks if name in (network.id, network.name)]
    for network in named:
        if network.id == name:
            return network
    if len(named) > 1:
        raise InvalidConfiguration(f"{len(named)} networks are called {name}: use the id of one")
    return named[0] if named else None


def external_names(networks: Iterable[Network]) -> frozenset[str]:
    """The names of the networks whose addresses are public."""
    return frozenset(network.name for network in networks if network.external)


def _read(raw: Mapping[str, Any]) -> Network:
    return Network(
        id=str(raw["id"]),
        name=str(raw.get("name") or ""),
        external=bool(raw.get("router:external")),
        default=bool(raw.get("is_default")),
    )
