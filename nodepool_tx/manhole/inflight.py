"""``tasks()``: everything that has been begun and has not ended, and for how long."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from nodepool_tx.manhole.showing import Table
from nodepool_tx.providers.interface import ProviderService
from nodepool_tx.status.farm import Farm
from nodepool_tx.store.maintenance import age_in_words
from nodepool_tx.work import Tracker

__all__ = ["InFlight", "Work"]


@attrs.frozen
class Work:
    """One thing in flight.

    :ivar where: who does it: ``launcher``, a provider, ``console``.
    :ivar since: when it began (seconds, the clock's).
    """

    where: str
    what: str
    since: float


class InFlight:
    """What is in flight at the moment it is looked at, longest first.

    :param consoles: what people at consoles wait for.
    """

    def __init__(self, farm: Farm, consoles: Tracker) -> None:
        self._farm = farm
        self._consoles = consoles

    def __iter__(self) -> Iterator[Work]:
        return iter(sorted(self._all(), key=lambda work: work.since))

    def __len__(self) -> int:
        return sum(1 for _ in self._all())

    def __repr__(self) -> str:
        return f"<{len(self)} things in flight>"

    def _all(self) -> Iterator[Work]:
        reloader = self._farm.reloader
        for what, since in reloader.tasks():
            yield Work("launcher", what, since)
        for service in reloader.services().values():
            yield from _of(service, service.name)
        for service in reloader.retiring():
            yield from _of(service, f"{service.name} (replaced)")
        for task in self._consoles.tasks():
            yield Work("console", task.what, task.since)

    def lines(self, width: int) -> Iterator[str]:
        """See :class:`nodepool_tx.manhole.showing.Shown`."""
        now = self._farm.now
        rows = ((age_in_words(now - work.since), work.where, work.what) for work in self)
        yield from Table(("for", "where", "what"), rows, "nothing is in flight").lines(width)


def _of(service: ProviderService, name: str) -> Iterator[Work]:
    for what, since in service.status().tasks:
        yield Work(name, what, since)
