"""Deleting servers until they are gone."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodepool_tx.events import Events, NodeDeleted
from nodepool_tx.providers.cloud.backoff import Backoff
from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.cloud.pacing import Calls
from nodepool_tx.providers.cloud.polling import Poller
from nodepool_tx.providers.cloud.within import TooLate, within

__all__ = ["Deletion", "Deletions"]

#: Calls of deletion at the same time.
WIDTH = 100

#: Seconds until a server that does not go is asked again to go.
FIRST_PATIENCE = 60.0
LONGEST_PATIENCE = 600.0

#: Seconds until a call that failed is made again.
FIRST_RETRY = 2.0
LONGEST_RETRY = 300.0


@attrs.define(eq=False)
class Deletion:
    """One server on its way out.

    :ivar since: when that was begun (the clock's seconds).
    :ivar trouble: why it is not gone yet, once something went wrong.
    :ivar told: that it is gone.
    """

    external_id: str
    since: float
    tries: int = 0
    trouble: str | None = None
    told: bool = False


class Deletions:
    """Every server that is being deleted."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        adapter: CloudAdapter,
        calls: Calls,
        poller: Poller,
        provider: str,
        chance: Callable[[], float] = random.random,
        events: Events | None = None,
    ) -> None:
        self._clock = clock
        self._adapter = adapter
        self._calls = calls
        self._poller = poller
        self._provider = provider
        self._chance = chance
        self._events = events or Events()
        self._places = DeferredSemaphore(WIDTH)
        self._under_way: dict[str, list[Deletion]] = {}

    def under_way(self) -> tuple[Deletion, ...]:
        """What is being deleted, the longest first."""
        return tuple(each for some in self._under_way.values() for each in some)

    async def until_gone(self, external_id: str, node_id: str | None = None) -> None:
        """Delete a server and wait until it is gone, for as long as that takes.

        :param node_id: whose server it is.
        """
        deletion = Deletion(external_id, self._clock.seconds())
        self._under_way.setdefault(external_id, []).append(deletion)
        try:
            await self._until_gone(deletion)
            self._tell_gone(deletion, node_id)
        finally:
            left = self._under_way[external_id]
            left.remove(deletion)
            if not left:
                del self._under_way[external_id]

    def _tell_gone(self, deletion: Deletion, node_id: str | None) -> None:
        """Tell of it once, however many wait for it."""
        if deletion.told:
            return
        waiting = self._under_way[deletion.external_id]
        for each in waiting:
            each.told = True
        self._events.publish(
            NodeDeleted(
                provider=self._provider,
                node_id=node_id,
                seconds=self._clock.seconds() - min(each.since for each in waiting),
            )
        )

    async def _until_gone(self, deletion: Deletion) -> None:
        patience = Backoff(FIRST_PATIENCE, LONGEST_PATIENCE, self._chance)
        retry = Backoff(FIRST_RETRY, LONGEST_RETRY, self._chance)
        while True:
            deletion.tries += 1
            try:
                await self._begin(deletion.external_id)
            except Gone:
                return
            except CloudError as e:
                self._note(deletion, str(e) or type(e).__name__)
                await deferLater(self._clock, retry.next())
                continue
            seconds = patience.next()
            try:
                await within(self._clock, seconds, self._wait(deletion.external_id))
                return
            except TooLate:
                why = f"it is still there {seconds:.0f} seconds after it was asked to go"
                self._note(deletion, self._poller.trouble or why)

    async def _begin(self, external_id: str) -> None:
        await self._places.acquire()
        try:
            await self._calls.call("delete", lambda: self._adapter.delete(external_id))
        finally:
            self._places.release()

    async def _wait(self, external_id: str) -> None:
        instance = (await self._poller.next_listing()).get(external_id)
        while instance is not None:
            instance = await self._poller.change_of(external_id, instance)

    def _note(self, deletion: Deletion, reason: str) -> None:
        deletion.trouble = reason
        self._log.warn(
            "provider {provider}: server {external_id} is not deleted yet (tried {tries} times): "
            "{reason}",
            provider=self._provider,
            external_id=deletion.external_id,
            tries=deletion.tries,
            reason=reason,
        )
