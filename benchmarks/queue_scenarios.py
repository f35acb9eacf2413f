"""A long queue of requests that wait for nodes in use, and one that could be served."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

from benchmarks import requester
from benchmarks.bench import SETTLE, Bench, Numbers, percentile, registered
from benchmarks.connection import Connection
from benchmarks.daemons import PASSES, Daemon, Launcher, StaticNodes


async def queue(bench: Bench, daemon: Daemon, nodes: int, queued: int, requests: int) -> Numbers:
    """How much a queue that cannot be served delays a request that can."""
    async with bench.static_launcher(daemon, _stuck_groups(nodes)) as (launcher, connection):
        _, last = await registered(launcher, connection, nodes)
        await asyncio.sleep(SETTLE)
        unused = launcher.usage().resident
        await _take(connection, STUCK)
        without = await _latency(launcher, connection, requests)
        started = time.perf_counter()
        await _fill(connection, queued)
        before = launcher.usage().cpu
        await requester.use_one(connection, "free", requester.Ledger())
        settled = time.perf_counter() - started
        settling = launcher.usage().cpu - before
        with_queue = await _latency(launcher, connection, requests)
        resident = launcher.usage().resident
    return {
        "start to last node s": last,
        "median s without": without["median"],
        "median s with": with_queue["median"],
        "p95 s without": without["p95"],
        "p95 s with": with_queue["p95"],
        "launcher cpu s per request without": without["cpu"],
        "launcher cpu s per request with": with_queue["cpu"],
        "queue accepted s": settled,
        "cpu s to accept queue": settling,
        "resident bytes without": unused,
        "resident bytes": resident,
    }


async def passes(bench: Bench, daemon: Daemon, nodes: int, queued: int, requests: int) -> Numbers:
    """How long our launcher's passes take while that queue is there."""
    async with bench.static_launcher(daemon, _stuck_groups(nodes)) as (launcher, connection):
        await registered(launcher, connection, nodes)
        await _take(connection, STUCK)
        await _fill(connection, queued)
        await requester.use_one(connection, "free", requester.Ledger())
        since = time.time()
        await _latency(launcher, connection, requests)
        lines = (launcher.state / PASSES).read_text().splitlines()
    seen = [tuple(map(float, line.split())) for line in lines]
    durations = [duration for ended, _, duration in seen if ended > since]
    return {
        "median s": statistics.median(durations),
        "longest s": max(durations),
        "passes per request": len(durations) / requests,
    }


STUCK = tuple(f"taken-{number}" for number in range(10))


def _stuck_groups(nodes: int) -> list[StaticNodes]:
    taken = [StaticNodes(label, 1, first=index) for index, label in enumerate(STUCK)]
    return [*taken, StaticNodes("free", nodes - len(STUCK), first=len(STUCK))]


async def _fill(connection: Connection, queued: int) -> None:
    """Queue requests for one or two taken nodes, from several tenants."""
    asking = []
    for number in range(queued):
        labels = [STUCK[number % 10]]
        if number % 3 == 0:
            labels.append(STUCK[number // 10 % 10])
        asking.append(requester.ask(connection, labels, f"tenant-{number % 7}"))
    await asyncio.gather(*asking)


async def _take(connection: Connection, labels: Sequence[str]) -> None:
    """Use a node of each label, and keep it until the connection closes."""
    requests = [await requester.ask(connection, [label]) for label in labels]
    for request in requests:
        nodes = await requester.wait_until_answered(connection, request)
        for held in await requester.accept(connection, request, nodes):
            await requester.set_state(connection, held, "in-use")


async def _latency(launcher: Launcher, connection: Connection, requests: int) -> Numbers:
    ledger = requester.Ledger()
    before = launcher.usage().cpu
    waits = [await requester.use_one(connection, "free", ledger) for _ in range(requests)]
    used = launcher.usage().cpu - before
    return {
        "median": statistics.median(waits),
        "p95": percentile(waits, 0.95),
        "cpu": used / requests,
    }
