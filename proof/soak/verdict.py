"""Whether numbers that were sampled for long stay as they are.

The growth of a series is its slope times the time that it is about.  The slope is that of Theil
and Sen, the median of the slopes between all pairs of samples: a peak now and then, or a moment in
which a connection was gone, does not move it.  A series grows when that is more than its limit,
which is a share of what it was in the first quarter, but never less than so much.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import attrs

from proof.soak.samples import Samples

__all__ = ["Limit", "Verdict", "judge", "slope", "table"]

#: More samples than this are thinned out: all pairs of them are compared.
_MOST = 400
#: With fewer samples there is no verdict.
_FEWEST = 8


@attrs.frozen
class Limit:
    """How much a series may change.

    :ivar share: of its median in the first quarter.
    :ivar least: what it may change by in any case.
    :ivar unit: what it is counted in; ``bytes`` are shown in MiB.
    :ivar lowest_of: it is judged by the lowest of so many samples in a row.  A queue is empty
        now and then, however busy the machine is; what leaks is there all the time.
    """

    share: float
    least: float
    unit: str = ""
    lowest_of: int = 1

    def of(self, median: float) -> float:
        """How much a series with this median may grow by."""
        return max(self.least, self.share * median)


@attrs.frozen
class Verdict:
    """What was found about one series; its numbers are in its unit."""

    name: str
    unit: str
    first: float
    last: float
    growth: float
    limit: float

    @property
    def grows(self) -> bool:
        return self.growth > self.limit


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs, by the second."""
    step = max(1, -(-len(times) // _MOST))
    points = list(zip(times, values, strict=True))[::step]
    slopes = [
        (later - earlier) / (end - begin)
        for index, (begin, earlier) in enumerate(points)
        for end, later in points[index + 1 :]
        if end > begin
    ]
    return statistics.median(slopes) if slopes else 0.0


def _lows(times: Sequence[float], values: Sequence[float], count: int) -> Samples:
    """The lowest of each so many samples, but not of so many that too few are left."""
    count = max(1, min(count, len(times) // _FEWEST))
    lows = [min(values[at : at + count]) for at in range(0, len(values), count)]
    return Samples(list(times[::count]), {"": lows})


def judge(samples: Samples, warm_up: float, limits: Mapping[str, Limit]) -> list[Verdict]:
    """A verdict about each series that has a limit.

    :param warm_up: seconds at the beginning that do not count.
    :raises ValueError: there are not enough samples after it, or there is a limit without series.
    """
    rest = samples.since(warm_up)
    if len(rest.times) < _FEWEST:
        raise ValueError(f"{len(rest.times)} samples after the warm-up of {warm_up:g} s")
    if unknown := limits.keys() - rest.columns.keys():
        raise ValueError(f"never looked at: {', '.join(sorted(unknown))}")
    duration = rest.times[-1] - rest.times[0]
    found = []
    for name, limit in limits.items():
        lows = _lows(rest.times, rest.columns[name], limit.lowest_of)
        values = lows.columns[""]
        quarter = len(values) // 4
        first, last = statistics.median(values[:quarter]), statistics.median(values[-quarter:])
        growth = slope(lows.times, values) * duration
        found.append(Verdict(name, limit.unit, first, last, growth, limit.of(first)))
    return found


def _number(value: float, unit: str, sign: str = "") -> str:
    if unit == "bytes":
        return f"{value / 2**20:{sign},.2f} MiB"
    return f"{value:{sign},.1f}" if abs(value) < 1000 else f"{value:{sign},.0f}"


def table(verdicts: Sequence[Verdict]) -> str:
    """As Markdown: what it was in the first and the last quarter, and what that means."""
    lines = [
        "| series | first quarter | last quarter | growth | limit | verdict |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for each in verdicts:
        cells = [
            each.name,
            *(_number(value, each.unit) for value in (each.first, each.last)),
            _number(each.growth, each.unit, "+"),
            _number(each.limit, each.unit),
            "**grows**" if each.grows else "flat",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
