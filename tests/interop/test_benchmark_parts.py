"""The benchmark notices what would make its numbers worthless, and says what it measured."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import report, requester, scenarios
from benchmarks.daemons import OURS, REFERENCE, Endpoint
from benchmarks.measured import Results


def test_a_node_given_twice_is_noticed() -> None:
    """A second request with a node that is in use fails the run, and names both."""
    ledger = requester.Ledger()
    ledger.take("0000000007", "100-1")
    with pytest.raises(requester.HandOutError, match=r"0000000007 was given to 100-2 while 100-1"):
        ledger.take("0000000007", "100-2")
    ledger.give_back("0000000007")
    ledger.take("0000000007", "100-2")


def test_better_means_more_jobs_or_less_time() -> None:
    """The table says how many times better ours is, whichever way is better."""
    results = Results(quick=False, runs=2, daemons=[REFERENCE.name, OURS.name])
    for jobs in (10.0, 20.0):
        results.add("100 nodes", REFERENCE.name, _busy(jobs, 5.0))
        results.add("100 nodes", OURS.name, _busy(jobs * 30, 0.1))
    lines = report.table(results).splitlines()
    (rate,) = (line for line in lines if "100 nodes, 100 clients: jobs" in line)
    (wait,) = (line for line in lines if "100 nodes, 100 clients: median wait" in line)
    assert rate.endswith("| 15 (10 to 20) | 450 (300 to 600) | 30 times | 10 times |")
    assert wait.endswith("| 5.00 s | 0.10 s | 50 times |  |")


def _busy(jobs: float, wait: float) -> scenarios.Numbers:
    return {"jobs per second": jobs, "median wait s": wait, "launcher cpu s per job": 0.01}


def test_what_failed_is_in_the_table() -> None:
    """A scenario that could not be measured is named under the table."""
    results = Results(quick=True, runs=1, daemons=[OURS.name], failures=["run 1, idle: Died"])
    assert "**Not measured:** run 1, idle: Died" in report.table(results)


def test_the_load_works_by_itself(endpoint: Endpoint, tmp_path: Path) -> None:
    """Clients get through whole jobs when a trivial responder answers them."""

    async def measure() -> scenarios.Numbers:
        bench = scenarios.Bench(endpoint, tmp_path)
        return await scenarios.client_ceiling(bench, nodes=3, clients=6, seconds=1.0)

    numbers = asyncio.run(measure())
    assert numbers["jobs per second"] > 5
    assert 0 < numbers["median wait s"] < 1
