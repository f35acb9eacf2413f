"""Choosing nodes for the labels of a request."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.selection import choose


@attrs.frozen
class Stock:
    """Free nodes, each a string of one-letter labels, found as the table finds them."""

    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, *labels: Sequence[str]) -> Stock:
        return cls(
            tuple(
                Node(id=f"{number}", state=NodeState.READY, type=tuple(each))
                for number, each in enumerate(labels)
            )
        )

    def __call__(self, label: str, at_most: int) -> list[Node]:
        having = [node for node in self.nodes if label in node.type]
        return sorted(having, key=lambda node: len(node.type))[:at_most]


def ids(chosen: Sequence[Node | None]) -> list[str | None]:
    return [node.id if node else None for node in chosen]


class ChooseTests(SynchronousTestCase):
    def test_order_is_the_order_asked(self) -> None:
        """Each position gets a node of its own label."""
        stock = Stock.of("b", "a", "b")
        self.assertEqual(ids(choose("bab", stock)), ["0", "1", "2"])

    def test_nothing_asked(self) -> None:
        """No labels need no nodes."""
        self.assertEqual(choose("", Stock.of("a")), ())

    def test_nothing_there(self) -> None:
        """Labels nobody has stay empty and do not take from others."""
        self.assertEqual(ids(choose("xax", Stock.of("a"))), [None, "0", None])

    def test_specialised_first(self) -> None:
        """A node with few labels is used before one with many."""
        stock = Stock.of("ab", "a", "abc")
        self.assertEqual(ids(choose("a", stock)), ["1"])
        self.assertEqual(ids(choose("aa", stock)), ["1", "0"])

    def test_longest_free_first(self) -> None:
        """Among equals the order of the candidates decides."""
        self.assertEqual(ids(choose("aa", Stock.of("a", "a", "a"))), ["0", "1"])

    def test_versatile_node_is_given_up(self) -> None:
        """A label that took what another one needs makes do with something else."""
        stock = Stock.of("ab", "acd")
        self.assertEqual(ids(choose("ab", stock)), ["1", "0"])

    def test_a_long_chain(self) -> None:
        """Thousands of labels that all have to move over are no problem."""
        # Node n has labels n and n+1; the last position asks for label 0 again.
        count = 3000
        nodes = tuple(
            Node(id=str(n), state=NodeState.READY, type=(f"l{n}", f"l{n + 1}"))
            for n in range(count)
        )
        by_label: dict[str, list[Node]] = {}
        for node in nodes:
            for label in node.type:
                by_label.setdefault(label, []).append(node)
        labels = [f"l{n + 1}" for n in range(count - 1)] + ["l0"]
        chosen = choose(labels, lambda label, at_most: by_label.get(label, [])[:at_most])
        self.assertEqual(len({node.id for node in chosen if node}), count)

    def test_absurd_requests_are_quick(self) -> None:
        """A request for more nodes than anyone has does not stall the reactor."""
        stock = [Node(id=str(n), state=NodeState.READY, type=("a", "b")) for n in range(2000)]
        calls = []

        def candidates(label: str, at_most: int) -> list[Node]:
            calls.append(label)
            return stock[:at_most]

        started = time.process_time()
        chosen = choose(["a", "b"] * 20000, candidates)
        self.assertLess(time.process_time() - started, 2.0)
        self.assertEqual(sum(node is not None for node in chosen), 2000)
        self.assertEqual(sorted(calls), ["a", "b"])

    def test_excluded(self) -> None:
        """Excluded nodes are not used, and do not hide others from being asked for."""
        stock = Stock.of("a", "a", "a")
        self.assertEqual(ids(choose("a", stock, {"0", "1"})), ["2"])
        self.assertEqual(ids(choose("a", stock, {"0", "1", "2"})), [None])


nodes = st.lists(st.frozensets(st.sampled_from("abc"), min_size=1), max_size=5)
wishes = st.lists(st.sampled_from("abcd"), max_size=5)


def most(labels: Sequence[str], nodes: Sequence[Node]) -> int:
    """The size of the largest matching, by trying everything."""
    best = 0
    padded: list[Node | None] = [*nodes, *[None] * len(labels)]
    for attempt in itertools.permutations(padded, len(labels)):
        fits = zip(labels, attempt, strict=True)
        best = max(best, sum(node is not None and label in node.type for label, node in fits))
        if best == min(len(labels), len(nodes)):
            break
    return best


@settings(deadline=None)
@given(nodes, wishes, st.frozensets(st.sampled_from("01234")))
def test_as_many_as_there_can_be(
    nodes: list[frozenset[str]], labels: list[str], excluded: frozenset[str]
) -> None:
    """No choice serves more of the labels; no node is used twice, or for what it is not."""
    stock = Stock.of(*(sorted(each) for each in nodes))
    chosen = choose(labels, stock, excluded)
    assert len(chosen) == len(labels)
    used = [node for node in chosen if node]
    assert len({node.id for node in used}) == len(used)
    assert not {node.id for node in used} & excluded
    for label, node in zip(labels, chosen, strict=True):
        assert node is None or label in node.type
    allowed = [node for node in stock.nodes if node.id not in excluded]
    assert len(used) == most(labels, allowed)


@settings(deadline=None)
@given(nodes, st.sampled_from("abc"), st.integers(1, 5))
def test_one_label_takes_the_preferred(nodes: list[frozenset[str]], label: str, count: int) -> None:
    """For one label, however often, the first candidates are taken, in their order."""
    stock = Stock.of(*(sorted(each) for each in nodes))
    preferred = ids(stock(label, count))
    preferred += [None] * (count - len(preferred))
    assert ids(choose([label] * count, stock)) == preferred
