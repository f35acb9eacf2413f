"""The machines of a provider that operators took out of service."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.model import Maintenance
from nodepool_tx.providers.static.desired import Desired, Identity
from nodepool_tx.store.maintenance import MaintenanceTable, in_words

__all__ = ["Withdrawn"]


class Withdrawn:
    """What is out of service, and who is told when that changes.

    A record of the whole provider concerns all of its machines, and one of a
    host every machine of that name, whatever its port.

    :param changed: called with the machines that are out of service, or back,
        since the last time.
    """

    def __init__(
        self,
        provider: str,
        desired: Desired,
        table: MaintenanceTable,
        clock: IReactorTime,
        changed: Callable[[Iterable[Identity]], None],
    ) -> None:
        self._provider = provider
        self._desired = desired
        self._table = table
        self._clock = clock
        self._changed = changed
        self._known: frozenset[Identity] = frozenset()
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Tell of changes from now on."""
        if self._unsubscribe is None:
            self._known = self._all()
            self._unsubscribe = self._table.subscribe(self._on_change)

    def stop(self) -> None:
        """Tell of nothing more."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    @property
    def whole(self) -> Maintenance | None:
        """The record of the provider as a whole, if it is out of service."""
        return self._table.of_provider(self._provider)

    def record(self, identity: Identity) -> Maintenance | None:
        """By which a machine is out of service; None if it is in service."""
        hostname = identity[0]
        of_host = self._table.of_host(hostname) if isinstance(hostname, str) else None
        return of_host or self.whole

    def why(self, identity: Identity) -> str:
        """Why a machine is out of service, in words; "" if it is not."""
        record = self.record(identity)
        return "" if record is None else in_words(record, self._clock.seconds())

    def lines(self) -> tuple[str, ...]:
        """What is out of service, in words: the whole provider, or host by host."""
        now = self._clock.seconds()
        if self.whole is not None:
            return (in_words(self.whole, now),)
        hosts = dict.fromkeys((host.pool, host.hostname) for host in self._desired.hosts.values())
        return tuple(
            f"{pool}: {in_words(record, now)}"
            for pool, hostname in hosts
            if (record := self._table.of_host(hostname)) is not None
        )

    def _all(self) -> frozenset[Identity]:
        return frozenset(identity for identity in self._desired.hosts if self.record(identity))

    def _on_change(self) -> None:
        before, self._known = self._known, self._all()
        changed = before ^ self._known
        if changed:
            self._changed(changed)
