"""The situations that are measured, each for whichever launcher it is given.

Every scenario starts the launcher on an empty `/nodepool`, drives it, reads what it used,
stops it, and answers named numbers: seconds, bytes or per second, as the name says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
from kazoo.exceptions import NoNodeError

from benchmarks import requester
from benchmarks.connection import Connection
from benchmarks.daemons import PASSES, Daemon, Endpoint, Launcher, StaticNodes, configuration

C = TypeVar("C", bound=Connection)
Numbers = dict[str, float]
CONNECTIONS = 8
SETTLE = 3.0
"""Seconds after the last node was seen until the launcher has digested that."""


@attrs.define
class Bench:
    """Where to measure.

    :ivar hours: what a simulated day was like, hour by hour; empty until there was one.
    """

    endpoint: Endpoint
    folder: Path
    started: int = 0
    hours: list[Numbers] = attrs.field(factory=list)
    sessions: set[int] = attrs.field(factory=set)
    """Those of the load."""

    async def connect(self) -> Connection:
        """A session of the load's."""
        return await self.open(Connection)

    async def open(self, kind: type[C]) -> C:
        """A session of the load's, of this kind."""
        endpoint = self.endpoint
        connection = await kind.open(endpoint.host, endpoint.port, endpoint.context())
        self.sessions.add(connection.session)
        return connection

    @contextlib.asynccontextmanager
    async def launcher(
        self,
        daemon: Daemon,
        config: Mapping[str, Any],
        environ: Mapping[str, str] | None = None,
    ) -> AsyncIterator[tuple[Launcher, Connection]]:
        """A launcher on an empty tree, and a session.  Its nodes need not be there yet."""
        self.started += 1
        folder = self.folder / f"{self.started:03}"
        async with await self.connect() as connection:
            await connection.delete_tree("/nodepool")
            with Launcher(daemon, config, folder, environ) as launcher:
                yield launcher, connection
            await connection.delete_tree("/nodepool")

    @contextlib.asynccontextmanager
    async def static_launcher(
        self, daemon: Daemon, nodes: Sequence[StaticNodes]
    ) -> AsyncIterator[tuple[Launcher, Connection]]:
        """The same with a static provider."""
        async with self.launcher(daemon, configuration(self.endpoint, nodes)) as both:
            yield both


async def registered(launcher: Launcher, connection: Connection, count: int) -> tuple[float, float]:
    """Wait until so many nodes are there and ready.

    :returns: seconds from the launcher's start to the first and to the last node.
    :raises Died: if the launcher ends.
    """
    first = 0.0
    while True:
        launcher.check()
        stat = await connection.stat(requester.NODES)
        elapsed = time.perf_counter() - launcher.started
        if stat is not None and stat.numChildren and not first:
            first = elapsed
        if stat is not None and stat.numChildren >= count:
            break
        await asyncio.sleep(0.01)
    while await _ready(connection) < count:
        await asyncio.sleep(0.05)
        launcher.check()
        elapsed = time.perf_counter() - launcher.started
    return first, elapsed


async def _ready(connection: Connection) -> int:
    names = await connection.children(requester.NODES)
    found = await asyncio.gather(*(connection.get(f"{requester.NODES}/{name}") for name in names))
    return sum(json.loads(data)["state"] == "ready" for data, _ in found)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all lies; the nearest one there is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


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
) -> Numbers:
    """So many clients, each asking again as soon as it is done, for so long."""
    async with bench.static_launcher(daemon, [StaticNodes("only", nodes, probe)]) as (
        launcher,
        watching,
    ):
        await registered(launcher, watching, nodes)
        before = launcher.usage()
        async with contextlib.AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(await bench.connect()) for _ in range(CONNECTIONS)
            ]
            done = await load(connections, "only", clients, seconds)
        cpu = launcher.usage().cpu - before.cpu
    return {
        "jobs per second": done.jobs / done.seconds,
        "median wait s": statistics.median(done.waits),
        "p95 wait s": percentile(done.waits, 0.95),
        "launcher cpu s per job": cpu / done.jobs,
    }


@attrs.frozen
class Load:
    """What clients got done."""

    seconds: float
    jobs: int
    waits: tuple[float, ...]
    """Of each job, in seconds, and of each request still open how long it has been so far."""


