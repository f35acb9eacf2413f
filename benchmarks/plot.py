"""Draws what was measured, with matplotlib, which only this needs."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Numbers
from benchmarks.measured import MEBIBYTE, Results

_PANELS: tuple[tuple[str, tuple[tuple[str, str, str], ...], float, bool], ...] = (
    (
        "request to hand-out, ms (log)",
        (
            ("idle", "successive median s", "nothing\nelse"),
            ("100 nodes", "median wait s", "100 nodes,\n100 clients"),
            ("10 nodes", "median wait s", "10 nodes,\n100 clients"),
            ("queue", "median s with", "long queue\nstuck"),
            ("cloud, 20", "median wait s", "20 servers,\n20 clients"),
        ),
        1000.0,
        True,
    ),
    (
        "jobs a second (log)",
        (
            ("100 nodes", "jobs per second", "100 nodes"),
            ("10 nodes", "jobs per second", "10 nodes"),
            ("cloud, 20", "jobs per second", "20 servers\nof a cloud"),
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


def require_matplotlib() -> None:
    """:raises SystemExit: where the plot could not be drawn, before anything is measured."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("the plot needs matplotlib: pip install -e '.[bench]'")


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the plot as SVG and PNG; answers the files."""
    pyplot = _pyplot()
    from matplotlib.patches import Patch

    widths = [len(bars) + 0.6 for _, bars, _, _ in _PANELS]
    figure, axes = pyplot.subplots(1, len(_PANELS), figsize=(15, 3.8), width_ratios=widths)
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
    return _save(figure, folder, "comparison")


def draw_day(hours: Sequence[Numbers], folder: Path) -> list[Path]:
    """Write how long requests waited in each hour of a day; answers the files, if there was one."""
    if not hours:
        return []
    pyplot = _pyplot()
    figure, (waits, demand) = pyplot.subplots(
        2, 1, figsize=(9, 5), sharex=True, height_ratios=(3, 1)
    )
    places = [hour + 0.5 for hour in range(len(hours))]
    for name, colour in (("median", "#0b6e4f"), ("p95", "#d08c00"), ("p99", "#b0413e")):
        values = [hour[f"{name} wait s"] for hour in hours]
        waits.plot(places, values, marker=".", color=colour, label=name)
    waits.set_yscale("log")
    waits.set_ylabel("wait, s (log)")
    waits.legend(frameon=False)
    demand.bar(places, [hour["requests"] for hour in hours], 0.9, color=_COLOURS[0])
    demand.set_ylabel("requests")
    demand.set_xlabel("hour of the simulated day")
    demand.set_xticks(range(0, len(hours) + 1, 3))
    for axis in (waits, demand):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return _save(figure, folder, "day")


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "nodepool_tx"  # the same picture, the same file
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, folder: Path, name: str) -> list[Path]:
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    for path in paths:
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
    _pyplot().close(figure)
    return paths
