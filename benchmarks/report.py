"""Turns what was measured into a table, a plot and a file of raw numbers."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

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
    ceiling: Numbers = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)
    seconds: float = 0.0

    def add(self, scenario: str, daemon: str, numbers: Numbers) -> None:
        """Note one run."""
        self.measured.setdefault(scenario, {}).setdefault(daemon, []).append(numbers)

    def values(self, scenario: str, daemon: str, number: str) -> list[float]:
        """One number of every run; empty where it was not measured."""
        return [run[number] for run in self.measured.get(scenario, {}).get(daemon, [])]


def _seconds(value: float) -> str:
    if value < 0.0995:
        return f"{value * 1000:.2g} ms" if value < 0.01 else f"{value * 1000:.0f} ms"
    return f"{value:.2f} s"


def _rate(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _memory(value: float) -> str:
    return f"{value / MEBIBYTE:.0f} MiB"


@attrs.frozen
class Row:
    """One line of the table."""

    title: str
    scenario: str
    number: str
    text: Callable[[float], str]
    more_is_better: bool = False
    wanted: float | None = None
    """How many times better than Nodepool 11 the project wants to be."""


ROWS = (
    Row(
        "Hand-out, one job after another, median",
        "idle",
        "successive median s",
        _seconds,
        False,
        50,
    ),
    Row("Hand-out, one job after another, 95 %", "idle", "successive p95 s", _seconds),
    Row("Hand-out, asked at random moments, median", "idle", "random median s", _seconds),
    Row("100 nodes, 100 clients: jobs a second", "100 nodes", "jobs per second", _rate, True, 10),
    Row("100 nodes, 100 clients: median wait", "100 nodes", "median wait s", _seconds),
    Row(
        "100 nodes, 100 clients: launcher's CPU a job",
        "100 nodes",
        "launcher cpu s per job",
        _seconds,
    ),
    Row("10 nodes, 100 clients: jobs a second", "10 nodes", "jobs per second", _rate, True, 50),
    Row("10 nodes, 100 clients: median wait", "10 nodes", "median wait s", _seconds),
    Row(
        "2,000 nodes registered after program start",
        "registration",
        "start to last node s",
        _seconds,
        False,
        1,
    ),
    Row("Memory with 2,000 nodes", "registration", "resident bytes", _memory, False, 1.5),
    Row("Memory with 10 nodes", "idle", "resident bytes", _memory, False, 1.5),
    Row(
        "Hand-out, each node probed first, median", "idle, probed", "successive median s", _seconds
    ),
    Row(
        "100 nodes probed, 100 clients: jobs a second",
        "100 nodes, probed",
        "jobs per second",
        _rate,
        True,
    ),
    Row("{many} nodes: registered after program start", "queue", "start to last node s", _seconds),
    Row("{many} nodes: hand-out, median", "queue", "median s without", _seconds),
    Row(
        "{many} nodes, {queued} stuck requests: hand-out, median",
        "queue",
        "median s with",
        _seconds,
    ),
    Row("{many} nodes, {queued} stuck requests: hand-out, 95 %", "queue", "p95 s with", _seconds),
    Row(
        "{many} nodes: launcher's CPU a request",
        "queue",
        "launcher cpu s per request without",
        _seconds,
    ),
    Row(
        "{many} nodes, {queued} stuck: launcher's CPU a request",
        "queue",
        "launcher cpu s per request with",
        _seconds,
    ),
    Row("{many} nodes, {queued} stuck: memory", "queue", "resident bytes", _memory),
)


def times_better(row: Row, reference: float, ours: float) -> float:
    """How many times better ours is than the reference, whichever way is better."""
    return ours / reference if row.more_is_better else reference / ours


def table(results: Results) -> str:
    """The Markdown table, with what it was measured on."""
    head = ["", *results.daemons]
    both = len(results.daemons) == 2
    if both:
        head += ["better by", "wanted"]
    lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    many, queued = ("2,000", "1,000") if results.quick else ("10,000", "5,000")
    for row in ROWS:
        values = [results.values(row.scenario, name, row.number) for name in results.daemons]
        if not any(values):
            continue
        cells = [
            row.title.format(many=many, queued=queued),
            *(_cell(row, found) for found in values),
        ]
        if both:
            better = (
                f"{times_better(row, *map(statistics.median, values)):.3g} times"
                if all(values)
                else ""
            )
            cells += [better, "" if row.wanted is None else f"{row.wanted:g} times"]
        lines.append(_line(cells))
    lines += ["", _circumstances(results)]
    lines += [f"\n**Not measured:** {failure}" for failure in results.failures]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(row: Row, found: Sequence[float]) -> str:
    if not found:
        return "not measured"
    text = row.text(statistics.median(found))
    if len(found) > 1 and row.text(min(found)) != row.text(max(found)):
        text += f" ({row.text(min(found))} to {row.text(max(found))})"
    return text


def _circumstances(results: Results) -> str:
    cores = len(os.sched_getaffinity(0))
    version = ".".join(map(str, sys.version_info[:3]))
    runs = (
        "one run"
        if results.runs == 1
        else f"medians of {results.runs} interleaved runs, and their range"
    )
    return (
        f"{runs[0].upper()}{runs[1:]} on {cores} cores ({platform.machine()}), Python {version}, "
        f"one ZooKeeper over TLS for both; the load by itself reaches "
        f"{_rate(results.ceiling.get('jobs per second', 0.0))} jobs a second. "
        f"{datetime.now(timezone.utc):%Y-%m-%d}."
    )


def one_line(numbers: Numbers) -> str:
    """A run's numbers, for the progress display."""
    parts = []
    for name, value in numbers.items():
        if name.endswith("bytes"):
            parts.append(f"{name.removesuffix(' bytes')} {_memory(value)}")
        elif " s" in name:
            parts.append(f"{name} {value:.4g}")
        else:
            parts.append(f"{name} {value:.3g}")
    return ", ".join(parts)


