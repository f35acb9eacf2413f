"""What is done with a node, as seen from a request."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.explaining import NodeExplanation
from nodepool_tx.pools.stock import AT_MOST, Stock, in_words, look_at_nodes, use_of
from tests.pools.harness import EPOCH, ZookeeperTestCase

S = NodeState


def use(state: NodeState, *, locked: bool = False, reserved: bool = False, **more: Any) -> str:
    of = {key: more.pop(key) for key in ("kept_for", "new_only") if key in more}
    node = Node(id="1", state=state, **more)
    return use_of(node, "100-1", locked=locked, reserved=reserved, **of)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (use(S.READY), "free"),
        (use(S.READY, kept_for="100-0"), "kept for another"),
        (use(S.READY, new_only=True), "not new"),
        (use(S.READY, locked=True), "locked"),
        (use(S.READY, reserved=True), "being checked"),
        (use(S.READY, allocated_to="100-1"), "promised to it"),
        (use(S.READY, allocated_to="100-2", locked=True), "promised to another"),
        (use(S.BUILDING), "being made"),
        (use(S.INIT, allocated_to="100-1"), "promised to it"),
        (use(S.IN_USE, locked=True), "in use"),
        (use(S.IN_USE), "on the way back"),
        (use(S.USED, locked=True), "in use"),
        (use(S.DELETING), "on the way back"),
        (use(S.HOLD, locked=True), "held"),
    ],
)
def test_uses(found: str, expected: str) -> None:
    """Every state of a node has a use, and free is only what could be given now."""
    assert found == expected


@pytest.mark.parametrize("state", list(NodeState))
def test_every_state_has_words(state: NodeState) -> None:
    """Whatever a node is doing can be told."""
    assert use(state)


def test_counts_in_words() -> None:
    """The most frequent first; nothing at all is said."""
    assert in_words(Counter()) == "there are none"
    assert in_words(Counter({"held": 1, "in use": 2})) == "2 in use, 1 held"


class LookTests(ZookeeperTestCase):
    def look(self, *labels: str, **more: Any) -> Stock:
        self.settle()
        now = self.clock.seconds()
        return look_at_nodes(self.store.nodes, ("rack", "main"), labels, "100-1", now, **more)

    def setUp(self) -> None:
        super().setUp()
        self.store = self.make_store()

    def test_only_nodes_of_the_pool_with_a_label_count(self) -> None:
        """Others are of no interest."""
        wanted = self.add_node("a", "x")
        self.add_node("b")
        self.add_node("a", pool="other")
        self.add_node("a", provider="elsewhere")
        stock = self.look("a")
        self.assertEqual([node.node_id for node in stock.nodes], [wanted])
        self.assertEqual((stock.uses, stock.more), ({"free": 1}, 0))
        self.assertTrue(stock.nodes[0].usable)
        self.assertEqual(stock.nodes[0].host, "host")

    def test_words_name_what_counts(self) -> None:
        """Who has it, since when, and why it is kept."""
        held = self.add_node("a", state=S.HOLD, hold_job="j", comment="do not touch")
        used = self.add_node("a", state=S.IN_USE, allocated_to="100-7", tenant_name="t")
        self.lock_node(used)
        promised = self.add_node("a", allocated_to="100-9")
        kept = self.add_node("a")
        coming = self.add_node("a", state=S.BUILDING, allocated_to="100-3")
        self.settle()
        self.clock.advance(300)
        stock = self.look("a", kept={kept: "100-0"}, about=lambda node: f"more on {node.id}")
        words = {node.node_id: node.words for node in stock.nodes}
        self.assertEqual(words[held], f"held for 5 min 0 s by job j: do not touch; more on {held}")
        self.assertIn("in-use for 5 min 0 s for request 100-7 of tenant t; ", words[used])
        self.assertIn("promised to request 100-9 for 5 min 0 s; ", words[promised])
        self.assertIn("free, and kept for request 100-0, which waits longer; ", words[kept])
        self.assertIn("building for 5 min 0 s, for request 100-3; ", words[coming])
        self.assertFalse(any(node.usable for node in stock.nodes))
        self.assertEqual(
            [node.use for node in stock.nodes],
            ["being made", "kept for another", "promised to another", "in use", "held"],
        )

    def test_fifty_nodes_are_shown_and_all_are_counted(self) -> None:
        """The most telling first."""
        for _ in range(AT_MOST + 10):
            self.add_node("a", state=S.HOLD)
        free = self.add_node("a")
        asked: list[str] = []
        stock = self.look("a", about=lambda node: asked.append(node.id) or "")
        self.assertEqual(stock.nodes[0].node_id, free)
        self.assertEqual((len(stock.nodes), stock.more), (AT_MOST, 11))
        self.assertEqual(stock.uses, {"held": AT_MOST + 10, "free": 1})
        self.assertEqual(len(asked), AT_MOST)

    def test_places_without_a_node_count_too(self) -> None:
        """They are shown, however many nodes are in use."""
        for _ in range(AT_MOST):
            self.add_node("a", state=S.HOLD)
        down = NodeExplanation("", ("a",), "down", False, "its host is down", "down", "h")
        stock = self.look("a", vacancies=[down] * 3)
        self.assertEqual(stock.uses["down"], 3)
        self.assertEqual(len(stock.nodes) + stock.more, AT_MOST + 3)
        self.assertEqual([node.use for node in stock.nodes].count("down"), 3)
        self.assertEqual(in_words(stock.uses), f"{AT_MOST} held, 3 down")

    def test_a_clock_before_the_record_says_no_nonsense(self) -> None:
        """Times of other machines may lie ahead of ours."""
        self.add_node("a", state_time=EPOCH + 1000)
        self.assertEqual(self.look("a").nodes[0].words, "free for 0 s")
