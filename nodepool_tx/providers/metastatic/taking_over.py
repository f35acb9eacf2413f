"""Backing nodes that are ours and not in the table: those that Nodepool 11 has made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from twisted.logger import Logger

from nodepool_tx.config.metastatic import MetastaticLabel
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.interface import NODE_ID, POOL_NAME, PROVIDER_NAME
from nodepool_tx.providers.metastatic.backing import Backing, Slot, owner_of

__all__ = ["Claim", "claim_in", "part_of", "taken_over", "with_parts"]

_log = Logger()

#: Begins the owner of every provider, and stands as it is in JSON.
_ANY_OWNER = owner_of("")

#: More slots than anybody could mean.
_MOST_SLOTS = 10_000

#: Nodes in one of these have given their slot up, or are about to.
_LEAVING = (NodeState.DELETING, NodeState.DELETED)


@attrs.frozen
class Claim:
    """What the ``user_data`` of a backing node says."""

    label: str
    slots: int
    failed: bool
    launched: float


def claim_in(node: Node, owner: str) -> Claim | None:
    """What is said of a node of ours; None for a node of others, or what makes no sense."""
    data = node.user_data
    if not isinstance(data, str) or _ANY_OWNER not in data:
        return None
    try:
        raw = json.loads(data)
        if raw["owner"] != owner:
            return None
        claim = Claim(
            str(raw["label"]),
            int(raw["slots"]),
            bool(raw.get("failed", False)),
            float(raw.get("launched") or 0.0),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return claim if 0 < claim.slots <= _MOST_SLOTS else None


def part_of(node: Node) -> tuple[str, int] | None:
    """The backing node and the slot that a node says it is a part of."""
    data: Any = node.driver_data
    if not isinstance(data, Mapping):
        return None
    backing, slot = data.get("backing_node"), data.get("slot")
    if not isinstance(backing, str) or isinstance(slot, bool) or not isinstance(slot, int):
        return None
    return (backing, slot)


def taken_over(
    node: Node,
    claim: Claim,
    contender: str,
    nodes: Iterable[Node],
    label: MetastaticLabel | None,
    now: float,
) -> Backing:
    """The record of a backing node that had none.

    :param contender: the name of our contender for its lock.
    :param nodes: those that might be parts of it.
    :param label: as it is configured, if it is.
    """
    asked_for = label.backing_label if label is not None else None
    if asked_for not in node.type:
        asked_for = node.type[0] if node.type else None
    empty = Backing(
        id=f"node-{node.id}",
        label=claim.label,
        backing_label=asked_for,
        slots=(None,) * claim.slots,
        created=claim.launched,
        last_used=now,
        node=node.id,
        launched=claim.launched,
        lock=contender,
        failed=claim.failed,
    )
    return with_parts(empty, nodes)


def with_parts(backing: Backing, nodes: Iterable[Node]) -> Backing:
    """The record with those nodes in its slots that say they are parts of it."""
    for node in sorted(nodes, key=lambda each: each.id):
        part = part_of(node)
        if part is None or part[0] != backing.node or node.state in _LEAVING:
            continue
        number = part[1]
        if backing.slot_of(node.id) is not None:
            continue
        if not 0 <= number < len(backing.slots) or backing.slots[number] is not None:
            _log.warn(
                "node {node_id} says that it has slot {slot} of backing node {backing_node}, "
                "which there is not, or which is another's",
                node_id=node.id,
                slot=number,
                backing_node=backing.node,
            )
            continue
        backing = backing.with_slot(number, Slot(node.id, _metadata(node)))
    return backing


def _metadata(node: Node) -> dict[str, str]:
    found = {
        NODE_ID: node.id,
        POOL_NAME: node.pool or "",
        PROVIDER_NAME: node.provider or "",
    }
    known = node.driver_data.get("metadata")
    if isinstance(known, Mapping):
        found |= {str(key): value for key, value in known.items() if isinstance(value, str)}
    return found
