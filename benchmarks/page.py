"""The page that shows what was measured: one file, no scripts, for screens of any width.

Light or dark as the reader's system is.  Everything drawn is SVG (:mod:`benchmarks.drawings`).
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable

from benchmarks import drawings
from benchmarks.daemons import OUR_CLIENT, OURS, REFERENCE
from benchmarks.findings import (
    better,
    cell,
    circumstances,
    judged,
    limit_reached,
    limit_rows,
    measured,
    missed,
    verdict,
)
from benchmarks.measured import BARE, Results
from benchmarks.page_style import STYLE
from benchmarks.rows import FAMILIES, LIMIT, Family, Row
from benchmarks.targets import times_better

_ROWS = {(row.scenario, row.number): row for family in FAMILIES for row in family.rows}
_HEADLINES = (
    ("idle", "successive median s", "faster hand-out, idle"),
    ("100 nodes", "jobs per second", "more jobs a second, 100 nodes"),
    ("10 nodes", "jobs per second", "more jobs a second, 10 nodes"),
    ("100 nodes", "launcher cpu s per job", "less CPU for a job"),
    ("100 nodes", "launcher writes per job", "fewer ZooKeeper writes for a job"),
    ("registration", "resident bytes", "less memory, 2,000 nodes"),
)
_AGAIN = "pip install -e '.[bench]' && python -m benchmarks.compare"


def page(results: Results) -> str:
    """The whole page."""
    everything, not_met = judged(results), missed(results)
    count = f"{len(everything) - len(not_met)} of {len(everything)} targets met."
    not_met = [f"<li>{_escaped(title)}</li>" for title in not_met]
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        "<title>nodepool_tx beside Nodepool 11</title>",
        f"<style>{STYLE}</style></head><body><main>",
        "<header><h1>nodepool_tx beside Nodepool 11</h1>",
        "<p class=lead>Two launchers, one configuration, one ZooKeeper over TLS, the same "
        "clients doing what Zuul does.</p></header>",
        *_headlines(results),
        f'<section class="verdict {"bad" if not_met else "good"}"><p>{count}</p>',
        *(("<p>Missed:</p><ul>", *not_met, "</ul>") if not_met else ()),
        "</section>",
        *itertools.chain.from_iterable(_family(results, each) for each in FAMILIES[:3]),
        *_limit(results),
        *itertools.chain.from_iterable(_family(results, each) for each in FAMILIES[3:]),
        *_failures(results),
        *_about(results),
        "</main></body></html>",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _title(text: str, results: Results) -> str:
    return _escaped(text.format(**results.sizes.named()))


def _headlines(results: Results) -> Iterable[str]:
    yield '<section class="tiles">'
    for scenario, number, words in _HEADLINES:
        row = _ROWS[scenario, number]
        times = times_better(results, scenario, number, row.more_is_better)
        if times is None:
            continue
        theirs, ours = (_median(row, results, name) for name in (REFERENCE.name, OURS.name))
        yield (
            f'<div class="tile"><b>{drawings.short(times)}&times;</b><span>{words}</span>'
            f"<small>{theirs} → {ours}</small>{_badge(results, row)}</div>"
        )
    reached = limit_reached(results)
    if reached is not None:
        yield (
            f'<div class="tile"><b>{reached[0]:.0%}</b><span>of what ZooKeeper lets a bare client '
            "do</span><small>100 nodes, 100 clients, the same for both</small>"
            f"{_badge(results, LIMIT)}</div>"
        )
    yield "</section>"


def _median(row: Row, results: Results, name: str) -> str:
    value = results.median(row.scenario, name, row.number)
    return "-" if value is None else row.text(value)


def _badge(results: Results, row: Row) -> str:
    found = verdict(results, row)
    if not found or row.target is None:
        return ""
    return f'<em class="{found}">{found}: wanted {_escaped(row.target.words)}</em>'


def _family(results: Results, family: Family) -> Iterable[str]:
    rows = [row for row in family.rows if measured(results, row)]
    if not rows:
        return
    yield f"<section><h2>{_title(family.title, results)}</h2>"
    both = [
        row
        for row in rows
        if all(results.values(row.scenario, name, row.number) for name in results.daemons)
    ]
    if len(results.daemons) == 2:
        alike: dict[object, list[Row]] = {}
        for row in both:
            alike.setdefault(row.text, []).append(row)
        for group in alike.values():
            yield from drawings.dots(results, group)
    if rows[0].scenario == "day" and results.hours:
        yield drawings.hours(results.hours)
    yield from _table(results, rows)
    yield "</section>"


def _table(results: Results, rows: list[Row]) -> Iterable[str]:
    daemons = [
        name
        for name in results.daemons
        if any(results.values(row.scenario, name, row.number) for row in rows)
    ]
    both = len(daemons) == 2
    head = ["", *daemons, *(("better by",) if both else ()), "wanted"]
    yield "<table><thead><tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr></thead>"
    yield "<tbody>"
    for row in rows:
        cells = [cell(row, results, name) for name in daemons]
        cells += [better(results, row)] if both else []
        wanted = _badge(results, row).replace("wanted ", "")
        shown = "".join(
            f'<td data-of="{name}"><span>{_ranged(text)}</span></td>' if text else "<td></td>"
            for name, text in zip(head[1:-1], cells, strict=True)
        )
        yield f"<tr><th>{_title(row.title, results)}</th>{shown}<td>{wanted}</td></tr>"
    yield "</tbody></table>"


def _ranged(text: str) -> str:
    """A median, and below it the range of the runs."""
    median, _, spread = _escaped(text).partition(" (")
    return f"{median}<small>{spread.removesuffix(')')}</small>" if spread else median


def _limit(results: Results) -> Iterable[str]:
    rows = limit_rows(results)
    reached = limit_reached(results)
    if reached is None:
        return
    yield "<section><h2>Against the limit</h2>"
    yield (
        "<p>A bare client replays the ZooKeeper operations that a job cannot do without, the "
        "clients' and the launcher's, 100 jobs at a time, and does nothing else. "
        f"nodepool_tx reaches {reached[1]}. "
        "Its client alone is a launcher that does no more than the bare client, through the "
        "ZooKeeper client of nodepool_tx: what it costs goes to the client, Twisted and TLS.</p>"
    )
    yield "<p class=caption>Processor time of a job, by who used it</p>"
    yield from drawings.processors(results)
    names = (BARE, OUR_CLIENT.name, OURS.name)
    heads = "".join(f"<th>{name}</th>" for name in names)
    yield f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>"
    for title, *cells in rows:
        told = "".join(
            f'<td data-of="{name}"><span>{_ranged(text)}</span></td>'
            for name, text in zip(names, cells, strict=True)
        )
        yield f"<tr><th>{_escaped(title)}</th>{told}</tr>"
    yield f"</tbody></table>{_badge(results, LIMIT)}</section>"


def _failures(results: Results) -> Iterable[str]:
    if results.failures:
        yield '<section class="verdict bad"><h2>Not measured</h2><ul>'
        yield from (f"<li>{_escaped(failure)}</li>" for failure in results.failures)
        yield "</ul></section>"


def _about(results: Results) -> Iterable[str]:
    yield "<section><h2>How it was measured</h2>"
    yield f"<p>{_escaped(circumstances(results))} It took {results.seconds / 60:.0f} minutes.</p>"
    yield "<dl>"
    for name, value in results.machine.items():
        yield f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd></div>"
    yield "</dl>"
    yield (
        "<p>Waits with many clients count the requests still open when the time was up with the "
        "time they had waited: where it says “or so far” a slow launcher looks better than it "
        "is. What each scenario does and why: "
        '<a href="../../docs/benchmarks.md">docs/benchmarks.md</a>. Every number of every run: '
        '<a href="comparison.json">comparison.json</a>.</p>'
    )
    yield f"<p>Again, from a checkout:</p><pre>{_escaped(_AGAIN)}</pre></section>"
