"""Many requests at once, on few static nodes and on enough."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time

from benchmarks import requester
from benchmarks.bench import CONNECTIONS, SETTLE, Bench, Numbers, percentile, registered
from benchmarks.crowd import surge
from benchmarks.daemons import Daemon, StaticNodes

LIMIT = 400.0
"""Seconds in which all must be served."""


async def all_served(bench: Bench, daemon: Daemon, nodes: int, requests: int) -> Numbers:
    """So many requests at once for fewer nodes; each is a whole job."""
    async with bench.static_launcher(daemon, [StaticNodes("only", nodes)]) as (
        launcher,
        connection,
    ):
        await registered(launcher, connection, nodes)
        before = launcher.usage().cpu
        done = await surge(bench, "only", requests, LIMIT)
        usage = launcher.usage()
    return {
        "until all served s": done.done,
        "requests per second": requests / done.done,
        "median wait s": statistics.median(done.waits),
        "p95 wait s": percentile(done.waits, 0.95),
        "launcher cpu s per job": (usage.cpu - before) / requests,
        "resident bytes": usage.resident,
    }


async def all_fulfilled(bench: Bench, daemon: Daemon, requests: int) -> Numbers:
    """So many requests at once, and as many nodes, which nobody gives back."""
    async with contextlib.AsyncExitStack() as stack:
        launcher, connection = await stack.enter_async_context(
            bench.static_launcher(daemon, [StaticNodes("only", requests)])
        )
        await registered(launcher, connection, requests)
        await asyncio.sleep(SETTLE)
        sessions = [
            await stack.enter_async_context(await bench.connect()) for _ in range(CONNECTIONS)
        ]
        before = launcher.usage().cpu
        ledger = requester.Ledger()
        started = time.perf_counter()

        async def ask(number: int) -> float:
            session = sessions[number % CONNECTIONS]
            request = await requester.ask(session, ["only"])
            (node,) = await requester.wait_until_answered(session, request)
            ledger.take(node, request)
            return time.perf_counter() - started

        waits = await asyncio.gather(*map(ask, range(requests)))
        cpu = launcher.usage().cpu - before
    return {
        "until all fulfilled s": max(waits),
        "median wait s": statistics.median(waits),
        "launcher cpu s per request": cpu / requests,
    }
