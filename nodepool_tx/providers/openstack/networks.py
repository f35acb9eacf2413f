"""Networks: found by name or id, and which of them lead to the outside."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from nodepool_tx.providers.cloud.errors import Gone, InvalidConfiguration
from nodepool_tx.providers.openstack.addresses import Outlook
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.paging import everything

__all__ = ["Network", "find", "list_networks", "list_routes", "outlook_of"]


@attrs.frozen
class Network:
    """A network.

    :ivar external: floating addresses come from it.
    :ivar physical: it is part of a network outside of the cloud; only
        administrators see that.
    :ivar default: it is the one to take when there are several.
    """

    id: str
    name: str
    external: bool = False
    default: bool = False
    physical: bool = False

    def is_one_of(self, names: Collection[str]) -> bool:
        """Whether it is named there, by name or id."""
        return self.id in names or self.name in names


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


def outlook_of(networks: Iterable[Network], hints: NetworkHints) -> Outlook:
    """How addresses are to be judged: servers show networks by name."""
    known = tuple(networks)
    external = {
        network.name
        for network in known
        if network.is_one_of(hints.external)
        or ((network.external or network.physical) and not network.is_one_of(hints.internal))
    }
    default = hints.default_interface
    return Outlook(
        # Those of the configuration may be of a cloud that does not list networks.
        external=frozenset(external | hints.external),
        private=hints.private,
        default_interface=next(
            (network.name for network in known if default in (network.id, network.name)), default
        ),
    )


def _read(raw: Mapping[str, Any]) -> Network:
    return Network(
        id=str(raw["id"]),
        name=str(raw.get("name") or ""),
        external=bool(raw.get("router:external")),
        default=bool(raw.get("is_default")),
        physical=bool(raw.get("provider:physical_network")),
    )
