"""What is measured with a simulated cloud."""

from __future__ import annotations

import contextlib
import statistics

from benchmarks import requester
from benchmarks.clouds import LABEL, cloud_configuration, cloud_environment
from benchmarks.daemons import Daemon
from benchmarks.scenarios import CONNECTIONS, Bench, Numbers, load, percentile


async def cloud_jobs(bench: Bench, daemon: Daemon, clients: int, seconds: float) -> Numbers:
    """So many clients, each asking for a new server as soon as it is done with its last."""
    config = cloud_configuration(bench.endpoint)
    environ = cloud_environment(bench.folder)
    async with bench.launcher(daemon, config, environ) as (launcher, connection):
        await requester.use_one(connection, LABEL, requester.Ledger())
        before = launcher.usage()
        async with contextlib.AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(await bench.connect())
                for _ in range(min(clients, CONNECTIONS))
            ]
            done = await load(connections, LABEL, clients, seconds)
        after = launcher.usage()
    return {
        "jobs per second": done.jobs / done.seconds,
        "median wait s": statistics.median(done.waits),
        "p95 wait s": percentile(done.waits, 0.95),
        "launcher cpu s per job": (after.cpu - before.cpu) / done.jobs,
        "resident bytes": after.resident,
    }
