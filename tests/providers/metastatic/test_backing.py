"""Records of backing nodes, as bytes and as values."""

from __future__ import annotations

import json
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.metastatic.backing import (
    Backing,
    Slot,
    decode,
    encode,
    table_path,
    user_data_of,
)
from nodepool_tx.store.codec import Unreadable
from tests.providers.metastatic.stage import meta_label

FULL = Backing(
    id="x",
    label="small",
    backing_label="big",
    slots=(Slot("0000000001", {"a": "b"}), None, Slot("0000000002")),
    created=1.5,
    last_used=2,
    node="0000000009",
    launched=3.0,
    lock="0__lock__0000000000",
    failed=True,
    trouble="it is gone",
    extra={"of": "a later version"},
)

times = st.floats(-1e200, 1e200)
texts = st.none() | st.text(max_size=5)


@given(
    st.builds(
        Backing,
        id=st.just("x"),
        label=st.text(max_size=5),
        backing_label=texts,
        slots=st.lists(
            st.none() | st.builds(Slot, st.text(min_size=1, max_size=3)),
            unique_by=lambda slot: slot and slot.node_id,
            max_size=4,
        ).map(tuple),
        created=times,
        last_used=times,
        node=texts,
        launched=st.none() | times,
        lock=texts,
        failed=st.booleans(),
        trouble=texts,
    )
)
def test_what_is_written_is_read(backing: Backing) -> None:
    """Every value survives."""
    assert decode("x", encode(backing), 7) == backing
    assert decode("x", encode(backing), 7).version == 7


def test_everything_is_kept() -> None:
    """What later versions add is, too."""
    assert decode("x", encode(FULL), 0) == FULL


@pytest.mark.parametrize(
    "changes",
    [
        {"slots": None},
        {"slots": [1]},
        {"slots": [{"node": ""}]},
        {"slots": [{"node": 5}]},
        {"slots": [{"node": "1"}, {"node": "1"}]},
        {"slots": [{"node": "1", "metadata": {"a": 1}}]},
        {"slots": [{"node": "1", "metadata": "no"}]},
        {"label": None},
        {"backing_label": []},
        {"created": "today"},
        {"created": True},
        {"created": float("nan")},
        {"last_used": None},
        {"launched": 1e301},
        {"node": 9},
        {"lock": {}},
        {"failed": "no"},
        {"failed": None},
        {"trouble": 3},
    ],
)
def test_garbage(changes: dict[str, Any]) -> None:
    """What makes no sense is told as what cannot be read, and as nothing else."""
    data = json.dumps({**json.loads(encode(FULL)), **changes}).encode()
    with pytest.raises(Unreadable):
        decode("x", data, 0)


@given(st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_noise(data: bytes) -> None:
    """No bytes at all lead to another error."""
    with pytest.raises(Unreadable):
        decode("x", data, 0)


@pytest.mark.parametrize("provider", ["a/b", "..", ".", "ü", "%2F", "zookeeper"])
def test_paths(provider: str) -> None:
    """Any name of a provider makes one part of a path."""
    path = table_path(provider)
    assert path.startswith("/nodepool/metastatic/")
    assert path.count("/") == 3
    assert path.rpartition("/")[2] not in (".", "..")


def test_user_data() -> None:
    """A node says what Nodepool 11 wants to know of it."""
    assert json.loads(user_data_of(FULL, "me")) == {
        "owner": "me",
        "label": "small",
        "slots": 3,
        "failed": True,
        "launched": 3.0,
    }


def test_closed() -> None:
    """A node gets no more parts for any one of these reasons."""
    fine = attrs.evolve(FULL, failed=False, trouble=None)
    label, node = meta_label(), Node(state=NodeState.IN_USE)
    assert fine.takes(label, node, 100)
    assert not attrs.evolve(fine, failed=True).takes(label, node, 100)
    assert not attrs.evolve(fine, trouble="gone").takes(label, node, 100)
    assert not attrs.evolve(fine, backing_label="huge").takes(label, node, 100)
    assert not fine.takes(meta_label("tiny"), node, 100)
    assert not fine.takes(label, attrs.evolve(node, state=NodeState.DELETING), 100)
    assert not fine.takes(label, None, 100)
    assert fine.takes(meta_label(max_age=98), node, 100)
    assert not fine.takes(meta_label(max_age=97), node, 100)
    assert not attrs.evolve(fine, slots=(Slot("1"),)).takes(label, node, 100)
