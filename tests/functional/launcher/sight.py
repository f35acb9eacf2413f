"""What is in ZooKeeper, looked at by a client of our own that no launcher knows of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs
from kazoo.exceptions import NoNodeError
from twisted.internet.defer import Deferred, gatherResults

from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.retry import retry_reads
from tests.functional.launcher.settings import Slot

__all__ = ["SeenNode", "Sight"]


@attrs.frozen
class SeenNode:
    """A node's record, and the names of those who have or want its lock."""

    id: str
    data: dict[str, Any]
    contenders: tuple[str, ...]

    @property
    def slot(self) -> Slot:
        data = self.data
        keys = ("provider", "pool", "hostname", "connection_port", "slot")
        return tuple(data[key] for key in keys)

    @property
    def free(self) -> bool:
        """Ready, promised to nobody, in nobody's hands."""
        data = self.data
        return data["state"] == "ready" and not data["allocated_to"] and not self.contenders


class Sight:
    """Reads; unreadable records are left out."""

    def __init__(self, client: ZookeeperClient) -> None:
        self.client = client

    async def children(self, path: str) -> list[str]:
        """Sorted; of what is not there, none."""
        try:
            found = await retry_reads(self.client, lambda: self.client.get_children(path))
        except NoNodeError:
            return []
        return sorted(found)

    async def record(self, path: str) -> dict[str, Any] | None:
        """The object at ``path``; None if there is none."""
        try:
            data, _ = await retry_reads(self.client, lambda: self.client.get(path))
        except NoNodeError:
            return None
        return _object(data)

    async def _all(self, directory: str) -> dict[str, dict[str, Any]]:
        names = await self.children(directory)
        records = await gatherResults(
            [Deferred.fromCoroutine(self.record(f"{directory}/{name}")) for name in names]
        )
        return {name: data for name, data in zip(names, records, strict=True) if data is not None}

    async def nodes(self) -> list[SeenNode]:
        """All nodes, with their locks."""
        records = await self._all(paths.NODES)
        locks = await gatherResults(
            [Deferred.fromCoroutine(self.children(paths.node_lock(name))) for name in records]
        )
        return [
            SeenNode(node_id, data, tuple(contenders))
            for (node_id, data), contenders in zip(records.items(), locks, strict=True)
        ]

    async def node(self, node_id: str) -> dict[str, Any] | None:
        return await self.record(paths.node(node_id))

    async def requests(self) -> dict[str, dict[str, Any]]:
        return await self._all(paths.REQUESTS)

    async def components(self, kind: str) -> list[dict[str, Any]]:
        """What is registered: ``launcher`` or ``pool``."""
        return list((await self._all(f"{paths.COMPONENTS}/{kind}")).values())

    async def owners(self) -> dict[str, int]:
        """How many launchers stand in line for each provider that any stands in line for."""
        counts = {
            name: len(await self.children(f"{paths.OWNERS}/{name}"))
            for name in await self.children(paths.OWNERS)
        }
        return {name: count for name, count in counts.items() if count}

    async def all_free(self, wanted: Iterable[Slot]) -> bool:
        """Exactly these slots have one node each, and all nodes are free."""
        nodes = await self.nodes()
        return all(n.free for n in nodes) and Counter(n.slot for n in nodes) == Counter(wanted)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
