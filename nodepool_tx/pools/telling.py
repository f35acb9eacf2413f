"""What waits in a pool, and why, in words for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from nodepool_tx.model import NodeRequest
from nodepool_tx.pools.deciding import Course
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.pools.queue import WaitingRequests
from nodepool_tx.store.nodes import NodeTable

__all__ = ["what_waits", "why_not_served"]


def what_waits(queue: WaitingRequests, why: Callable[[str], str]) -> tuple[str, ...]:
    """A line for the requests that wish the same.

    :param why: tells of a request why it waits.
    """
    return tuple(
        f"{len(group)} for {', '.join(group.wish.labels)}, first {request_id}: {why(request_id)}"
        for request_id, group in queue.in_order()
    )


def why_not_served(
    request: NodeRequest,
    course: Course,
    settings: PoolSettings,
    nodes: NodeTable,
    ahead: int,
    held_up: bool,
) -> str:
    """What stands in the way of a request.

    :param course: what would be done about it now.
    :param ahead: how many like it come before it.
    :param held_up: it waits for ``max-concurrency``.
    """
    if course.objection is not None:
        return course.objection.reason
    if course.shortages:
        return "; ".join(str(short) for short in course.shortages)
    queued = f", {ahead} like it are ahead" if ahead else ""
    if course.plan is not None and not course.plan.complete:
        return f"{_missing(request, settings, nodes)}{queued}"
    if held_up:
        return f"max-concurrency is reached{queued}"
    return f"its turn has not come{queued}"


def _missing(request: NodeRequest, settings: PoolSettings, nodes: NodeTable) -> str:
    short = [
        f"{label} ({free} of {count} free)"
        for label, count in sorted(Counter(request.node_types).items())
        if (free := nodes.count_free(settings.provider, settings.name, label)) < count
    ]
    if short:
        return f"no free node for {'; '.join(short)}"
    return "the free nodes do not suffice for all of its labels at once"
