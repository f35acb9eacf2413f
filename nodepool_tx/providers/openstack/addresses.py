"""The addresses of a server: which are public, which private, which one to use."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

__all__ = ["Address", "Addresses", "Outlook", "choose", "read_addresses"]

#: What a network is called where all its addresses are meant to be public, in
#: clouds whose network service does not say which are.
_PUBLIC = "public"

_UNIQUE_LOCAL = ipaddress.ip_network("fc00::/7")


@attrs.frozen
class Address:
    """One address, as Nova tells it.

    :ivar network: the name of its network.
    :ivar version: 4 or 6.
    :ivar mac: by which the address behind a floating one is known.
    """

    address: str
    network: str
    version: int
    floating: bool = False
    mac: str | None = None


@attrs.frozen
class Outlook:
    """From where addresses are looked at.

    :ivar external: names of the networks whose addresses are public.
    :ivar private: we are inside the cloud, and use private addresses.
    :ivar default_interface: the name of the network to use servers by.
    """

    external: frozenset[str] = frozenset()
    private: bool = False
    default_interface: str | None = None


@attrs.frozen(kw_only=True)
class Addresses:
    """What a server's addresses come to.

    :ivar interface_ip: the one to use it by: on the network that is meant for
        it, else the public one, version 4 before version 6, else the private
        one; from inside the cloud the private one first.
    :ivar private_ipv4: the public one where there is no other.
    """

    interface_ip: str | None = None
    public_ipv4: str | None = None
    public_ipv6: str | None = None
    private_ipv4: str | None = None
    private_ipv6: str | None = None


def read_addresses(server: Mapping[str, Any]) -> tuple[Address, ...]:
    """All addresses of a server in a listing."""
    return tuple(
        Address(
            address=str(entry["addr"]),
            network=network,
            version=int(entry.get("version") or 4),
            floating=entry.get("OS-EXT-IPS:type") == "floating",
            mac=entry.get("OS-EXT-IPS-MAC:mac_addr"),
        )
        for network, entries in (server.get("addresses") or {}).items()
        for entry in entries
    )


def choose(
    addresses: Iterable[Address],
    outlook: Outlook,
    access_ipv4: str | None = None,
    access_ipv6: str | None = None,
) -> Addresses:
    """Tell public and private addresses apart.

    :param access_ipv4: what the cloud itself says is the way in.
    """
    found, external = tuple(addresses), outlook.external
    four = [each for each in found if each.version == 4]
    six = [each for each in found if each.version == 6]
    public_four = sorted(
        (each for each in four if _is_public(each, external)),
        key=lambda each: _preference(each, external),
    )
    public_six = [each for each in six if _is_public(each, external)]
    private_four = [each for each in four if not _is_public(each, external)]
    private_six = [each for each in six if not _is_public(each, external)]
    if public_four and public_four[0].floating:
        # Of several networks, the one that the floating address leads to.
        private_four.sort(key=lambda each: each.mac != public_four[0].mac)
    public_ipv4 = access_ipv4 or _first(public_four)
    public_ipv6 = access_ipv6 or _first(public_six)
    private_ipv4, private_ipv6 = _first(private_four), _first(private_six)
    default = [each for each in (*four, *six) if each.network == outlook.default_interface]
    return Addresses(
        interface_ip=(
            _first(default)
            or (private_ipv4 if outlook.private else None)
            or public_ipv4
            or public_ipv6
            or private_ipv4
            or private_ipv6
        ),
        public_ipv4=public_ipv4,
        public_ipv6=public_ipv6,
        # Jobs that connect nodes with each other count on there being one.
        private_ipv4=private_ipv4 or public_ipv4,
        private_ipv6=private_ipv6,
    )


def _is_public(address: Address, external: Collection[str]) -> bool:
    if address.floating or address.network in external or address.network == _PUBLIC:
        return True
    try:
        parsed = ipaddress.ip_address(address.address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        return not parsed.is_link_local and parsed not in _UNIQUE_LOCAL
    return parsed.is_global


def _preference(address: Address, external: Collection[str]) -> int:
    """Smaller is better; equal ones stay in the cloud's order."""
    if address.network in external and not address.floating:
        return 0
    if address.floating:
        return 1
    return 2 if address.network == _PUBLIC else 3


def _first(addresses: list[Address]) -> str | None:
    return addresses[0].address if addresses else None
