"""Looking after a provider, from when it is known what the owner before has done."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from nodepool_tx.providers.interface import ProviderContext
from nodepool_tx.providers.ownership import Ownership
from nodepool_tx.store.change import Change, Uncertain
from nodepool_tx.work import Tracker

__all__ = ["Tenure"]


class Tenure:
    """Whether one service may act as the owner of its provider.

    The ownership belongs to the process; a service that begins with it has to
    catch up first, or it would do again what has been done.

    :param log: the provider's.
    :param working: whether the service does anything at present.
    :param caught_up: called when the tables show all that was done before.
    :ivar caught_up: they do.
    :ivar catching_up: what is under way to that end.
    """

    def __init__(
        self,
        provider: str,
        context: ProviderContext,
        log: Logger,
        working: Callable[[], bool],
        caught_up: Callable[[], None],
    ) -> None:
        self._provider = provider
        self._ownerships = context.ownerships
        self._store = context.store
        self._log = log
        self._working = working
        self._on_caught_up = caught_up
        self._ownership: Ownership | None = None
        self.caught_up = False
        self.catching_up = Tracker(context.clock)

    @property
    def held(self) -> bool:
        """This launcher looks after the provider."""
        return self._ownership is not None and self._ownership.held

    def stand(self) -> None:
        """Stand in line for the provider, unless this process does so already."""
        self._ownership = self._ownerships.of(self._provider)

    def prove(self, change: Change) -> None:
        """Let a change fail if another launcher looks after the provider when it is made."""
        assert self._ownership is not None, "nobody stands in line"
        self._ownership.prove(change)

    def follow(self) -> Callable[[], None]:
        """Begin anew whenever the ownership is won, after :meth:`stand`; returns its end."""
        assert self._ownership is not None, "nobody stands in line"
        return self._ownership.subscribe(self._on_owner)

    def catch_up(self) -> None:
        """See all that was done before, if that is for this service and has not happened."""
        if self._working() and self.held and not self.caught_up:
            self.catching_up.cancel()
            self.catching_up.run("catching up with the owner before", self._catch_up())

    def begin_anew(self) -> None:
        """Somebody else may have looked after the provider until now: see what was done."""
        self.caught_up = False
        self.catch_up()

    def _on_owner(self, held: bool) -> None:
        self.begin_anew()

    async def _catch_up(self) -> None:
        try:
            await self._store.barrier()
        except Uncertain as e:
            self._log.debug("not caught up: {reason}", reason=str(e))
            return
        self.caught_up = True
        self._on_caught_up()
