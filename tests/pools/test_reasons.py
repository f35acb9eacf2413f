"""Each rule, from facts alone."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.accounts import Charge, shortages
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.explaining import Effect, Rule
from nodepool_tx.pools.planning import Plan
from nodepool_tx.pools.reasons import (
    coming_rule,
    concurrency_rule,
    limit_rules,
    nodes_rule,
    queue_rule,
    rule_of,
    state_rule,
    verdict_of,
)
from nodepool_tx.pools.rules import Answer, Verdict
from nodepool_tx.store.usage import Account

NOW = 1000.0
POOL, PROVIDER = Account.of_pool("rack", "main"), Account.of_provider("rack")
TENANT = Account.of_tenant("t")


def request(**fields: Any) -> NodeRequest:
    values = {"state": RequestState.REQUESTED, "state_time": NOW - 30, "node_types": ("a",)}
    return NodeRequest(id="100-1", **{**values, **fields})


def test_answers_and_effects() -> None:
    """What a pool leaves to others it refuses; what it puts off waits."""
    effects = {answer: rule_of(Verdict(answer, "why", "name")).effect for answer in Answer}
    assert effects == {
        Answer.SERVE: Effect.PASSED,
        Answer.YIELD: Effect.WAITS,
        Answer.LEAVE: Effect.REFUSED,
        Answer.DECLINE: Effect.REFUSED,
    }
    assert rule_of(Verdict(Answer.LEAVE, "why", "name"), 5.0) == Rule(
        "name", Effect.REFUSED, "why", 5.0
    )


def test_state() -> None:
    """How far it has come, and for how long."""
    assert state_rule(request(created_time=NOW - 90), (), NOW) == Rule(
        "state", Effect.PASSED, "asked for 1 min 30 s ago"
    )
    done = state_rule(request(state=RequestState.FULFILLED, nodes=("7", "8")), (), NOW)
    assert (done.effect, done.words) == (
        Effect.PASSED,
        "fulfilled 30 s ago with 7, 8, not taken yet",
    )
    failed = state_rule(request(state=RequestState.FAILED), (), NOW)
    assert (failed.effect, failed.since) == (Effect.REFUSED, NOW - 30)


def test_a_pending_request_names_who_has_it() -> None:
    """By the nodes that are promised to it."""
    node = Node(state=NodeState.BUILDING, provider="sky", pool="main")
    pending = request(state=RequestState.PENDING)
    assert state_rule(pending, [node], NOW).words == "pool sky/main has it in hand"
    assert state_rule(pending, [], NOW).words == "a launcher has it in hand"
    assert state_rule(pending, [node], NOW).effect is Effect.WAITS


def test_nodes_that_are_coming() -> None:
    """With what each of them is doing."""
    nodes = [Node(state=NodeState.BUILDING), Node(state=NodeState.READY)]
    rule = coming_rule(nodes, "nodes are being made: 1 of 2 are there", 5.0)
    assert rule.words == "nodes are being made: 1 of 2 are there (1 building, 1 ready)"
    assert (rule.effect, rule.since) == (Effect.WAITS, 5.0)


def limits(short: bool, **limit: float) -> list[Rule]:
    charge = Charge((POOL, PROVIDER, TENANT), {"instances": 2, "cores": 8})
    by_account = {POOL: limit, PROVIDER: {"cores": 100.0}, TENANT: {"instances": 5.0}}
    used = {POOL: {"instances": 3.0, "cores": 4.0}, PROVIDER: {"cores": 4.0}}

    def of(account: Account) -> dict[str, float]:
        return used.get(account, {})

    needed = dict.fromkeys(charge.accounts, charge.amounts)
    found = shortages(needed, by_account, of)
    assert bool(found) is short
    return limit_rules([charge], by_account, of, found, lambda account, resource: 4)


def test_limits_that_leave_room() -> None:
    """Each with what is used of it."""
    rules = limits(False, instances=5.0, ram=10.0, cores=math.inf)
    assert [(rule.name, rule.effect) for rule in rules] == [
        ("max-servers", Effect.PASSED),
        ("quota", Effect.PASSED),
        ("tenant-limit", Effect.PASSED),
    ]
    assert rules[0].words == "pool rack/main: 3 of 5 instances used, 2 needed"


def test_limits_that_do_not() -> None:
    """Each with what is missing, and how many others wait for it."""
    rules = limits(True, instances=4.0, cores=10.0)
    waits = {rule.name: rule.words for rule in rules if rule.effect is Effect.WAITS}
    assert waits == {
        "max-cores": "waits for 8 cores of pool rack/main's limit of 10: 4 used, 8 needed"
        ", 3 other requests short of it, too",
        "max-servers": "waits for 2 instances of pool rack/main's limit of 4: 3 used, 2 needed"
        ", 3 other requests short of it, too",
    }


def plan(*nodes: Node | None, complete: bool = True) -> Plan:
    charges = tuple(Charge((), {}) for node in nodes if node is not None or complete)
    return Plan(("a",) * len(nodes), nodes, None, charges)


def rule_for(*nodes: Node | None, free: int, makes: bool = False) -> Rule:
    uses = Counter({"in use": 3, "down": 1})
    found = plan(*nodes, complete=makes)
    return nodes_rule("rack", ("a",) * len(nodes), found, uses, lambda label: free, makes, True)


READY, BUILDING = Node(state=NodeState.READY), Node(state=NodeState.BUILDING)


def test_nodes_that_are_not_there() -> None:
    """The decisive thing first, then what is done with those there are."""
    rule = rule_for(None, free=0)
    assert rule.effect is Effect.WAITS
    assert rule.words == ("waits for a free node with label a at provider rack: 3 in use, 1 down")


def test_more_nodes_than_there_are() -> None:
    """How many are needed is told, and that there will never be so many."""
    assert rule_for(None, None, free=1).words == (
        "waits for 2 free nodes with label a at provider rack: 3 in use, 1 down"
    )
    assert rule_for(*[None] * 5, free=0).words.endswith(
        "3 in use, 1 down; it has 4 in all, 5 are asked for"
    )


def test_nodes_that_do_not_suffice_together() -> None:
    """One node with two labels serves one of them."""
    rule = rule_for(READY, None, free=2)
    assert rule.effect is Effect.WAITS
    assert "not for all at once" in rule.words


def test_nodes_that_are_there_or_made() -> None:
    """Nothing is missing in a pool that makes what is not there."""
    assert rule_for(READY, free=1).effect is Effect.PASSED
    rule = rule_for(READY, BUILDING, None, free=1, makes=True)
    assert rule.effect is Effect.PASSED
    assert rule.words == "1 of 3 nodes in stock, 1 being made, 1 to be made"


def test_max_concurrency() -> None:
    """It holds back who was held up by it; 0 holds back all."""
    full = Admission(2)
    full.active = 2
    assert concurrency_rule(full, held_up=True).effect is Effect.WAITS
    assert concurrency_rule(full, held_up=False).effect is Effect.PASSED
    assert concurrency_rule(full, held_up=True).words == (
        "max-concurrency: 2 of 2 requests are being worked on"
    )
    assert concurrency_rule(Admission(0), held_up=False).effect is Effect.WAITS
    assert concurrency_rule(Admission(), held_up=True).effect is Effect.PASSED


def test_queue() -> None:
    """How many come first, and with which precedence."""
    assert queue_rule(Counter()).effect is Effect.PASSED
    rule = queue_rule(Counter({"200": 1, "100": 2}))
    assert rule.effect is Effect.WAITS
    assert rule.words == (
        "3 requests for some of the same come first: 2 of precedence 100, 1 of precedence 200"
    )
    assert queue_rule(Counter({"100": 1})).words.startswith("1 request for some of the same comes")


def test_the_verdict_is_what_counts() -> None:
    """A refusal before a wait, and the first of each."""
    passed, waits = Rule("p", Effect.PASSED, "passed"), Rule("w", Effect.WAITS, "waits")
    refused = Rule("r", Effect.REFUSED, "refused")
    assert verdict_of([passed, waits, refused]) == "refused"
    assert verdict_of([passed, waits, Rule("v", Effect.WAITS, "later")]) == "waits"
    assert verdict_of([passed]) == "passed"
