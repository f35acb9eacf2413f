"""Choosing nodes for the labels of a request.

A node may have several labels, so taking the first that fits can leave a later
label with nothing although everything could be served.  What is needed is a
maximum matching between the labels asked for and the free nodes; requests are
small, so augmenting paths (Kuhn's algorithm) do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from nodepool_tx.model import Node

__all__ = ["choose"]


def choose(
    labels: Sequence[str],
    candidates: Callable[[str, int], Sequence[Node]],
    excluded: Collection[str] = (),
) -> tuple[Node | None, ...]:
    """As many nodes for ``labels`` as there can be, in their order.

    ``candidates(label, n)`` gives up to ``n`` free nodes that have a label,
    the preferred ones first.  None stands where nothing was left.  More
    candidates than labels are never needed: with that many, a label cannot
    run out.
    """
    enough = len(labels) + len(excluded)
    options = {
        label: [node for node in candidates(label, enough) if node.id not in excluded]
        for label in set(labels)
    }
    #: node id -> position of the label it serves
    taken: dict[str, int] = {}
    chosen: list[Node | None] = [None] * len(labels)

    def place(position: int, seen: set[str]) -> bool:
        for node in options[labels[position]]:
            if node.id in seen:
                continue
            seen.add(node.id)
            if node.id not in taken or place(taken[node.id], seen):
                taken[node.id] = position
                chosen[position] = node
                return True
        return False

    for position in range(len(labels)):
        place(position, set())
    return tuple(chosen)
