"""The benchmark notices what would make its numbers worthless, and says what it measured."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from kazoo.exceptions import NodeExistsError

from benchmarks import (
    bare,
    counted,
    crowd,
    day,
    findings,
    limit,
    page,
    report,
    requester,
    rows,
    timed_turns,
)
from benchmarks.bench import Bench, Numbers
from benchmarks.daemons import CHECKOUT, OURS, REFERENCE, Endpoint
from benchmarks.measured import BARE, Results
from benchmarks.virtual_clock import VirtualClock


def test_a_node_given_twice_is_noticed() -> None:
    """A second request with a node that is in use fails the run, and names both."""
    ledger = requester.Ledger()
    ledger.take("0000000007", "100-1")
    with pytest.raises(requester.HandOutError, match=r"0000000007 was given to 100-2 while 100-1"):
        ledger.take("0000000007", "100-2")
    ledger.give_back("0000000007")
    ledger.take("0000000007", "100-2")


class Bare:
    """A session on which a test writes down what is posted, and gives the replies."""

    def __init__(self) -> None:
        self.posted: list[tuple[bytes, bare.Reply | None]] = []

    def post(
        self,
        frame: bytes,
        reply: bare.Reply | None = None,
        missing: Callable[[], None] | None = None,
    ) -> None:
        self.posted.append((frame, reply))

    def answer(self, payload: bytes) -> None:
        """Reply to what was posted last, with a path or data."""
        _, reply = self.posted[-1]
        assert reply is not None
        reply(b"\0" * 16 + bare.text(payload))


def _crowd(session: Bare, ledger: requester.Ledger) -> crowd.Requester:
    return crowd.Requester(cast("bare.BareSession", session), ledger, {}, "only", False)


def test_a_node_given_twice_is_noticed_in_a_crowd() -> None:
    """What clients of the crowd are given goes through the same ledger."""
    session, ledger = Bare(), requester.Ledger()
    ledger.take("0000000007", "100-0000000001")
    client = _crowd(session, ledger)
    client.start()
    session.answer(b"/nodepool/requests/100-0000000002")
    with pytest.raises(requester.HandOutError, match="0000000007 was given to 100-0000000002"):
        session.answer(b'{"state": "fulfilled", "nodes": ["0000000007"]}')


def test_a_node_of_another_request_is_noticed_in_a_crowd() -> None:
    """A node that is allocated to another request ends the run."""
    session = Bare()
    client = _crowd(session, requester.Ledger())
    client.start()
    session.answer(b"/nodepool/requests/100-0000000002")
    session.answer(b'{"state": "fulfilled", "nodes": ["0000000007"]}')
    with pytest.raises(requester.HandOutError, match="0000000007 is not 100-0000000002's"):
        session.answer(b'{"state": "ready", "allocated_to": "100-0000000003"}')


def test_better_means_more_jobs_or_less_time() -> None:
    """The table says how many times better ours is, whichever way is better."""
    results = _results(runs=2)
    for jobs in (10.0, 20.0):
        results.add("100 nodes", REFERENCE.name, _busy(jobs, 5.0))
        results.add("100 nodes", OURS.name, _busy(jobs * 30, 0.1))
    lines = report.table(results).splitlines()
    (rate,) = (line for line in lines if "100 nodes, 100 clients: jobs" in line)
    (wait,) = (line for line in lines if "100 nodes, 100 clients: median wait" in line)
    assert rate.endswith("| 15 (10 to 20) | 450 (300 to 600) | 30 times | 20 times | met |")
    assert wait.endswith("| 5.00 s | 0.10 s | 50 times |  |  |")


def _results(runs: int = 1, quick: bool = False) -> Results:
    machine = {"processor": "2 cores", "Python": "3", "ZooKeeper": "3.8", "date": "today"}
    return Results(quick, runs, [REFERENCE.name, OURS.name], machine=machine)


def _busy(jobs: float, wait: float) -> Numbers:
    """What a run under load answers; a job costs as much as would be no better than there."""
    return {
        "jobs per second": jobs,
        "median wait s": wait,
        **{
            row.number: 0.01
            for family in rows.FAMILIES
            for row in family.rows
            if row.scenario == "100 nodes"
            and row.number not in ("jobs per second", "median wait s")
        },
        **{f"client {number}": 0.01 for _, number, _ in rows.BESIDE_LIMIT},
        "load cpu s per job": 0.001,
    }


def test_missed_targets_are_named() -> None:
    """What was wanted and not reached is said in a line, and in the page."""
    results = _results()
    results.add("100 nodes", REFERENCE.name, _busy(10.0, 5.0))
    results.add("100 nodes", OURS.name, _busy(300.0, 0.1))
    found = findings.missed(results)
    assert [title.split(" (")[0].rpartition(": ")[2] for title in found] == [
        "What a job costs",
        "What a job costs",
    ]
    assert "ZooKeeper writes of the launcher (wanted: 2 times)" in found[0]
    assert findings.summary(results).startswith("1 of 3 targets met; missed: ")
    assert "1 of 3 targets met." in page.page(results)


def test_half_of_the_limit_is_wanted() -> None:
    """Beside the bare client ours is judged by its share."""
    results = _results()
    results.add("100 nodes", OURS.name, _busy(300.0, 0.1))
    numbers = {number: 1.0 for _, number, _ in rows.BESIDE_LIMIT}
    cpu = {"load cpu s per job": 0.0002, "server cpu s per job": 0.001}
    results.add("limit", BARE, {"jobs per second": 601.0, **numbers, **cpu})
    reached = "Ours reaches 50% of its rate with the same clients"
    assert f"{reached}; wanted: half; missed." in report.table(results)
    assert "Against a bare client" in findings.missed(results)[0]


def test_a_page_without_scripts(tmp_path: Path) -> None:
    """The page is one file: no scripts, and nothing is loaded from elsewhere."""
    results = _results(runs=2)
    for jobs in (10.0, 20.0):
        results.add("100 nodes", REFERENCE.name, _busy(jobs, 5.0))
        results.add("100 nodes", OURS.name, _busy(jobs * 30, 0.1))
    text = page.page(results)
    assert "<script" not in text
    assert "http" not in text
    assert text.count("<svg") == text.count("</svg>") > 2
    assert "<b>30&times;</b>" in text


def test_what_failed_is_in_the_table() -> None:
    """A scenario that could not be measured is named under the table, and in the page."""
    results = _results(quick=True)
    results.failures.append("run 1, idle: Died <now>")
    assert "**Not measured:** run 1, idle: Died <now>" in report.table(results)
    assert "run 1, idle: Died &lt;now&gt;" in page.page(results)


def test_the_load_works_by_itself(endpoint: Endpoint, tmp_path: Path) -> None:
    """Clients get through whole jobs on the least there can be of a launcher.

    What the server has counted for them is what the replay says it does.
    """

    async def measure() -> Numbers:
        return await limit.replay(Bench(endpoint, tmp_path), nodes=3, clients=2, seconds=3.0)

    numbers = asyncio.run(measure())
    assert numbers["jobs per second"] > 0
    assert numbers["median wait s"] > 0
    # Those of a job that is not over yet are counted, and the job is not.
    assert numbers["written parts per job"] == pytest.approx(6 + 5 + 3, rel=0.2)
    assert numbers["reads per job"] == pytest.approx(5 + 2, rel=0.2)


def test_a_refused_write_is_counted(endpoint: Endpoint, tmp_path: Path) -> None:
    """The server's log has what it refused; reads are what was asked for and is not there."""

    async def measure() -> counted.Work:
        bench = Bench(endpoint, tmp_path)
        async with await bench.connect() as idle, await bench.connect() as busy:
            await busy.delete_tree("/counted")
            first = counted.mark(endpoint)
            await busy.create("/counted", b"x" * 100)
            with pytest.raises(NodeExistsError):
                await busy.create("/counted")
            await busy.get("/counted")
            await busy.delete("/counted")
            await idle.stat("/")
            last = counted.mark(endpoint)
            return counted.work(endpoint.server, first, last, {busy.session})

    work = asyncio.run(measure())
    assert (work.requests, work.reads, work.writes, work.refused) == (4, 1, 3, 1)
    assert work.operations == 2
    assert 100 < work.size < 400


def test_ids_are_left_out_of_names() -> None:
    """Operations on different nodes and requests are counted together."""
    lock = f"/nodepool/nodes/0000000012/lock/{'a' * 32}__lock__0000000001"
    assert counted.nameless(lock) == "/nodepool/nodes/<node>/lock/<contender>"
    assert counted.nameless("/nodepool/requests/100-0000000001") == "/nodepool/requests/<request>"


def test_what_is_wanted_is_said() -> None:
    """What has no counterpart in Nodepool 11 stands beside what the project wants."""
    results = _results()
    numbers = {
        row.number: 0.03
        for family in rows.FAMILIES
        for row in family.rows
        if row.scenario == "burst, 1000"
    }
    results.add("burst, 1000", OURS.name, numbers)
    (line,) = (line for line in report.table(results).splitlines() if "longest turn, CPU" in line)
    assert line.endswith("| - | 30 ms |  | 50 ms | met |")


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
