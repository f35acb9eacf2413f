"""Those who ask for nodes, at the same rate all the time."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater

from nodepool_tx.txzookeeper.client import ZookeeperClient
from tests.functional.launcher.requesters import Fault, Ledger, Requester

__all__ = ["Zuuls"]

#: What is asked for, and how often out of a hundred times.
WISHES: tuple[tuple[tuple[str, ...], float], ...] = (
    (("static",), 88.5),
    (("static", "static"), 6.0),
    (("cloud",), 5.0),
    (("unknown",), 0.5),
)
CANCELLED = 0.03
"""The share of requests that is withdrawn while it waits."""
PATIENCE = 120.0
"""Seconds for an answer."""


class Zuuls:
    """Begin a job at regular times, as long as not too many are under way.

    :param rate: jobs a second.
    :param most: that are under way at a time.
    :param job: between how many and how many seconds one takes.
    :ivar ended: how many ended how.
    :ivar faults: what no client could work with.
    """

    def __init__(
        self,
        reactor: Any,
        clients: list[ZookeeperClient],
        rate: float,
        most: int,
        job: tuple[float, float],
        seed: int,
    ) -> None:
        self._reactor = reactor
        self._random = Random(seed)
        ledger = Ledger()
        self._requesters = [Requester(client, ledger, "soak") for client in clients]
        self._rate = rate
        self._job_seconds = job
        self._most = most
        self._tasks: set[Deferred[None]] = set()
        self._stopping = False
        self.ledger = ledger
        self.ended: Counter[str] = Counter()
        self.faults: list[str] = []

    @property
    def busy(self) -> int:
        """Jobs that are under way."""
        return len(self._tasks)

    async def run(self) -> None:
        """Begin jobs until :meth:`finish`."""
        while not self._stopping:
            if self.busy < self._most:
                self._begin()
            else:
                self.ended["not begun, as too many were under way"] += 1
            await deferLater(self._reactor, 1.0 / self._rate)

    def _begin(self) -> None:
        task = Deferred.fromCoroutine(self._job())
        self._tasks.add(task)
        task.addBoth(lambda _: self._tasks.discard(task))

    async def _job(self) -> None:
        wishes, weights = zip(*WISHES, strict=True)
        (labels,) = self._random.choices(wishes, weights)
        try:
            self.ended[await self._do(self._random.choice(self._requesters), labels)] += 1
        except CancelledError:
            return
        except Exception as e:
            self.ended["went wrong"] += 1
            self.faults.append(f"{type(e).__name__}: {e}")

    async def _do(self, requester: Requester, labels: tuple[str, ...]) -> str:
        request_id = await requester.ask(*labels)
        if self._random.random() < CANCELLED:
            await deferLater(self._reactor, self._random.uniform(0.0, 0.2))
            await requester.withdraw(request_id)
            return "cancelled"
        if labels == ("unknown",):
            answer = await requester.answer(request_id, PATIENCE)
            await requester.withdraw(request_id)
            if answer["state"] != "failed":
                raise Fault(f"a label that nobody knows was {answer['state']}")
            return "failed as they should"
        try:
            held = await requester.accept(request_id, labels, patience=PATIENCE)
        except Fault:
            await requester.withdraw(request_id)
            raise
        await requester.use(held, self._random.uniform(*self._job_seconds))
        await requester.give_back(held)
        return "served"

    async def finish(self, patience: float) -> None:
        """Begin no more, and wait until those under way have ended."""
        self._stopping = True
        waiting = DeferredList(list(self._tasks))
        waiting.addTimeout(patience, self._reactor)
        await waiting
