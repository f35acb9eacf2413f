"""Addresses below an endpoint, and the links to next pages that services write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

__all__ = ["address_of"]

_VERSION = re.compile(r"/v\d+(\.\d+)?(?=/|$)")


def address_of(endpoint: str, path: str, query: Mapping[str, str] | None = None) -> str:
    """The full address of something a service has.

    A service behind a proxy may write links with a host that cannot be
    reached, and following a link to just any host would give our token away.
    So of a link only what follows the version is used, below the endpoint.

    :param endpoint: with its version, without a slash at the end.
    :param path: below it, or a link: absolute, or from the version on
        (``/v2/images?marker=...``).
    """
    if "://" in path or _VERSION.match(path):
        link = urlsplit(path)
        path = _below(endpoint, link.path)
        if link.query:
            path = f"{path}?{link.query}"
    url = f"{endpoint}/{path.lstrip('/')}"
    if query:
        url = f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
    return url


def _below(endpoint: str, path: str) -> str:
    base = urlsplit(endpoint).path
    if path.startswith(f"{base}/"):
        return path[len(base) :]
    version = _VERSION.search(path)
    rest = path[version.end() :] if version else path
    # What the endpoint has after its version: a project's id.
    own = _VERSION.search(base)
    after = base[own.end() :] if own else ""
    return rest[len(after) :] if after and rest.startswith(f"{after}/") else rest
