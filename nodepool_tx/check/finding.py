"""Everything that is wrong with a farm."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodepool_tx.check.clouds import clouds_wrong
from nodepool_tx.check.farm import Farm
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.images import builds_wrong, places_empty, uploads_wrong
from nodepool_tx.check.leftovers import (
    drains_done,
    maintenance_of_nothing,
    questions_left,
    rubbish,
)
from nodepool_tx.check.locks import locks_ownerless, locks_without_owner_record
from nodepool_tx.check.nodes import abandoned_nodes, providers_unserved
from nodepool_tx.check.requests import nodes_promised, requests_stuck, requests_without_nodes
from nodepool_tx.check.static import slots_wrong

__all__ = ["FINDERS", "find"]

Finder = Callable[[Farm], Iterator[Finding]]

#: In the order in which repairs are made: what later ones need comes first.
FINDERS: tuple[Finder, ...] = (
    locks_ownerless,
    locks_without_owner_record,
    requests_without_nodes,
    requests_stuck,
    nodes_promised,
    abandoned_nodes,
    providers_unserved,
    slots_wrong,
    builds_wrong,
    uploads_wrong,
    places_empty,
    clouds_wrong,
    drains_done,
    questions_left,
    maintenance_of_nothing,
    rubbish,
)


def find(farm: Farm) -> tuple[Finding, ...]:
    """All that one look shows to be wrong, if it stays so."""
    return tuple(finding for finder in FINDERS for finding in finder(farm))
