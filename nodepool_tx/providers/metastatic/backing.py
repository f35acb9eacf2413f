"""A backing node and what its slots hold, as written in the table.

A record begins with the request for the node, so that slots can be given out
before the node is there, and ends when the node is released.  All times are
seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import attrs

from nodepool_tx.config.metastatic import MetastaticLabel
from nodepool_tx.model import Node, NodeState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import LARGEST, Unreadable

__all__ = [
    "Backing",
    "Slot",
    "decode",
    "encode",
    "owner_of",
    "table_path",
    "user_data_of",
]

_KEYS = (
    "label",
    "backing_label",
    "created",
    "last_used",
    "node",
    "launched",
    "lock",
    "failed",
    "trouble",
)


def table_path(provider: str) -> str:
    """Where the records of a provider are; Nodepool 11 looks at nothing there."""
    return f"{paths.ROOT}/metastatic/{quote(provider, safe='').replace('.', '%2E')}"


def owner_of(provider: str) -> str:
    """What a provider calls itself: as a requestor, in locks and in ``user_data``."""
    return f"NodePool:metastatic:{provider}"


@attrs.frozen
class Slot:
    """What is in a slot.

    :ivar node_id: the node that it was given to.
    :ivar metadata: by which that is told from what others have made.
    """

    node_id: str
    metadata: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Backing:
    """One backing node, asked for or there.

    :ivar label: whose nodes it is divided into.
    :ivar backing_label: what it was asked for as.
    :ivar slots: None stands for one that is free.
    :ivar created: when it was asked for.
    :ivar last_used: when a slot was given up last, or when it was asked for.
    :ivar node: its node's id, once there is one.
    :ivar launched: from when on its age counts; None until it is there.
    :ivar lock: the name of our contender for the node's lock.
    :ivar failed: gets no more nodes.
    :ivar trouble: why there is, or will be, no such node.
    :ivar version: of the znode that it was read from.
    """

    id: str
    label: str
    backing_label: str | None = None
    slots: tuple[Slot | None, ...]
    created: float
    last_used: float
    node: str | None = None
    launched: float | None = None
    lock: str | None = None
    failed: bool = False
    trouble: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    version: int = attrs.field(default=-1, eq=False)

    @property
    def empty(self) -> bool:
        return not any(self.slots)

    @property
    def free(self) -> int:
        """How many slots are."""
        return sum(slot is None for slot in self.slots)

    def held(self) -> Iterator[tuple[int, Slot]]:
        """The slots that somebody has, with their numbers."""
        return ((n, slot) for n, slot in enumerate(self.slots) if slot is not None)

    def slot_of(self, node_id: str) -> int | None:
        for number, slot in self.held():
            if slot.node_id == node_id:
                return number
        return None

    def with_slot(self, number: int, slot: Slot | None) -> Backing:
        slots = (*self.slots[:number], slot, *self.slots[number + 1 :])
        return attrs.evolve(self, slots=slots)

    def too_old(self, label: MetastaticLabel, now: float) -> bool:
        """It has been there for so long that it gets no more nodes."""
        if self.launched is None or label.max_age is None:
            return False
        return now - self.launched >= label.max_age

    def takes(self, label: MetastaticLabel, node: Node | None, now: float) -> bool:
        """It may get more nodes of a label.

        :param node: its node, where there is one.
        """
        return (
            self.free > 0
            and (self.node is None or node is not None)
            and not self.closed(label, node, now)
        )

    def closed(self, label: MetastaticLabel | None, node: Node | None, now: float) -> bool:
        """It gets no more nodes, and is not kept for any.

        :param label: as it is configured now, if it is.
        """
        return (
            label is None
            or label.name != self.label
            or (self.backing_label is not None and self.backing_label != label.backing_label)
            or self.failed
            or self.trouble is not None
            or self.too_old(label, now)
            or (node is not None and node.state is not NodeState.IN_USE)
        )


def user_data_of(backing: Backing, owner: str) -> str:
    """What is written at the node itself, by which Nodepool 11 knows it again."""
    return json.dumps(
        {
            "owner": owner,
            "label": backing.label,
            "slots": len(backing.slots),
            "failed": backing.failed,
            "launched": backing.launched if backing.launched is not None else backing.created,
        }
    )


def encode(backing: Backing) -> bytes:
    out = {key: getattr(backing, key) for key in _KEYS}
    out["slots"] = [
        None if slot is None else {"node": slot.node_id, "metadata": dict(slot.metadata)}
        for slot in backing.slots
    ]
    return json.dumps({**out, **backing.extra}).encode()


def decode(id: str, data: bytes, version: int) -> Backing:
    """The record in a znode's data.

    :raises Unreadable: it is none.
    """
    try:
        raw = json.loads(data)
        slots = tuple(_slot(each) for each in raw.pop("slots"))
        known = {key: raw.pop(key, None) for key in _KEYS}
        backing = Backing(id=id, slots=slots, version=version, extra=raw, **known)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise Unreadable(f"{type(e).__name__}: {e}") from None
    _check(backing)
    return backing


def _slot(raw: Any) -> Slot | None:
    if raw is None:
        return None
    node_id, metadata = raw["node"], raw.get("metadata") or {}
    if not isinstance(node_id, str) or not node_id:
        raise ValueError(f"{node_id!r:.60} is no node")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"metadata {metadata!r:.60}")
    return Slot(node_id, metadata)


def _check(backing: Backing) -> None:
    texts = {"backing_label": backing.backing_label, "node": backing.node, "lock": backing.lock}
    texts["trouble"] = backing.trouble
    for key, text in texts.items():
        if not (text is None or isinstance(text, str)):
            raise Unreadable(f"{key}: expected a string, found {text!r:.60}")
    if not isinstance(backing.label, str):
        raise Unreadable(f"label: expected a string, found {backing.label!r:.60}")
    if not isinstance(backing.failed, bool):
        raise Unreadable(f"failed: expected true or false, found {backing.failed!r:.60}")
    times: dict[str, Any] = {"created": backing.created, "last_used": backing.last_used}
    if backing.launched is not None:
        times["launched"] = backing.launched
    for key, time in times.items():
        if isinstance(time, bool) or not isinstance(time, (int, float)):
            raise Unreadable(f"{key}: expected a number, found {time!r:.60}")
        if not -LARGEST < time < LARGEST:
            raise Unreadable(f"{key}: expected a finite number, found {time!r:.60}")
    ids = [slot.node_id for _, slot in backing.held()]
    if len(set(ids)) < len(ids):
        raise Unreadable("a node has two slots")
