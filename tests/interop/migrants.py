"""Those who go on asking while launchers come and go beneath them, and what they see go wrong.

Unlike :class:`tests.functional.launcher.requesters.Crowd` they do not stop at the first fault:
how often Nodepool 11 fails its clients without us is what we are compared with.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from kazoo.exceptions import NoNodeError
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_node
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache
from tests.functional.launcher.requesters import Fault, Held, Ledger, Requester

__all__ = ["Doubles", "Incident", "Migrants"]

#: States of a node that somebody has, or may be given.
_ALIVE = ("ready", "in-use")


@attrs.frozen
class Incident:
    """Something that a client could not work with, and during which stage."""

    stage: str
    words: str


class Migrants:
    """Clients that ask, lock, use, return, and ask again.

    :param longest: seconds that a job takes at the most.
    :param patience: seconds in which every request has to end.
    :ivar stage: what goes on, for the records.
    :ivar incidents: what went wrong.
    """

    def __init__(
        self,
        requester: Requester,
        count: int,
        wishes: Sequence[Sequence[str]],
        *,
        longest: float,
        patience: float,
        seed: int = 0,
    ) -> None:
        self.requester = requester
        self.ledger: Ledger = requester.ledger
        self.stage = "begin"
        self.incidents: list[Incident] = []
        self.served: Counter[str] = Counter()
        self.longest_wait: dict[str, float] = {}
        self.waiting: set[str] = set()
        self._wishes = wishes
        self._rng = random.Random(seed)
        self._longest = longest
        self._patience = patience
        self._count = count
        self._enough = True
        self._members: list[Deferred[None]] = []

    def go_on(self) -> None:
        """Begin, or begin again."""
        self._enough = False
        self._members = [Deferred.fromCoroutine(self._live()) for _ in range(self._count)]

    async def rest(self) -> None:
        """Let all finish what they do; fires when they have."""
        self._enough = True
        await gatherResults(self._members)

    def abandon(self) -> None:
        """Stop at once."""
        self._enough = True
        for member in self._members:
            member.addErrback(lambda failure: failure.trap(CancelledError) and None)
            member.cancel()

    async def _live(self) -> None:
        while not self._enough:
            try:
                await self._job(self._rng.choice(self._wishes))
            except Fault as e:
                self.incidents.append(Incident(self.stage, str(e)))

    async def _job(self, labels: Sequence[str]) -> None:
        request_id = await self.requester.ask(*labels)
        nodes = await self._answer(request_id)
        held: list[Held] = []
        taken: list[Any] = []
        try:
            for node_id, label in zip(nodes, labels, strict=True):
                self.ledger.take(node_id, request_id)
                taken.append(node_id)
                held.append(await self._lock(node_id, request_id))
                self.ledger.take(held[-1].slot, request_id)
                taken.append(held[-1].slot)
                if label not in held[-1].data["type"]:
                    raise Fault(f"{held[-1].data} was given for {label}")
            await self.requester.withdraw(request_id)
            self.served[self.stage] += 1
            for mine in held:
                await self.requester.set_state(mine, "in-use")
            await deferLater(reactor, self._rng.uniform(0, self._longest))
            for mine in held:
                await self.requester.set_state(mine, "used")
        finally:
            for what in taken:
                self.ledger.give_back(what)
            await self.requester.withdraw(request_id)
            for mine in held:
                await mine.lock.release()

    async def _answer(self, request_id: str) -> list[str]:
        self.waiting.add(request_id)
        began = time.monotonic()
        try:
            body = await self.requester.answer(request_id, self._patience)
        except Fault:
            await self.requester.withdraw(request_id)
            raise
        finally:
            self.waiting.discard(request_id)
            waited = time.monotonic() - began
            self.longest_wait[self.stage] = max(waited, self.longest_wait.get(self.stage, 0.0))
        if body["state"] == "failed":
            await self.requester.withdraw(request_id)
            raise Fault(f"request {request_id} failed: {body}")
        nodes: list[str] = body["nodes"]
        return nodes

    async def _lock(self, node_id: str, request_id: str) -> Held:
        client = self.requester.client
        lock = Lock(client, paths.node_lock(node_id), "tests", clock=reactor)
        try:
            await lock.acquire(30)
            data, stat = await client.get(paths.node(node_id))
        except NoNodeError:
            raise Fault(f"node {node_id} of request {request_id} is gone") from None
        node = json.loads(data)
        if (node["state"], node["allocated_to"]) != ("ready", request_id):
            await lock.release()
            raise Fault(f"{request_id} was given node {node_id} as {node}")
        return Held(node_id, node, stat.version, lock)


@attrs.define
class Doubles:
    """Slots seen with two nodes at the same time that somebody has or may be given.

    :ivar found: the ids of the nodes, the older one first.
    """

    found: list[tuple[str, str, str]] = attrs.field(factory=list)
    stage: Callable[[], str] = lambda: ""
    _alive: dict[Any, dict[str, None]] = attrs.field(factory=dict)
    _where: dict[str, Any] = attrs.field(factory=dict)

    async def watch(self, client: ZookeeperClient) -> TreeCache:
        cache = TreeCache(client, paths.NODES, wants_data=lambda path: path.count("/") == 3)
        cache.subscribe(self._on_change)
        await cache.start()
        return cache

    def _on_change(self, change: CacheChange) -> None:
        parts = paths.below(paths.NODES, change.path)
        if change.kind in (ChangeKind.CURRENT, ChangeKind.STALE) or len(parts) != 1:
            return
        node_id = parts[0]
        slot = None
        if change.kind is not ChangeKind.REMOVED and change.znode is not None:
            try:
                node = decode_node(node_id, change.znode.data or b"")
            except Unreadable:
                node = None
            if node is not None and node.slot is not None and node.state.value in _ALIVE:
                identity = (node.hostname, node.username, node.connection_port)
                slot = (node.provider, *identity, node.slot)
        before = self._where.pop(node_id, None)
        if before is not None and before != slot:
            del self._alive[before][node_id]
        if slot is not None:
            self._where[node_id] = slot
            there = self._alive.setdefault(slot, {})
            if node_id not in there:
                self.found += [(self.stage(), other, node_id) for other in there]
                there[node_id] = None
