"""The nodes of one provider by slot, kept up to date event by event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nodepool_tx.model import NodeState
from nodepool_tx.providers.static.desired import Desired, DesiredNode, Identity, SlotKey, key_of
from nodepool_tx.providers.static.observed import AMPLE, ObservedSlot, SeenNode
from nodepool_tx.providers.static.plan import NEVER_STATIC, is_kept_from_us
from nodepool_tx.store.nodes import NodeChange, NodeTable

__all__ = ["SlotIndex"]

#: Nodes in these run no job, so they take no room from others.
_ROOMLESS = NEVER_STATIC | {NodeState.HOLD}


class SlotIndex:
    """Where each node of a provider stands.

    Machines normally have one node per slot at the most.  Those with nodes too
    many (after ``max-parallel-jobs`` was reduced, say) are remembered apart,
    as only for them somebody has to count.
    """

    def __init__(self, provider: str, desired: Desired, table: NodeTable) -> None:
        self._provider = provider
        self._desired = desired
        self._table = table
        self._where: dict[str, SlotKey] = {}
        #: By slot: node id -> when it last changed, in the sequence of events.
        self._at: dict[SlotKey, dict[str, int]] = {}
        #: When a slot lost its last node, and when all of this began.
        self._emptied: dict[SlotKey, int] = {}
        self._loaded = 0
        #: Slots holding nodes too many, by machine.
        self._crowded: dict[Identity, set[SlotKey]] = {}

    def __len__(self) -> int:
        return len(self._where)

    def keys(self) -> Iterator[SlotKey]:
        """Every slot that holds a node."""
        return iter(tuple(self._at))

    def ids_at(self, key: SlotKey) -> tuple[str, ...]:
        return tuple(self._at.get(key, ()))

    def key_of(self, node_id: str) -> SlotKey | None:
        return self._where.get(node_id)

    # -- following -------------------------------------------------------

    def load(self, order: int) -> None:
        """Begin again from what the table shows, as if all of it just came to be."""
        self._where, self._at, self._emptied, self._crowded = {}, {}, {}, {}
        self._loaded = order
        for node in self._table.of_provider(self._provider):
            self._put(node.id, key_of(node), order)

    def follow(self, change: NodeChange, order: int) -> tuple[SlotKey, ...]:
        """Take a change in; returns the slots that it is about."""
        node_id, after = change.node_id, change.after
        old = self._where.get(node_id)
        new = key_of(after) if after is not None and after.provider == self._provider else None
        if old == new:
            if old is None:
                return ()
            if change.before is not after or change.locked_before != change.locked_after:
                self._at[old][node_id] = order
            return (old,)
        if old is not None:
            self._take(node_id, old, order)
        if new is not None:
            self._put(node_id, new, order)
        return tuple(key for key in (old, new) if key is not None)

    def _put(self, node_id: str, key: SlotKey, order: int) -> None:
        self._where[node_id] = key
        self._at.setdefault(key, {})[node_id] = order
        self._emptied.pop(key, None)
        self._note_crowding(key)

    def _take(self, node_id: str, key: SlotKey, order: int) -> None:
        del self._where[node_id]
        here = self._at[key]
        del here[node_id]
        if not here:
            del self._at[key]
            if self._desired.at(key) is not None:
                self._emptied[key] = order
        self._note_crowding(key)

    def _note_crowding(self, key: SlotKey) -> None:
        count = len(self._at.get(key, ()))
        if count > (1 if self._desired.at(key) is not None else 0):
            self._crowded.setdefault(key.identity, set()).add(key)
        elif key.identity in self._crowded:
            crowded = self._crowded[key.identity]
            crowded.discard(key)
            if not crowded:
                del self._crowded[key.identity]

    # -- observing -------------------------------------------------------

    def is_taken(self, node_id: str, keys: Sequence[SlotKey]) -> bool:
        """All that is in these slots is one node that is kept from us.

        A plan for it would be to wait for an event, of which most are of this kind: a node
        is promised, locked, in use.
        """
        if len(keys) != 1 or len(self._at.get(keys[0], ())) != 1:
            return False
        node = self._table.get(node_id)
        return (
            node is not None
            and self._where.get(node_id) == keys[0]
            and node.state not in NEVER_STATIC
            and is_kept_from_us(node, self._table.is_in_hands(node_id))
        )

    def is_crowded(self, identity: Identity) -> bool:
        """The machine has a node where none should be."""
        return identity in self._crowded

    def vacancies(self, identity: Identity) -> Iterator[SlotKey]:
        """The slots of a machine that nobody has, and the one of records without a slot."""
        yield SlotKey(identity, None)
        host = self._desired.hosts.get(identity)
        if host is not None:
            yield from (key for key in host.slot_keys() if not self._count(key, NEVER_STATIC))

    def observe(self, key: SlotKey, taken: Callable[[SlotKey], bool]) -> ObservedSlot:
        """What a plan for this slot is made from.

        :param taken: a slot somebody here is putting a node into.
        """
        nodes = tuple(
            SeenNode(
                node=node,
                locked=self._table.is_locked(node.id),
                reserved=self._table.is_reserved(node.id),
                seen=seen,
            )
            for node_id, seen in self._at.get(key, {}).items()
            if (node := self._table.get(node_id)) is not None
        )
        host = self._desired.hosts.get(key.identity)
        room, spare = AMPLE, None
        if host is not None and key.identity in self._crowded:
            if key.slot is None:
                spare = self._spare(host, taken)
            elif not self._count(key, NEVER_STATIC):
                room = self._room(host, taken)
        return ObservedSlot(key, nodes, self._emptied.get(key, self._loaded), room, spare)

    def _room(self, host: DesiredNode, taken: Callable[[SlotKey], bool]) -> int:
        """How many nodes a crowded machine may still get."""
        used = sum(1 for key in host.slot_keys() if taken(key) or self._count(key, NEVER_STATIC))
        for key in self._crowded[host.identity]:
            surplus = self._count(key, _ROOMLESS)
            used += surplus - (1 if self._desired.at(key) is not None and surplus else 0)
        return host.slots - used

    def _count(self, key: SlotKey, without: frozenset[NodeState]) -> int:
        nodes = (self._table.get(node_id) for node_id in self._at.get(key, ()))
        return sum(1 for node in nodes if node is not None and node.state not in without)

    def _spare(self, host: DesiredNode, taken: Callable[[SlotKey], bool]) -> int | None:
        for key in host.slot_keys():
            if key not in self._at and not taken(key):
                return key.slot
        return None
