"""One line about a request, the decisive thing first."""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.explain.summary import in_order, summary_of
from nodepool_tx.model import NodeRequest, PoolComponent, RequestState
from nodepool_tx.pools.explaining import Effect, NodeExplanation, PoolExplanation, Rule

NOW = 1000.0


def pool(name: str, *rules: Rule, **fields: Any) -> PoolExplanation:
    verdict = next((rule.words for rule in rules if rule.effect is not Effect.PASSED), "")
    return PoolExplanation("l1", "rack", name, verdict, rules, id=f"id-{name}", **fields)


IN_HAND = pool("hand", Rule("in-hand", Effect.PASSED, "mine"), Rule("nodes", Effect.WAITS, "made"))
SERVING = pool("serve", Rule("nodes", Effect.WAITS, "no free node"))
YIELDING = pool("yield", Rule("priority", Effect.WAITS, "another first"))
REFUSING = pool("refuse", Rule("labels", Effect.REFUSED, "no such label"))


def online(name: str, *labels: str) -> PoolComponent:
    return PoolComponent(
        id=f"id-{name}",
        name=name,
        provider_name="rack",
        hostname="l1",
        supported_labels=frozenset(labels),
    )


def told(
    *pools: PoolExplanation,
    known: tuple[PoolComponent, ...] = (online("serve", "a"),),
    locked_by: str | None = None,
    **fields: Any,
) -> str:
    values = {"state": RequestState.REQUESTED, "state_time": NOW - 30, "node_types": ("a",)}
    request = NodeRequest(id="100-1", **{**values, **fields})
    return summary_of(request, in_order(pools), known, NOW, locked_by)


def test_the_order_of_pools() -> None:
    """Who has it in hand, who would serve it, who waits for another, who does not."""
    unheard = attrs.evolve(SERVING, pool="aaa", answered=False)
    found = in_order([REFUSING, YIELDING, unheard, SERVING, IN_HAND])
    assert [each.pool for each in found] == ["hand", "serve", "aaa", "yield", "refuse"]


def test_the_pool_that_would_serve_it() -> None:
    """Its verdict, and where that is."""
    assert told(REFUSING, YIELDING, SERVING) == "no free node (pool rack/serve)"


def test_several_that_would() -> None:
    """The others are counted."""
    other = attrs.evolve(SERVING, pool="other")
    assert told(SERVING, other) == "no free node (pool rack/other); 1 more pool waits with it"


def test_the_provider_is_named_once() -> None:
    """A verdict that names it needs no more."""
    words = "waits for a free node with label a at provider rack: 3 in use"
    assert told(pool("main", Rule("nodes", Effect.WAITS, words))) == words


def test_those_ahead_are_told() -> None:
    """They explain why a free node would not help."""
    ahead = Rule("queue", Effect.WAITS, "3 requests for some of the same come first")
    found = told(pool("main", Rule("nodes", Effect.WAITS, "none"), ahead))
    assert found == "none (pool rack/main); 3 requests for some of the same come first"


def test_in_hand() -> None:
    """What becomes of it there; or who has it, if no pool that was heard does."""
    assert told(IN_HAND, state=RequestState.PENDING) == "made (pool rack/hand)"
    elsewhere = pool("main", Rule("state", Effect.WAITS, "elsewhere"))
    found = told(elsewhere, state=RequestState.PENDING, locked_by="old-launcher")
    assert found == "old-launcher has it in hand, and prepares its nodes"
    found = told(state=RequestState.PENDING)
    assert found == "a launcher has it in hand, and prepares its nodes"


def test_requests_with_an_answer() -> None:
    """They are told as such."""
    assert told(state=RequestState.FULFILLED, nodes=("7",)) == (
        "fulfilled 30 s ago with 7, not taken yet"
    )
    assert told(state=RequestState.FAILED) == (
        "it failed 30 s ago: every pool that was online declined it"
    )
    declined = pool("main", Rule("declined", Effect.REFUSED, "this pool declined it: too large"))
    assert told(declined, state=RequestState.FAILED).endswith(
        ": rack/main: this pool declined it: too large"
    )


def test_failed_as_who_has_its_labels_said_no() -> None:
    """Those without the labels declined as well, which tells nothing."""
    without = pool("aaa", Rule("declined", Effect.REFUSED, "declined: no pool left has a"))
    able = pool("main", Rule("declined", Effect.REFUSED, "declined: there is no flavor"))
    known = (online("aaa", "b"), online("main", "a"))
    found = told(without, able, state=RequestState.FAILED, known=known)
    assert found == "it failed 30 s ago: rack/main: declined: there is no flavor"
    found = told(without, state=RequestState.FAILED, known=(online("aaa", "b"),))
    assert found == "it failed 30 s ago: no pool online offers the label 'a'"


def test_who_looks_after_the_machines_comes_first() -> None:
    """Others with the same pool do not know what is wrong with them."""
    down = NodeExplanation("", ("a",), "down", False, "refused", "down", "web1")
    owner = attrs.evolve(SERVING, verdict="1 down", nodes=(down,))
    other = attrs.evolve(SERVING, nodes=(attrs.evolve(down, state="unknown"),), launcher="l0")
    assert told(other, owner) == "1 down (pool rack/serve); 1 more pool waits with it"


def test_nobody() -> None:
    """No launcher, no such label, no such combination, or nobody willing."""
    assert told(known=()) == "no pool is online: is a launcher running on this ZooKeeper?"
    assert told(REFUSING, known=(online("p", "debian"),), node_types=("debain",)) == (
        "no pool online offers the label 'debain' (did you mean debian?)"
    )
    apart = (online("p", "a"), online("q", "b"))
    assert "no single pool offers all of a, b" in told(node_types=("a", "b"), known=apart)
    declined = pool("main", Rule("declined", Effect.REFUSED, "it said no"))
    assert told(declined) == "no pool will serve it: it said no (pool rack/main)"
    assert told() == "no pool has anything to say about it"
