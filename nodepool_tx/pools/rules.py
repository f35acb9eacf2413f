"""Which pool may serve which request: pure decisions from what is registered.

The rules are Nodepool 11's (its ``launcher.py``, ``_assignHandlers``), but for
one: there, a request that names a provider waits for ever when another pool
has a lower priority number, as each of the two yields to the other.  They
look at what requests have in common, a :class:`Wish`, and never at a single
request; so a thousand equal requests cost as much as one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from nodepool_tx.model import NodeRequest, PoolComponent

__all__ = [
    "MAINTENANCE",
    "Answer",
    "PoolView",
    "Verdict",
    "Wish",
    "all_declined",
    "judge",
    "verdicts",
]

#: The rule by which a provider that is out of service takes nothing.
MAINTENANCE = "maintenance"

#: Labels that are named where some are missing.
MOST_LISTED = 10


@attrs.frozen(cache_hash=True)
class Wish:
    """What the rules need to know of a request; equal for many of them."""

    #: In sorted order: the order asked for matters only when nodes are chosen.
    labels: tuple[str, ...]
    provider: str | None = None
    tenant: str | None = None
    min_ready: bool = False
    reuse: bool = True
    declined_by: frozenset[str] = frozenset()

    @classmethod
    def of(cls, request: NodeRequest) -> Wish:
        return cls(
            labels=tuple(sorted(request.node_types)),
            provider=request.provider,
            tenant=request.tenant_name,
            min_ready=request.is_min_ready,
            reuse=request.reuse,
            declined_by=frozenset(request.declined_by),
        )


@attrs.frozen
class PoolView:
    """A pool of ours, as far as the rules are concerned.

    ``launches``: it can make new nodes; static pools cannot.
    ``out_of_service``: providers that are, and why in words; nobody waits for
    those.
    """

    id: str
    provider: str
    name: str
    labels: frozenset[str]
    priority: int = 100
    enabled: bool = True
    launches: bool = False
    out_of_service: Mapping[str, str] = attrs.field(factory=dict)


class Answer(enum.Enum):
    #: Serve it as soon as there are nodes.
    SERVE = "serve"
    #: Not now: somebody else comes first, or the provider is out of service;
    #: look again when the registry changes, or what is out of service.
    YIELD = "yield"
    #: Not ours to answer: we said no already, or others can do it and we cannot.
    LEAVE = "leave"
    #: Say no.
    DECLINE = "decline"


@attrs.frozen
class Verdict:
    """An answer, and why in words for people.

    :ivar rule: which rule says so, for programs.
    """

    answer: Answer
    reason: str = ""
    rule: str = attrs.field(default="", eq=False)


def judge(wish: Wish, me: PoolView, online: Iterable[PoolComponent]) -> Verdict:
    """What pool ``me`` does about a request, given all pools online."""
    for each in verdicts(wish, me, online):
        if each.answer is not Answer.SERVE:
            return each
    return Verdict(Answer.SERVE)


def verdicts(wish: Wish, me: PoolView, online: Iterable[PoolComponent]) -> Iterator[Verdict]:
    """What each rule says, in the order in which they apply.

    The first that does not say :attr:`Answer.SERVE` counts; what comes after
    it is as if that one had.
    """
    yield _not_declined(wish, me)
    wanted = frozenset(wish.labels)
    candidates = [
        pool
        for pool in online
        if pool.id not in wish.declined_by and wanted <= pool.supported_labels
    ]
    able = [pool for pool in candidates if pool.provider_name not in me.out_of_service]
    rivals = [pool for pool in able if pool.provider_name == wish.provider] or able
    yield _of_the_provider(wish, me, rivals is not able)
    # Where a provider is named, others yield to it; it must not yield to them.
    yield _first_in_line(me, rivals)
    yield _has_labels(wish, me, any(pool.id != me.id for pool in candidates))
    yield _enabled(me)
    yield _may_be_new(wish, me)
    yield _in_service(wish, me)


def _not_declined(wish: Wish, me: PoolView) -> Verdict:
    if me.id in wish.declined_by:
        return Verdict(Answer.LEAVE, "this pool has declined it", "declined")
    return Verdict(Answer.SERVE, "this pool has not declined it", "declined")


def _of_the_provider(wish: Wish, me: PoolView, others_are: bool) -> Verdict:
    if wish.provider is None:
        return Verdict(Answer.SERVE, "it names no provider", "provider")
    if wish.provider == me.provider:
        return Verdict(Answer.SERVE, f"it asks for provider {wish.provider}", "provider")
    if others_are:
        reason = f"it asks for provider {wish.provider}, which is online"
        return Verdict(Answer.YIELD, reason, "provider")
    reason = f"provider {wish.provider}, which it asks for, is not online for it"
    if wish.provider in me.out_of_service:
        reason = f"it asks for provider {wish.provider}; {me.out_of_service[wish.provider]}"
    return Verdict(Answer.SERVE, reason, "provider")


def _first_in_line(me: PoolView, rivals: Iterable[PoolComponent]) -> Verdict:
    ahead = [pool for pool in rivals if pool.priority < me.priority and not pool.paused]
    if not ahead:
        reason = f"no pool that has room comes before priority {me.priority}"
        return Verdict(Answer.SERVE, reason, "priority")
    first = min(ahead, key=lambda pool: pool.priority)
    reason = (
        f"pool {first.provider_name}/{first.name} has priority {first.priority}, "
        f"this one {me.priority}"
    )
    return Verdict(Answer.YIELD, reason, "priority")


def _has_labels(wish: Wish, me: PoolView, others_have: bool) -> Verdict:
    missing = sorted(set(wish.labels) - me.labels)
    if not missing:
        reason = f"this pool has {_listed(tuple(dict.fromkeys(wish.labels)))}"
        return Verdict(Answer.SERVE, reason, "labels")
    if others_have:
        reason = f"this pool has no {_listed(missing)}, others have"
        return Verdict(Answer.LEAVE, reason, "labels")
    nobody = "none of the pools left" if wish.declined_by else "no pool online"
    return Verdict(Answer.DECLINE, f"{nobody} has {_listed(missing)}", "labels")


def _enabled(me: PoolView) -> Verdict:
    if me.enabled:
        return Verdict(Answer.SERVE, "the pool is enabled", "enabled")
    return Verdict(Answer.DECLINE, "the pool is disabled by max-servers", "enabled")


def _may_be_new(wish: Wish, me: PoolView) -> Verdict:
    if not (wish.min_ready or not wish.reuse):
        return Verdict(Answer.SERVE, "nodes in stock will do", "reuse")
    if me.launches:
        return Verdict(Answer.SERVE, "it asks for new nodes, which this pool launches", "reuse")
    reason = "it asks for new nodes, and this pool launches none"
    return Verdict(Answer.DECLINE, reason, "reuse")


def _in_service(wish: Wish, me: PoolView) -> Verdict:
    """Said last: what this pool would never serve it declines all the same.

    What is only for the stock does not wait for its return: others may have
    declined it because they had no room just then, and are to be asked again.
    """
    if me.provider in me.out_of_service:
        answer = Answer.DECLINE if wish.min_ready else Answer.YIELD
        return Verdict(answer, me.out_of_service[me.provider], MAINTENANCE)
    return Verdict(Answer.SERVE, f"provider {me.provider} is in service", MAINTENANCE)


def _listed(labels: Sequence[str]) -> str:
    """Labels for people; a request may ask for thousands."""
    more = len(labels) - MOST_LISTED
    return ", ".join(labels[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def all_declined(declined_by: Iterable[str], online: Iterable[PoolComponent]) -> bool:
    """Every pool online has said no: the request has failed."""
    return {pool.id for pool in online} <= set(declined_by)
