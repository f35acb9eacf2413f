"""Compare our launcher with Nodepool 11's: `python -m benchmarks.compare`.

Starts one ZooKeeper with TLS, runs every scenario for both launchers in turn, several times,
and writes a table, a plot and the raw numbers to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from benchmarks import cloud_scenarios, plot, report, scenarios
from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import (
    CHECKOUT,
    OURS,
    OURS_TIMED,
    OURS_TURNS,
    REFERENCE,
    Daemon,
    Endpoint,
    zookeeper,
)
from benchmarks.listeners import accepting
from benchmarks.measured import Results
from benchmarks.scenarios import Bench, Numbers

LIMIT = 240.0
DAEMONS = (REFERENCE, OURS)
PARTS = ("static", "cloud", "day")


@attrs.frozen
class Scenario:
    """A named measurement of one launcher.

    :ivar ours: our launcher only, started like this.
    :ivar part: `static`, `cloud` or `day`; what can be measured alone.
    :ivar limit: seconds after which it is given up.
    """

    name: str
    measure: Callable[[Bench, Daemon], Awaitable[Numbers]]
    every_run: bool = True
    ours: Daemon | None = None
    part: str = "static"
    limit: float = LIMIT


def plan(quick: bool, probe: int) -> list[Scenario]:
    """What is measured, in this order.

    A window covers whole cycles of the five seconds in which Nodepool 11 returns used nodes.
    """
    few, short, long = (5, 10.0, 15.0) if quick else (10, 15.0, 25.0)
    nodes, queued = (2_000, 1_000) if quick else (10_000, 5_000)
    make = functools.partial
    every = [
        Scenario("idle", make(scenarios.idle, requests=few)),
        Scenario("100 nodes", make(scenarios.busy, nodes=100, clients=100, seconds=short)),
        Scenario("10 nodes", make(scenarios.busy, nodes=10, clients=100, seconds=long)),
        Scenario("registration", make(scenarios.registration, nodes=2_000)),
        Scenario("queue", make(scenarios.queue, nodes=nodes, queued=queued, requests=6)),
        Scenario(
            "passes",
            make(scenarios.passes, nodes=nodes, queued=queued, requests=50),
            ours=OURS_TIMED,
        ),
        *(
            Scenario(
                f"cloud, {clients}",
                make(cloud_scenarios.cloud_jobs, clients=clients, seconds=12.0 if quick else 36.0),
                part="cloud",
            )
            for clients in (1, 10, 20)
        ),
        *(
            Scenario(
                f"burst, {servers}",
                make(cloud_scenarios.burst, servers=servers),
                ours=OURS_TURNS,
                part="cloud",
            )
            for servers in (100, 300, 1000)
        ),
        Scenario(
            "day",
            make(cloud_scenarios.day, requests=2_000 if quick else 100_000),
            every_run=False,
            ours=OURS,
            part="day",
            limit=3600.0,
        ),
    ]
    if quick:
        return every
    probed = make(scenarios.busy, nodes=100, clients=100, seconds=short, probe=probe)
    return [
        *every,
        Scenario("idle, probed", make(scenarios.idle, requests=few, probe=probe), False),
        Scenario("100 nodes, probed", probed, False),
    ]


async def measure(
    endpoint: Endpoint,
    folder: Path,
    quick: bool,
    runs: int,
    daemons: tuple[Daemon, ...],
    parts: tuple[str, ...],
) -> Results:
    """Run everything; what fails is noted and the rest goes on."""
    bench = Bench(endpoint, folder)
    results = Results(quick=quick, runs=runs, daemons=[d.name for d in daemons])
    async with accepting(100) as probe:
        seconds = 3.0 if quick else 5.0
        for run in range(runs):
            say(f"run {run + 1} of {runs}, the load by itself")
            results.ceilings.append(await scenarios.client_ceiling(bench, 100, 100, seconds))
            say("  " + report.one_line(results.ceilings[-1]))
            for scenario in plan(quick, probe):
                if scenario.part not in parts or (run and not scenario.every_run):
                    continue
                order = daemons if run % 2 == 0 else daemons[::-1]
                if scenario.ours is not None:
                    order = (scenario.ours,) if OURS in daemons else ()
                for daemon in order:
                    title = f"run {run + 1} of {runs}, {scenario.name}, {daemon.name}"
                    say(title)
                    started = time.perf_counter()
                    try:
                        numbers = await asyncio.wait_for(
                            scenario.measure(bench, daemon), scenario.limit
                        )
                    except Exception as error:
                        last_line = str(error).strip().rpartition("\n")[2]
                        results.failures.append(f"{title}: {type(error).__name__}: {last_line}")
                        say(f"  FAILED: {error!r}")
                        continue
                    results.add(scenario.name, daemon.name, numbers)
                    took = time.perf_counter() - started
                    say("  " + report.one_line(numbers) + f" ({took:.0f} s)")
    results.hours = bench.hours
    return results


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """The command; answers its exit status: 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--runs", type=int, help="how often everything is measured (default 3)")
    parser.add_argument(
        "--only", choices=[daemon.name for daemon in DAEMONS], help="measure one launcher only"
    )
    parser.add_argument(
        "--part",
        choices=PARTS,
        action="append",
        help="measure only machines that are there (static), clouds, or a simulated day",
    )
    parser.add_argument(
        "--results", type=Path, default=CHECKOUT / "benchmarks" / "results", help="where to write"
    )
    options = parser.parse_args()
    plot.require_matplotlib()
    daemons = tuple(d for d in DAEMONS if options.only in (None, d.name))
    if REFERENCE in daemons:
        environment(NODEPOOL)
    runs = options.runs or (1 if options.quick else 3)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nodepool-benchmark-") as folder:
        elsewhere = report.busy_elsewhere()
        if elsewhere > 0.1:
            say(f"this machine is {elsewhere:.0%} busy with something else: numbers will be worse")
        say("starting ZooKeeper")
        with zookeeper() as endpoint:
            parts = tuple(options.part or PARTS)
            results = asyncio.run(
                measure(endpoint, Path(folder), options.quick, runs, daemons, parts)
            )
    results.busy_elsewhere = elsewhere
    results.seconds = time.perf_counter() - started
    for path in report.write(results, options.results):
        say(f"wrote {path}")
    print(report.table(results))
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
