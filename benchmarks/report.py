"""Writes what was measured: for people as a table and a page, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks.bench import Numbers
from benchmarks.daemons import OUR_CLIENT, OURS
from benchmarks.findings import (
    better,
    cell,
    circumstances,
    limit_reached,
    limit_rows,
    measured,
    summary,
    verdict,
)
from benchmarks.measured import BARE, Results
from benchmarks.page import page
from benchmarks.plot import draw, draw_day
from benchmarks.rows import FAMILIES, LIMIT, memory

RAW = "comparison.json"


def table(results: Results) -> str:
    """The Markdown tables, with what they were measured on."""
    both = len(results.daemons) == 2
    head = ["", *results.daemons, *(("better by",) if both else ()), "wanted", ""]
    lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    for family in FAMILIES:
        rows = [row for row in family.rows if measured(results, row)]
        if not rows:
            continue
        title = family.title.format(**results.sizes.named())
        lines.append(_line([f"**{title}**", *[""] * (len(head) - 1)]))
        for row in rows:
            cells = [row.title.format(**results.sizes.named())]
            cells += [cell(row, results, name) for name in results.daemons]
            cells += [better(results, row)] if both else []
            cells += [row.target.words if row.target else "", verdict(results, row)]
            lines.append(_line(cells))
    lines += [*_limit(results), "", circumstances(results), "", summary(results)]
    lines += [f"\n**Not measured:** {failure}" for failure in results.failures]
    return "\n".join(lines) + "\n"


def _limit(results: Results) -> list[str]:
    rows = limit_rows(results)
    if not rows:
        return []
    head = ["100 nodes, 100 clients, against the limit", BARE, OUR_CLIENT.name, OURS.name]
    lines = ["", _line(head), _line(["---", *["---:"] * 3]), *map(_line, rows)]
    reached = limit_reached(results)
    if reached is not None:
        lines += ["", f"Ours reaches {reached[1]}; wanted: half; {verdict(results, LIMIT)}."]
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def one_line(numbers: Numbers) -> str:
    """A run's numbers, for the progress display."""
    parts = []
    for name, value in numbers.items():
        if name.endswith("resident bytes"):
            parts.append(f"{name.removesuffix(' bytes')} {memory(value)}")
        elif " s" in name:
            parts.append(f"{name} {value:.4g}")
        else:
            parts.append(f"{name} {value:.3g}")
    return ", ".join(parts)


def write(results: Results, folder: Path) -> list[Path]:
    """Write page, table, plots and raw numbers; answers the files."""
    folder.mkdir(parents=True, exist_ok=True)
    raw, text, html = folder / RAW, folder / "comparison.md", folder / "report.html"
    raw.write_text(json.dumps(attrs.asdict(results), indent=1) + "\n")
    text.write_text(table(results))
    html.write_text(page(results))
    return [html, text, raw, *draw(results, folder), *draw_day(results.hours, folder)]
