"""Static nodes and those who ask for them, for whichever launcher it is given.

Every scenario starts the launcher on an empty `/nodepool`, drives it, reads what it used,
stops it, and answers named numbers: seconds, bytes or per second, as the name says.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics

from benchmarks import counted, requester
from benchmarks.bench import SETTLE, Bench, Numbers, percentile, registered
from benchmarks.crowd import load
from benchmarks.daemons import Daemon, StaticNodes, cpu_seconds

WARMING = 5.0
"""Seconds after which Nodepool 11 repeats itself: it returns used nodes that often."""


async def idle(bench: Bench, daemon: Daemon, requests: int, probe: int | None = None) -> Numbers:
    """One client, one job at a time: each right after the one before, and at random moments."""
    nodes = [StaticNodes("only", 10, probe)]
    async with bench.static_launcher(daemon, nodes) as (launcher, connection):
        await registered(launcher, connection, 10)
        ledger = requester.Ledger()
        await requester.use_one(connection, "only", ledger)
        after_another = [
            await requester.use_one(connection, "only", ledger) for _ in range(requests)
        ]
        at_random = []
        for _ in range(requests):
            await asyncio.sleep(random.uniform(0.0, 1.0))
            at_random.append(await requester.use_one(connection, "only", ledger))
        return {
            "successive median s": statistics.median(after_another),
            "successive p95 s": percentile(after_another, 0.95),
            "random median s": statistics.median(at_random),
            "random p95 s": percentile(at_random, 0.95),
            "resident bytes": launcher.usage().resident,
        }


async def busy(
    bench: Bench,
    daemon: Daemon,
    nodes: int,
    clients: int,
    seconds: float,
    probe: int | None = None,
    before: float = WARMING,
) -> Numbers:
    """So many clients, each asking again as soon as it is done, for so long.

    :param before: how long they work before it counts, in seconds.

    What ZooKeeper did meanwhile for the launcher and for the clients is counted, and which
    share of the processors each of the three took.
    """
    marks: list[counted.Mark] = []
    used: list[tuple[float, float, float]] = []
    endpoint = bench.endpoint
    async with bench.static_launcher(daemon, [StaticNodes("only", nodes, probe)]) as (
        launcher,
        watching,
    ):
        await registered(launcher, watching, nodes)

        def note() -> None:
            processes = (launcher.pid, os.getpid(), endpoint.server.pid)
            launching, asking, serving = map(cpu_seconds, processes)
            used.append((launching, asking, serving))
            marks.append(counted.mark(endpoint))

        done = await load(bench, "only", clients, seconds, before, note)
        usage = launcher.usage()
    if not done.jobs:
        raise requester.HandOutError(f"no job was done in {done.seconds:.0f} s")
    first, last = marks
    theirs = last.packets.keys() & bench.sessions
    of_launcher = counted.work(endpoint.server, first, last, last.packets.keys() - theirs)
    of_clients = counted.work(endpoint.server, first, last, theirs)
    launching, asking, serving = (after - before for before, after in zip(*used, strict=True))
    return {
        "jobs per second": done.jobs / done.seconds,
        "median wait s": statistics.median(done.waits),
        "p95 wait s": percentile(done.waits, 0.95),
        "launcher cpu s per job": launching / done.jobs,
        "load cpu s per job": asking / done.jobs,
        "server cpu s per job": serving / done.jobs,
        "resident bytes": usage.resident,
        **of_launcher.numbers("launcher", done.jobs),
        **of_clients.numbers("client", done.jobs),
    }


async def registration(bench: Bench, daemon: Daemon, nodes: int) -> Numbers:
    """From the start of the program to its last node, and what it then weighs."""
    async with bench.static_launcher(daemon, [StaticNodes("only", nodes)]) as (
        launcher,
        connection,
    ):
        first, last = await registered(launcher, connection, nodes)
        await asyncio.sleep(SETTLE)
        usage = launcher.usage()
    return {
        "start to last node s": last,
        "first to last node s": last - first,
        "resident bytes": usage.resident,
        "cpu s": usage.cpu,
    }
