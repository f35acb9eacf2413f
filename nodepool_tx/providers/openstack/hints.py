"""What ``clouds.yaml`` says of a cloud's networks, where the cloud does not tell itself.

These are openstacksdk's settings, and Nodepool 11 hands them to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["NetworkHints", "read_hints"]


@attrs.frozen
class NetworkHints:
    """Networks are named by name or id.

    :ivar private: we are inside the cloud, and use private addresses.
    :ivar floating: there are floating addresses.
    :ivar external: networks whose addresses are public.
    :ivar internal: networks whose addresses are not, whatever the cloud says.
    :ivar default_interface: the network to use servers by.
    :ivar nat_destination: the network that floating addresses lead to.
    :ivar nat_source: the network that floating addresses are taken from.
    """

    private: bool = False
    floating: bool = True
    external: frozenset[str] = frozenset()
    internal: frozenset[str] = frozenset()
    default_interface: str | None = None
    nat_destination: str | None = None
    nat_source: str | None = None


def read_hints(config: Mapping[str, Any]) -> NetworkHints:
    """The hints in the settings of a cloud, as openstacksdk has completed them."""
    networks = config.get("networks") or ()

    def first(key: str) -> str | None:
        return next((str(network["name"]) for network in networks if network.get(key)), None)

    source = config.get("floating_ip_source", "neutron")
    return NetworkHints(
        private=_is_true(config.get("private")),
        floating=source is not None and str(source).lower() != "none",
        external=frozenset(
            str(network["name"]) for network in networks if network.get("routes_externally")
        ),
        internal=frozenset(
            str(network["name"]) for network in networks if not network.get("routes_externally")
        ),
        default_interface=first("default_interface"),
        nat_destination=first("nat_destination"),
        nat_source=first("nat_source"),
    )


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
