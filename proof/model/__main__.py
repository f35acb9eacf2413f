"""``python -m proof.model``: search all models, and say what was found.

Exits with 1, and prints the shortest way to what is wrong, if anything is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from proof.model.configurations import CHANGES, SERVED
from proof.model.explore import Model, Verdict, explore
from proof.model.handing_out import HandingOut
from proof.model.reloading import Reloading
from proof.model.serving import Serving
from proof.model.taking import Taking

__all__ = ["FULL", "QUICK", "main"]

RESULTS = Path(__file__).parents[1] / "results" / "model.md"

#: Sizes in words, and how to make the model.
Entry = tuple[str, Callable[[], Model[Any]]]


def _reloads(sizes: str, **values: Any) -> list[Entry]:
    def entry(change: str) -> Entry:
        return (sizes, lambda: Reloading(change, **values))

    return [entry(change) for change in CHANGES]


def _serving(sizes: str, changes: Iterable[str] = SERVED, **values: Any) -> list[Entry]:
    def entry(change: str) -> Entry:
        return (sizes, lambda: Serving(change, **values))

    return [entry(change) for change in changes]


_TWO = "2 launchers, 2 nodes, 2 requests"

#: A few seconds altogether: what is searched with every change.
QUICK: list[Entry] = [
    (f"{_TWO}, a session lost", lambda: HandingOut(crashes=0)),
    ("2 launchers, 2 nodes, a request for two", lambda: Taking(wants=(2,), losses=0)),
    ("1 launcher, 2 nodes, 2 requests", lambda: Taking(launchers=1, losses=0)),
    *_reloads("1 launcher, a job, a failed successor", launchers=1, losses=0, failures=1),
    *_reloads("2 launchers, no job", users=0, losses=0),
    *_serving("2 launchers, a request, each reloaded, a session lost", wants=(1,)),
]

FULL: list[Entry] = [
    (f"{_TWO}, a session lost", Taking),
    *_serving(
        "2 launchers, 2 nodes, requests for one and for two, each reloaded, a session lost",
        wants=(1, 2),
    ),
    *_serving(
        f"{_TWO} for one each, none cancelled, each reloaded, a session lost",
        ("a node added", "a node removed"),
        patient=True,
    ),
    (
        f"{_TWO}, a session lost, a crash, a priority changed",
        lambda: HandingOut(revisions=1),
    ),
    (
        "2 launchers, 2 nodes, a request for two, late tables",
        lambda: Taking(wants=(2,), losses=0, joins_late=True),
    ),
    ("2 launchers, 2 nodes, a request for two, a session lost", lambda: Taking(wants=(2,))),
    (
        "2 launchers, 2 nodes, a request for two, a launch failed, an answer lost",
        lambda: Taking(wants=(2,), losses=0, failures=1, silences=1),
    ),
    (
        "2 launchers, 2 nodes, a request for two, a crash",
        lambda: Taking(wants=(2,), losses=0, crashes=1),
    ),
    *_reloads("2 launchers, a job, a session lost", losses=1),
    *_reloads("2 launchers, an owner deposed", users=0, losses=0, usurpers=1),
    *_reloads("2 launchers, a crash, a stop", users=0, losses=0, crashes=1, stops=1),
    *_reloads(
        "2 launchers, a failed successor, an answer lost",
        users=0,
        losses=0,
        failures=1,
        silences=1,
    ),
    *_reloads("1 launcher, 2 jobs, a failed successor", launchers=1, users=2, losses=0, failures=1),
]

#: Seconds between two lines about one search.
_TELL_EVERY = 15.0

_HEAD = (
    "| model | sizes | states | transitions | depth | CPU s | verdict |",
    "|---|---|---:|---:|---:|---:|---|",
)


def _row(sizes: str, verdict: Verdict, seconds: float) -> str:
    words = "holds" if verdict.holds else verdict.problem or "not searched to the end"
    return (
        f"| {verdict.model} | {sizes} | {verdict.states:,} | {verdict.transitions:,} "
        f"| {verdict.depth} | {seconds:.1f} | {words} |"
    )


class _Progress:
    """Says every now and then how far a search is, to whoever waits for it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = time.monotonic()

    def __call__(self, searched: int, found: int) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            left = f"{searched:,} of {found:,} states that were found"
            print(f"  {self._what}: {left}", file=sys.stderr, flush=True)


def _search(quick: bool, number: int) -> tuple[str, Verdict]:
    """One of the searches: its row in the table, and what it found."""
    sizes, make = (QUICK if quick else FULL)[number]
    began = time.process_time()
    model = make()
    verdict = explore(model, progress=_Progress(f"{model.name}, {sizes}"))
    return _row(sizes, verdict, time.process_time() - began), verdict


def _searched(quick: bool, processes: int) -> Iterator[tuple[str, Verdict]]:
    """All searches, in order."""
    numbers = range(len(QUICK if quick else FULL))
    search = partial(_search, quick)
    if processes == 1:
        yield from map(search, numbers)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(search, numbers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Search; returns what the process exits with."""
    parser = argparse.ArgumentParser(prog="python -m proof.model", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the sizes that tests search")
    parser.add_argument(
        "--results", action="store_true", help=f"write proof/results/{RESULTS.name}"
    )
    parser.add_argument("--processes", type=int, default=1, help="searches at the same time")
    options = parser.parse_args(arguments)
    rows, failed = list(_HEAD), []
    print("\n".join(rows), flush=True)
    for row, verdict in _searched(options.quick, options.processes):
        rows.append(row)
        print(row, flush=True)
        if not verdict.holds:
            failed.append(verdict)
    for verdict in failed:
        print(f"\n{verdict.in_words()}")
    if options.results:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(["# The models, searched to the end", "", *rows, ""]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
