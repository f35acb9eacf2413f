"""`python -m benchmarks.streams`: what 500 event streams cost the launcher's own work.

The same static jobs with and without people who watch, in turns: 500 streams of everything that
are read, and one of which a byte a second is read.  It prints medians over the runs, and their
ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from benchmarks import requester
from benchmarks.bench import Bench, Numbers, percentile, registered
from benchmarks.crowd import load
from benchmarks.daemons import (
    CHECKOUT,
    TURNS,
    Daemon,
    Launcher,
    StaticNodes,
    configuration,
    ours_within,
)
from benchmarks.daemons import zookeeper as start_zookeeper

NODES = 100
CLIENTS = 50
STREAMS = 500
SERVING = re.compile(r"serving HTTP on \S+ port (\d+)")

WATCHED = Daemon("nodepool_tx", ours_within("benchmarks.timed_turns", TURNS, web=True))


class Watchers:
    """The program that reads streams."""

    def __init__(self, port: int, count: int, slow: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.watchers", str(port), str(count), str(slow)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._line() != "open":
            raise RuntimeError("the streams could not be opened")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def received(self) -> int:
        """Bytes read so far.  :raises RuntimeError: a stream has ended."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        line = self._line()
        if not line:
            raise RuntimeError("the streams have ended")
        return int(line)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def watched(launcher: Launcher, count: int) -> Iterator[Watchers | None]:
    """With so many streams, and a slow one; with none, if it is none."""
    if not count:
        yield None
        return
    found = SERVING.search(launcher.log.read_text())
    if found is None:
        raise RuntimeError("the launcher does not serve HTTP")
    watchers = Watchers(int(found[1]), count, 1)
    try:
        yield watchers
    finally:
        watchers.close()


async def at_random(bench: Bench, jobs: int) -> list[float]:
    """How long single hand-outs at random moments take."""
    ledger = requester.Ledger()
    async with await bench.connect() as connection:
        for _ in range(jobs):
            await asyncio.sleep(random.uniform(0.0, 0.2))
            await requester.use_one(connection, "only", ledger)
    return ledger.waits


@contextlib.asynccontextmanager
async def farm(bench: Bench) -> AsyncIterator[Launcher]:
    """A launcher with all its nodes registered."""
    config = {
        **configuration(bench.endpoint, [StaticNodes("only", NODES)]),
        "webapp": {"port": 0, "listen_address": "127.0.0.1"},
    }
    async with bench.launcher(WATCHED, config) as (launcher, connection):
        await registered(launcher, connection, NODES)
        yield launcher


async def run(bench: Bench, streams: int, seconds: float, jobs: int) -> Numbers:
    """One run: first few jobs, then as many as there can be."""
    async with farm(bench) as launcher:
        with watched(launcher, streams) as watchers:
            single = await at_random(bench, jobs)
            before, heard = launcher.usage(), watchers.received() if watchers else 0
            done = await load(bench, "only", CLIENTS, seconds, 2.0)
            used = launcher.usage()
            heard = watchers.received() - heard if watchers else 0
        turns = [
            float(line.split()[3])
            for line in (launcher.state / TURNS).read_text().splitlines()
            if line.startswith("turn")
        ]
    return {
        "jobs per second": done.jobs / done.seconds,
        "hand-out under load, median s": statistics.median(done.waits),
        "hand-out under load, p95 s": percentile(done.waits, 0.95),
        "single hand-out, median s": statistics.median(single),
        "single hand-out, p95 s": percentile(single, 0.95),
        "launcher cpu s per s": (used.cpu - before.cpu) / (done.seconds + 2.0),
        "longest turn, cpu s": max(turns, default=0.0),
        "resident MB": used.resident / 1e6,
        "MB sent per s": heard / 1e6 / (done.seconds + 2.0),
    }


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--streams", type=int, default=STREAMS)
    options = parser.parse_args()
    # Each stream takes a descriptor here and one there.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results: dict[int, list[Numbers]] = {0: [], options.streams: []}
    with start_zookeeper() as endpoint, tempfile.TemporaryDirectory(prefix="streams-") as folder:
        bench = Bench(endpoint, Path(folder))
        for number in range(options.runs):
            for streams in sorted(results, reverse=bool(number % 2)):
                numbers = asyncio.run(run(bench, streams, options.seconds, options.jobs))
                results[streams].append(numbers)
    print(f"{'':34}{'without':>12}{options.streams:>6} streams{'ratio':>10}")
    for name in results[0][0]:
        without, with_streams = (
            statistics.median(each[name] for each in results[streams]) for streams in results
        )
        ratio = f"{with_streams / without:10.2f}" if without else f"{'-':>10}"
        print(f"{name:34}{without:12.4f}{with_streams:14.4f}{ratio}")


if __name__ == "__main__":
    main()
