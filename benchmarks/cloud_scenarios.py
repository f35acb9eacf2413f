"""What is measured with a simulated cloud."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from typing import Any

from benchmarks import requester, timed_turns
from benchmarks.bench import CONNECTIONS, Bench, Numbers, percentile
from benchmarks.clouds import LABEL, cloud_configuration, cloud_environment
from benchmarks.crowd import load
from benchmarks.daemons import CHECKOUT, TURNS, Daemon

SETTLING = 12.0
"""Seconds after which Nodepool 11's rounds of launches and deletions repeat themselves."""


async def cloud_jobs(bench: Bench, daemon: Daemon, clients: int, seconds: float) -> Numbers:
    """So many clients, each asking for a new server as soon as it is done with its last."""
    config = cloud_configuration(bench.endpoint)
    environ = cloud_environment(bench.folder)
    async with bench.launcher(daemon, config, environ) as (launcher, connection):
        await requester.use_one(connection, LABEL, requester.Ledger())
        done = await load(bench, LABEL, clients, seconds, SETTLING)
        usage = launcher.usage()
    return {
        "jobs per second": done.jobs / done.seconds,
        "median wait s": statistics.median(done.waits),
        "p95 wait s": percentile(done.waits, 0.95),
        "resident bytes": usage.resident,
    }


async def burst(bench: Bench, daemon: Daemon, servers: int) -> Numbers:
    """So many requests at once, a server for each; then all servers are given back at once.

    The servers take two seconds to boot.  How long the reactor's turns are is noted inside the
    process, so this is for our launcher only.
    """
    config = cloud_configuration(bench.endpoint, servers, roomy(servers))
    async with contextlib.AsyncExitStack() as stack:
        launching = bench.launcher(daemon, config, cloud_environment(bench.folder))
        launcher, connection = await stack.enter_async_context(launching)
        await requester.use_one(connection, LABEL, requester.Ledger())
        connections = [
            await stack.enter_async_context(await bench.connect()) for _ in range(CONNECTIONS)
        ]
        everyone = [connections[number % CONNECTIONS] for number in range(servers)]
        before, started = launcher.usage(), time.time()
        requests = await asyncio.gather(*(requester.ask(each, [LABEL]) for each in everyone))
        answers = await asyncio.gather(*map(requester.wait_until_answered, everyone, requests))
        ready, used = time.time(), launcher.usage()
        held = await asyncio.gather(*map(requester.accept, everyone, requests, answers))
        for state in ("in-use", "used"):
            await asyncio.gather(
                *(
                    requester.set_state(each, node, state)
                    for each, nodes in zip(everyone, held, strict=True)
                    for node in nodes
                )
            )
        returned = time.time()
        await asyncio.gather(
            *(
                each.delete(node.contender)
                for each, nodes in zip(everyone, held, strict=True)
                for node in nodes
            )
        )
        while await connection.children(requester.NODES):
            await asyncio.sleep(0.05)
        gone = time.time()
        await asyncio.sleep(2 * timed_turns.EVERY)
        turns, calls = timed_turns.read((launcher.state / TURNS).read_text().splitlines())
    of_burst = [turn for turn in turns if started <= turn.ended <= gone]
    first, *_, last = (each for each in calls if each.seen >= started)
    middle = next(each for each in calls if each.seen >= ready)
    return {
        "until all ready s": ready - started,
        "until all gone s": gone - returned,
        "longest turn cpu s": max((turn.cpu for turn in of_burst), default=0.0),
        "longest turn s": max((turn.wall for turn in of_burst), default=0.0),
        "collecting longest s": max((turn.collecting for turn in of_burst), default=0.0),
        "list calls until ready": middle.count["list_instances"] - first.count["list_instances"],
        "list calls": last.count["list_instances"] - first.count["list_instances"],
        "launcher cpu s per server": (launcher_cpu := used.cpu - before.cpu) / servers,
        "launcher cpu share": launcher_cpu / (ready - started),
        "resident bytes": used.resident,
    }


def roomy(servers: int) -> dict[str, Any]:
    """A simulation in which so many servers fit, each two seconds in the making."""
    return {
        "boot-delay": 2.0,
        "max-instances": servers,
        "max-cores": 4 * servers,
        "max-ram": 8192 * servers,
    }


async def day(bench: Bench, daemon: Daemon, requests: int) -> Numbers:
    """A day of a large installation on a virtual clock, in a process of its own.

    There is no launcher to be started, and no ZooKeeper: all is in that process.

    :raises DayFailed: something was not as it should be.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.day", "--requests", str(requests)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=CHECKOUT,
    )
    try:
        output, trouble = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DayFailed(trouble.decode(errors="replace")[-2000:])
    found = json.loads(output)
    bench.hours[:] = found["hours"]
    numbers: Numbers = found["numbers"]
    return numbers


class DayFailed(Exception):
    """The simulated day did not go as it should; the text says why."""
