"""Asking why requests wait, for people who ask over HTTP: no more often than is good.

Every launcher is asked by way of ZooKeeper, which takes writes.  So whoever
asks the same at the same time gets the same answer, which is kept for a second,
and only a few questions are under way at once, and begun in a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.store.change import Uncertain
from nodepool_tx.web.answers import NotToBeHad
from nodepool_tx.work import shielded

__all__ = ["Explain", "Explanations"]

#: The whole explanation of a request, by its id; None if there is no such request.
Explain = Callable[[str], Awaitable["Mapping[str, Any] | None"]]

_Explanation = Mapping[str, Any]

#: Questions under way at the same time.
MOST = 8

#: Questions begun within a second; each is some writes.
MOST_A_SECOND = 20

#: Seconds for which an answer is good.
MAX_AGE = 1.0


class Explanations:
    """Those under way, and those just given.

    :raises Uncertain: by ``explain``, when ZooKeeper cannot be asked.
    """

    def __init__(self, clock: IReactorTime, explain: Explain) -> None:
        self._clock = clock
        self._explain = explain
        self._under_way: dict[str, Deferred[_Explanation | None]] = {}
        self._kept: dict[str, tuple[float, _Explanation]] = {}
        #: When the last ones were begun.
        self._begun: deque[float] = deque(maxlen=MOST_A_SECOND)

    async def of(self, request_id: str) -> _Explanation:
        """Why a request waits.

        :raises NotToBeHad: there is no such request, or it cannot be told now.
        """
        now = self._clock.seconds()
        self._kept = {i: kept for i, kept in self._kept.items() if now < kept[0] + MAX_AGE}
        if request_id in self._kept:
            return self._kept[request_id][1]
        asking = self._under_way.get(request_id)
        if asking is None:
            lately = sum(now - 1 < begun <= now for begun in self._begun)
            if len(self._under_way) >= MOST or lately >= MOST_A_SECOND:
                raise _not_now("too many ask")
            self._begun.append(now)
            asking = Deferred.fromCoroutine(self._ask(request_id))
            if not asking.called:
                self._under_way[request_id] = asking
        try:
            found = await shielded(asking)
        except Uncertain as e:
            raise _not_now(f"ZooKeeper cannot be asked: {e}") from e
        if found is None:
            raise NotToBeHad(404, "not found", f"there is no request {request_id}")
        return found

    async def _ask(self, request_id: str) -> _Explanation | None:
        try:
            found = await self._explain(request_id)
        finally:
            self._under_way.pop(request_id, None)
        if found is not None:
            self._kept[request_id] = (self._clock.seconds(), found)
        return found


def _not_now(why: str) -> NotToBeHad:
    return NotToBeHad(503, "not now", why, [("Retry-After", "1")])
