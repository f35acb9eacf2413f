"""What a client notices of changes: of a node that it returned, and of a reload."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import time
from collections.abc import Mapping
from typing import Any

from kazoo.exceptions import NoNodeError

from benchmarks import requester
from benchmarks.bench import CONNECTIONS, SETTLE, Bench, Numbers, percentile, registered
from benchmarks.connection import Connection
from benchmarks.daemons import Daemon, StaticNodes, address, configuration

ROUNDS = 10.0
"""Seconds; two of the rounds in which Nodepool 11 returns used nodes."""
QUIET = 4.0
"""Seconds of waits to compare those during a reload with."""
PATIENCE = 90.0
"""Seconds in which a new file must be in force."""
IN_FORCE = 13.0
"""Seconds from a new file to the end of its effects; Nodepool 11 looks every ten."""


async def turn_around(bench: Bench, daemon: Daemon, nodes: int) -> Numbers:
    """Nodes are returned at moments spread over two rounds; how long until each is ready again?

    :returns: of the times from the unlock to the node's record being `ready`, or that of the
        same machine's next node, the median and so on.
    """
    async with contextlib.AsyncExitStack() as stack:
        launcher, connection = await stack.enter_async_context(
            bench.static_launcher(daemon, [StaticNodes("only", nodes)])
        )
        await registered(launcher, connection, nodes)
        await asyncio.sleep(SETTLE)
        sessions = [
            await stack.enter_async_context(await bench.connect()) for _ in range(CONNECTIONS)
        ]
        moments = [ROUNDS * (number + random.random()) / nodes for number in range(nodes)]
        times = await asyncio.gather(
            *(
                _use_and_return(sessions[number % CONNECTIONS], after)
                for number, after in enumerate(moments)
            )
        )
    return {
        "median s": statistics.median(times),
        "p95 s": percentile(times, 0.95),
        "shortest s": min(times),
        "longest s": max(times),
    }


async def _use_and_return(connection: Connection, after: float) -> float:
    """Take a node, return it after so long; answers how long it then was not ready."""
    request = await requester.ask(connection, ["only"])
    answer = await requester.wait_until_answered(connection, request)
    (node,) = await requester.accept(connection, request, answer)
    await requester.set_state(connection, node, "in-use")
    await asyncio.sleep(after)
    await requester.set_state(connection, node, "used")
    await connection.delete(node.contender)
    returned = time.perf_counter()
    await _ready_again(connection, node)
    return time.perf_counter() - returned


async def _ready_again(connection: Connection, node: requester.HeldNode) -> None:
    """Wait until this node, or another one of the same machine, is ready."""
    with contextlib.suppress(NoNodeError):
        while True:
            data, _, changed = await connection.get_and_watch(f"{requester.NODES}/{node.id}")
            if json.loads(data)["state"] == "ready":
                return
            await changed
    looked_at: set[str] = set()
    while True:
        names, changed = await connection.children_and_watch(requester.NODES)
        for name in sorted(name for name in names if name > node.id and name not in looked_at):
            looked_at.add(name)
            with contextlib.suppress(NoNodeError):
                data, _ = await connection.get(f"{requester.NODES}/{name}")
                found = json.loads(data)
                if found["hostname"] == node.data["hostname"]:
                    if found["state"] != "ready":
                        await _ready_again(connection, requester.HeldNode(name, found, ""))
                    return
        await changed


async def reload(bench: Bench, daemon: Daemon, nodes: int) -> Numbers:
    """A client asks all the time; one host gets another label; later an interval is changed.

    :raises HandOutError: the label was not there in the end.
    """
    groups = [StaticNodes("only", nodes - 1), StaticNodes("other", 1, first=nodes - 1)]
    config = _with_label(configuration(bench.endpoint, groups))
    async with bench.launcher(daemon, config) as (launcher, connection):
        await registered(launcher, connection, nodes)
        await asyncio.sleep(SETTLE)
        asking = _Asking(connection)
        task = asyncio.create_task(asking.forever())
        try:
            before = await asking.during(QUIET)
            (entry,) = (
                each
                for each in config["providers"][0]["pools"][0]["nodes"]
                if each["name"] == address(nodes - 1)
            )
            entry["labels"] = ["other", "new"]
            watching = asyncio.create_task(_labelled(connection, address(nodes - 1), "new"))
            launcher.write(config)
            label = await asking.during(IN_FORCE, watching)
            launcher.write({**config, "max-hold-age": 7200})
            interval = await asking.during(IN_FORCE)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return {
        "median s before": statistics.median(before),
        "longest s before": max(before),
        "median s, label": statistics.median(label),
        "longest s, label": max(label),
        "until in force s": watching.result(),
        "median s, interval": statistics.median(interval),
        "longest s, interval": max(interval),
    }


def _with_label(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **config,
        "max-hold-age": 3600,
        "labels": [*config["labels"], {"name": "new"}],
    }


async def _labelled(connection: Connection, host: str, label: str) -> float:
    """Wait until the record of a host's node says that it has a label; answers how long.

    :raises HandOutError: it took longer than :data:`PATIENCE`.
    """
    started = time.perf_counter()
    others: set[str] = set()
    while time.perf_counter() - started < PATIENCE:
        for name in set(await connection.children(requester.NODES)) - others:
            with contextlib.suppress(NoNodeError):
                found = json.loads((await connection.get(f"{requester.NODES}/{name}"))[0])
                if found["hostname"] != host:
                    others.add(name)
                elif label in found["type"]:
                    return time.perf_counter() - started
        await asyncio.sleep(0.1)
    raise requester.HandOutError("the new label did not come into force")


class _Asking:
    """A client that does one job after another, and how long it waited for each."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ledger = requester.Ledger()

    async def forever(self) -> None:
        while True:
            await requester.use_one(self._connection, "only", self._ledger)

    async def during(self, seconds: float, until: asyncio.Task[float] | None = None) -> list[float]:
        """The waits that ended in the next so many seconds, and the one that has not ended.

        :param until: goes on at least until this is done.
        """
        self._ledger.waits.clear()
        await asyncio.gather(asyncio.sleep(seconds), *([until] if until else []))
        now = time.perf_counter()
        return [*self._ledger.waits, *(now - since for since in self._ledger.waiting.values())]
