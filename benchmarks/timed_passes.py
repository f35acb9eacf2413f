"""Runs our launcher and notes how long each of its passes over the requests takes.

Called like `twistd`, with one argument before its own: the file to write to, one line for each
pass, with the Unix time at its end, the groups of requests looked at, and the seconds it took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from twisted.scripts.twistd import run

from nodepool_tx.pools.answering import PassStatistics


def watch(file: Path) -> None:
    """From now on note every pass of every pool."""
    notes = file.open("w", buffering=1)
    note_pass = PassStatistics.note_pass

    def noting(self: PassStatistics, groups_seen: int, duration: float) -> None:
        notes.write(f"{time.time()} {groups_seen} {duration}\n")
        note_pass(self, groups_seen, duration)

    PassStatistics.note_pass = noting  # type: ignore[method-assign]


def main() -> None:
    """The program."""
    watch(Path(sys.argv.pop(1)))
    run()


if __name__ == "__main__":
    main()
