"""The decisive thing about a request, in one line: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nodepool_tx.config.section import suggest
from nodepool_tx.model import NodeRequest, PoolComponent, RequestState
from nodepool_tx.pools.explaining import Effect, PoolExplanation
from nodepool_tx.pools.reasons import state_rule

__all__ = ["in_order", "summary_of"]

#: Rules by which a pool waits for something else than what it serves with.
_ASIDE = frozenset({"provider", "priority", "maintenance", "accepting", "state", "lock"})


def in_order(pools: Iterable[PoolExplanation]) -> tuple[PoolExplanation, ...]:
    """The most telling first: who has it in hand, who would serve it, the rest.

    Of launchers with the same pool the one comes first that knows most of its machines.
    """
    return tuple(
        sorted(pools, key=lambda pool: (_rank(pool), pool.provider, pool.pool, _unknown_in(pool)))
    )


def _unknown_in(pool: PoolExplanation) -> int:
    """How many machines another launcher looks after."""
    return sum(not node.node_id and node.state == "unknown" for node in pool.nodes)


def _rank(pool: PoolExplanation) -> float:
    """The lower, the nearer a pool is to serving the request."""
    names = {rule.name for rule in pool.rules if rule.effect is Effect.WAITS}
    if any(rule.name == "in-hand" for rule in pool.rules):
        rank = 0.0
    elif pool.effect is Effect.REFUSED:
        rank = 3.0
    else:
        rank = 2.0 if names & _ASIDE else 1.0
    return rank if pool.answered else rank + 0.5


def summary_of(
    request: NodeRequest,
    pools: Sequence[PoolExplanation],
    online: Sequence[PoolComponent],
    now: float,
    locked_by: str | None = None,
) -> str:
    """One line about a request.

    :param pools: as :func:`in_order` gives them.
    :param online: all pools that are.
    :param locked_by: what whoever holds its lock calls itself.
    """
    if request.state is RequestState.FULFILLED:
        return state_rule(request, (), now).words
    if request.state is RequestState.FAILED:
        return f"{state_rule(request, (), now).words}: {_why_failed(request, pools, online)}"
    first = pools[0] if pools else None
    if request.state is RequestState.PENDING and (first is None or _rank(first) >= 1):
        whose = f"{locked_by} has" if locked_by else "a launcher has"
        return f"{whose} it in hand, and prepares its nodes"
    if first is None or first.effect is Effect.REFUSED:
        return _nobody(request, pools, online)
    alike = sum(_rank(pool) == _rank(first) for pool in pools) - 1
    line = first.verdict
    if f"provider {first.provider}" not in line:
        line = f"{line} (pool {first.provider}/{first.pool})"
    ahead = [rule.words for rule in first.rules if _is_ahead(rule.name, rule.effect)]
    if ahead and ahead[0] != first.verdict:
        line = f"{line}; {ahead[0]}"
    if alike:
        line = f"{line}; {alike} more {'pool waits' if alike == 1 else 'pools wait'} with it"
    return line


def _is_ahead(name: str, effect: Effect) -> bool:
    return name == "queue" and effect is Effect.WAITS


def _why_failed(
    request: NodeRequest, pools: Sequence[PoolExplanation], online: Sequence[PoolComponent]
) -> str:
    """What those said that have its labels, as all others only have none."""
    wanted = frozenset(request.node_types)
    able = {pool.id for pool in online if wanted <= pool.supported_labels}
    for pool in sorted(pools, key=lambda pool: pool.id not in able):
        for rule in pool.rules:
            if rule.name == "declined" and ": " in rule.words:
                if pool.id not in able and (nobody := _nobody_has(request, online)):
                    return nobody
                return f"{pool.provider}/{pool.pool}: {rule.words}"
    return "every pool that was online declined it"


def _nobody(
    request: NodeRequest, pools: Sequence[PoolExplanation], online: Sequence[PoolComponent]
) -> str:
    """No pool will serve it as things are."""
    if not online:
        return "no pool is online: is a launcher running on this ZooKeeper?"
    if nobody := _nobody_has(request, online):
        return nobody
    able = [
        pool
        for pool in pools
        if not any(r.name == "labels" and r.effect is Effect.REFUSED for r in pool.rules)
    ]
    for pool in able or pools:
        return f"no pool will serve it: {pool.verdict} (pool {pool.provider}/{pool.pool})"
    return "no pool has anything to say about it"


def _nobody_has(request: NodeRequest, online: Sequence[PoolComponent]) -> str:
    """That no pool has all of its labels; "" if one has."""
    offered = frozenset().union(*(pool.supported_labels for pool in online))
    unknown = [label for label in dict.fromkeys(request.node_types) if label not in offered]
    if unknown:
        return "; ".join(_unknown(label, offered) for label in unknown[:10])
    wanted = frozenset(request.node_types)
    if not any(wanted <= pool.supported_labels for pool in online):
        return (
            f"no single pool offers all of {', '.join(sorted(wanted)[:10])}, "
            "and the nodes of one request come from one pool"
        )
    return ""


def _unknown(label: str, offered: Iterable[str]) -> str:
    hint = suggest(label, sorted(offered))
    return f"no pool online offers the label {label!r}" + (f" ({hint})" if hint else "")
