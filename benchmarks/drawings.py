"""Plots as SVG that stretches: places in percent, sizes in pixels, colours of the page."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from benchmarks.bench import Numbers
from benchmarks.daemons import OURS, REFERENCE
from benchmarks.findings import better
from benchmarks.measured import BARE, Results
from benchmarks.rows import Row, rate, seconds

_LOGARITHMIC_FROM = 8.0
"""The ratio of largest to smallest from which a scale is logarithmic."""
_HIGH = 18
_NARROW, _WIDE = 2.0, 96.0
"""Where scales begin and end, in percent of the width."""


def short(value: float) -> str:
    """A ratio in three figures at most."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


class Scale:
    """Places for values."""

    def __init__(self, values: Sequence[float]) -> None:
        most, least = max(values), min(value for value in values if value > 0)
        self.logarithmic = most / least > _LOGARITHMIC_FROM
        if self.logarithmic:
            self._low = math.floor(math.log10(least) - 0.05)
            self._high = math.ceil(math.log10(most) + 0.02)
            decades = range(self._low, self._high + 1)
            self.ticks = [10.0**decade for decade in decades]
        else:
            step = 10.0 ** math.floor(math.log10(most))
            step = next(s for s in (step / 5, step / 2, step, step * 2) if most / s <= 6)
            self._low, self._high = 0, math.ceil(most / step)
            self.ticks = [step * number for number in range(self._high + 1)]
            self._step = step

    def place(self, value: float) -> float:
        """In percent of the width."""
        if self.logarithmic:
            at = math.log10(max(value, 10.0**self._low)) - self._low
        else:
            at = value / self._step
        return _NARROW + (_WIDE - _NARROW) * at / (self._high - self._low)


def dots(results: Results, rows: Sequence[Row]) -> Iterable[str]:
    """Both launchers on one scale, a line for each number: medians, and the range of the runs."""
    found = {
        (row, name): results.values(row.scenario, name, row.number)
        for row in rows
        for name in results.daemons
    }
    everything = [value for values in found.values() for value in values]
    if not any(everything):
        return
    scale = Scale(everything)
    classes = dict(zip(results.daemons, ("theirs", "ours"), strict=True))
    kind = "logarithmic scale, " if scale.logarithmic else ""
    kind += "more is better" if rows[0].more_is_better else "less is better"
    yield '<div class="plot"><div class="legend">'
    yield "".join(f'<span><i class="{key}"></i>{name}</span>' for name, key in classes.items())
    yield f"<span>{kind}</span></div>"
    for row in rows:
        title = html.escape(row.title.format(**results.sizes.named()), quote=False)
        yield f'<div class="name">{title}</div>'
        yield _track(results, row, scale, {classes[n]: found[row, n] for n in classes})
        ours, theirs = (
            row.text(results.median(row.scenario, name, row.number) or 0.0)
            for name in (OURS.name, REFERENCE.name)
        )
        times = better(results, row)
        yield f'<div class="says"><b>{ours}</b> · Nodepool 11 {theirs} · {times}</div>'
    yield _axis(scale, rows[0])
    yield "</div>"


def _track(results: Results, row: Row, scale: Scale, found: dict[str, list[float]]) -> str:
    middle = _HIGH / 2
    medians = {
        key: scale.place(results.median(row.scenario, name, row.number) or 0.0)
        for key, name in (("theirs", REFERENCE.name), ("ours", OURS.name))
    }
    parts = [
        f'<line class="grid" x1="{place:.2f}%" x2="{place:.2f}%" y1="0" y2="{_HIGH}"/>'
        for place in map(scale.place, scale.ticks)
    ]
    ends = " ".join(
        f'x{number}="{place:.2f}%" y{number}="{middle}"'
        for number, place in enumerate(medians.values(), 1)
    )
    parts.append(f'<line class="join" {ends}/>')
    for key, values in found.items():
        low, high = scale.place(min(values)), scale.place(max(values))
        parts.append(
            f'<line class="range {key}" x1="{low:.2f}%" x2="{high:.2f}%" y1="{middle}" '
            f'y2="{middle}"/><circle class="{key}" cx="{medians[key]:.2f}%" cy="{middle}" r="5"/>'
        )
    return f'<svg height="{_HIGH}" aria-hidden="true">{"".join(parts)}</svg>'


