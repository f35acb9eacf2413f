"""Clients that ask for the same every hour, and remember nothing of it."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred

from benchmarks.day_world import Outcome, Users, Wish
from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_request

__all__ = ["SteadyUsers"]

CANCELLED = 0.03
"""The share of requests that is withdrawn, within seconds."""


class _Ends:
    """Stands where outcomes would pile up."""

    def __init__(self, ended: Counter[str]) -> None:
        self._ended = ended

    def append(self, outcome: Outcome) -> None:
        self._ended["fulfilled" if outcome.fulfilled else "failed"] += 1
        self._ended["nodes handed out"] += outcome.nodes if outcome.fulfilled else 0


class SteadyUsers(Users):
    """See :class:`benchmarks.day_world.Users`.

    :ivar over: nobody asks again.
    :ivar ended: how many requests ended how.
    """

    def __init__(self, world: Any, random: Random) -> None:
        super().__init__(world)
        self._random = random
        self.over = False
        self.ended: Counter[str] = Counter()
        self.outcomes = cast(Any, _Ends(self.ended))

    def begin(self, wish: Wish) -> None:
        """Ask for this from now on, whenever the last job is done."""
        Deferred.fromCoroutine(self._live(wish)).addErrback(self.failures.append)

    async def _live(self, wish: Wish) -> None:
        await self._pause(wish.seconds)
        while not self.over:
            if self._random.random() < CANCELLED:
                await self._cancel(wish)
            seconds = wish.seconds * self._random.uniform(0.8, 1.2)
            await self._job(attrs.evolve(wish, seconds=seconds))

    async def _pause(self, longest: float) -> None:
        waited: Deferred[None] = Deferred()
        self._clock.callLater(self._random.uniform(0.0, longest), waited.callback, None)
        await waited

    async def _cancel(self, wish: Wish) -> None:
        now = self._clock.seconds()
        request = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=now,
            created_time=now,
            node_types=wish.labels,
            requestor="zuul",
            tenant_name=wish.tenant,
        )
        prefix = f"{paths.REQUESTS}/200-"
        path = await self._client.create(prefix, encode_request(request), sequence=True)
        await self._pause(10.0)
        await self._client.delete(path)
        self.ended["cancelled"] += 1
