"""Ends what was taken out of service until a time, and tells what concerns nothing here.

Any launcher may end it, and all of them try at the same moment; one of them
succeeds.  Nothing depends on that: to everyone such a record is over when its
time has come (see :mod:`nodepool_tx.store.maintenance`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from nodepool_tx.config.schema import Config, StaticPool
from nodepool_tx.model import Maintenance
from nodepool_tx.store.change import Moved, Uncertain
from nodepool_tx.store.store import Store
from nodepool_tx.work import SingleFlight

__all__ = ["MaintenanceEnds", "hosts_of", "not_configured"]


class MaintenanceEnds(Service):
    """Removes records whose time has passed, if they are still what they were."""

    _log = Logger()

    def __init__(self, store: Store) -> None:
        self.setName("maintenance")
        self._store = store
        self._unsubscribe: list[Callable[[], None]] = []
        self._flight = SingleFlight(self._remove_all, "ending maintenance")

    def startService(self) -> None:
        super().startService()
        self._unsubscribe = [
            self._store.maintenance.subscribe(self._wake),
            self._store.when_current(lambda current: self._wake()),
        ]
        self._wake()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        return self._flight.idle()

    def _wake(self) -> None:
        if self.running and self._store.current and self._store.maintenance.over():
            self._flight.wake()

    async def _remove_all(self) -> None:
        for record in self._store.maintenance.over():
            try:
                if await self._store.maintenance.remove(record):
                    self._log.info(
                        "{target} is back in service, its time is over; it was out of service "
                        "by {by}: {reason}",
                        target=record.target,
                        by=record.by or "somebody",
                        reason=record.reason,
                    )
            except Moved as e:
                # Somebody has put it off; that is told when it is seen.
                self._log.debug("{reason}", reason=str(e))
            except Uncertain as e:
                self._log.debug(
                    "{target} is ended later: {reason}", target=record.target, reason=str(e)
                )
                return


def hosts_of(config: Config) -> frozenset[str]:
    """The names of all static hosts."""
    return frozenset(
        node.name for pool in config.pools if isinstance(pool, StaticPool) for node in pool.nodes
    )


def not_configured(records: Iterable[Maintenance], config: Config) -> tuple[Maintenance, ...]:
    """The records of hosts and providers that a configuration does not have."""
    hosts = hosts_of(config)
    return tuple(
        record
        for record in records
        if (record.host not in hosts if record.host else record.provider not in config.providers)
    )
