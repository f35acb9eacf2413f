"""Flavors: how large a server is, found by name, by id or by memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.paging import everything

__all__ = ["Flavor", "choose", "list_flavors", "read_flavor"]


@attrs.frozen
class Flavor:
    """A size of servers; ``ram`` is in MiB."""

    id: str
    name: str
    vcpus: int
    ram: int


async def list_flavors(calls: Calls) -> tuple[Flavor, ...]:
    """All that the project may use, the smallest memory first.

    An administrator is shown the private ones of the project, too.
    """
    listed = await everything(
        calls,
        "list the flavors",
        "compute",
        "/flavors/detail",
        "flavors",
        query={"is_public": "None"},
    )
    return tuple(sorted(map(read_flavor, listed), key=lambda flavor: (flavor.ram, flavor.name)))


def read_flavor(raw: Mapping[str, Any]) -> Flavor:
    """A flavor as Nova tells it; one inside a server has its name elsewhere and no id."""
    return Flavor(
        id=str(raw.get("id", "")),
        name=str(raw.get("name") or raw.get("original_name") or ""),
        vcpus=int(raw.get("vcpus") or 0),
        ram=int(raw.get("ram") or 0),
    )


def choose(flavors: Iterable[Flavor], name: str | None, min_ram: int | None) -> Flavor | None:
    """The flavor that a label means.

    With ``min_ram`` it is the one with the least memory that suffices, among
    those with ``name`` in theirs; else the one with that name or id.

    :param flavors: in the order of :func:`list_flavors`.
    """
    for flavor in flavors:
        if min_ram:
            if flavor.ram >= min_ram and (not name or name in flavor.name):
                return flavor
        elif name in (flavor.name, flavor.id):
            return flavor
    return None