def require_matplotlib() -> None:
    """:raises SystemExit: where the plot could not be drawn, before anything is measured."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("the plot needs matplotlib: pip install -e '.[bench]'")


def write(results: Results, folder: Path) -> list[Path]:
    """Write table, plot and raw numbers; answers the files."""
    folder.mkdir(parents=True, exist_ok=True)
    raw, text = folder / "comparison.json", folder / "comparison.md"
    raw.write_text(json.dumps(attrs.asdict(results), indent=1) + "\n")
    text.write_text(table(results))
    return [raw, text, *_plot(results, folder)]


_PANELS: tuple[tuple[str, tuple[tuple[str, str, str], ...], float, bool], ...] = (
    (
        "request to hand-out, ms",
        (
            ("idle", "successive median s", "nothing\nelse"),
            ("100 nodes", "median wait s", "100 nodes,\n100 clients"),
            ("10 nodes", "median wait s", "10 nodes,\n100 clients"),
            ("queue", "median s with", "long queue\nstuck"),
        ),
        1000.0,
        True,
    ),
    (
        "jobs a second",
        (
            ("100 nodes", "jobs per second", "100 nodes"),
            ("10 nodes", "jobs per second", "10 nodes"),
        ),
        1.0,
        True,
    ),
    ("2,000 nodes registered, s", (("registration", "start to last node s", ""),), 1.0, False),
    (
        "memory, MiB",
        (
            ("idle", "resident bytes", "10 nodes"),
            ("registration", "resident bytes", "2,000 nodes"),
        ),
        1 / MEBIBYTE,
        False,
    ),
)
_COLOURS = ("#9aa5b1", "#0b6e4f")


def _plot(results: Results, folder: Path) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    widths = [len(bars) + 0.6 for _, bars, _, _ in _PANELS]
    figure, axes = pyplot.subplots(1, len(_PANELS), figsize=(13, 3.8), width_ratios=widths)
    for axis, (title, bars, scale, logarithmic) in zip(axes, _PANELS, strict=True):
        for offset, name in enumerate(results.daemons):
            for place, (scenario, number, _) in enumerate(bars):
                found = results.values(scenario, name, number)
                if not found:
                    continue
                value = statistics.median(found) * scale
                bar = axis.bar(place + 0.4 * offset, value, 0.38, color=_COLOURS[offset])
                label = f"{value:.3g}" if value < 100 else f"{value:,.0f}"
                axis.bar_label(bar, [label], fontsize=8)
        axis.set_xticks([place + 0.2 for place in range(len(bars))], [bar[2] for bar in bars])
        axis.tick_params(labelsize=8)
        axis.set_title(title, fontsize=10)
        axis.margins(y=0.12)
        if logarithmic:
            axis.set_yscale("log")
        axis.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=colour) for colour in _COLOURS]
    figure.legend(handles, results.daemons, loc="lower center", ncols=2, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    paths = [folder / "comparison.svg", folder / "comparison.png"]
    for path in paths:
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
    return paths
