"""The pools of one provider, taken together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred

from nodepool_tx.config.schema import PoolConfig, ProviderConfig
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.explaining import Insight, PoolExplanation, Reason
from nodepool_tx.pools.interface import NodeMaker, NodeSource, PoolSettings
from nodepool_tx.pools.service import PoolService
from nodepool_tx.providers.interface import ProviderContext

__all__ = ["Pools", "settings_of"]


def settings_of(provider: ProviderConfig, pool: PoolConfig) -> PoolSettings:
    """What pools of every driver have; a driver may add to it."""
    return PoolSettings(
        provider=provider.name,
        name=pool.name,
        labels=pool.labels,
        priority=pool.effective_priority,
        max_servers=pool.max_servers,
    )


class Pools:
    """Answers requests from the nodes of one provider, pool by pool.

    They share one limit of requests handled at once.

    :param parent: the service whose children they become.
    :param source: see :class:`PoolService`, as is ``maker``.
    :param insight: what the provider adds to their explanations.
    """

    def __init__(
        self,
        parent: IServiceCollection,
        context: ProviderContext,
        config: ProviderConfig,
        settings: Iterable[PoolSettings],
        source: NodeSource,
        insight: Insight,
        maker: NodeMaker | None = None,
    ) -> None:
        admission = Admission(config.max_concurrency)
        self._insight = insight
        self._pools = tuple(
            PoolService(
                context.clock,
                context.store,
                context.registry,
                context.reservations,
                each,
                source,
                admission,
                maker,
                context.events,
            )
            for each in settings
        )
        for pool in self._pools:
            pool.setServiceParent(parent)

    def __iter__(self) -> Iterator[PoolService]:
        return iter(self._pools)

    # -- life ------------------------------------------------------------

    def idle(self) -> list[Deferred[None]]:
        """See :meth:`PoolService.idle`; one wait for each."""
        return [pool.idle() for pool in self._pools]

    def retired(self) -> list[Deferred[None]]:
        """See :meth:`PoolService.retired`; one wait for each."""
        return [pool.retired() for pool in self._pools]

    def resume(self) -> None:
        """See :meth:`PoolService.resume`."""
        for pool in self._pools:
            pool.resume()

    # -- telling ---------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Any of them works on something."""
        return any(pool.in_flight() for pool in self._pools)

    def in_flight(self) -> tuple[tuple[str, float], ...]:
        """What they work on, and since when."""
        return tuple(entry for pool in self._pools for entry in pool.in_flight())

    def waiting(self) -> dict[str, int]:
        """Requests that are not answered, by pool."""
        return {pool.pool: pool.waiting for pool in self._pools}

    def waits(self) -> tuple[str, ...]:
        """What waits in them and why, a line for each kind."""
        return tuple(f"{pool.name}: {line}" for pool in self._pools for line in pool.waits())

    def explain(self, request_id: str) -> tuple[PoolExplanation, ...]:
        """What each says about a request; nothing if there is none of that id."""
        found = (pool.explain(request_id, self._insight) for pool in self._pools)
        return tuple(each for each in found if each is not None)

    def reasons(self, request_id: str) -> tuple[Reason, ...]:
        """Why it waits in each of them in which it does."""
        found = (pool.reason(request_id) for pool in self._pools)
        return tuple(each for each in found if each is not None)
