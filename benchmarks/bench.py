"""Where scenarios are measured: a launcher on an empty tree, sessions beside it, its nodes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from benchmarks import requester
from benchmarks.connection import Connection
from benchmarks.daemons import Daemon, Endpoint, Launcher, StaticNodes, configuration

C = TypeVar("C", bound=Connection)
Numbers = dict[str, float]
CONNECTIONS = 8
SETTLE = 8.0
"""Seconds after the last node was seen until both launchers have digested that."""


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
