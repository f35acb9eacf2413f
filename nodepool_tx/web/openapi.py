"""The description of what is served (OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodepool_tx.history import MINUTES
from nodepool_tx.model import NodeState
from nodepool_tx.web.api import DEFAULT, MINUTES_SHOWN, MOST
from nodepool_tx.web.schemas import SCHEMAS, ref

__all__ = ["PATHS", "TOPICS", "description"]

#: What event streams tell of.
TOPICS = ("status", "providers", "nodes", "requests", "reload", "history")

Part = dict[str, Any]


def _answer(words: str, schema: Part, content_type: str = "application/json") -> Part:
    return {"description": words, "content": {content_type: {"schema": schema}}}


def _error(words: str) -> Part:
    return _answer(words, ref("Error"))


def _later(words: str) -> Part:
    """An error that passes."""
    return {**_error(words), "headers": {"Retry-After": {"schema": {"type": "integer"}}}}


_BAD = {"400": _error("A parameter or the path cannot be used; `detail` names it.")}
_MISSING = {"404": _error("There is no such thing.")}


def _get(
    summary: str, schema: Part, parameters: list[Part] | None = None, more: Part | None = None
) -> Part:
    """A path that is only read."""
    responses: Part = {"200": _answer("It is this.", schema), **_BAD}
    responses.update(more or {})
    operation: Part = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    return {"get": operation}


def _query(name: str, words: str, schema: Part) -> Part:
    return {"name": name, "in": "query", "description": words, "schema": schema}


def _path(name: str, words: str) -> Part:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": words,
        "schema": {"type": "string", "minLength": 1},
    }


def _header(name: str, words: str) -> Part:
    return {"name": name, "in": "header", "description": words, "schema": {"type": "string"}}


_TEXT: Part = {"type": "string"}
_ROWS: Part = {"type": "array", "items": {"type": "object"}}
_AFTER = _query("after", "begin behind this id: `next` of the page before", _TEXT)


def _limit(default: int) -> Part:
    schema = {"type": "integer", "minimum": 1, "maximum": MOST, "default": default}
    return _query("limit", "how many at the most", schema)


def _list(summary: str, *more: Part) -> Part:
    """One of Nodepool 11's lists."""
    fields = _query("fields", "columns of the table, with commas; JSON has all", _TEXT)
    both = {
        "description": "The list; a table unless JSON is preferred.",
        "headers": {
            name: {"schema": _TEXT}
            for name in ("Cache-Control", "Expires", "Last-Modified", "ETag", "Vary")
        },
        "content": {
            "text/plain": {"schema": _TEXT},
            "application/json": {"schema": _ROWS},
        },
    }
    operation = {
        "summary": summary,
        "parameters": [fields, *more],
        "responses": {
            "200": both,
            "304": {"description": "It is what the client has already."},
            **_BAD,
            "406": _error("There is no form of it that the client accepts."),
        },
    }
    return {"get": operation}


#: Without what extensions bring.
PATHS: dict[str, Part] = {
    "/image-list": _list("Uploads of images"),
    "/dib-image-list": _list("Builds of images"),
    "/image-status": _list("Which images are paused, and which builds were asked for"),
    "/node-list": _list("Nodes", _query("node_id", "only this one", _TEXT)),
    "/request-list": _list("Node requests"),
    "/label-list": _list("Labels that can be asked for"),
    "/ready": {
        "get": {
            "summary": "Whether all configured providers are started",
            "responses": {
                "200": _answer("They are.", _TEXT, "text/plain"),
                "503": _answer("Not yet, or ZooKeeper is away.", _TEXT, "text/plain"),
                **_BAD,
            },
        }
    },
    "/health/live": _get("Whether the process answers at all", ref("Live")),
    "/health/ready": _get(
        "Whether it works, and the age of each loop's last success",
        ref("Readiness"),
        more={"503": _answer("It does not; `reasons` say why.", ref("Readiness"))},
    ),
    "/api/openapi.json": _get("This description", {"type": "object"}),
    "/api/status": _get("The process, its ZooKeeper, and how much there is", ref("Status")),
    "/api/nodes": _get(
        "Nodes, by id",
        ref("Nodes"),
        [
            _query("provider", "only of this provider", _TEXT),
            _query("pool", "only of pools with this name", _TEXT),
            _query("label", "only with this label", _TEXT),
            _query(
                "state",
                "only in this state",
                {"type": "string", "enum": [state.value for state in NodeState]},
            ),
            _limit(DEFAULT),
            _AFTER,
        ],
    ),
    "/api/nodes/{node_id}": _get(
        "One node", ref("Node"), [_path("node_id", "its id")], more=_MISSING
    ),
    "/api/requests": _get(
        "Node requests, in the order of the queue",
        ref("Requests"),
        [_limit(MOST), _AFTER],
        more={"404": _error("The request to begin behind is gone.")},
    ),
    "/api/requests/{request_id}": _get(
        "One request", ref("Request"), [_path("request_id", "its id")], more=_MISSING
    ),
    "/api/requests/{request_id}/explanation": _get(
        "Why a request waits: rule by rule, pool by pool, node by node",
        ref("Explanation"),
        [_path("request_id", "its id")],
        more={**_MISSING, "503": _later("It cannot be told now.")},
    ),
    "/api/providers": _get("Providers with their pools, hosts and quotas", ref("Providers")),
    "/api/maintenance": _get("What is out of service", ref("MaintenanceList")),
    "/api/images": _get("Builds and uploads of images", ref("Images")),
    "/api/reloads": _get("The last reloads, newest first", ref("Reloads")),
    "/api/history": _get(
        "Launches and requests, minute by minute",
        ref("History"),
        [
            _query(
                "minutes",
                "how far back; minutes without anything are left out",
                {"type": "integer", "minimum": 1, "maximum": MINUTES, "default": MINUTES_SHOWN},
            )
        ],
    ),
    "/api/events": {
        "get": {
            "summary": "What happens from now on, as server-sent events",
            "description": (
                "Events are named after topics. `status` is as /api/status. `providers` has "
                "`providers`, those that changed, and `gone`, names. `nodes` and `requests` "
                "have `changed` and `gone`, ids. `reload` has the newest `reload` and `errors`. "
                "`history` is the newest minute. `resync`: something was missed, read "
                "everything again."
            ),
            "parameters": [
                {
                    **_query(
                        "topics",
                        "what to tell of, with commas; everything without it",
                        {"type": "array", "items": {"type": "string", "enum": list(TOPICS)}},
                    ),
                    "style": "form",
                    "explode": False,
                },
                _header("Last-Event-ID", "any: it is answered with `resync` at once"),
            ],
            "responses": {
                "200": _answer("The stream, without an end.", _TEXT, "text/event-stream"),
                **_BAD,
                "503": _later("There are too many streams."),
            },
        }
    },
}


def description(
    version: str,
    paths: Mapping[str, Mapping[str, Any]],
    components: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The whole, with what extensions bring."""
    merged = {path: {**PATHS.get(path, {}), **paths.get(path, {})} for path in {**PATHS, **paths}}
    parts = {kind: dict(each) for kind, each in components.items()}
    parts["schemas"] = {**SCHEMAS, **parts.get("schemas", {})}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nodepool_tx",
            "version": version,
            "description": (
                "Times are seconds since the epoch. Paths outside /api and /health are "
                "Nodepool 11's. Errors are JSON, with `error` and `detail`: also 404 for any "
                "other path, 405 with `Allow` for another method, and 500, whose detail has "
                "a `reference` to the log. HEAD is as GET, without the body."
            ),
        },
        "paths": merged,
        "components": parts,
    }
