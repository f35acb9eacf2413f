"""What a job makes ZooKeeper do, one by one: `python -m benchmarks.operations`.

Starts a ZooKeeper that logs its requests and one launcher on it, lets clients work, and prints
what the launcher and the clients asked of the server, per job.  With all that logging it is
slower than it would be; what is counted is the same.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks import counted
from benchmarks.bench import Bench, registered
from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.crowd import load
from benchmarks.daemons import OURS, REFERENCE, Daemon, Endpoint, StaticNodes, zookeeper
from benchmarks.scenarios import WARMING


async def describe(bench: Bench, daemon: Daemon, nodes: int, clients: int, seconds: float) -> str:
    """Let clients work; answers tables of what that took."""
    server, marks = bench.endpoint.server, list[counted.Mark]()
    async with bench.static_launcher(daemon, [StaticNodes("only", nodes)]) as (launcher, watching):
        await registered(launcher, watching, nodes)

        def note() -> None:
            marks.append(counted.mark(bench.endpoint))

        done = await load(bench, "only", clients, seconds, WARMING, note)
    first, last = marks
    roles = {
        f"{daemon.name}, the launcher": last.packets.keys() - bench.sessions,
        "the clients": last.packets.keys() & bench.sessions,
    }
    lines = [f"{done.jobs} jobs in {done.seconds:.1f} s on {nodes} nodes, {clients} clients"]
    for role, sessions in roles.items():
        total = counted.work(server, first, last, sessions)
        lines += [
            f"\n# {role}, per job",
            f"requests {total.requests / done.jobs:.2f}: "
            f"{total.reads / done.jobs:.2f} reads, {total.writes / done.jobs:.2f} writes "
            f"(of them refused {total.refused / done.jobs:.2f}) with "
            f"{total.operations / done.jobs:.2f} parts and {total.size / done.jobs:.0f} bytes; "
            f"{total.notifications / done.jobs:.2f} notifications",
        ]
        requests, writes, parts = counted.kinds(server, first, last, sessions)
        for title, found in (
            ("requests by kind", requests),
            ("writes by their parts", writes),
            ("parts of writes", parts),
        ):
            lines += [f"\n## {title}", *_rows(found, done.jobs)]
    return "\n".join(lines) + "\n"


def _rows(found: Counter[str], jobs: int) -> list[str]:
    return [f"{count / jobs:8.3f}  {name}" for name, count in found.most_common(25)]


async def _measure(endpoint: Endpoint, folder: Path, options: argparse.Namespace) -> None:
    daemon = REFERENCE if options.nodepool else OURS
    bench = Bench(endpoint, folder)
    print(await describe(bench, daemon, options.nodes, options.clients, options.seconds))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operations", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--nodepool", action="store_true", help="Nodepool 11 instead of ours")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    if options.nodepool:
        environment(NODEPOOL)
    with (
        tempfile.TemporaryDirectory(prefix="nodepool-operations-") as folder,
        zookeeper(log_requests=True) as endpoint,
    ):
        asyncio.run(_measure(endpoint, Path(folder), options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
