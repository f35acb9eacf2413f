"""Judging limits: what is short, and how that is said."""

from __future__ import annotations

import math

from nodepool_tx.pools.accounts import Charge, Shortage, needed_by, shortages
from nodepool_tx.store.usage import Account

RACK = Account.of_provider("rack")
T = Account.of_tenant("t")


def short(
    needed: dict[str, float],
    limit: dict[str, float],
    used: dict[str, float] | None = None,
    kept: dict[str, float] | None = None,
) -> list[str]:
    found = shortages({RACK: needed}, {RACK: limit}, lambda _: used or {}, lambda _: kept or {})
    return [each.resource for each in found]


def test_up_to_the_limit() -> None:
    """A limit can be used up, and not more."""
    assert short({"instances": 2}, {"instances": 3}, {"instances": 1}) == []
    assert short({"instances": 2}, {"instances": 3}, {"instances": 2}) == ["instances"]


def test_what_is_not_needed() -> None:
    """A resource that is over its limit is no obstacle to who needs none of it."""
    assert short({"instances": 1}, {"cores": 4}, {"cores": 8}) == []
    assert short({"instances": 1, "cores": 0}, {"cores": 4}, {"cores": 8}) == []


def test_what_is_not_limited() -> None:
    """A resource without a limit, or with an infinite one, is never too much."""
    assert short({"instances": 10**6, "ram": 10**6}, {"instances": math.inf}) == []
    assert shortages({T: {"ram": 1}}, {RACK: {"ram": 0}}, lambda _: {}) == ()


def test_nothing_allowed() -> None:
    """A limit of 0 allows nothing."""
    assert short({"instances": 1}, {"instances": 0}) == ["instances"]


def test_all_are_told() -> None:
    """Every resource that is short is named, in order."""
    assert short({"cores": 1, "ram": 2}, {"ram": 1, "cores": 1}, {"cores": 1}) == ["cores", "ram"]


def test_what_is_kept() -> None:
    """What is kept for somebody else is as good as used."""
    assert short({"cores": 2}, {"cores": 4}, {"cores": 1}, {"cores": 1}) == []
    assert short({"cores": 2}, {"cores": 4}, {"cores": 1}, {"cores": 2}) == ["cores"]


def test_needed_by() -> None:
    """A node counts in each of its accounts."""
    charges = [Charge((RACK, T), {"cores": 1}), Charge((RACK,), {"cores": 2, "ram": 3})]
    assert needed_by(charges) == {RACK: {"cores": 3, "ram": 3}, T: {"cores": 1}}


def test_words() -> None:
    """People are told what is short, of which limit, and why."""
    assert str(Shortage(T, "cores", 20, 16, 8)) == (
        "waits for 8 cores of tenant t's limit of 20: 16 used, 8 needed"
    )
    assert str(Shortage(Account.of_pool("p", "q"), "ram", 0.5, 0.25, 1)) == (
        "waits for 1 ram of pool p/q's limit of 0.5: 0.25 used, 1 needed"
    )
