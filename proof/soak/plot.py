"""Draws the series with matplotlib, which only this needs."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from proof.soak.part import Part

__all__ = ["draw"]

_COLUMNS = 4
_POINTS = 80
"""At most this many of a series are drawn, those between left out."""
_FLAT, _GROWS, _WARM = "#0b6e4f", "#b3261e", "#e8ebee"


def draw(parts: Sequence[Part], folder: pathlib.Path) -> list[pathlib.Path]:
    """Write small multiples of all parts as SVG and PNG; the files."""
    pyplot = _pyplot()
    series = [(part, verdict) for part in parts for verdict in part.verdicts()]
    rows = -(-len(series) // _COLUMNS)
    figure, axes = pyplot.subplots(rows, _COLUMNS, figsize=(15, 1.75 * rows), squeeze=False)
    for axis in axes.flat[len(series) :]:
        axis.set_axis_off()
    for axis, (part, verdict) in zip(axes.flat, series, strict=False):
        values = part.samples.columns[verdict.name]
        scale = 2**20 if verdict.unit == "bytes" else 1
        step = -(-len(values) // _POINTS)
        minutes = [seconds / 60 for seconds in part.samples.times[::step]]
        shown = [value / scale for value in values[::step]]
        colour = _GROWS if verdict.grows else _FLAT
        axis.axvspan(0, part.warm_up / 60, color=_WARM, linewidth=0)
        axis.plot(minutes, shown, color=colour, linewidth=0.9)
        axis.set_ylim(0, max([*shown, 1]) * 1.15)
        unit = ", MiB" if verdict.unit == "bytes" else ""
        axis.set_title(f"{part.name} · {verdict.name}{unit}", fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
        axis.locator_params(nbins=2)
        axis.margins(x=0)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("minutes", fontsize=8)
    figure.suptitle("Soak: everything from zero; grey is warm-up", fontsize=11, x=0.01, ha="left")
    figure.tight_layout(rect=(0, 0, 1, 0.99))
    files = [folder / "soak.svg", folder / "soak.png"]
    for path in files:
        figure.savefig(path, dpi=55, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
    return files


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    # The same numbers make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "nodepool_tx"
    # As text it is small.
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["font.sans-serif"] = ["DejaVu Sans"]
    from matplotlib import pyplot

    return pyplot
