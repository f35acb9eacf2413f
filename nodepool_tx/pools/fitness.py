"""Whether the nodes chosen for a request are fit to be handed out."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import FirstError, gatherResults

from nodepool_tx.model import Node
from nodepool_tx.pools.interface import NodeSource

__all__ = ["are_fit"]


async def are_fit(source: NodeSource, nodes: Sequence[Node]) -> bool:
    """Check all of them together, until one is found that is not."""
    if len(nodes) == 1:
        return await source.check(nodes[0])
    checks = [source.check(node).addCallback(_insist) for node in nodes]
    try:
        await gatherResults(checks, consumeErrors=True)
    except FirstError as first:
        first.subFailure.trap(_Unfit)
        return False
    finally:
        for check in checks:
            check.cancel()
    return True


class _Unfit(Exception):
    """A node is not fit to be handed out."""


def _insist(fit: bool) -> None:
    if not fit:
        raise _Unfit
