"""What the pools of this process say about a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nodepool_tx.explain.summary import in_order, summary_of
from nodepool_tx.explain.values import Explanation, request_as_value
from nodepool_tx.pools.explaining import PoolExplanation
from nodepool_tx.providers.interface import ProviderService
from nodepool_tx.store.store import Store

__all__ = ["explain_here", "pools_here", "unreadable"]


def explain_here(
    request_id: str, services: Iterable[ProviderService], store: Store
) -> Explanation | None:
    """An explanation by these providers alone, at once; None if there is no such request.

    :param services: those that decide, and those that have something to finish.
    """
    if request_id in store.requests.unreadable:
        return unreadable(request_id, store)
    request = store.requests.get(request_id)
    if request is None:
        return None
    now, pools = store.clock.seconds(), in_order(pools_here(request_id, services))
    return Explanation(
        request=request_as_value(request, now=now, locked=store.requests.is_locked(request_id)),
        summary=summary_of(request, pools, store.components.pools(), now),
        pools=pools,
    )


def pools_here(request_id: str, services: Iterable[ProviderService]) -> Sequence[PoolExplanation]:
    """What each pool says; of a pool and its successor the one that has it in hand."""
    found: dict[tuple[str, str], PoolExplanation] = {}
    for service in services:
        for pool in service.explain(request_id):
            key = (pool.provider, pool.pool)
            if key not in found or any(rule.name == "in-hand" for rule in pool.rules):
                found[key] = pool
    return tuple(found.values())


def unreadable(request_id: str, store: Store) -> Explanation:
    """Of a request whose record makes no sense."""
    reason = store.requests.unreadable[request_id]
    return Explanation(
        request={"id": request_id, "state": "unreadable"},
        summary=f"its record is unreadable, so no launcher looks at it: {reason}",
    )
