"""Who gets which slot, before it is written."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
from hypothesis import given

from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.metastatic.backing import Backing, Slot
from nodepool_tx.providers.metastatic.draft import Draft
from tests.providers.metastatic.stage import meta_label

LABELS = (meta_label(max_parallel_jobs=3), meta_label("tiny", max_parallel_jobs=2))
NODES = {"n0": Node(id="n0", state=NodeState.IN_USE), "n1": Node(id="n1", state=NodeState.USED)}

WISHES = st.lists(
    st.tuples(
        st.sampled_from(("take", "take", "take", "give up", "fail")),
        st.integers(0, 1),
        st.integers(0, 9),
    ),
    max_size=40,
)


def there(id: str, label: str, node: str | None, *held: str | None) -> Backing:
    return Backing(
        id=id,
        label=label,
        backing_label="big",
        slots=tuple(Slot(each) if each else None for each in held),
        created=0,
        last_used=0,
        node=node,
        launched=0,
    )


def table() -> list[Backing]:
    return [
        there("a", "small", "n0", "100", None, None),
        there("b", "small", "n1", None, None, None),
        there("c", "tiny", None, "101", None),
    ]


@given(WISHES)
def test_any_wishes(wishes: list[tuple[str, int, int]]) -> None:
    """Each node that takes has one slot, of its label; who gives up has none; no other changes."""
    draft, expected = Draft(table(), NODES, 50.0), {"100": "small", "101": "tiny"}
    failed: set[str] = set()
    for what, which, number in wishes:
        node_id = str(number)
        if what == "take":
            draft.take(LABELS[which], Slot(node_id))
            expected.setdefault(node_id, LABELS[which].name)
        elif what == "give up":
            assert draft.give_up(node_id) == (node_id in expected)
            expected.pop(node_id, None)
        else:
            backing = draft.fail(node_id)
            failed |= {backing.id} if backing is not None else set()
    after = {each.id: each for each in table()} | draft.changed | draft.added
    held = [(slot.node_id, each.label) for each in after.values() for _, slot in each.held()]
    assert sorted(held) == sorted(expected.items())
    assert not after["b"].slots.count(None) < 3, "a node on its way out got a part"
    assert {id for id, each in after.items() if each.failed} == failed
    # A record is added only when there is no room in any other.
    for label in LABELS:
        room = Counter(
            each.label for each in draft.added.values() if each.empty and each.label == label.name
        )
        assert not room or any(what == "give up" for what, _, _ in wishes)


def test_fullest_and_there_first() -> None:
    """A node that is there comes before one that is waited for, and a fuller before an emptier."""
    backings = [
        there("a", "small", None, "1", "2", None),
        there("b", "small", "n0", None, None, None),
        there("c", "small", "n0", "3", None, None),
    ]
    draft = Draft(backings, NODES, 50.0)
    for node_id in ("4", "5", "6", "7", "8", "9", "10"):
        draft.take(LABELS[0], Slot(node_id))
    order = [draft.changed[id].slot_of(node) for id, node in (("c", "4"), ("c", "5"))]
    assert order == [1, 2]
    assert [draft.changed["b"].slot_of(node) for node in ("6", "7", "8")] == [0, 1, 2]
    assert draft.changed["a"].slot_of("9") == 2
    (added,) = draft.added.values()
    assert added.slot_of("10") == 0
