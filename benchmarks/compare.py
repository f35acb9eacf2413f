"""Compare our launcher with Nodepool 11's: `python -m benchmarks.compare`.

Starts one ZooKeeper with TLS, runs every scenario for both launchers in turn, several times,
and writes a page, a table, plots and the raw numbers to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import findings, limit, plot, report
from benchmarks.bench import Bench
from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import CHECKOUT, OURS, REFERENCE, Daemon, Endpoint, zookeeper
from benchmarks.listeners import accepting
from benchmarks.machine import busy_elsewhere, describe
from benchmarks.measured import Results
from benchmarks.plan import PARTS, Scenario, plan

DAEMONS = (REFERENCE, OURS)
WARM_UP = 5.0
"""Seconds in which ZooKeeper is made to compile what it will need."""


async def measure(
    endpoint: Endpoint, folder: Path, results: Results, options: argparse.Namespace
) -> None:
    """Run everything; what fails is noted and the rest goes on."""
    bench = Bench(endpoint, folder)
    started = time.perf_counter()
    async with accepting(100) as probe:
        scenarios = [each for each in plan(results.quick, probe) if _selected(each, options)]
        todo = [
            (run, scenario, daemon)
            for run in range(results.runs)
            for scenario in scenarios
            if run < scenario.most
            for daemon in _order(scenario, run, results)
        ]
        say("letting ZooKeeper warm up")
        await limit.replay(bench, 100, 100, WARM_UP)
        for number, (run, scenario, daemon) in enumerate(todo, 1):
            minutes, seconds = divmod(int(time.perf_counter() - started), 60)
            title = f"run {run + 1} of {results.runs}, {scenario.name}, {daemon.name}"
            say(f"[{number}/{len(todo)}, {minutes}:{seconds:02}] {title}")
            began = time.perf_counter()
            try:
                numbers = await asyncio.wait_for(scenario.measure(bench, daemon), scenario.limit)
            except Exception as error:
                last_line = str(error).strip().rpartition("\n")[2]
                results.failures.append(f"{title}: {type(error).__name__}: {last_line}")
                say(f"  FAILED: {error!r}")
                continue
            results.add(scenario.name, daemon.name, numbers)
            took = time.perf_counter() - began
            say("  " + report.one_line(numbers) + f" ({took:.0f} s)")
    results.hours = bench.hours


def _selected(scenario: Scenario, options: argparse.Namespace) -> bool:
    names, parts = options.scenario or (), options.part or ()
    return scenario.name in names or scenario.part in parts or not (names or parts)


def _order(scenario: Scenario, run: int, results: Results) -> list[Daemon]:
    """Who is measured, every other run the other way round."""
    if scenario.ours is not None:
        return [scenario.ours] if OURS.name in results.daemons else []
    daemons = [daemon for daemon in DAEMONS if daemon.name in results.daemons]
    return daemons[::-1] if run % 2 else daemons


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        epilog="The exit status is 1 if something could not be measured or a target was missed.",
    )
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--runs", type=int, help="how often everything is measured (default 3)")
    parser.add_argument(
        "--only", choices=[daemon.name for daemon in DAEMONS], help="measure one launcher only"
    )
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="measure only this; may be repeated"
    )
    parser.add_argument(
        "--scenario",
        choices=[scenario.name for scenario in plan(False, 0)],
        action="append",
        help="measure only this one; may be repeated",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="take what is not measured now from the earlier comparison.json",
    )
    parser.add_argument(
        "--page-only", action="store_true", help="measure nothing; write the page once more"
    )
    parser.add_argument(
        "--results", type=Path, default=CHECKOUT / "benchmarks" / "results", help="where to write"
    )
    return parser.parse_args()


def main() -> int:
    """The command; answers its exit status."""
    options = _options()
    plot.require_matplotlib()
    earlier = options.results / report.RAW
    if options.page_only:
        results = Results(**json.loads(earlier.read_text()))
    else:
        results = _measured(options)
        if options.keep and earlier.exists():
            results.merge(json.loads(earlier.read_text()))
    for path in report.write(results, options.results):
        say(f"wrote {path}")
    print(report.table(results))
    print(findings.summary(results))
    return 1 if results.failures or findings.missed(results) else 0


def _measured(options: argparse.Namespace) -> Results:
    names = [daemon.name for daemon in DAEMONS if options.only in (None, daemon.name)]
    if REFERENCE.name in names:
        environment(NODEPOOL)
    runs = options.runs or (1 if options.quick else 3)
    results = Results(quick=options.quick, runs=runs, daemons=names, machine=describe())
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nodepool-benchmark-") as folder:
        results.busy_elsewhere = busy_elsewhere()
        if results.busy_elsewhere > 0.1:
            share = f"{results.busy_elsewhere:.0%}"
            say(f"this machine is {share} busy with something else: numbers will be worse")
        say("starting ZooKeeper")
        with zookeeper() as endpoint:
            asyncio.run(measure(endpoint, Path(folder), results, options))
    results.seconds = time.perf_counter() - started
    return results


if __name__ == "__main__":
    sys.exit(main())
