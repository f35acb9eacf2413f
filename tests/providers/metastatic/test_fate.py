"""What becomes of a backing node, told from what is known."""

from __future__ import annotations

import math
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.providers.metastatic.backing import Backing, Slot
from nodepool_tx.providers.metastatic.fate import Fate, Situation, Verdict, fate_of
from tests.providers.metastatic.stage import meta_label

NOW = 10_000.0
BACKING = Backing(
    id="x",
    label="small",
    backing_label="big",
    slots=(None, None),
    created=NOW - 1000,
    launched=NOW - 900,
    last_used=NOW - 100,
    node="9",
    lock="l",
)
HELD = attrs.evolve(BACKING, slots=(Slot("1"), None))
WANTED = attrs.evolve(BACKING, node=None, launched=None, lock=None)
NODE = Node(id="9", state=NodeState.IN_USE)


def judge(backing: Backing, at: float = NOW, **known: Any) -> Verdict:
    there = {"node": NODE, "node_there": True} if backing.node else {}
    fields: dict[str, Any] = {"label": meta_label(), "unused": backing.empty, **there, **known}
    return fate_of(backing, Situation(**fields), at)


def request(state: RequestState, *nodes: str) -> NodeRequest:
    return NodeRequest(id="100-1", state=state, nodes=nodes)


@pytest.mark.parametrize(
    ("grace", "retention", "due"),
    [(60, 0, NOW - 40), (200, 0, NOW + 100), (0, 1000, NOW + 100), (300, 1000, NOW + 200)],
)
def test_idle(grace: int, retention: int, due: float) -> None:
    """It goes when both its times have passed, not before, and it is known when that is."""
    label = meta_label(grace_time=grace, min_retention_time=retention)
    assert judge(BACKING, due, label=label).fate is Fate.RELEASE
    assert judge(BACKING, due - 1, label=label) == Verdict(Fate.KEEP, due=due)


def test_in_use() -> None:
    """It stays while anybody has a part of it, whatever else is the matter."""
    for backing in (HELD, attrs.evolve(HELD, failed=True)):
        for label in (meta_label(grace_time=0), meta_label(max_age=1), None):
            assert judge(backing, label=label).fate is Fate.KEEP
    assert judge(BACKING, referenced=True).fate is Fate.KEEP
    assert judge(BACKING, label=None, referenced=True).fate is Fate.KEEP


@pytest.mark.parametrize(
    "known",
    [
        {"label": None},
        {"label": meta_label(grace_time=9000, max_age=900)},
        {"label": meta_label(grace_time=9000, backing_label="huge")},
        {"label": meta_label(grace_time=9000), "node": attrs.evolve(NODE, state=NodeState.USED)},
    ],
)
def test_of_no_use(known: dict[str, Any]) -> None:
    """What gets no more parts is not kept for its grace-time."""
    verdict = judge(BACKING, **known)
    assert verdict.fate is Fate.RELEASE
    assert verdict.reason


def test_max_age_is_waited_for() -> None:
    """An idle node is looked at when it becomes too old."""
    label = meta_label(grace_time=9000, max_age=1000)
    assert judge(BACKING, label=label) == Verdict(Fate.KEEP, due=NOW + 100)


def test_held_or_unreadable() -> None:
    """Nothing is done about a node that somebody holds, or whose record makes no sense."""
    assert judge(BACKING, node=attrs.evolve(NODE, state=NodeState.HOLD)).fate is Fate.KEEP
    assert judge(BACKING, node=None).fate is Fate.KEEP


SITUATIONS = st.builds(
    Situation,
    label=st.none()
    | st.builds(
        meta_label,
        grace_time=st.integers(0, 50),
        min_retention_time=st.integers(0, 50),
        max_age=st.none() | st.integers(1, 50),
        backing_label=st.sampled_from(("big", "huge")),
    ),
    request=st.none() | st.builds(request, st.sampled_from(RequestState)),
    node=st.none() | st.builds(Node, state=st.sampled_from(NodeState)),
    node_there=st.booleans(),
    given=st.none() | st.builds(Node, state=st.sampled_from(NodeState)),
    referenced=st.booleans(),
    unused=st.booleans(),
)
BACKINGS = st.builds(
    Backing,
    id=st.just("x"),
    label=st.just("small"),
    slots=st.just((None,)),
    created=st.integers(0, 100),
    last_used=st.integers(0, 100),
    launched=st.none() | st.integers(0, 100),
    node=st.sampled_from((None, "9")),
    failed=st.booleans(),
    trouble=st.sampled_from((None, "gone")),
)


@given(BACKINGS, SITUATIONS, st.integers(0, 200))
def test_what_is_due_is_done(backing: Backing, situation: Situation, now: int) -> None:
    """Nothing is put off to a time that has passed, and what is used is never released."""
    verdict = fate_of(backing, situation, now)
    assert verdict.due > now
    if not situation.unused or situation.referenced:
        assert verdict.fate is not Fate.RELEASE
    if not situation.unused:
        assert verdict.fate not in (Fate.WITHDRAW, Fate.DROP)


def test_gone() -> None:
    """Without its node there is nothing to divide up; without a record of that, neither."""
    assert judge(HELD, node=None, node_there=False).fate is Fate.END
    ended = attrs.evolve(HELD, trouble="gone")
    assert judge(ended, node=None, node_there=False).fate is Fate.KEEP
    assert judge(ended, node=None, node_there=False, unused=True).fate is Fate.DROP


def test_wanted() -> None:
    """What becomes of a node that was asked for depends on its request."""
    ready = Node(id="9", state=NodeState.READY)
    held = attrs.evolve(WANTED, slots=(Slot("1"), None))
    assert judge(held).fate is Fate.END
    assert judge(held, request=request(RequestState.PENDING)).fate is Fate.KEEP
    assert judge(held, request=request(RequestState.FAILED)).fate is Fate.END
    fulfilled = request(RequestState.FULFILLED, "9")
    assert judge(held, request=fulfilled, given=ready).fate is Fate.TAKE
    assert judge(held, request=fulfilled).fate is Fate.END
    leaving = attrs.evolve(ready, state=NodeState.DELETING)
    assert judge(held, request=fulfilled, given=leaving).fate is Fate.END


def test_wanted_by_nobody() -> None:
    """A node that nobody waits for is not asked for any longer than one is kept."""
    asking = request(RequestState.PENDING)
    assert judge(WANTED, request=asking).fate is Fate.WITHDRAW
    later = judge(WANTED, request=asking, label=meta_label(grace_time=150))
    assert later == Verdict(Fate.KEEP, due=NOW + 50)
    assert judge(WANTED, request=asking, label=None).fate is Fate.WITHDRAW
    assert judge(WANTED, request=asking, label=meta_label(grace_time=10**9)).due < math.inf
