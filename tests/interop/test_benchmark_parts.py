"""The benchmark notices what would make its numbers worthless, and says what it measured."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import day, report, requester, scenarios, timed_turns
from benchmarks.daemons import CHECKOUT, OURS, REFERENCE, Endpoint
from benchmarks.measured import Results
from benchmarks.virtual_clock import VirtualClock


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


def test_what_is_wanted_is_said() -> None:
    """What has no counterpart in Nodepool 11 stands beside what the project wants."""
    results = Results(quick=False, runs=1, daemons=[REFERENCE.name, OURS.name])
    numbers = {row.number: 0.03 for row in report.ROWS if row.scenario == "burst, 1000"}
    results.add("burst, 1000", OURS.name, numbers)
    (line,) = (line for line in report.table(results).splitlines() if "longest turn, CPU" in line)
    assert line.endswith("| - | 30 ms |  | 50 ms |")


class Poller:
    """What an epoll object is to a reactor; every wait is over at once."""

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        return [(1, int(timeout))]

    def register(self, number: int) -> int:
        return number


def test_long_turns_are_noted(tmp_path: Path) -> None:
    """Work between two waits is a turn; its length, wall and CPU, is written down if it is long."""
    file = tmp_path / "turns"
    notes = timed_turns.Notes(file)
    poller = timed_turns.TimedPoller(Poller(), notes)
    assert (poller.poll(1.0), poller.register(7)) == ([(1, 1)], 7)
    notes.call("create")
    until = time.perf_counter() + 2 * timed_turns.NOTEWORTHY
    while time.perf_counter() < until:
        pass
    poller.poll(1.0)
    poller.poll(1.0)
    turns, calls = timed_turns.read(file.read_text().splitlines())
    (turn,) = turns
    assert turn.wall >= 2 * timed_turns.NOTEWORTHY > turn.collecting
    assert 0 < turn.cpu <= turn.wall + 0.001
    assert calls[0].count == {"create": 1, "delete": 0, "list_instances": 0}


def test_virtual_time() -> None:
    """Timers fire in their order at their time, those of one moment as they were set."""
    clock = VirtualClock(100.0)
    seen: list[tuple[str, float]] = []

    def note(what: str) -> None:
        seen.append((what, clock.seconds()))

    for delay, what in ((3, "late"), (1, "first"), (1, "second"), (2, "cancelled"), (2, "moved")):
        call = clock.callLater(delay, note, what)
        if what == "cancelled":
            call.cancel()
    call.reset(5)
    sooner = clock.callLater(9, note, "sooner")
    sooner.reset(4)
    clock.callLater(0.5, lambda: clock.callLater(0, note, "at once"))
    clock.run_until(104.5)
    assert [what for what, _ in seen] == ["at once", "first", "second", "late", "sooner"]
    assert [when for _, when in seen] == [100.5, 101.0, 101.0, 103.0, 104.0]
    assert clock.seconds() == 104.5
    assert [call.getTime() for call in clock.getDelayedCalls()] == [105.0]
    clock.run_until(105.0)
    assert seen[-1] == ("moved", 105.0)


def test_the_same_day_again() -> None:
    """Of a simulated day the seed decides everything but how long it takes to compute."""

    def simulate() -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.day", "--requests", "150"]
        output = subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, check=True, timeout=120
        ).stdout
        numbers: dict[str, float] = json.loads(output)["numbers"]
        return {
            name: number
            for name, number in numbers.items()
            if not name.endswith("bytes") and name not in ("wall s", "cpu s")
        }

    first = simulate()
    assert (first["requests"], first["failed requests"]) == (150, 0)
    assert first["servers made"] >= first["nodes"] >= 150
    assert simulate() == first


def test_a_bad_day_is_noticed() -> None:
    """A quota that is exceeded and a server that nobody knows of end the simulated day."""
    today = day.Day(seed=1, requests=1)
    try:
        clock, cloud = today.world.clock, today.world.clouds["cloud-1"]
        clock.run_until(clock.seconds() + 300.0)
        today.look()
        quota, cloud.quota = cloud.quota, {"instances": 0}
        cloud.used = {"instances": 1}
        with pytest.raises(day.Broken, match="cloud-1 is over its quota of instances"):
            today.look()
        cloud.quota = quota
        stranger = cloud.add_unmanaged()
        today.look()
        clock.run_until(clock.seconds() + day.UNKNOWN + 1)
        with pytest.raises(day.Broken, match=f"{stranger} runs in cloud-1, and nobody knows"):
            today.look()
    finally:
        today.close()
