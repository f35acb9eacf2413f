"""Those who ask for nodes: what Zuul does, by hundreds in one process, on our own client.

Ask, watch the request until it is answered, lock the nodes, remove the request, set the nodes
in use, set them used, let go.  Lost connections are gone through, whatever the outcome of what
was under way; a lost session is a fault of the test.

:class:`Ledger` is shared by all requesters of a test.  It notices a node, and a machine's slot,
that two of them have at the same time: from the answer they saw to just before they let go.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
from kazoo.exceptions import BadVersionError, ConnectionLoss, NoNodeError
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.internet.task import deferLater

from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.txzookeeper.retry import until_connected

__all__ = ["Crowd", "Fault", "Held", "Ledger", "Requester"]

T = TypeVar("T")

#: Seconds after which a request counts as lost.
LOST_AFTER = 45.0


class Fault(AssertionError):
    """The launcher did what no requester could work with."""


@attrs.define
class Ledger:
    """Who has what at this moment, and how long everybody waited.

    :ivar waits: seconds from asking to the answer, in the order of the answers.
    """

    waits: list[float] = attrs.field(factory=list)
    answered_at: list[float] = attrs.field(factory=list)
    _holders: dict[Any, str] = attrs.field(factory=dict)

    def take(self, what: Any, request: str) -> None:
        if what in self._holders:
            raise Fault(f"{what} was given to {request} while {self._holders[what]} has it")
        self._holders[what] = request

    def give_back(self, what: Any) -> None:
        del self._holders[what]

    @property
    def in_use(self) -> int:
        """Nodes that somebody has, each noted by its id and by its slot."""
        return len(self._holders) // 2

    @property
    def served(self) -> int:
        return len(self.waits)

    def longest_silence(self) -> float:
        """The longest time in which nobody was answered."""
        pairs = zip(self.answered_at, self.answered_at[1:], strict=False)
        return max((later - earlier for earlier, later in pairs), default=0.0)


@attrs.define
class Held:
    """A node in our hands."""

    id: str
    data: dict[str, Any]
    version: int
    lock: Lock

    @property
    def slot(self) -> tuple[Any, ...]:
        keys = ("provider", "hostname", "username", "connection_port", "slot")
        return tuple(self.data[key] for key in keys)


async def insist(client: ZookeeperClient, ask: Callable[[], Deferred[T]]) -> T:
    """Ask until there is an answer; for what may be done twice."""
    while True:
        await until_connected(client)
        try:
            return await ask()
        except ConnectionLoss:
            continue


class Requester:
    """Asks for nodes and uses them, in the name of a tenant if one is given."""

    def __init__(
        self, client: ZookeeperClient, ledger: Ledger | None = None, tenant: str | None = None
    ) -> None:
        self.client = client
        self.ledger = ledger if ledger is not None else Ledger()
        self.tenant = tenant

    # -- asking

    async def ask(self, *labels: str, priority: int = 100, **more: Any) -> str:
        """Write a request; its id.  One of unknown outcome is looked for, not written twice."""
        now = time.time()
        mark = uuid.uuid4().hex
        body = {
            "node_types": list(labels),
            "requestor": "tests",
            "state": "requested",
            "state_time": now,
            "created_time": now,
            "event_id": mark,
            "tenant_name": self.tenant,
            "provider": None,
            "relative_priority": 0,
            "requestor_data": {"job_name": "job"},
            **more,
        }
        while True:
            await until_connected(self.client)
            prefix = f"{paths.REQUESTS}/{priority:03d}-"
            try:
                path = await self.client.create(
                    prefix, json.dumps(body).encode(), sequence=True, makepath=True
                )
                return path.rpartition("/")[2]
            except ConnectionLoss:
                found = await self._find(mark)
                if found is not None:
                    return found

    async def _find(self, mark: str) -> str | None:
        await insist(self.client, lambda: self.client.sync(paths.REQUESTS))
        for name in await insist(self.client, lambda: self.client.get_children(paths.REQUESTS)):
            body = await self.request(name)
            if body is not None and body["event_id"] == mark:
                return name
        return None

    async def request(self, request_id: str) -> dict[str, Any] | None:
        """A request as it is now; None if it is gone."""
        try:
            data, _ = await insist(self.client, lambda: self.client.get(paths.request(request_id)))
        except NoNodeError:
            return None
        body: dict[str, Any] = json.loads(data)
        return body

    async def answer(self, request_id: str, patience: float = LOST_AFTER) -> dict[str, Any]:
        """Wait for a request to be fulfilled or to fail.

        :raises Fault: it takes longer than ``patience`` seconds, or is gone.
        """
        waiting = Deferred.fromCoroutine(self._answer(request_id))
        waiting.addTimeout(patience, reactor)
        try:
            return await waiting
        except TimeoutError:
            body = await self.request(request_id)
            raise Fault(f"in {patience} s no answer to {request_id}: {body}") from None
        except NoNodeError:
            raise Fault(f"the request {request_id} is gone") from None

    async def _answer(self, request_id: str) -> dict[str, Any]:
        while True:
            await until_connected(self.client)
            reading, changed = self.client.get_and_watch(paths.request(request_id))
            try:
                data, _ = await reading
            except ConnectionLoss:
                continue
            body: dict[str, Any] = json.loads(data)
            if body["state"] in ("fulfilled", "failed"):
                return body
            await changed

    async def withdraw(self, request_id: str) -> None:
        """Remove a request; fine if it is gone."""
        try:
            await insist(self.client, lambda: self.client.delete(paths.request(request_id)))
        except NoNodeError:
            return

    # -- having

    async def obtain(
        self, *labels: str, patience: float = LOST_AFTER, priority: int = 100, **more: Any
    ) -> tuple[Held, ...]:
        """Ask for nodes and have them, locked, the request removed.

        :raises Fault: there is no good answer.
        """
        began = time.monotonic()
        request_id = await self.ask(*labels, priority=priority, **more)
        return await self.accept(request_id, labels, patience=patience, began=began)

    async def accept(
        self,
        request_id: str,
        labels: Sequence[str],
        *,
        patience: float = LOST_AFTER,
        began: float | None = None,
    ) -> tuple[Held, ...]:
        """Wait for a request's nodes, lock them, and remove the request."""
        body = await self.answer(request_id, patience)
        now = time.monotonic()
        if body["state"] != "fulfilled":
            raise Fault(f"request {request_id} for {labels} failed: {body}")
        if began is not None:
            self.ledger.waits.append(now - began)
        self.ledger.answered_at.append(now)
        for node_id in body["nodes"]:
            self.ledger.take(node_id, request_id)
        held = await gatherResults(
            [Deferred.fromCoroutine(self._lock(node, request_id)) for node in body["nodes"]],
            consumeErrors=True,
        )
        for mine, label in zip(held, labels, strict=True):
            self.ledger.take(mine.slot, request_id)
            if label not in mine.data["type"]:
                raise Fault(f"{mine.data} was given for {label}")
        await self.withdraw(request_id)
        return tuple(held)

    async def _lock(self, node_id: str, request_id: str) -> Held:
        lock = Lock(self.client, paths.node_lock(node_id), "tests", clock=reactor)
        try:
            await lock.acquire(30)
            data, stat = await insist(self.client, lambda: self.client.get(paths.node(node_id)))
        except NoNodeError:
            raise Fault(f"node {node_id} of request {request_id} is gone") from None
        node = json.loads(data)
        if (node["state"], node["allocated_to"]) != ("ready", request_id):
            raise Fault(f"{request_id} was given node {node_id} as {node}")
        return Held(node_id, node, stat.version, lock)

    async def set_state(self, held: Held, state: str) -> None:
        """Write the node, which nobody else may have written meanwhile."""
        held.data |= {"state": state, "state_time": time.time()}
        body = json.dumps(held.data).encode()
        while True:
            await until_connected(self.client)
            try:
                stat = await self.client.set(paths.node(held.id), body, held.version)
            except ConnectionLoss:
                data, found = await insist(
                    self.client, lambda: self.client.get(paths.node(held.id))
                )
                if data == body and found.version == held.version + 1:
                    held.version = found.version
                    return
            except (BadVersionError, NoNodeError) as e:
                raise Fault(f"somebody changed node {held.id} under our lock: {e!r}") from e
            else:
                held.version = stat.version
                return

    async def use(self, held: Sequence[Held], seconds: float = 0.0) -> None:
        """Set nodes in use for a while."""
        for mine in held:
            await self.set_state(mine, "in-use")
        if seconds:
            await deferLater(reactor, seconds)

    async def give_back(self, held: Sequence[Held], *, used: bool = True) -> None:
        """Set nodes used, and let go of them."""
        for mine in held:
            if used:
                await self.set_state(mine, "used")
            self.ledger.give_back(mine.slot)
            self.ledger.give_back(mine.id)
            await mine.lock.release()

    async def job(self, *labels: str, seconds: float = 0.0) -> None:
        """Everything, from asking to letting go."""
        held = await self.obtain(*labels)
        await self.use(held, seconds)
        await self.give_back(held)


