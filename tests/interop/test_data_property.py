"""Records of any content mean the same to Nodepool 11 and to ours, whoever wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.daemons import Endpoint
from nodepool_tx.model import ComponentState
from nodepool_tx.store.codec import LARGEST, decode_component
from tests.interop.data_process import NodepoolClasses
from tests.interop.data_records import (
    BUILD,
    DECODERS,
    NODE,
    REQUEST,
    STATES,
    UPLOAD,
    data_of,
    normal,
    plain,
)

#: Records that are tried: so many batches of so many.
BATCHES = 40
BATCH = 15

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A text that is half a character is no text for either.
    | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3)
    ),
    max_leaves=5,
)
TEXT = st.text(max_size=12)
TEXTS = st.lists(TEXT, max_size=4)
NUMBER = st.integers(-(2**53), 2**53) | st.floats(-LARGEST / 2, LARGEST / 2)
#: Keys that neither of them knows.
UNKNOWN = st.dictionaries(TEXT.map("new {}".format), ANYTHING, max_size=3)
OBJECT = st.dictionaries(TEXT, ANYTHING, max_size=3)
FORMATS = st.lists(st.sampled_from(["raw", "qcow2", "vhd", "ova"]), max_size=4, unique=True)

#: What a field may hold; all others hold a text or nothing.
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "state_time": NUMBER,
    "created_time": st.none() | NUMBER,
    **dict.fromkeys(("type", "host_keys", "declined_by", "node_types", "nodes"), TEXTS),
    "reuse": st.booleans(),
    "relative_priority": NUMBER,
    "slot": st.none() | st.integers(0, 99),
    "hold_expiration": st.none() | st.integers(-1, 10**9),
    "resources": st.none() | st.dictionaries(TEXT, NUMBER, max_size=3),
    **dict.fromkeys(("attributes", "node_properties"), st.none() | OBJECT),
    **dict.fromkeys(("connection_port", "image_id", "external_id", "user_data"), ANYTHING),
    **dict.fromkeys(("driver_data", "requestor_data"), ANYTHING),
    "formats": FORMATS,
}
FULL = {"node": NODE, "request": REQUEST, "build": BUILD, "upload": UPLOAD}


@st.composite
def records(draw: st.DrawFn, *, partial: bool) -> tuple[str, dict[str, Any]]:
    """A kind and fields: some of any value, and the others as usual, or none if `partial`."""
    kind = draw(st.sampled_from(sorted(FULL)))
    usual = FULL[kind]
    fields = {"state_time": 1} if partial else dict(usual)
    fields["state"] = draw(st.sampled_from(STATES[kind]))
    others = sorted(set(usual) - {"state"})
    for name in draw(st.lists(st.sampled_from(others), max_size=6, unique=True)):
        fields[name] = draw(SPECIAL.get(name, st.none() | TEXT))
    return kind, fields


def batches(*, partial: bool) -> st.SearchStrategy[list[tuple[str, dict[str, Any]]]]:
    return st.lists(records(partial=partial), min_size=BATCH, max_size=BATCH)


tried = settings(
    max_examples=BATCHES,
    deadline=None,
    derandomize=True,
    # What is wrong with one of a batch is told by the assertion.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)


@pytest.fixture(scope="module")
def nodepool(endpoint: Endpoint) -> Iterator[NodepoolClasses]:
    with NodepoolClasses(endpoint) as classes:
        yield classes


@tried
@given(batches(partial=False), UNKNOWN)
def test_theirs_and_back(
    nodepool: NodepoolClasses, made: list[tuple[str, dict[str, Any]]], unknown: dict[str, Any]
) -> None:
    """What it writes is read here field by field; written again here, not a key is different."""
    texts = nodepool.call("serialize", made)
    known = nodepool.call(
        "parse", [[kind, text] for (kind, _), text in zip(made, texts, strict=True)]
    )
    for (kind, _), text, theirs in zip(made, texts, known, strict=True):
        record = DECODERS[kind](text.encode())
        assert plain(record) == normal(theirs)
        before = {**unknown, **json.loads(text)}
        again = json.loads(data_of(DECODERS[kind](json.dumps(before).encode())))
        assert again == before


@tried
@given(batches(partial=True), UNKNOWN)
def test_ours_and_back(
    nodepool: NodepoolClasses, made: list[tuple[str, dict[str, Any]]], unknown: dict[str, Any]
) -> None:
    """What is written here, of records with any fields missing, is read there field by field."""
    ours = []
    for kind, fields in made:
        raw = {**unknown, **fields}
        if "formats" in raw:
            raw["formats"] = ",".join(raw["formats"])
        ours.append((kind, DECODERS[kind](json.dumps(raw).encode())))
    texts = [[kind, data_of(record).decode()] for kind, record in ours]
    originals = [[kind, data_of(attrs.evolve(record, extra={})).decode()] for kind, record in ours]
    read = nodepool.call("parse", [*texts, *originals])
    for (_, record), theirs, bare in zip(ours, read, read[len(ours) :], strict=False):
        assert plain(record) == normal(theirs) == normal(bare)


#: Of a component; launchers and builders have the first of them only.
PROCESS = {
    "hostname": TEXT,
    "version": st.none() | TEXT,
    "state": st.sampled_from([state.value for state in ComponentState]),
    "model_api": st.integers(0, 9),
}
POOL = {
    **PROCESS,
    **dict.fromkeys(("id", "name", "provider_name"), TEXT),
    "supported_labels": st.lists(TEXT, max_size=4, unique=True),
    "priority": st.integers(-(2**31), 2**31),
    "paused": st.booleans(),
}
COMPONENT = st.one_of(
    st.tuples(st.sampled_from(["launcher", "builder"]), st.fixed_dictionaries(PROCESS)),
    st.tuples(st.just("pool"), st.fixed_dictionaries(POOL)),
)


@tried
@given(st.lists(COMPONENT, min_size=BATCH, max_size=BATCH), UNKNOWN)
def test_components(
    nodepool: NodepoolClasses, made: list[tuple[str, dict[str, Any]]], unknown: dict[str, Any]
) -> None:
    """What is registered says the same to both, in both directions, unknown keys and all."""
    wanted = [(kind, {**fields, **unknown}) for kind, fields in made]
    theirs = nodepool.call("serialize", wanted)
    found = [
        decode_component(kind, text.encode()) for (kind, _), text in zip(made, theirs, strict=True)
    ]
    ours = [[one.kind, data_of(one).decode()] for one in found]
    again = nodepool.call("parse", ours)
    for (kind, fields), component, content in zip(wanted, found, again, strict=True):
        expected = normal({**fields, "kind": kind})
        assert {**plain(component), **component.extra} == expected
        assert normal(content) == expected
