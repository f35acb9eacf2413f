"""``explain``: why a request waits, rule by rule, pool by pool and node by node."""

from __future__ import annotations

import json
from typing import Any

from nodepool_tx.cli.colours import paint_for
from nodepool_tx.cli.options import Verbs
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.visit import Visit
from nodepool_tx.explain import Explanation, ask
from nodepool_tx.explain.values import pool_as_value
from nodepool_tx.pools.explaining import Effect, PoolExplanation
from nodepool_tx.reports.report import Column, Paint, Report, Tone, show_age, tone_of
from nodepool_tx.reports.table import printable

__all__ = ["add_verbs", "explained"]

_TONES = {
    Effect.PASSED.value: Tone.GOOD,
    Effect.WAITS.value: Tone.HELD,
    Effect.REFUSED.value: Tone.BAD,
}


def add_verbs(verbs: Verbs) -> None:
    explain = verbs.add(
        "explain",
        "say why a request waits: each rule, pool and node",
        explain_request,
        example="explain 200-0000000042",
        formats=("table", "json"),
    )
    explain.add_argument("request", metavar="REQUEST", help="its id, as request-list shows it")


async def explain_request(visit: Visit) -> int:
    """The whole verb; its exit code."""
    request_id = visit.options.request
    explanation = await ask(visit.store, request_id, config=visit.config)
    if explanation is None:
        raise Complaint(f"there is no request {request_id}; nodepool request-list shows all")
    if visit.options.format == "json":
        visit.terminal.result(json.dumps(explanation.as_value(), indent=2))
    else:
        paint = paint_for(visit.options.color, visit.world.environ, visit.terminal.is_screen)
        visit.terminal.result(explained(explanation, visit.clock.seconds(), paint))
    return ExitCode.OK


def explained(explanation: Explanation, now: float, paint: Paint | None = None) -> str:
    """An explanation for people: the summary, then a table for each pool.

    Pools that do not have the labels at all share a line.
    """
    request = explanation.request
    blocks = [f"{printable(_title(request))}\n{printable(explanation.summary)}"]
    strangers = [pool for pool in explanation.pools if _has_no_such_label(pool)]
    blocks += [_pool(pool, now, paint) for pool in explanation.pools if pool not in strangers]
    if strangers:
        names = dict.fromkeys(f"{pool.provider}/{pool.pool}" for pool in strangers)
        blocks.append(printable(f"pools without its labels: {', '.join(names)}"))
    if explanation.silent:
        blocks.append(printable(f"no answer from: {', '.join(explanation.silent)}"))
    return "\n\n".join(blocks)


def _has_no_such_label(pool: PoolExplanation) -> bool:
    return any(r.name == "labels" and r.effect is Effect.REFUSED for r in pool.rules)


def _title(request: Any) -> str:
    about = [request["state"]]
    if request.get("node_types"):
        about.append(f"for {', '.join(request['node_types'])}")
    if request.get("age") is not None:
        about.append(f"age {show_age(request['age'])}")
    about += [f"{key} {request[key]}" for key in ("requestor", "tenant") if request.get(key)]
    if request.get("locked_by"):
        about.append(f"locked by {request['locked_by']}")
    return f"request {request['id']}: {', '.join(about)}"


def _pool(pool: PoolExplanation, now: float, paint: Paint | None) -> str:
    value = pool_as_value(pool)
    heard = f"launcher {pool.launcher}" + ("" if pool.answered else ", not heard")
    parts = [printable(f"{pool.provider}/{pool.pool} ({heard}): {pool.verdict}")]
    parts.append(_rules(value["rules"], now).as_table(paint=paint))
    if pool.nodes:
        parts.append(_nodes(value["nodes"]).as_table(paint=paint))
    if pool.more_nodes:
        parts.append(f"and {pool.more_nodes} more nodes")
    return "\n".join(parts)


def _rules(rows: list[dict[str, Any]], now: float) -> Report:
    def age(since: float | None) -> str:
        return "" if since is None else show_age(now - since)

    columns = (
        Column("name", "Rule"),
        Column("effect", "Effect", tone=_TONES.get),
        Column("words", "What it says"),
        Column("since", "For", age),
    )
    return Report(columns, tuple(rows), [column.key for column in columns])


def _nodes(rows: list[dict[str, Any]]) -> Report:
    columns = (
        Column("node_id", "Node"),
        Column("host", "Host"),
        Column("labels", "Labels"),
        Column("state", "State", tone=tone_of),
        Column("usable", "Usable", lambda usable: "yes" if usable else "no"),
        Column("words", "What is done with it"),
    )
    return Report(columns, tuple(rows), [column.key for column in columns])
