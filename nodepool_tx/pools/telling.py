"""Why a request waits in a pool, in words for people."""

from __future__ import annotations

from collections import Counter

from nodepool_tx.model import NodeRequest
from nodepool_tx.pools.deciding import Course
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.store.nodes import NodeTable

__all__ = ["why_not_served"]


def why_not_served(
    request: NodeRequest, course: Course, settings: PoolSettings, nodes: NodeTable
) -> str:
    """What stands in the way of a request; "" if nothing does."""
    if course.objection is not None:
        return course.objection.reason
    if course.shortages:
        return "; ".join(str(short) for short in course.shortages)
    if course.plan is None or course.plan.complete:
        return ""
    short = [
        f"{label} ({free} of {count} free)"
        for label, count in sorted(Counter(request.node_types).items())
        if (free := nodes.count_free(settings.provider, settings.name, label)) < count
    ]
    if short:
        return f"no free node for {'; '.join(short)}"
    return "the free nodes do not suffice for all of its labels at once"
