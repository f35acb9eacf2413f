"""Whether the launcher works, and when each of its loops last did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.application.service import IService, MultiService

from nodepool_tx.config.schema import UnavailableProvider
from nodepool_tx.periodic import Periodic
from nodepool_tx.providers.interface import Loop, Measured
from nodepool_tx.status.farm import Farm
from nodepool_tx.txzookeeper.interface import SessionState

__all__ = ["Health", "all_started", "loops_of"]

#: A loop is healthy if it succeeded within so many of its intervals, and these seconds.
MISSED_ROUNDS = 3
GRACE = 30.0


def all_started(farm: Farm) -> bool:
    """Nodepool 11's ``/ready``: every configured provider runs, and the store is current."""
    return not _reasons(farm)


def loops_of(service: IService) -> Iterator[Loop]:
    """All loops of a service and of those below it."""
    if isinstance(service, Periodic):
        yield Loop(*service.health)
    if isinstance(service, MultiService):
        for child in service:
            yield from loops_of(child)


class Health:
    """Answers the probes of whoever keeps the process running.

    A loop that never succeeded is given its time from when it was first seen.
    """

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._first_seen: dict[str, float] = {}

    def ready(self) -> dict[str, Any]:
        """Whether all is well enough to work, why not, and each loop's age.

        The loops of providers are shown and decide nothing: one cloud that
        does not answer must not make a launcher look broken that serves others.
        """
        farm = self._farm
        own = [self._loop(loop) for loop in farm.loops()]
        others = [
            self._loop(loop)
            for service in farm.reloader.services().values()
            if isinstance(service, Measured)
            for loop in service.measures().loops
        ]
        self._forget_all_but({each["name"] for each in (*own, *others)})
        reasons = _reasons(farm)
        reasons += [f"{each['name']} does not succeed" for each in own if not each["healthy"]]
        return {
            "ready": not reasons,
            "reasons": reasons,
            "zookeeper": farm.store.client.state.value,
            "loops": [*own, *others],
        }

    def _loop(self, loop: Loop) -> dict[str, Any]:
        now = self._farm.now
        if loop.last_success is None:
            since = self._first_seen.setdefault(loop.name, now)
            age = None
        else:
            self._first_seen.pop(loop.name, None)
            since = loop.last_success
            age = round(max(0.0, now - since), 3)
        return {
            "name": loop.name,
            "interval": loop.interval,
            "last_success_age": age,
            "healthy": now - since <= MISSED_ROUNDS * loop.interval + GRACE,
        }

    def _forget_all_but(self, names: set[str]) -> None:
        for name in self._first_seen.keys() - names:
            del self._first_seen[name]


def _reasons(farm: Farm) -> list[str]:
    """Why not everything works; nothing if it does."""
    reasons: list[str] = []
    state = farm.store.client.state
    if state is not SessionState.CONNECTED:
        reasons.append(f"ZooKeeper: {state.value}")
    elif not farm.store.current:
        reasons.append("what is known of ZooKeeper is not up to date")
    config = farm.reloader.config
    if config is None:
        return [*reasons, "no configuration is in force yet"]
    running = farm.reloader.services()
    reasons += [
        f"provider {name} is not started"
        for name, provider in sorted(config.providers.items())
        if name not in running and not isinstance(provider, UnavailableProvider)
    ]
    return reasons
