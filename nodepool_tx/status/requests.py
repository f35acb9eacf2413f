"""What people are shown of requests, and why those wait that do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.pools.explaining import Reason
from nodepool_tx.status.farm import Farm
from nodepool_tx.store.requests import RequestTable

__all__ = ["Reasons", "request_status", "requests_in_order", "shown_request"]

#: More than this many pools' reasons help nobody.
MOST_REASONS = 3


class Reasons:
    """Why requests wait, as far as this launcher knows."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm

    def of(self, request: NodeRequest) -> str:
        """One line; what pools say that would serve it counts more than why others do not."""
        if request.state is RequestState.FULFILLED:
            return "its nodes wait to be taken"
        if request.state is RequestState.FAILED:
            return "declined by every pool" if request.declined_by else "it failed"
        said = [
            reason
            for service in self._farm.reloader.services().values()
            for reason in service.reasons(request.id)
        ]
        serving = [reason for reason in said if reason.serves]
        if serving:
            return _in_one_line(serving)
        wanted = set(request.node_types)
        elsewhere = {
            pool.hostname
            for pool in self._farm.store.components.pools()
            if wanted <= pool.supported_labels and pool.hostname != self._farm.hostname
        }
        if elsewhere:
            return f"left to {', '.join(sorted(elsewhere))}"
        return _in_one_line(said) or f"no pool online offers {', '.join(sorted(wanted))}"


def _in_one_line(reasons: Sequence[Reason]) -> str:
    words = [f"{each.provider}/{each.pool}: {each.words}" for each in reasons[:MOST_REASONS]]
    if len(reasons) > MOST_REASONS:
        words.append(f"and {len(reasons) - MOST_REASONS} more pools")
    return "; ".join(words)


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
