"""The description of the paths for leases (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

from nodepool_tx.leases.bodies import (
    LONGEST_COMMENT,
    LONGEST_KEY,
    LONGEST_LABEL,
    MOST_LABELS,
    PRIORITIES,
)
from nodepool_tx.leases.plan import LONGEST_TTL
from nodepool_tx.leases.polls import LONGEST_WAIT
from nodepool_tx.store.leases import LeaseState
from nodepool_tx.web.schemas import ref

__all__ = ["COMPONENTS", "PATHS"]

Part = dict[str, Any]

_TEXT: Part = {"type": "string"}
_MAYBE_TEXT: Part = {"type": ["string", "null"]}
_TIME: Part = {"type": "number", "description": "seconds since the epoch"}


def _object(**properties: Part) -> Part:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_TTL: Part = {
    "type": "number",
    "minimum": 1,
    "maximum": LONGEST_TTL,
    "description": "seconds until the lease ends unless it is renewed; no more is granted than "
    "max-ttl and max-hold-age, the answer says how much",
}
_NODE = _object(
    id=_TEXT,
    label={**_TEXT, "description": "the one it was asked for with"},
    hostname=_MAYBE_TEXT,
    address={**_MAYBE_TEXT, "description": "where to connect to"},
    public_ipv4=_MAYBE_TEXT,
    private_ipv4=_MAYBE_TEXT,
    public_ipv6=_MAYBE_TEXT,
    port={"description": "usually a number"},
    username=_MAYBE_TEXT,
    connection_type={**_MAYBE_TEXT, "description": "such as ssh"},
    host_keys={"type": "array", "items": _TEXT},
    python_path=_MAYBE_TEXT,
    shell_type={},
    attributes={"type": "object"},
    provider=_MAYBE_TEXT,
    az=_MAYBE_TEXT,
)
_LEASE = _object(
    id=_TEXT,
    user=_TEXT,
    state={"type": "string", "enum": [state.value for state in LeaseState]},
    since=_TIME,
    labels={"type": "array", "items": _TEXT},
    priority={"type": "integer"},
    comment=_TEXT,
    created=_TIME,
    expires={**_TIME, "description": "when it ends unless it is renewed"},
    ttl={"type": "number", "description": "seconds that were granted"},
    request={**_MAYBE_TEXT, "description": "the id of its node request"},
    reason={**_TEXT, "description": "why it waits, or why it is over"},
    nodes={
        "type": "array",
        "items": ref("LeasedNode"),
        "description": "when it is ready: one for each label, in that order",
    },
)
_WISH: Part = {
    "type": "object",
    "properties": {
        "labels": {
            "type": "array",
            "items": {**_TEXT, "minLength": 1, "maxLength": LONGEST_LABEL},
            "minItems": 1,
            "maxItems": MOST_LABELS,
        },
        "ttl": _TTL,
        "priority": {
            "type": "integer",
            "minimum": PRIORITIES[0],
            "maximum": PRIORITIES[1],
            "default": 100,
            "description": "smaller goes first",
        },
        "comment": {**_TEXT, "maxLength": LONGEST_COMMENT},
        "key": {
            **_TEXT,
            "maxLength": LONGEST_KEY,
            "description": "asking again with the same key gives the same lease",
        },
    },
    "required": ["labels"],
    "additionalProperties": False,
}
_RENEWAL: Part = {
    "type": "object",
    "properties": {"ttl": _TTL},
    "additionalProperties": False,
}

COMPONENTS: dict[str, Part] = {
    "schemas": {
        "Lease": _LEASE,
        "Leases": _object(leases={"type": "array", "items": ref("Lease")}),
        "LeasedNode": _NODE,
    },
    "securitySchemes": {
        "token": {"type": "http", "scheme": "bearer"},
        "directory": {"type": "http", "scheme": "basic"},
    },
}


def _answer(words: str, schema: Part) -> Part:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _error(words: str, *headers: str) -> Part:
    answer = _answer(words, ref("Error"))
    if headers:
        answer["headers"] = {name: {"schema": _TEXT} for name in headers}
    return answer


#: What any of them may answer.
_ALWAYS: Part = {
    "400": _error("The path, a parameter or the body cannot be used."),
    "401": _error("It is not known who asks.", "WWW-Authenticate"),
    "403": _error("They are not in the group that may."),
    "404": _error("They have no such lease, or this launcher lends no nodes."),
    "429": _error("They ask too often, or have failed to log in too often.", "Retry-After"),
    "503": _error("ZooKeeper or the directory is away.", "Retry-After"),
}
_OVER = {"409": _error("The lease is over, or was forgotten just now.")}
_NOT_JSON = {
    "413": {"description": "The body is too large."},
    "415": _error("The body is not JSON."),
}
_ID: Part = {
    "name": "lease_id",
    "in": "path",
    "required": True,
    "description": "its id",
    "schema": {"type": "string", "minLength": 1},
}


def _operation(summary: str, responses: Part, **more: Any) -> Part:
    return {
        "summary": summary,
        "security": [{"token": []}, {"directory": []}],
        "responses": {**responses, **_ALWAYS},
        **more,
    }


def _body(schema: Part, *, required: bool) -> Part:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _query(name: str, words: str, schema: Part) -> Part:
    return {"name": name, "in": "query", "description": words, "schema": schema}


PATHS: dict[str, Part] = {
    "/api/requests": {
        "post": _operation(
            "Ask for nodes: makes a lease",
            {
                "201": {
                    **_answer("The lease, which waits for its nodes.", ref("Lease")),
                    "headers": {"Location": {"schema": _TEXT}},
                },
                "200": _answer("The lease that was asked for with this key.", ref("Lease")),
                "409": _error("They have too many leases, or the key is another wish's."),
                "422": _error("No pool online offers the labels in `detail`."),
                **_NOT_JSON,
            },
            requestBody=_body(_WISH, required=True),
        )
    },
    "/api/leases": {"get": _operation("Your leases", {"200": _answer("All.", ref("Leases"))})},
    "/api/leases/{lease_id}": {
        "get": _operation(
            "One lease, and how to reach its nodes",
            {"200": _answer("It is this.", ref("Lease"))},
            parameters=[
                _ID,
                _query(
                    "wait",
                    "answer only when the lease is not in `state` any more, or after so many "
                    "seconds; one asker at a time",
                    {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": 0},
                ),
                _query(
                    "state",
                    "which state to wait out",
                    {"type": "string", "enum": ["waiting", "ready"], "default": "waiting"},
                ),
            ],
        ),
        "delete": _operation(
            "Give it back, or call it off",
            {"200": _answer("It is over.", ref("Lease")), **_OVER},
            parameters=[_ID],
        ),
    },
    "/api/leases/{lease_id}/renew": {
        "post": _operation(
            "Begin its time anew",
            {"200": _answer("It ends later now.", ref("Lease")), **_OVER, **_NOT_JSON},
            parameters=[_ID],
            requestBody=_body(_RENEWAL, required=False),
        )
    },
}
