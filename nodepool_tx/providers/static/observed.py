"""What there is: the nodes recorded for a slot, and what is known of a machine.

Frozen values, made fresh for each plan.  ``seen``, ``empty_since`` and
``checked`` are positions in one sequence of everything the provider noticed,
so that "was the machine looked at after this node came back?" has an exact
answer whatever the clock does.
"""

from __future__ import annotations

import enum

import attrs

from nodepool_tx.model import Node
from nodepool_tx.providers.static.desired import SlotKey

__all__ = ["AMPLE", "HostFacts", "HostState", "ObservedSlot", "SeenNode"]

#: Room on a machine that has no node too many.
AMPLE = 1_000_000_000


class HostState(enum.Enum):
    """What the last look at a machine showed."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@attrs.frozen
class HostFacts:
    """What is known of a machine.

    :ivar keys: the host keys to record with its nodes, when it is up.
    :ivar checked: when a look last found it up, in the sequence of events.
    :ivar reason: why it is down, for an operator.
    :ivar since: when it came into its state (seconds, the clock's).
    :ivar failures: looks in a row that failed.
    :ivar retry_at: not to be looked at before, while it is down.
    """

    state: HostState = HostState.UNKNOWN
    keys: tuple[str, ...] = ()
    ipv4: str | None = None
    ipv6: str | None = None
    checked: int = -1
    reason: str = ""
    since: float = 0.0
    failures: int = 0
    retry_at: float = 0.0


@attrs.frozen
class SeenNode:
    """A node's record and who has it in hands.

    :ivar locked: somebody holds its lock, or waits for it.
    :ivar reserved: a task of this process is about to change it.
    :ivar seen: when it last changed, in the sequence of events.
    """

    node: Node
    locked: bool = False
    reserved: bool = False
    seen: int = 0


@attrs.frozen
class ObservedSlot:
    """Everything recorded for one slot.

    :ivar empty_since: when its last node went, in the sequence of events.
    :ivar room: how many nodes its machine may get before it has more than it
        takes jobs.
    :ivar spare: a slot of the same machine that nobody has, for records that
        name no slot.
    """

    key: SlotKey
    nodes: tuple[SeenNode, ...] = ()
    empty_since: int = 0
    room: int = AMPLE
    spare: int | None = None
