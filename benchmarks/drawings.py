"""Plots as SVG that stretches: places in percent, sizes in pixels, colours of the page."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from benchmarks.bench import Numbers
from benchmarks.daemons import OURS, REFERENCE
from benchmarks.findings import better
from benchmarks.measured import BARE, MEBIBYTE, Results
from benchmarks.rows import Row, memory, seconds

_LOGARITHMIC_FROM = 8.0
"""The ratio of largest to smallest from which a scale is logarithmic."""
_HIGH = 18
_NARROW, _WIDE = 2.0, 96.0
"""Where scales begin and end, in percent of the width."""


def short(value: float) -> str:
    """A ratio in three figures at most."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


class Scale:
    """Places for values.

    :param unit: what round numbers are multiples of.
    """

    def __init__(self, values: Sequence[float], unit: float) -> None:
        most, least = max(values), min(value for value in values if value > 0)
        self.logarithmic = most / least > _LOGARITHMIC_FROM
        if self.logarithmic:
            self._low = math.floor(math.log10(least) - 0.05)
            self._high = math.ceil(math.log10(most) + 0.02)
            decades = range(self._low, self._high + 1)
            self.ticks = [10.0**decade for decade in decades]
        else:
            step = unit * 10.0 ** math.floor(math.log10(most / unit))
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
    scale = Scale(everything, MEBIBYTE if rows[0].text is memory else 1.0)
    classes = dict(zip(results.daemons, ("theirs", "ours"), strict=True))
    kind = "logarithmic scale, " if scale.logarithmic else ""
    kind += "more is better" if rows[0].more_is_better else "less is better"
    yield '<div class="plot"><div class="legend">'
    yield "".join(f'<span><i class="{key}"></i>{name}</span>' for name, key in classes.items())
    yield f"<span>{kind}</span></div>"
    for row in rows:
        title = html.escape(row.title.format(**results.sizes.named()), quote=False)
        ours, theirs = (
            row.text(results.median(row.scenario, name, row.number) or 0.0)
            for name in (OURS.name, REFERENCE.name)
        )
        times = better(results, row)
        yield (
            f'<div class="said"><span class="name">{title}</span><span class="says">'
            f"<b>{ours}</b> against {theirs}: {times}</span></div>"
        )
        yield _track(results, row, scale, {classes[n]: found[row, n] for n in classes})
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
            text = _tick(tick, row)
            place = scale.place(tick)
            anchor = "start" if place < 8 else "end" if place > 92 else "middle"
            labels.append(f'<text x="{place:.2f}%" y="14" text-anchor="{anchor}">{text}</text>')
    return f'<svg height="18" aria-hidden="true">{"".join(labels)}</svg>'


def _tick(value: float, row: Row) -> str:
    if row.text is seconds:
        return f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"
    return row.text(value)


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
    lines = (("median", "median", "ours"), ("p95", "95 %", "third"), ("p99", "99 %", "theirs"))
    values = [max(hour[f"{name} wait s"], 0.1) for hour in found for name, *_ in lines]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    top, deep = 16, 190

    def down(value: float) -> float:
        return top + deep * (high - math.log10(max(value, 0.1))) / (high - low)

    parts = []
    for decade in range(low, high + 1):
        y = down(10.0**decade)
        label = f"{10.0**decade:,g} s"
        parts.append(
            f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="0" y="{y - 3:.1f}">{label}</text>'
        )
    for hour in range(0, len(found) + 1, 6):
        anchor = "start" if not hour else "end" if hour == len(found) else "middle"
        place = 100 * hour / len(found)
        parts.append(
            f'<text x="{place:.2f}%" y="{top + deep + 16}" text-anchor="{anchor}">{hour}:00</text>'
        )
    parts.append(
        f'<svg y="0" width="100%" height="{top + deep}" preserveAspectRatio="none" '
        f'viewBox="0 0 {len(found)} {top + deep}">'
    )
    for name, _, key in lines:
        places = (
            f"{hour + 0.5},{down(each[f'{name} wait s']):.1f}" for hour, each in enumerate(found)
        )
        parts.append(f'<path class="{key}" d="M{" L".join(places)}"/>')
    legend = "".join(f'<span><i class="{key}"></i>{words}</span>' for _, words, key in lines)
    return (
        '<div class="plot"><div class="name">How long requests waited, by hour</div>'
        f'<div class="legend">{legend}<span>logarithmic scale</span></div>'
        f'<svg height="{top + deep + 20}" aria-hidden="true">{"".join(parts)}</svg></svg></div>'
    )
