"""What is to become of a node that nobody holds."""

from __future__ import annotations

import pytest

from nodepool_tx.model import RETURNED_STATES, Node, NodeState
from nodepool_tx.providers.cloud.fate import Fate, Situation, fate_of


def fate(state: NodeState, allocated_to: str | None = None, **situation: bool) -> Fate:
    now = Situation(**{"configured": True, **situation})
    return fate_of(Node(id="1", state=state, allocated_to=allocated_to), now).fate


@pytest.mark.parametrize("state", sorted(RETURNED_STATES - {NodeState.BUILDING}))
@pytest.mark.parametrize("configured", [True, False])
def test_returned(state: NodeState, configured: bool) -> None:
    """What is done with is deleted, whatever is configured."""
    assert fate(state, configured=configured) is Fate.DELETE


@pytest.mark.parametrize(
    ("state", "reason"), [(NodeState.USED, "it is used"), (NodeState.DELETING, "it is to go")]
)
def test_reasons(state: NodeState, reason: str) -> None:
    """Why it is deleted is said in words."""
    assert fate_of(Node(id="1", state=state), Situation(configured=True)).reason == reason


@pytest.mark.parametrize("state", [NodeState.HOLD, NodeState.TESTING])
@pytest.mark.parametrize("configured", [True, False])
def test_kept(state: NodeState, configured: bool) -> None:
    """What somebody wants to keep is kept."""
    assert fate(state, configured=configured) is Fate.KEEP


def test_building() -> None:
    """A launch that was cut off is gone on with, as long as its label is configured."""
    assert fate(NodeState.BUILDING) is Fate.ADOPT
    assert fate(NodeState.BUILDING, configured=False) is Fate.DELETE


def test_ready() -> None:
    """Stock is kept while its label is configured; what is promised is kept anyway."""
    assert fate(NodeState.READY) is Fate.KEEP
    assert fate(NodeState.READY, configured=False) is Fate.DELETE
    assert fate(NodeState.READY, "200-1", configured=False) is Fate.KEEP


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        ({}, Fate.KEEP),
        ({"settled": True}, Fate.KEEP),
        ({"settled": True, "launcher_is_us": True}, Fate.MAKE),
        ({"launcher_is_us": True}, Fate.KEEP),
        ({"wanted": False}, Fate.KEEP),
        ({"settled": True, "wanted": False}, Fate.DELETE),
        ({"settled": True, "wanted": False, "launcher_is_us": True}, Fate.DELETE),
        ({"launcher_online": False}, Fate.DELETE),
        ({"configured": False, "launcher_is_us": True}, Fate.DELETE),
    ],
)
def test_new(situation: dict[str, bool], expected: Fate) -> None:
    """A node that was never begun is left to whoever is to make it, while that is to come."""
    assert fate(NodeState.INIT, **situation) is expected
