"""Where our launcher's processor time goes under load: `python -m benchmarks.sampled`.

Runs the launcher with a timer that counts its processor time, lets 100 clients work on 100 nodes,
and prints which packages and functions it was in.  A sample is the innermost function; what a
function written in C takes counts for whoever called it.

Called with a file before the arguments of `twistd`, it is that launcher.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks.bench import Bench, registered
from benchmarks.crowd import Load, load
from benchmarks.daemons import (
    Daemon,
    Endpoint,
    Launcher,
    StaticNodes,
    cpu_seconds,
    ours_within,
    zookeeper,
)
from benchmarks.scenarios import WARMING

INTERVAL = 0.002
"""Seconds of processor time between two samples."""
_FILE = "samples"
_SAMPLED = Daemon("nodepool_tx", ours_within("benchmarks.sampled", _FILE))
_PACKAGES = ("nodepool_tx", "twisted", "OpenSSL", "kazoo", "json", "asyncio", "zope", "attr")


class Samples:
    """Counts where the program is, for each second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._counts: Counter[tuple[int, str, str]] = Counter()

    def start(self) -> None:
        """From now on."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        atexit.register(self._write)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if frame is not None:
            module = frame.f_globals.get("__name__", "?")
            self._counts[int(time.time()), module, frame.f_code.co_name] += 1

    def _write(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        rows = [[*place, count] for place, count in self._counts.items()]
        self._file.write_text(json.dumps(rows))


def area(module: str) -> str:
    """What a module is counted under."""
    names = module.split(".")
    if names[0] not in _PACKAGES:
        return "other"
    return ".".join(names[:2]) if names[0] in ("nodepool_tx", "twisted") else names[0]


async def _measure(
    endpoint: Endpoint, folder: Path, seconds: float
) -> tuple[Load, float, Counter[tuple[str, str]]]:
    bench = Bench(endpoint, folder)
    moments: list[float] = []
    used: list[float] = []
    async with bench.static_launcher(_SAMPLED, [StaticNodes("only", 100)]) as (launcher, watching):
        await registered(launcher, watching, 100)

        def note() -> None:
            moments.append(time.time())
            used.append(cpu_seconds(launcher.pid))

        done = await load(bench, "only", 100, seconds, WARMING, note)
        launcher.stop()
        counts = _read(launcher, *moments)
    return done, used[1] - used[0], counts


def _read(launcher: Launcher, begin: float, end: float) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for second, module, function, count in json.loads((launcher.state / _FILE).read_text()):
        if begin <= second < end:
            counts[module, function] += count
    return counts


def _report(done: Load, cpu: float, counts: Counter[tuple[str, str]]) -> str:
    total = sum(counts.values())
    each = cpu / done.jobs * 1e6
    areas: Counter[str] = Counter()
    for (module, _), count in counts.items():
        areas[area(module)] += count
    lines = [f"{done.jobs / done.seconds:.0f} jobs a second, {each:.0f} µs of CPU a job"]
    lines += ["", "# by package", *_lines(areas.most_common(20), total, each)]
    functions = [(f"{module}.{name}", count) for (module, name), count in counts.most_common(40)]
    lines += ["", "# by function", *_lines(functions, total, each)]
    return "\n".join(lines)


def _lines(found: list[tuple[str, int]], total: int, each: float) -> list[str]:
    return [f"{n / total:6.1%} {n / total * each:6.0f} µs  {name}" for name, n in found]


def main() -> int:
    """The command, and the program that it starts."""
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        from twisted.scripts.twistd import run

        Samples(Path(sys.argv.pop(1))).start()
        run()
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampled", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nodepool-sampled-") as folder, zookeeper() as endpoint:
        print(_report(*asyncio.run(_measure(endpoint, Path(folder), options.seconds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
