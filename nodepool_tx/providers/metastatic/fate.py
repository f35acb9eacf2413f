"""What is to become of a backing node: a pure function of what is known of it."""

from __future__ import annotations

import enum
import math

import attrs

from nodepool_tx.config.metastatic import MetastaticLabel
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.providers.metastatic.backing import Backing

__all__ = ["Fate", "Situation", "Verdict", "fate_of"]


class Fate(enum.Enum):
    """What to do about a record."""

    #: Nothing, until the time that goes with it.
    KEEP = "keep"
    #: Its node is there: make it ours.
    TAKE = "take"
    #: There will be no node, or is none any more.
    END = "end"
    #: Nobody needs its node any more.
    RELEASE = "release"
    #: Nobody needs the node that was asked for any more.
    WITHDRAW = "withdraw"
    #: There is nothing left of it.
    DROP = "drop"


@attrs.frozen
class Verdict:
    """:ivar due: when to look again if nothing happens; infinite for never."""

    fate: Fate
    reason: str = ""
    due: float = math.inf


@attrs.frozen(kw_only=True)
class Situation:
    """What bears on a record.

    :ivar label: its label as configured now, if it is.
    :ivar request: that asks for its node, if there is one.
    :ivar node: its node, if there is one; ``node_there`` tells of those whose
        records make no sense, too.
    :ivar given: the node that its request was given.
    :ivar referenced: a node in use says that it is a part of it.
    :ivar unused: nobody has a slot, or nobody who exists does.
    """

    label: MetastaticLabel | None
    request: NodeRequest | None = None
    node: Node | None = None
    node_there: bool = False
    given: Node | None = None
    referenced: bool = False
    unused: bool = False


def fate_of(backing: Backing, now: Situation, time: float) -> Verdict:
    """Judge a record at a time."""
    if backing.trouble is not None:
        return Verdict(Fate.DROP, backing.trouble) if now.unused else Verdict(Fate.KEEP)
    if backing.node is None:
        return _fate_of_wanted(backing, now, time)
    if not now.node_there:
        return Verdict(Fate.END, f"its backing node {backing.node} is gone")
    if now.node is None or now.node.state is NodeState.HOLD or now.referenced or not now.unused:
        return Verdict(Fate.KEEP)
    if backing.closed(now.label, now.node, time) or now.label is None:
        return Verdict(Fate.RELEASE, _why_closed(backing, now, time))
    idle_until = backing.last_used + now.label.grace_time
    retained_until = (backing.launched or 0.0) + now.label.min_retention_time
    due = max(idle_until, retained_until)
    if due <= time:
        idle = time - backing.last_used
        return Verdict(Fate.RELEASE, f"it was not used for {idle:.0f} seconds")
    ages_out = math.inf
    if now.label.max_age is not None:
        ages_out = (backing.launched or 0.0) + now.label.max_age
    return Verdict(Fate.KEEP, due=min(due, ages_out))


def _fate_of_wanted(backing: Backing, now: Situation, time: float) -> Verdict:
    request = now.request
    if request is None:
        return Verdict(Fate.END, "the request for its backing node is gone")
    if request.state is RequestState.FAILED:
        return Verdict(Fate.END, f"the request {request.id} for its backing node failed")
    if request.state is RequestState.FULFILLED:
        given = now.given
        if given is None or given.state is not NodeState.READY:
            state = "gone" if given is None else given.state.value
            which = ", ".join(request.nodes) or "none"
            return Verdict(Fate.END, f"the backing node it was given ({which}) is {state}")
        return Verdict(Fate.TAKE)
    if not now.unused:
        return Verdict(Fate.KEEP)
    due = backing.last_used + (now.label.grace_time if now.label is not None else 0)
    if backing.closed(now.label, None, time) or due <= time:
        return Verdict(Fate.WITHDRAW, "nobody waits for it any more")
    return Verdict(Fate.KEEP, due=due)


def _why_closed(backing: Backing, now: Situation, time: float) -> str:
    if backing.failed:
        return "it has failed"
    if now.node is not None and now.node.state is not NodeState.IN_USE:
        return f"it is {now.node.state.value}"
    if now.label is not None and backing.too_old(now.label, time):
        return "it has reached its max-age"
    return "its label is not configured"