async def load(
    connections: Sequence[Connection],
    label: str,
    clients: int,
    seconds: float,
    before: float = 0.0,
    note: Callable[[], None] = lambda: None,
) -> Load:
    """Let clients work for a while; then withdraw the requests that are open.

    :param before: how long they work before it counts, in seconds.
    :param note: called when it begins to count, and when it ends.
    """
    ledger = requester.Ledger()
    stop = time.perf_counter() + before + seconds

    async def client(connection: Connection) -> None:
        while time.perf_counter() < stop:
            await requester.use_one(connection, label, ledger)

    tasks = [
        asyncio.create_task(client(connections[index % len(connections)]))
        for index in range(clients)
    ]
    await asyncio.wait(tasks, timeout=before, return_when=asyncio.FIRST_EXCEPTION)
    ledger.waits.clear()
    note()
    started = time.perf_counter()
    await asyncio.wait(tasks, timeout=stop - started, return_when=asyncio.FIRST_EXCEPTION)
    ended = time.perf_counter()
    note()
    open_so_far = [ended - since for since in ledger.waiting.values()]
    done = Load(ended - started, len(ledger.waits), (*ledger.waits, *open_so_far))
    for waiting in list(ledger.waiting):
        waiting.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    return done


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


async def queue(bench: Bench, daemon: Daemon, nodes: int, queued: int, requests: int) -> Numbers:
    """How much a queue that cannot be served delays a request that can."""
    async with bench.static_launcher(daemon, _stuck_groups(nodes)) as (launcher, connection):
        _, last = await registered(launcher, connection, nodes)
        await asyncio.sleep(SETTLE)
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


async def client_ceiling(bench: Bench, nodes: int, clients: int, seconds: float) -> Numbers:
    """What the load itself can reach when its requests are answered in this very process."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(await bench.connect()) for _ in range(CONNECTIONS)
        ]
        answering = await stack.enter_async_context(await bench.connect())
        await answering.delete_tree("/nodepool")
        for path in (requester.NODES, requester.REQUESTS):
            await requester.make_path(answering, path)
        free: list[str] = []
        for _ in range(nodes):
            body = json.dumps({"state": "ready", "type": ["only"], "allocated_to": None})
            path = await answering.create(f"{requester.NODES}/", body.encode(), 2)
            free.append(path.rsplit("/", 1)[1])
        responder = asyncio.create_task(_respond(answering, free))
        before = time.process_time()
        done = await load(connections, "only", clients, seconds)
        cpu = time.process_time() - before
        responder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await responder
        await answering.delete_tree("/nodepool")
    return {
        "jobs per second": done.jobs / done.seconds,
        "median wait s": statistics.median(done.waits),
        "client cpu share": cpu / done.seconds,
    }


async def _respond(connection: Connection, free: list[str]) -> None:
    """Fulfil whatever is asked for, with no thought."""
    seen: set[str] = set()
    waiting: deque[str] = deque()
    watchers: set[asyncio.Task[None]] = set()

    async def back_in_service(node: str) -> None:
        while True:
            data, _, changed = await connection.get_and_watch(f"{requester.NODES}/{node}")
            if json.loads(data)["state"] == "used":
                break
            await changed
        while True:
            holders, changed = await connection.children_and_watch(f"{requester.NODES}/{node}/lock")
            if not holders:
                break
            await changed
        free.append(node)
        await serve()

    async def serve() -> None:
        while waiting and free:
            request, node = waiting.popleft(), free.pop()
            body = json.dumps({"state": "ready", "type": ["only"], "allocated_to": request})
            answer = json.dumps({"state": "fulfilled", "nodes": [node]})
            allocated = connection.set(f"{requester.NODES}/{node}", body.encode())
            try:
                await connection.set(f"{requester.REQUESTS}/{request}", answer.encode())
            except NoNodeError:  # withdrawn
                free.append(node)
                continue
            await allocated
            task = asyncio.create_task(back_in_service(node))
            watchers.add(task)
            task.add_done_callback(watchers.discard)

    try:
        while True:
            requests, changed = await connection.children_and_watch(requester.REQUESTS)
            waiting.extend(sorted(set(requests) - seen))
            seen = set(requests)
            await serve()
            await changed
    finally:
        for task in watchers:
            task.cancel()
