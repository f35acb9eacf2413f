"""Which nodes in stock have to go so that others fit in: a pure choice.

Only as many as are needed: none of those chosen could stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nodepool_tx.model import Node
from nodepool_tx.store.usage import Account, accounts_of, resources_of

__all__ = ["Lacking", "to_remove"]

#: By account and resource, how much has to come free.
Lacking = Mapping[tuple[Account, str], float]


def to_remove(lacking: Lacking, candidates: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes whose removal gives all that is lacking; none if it cannot be had.

    The largest contributions are taken first, then those longest in stock;
    what turns out superfluous stays.
    """
    left = {key: amount for key, amount in lacking.items() if amount > 0}
    if not left:
        return ()
    gains = {node.id: gain for node in candidates if (gain := _gain(node, left))}
    remaining = sorted(
        (node for node in candidates if node.id in gains),
        key=lambda node: (node.state_time, node.id),
    )
    chosen: list[Node] = []
    while left and remaining:
        best = max(remaining, key=lambda node: _worth(gains[node.id], left))
        if not _worth(gains[best.id], left):
            return ()
        remaining.remove(best)
        chosen.append(best)
        left = _without(left, gains[best.id])
    if left:
        return ()
    return _without_superfluous(chosen, gains, lacking)


def _gain(node: Node, lacking: Lacking) -> dict[tuple[Account, str], float]:
    """What the removal of a node gives of what is lacking."""
    amounts = resources_of(node)
    keys = ((account, resource) for account in accounts_of(node) for resource in amounts)
    return {key: amounts[key[1]] for key in keys if key in lacking and amounts[key[1]] > 0}


def _worth(gain: Lacking, left: Lacking) -> float:
    """How much of what is left a gain covers, in parts of each."""
    return sum(min(gain.get(key, 0), amount) / amount for key, amount in left.items())


def _without(left: Lacking, gain: Lacking) -> dict[tuple[Account, str], float]:
    rest = {key: amount - gain.get(key, 0) for key, amount in left.items()}
    return {key: amount for key, amount in rest.items() if amount > 1e-9}


def _without_superfluous(
    chosen: Sequence[Node],
    gains: Mapping[str, Lacking],
    lacking: Lacking,
) -> tuple[Node, ...]:
    """Leave out each one without which it is still enough, the last chosen first."""
    surplus = {key: -amount for key, amount in lacking.items() if amount > 0}
    for node in chosen:
        for key, amount in gains[node.id].items():
            surplus[key] += amount
    kept: list[Node] = []
    for node in reversed(chosen):
        gain = gains[node.id]
        if all(surplus[key] - amount >= -1e-9 for key, amount in gain.items()):
            for key, amount in gain.items():
                surplus[key] -= amount
        else:
            kept.append(node)
    return tuple(reversed(kept))
