"""A round through a cloud: what is left over in it, and what is missing."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.leaks import Leaks
from nodepool_tx.providers.cloud.lost import LostServers

__all__ = ["Sweep"]


class Sweep:
    """Rounds through the cloud of one provider; both looks share a listing.

    :param may_look_after: whether things and nodes may be removed now.
    """

    _log = Logger()

    def __init__(
        self,
        provider: str,
        leaks: Leaks,
        lost: LostServers,
        may_look_after: Callable[[], bool],
    ) -> None:
        self._provider = provider
        self._leaks = leaks
        self._lost = lost
        self._may_look_after = may_look_after

    async def round(self) -> None:
        """Look, and remove what the round before has seen as well."""
        stock = self._lost.in_stock()
        try:
            there = await self._leaks.sweep(self._may_look_after)
            if there is None or not self._may_look_after():
                self._lost.forget()
            else:
                await self._lost.compare(stock, there, self._may_look_after)
        except CloudError as e:
            self._lost.forget()
            self._log.warn(
                "provider {provider}: what is left over cannot be found: {reason}",
                provider=self._provider,
                reason=str(e),
            )

    def skip(self) -> None:
        """There is no round this time: what is seen in the next was not seen before it."""
        self._lost.forget()
