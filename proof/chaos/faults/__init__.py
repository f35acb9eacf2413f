"""Everything that goes wrong on a farm, one small class each, a module for each family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from proof.chaos.faults import (
    clocks,
    clouds,
    configuration,
    garbage,
    hosts,
    launchers,
    network,
    sessions,
    znodes,
    zookeeper,
)
from proof.chaos.faults.harm import Harm, NothingToStrike, Surprise
from proof.chaos.interface import Fault

__all__ = ["ALL", "Harm", "Kind", "NothingToStrike", "Surprise", "chosen", "make"]


@attrs.frozen
class Kind:
    """A fault there is.

    :ivar family: the name of its module.
    :ivar weight: how often it comes, compared with others.
    :ivar lasts: for how many seconds, at least and at most.
    """

    name: str
    family: str
    weight: float
    lasts: tuple[float, float]
    harm: type[Harm]


_FAMILIES = (
    launchers,
    sessions,
    network,
    zookeeper,
    configuration,
    hosts,
    clouds,
    znodes,
    garbage,
    clocks,
)

#: All faults by name.
ALL: Mapping[str, Kind] = {
    each.name: Kind(
        each.name, family.__name__.rpartition(".")[2], each.weight, tuple(each.lasts), each
    )
    for family in _FAMILIES
    for each in family.FAULTS
}


def make(name: str) -> Fault:
    """A fault for one strike.

    :raises KeyError: there is none of that name.
    """
    return ALL[name].harm()


def chosen(only: Iterable[str] = (), without: Iterable[str] = ()) -> tuple[Kind, ...]:
    """Those of the names and families in ``only`` (all, if empty) that are not in ``without``.

    :raises ValueError: a word names no fault and no family, or none is left.
    """
    only, without = set(only), set(without)
    known = set(ALL) | {kind.family for kind in ALL.values()}
    unknown = sorted((only | without) - known)
    if unknown:
        raise ValueError(f"no fault and no family: {', '.join(unknown)}")
    kinds = tuple(
        kind
        for kind in ALL.values()
        if (not only or only & {kind.name, kind.family}) and not without & {kind.name, kind.family}
    )
    if not kinds:
        raise ValueError("no fault is left")
    return kinds
