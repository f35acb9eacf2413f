"""What a comparison has measured."""

from __future__ import annotations

import attrs

from benchmarks.scenarios import Numbers

MEBIBYTE = 1024 * 1024


@attrs.define
class Results:
    """Everything one comparison measured: for each scenario and launcher, a list of runs."""

    quick: bool
    runs: int
    daemons: list[str]
    measured: dict[str, dict[str, list[Numbers]]] = attrs.field(factory=dict)
    ceilings: list[Numbers] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)
    hours: list[Numbers] = attrs.field(factory=list)
    """What the simulated day was like, hour by hour."""
    seconds: float = 0.0
    busy_elsewhere: float = 0.0
    """Which share of the processor others used when it began."""

    def add(self, scenario: str, daemon: str, numbers: Numbers) -> None:
        """Note one run."""
        self.measured.setdefault(scenario, {}).setdefault(daemon, []).append(numbers)

    def values(self, scenario: str, daemon: str, number: str) -> list[float]:
        """One number of every run; empty where it was not measured."""
        return [run[number] for run in self.measured.get(scenario, {}).get(daemon, [])]
