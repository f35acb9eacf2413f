"""The tree holds what PyYAML's safe loader reads."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.config.tree import MappingNode, Node, ScalarNode, SequenceNode, TreeBuilder


def plain(node: Node | None) -> Any:
    """What a tree stands for, in plain values."""
    if isinstance(node, MappingNode):
        return {key.value: plain(value) for key, value in node.entries.values()}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return node.value if isinstance(node, ScalarNode) else None


def built(text: str) -> Node | None:
    """The tree of a text that has no key twice."""
    repeated: list[Any] = []
    root = TreeBuilder(text, lambda *found: repeated.append(found)).build()
    assert repeated == []
    return root


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats().filter(lambda number: not math.isnan(number))
    | st.dates()
    | st.datetimes()
    | st.text(max_size=8)
)
trees: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below),
    max_leaves=20,
)


@given(trees, st.booleans())
def test_values_are_those_of_pyyaml(tree: Any, flow: bool) -> None:
    """Whatever PyYAML writes is read as PyYAML reads it, aliases included."""
    text = yaml.safe_dump([tree, [tree]], default_flow_style=flow)
    assert plain(built(text)) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "[0x1f, 010, 0b11, 1_000, 1:30, +5, -0]",
        "[1.5, .5, 1e3, 1.0e+3, -.inf, .inf, 1:30.5, 1_0.5]",
        "[yes, No, ON, off, True, FALSE, y, n]",
        "[~, null, NULL, '', 'null']",
        "[2024-01-02, 2024-01-02 03:04:05, 2024-01-02T03:04:05.25Z, 2024-1-2]",
        "[!!str 5, !!int '5', !!float 5, !!bool 'yes', !!null '', ! 5]",
        "a: |\n  one\n  two\nb: >-\n  one\n  two\n",
        "a: &x [1]\nb: *x\n",
        "a: &x {k: 1, l: 1}\nb: {<<: *x, l: 2}\n",
        "a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}\nd: {<<: [*y, *x]}\n",
        "a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: *x, <<: *y}\nd: {<<: *y, <<: *x}\n",
        "a: &x {k: 1}\nb: &y {<<: *x, l: 2}\nc: {<<: *y}\n",
        "&k a: 1\nb: *k\n",
        "? a\n: b\n? c\n",
        "--- # nothing\n",
        "%YAML 1.1\n---\na: b\n...\n",
        "a: b # comment\n\n\n",
    ],
)
def test_what_yaml_can_say(text: str) -> None:
    """Each of YAML's ways of writing a value means what it means to PyYAML."""
    assert plain(built(text)) == yaml.safe_load(text)


def test_weight_and_height() -> None:
    """Aliases weigh as much as what they stand for, and are as deep."""
    root = built("a: &x [1, 2]\nb: [*x, *x]\n")
    assert root is not None
    # The mapping, two keys, the list of two, and the list of two lists of two.
    assert root.weight == 1 + 2 + 3 + (1 + 2 * 3)
    assert root.height == 3
