"""Public and private addresses are told apart, and the right one is used."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from nodepool_tx.providers.openstack.addresses import Addresses, Outlook, choose, read_addresses


def entry(address: str, kind: str = "fixed", mac: str = "fa:16:3e:00:00:01") -> dict[str, Any]:
    version = 6 if ":" in address else 4
    return {
        "addr": address,
        "version": version,
        "OS-EXT-IPS:type": kind,
        "OS-EXT-IPS-MAC:mac_addr": mac,
    }


def chosen(
    networks: dict[str, list[dict[str, Any]]], external: Collection[str] = (), **access: str
) -> tuple[str | None, ...]:
    """Public and private v4, public and private v6, and the one to use."""
    outlook = Outlook(frozenset(external))
    found: Addresses = choose(read_addresses({"addresses": networks}), outlook, **access)
    return (
        found.public_ipv4,
        found.private_ipv4,
        found.public_ipv6,
        found.private_ipv6,
        found.interface_ip,
    )


CASES: dict[str, tuple[Any, ...]] = {
    "none": ({}, (), (None, None, None, None, None)),
    "private": ({"net": [entry("10.0.0.1")]}, (), (None, "10.0.0.1", None, None, "10.0.0.1")),
    "floating": (
        {"net": [entry("10.0.0.1"), entry("172.24.4.9", "floating")]},
        (),
        ("172.24.4.9", "10.0.0.1", None, None, "172.24.4.9"),
    ),
    "floating to the second network": (
        {
            "a": [entry("10.0.0.1", mac="m1")],
            "b": [entry("10.1.0.1", mac="m2"), entry("172.24.4.9", "floating", mac="m2")],
        },
        (),
        ("172.24.4.9", "10.1.0.1", None, None, "172.24.4.9"),
    ),
    "external network with private numbers": (
        {"provider": [entry("10.9.0.1")]},
        ("provider",),
        ("10.9.0.1", "10.9.0.1", None, None, "10.9.0.1"),
    ),
    "external before floating": (
        {"net": [entry("10.0.0.1"), entry("172.24.4.9", "floating")], "ext": [entry("10.9.0.1")]},
        ("ext",),
        ("10.9.0.1", "10.0.0.1", None, None, "10.9.0.1"),
    ),
    "a network called public": (
        {"public": [entry("10.9.0.1")], "private": [entry("10.0.0.1")]},
        (),
        ("10.9.0.1", "10.0.0.1", None, None, "10.9.0.1"),
    ),
    "global numbers": (
        {"net": [entry("10.0.0.1"), entry("8.8.8.8")]},
        (),
        ("8.8.8.8", "10.0.0.1", None, None, "8.8.8.8"),
    ),
    "carrier-grade numbers are not public": (
        {"net": [entry("100.64.0.1")]},
        (),
        (None, "100.64.0.1", None, None, "100.64.0.1"),
    ),
    "both versions": (
        {"net": [entry("2001:db8::1"), entry("10.0.0.1")]},
        (),
        (None, "10.0.0.1", "2001:db8::1", None, "2001:db8::1"),
    ),
    "private v6": (
        {"net": [entry("fd00::1"), entry("fe80::1")]},
        (),
        (None, None, None, "fd00::1", "fd00::1"),
    ),
    "no address at all": (
        {"net": [entry("nonsense")]},
        (),
        (None, "nonsense", None, None, "nonsense"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_choice(name: str) -> None:
    """Floating, external and global addresses are public; a private one is used last."""
    networks, external, expected = CASES[name]
    assert chosen(networks, external) == expected


def test_the_cloud_knows_better() -> None:
    """What the cloud says is the way in comes before all others."""
    networks = {"net": [entry("10.0.0.1"), entry("172.24.4.9", "floating")]}
    found = chosen(networks, access_ipv4="192.0.2.1", access_ipv6="2001:db8::9")
    assert found == ("192.0.2.1", "10.0.0.1", "2001:db8::9", None, "192.0.2.1")


def test_from_inside_the_cloud() -> None:
    """Who is there uses the private address, if there is one."""
    servers = {"addresses": {"net": [entry("10.0.0.1"), entry("172.24.4.9", "floating")]}}
    inside = Outlook(private=True)
    assert choose(read_addresses(servers), inside).interface_ip == "10.0.0.1"
    servers["addresses"]["net"].pop(0)
    assert choose(read_addresses(servers), inside).interface_ip == "172.24.4.9"


def test_the_network_to_use_servers_by() -> None:
    """The configuration may name it; version 4 comes first there, too."""
    networks = [entry("fd00::1"), entry("10.0.0.1")]
    servers = {"addresses": {"management": networks, "public": [entry("8.8.8.8")]}}
    outlook = Outlook(private=True, default_interface="management")
    found = choose(read_addresses(servers), outlook)
    assert (found.interface_ip, found.public_ipv4) == ("10.0.0.1", "8.8.8.8")
    outlook = Outlook(default_interface="elsewhere")
    assert choose(read_addresses(servers), outlook).interface_ip == "8.8.8.8"


def test_no_private_address() -> None:
    """A public address stands for the private one where there is none, as with Nodepool 11."""
    only_public = {"ext": [entry("8.8.8.8")]}
    assert chosen(only_public) == ("8.8.8.8", "8.8.8.8", None, None, "8.8.8.8")
    assert chosen({}, access_ipv4="192.0.2.1")[:2] == ("192.0.2.1", "192.0.2.1")
    only_six = {"ext": [entry("2001:db8::1")]}
    assert chosen(only_six) == (None, None, "2001:db8::1", None, "2001:db8::1")


@pytest.mark.parametrize("raw", [{}, {"addresses": None}, {"addresses": {}}])
def test_a_server_without_addresses(raw: dict[str, Any]) -> None:
    """While it is built a server has none."""
    assert read_addresses(raw) == ()