def _axis(scale: Scale, row: Row) -> str:
    labels = []
    every = 1 + len(scale.ticks) // 7
    for number, tick in enumerate(scale.ticks):
        if number % every == 0:
            text = row.text(tick)
            place = scale.place(tick)
            anchor = "start" if place < 8 else "end" if place > 92 else "middle"
            labels.append(f'<text x="{place:.2f}%" y="14" text-anchor="{anchor}">{text}</text>')
    return f'<svg height="18" aria-hidden="true">{"".join(labels)}</svg>'


def processors(results: Results) -> Iterable[str]:
    """What a job costs in processor time, ours and the bare client's, by who used it."""
    ours = [
        (who, key, results.median("100 nodes", OURS.name, number) or 0.0)
        for who, key, number in (
            ("ZooKeeper", "theirs", "server cpu s per job"),
            ("clients", "third", "load cpu s per job"),
            ("launcher", "ours", "launcher cpu s per job"),
        )
    ]
    bare = [
        (who, key, results.median("limit", BARE, number) or 0.0)
        for who, key, number in (
            ("ZooKeeper", "theirs", "server cpu s per job"),
            ("launcher's and clients' part", "third", "load cpu s per job"),
        )
    ]
    most = max(sum(value for *_, value in parts) for parts in (ours, bare))
    yield '<div class="plot">'
    for name, parts in ((OURS.name, ours), (BARE, bare)):
        yield f'<div class="name">{name}</div><svg height="22" aria-hidden="true">'
        begin = 0.0
        for _, key, value in parts:
            width = 100 * value / most
            yield f'<rect class="{key}" x="{begin:.2f}%" width="{width:.2f}%" height="18" y="2"/>'
            begin += width
        yield "</svg>"
        said = " ".join(
            f'<span><i class="{key}"></i>{who} {seconds(value)}</span>' for who, key, value in parts
        )
        yield f'<div class="legend">{said}</div>'
    yield "</div>"


def hours(found: Sequence[Numbers]) -> str:
    """How long requests waited in each hour of the simulated day, logarithmically."""
    lines = (("median", "ours"), ("p95", "third"), ("p99", "theirs"))
    names = {"median": "median", "p95": "95 %", "p99": "99 %"}
    values = [max(hour[f"{name} wait s"], 0.1) for hour in found for name, _ in lines]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    width, height, left, foot = 600.0, 200.0, 46.0, 22.0

    def point(hour: float, value: float) -> str:
        across = left + (width - left) * hour / len(found)
        up = (math.log10(max(value, 0.1)) - low) / (high - low)
        return f"{across:.1f},{(height - foot) * (1 - up) + 4:.1f}"

    parts = []
    for decade in range(low, high + 1):
        _, y = point(0, 10.0**decade).split(",")
        label = f"{rate(10.0**decade)} s" if decade < 2 else f"{10**decade:,} s"
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width}" y1="{y}" y2="{y}"/>'
            f'<text x="{left - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{label}</text>'
        )
    for hour in range(0, len(found) + 1, 6):
        x, _ = point(hour, 1.0).split(",")
        anchor = "end" if hour == len(found) else "middle"
        parts.append(f'<text x="{x}" y="{height}" text-anchor="{anchor}">{hour}:00</text>')
    for name, key in lines:
        places = [point(hour + 0.5, each[f"{name} wait s"]) for hour, each in enumerate(found)]
        parts.append(f'<path class="{key}" d="M{" L".join(places)}"/>')
    legend = "".join(f'<span><i class="{key}"></i>{names[name]}</span>' for name, key in lines)
    return (
        '<div class="plot"><div class="name">How long requests waited, by hour</div>'
        f'<div class="legend">{legend}<span>logarithmic scale</span></div>'
        f'<svg viewBox="0 0 {width:g} {height + 4:g}" aria-hidden="true">'
        f"{''.join(parts)}</svg></div>"
    )
