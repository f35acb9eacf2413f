"""An explanation as JSON, and answers as they travel."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.explain.questions import decode_question, encode_question
from nodepool_tx.explain.values import (
    MOST_BYTES,
    Explanation,
    decode_answer,
    encode_answer,
    request_as_value,
)
from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.pools.explaining import Effect, NodeExplanation, PoolExplanation, Rule
from nodepool_tx.store.codec import Unreadable

NODE = NodeExplanation("0000000001", ("a", "b"), "in-use", False, "in use", "in use", "h1")
RULES = (Rule("labels", Effect.PASSED, "has a"), Rule("nodes", Effect.WAITS, "none", 12.5))
POOL = PoolExplanation("l1", "rack", "main", "waits", RULES, (NODE,), 3, "id-1")


def test_an_answer_arrives_as_it_was_sent() -> None:
    """Every field of every value."""
    pools = (POOL, attrs.evolve(POOL, pool="other", nodes=(), rules=()))
    assert decode_answer(encode_answer(pools)) == pools


def test_a_large_answer_leaves_out_nodes_first() -> None:
    """And says how many; ZooKeeper would refuse it as a whole."""
    pools = [attrs.evolve(POOL, pool=f"p{n}", nodes=(NODE,) * 50) for n in range(200)]
    data = encode_answer(pools)
    assert len(data) <= MOST_BYTES
    found = decode_answer(data)
    assert len(found) == 200
    assert {len(pool.nodes) + pool.more_nodes for pool in found} == {53}
    assert found[0].rules == RULES


def test_a_huge_answer_keeps_what_is_decisive() -> None:
    """Rules that are satisfied go next, and then pools."""
    words = "x" * 1000
    rules = (*RULES, Rule("max-servers", Effect.WAITS, words))
    data = encode_answer([attrs.evolve(POOL, pool=f"p{n}", rules=rules) for n in range(1000)])
    assert len(data) <= MOST_BYTES
    found = decode_answer(data)
    assert 0 < len(found) < 1000
    assert {rule.effect for rule in found[0].rules} == {Effect.WAITS}


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"null", b"[]", b"{}", b'{"pools": 1}', b'{"pools": [1]}', b"\xff", b"{" * 5000),
        encode_answer([POOL]).replace(b'"waits"', b'"perhaps"'),
        encode_answer([POOL]).replace(b"12.5", b'"now"'),
        b'{"pools": [{"launcher": "l"}]}',
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    """Whatever somebody writes, it is told apart."""
    with pytest.raises(Unreadable):
        decode_answer(data)


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_any_garbage_is_told_apart(data: bytes) -> None:
    """As an answer and as a question."""
    for decode in (decode_answer, decode_question):
        with pytest.raises(Unreadable):
            decode(data)


def test_questions() -> None:
    """They name a request."""
    assert decode_question(encode_question("100-1", 5.0)) == "100-1"
    assert json.loads(encode_question("100-1", 5.0)) == {"explain": "100-1", "asked": 5.0}
    for data in (b'{"explain": 5}', b'{"asked": 5}', b'"explain"'):
        with pytest.raises(Unreadable):
            decode_question(data)


def test_the_json_of_an_explanation() -> None:
    """As the web and programs have it."""
    request = NodeRequest(
        id="100-1",
        state=RequestState.REQUESTED,
        state_time=5.0,
        created_time=4.0,
        node_types=("a",),
        tenant_name="t",
    )
    value = request_as_value(request, now=10.0, locked=True, locked_by="l1")
    assert (value["age"], value["state"], value["tenant"]) == (6.0, "requested", "t")
    assert (value["locked"], value["locked_by"]) == (True, "l1")
    found = Explanation(request=value, summary="it waits", pools=(POOL,), silent=("l2",))
    shown = json.loads(json.dumps(found.as_value()))
    assert shown["summary"] == "it waits"
    assert shown["silent"] == ["l2"]
    (pool,) = shown["pools"]
    assert (pool["effect"], pool["answered"], pool["id"]) == ("waits", True, "id-1")
    assert pool["rules"][1] == {"name": "nodes", "effect": "waits", "words": "none", "since": 12.5}
    assert pool["nodes"][0]["host"] == "h1"
    assert pool["more_nodes"] == 3
