"""How fast is the client, beside kazoo with its results brought to the reactor?

Run ``python -m benchmarks.zookeeper_client`` from the root of the repository.
Starts one ZooKeeper on loopback (Debian's package), then takes turns: every
cell of the table is measured ``--rounds`` times for each client, alternately,
and the medians are shown.  CPU time is this process's, all threads.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient
from twisted.internet import reactor as installed_reactor
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nodepool_tx.txzookeeper.client import ZookeeperClient
from tests.servers.zookeeper import ZookeeperServer, shared_authority

DATA = b"x" * 600
PATH = "/bench"
#: The server's compiler left alone and more memory: this is not a test.
JVM = ("-Xms256m", "-Xmx512m", "-Dzookeeper.forceSync=no", "-Dzookeeper.jmx.log4j.disable=true")

reactor: Any = installed_reactor
Call = Callable[[], "Deferred[Any]"]


async def run(call: Call, in_flight: int, seconds: float) -> tuple[float, float]:
    """Keep ``in_flight`` requests going; requests per second, CPU seconds each."""
    done = 0
    finished: Deferred[None] = Deferred()
    left = in_flight
    started, cpu = time.perf_counter(), time.process_time()
    deadline = started + seconds

    def answered(result: Any) -> None:
        nonlocal done, left
        done += 1
        if time.perf_counter() < deadline:
            call().addCallbacks(answered, finished.errback)
        else:
            left -= 1
            if not left:
                finished.callback(None)

    for _ in range(in_flight):
        call().addCallbacks(answered, finished.errback)
    await finished
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    return done / took, cpu / done


def through_reactor(make: Callable[..., Any], *args: Any) -> Call:
    """kazoo's asynchronous call, its result delivered in the reactor."""

    def call() -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        make(*args).rawlink(lambda done: reactor.callFromThread(finish, result, done))
        return result

    def finish(result: Deferred[Any], done: Any) -> None:
        if done.exception is None:
            result.callback(done.value)
        else:
            result.errback(done.exception)

    return call


async def measure(server: ZookeeperServer, rounds: int, seconds: float) -> None:
    ours = ZookeeperClient(reactor, server.address)
    await ours.connect()
    await ours.create(PATH, DATA)
    theirs = KazooClient(server.address)
    await deferToThread(theirs.start)
    calls: dict[str, tuple[Call, Call]] = {
        "set": (lambda: ours.set(PATH, DATA), through_reactor(theirs.set_async, PATH, DATA)),
        "get": (lambda: ours.get(PATH), through_reactor(theirs.get_async, PATH)),
    }
    for pair in calls.values():
        for call in pair:
            await run(call, 100, 2)
    print(f"{'':>4} {'in flight':>9} {'ours /s':>9} {'µs CPU':>7} {'kazoo /s':>9} {'µs CPU':>7}")
    for name, pair in calls.items():
        for in_flight in (1, 10, 100):
            results: tuple[list[Any], list[Any]] = ([], [])
            for _ in range(rounds):
                for call, cells in zip(pair, results, strict=True):
                    cells.append(await run(call, in_flight, seconds))
            row = [
                (
                    statistics.median(rate for rate, _ in cells),
                    statistics.median(c for _, c in cells),
                )
                for cells in results
            ]
            (our_rate, our_cpu), (rate, cpu) = row
            print(
                f"{name:>4} {in_flight:>9} {our_rate:>9,.0f} {our_cpu * 1e6:>7.1f}"
                f" {rate:>9,.0f} {cpu * 1e6:>7.1f}",
                flush=True,
            )
    await ours.close()
    await deferToThread(theirs.stop)
    theirs.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="per round and client")
    options = parser.parse_args()
    server = ZookeeperServer(shared_authority(), jvm=JVM)
    try:
        server.start()
        server.wait_ready()
        task.react(
            lambda _: Deferred.fromCoroutine(measure(server, options.rounds, options.seconds))
        )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
