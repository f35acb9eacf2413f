"""What people are shown of requests, and why those wait that do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.status.farm import Farm, pools_of
from nodepool_tx.store.requests import RequestTable

__all__ = ["Reasons", "request_status", "requests_in_order", "shown_request"]

#: More than this many pools' reasons help nobody.
MOST_REASONS = 3


class Reasons:
    """Why requests wait, for one answer: those that wish the same are asked about once."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._known: dict[tuple[Any, ...], str] = {}

    def of(self, request: NodeRequest) -> str:
        """One line; empty if nothing holds it back that this launcher knows of."""
        if request.state is RequestState.FULFILLED:
            return "its nodes wait to be taken"
        if request.state is RequestState.FAILED:
            return "declined by every pool" if request.declined_by else "it failed"
        if request.state is RequestState.PENDING:
            return self._ask(request)
        key = (
            tuple(sorted(request.node_types)),
            request.tenant_name,
            request.provider,
            request.declined_by,
            request.reuse,
        )
        if key not in self._known:
            self._known[key] = self._ask(request)
        return self._known[key]

    def _ask(self, request: NodeRequest) -> str:
        found: list[str] = []
        wanted = set(request.node_types)
        for name, service in self._farm.reloader.services().items():
            labels = {pool.name: pool.labels for pool in service.config.pools}
            for pool in pools_of(service):
                pool_name = (pool.name or "").removeprefix("pool ")
                if not wanted <= labels.get(pool_name, frozenset()):
                    continue
                if why := pool.why(request.id):
                    found.append(f"{name}/{pool_name}: {why}")
        if found:
            more = len(found) - MOST_REASONS
            found = [*found[:MOST_REASONS], *([f"and {more} more pools"] if more > 0 else [])]
            return "; ".join(found)
        return self._elsewhere(wanted)

    def _elsewhere(self, wanted: set[str]) -> str:
        """What can be said of a request that no pool of ours has to do with."""
        offering = [
            pool for pool in self._farm.store.components.pools() if wanted <= pool.supported_labels
        ]
        if not offering:
            return f"no pool online offers {', '.join(sorted(wanted))}"
        launchers = sorted({pool.hostname for pool in offering})
        return f"in the hands of {', '.join(launchers)}"


def requests_in_order(table: RequestTable) -> Iterator[NodeRequest]:
    """All requests, in the order of the queue."""
    return iter(sorted(table, key=lambda request: request.sort_key))


def shown_request(farm: Farm, request_id: str) -> dict[str, Any] | None:
    """One request; None if there is none."""
    request = farm.store.requests.get(request_id)
    return None if request is None else request_status(request, farm.now, Reasons(farm))


def request_status(request: NodeRequest, now: float, reasons: Reasons) -> dict[str, Any]:
    """A request as plain data; ``age`` is seconds since it was made."""
    created = request.created_time or request.state_time or None
    return {
        "id": request.id,
        "state": request.state.value,
        "since": request.state_time,
        "labels": list(request.node_types),
        "requestor": request.requestor,
        "tenant": request.tenant_name,
        "provider": request.provider,
        "relative_priority": request.relative_priority,
        "event_id": request.event_id,
        "created": created,
        "age": None if created is None else round(max(0.0, now - created), 3),
        "nodes": list(request.nodes),
        "declined_by": list(request.declined_by),
        "reason": reasons.of(request),
    }
