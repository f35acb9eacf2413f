"""An explanation, and its JSON: what the web, the channel and ``--format json`` show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from nodepool_tx.model import NodeRequest
from nodepool_tx.pools.explaining import Effect, NodeExplanation, PoolExplanation, Rule
from nodepool_tx.store.codec import Unreadable

__all__ = ["Explanation", "decode_answer", "encode_answer", "pool_as_value", "request_as_value"]

#: Bytes that an answer may have: ZooKeeper takes a megabyte.
MOST_BYTES = 500_000


@attrs.frozen(kw_only=True)
class Explanation:
    """Everything that is known about a request.

    :ivar request: its record, with its state, age and who has its lock.
    :ivar summary: one line, the decisive thing first.
    :ivar pools: the most telling first.
    :ivar silent: ids of the launchers that were asked and did not answer.
    """

    request: Mapping[str, Any]
    summary: str
    pools: tuple[PoolExplanation, ...] = ()
    silent: tuple[str, ...] = ()

    def as_value(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "request": dict(self.request),
            "summary": self.summary,
            "pools": [pool_as_value(pool) for pool in self.pools],
            "silent": list(self.silent),
        }


def request_as_value(
    request: NodeRequest, *, now: float, locked: bool, locked_by: str | None = None
) -> dict[str, Any]:
    """A request as people are shown it.

    :param locked_by: what whoever holds its lock calls itself.
    """
    created = request.created_time or request.state_time or None
    return {
        "id": request.id,
        "state": request.state.value,
        "state_time": request.state_time,
        "age": None if created is None else round(max(0.0, now - created), 3),
        "relative_priority": request.relative_priority,
        "requestor": request.requestor,
        "node_types": list(request.node_types),
        "nodes": list(request.nodes),
        "declined_by": list(request.declined_by),
        "event_id": request.event_id,
        "provider": request.provider,
        "tenant": request.tenant_name,
        "reuse": request.reuse,
        "created_time": created,
        "locked": locked,
        "locked_by": locked_by,
    }


def pool_as_value(pool: PoolExplanation) -> dict[str, Any]:
    """What one pool says, as plain data."""
    return {
        "launcher": pool.launcher,
        "provider": pool.provider,
        "pool": pool.pool,
        "id": pool.id,
        "answered": pool.answered,
        "effect": pool.effect.value,
        "verdict": pool.verdict,
        "rules": [
            {
                "name": rule.name,
                "effect": rule.effect.value,
                "words": rule.words,
                "since": rule.since,
            }
            for rule in pool.rules
        ],
        "nodes": [
            {
                "node_id": node.node_id,
                "labels": list(node.labels),
                "state": node.state,
                "usable": node.usable,
                "use": node.use,
                "host": node.host,
                "words": node.words,
            }
            for node in pool.nodes
        ],
        "more_nodes": pool.more_nodes,
    }


# -- between launchers and those who ask --------------------------------------


def encode_answer(pools: Sequence[PoolExplanation]) -> bytes:
    """What a launcher answers; nodes are left out where it would be too much."""
    for at_most in (50, 10, 0):
        shorter = [_with_nodes(pool, at_most) for pool in pools]
        data = json.dumps({"pools": [pool_as_value(pool) for pool in shorter]}).encode()
        if len(data) <= MOST_BYTES:
            return data
    decisive = [attrs.evolve(pool, rules=_decisive(pool.rules)) for pool in shorter]
    while True:
        data = json.dumps({"pools": [pool_as_value(pool) for pool in decisive]}).encode()
        if len(data) <= MOST_BYTES:
            return data
        decisive = decisive[: len(decisive) // 2]


def _with_nodes(pool: PoolExplanation, at_most: int) -> PoolExplanation:
    left_out = len(pool.nodes[at_most:])
    return attrs.evolve(pool, nodes=pool.nodes[:at_most], more_nodes=pool.more_nodes + left_out)


def _decisive(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.effect is not Effect.PASSED)[:3]


def decode_answer(data: bytes) -> tuple[PoolExplanation, ...]:
    """The other way round.

    :raises Unreadable: that is no answer.
    """
    try:
        return tuple(_pool(value) for value in json.loads(data)["pools"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise Unreadable(f"that is no answer: {e!r}") from e


def _pool(value: Mapping[str, Any]) -> PoolExplanation:
    return PoolExplanation(
        launcher=str(value["launcher"]),
        provider=str(value["provider"]),
        pool=str(value["pool"]),
        verdict=str(value["verdict"]),
        rules=tuple(_rule(rule) for rule in value["rules"]),
        nodes=tuple(_node(node) for node in value["nodes"]),
        more_nodes=int(value["more_nodes"]),
        id=str(value["id"]),
    )


def _rule(value: Mapping[str, Any]) -> Rule:
    since = value["since"]
    return Rule(
        name=str(value["name"]),
        effect=Effect(value["effect"]),
        words=str(value["words"]),
        since=None if since is None else float(since),
    )


def _node(value: Mapping[str, Any]) -> NodeExplanation:
    return NodeExplanation(
        node_id=str(value["node_id"]),
        labels=tuple(str(label) for label in value["labels"]),
        state=str(value["state"]),
        usable=bool(value["usable"]),
        words=str(value["words"]),
        use=str(value["use"]),
        host=None if value["host"] is None else str(value["host"]),
    )
