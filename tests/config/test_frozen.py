"""Equality and hashes of free-form values."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.config import FrozenMapping, thaw

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda below: (
        st.lists(below, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), below, max_size=3).map(FrozenMapping)
    ),
    max_leaves=8,
)


def copied(value: object) -> object:
    """The same value, built anew in another order."""
    if isinstance(value, FrozenMapping):
        return FrozenMapping({key: copied(value[key]) for key in reversed(list(value))})
    if isinstance(value, tuple):
        return tuple(copied(item) for item in value)
    if isinstance(value, float):
        return float(repr(value))
    return value


@given(st.dictionaries(st.text(max_size=3), values, max_size=4).map(FrozenMapping))
def test_order_does_not_matter(mapping: FrozenMapping[str, object]) -> None:
    """A mapping equals its copy in another order, and has its hash."""
    assert mapping == copied(mapping)
    assert hash(mapping) == hash(copied(mapping))


@pytest.mark.parametrize(
    ("one", "two"),
    [(1, True), (1, 1.0), (0, False), (0, -0.5), ("1", 1), ((1,), (True,)), ("", None)],
)
def test_types_matter(one: object, two: object) -> None:
    """Values of different types differ, wherever they stand."""
    assert FrozenMapping({"a": one}) != FrozenMapping({"a": two})
    assert FrozenMapping({"a": (one, FrozenMapping({"b": one}))}) != FrozenMapping(
        {"a": (one, FrozenMapping({"b": two}))}
    )


def test_not_a_number_equals_itself() -> None:
    """A mapping with NaN equals the same one read again."""
    assert FrozenMapping({"a": float("nan")}) == FrozenMapping({"a": float("nan")})


def test_a_mapping_is_a_mapping() -> None:
    """It reads like a dict, keeps the order given and does not change."""
    given_ = {"b": 1, "a": 2}
    mapping = FrozenMapping(given_)
    given_["c"] = 3
    assert list(mapping.items()) == [("b", 1), ("a", 2)]
    assert ("a" in mapping, "c" in mapping, len(mapping)) == (True, False, 2)
    assert mapping != {"b": 1, "a": 2}
    assert repr(mapping) == "FrozenMapping({'b': 1, 'a': 2})"
    with pytest.raises(TypeError):
        mapping["c"] = 3  # type: ignore[index]


def test_thaw() -> None:
    """What is frozen can be written as JSON."""
    frozen = FrozenMapping({"a": (1, FrozenMapping({"b": None})), "c": math.pi})
    assert json.loads(json.dumps(thaw(frozen))) == {"a": [1, {"b": None}], "c": math.pi}