class Crowd:
    """Requesters that do one job after the other until they are told that it is enough.

    Now and then one changes its mind: it withdraws its request while that waits, or gives its
    nodes back unused.

    :param wishes: one of these sets of labels is asked for each time.
    :param longest: seconds a job takes at the most.
    """

    def __init__(
        self,
        requester: Requester,
        count: int,
        wishes: Sequence[Sequence[str]],
        *,
        seed: int = 0,
        longest: float = 0.05,
    ) -> None:
        self.requester = requester
        self._wishes = wishes
        self._rng = random.Random(seed)
        self._longest = longest
        self._enough = False
        self.faults: list[Exception] = []
        self._members = [Deferred.fromCoroutine(self._member()) for _ in range(count)]

    async def _member(self) -> None:
        try:
            await self._live()
        except CancelledError:
            return
        except Exception as e:
            self.faults.append(e)

    async def _live(self) -> None:
        while not self._enough:
            labels = self._rng.choice(self._wishes)
            if self._rng.random() < 0.03:
                request_id = await self.requester.ask(*labels)
                await self._pause()
                await self.requester.withdraw(request_id)
                continue
            held = await self.requester.obtain(*labels)
            used = self._rng.random() >= 0.03
            if used:
                await self.requester.use(held, self._rng.uniform(0, self._longest))
            await self.requester.give_back(held, used=used)

    async def _pause(self) -> None:
        await deferLater(reactor, self._rng.uniform(0, self._longest))

    def check(self) -> None:
        """:raises Fault: what has happened to the first of them that had to give up."""
        if self.faults:
            raise self.faults[0]

    async def finish(self) -> None:
        """Let them finish what they do; fires when all have.

        :raises Fault: see :meth:`check`.
        """
        self._enough = True
        await gatherResults(self._members)
        self.check()

    def abandon(self) -> None:
        """Stop at once; what they had stays as it is."""
        self._enough = True
        for member in self._members:
            member.cancel()
