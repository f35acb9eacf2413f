"""Addresses below an endpoint."""

from __future__ import annotations

import pytest

from nodepool_tx.providers.openstack.links import address_of


@pytest.mark.parametrize(
    ("endpoint", "path", "address"),
    [
        ("http://c/v2.1", "/servers", "http://c/v2.1/servers"),
        ("http://c/v2.1", "servers", "http://c/v2.1/servers"),
        # As the services write them, of themselves and behind a proxy.
        ("http://c/v2.1", "http://c/v2.1/servers?marker=1", "http://c/v2.1/servers?marker=1"),
        ("https://c/compute/v2.1", "http://h:8774/v2.1/s?m=1", "https://c/compute/v2.1/s?m=1"),
        ("https://c/compute/v2.1", "https://c/compute/v2.1/s?m=1", "https://c/compute/v2.1/s?m=1"),
        ("https://c/image/v2", "/v2/images?marker=1", "https://c/image/v2/images?marker=1"),
        # With the project's id after the version.
        ("http://c/v3/abc", "http://h/v3/abc/volumes?m=1", "http://c/v3/abc/volumes?m=1"),
        ("http://c/v3/abc", "http://h/v3/volumes?m=1", "http://c/v3/abc/volumes?m=1"),
        # A thing may be called like a version.
        ("http://c/v2.1", "/servers/v2/x", "http://c/v2.1/servers/v2/x"),
    ],
)
def test_address(endpoint: str, path: str, address: str) -> None:
    """Only what follows the version of a link is used, below the endpoint we know."""
    assert address_of(endpoint, path) == address


def test_query() -> None:
    """A query is added to the one there is."""
    assert address_of("http://c/v2", "/images?a=1", {"b": "x y"}) == "http://c/v2/images?a=1&b=x+y"
