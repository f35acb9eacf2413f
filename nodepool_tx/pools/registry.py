"""The registrations of our pools, which outlive the objects behind them.

A provider that is reloaded is replaced by a new object, but to other launchers
nothing may seem to have gone: a pool that vanished for a moment would make
them decline, and perhaps fail, requests that only it can serve.  So the
registrations are kept here, by provider and pool, and handed from the old
object to the new one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import attrs
from twisted.internet.defer import Deferred, gatherResults

from nodepool_tx.model import OURS, PoolComponent
from nodepool_tx.store.registration import Registration
from nodepool_tx.store.store import Store

__all__ = ["PoolRegistry"]


class PoolRegistry:
    """Every pool this process has registered."""

    def __init__(self, store: Store, hostname: str, version: str) -> None:
        self._store = store
        self._hostname = hostname
        self._version = version
        self._registrations: dict[tuple[str, str], Registration] = {}

    def show(
        self, provider: str, pool: str, labels: frozenset[str], priority: int, paused: bool = False
    ) -> PoolComponent:
        """Register a pool, or change what is shown of it; returns what is shown.

        The id stays the same from the first call to :meth:`remove`: it is what
        a request's ``declined_by`` names.
        """
        registration = self._registrations.get((provider, pool))
        shown = registration.component if registration else None
        if registration is None or shown is None:
            component = PoolComponent(
                id=f"{self._hostname}-PoolWorker.{provider}-{pool}-{uuid.uuid4().hex}",
                name=pool,
                provider_name=provider,
                hostname=self._hostname,
                supported_labels=labels,
                priority=priority,
                paused=paused,
                version=self._version,
                extra=OURS,
            )
            self._registrations[provider, pool] = self._store.register(component)
            return component
        assert isinstance(shown, PoolComponent)
        component = attrs.evolve(shown, supported_labels=labels, priority=priority, paused=paused)
        registration.update(component)
        return component

    def get(self, provider: str, pool: str) -> PoolComponent | None:
        registration = self._registrations.get((provider, pool))
        component = registration.component if registration else None
        assert component is None or isinstance(component, PoolComponent)
        return component

    def ids(self) -> frozenset[str]:
        """Of all our pools."""
        components = (r.component for r in self._registrations.values())
        return frozenset(c.id for c in components if isinstance(c, PoolComponent))

    def all_in(self, online: Iterable[PoolComponent]) -> bool:
        """All of our pools are among those online, as far as we can see.

        Until they are, none of them may say that nobody has a label.
        """
        return self.ids() <= {pool.id for pool in online}

    def keep_only(self, pools: set[tuple[str, str]]) -> Deferred[list[None]]:
        """Take off every (provider, pool) that is not named; fires when done."""
        gone = [key for key in self._registrations if key not in pools]
        going = [self._registrations.pop(key).remove() for key in gone]
        return gatherResults(going, consumeErrors=True)

    def keep_only_of(self, provider: str, pools: frozenset[str]) -> Deferred[list[None]]:
        """Take off every pool of a provider that is not named; fires when done."""
        keys = self._registrations.keys()
        return self.keep_only({key for key in keys if key[0] != provider or key[1] in pools})
