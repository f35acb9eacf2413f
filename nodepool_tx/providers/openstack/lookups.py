"""What is asked of the cloud once and then known for a while.

A thousand launches use the same few flavors, images and networks.  Those who
ask at the same time share one answer; it is used until it is too old, or until
somebody finds that it no longer holds.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.sharing import Shared

__all__ = ["RECHECK", "Lookup"]

T = TypeVar("T")
R = TypeVar("R")

#: Seconds after which it is worth looking again for what was not there.
RECHECK = 30.0


class Lookup(Generic[T]):
    """One answer and its age.

    :param age: seconds for which an answer is good.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        what: str,
        age: float,
        ask: Callable[[], Coroutine[Any, Any, T]],
    ) -> None:
        self._clock = clock
        self._what = what
        self._age = age
        self._ask = ask
        self._shared: Shared[None, T] = Shared()
        self._known: tuple[float, T] | None = None
        self._failed: float | None = None

    async def get(self, *, not_before: float | None = None) -> T:
        """The answer; asked for if there is none or it is too old.

        :param not_before: an answer that was asked for earlier is too old.
        """
        if self._known is not None:
            asked, value = self._known
            enough = self._clock.seconds() - self._age
            if asked >= max(enough, enough if not_before is None else not_before):
                return value
        return await self._shared.join(None, lambda: Deferred.fromCoroutine(self._look()))

    async def get_if_possible(self, enough: Callable[[T], bool], default: T) -> T:
        """The answer; an old one or ``default`` when the cloud gives none.

        Asked for again when it is not ``enough``.  Neither that nor what has
        failed is tried more often than every :data:`RECHECK` seconds.
        """
        now = self._clock.seconds()
        if self._failed is None or now - self._failed >= RECHECK:
            try:
                value = await self.get()
                return value if enough(value) else await self.get(not_before=now - RECHECK)
            except CloudError as e:
                self._failed = now
                self._log.warn(
                    "Could not look up {what}, going on with what is known: {error}",
                    what=self._what,
                    error=str(e),
                )
        return self._known[1] if self._known is not None else default

    async def find(self, pick: Callable[[T], R | None]) -> R | None:
        """What ``pick`` finds in the answer; looks again for what is missing.

        Not more often than every :data:`RECHECK` seconds, however many ask.
        """
        found = pick(await self.get())
        if found is None:
            found = pick(await self.get(not_before=self._clock.seconds() - RECHECK))
        return found

    def forget(self, before: float) -> None:
        """An answer that was asked for by then no longer holds."""
        if self._known is not None and self._known[0] <= before:
            self._known = None

    async def _look(self) -> T:
        asked = self._clock.seconds()
        value = await self._ask()
        self._known = (asked, value)
        self._failed = None
        return value
