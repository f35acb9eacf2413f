"""What is to become of a node that nobody holds: a pure function of what is known."""

from __future__ import annotations

import enum

import attrs

from nodepool_tx.model import RETURNED_STATES, Node, NodeState

__all__ = ["Fate", "Situation", "Verdict", "fate_of"]


class Fate(enum.Enum):
    """What to do about a node."""

    #: It is somebody's, or of use.
    KEEP = "keep"
    #: Go on with its launch.
    ADOPT = "adopt"
    #: Begin its launch, which we have promised and never begun.
    MAKE = "make"
    DELETE = "delete"


@attrs.frozen
class Verdict:
    """A fate and its reason, in words."""

    fate: Fate
    reason: str = ""


_KEEP = Verdict(Fate.KEEP)


@attrs.frozen(kw_only=True)
class Situation:
    """What bears on a node, apart from its record.

    :ivar configured: its pool has its label, and its provider is not given up.
    :ivar launcher_online: who was to make it can be seen.
    :ivar launcher_is_us: that is ourselves.
    :ivar wanted: the request it is promised to is being worked on.
    :ivar withdrawn: why an operator took its provider out of service; "" if
        nobody did.
    :ivar settled: its record is old enough for what was written with it to be
        known here, too.
    """

    configured: bool
    launcher_online: bool = True
    launcher_is_us: bool = False
    wanted: bool = True
    settled: bool = False
    withdrawn: str = ""


def fate_of(node: Node, now: Situation) -> Verdict:
    """Judge a node that nobody holds the lock of."""
    state = node.state
    in_stock = not node.allocated_to
    if state is NodeState.BUILDING:
        if not now.configured:
            return Verdict(Fate.DELETE, "its label is not configured")
        if now.withdrawn and in_stock:
            return Verdict(Fate.DELETE, now.withdrawn)
        return Verdict(Fate.ADOPT, "nobody is making it")
    if state is NodeState.INIT:
        return _fate_of_new(now)
    if state is NodeState.READY:
        if in_stock and not now.configured:
            return Verdict(Fate.DELETE, "its label is not configured")
        return Verdict(Fate.DELETE, now.withdrawn) if in_stock and now.withdrawn else _KEEP
    if state in RETURNED_STATES:
        somebody_said_so = state is NodeState.DELETING
        return Verdict(Fate.DELETE, "it is to go" if somebody_said_so else f"it is {state.value}")
    return _KEEP


def _fate_of_new(now: Situation) -> Verdict:
    if not now.configured:
        return Verdict(Fate.DELETE, "its label is not configured")
    if not now.launcher_online:
        return Verdict(Fate.DELETE, "who was to make it is gone")
    if not now.settled:
        return _KEEP
    if not now.wanted:
        return Verdict(Fate.DELETE, "its request is not worked on any more")
    return Verdict(Fate.MAKE, "its launch was never begun") if now.launcher_is_us else _KEEP
