"""What a comparison measures, how much of it, and what came out."""

from __future__ import annotations

import statistics
from typing import Any

import attrs

from benchmarks.bench import Numbers

MEBIBYTE = 1024 * 1024
BARE = "bare client"
"""Who is measured where there is no launcher at all."""


@attrs.frozen
class Sizes:
    """How much is done in each scenario; a window is in seconds.

    A window covers whole cycles of the five seconds in which Nodepool 11 returns used nodes.
    """

    idle: int = 10
    window: float = 15.0
    few_nodes_window: float = 20.0
    many_nodes_window: float = 20.0
    returned: int = 50
    many: int = 10_000
    queued: int = 5_000
    surge: int = 2_000
    cloud_window: float = 30.0
    day: int = 100_000

    def named(self) -> dict[str, str]:
        """For texts."""
        return {name: f"{value:,}" for name, value in attrs.asdict(self).items()}


FULL = Sizes()
QUICK = Sizes(
    idle=5,
    window=10.0,
    few_nodes_window=10.0,
    many_nodes_window=10.0,
    returned=20,
    many=2_000,
    queued=1_000,
    surge=400,
    cloud_window=12.0,
    day=2_000,
)


@attrs.define
class Results:
    """Everything one comparison measured: for each scenario and launcher, a list of runs."""

    quick: bool
    runs: int
    daemons: list[str]
    measured: dict[str, dict[str, list[Numbers]]] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)
    hours: list[Numbers] = attrs.field(factory=list)
    """What the simulated day was like, hour by hour."""
    machine: dict[str, str] = attrs.field(factory=dict)
    """What it was measured on and with, and when."""
    seconds: float = 0.0
    busy_elsewhere: float = 0.0
    """Which share of the processor others used when it began."""

    @property
    def sizes(self) -> Sizes:
        """How much was done."""
        return QUICK if self.quick else FULL

    def add(self, scenario: str, daemon: str, numbers: Numbers) -> None:
        """Note one run."""
        self.measured.setdefault(scenario, {}).setdefault(daemon, []).append(numbers)

    def values(self, scenario: str, daemon: str, number: str) -> list[float]:
        """One number of every run; empty where it was not measured.

        `number` may be several, with ` + ` between them: their sum.
        """
        runs = self.measured.get(scenario, {}).get(daemon, [])
        parts = number.split(" + ")
        return [sum(run[part] for part in parts) for run in runs if run.keys() >= set(parts)]

    def median(self, scenario: str, daemon: str, number: str) -> float | None:
        """The median of that; None where it was not measured."""
        found = self.values(scenario, daemon, number)
        return statistics.median(found) if found else None

    def merge(self, earlier: dict[str, Any]) -> None:
        """Take over what an earlier comparison measured, as it was written, and this did not.

        :raises ValueError: the one was quick and the other was not.
        """
        if earlier["quick"] != self.quick:
            raise ValueError("a quick comparison and a whole one have not the same sizes")
        for scenario, daemons in earlier["measured"].items():
            self.measured.setdefault(scenario, daemons)
        self.hours = self.hours or earlier["hours"]
        self.runs = max(len(runs) for by in self.measured.values() for runs in by.values())
        self.seconds += earlier["seconds"]
