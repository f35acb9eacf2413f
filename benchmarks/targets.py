"""What the project wants to reach, and whether it did."""

from __future__ import annotations

from typing import Protocol

import attrs

from benchmarks.daemons import OURS, REFERENCE
from benchmarks.measured import Results


class Target(Protocol):
    """One thing to reach in one number of one scenario."""

    @property
    def words(self) -> str:
        """For the table."""

    def met(self, results: Results, scenario: str, number: str) -> bool | None:
        """Whether it was reached; None where what it takes was not measured."""


@attrs.frozen
class Times:
    """So many times better than Nodepool 11; its number is the smaller one if more is better."""

    times: float
    more_is_better: bool = False

    @property
    def words(self) -> str:
        return f"{self.times:g} times"

    def met(self, results: Results, scenario: str, number: str) -> bool | None:
        better = times_better(results, scenario, number, self.more_is_better)
        return None if better is None else better >= self.times


@attrs.frozen
class AtMost:
    """No more than this, whatever Nodepool 11 does."""

    most: float
    words: str

    def met(self, results: Results, scenario: str, number: str) -> bool | None:
        ours = results.median(scenario, OURS.name, number)
        return None if ours is None else ours <= self.most


@attrs.frozen
class ShareOf:
    """At least this share of what somebody else reached in another scenario."""

    share: float
    scenario: str
    who: str
    words: str

    def met(self, results: Results, scenario: str, number: str) -> bool | None:
        ours = results.median(scenario, OURS.name, number)
        most = results.median(self.scenario, self.who, number)
        return None if ours is None or most is None else ours >= self.share * most


def times_better(
    results: Results, scenario: str, number: str, more_is_better: bool
) -> float | None:
    """How many times better our median is than Nodepool 11's; None where one is not there.

    Infinite where it is nothing against something.
    """
    theirs = results.median(scenario, REFERENCE.name, number)
    ours = results.median(scenario, OURS.name, number)
    if theirs is None or ours is None:
        return None
    better, worse = (ours, theirs) if more_is_better else (theirs, ours)
    if not worse:
        return float("inf") if better else 1.0
    return better / worse
