"""From facts to rules: pure, so that each can be tested by itself.

Nothing is decided here.  The facts are what the pool's own functions answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import attrs

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.accounts import Charge, Shortage, needed_by
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.explaining import Effect, Rule
from nodepool_tx.pools.planning import Plan
from nodepool_tx.pools.rules import Answer, Verdict
from nodepool_tx.pools.stock import Use, in_words
from nodepool_tx.resources import Amounts, number
from nodepool_tx.store.maintenance import age_in_words
from nodepool_tx.store.usage import Account

__all__ = [
    "coming_rule",
    "concurrency_rule",
    "disabled_rule",
    "limit_rules",
    "listed",
    "nodes_rule",
    "queue_rule",
    "rule_of",
    "state_rule",
    "verdict_of",
]

#: Labels that are named where there are many.
MOST_LISTED = 10

_EFFECTS = {
    Answer.SERVE: Effect.PASSED,
    Answer.YIELD: Effect.WAITS,
    Answer.LEAVE: Effect.REFUSED,
    Answer.DECLINE: Effect.REFUSED,
}


def rule_of(verdict: Verdict, since: float | None = None) -> Rule:
    """A rule of who may serve what."""
    return Rule(verdict.rule, _EFFECTS[verdict.answer], verdict.reason, since)


def state_rule(request: NodeRequest, nodes: Sequence[Node], now: float) -> Rule:
    """How far the request has come."""
    age = age_in_words(now - request.state_time)
    if request.state is RequestState.FULFILLED:
        words = f"fulfilled {age} ago with {', '.join(request.nodes)}, not taken yet"
        return Rule("state", Effect.PASSED, words)
    if request.state is RequestState.FAILED:
        return Rule("state", Effect.REFUSED, f"it failed {age} ago", request.state_time)
    if request.state is RequestState.PENDING:
        where = sorted({f"{node.provider}/{node.pool}" for node in nodes})
        whose = f"pool {', '.join(where)} has" if where else "a launcher has"
        return Rule("state", Effect.WAITS, f"{whose} it in hand", request.state_time)
    asked = request.created_time or request.state_time
    return Rule("state", Effect.PASSED, f"asked for {age_in_words(now - asked)} ago")


def coming_rule(nodes: Sequence[Node], doing: str, since: float | None) -> Rule:
    """What becomes of a request that is in the pool's hands."""
    uses = Counter(node.state.value for node in nodes)
    words = f"{doing} ({in_words(uses)})" if nodes else doing
    return Rule("nodes", Effect.WAITS, words, since)


def limit_rules(
    charges: Iterable[Charge],
    limits: Mapping[Account, Amounts],
    used: Callable[[Account], Amounts],
    short: Sequence[Shortage],
    waiting: Callable[[Account, str], int],
) -> list[Rule]:
    """Every limit that counts for the request, whether or not it is in the way.

    :param short: those that are.
    :param waiting: how many requests wait for room in an account.
    """
    rules: list[Rule] = []
    in_the_way = {(each.account, each.resource): each for each in short}
    for account, needed in needed_by(charges).items():
        limit, in_use = limits.get(account, {}), used(account)
        for resource in sorted(limit):
            if needed.get(resource, 0) <= 0 or limit[resource] == math.inf:
                continue
            name = _limit_name(account, resource)
            found = in_the_way.pop((account, resource), None)
            if found is None:
                words = (
                    f"{account}: {number(in_use.get(resource, 0))} of "
                    f"{number(limit[resource])} {resource} used, "
                    f"{number(needed[resource])} needed"
                )
                rules.append(Rule(name, Effect.PASSED, words))
            else:
                rules.append(_short(found, waiting))
    rules += [_short(each, waiting) for each in in_the_way.values()]
    return rules


def _short(short: Shortage, waiting: Callable[[Account, str], int]) -> Rule:
    others = waiting(short.account, short.resource) - 1
    more = f", {_count(others, 'other request')} short of it, too" if others > 0 else ""
    name = _limit_name(short.account, short.resource)
    return Rule(name, Effect.WAITS, f"{short}{more}")


