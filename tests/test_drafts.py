"""Changed copies of records."""

from __future__ import annotations

import attrs
import pytest

from nodepool_tx.drafts import copier, maker
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState

NODE = Node(
    id="0000000007",
    state=NodeState.READY,
    type=("small", "large"),
    hostname="host-1",
    node_properties=None,
    extra={"unknown": [1]},
    version=3,
    mzxid=44,
)
REQUEST = NodeRequest(
    id="100-7", state=RequestState.PENDING, node_types=("small",), version=2, mzxid=9
)


def values(record: Node | NodeRequest) -> dict[str, object]:
    """All fields, also those that do not count when records are compared."""
    return attrs.asdict(record, recurse=False)


@pytest.mark.parametrize("record", [NODE, REQUEST], ids=["node", "request"])
def test_each_field_can_be_changed_alone(record: Node | NodeRequest) -> None:
    """A copy differs from its original in what was changed, and in nothing else."""
    for field in attrs.fields(type(record)):
        new = object()
        copied = record.changed(**{field.name: new})
        assert values(copied) == {**values(record), field.name: new}


@pytest.mark.parametrize("record", [NODE, REQUEST], ids=["node", "request"])
def test_a_copy_is_a_record_like_any_other(record: Node | NodeRequest) -> None:
    """A copy has the class of its original, equals it, shows itself alike, and is frozen."""
    copied = record.changed()
    assert type(copied) is type(record)
    assert copied is not record
    assert copied == record
    assert repr(copied) == repr(record)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        copied.state_time = 1.0  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del copied.state_time
    assert not hasattr(copied, "__dict__")


def test_the_original_stays_as_it_is() -> None:
    """Changing makes a copy."""
    before = values(NODE)
    NODE.changed(state=NodeState.IN_USE, comment="lent")
    assert values(NODE) == before


@pytest.mark.parametrize("name", ["colour", "identity", "changed"])
def test_what_is_no_field_cannot_be_changed(name: str) -> None:
    """A misspelt field is an error, and so is the name of anything else of a record."""
    with pytest.raises(AttributeError):
        NODE.changed(**{name: 1})


def test_hashes_are_those_of_equal_records() -> None:
    """A copy of a record that can be hashed is found in sets where its equal is."""

    @attrs.frozen
    class Point:
        x: int
        y: int = attrs.field(default=0, eq=False)

    copy = copier(Point)
    assert copy(Point(1, 2), {"y": 5}) in {Point(1)}
    assert copy(Point(1, 2), {"x": 5}) not in {Point(1)}


def test_records_are_made_of_the_values_of_all_fields() -> None:
    """What is made is equal to what the constructor makes; without a value nothing is made."""
    fields = {**values(REQUEST), "no field": 1}
    made = maker(NodeRequest)(fields)
    assert (type(made), made, values(made)) == (NodeRequest, REQUEST, values(REQUEST))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.state_time = 1.0  # type: ignore[misc]
    del fields["reuse"]
    with pytest.raises(KeyError):
        maker(NodeRequest)(fields)
