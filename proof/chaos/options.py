"""What can be said on the command line."""

from __future__ import annotations

import argparse
import pathlib
import random
from collections.abc import Sequence

import attrs

from proof.chaos.faults import chosen

__all__ = ["Options", "parse"]

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"


@attrs.frozen(kw_only=True)
class Options:
    """How a run is to be.

    :ivar minutes: with things going wrong; the time at rest comes on top.
    :ivar rest_every: minutes between two rests.
    :ivar clients: jobs that go on at a time.
    :ivar only: names or families of faults; all, if empty.
    :ivar results: where the report goes; None writes none.
    :ivar keep: leave the logs where they are also when all is well.
    """

    minutes: float = 10.0
    seed: int = 0
    launchers: int = 3
    clients: int = 30
    rest_every: float = 2.0
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    results: pathlib.Path | None = None
    keep: bool = False


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line.

    :raises SystemExit: it is wrong, or asks for help.
    """
    parser = argparse.ArgumentParser(
        prog="python -m proof.chaos",
        description="Breaks everything there is around several launchers, over and over, and "
        "watches what ZooKeeper's own history says that they make of it.",
    )
    add = parser.add_argument
    add("--minutes", type=float, default=10.0, help="with things going wrong [10]")
    add("--seed", type=int, help="of what goes wrong, and when [any]")
    add("--launchers", type=int, default=3, help="[3]")
    add("--clients", type=int, default=30, help="jobs that go on at a time [30]")
    add("--rest-every", type=float, default=2.0, metavar="MINUTES", help="[2]")
    add("--only", type=_words, default=(), metavar="FAULT,...", help="these, or these families")
    add("--without", type=_words, default=(), metavar="FAULT,...", help="all but these")
    add("--results", type=pathlib.Path, default=RESULTS, metavar="DIR", help="for the report")
    add("--keep", action="store_true", help="keep all logs, also if nothing is wrong")
    found = parser.parse_args(arguments)
    if found.seed is None:
        found.seed = random.SystemRandom().randrange(1_000_000)
    if min(found.minutes, found.rest_every, found.launchers, found.clients) <= 0:
        parser.error("numbers must be greater than nothing")
    try:
        chosen(found.only, found.without)
    except ValueError as e:
        parser.error(str(e))
    return Options(**vars(found))