def _limit_name(account: Account, resource: str) -> str:
    if account.kind == "tenant":
        return "tenant-limit"
    if account.kind == "provider":
        return "quota"
    return "max-servers" if resource == "instances" else f"max-{resource}"


def nodes_rule(
    provider: str,
    labels: Sequence[str],
    plan: Plan,
    uses: Counter[Use],
    count_free: Callable[[str], int],
    makes: bool,
    every_machine: bool,
) -> Rule:
    """Which of its nodes are there.

    :param uses: what is done with the nodes that have the labels.
    :param makes: the pool makes those that are missing.
    :param every_machine: ``uses`` counts machines without a node as well.
    """
    there = plan.present
    if makes:
        ready = sum(node.state is NodeState.READY for node in there)
        words = (
            f"{ready} of {_count(len(labels), 'node')} in stock, {len(there) - ready} being "
            f"made, {len(labels) - len(there)} to be made"
        )
        return Rule("nodes", Effect.PASSED, words)
    if plan.complete:
        free = f"the pool has free nodes for {listed(labels)}"
        return Rule("nodes", Effect.PASSED, free)
    missing = [label for label, count in Counter(labels).items() if count_free(label) < count]
    if missing:
        wanted = Counter(labels)
        needed = sum(wanted[label] for label in missing)
        nodes = "a free node" if needed == 1 else f"{needed} free nodes"
        words = (
            f"waits for {nodes} with label {listed(missing)} at provider {provider}: "
            f"{in_words(uses)}"
        )
        if every_machine and uses.total() < len(labels):
            words = f"{words}; it has {uses.total()} in all, {len(labels)} are asked for"
    else:
        words = (
            f"waits for free nodes at provider {provider}: there are some for each of "
            f"{listed(labels)}, but not for all at once: {in_words(uses)}"
        )
    return Rule("nodes", Effect.WAITS, words)


def concurrency_rule(admission: Admission, held_up: bool) -> Rule:
    """``max-concurrency``.

    :param held_up: it was the reason not to begin.
    """
    if admission.limit < 0:
        return Rule("max-concurrency", Effect.PASSED, "max-concurrency sets no limit")
    worked_on = f"{admission.active} of {admission.limit} requests are being worked on"
    full = held_up and admission.active >= admission.limit
    effect = Effect.WAITS if full or admission.closed else Effect.PASSED
    return Rule("max-concurrency", effect, f"max-concurrency: {worked_on}")


def disabled_rule(rule: Rule, disabled: Collection[str], labels: Sequence[str]) -> Rule:
    """What is said of missing labels, and which of them are only switched off."""
    off = [label for label in dict.fromkeys(labels) if label in disabled]
    if rule.name != "labels" or rule.effect is Effect.PASSED or not off:
        return rule
    return attrs.evolve(rule, words=f"{rule.words}; min-ready -1 disables {listed(off)}")


def queue_rule(ahead: Counter[str]) -> Rule:
    """Its place in the queue.

    :param ahead: how many come first that want some of the same, by precedence.
    """
    total = sum(ahead.values())
    if not total:
        return Rule("queue", Effect.PASSED, "it is first of those that want some of the same")
    parts = ", ".join(f"{ahead[each]} of precedence {each}" for each in sorted(ahead))
    words = f"{_count(total, 'request')} for some of the same {_come(total)} first: {parts}"
    return Rule("queue", Effect.WAITS, words)


def verdict_of(rules: Sequence[Rule]) -> str:
    """The rule that counts, as one line."""
    for effect in (Effect.REFUSED, Effect.WAITS):
        for rule in rules:
            if rule.effect is effect:
                return rule.words
    return rules[0].words if rules else ""


def listed(labels: Iterable[str]) -> str:
    """Labels for people; a request may ask for thousands."""
    names = tuple(dict.fromkeys(labels))
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _come(number: int) -> str:
    return "comes" if number == 1 else "come"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
