"""Runs our launcher and notes how long each turn of its reactor takes, and each call to its cloud.

Called like `twistd`, with one argument before its own: the file to write to.  A turn is what
happens between two waits for events: nothing else can happen in the process meanwhile.  Its wall
time holds what other programs took of the processor; its CPU time does not.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
from twisted.scripts.twistd import run

from nodepool_tx.providers.openstack.adapter import OpenStackAdapter

NOTEWORTHY = 0.005
"""Seconds of wall time from which on a turn is noted."""
EVERY = 0.25
"""Seconds between notes of how many calls there were."""
CALLS = ("create", "delete", "list_instances")


@attrs.frozen
class Turn:
    """A turn that took long, in seconds; `ended` is Unix time."""

    ended: float
    wall: float
    cpu: float
    collecting: float
    """How much of its CPU time the garbage collector took."""


@attrs.frozen
class Calls:
    """How often the adapter was called so far."""

    seen: float
    count: dict[str, int]


class Notes:
    """The file, as it is written."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w", buffering=1)
        self._calls: Counter[str] = Counter()
        self._collecting = self._began = 0.0
        self._next = 0.0

    def call(self, name: str) -> None:
        """The cloud is asked for something."""
        self._calls[name] += 1

    def collector(self, phase: str, info: dict[str, int]) -> None:
        """The garbage collector begins or ends; for `gc.callbacks`."""
        if phase == "start":
            self._began = time.thread_time()
        else:
            self._collecting += time.thread_time() - self._began

    def turn(self, wall: float, cpu: float) -> None:
        """A turn has ended."""
        now = time.time()
        if wall >= NOTEWORTHY:
            self._file.write(f"turn {now} {wall} {cpu} {self._collecting}\n")
        self._collecting = 0.0
        if now >= self._next:
            self._next = now + EVERY
            counts = " ".join(str(self._calls[name]) for name in CALLS)
            self._file.write(f"calls {now} {counts}\n")


def read(lines: Iterable[str]) -> tuple[list[Turn], list[Calls]]:
    """What such a file says."""
    turns, calls = [], []
    for line in lines:
        kind, *rest = line.split()
        if kind == "turn":
            turns.append(Turn(*map(float, rest)))
        else:
            counts = dict(zip(CALLS, map(int, rest[1:]), strict=True))
            calls.append(Calls(float(rest[0]), counts))
    return turns, calls


class TimedPoller:
    """Stands before a reactor's epoll object; what is between two polls is a turn."""

    def __init__(self, poller: Any, notes: Notes) -> None:
        self._poller = poller
        self._notes = notes
        self._wall: float | None = None
        self._cpu = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *arguments: Any) -> Any:
        """Wait for events."""
        if self._wall is not None:
            wall, cpu = time.perf_counter() - self._wall, time.thread_time() - self._cpu
            self._notes.turn(wall, cpu)
        events = self._poller.poll(*arguments)
        self._wall, self._cpu = time.perf_counter(), time.thread_time()
        return events


def watch(reactor: Any, notes: Notes) -> None:
    """From now on note every turn and every call."""
    reactor._poller = TimedPoller(reactor._poller, notes)
    gc.callbacks.append(notes.collector)
    for name in CALLS:
        setattr(OpenStackAdapter, name, _counted(name, notes))


def _counted(name: str, notes: Notes) -> Any:
    method = getattr(OpenStackAdapter, name)

    async def counting(self: OpenStackAdapter, *arguments: Any) -> Any:
        notes.call(name)
        return await method(self, *arguments)

    return counting


def main() -> None:
    """The program."""
    notes = Notes(Path(sys.argv.pop(1)))
    from twisted.internet import reactor

    watch(reactor, notes)
    run()


if __name__ == "__main__":
    main()
