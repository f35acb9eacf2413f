"""Who gets which slot: the next state of the table, worked out before it is written."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

import attrs

from nodepool_tx.config.metastatic import MetastaticLabel
from nodepool_tx.model import Node
from nodepool_tx.providers.metastatic.backing import Backing, Slot

__all__ = ["Draft"]


class Draft:
    """Changes of several records that belong together.

    :param nodes: the backing nodes that there are, by id.
    :ivar changed: records that are no longer what they were, by id.
    :ivar added: records that are new, by id.
    """

    def __init__(self, backings: Iterable[Backing], nodes: Mapping[str, Node], now: float) -> None:
        self._backings = {each.id: each for each in backings}
        self._nodes = nodes
        self._now = now
        #: Node id to the record where it has a slot.
        self._holders = {
            slot.node_id: each.id for each in self._backings.values() for _, slot in each.held()
        }
        #: Label to the records that can take more nodes of it.
        self._open: dict[MetastaticLabel, dict[str, Backing]] = {}
        self.changed: dict[str, Backing] = {}
        self.added: dict[str, Backing] = {}

    def _put(self, backing: Backing) -> None:
        self._backings[backing.id] = backing
        (self.added if backing.id in self.added else self.changed)[backing.id] = backing
        for label, backings in self._open.items():
            backings.pop(backing.id, None)
            if self._takes(backing, label):
                backings[backing.id] = backing

    def _takes(self, backing: Backing, label: MetastaticLabel) -> bool:
        return backing.takes(label, self._nodes.get(backing.node or ""), self._now)

    def _holding(self, node_id: str) -> tuple[Backing, int] | None:
        backing = self._backings.get(self._holders.get(node_id, ""))
        number = backing.slot_of(node_id) if backing is not None else None
        return (backing, number) if backing is not None and number is not None else None

    def take(self, label: MetastaticLabel, slot: Slot) -> None:
        """Give a node a slot, of the node that has the fewest left; nothing if it has one."""
        if self._holding(slot.node_id) is not None:
            return
        backing = self._fullest(label)
        if backing is None:
            backing = Backing(
                id=uuid.uuid4().hex,
                label=label.name,
                backing_label=label.backing_label,
                slots=(None,) * label.max_parallel_jobs,
                created=self._now,
                last_used=self._now,
            )
            self.added[backing.id] = backing
        self._holders[slot.node_id] = backing.id
        self._put(backing.with_slot(backing.slots.index(None), slot))

    def _fullest(self, label: MetastaticLabel) -> Backing | None:
        if label not in self._open:
            self._open[label] = {
                each.id: each for each in self._backings.values() if self._takes(each, label)
            }
        # What is there is of use at once, and what fills up lets others run empty.
        return min(
            self._open[label].values(),
            key=lambda each: (each.node is None, each.free, each.created, each.id),
            default=None,
        )

    def give_up(self, node_id: str) -> bool:
        """Free the slot of a node; False if it has none."""
        found = self._holding(node_id)
        if found is None:
            return False
        backing, number = found
        self._put(attrs.evolve(backing.with_slot(number, None), last_used=self._now))
        return True

    def fail(self, node_id: str) -> Backing | None:
        """Let the backing node of a node get no more; returns it, unless that is so already."""
        found = self._holding(node_id)
        if found is None or found[0].failed:
            return None
        failed = attrs.evolve(found[0], failed=True)
        self._put(failed)
        return failed
