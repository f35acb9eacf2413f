"""What the API's answers look like, in JSON Schema."""

from __future__ import annotations

from typing import Any

from nodepool_tx.model import ImageState, MaintenanceMode, NodeState, RequestState
from nodepool_tx.pools.explaining import Effect
from nodepool_tx.providers.interface import Phase
from nodepool_tx.txzookeeper.interface import SessionState

__all__ = ["SCHEMAS", "ref"]

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """A reference to one of :data:`SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Schema) -> Schema:
    """An object that has all of these, and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _one_of(*values: str, words: str = "") -> Schema:
    schema: Schema = {"type": "string", "enum": list(values)}
    return {**schema, "description": words} if words else schema


def _text(words: str = "") -> Schema:
    return {"type": "string", "description": words} if words else {"type": "string"}


def _number(words: str = "", least: float | None = None) -> Schema:
    schema: Schema = {"type": "number"}
    if least is not None:
        schema["minimum"] = least
    return {**schema, "description": words} if words else schema


def _count(words: str = "") -> Schema:
    schema: Schema = {"type": "integer", "minimum": 0}
    return {**schema, "description": words} if words else schema


_FLAG: Schema = {"type": "boolean"}
_ANY: Schema = {}
_TIME = _number("seconds since the epoch")
_TEXTS = _list(_text())
_COUNTS = _map(_count())
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MAYBE_TIME: Schema = {"type": ["number", "null"], "description": "seconds since the epoch"}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
_MAYBE_WHOLE: Schema = {"type": ["integer", "null"]}
_NODE_STATES = _one_of(*(state.value for state in NodeState))

_ZOOKEEPER = _object(
    state=_one_of(*(state.value for state in SessionState)),
    current={**_FLAG, "description": "what is shown of nodes and requests is up to date"},
    servers=_TEXTS,
    server=_MAYBE_TEXT,
    latency_ms={**_MAYBE_NUMBER, "description": "the mean of all answers so far"},
    requests=_count("sent so far"),
    in_flight=_count(),
    reconnects=_count(),
    trouble=_text("why no server would have us; empty when connected"),
)
_CONFIG_ERROR = _object(
    file=_text(),
    line=_count("from 1; 0 for the whole file"),
    path=_text("where in the structure"),
    message=_text(),
)
_LAST_RELOAD = _object(
    seconds=_number(),
    kept=_TEXTS,
    replaced=_TEXTS,
    added=_TEXTS,
    removed=_TEXTS,
    rolled_back=_map(_text("why")),
)
_LAUNCHER = _object(id=_text(), kind=_text(), hostname=_text(), version=_MAYBE_TEXT, state=_text())
_POOL = _object(
    name=_text(),
    labels=_TEXTS,
    priority={"type": "integer"},
    max_servers=_MAYBE_WHOLE,
    waiting=_count("requests that this pool has not answered"),
    paused=_FLAG,
)
_HOST = _object(
    hostname=_text(),
    port={"type": "integer"},
    username=_text(),
    pool=_text(),
    labels=_TEXTS,
    state=_one_of("up", "down", "unknown"),
    reason=_text("why it is down"),
    since=_MAYBE_TIME,
    next_look=_MAYBE_TIME,
    slots=_count(),
    free=_count(),
    used=_count(),
    waits=_TEXTS,
    maintenance=_maybe(ref("Maintenance")),
)
_QUOTA = _object(resource=_text(), used=_number(), limit=_number(), unit=_text())
_PHASES = (*(phase.value for phase in Phase), "unavailable", "not-started")
_PROVIDER = _object(
    name=_text(),
    driver=_text(),
    phase=_one_of(*_PHASES),
    owner={**_FLAG, "description": "this launcher looks after the provider's nodes"},
    maintenance=_maybe(ref("Maintenance")),
    nodes={**_COUNTS, "description": "by state"},
    pools=_list(_POOL),
    tasks=_list(_object(what=_text(), seconds=_number())),
    waiting={**_TEXTS, "description": "what waits and why, a line for each kind"},
    troubles=_TEXTS,
    hosts=_list(_HOST),
    quota=_list(_QUOTA),
    launching=_count(),
    deleting=_count(),
)
_NODE = _object(
    id=_text(),
    provider=_MAYBE_TEXT,
    pool=_MAYBE_TEXT,
    labels=_TEXTS,
    state=_NODE_STATES,
    since=_TIME,
    created=_MAYBE_TIME,
    locked=_FLAG,
    hostname=_MAYBE_TEXT,
    public_ipv4=_MAYBE_TEXT,
    private_ipv4=_MAYBE_TEXT,
    ipv6=_MAYBE_TEXT,
    az=_MAYBE_TEXT,
    launcher=_MAYBE_TEXT,
    allocated_to=_MAYBE_TEXT,
    requestor=_MAYBE_TEXT,
    tenant=_MAYBE_TEXT,
    hold_job=_MAYBE_TEXT,
    comment=_MAYBE_TEXT,
    external_id=_ANY,
    username=_MAYBE_TEXT,
    port={**_MAYBE_WHOLE, "description": "null where it is kept secret"},
    slot=_MAYBE_WHOLE,
)
_REQUEST = _object(
    id=_text(),
    state=_one_of(*(state.value for state in RequestState)),
    since=_TIME,
    labels=_TEXTS,
    requestor=_MAYBE_TEXT,
    tenant=_MAYBE_TEXT,
    provider={**_MAYBE_TEXT, "description": "that its requestor would rather have"},
    relative_priority=_number(),
    event_id=_MAYBE_TEXT,
    created=_MAYBE_TIME,
    age={**_MAYBE_NUMBER, "description": "seconds since it was made"},
    nodes=_TEXTS,
    declined_by=_TEXTS,
    reason=_text("why it waits, in one line"),
)
_MAINTENANCE = _object(
    mode=_one_of(*(mode.value for mode in MaintenanceMode)),
    host=_MAYBE_TEXT,
    provider=_MAYBE_TEXT,
    reason=_text(),
    since=_TIME,
    until=_MAYBE_TIME,
    by=_text(),
)
_IMAGE_STATES = _one_of(*(state.value for state in ImageState), "paused")
_IMAGES = _object(
    builds=_list(
        _object(
            id=_text(),
            image=_text(),
            builder=_MAYBE_TEXT,
            formats=_TEXTS,
            state=_IMAGE_STATES,
            age=_number("seconds"),
            since=_TIME,
        )
    ),
    uploads=_list(
        _object(
            id=_text("of the build"),
            upload_id=_text(),
            provider=_text(),
            image=_text(),
            external_name=_MAYBE_TEXT,
            external_id=_ANY,
            state=_IMAGE_STATES,
            age=_number("seconds"),
            since=_TIME,
        )
    ),
)
_DURATIONS = {
    "p50": {**_MAYBE_NUMBER, "description": "seconds"},
    "p95": {**_MAYBE_NUMBER, "description": "seconds"},
}
_RELOAD = _object(
    at=_TIME,
    seconds=_number(),
    kept=_TEXTS,
    replaced=_TEXTS,
    added=_TEXTS,
    removed=_TEXTS,
    rolled_back=_TEXTS,
)
_LAUNCHES = _object(at=_TIME, ready=_count(), failed=_count(), **_DURATIONS)
_ENDED = _object(at=_TIME, fulfilled=_count(), failed=_count(), declined=_count(), **_DURATIONS)
_LOOP = _object(
    name=_text(),
    interval=_number("seconds"),
    last_success_age={**_MAYBE_NUMBER, "description": "seconds; null: never yet"},
    healthy=_FLAG,
)
_RULE = _object(
    name=_text("short and stable"),
    effect=_one_of(*(effect.value for effect in Effect)),
    words=_text(),
    since=_MAYBE_TIME,
)
_EXPLAINED_NODE = _object(
    node_id=_text(), labels=_TEXTS, state=_text(), usable=_FLAG, words=_text()
)
_EXPLAINED_POOL = _object(
    launcher=_text(),
    provider=_text(),
    pool=_text(),
    verdict=_text(),
    rules=_list(_RULE),
    nodes=_list(_EXPLAINED_NODE),
    more_nodes=_count(),
)

#: By name.
SCHEMAS: dict[str, Schema] = {
    "Error": _object(error=_text("short, the same for all of its kind"), detail=_ANY),
    "Status": _object(
        version=_text(),
        hostname=_text(),
        started=_TIME,
        now=_TIME,
        zookeeper=_ZOOKEEPER,
        reload=_object(
            running=_FLAG, last=_maybe(_LAST_RELOAD), errors=_list(ref("ConfigurationError"))
        ),
        counts=_object(nodes=_COUNTS, requests=_COUNTS),
        launchers=_list(_LAUNCHER),
    ),
    "ConfigurationError": _CONFIG_ERROR,
    "Node": _NODE,
    "Nodes": _object(nodes=_list(ref("Node")), next=_MAYBE_TEXT),
    "Request": _REQUEST,
    "Requests": _object(requests=_list(ref("Request")), next=_MAYBE_TEXT),
    "Explanation": {
        "type": "object",
        "properties": {
            "request": {"type": "object"},
            "summary": _text("one line"),
            "pools": _list(_EXPLAINED_POOL),
            "silent": {**_TEXTS, "description": "launchers that did not answer"},
        },
        "required": ["request", "summary", "pools", "silent"],
    },
    "Provider": _PROVIDER,
    "Providers": _object(providers=_list(ref("Provider"))),
    "Maintenance": _MAINTENANCE,
    "MaintenanceList": _object(maintenance=_list(ref("Maintenance"))),
    "Images": _IMAGES,
    "Reloads": _object(reloads=_list(_RELOAD), errors=_list(ref("ConfigurationError"))),
    "History": _object(
        bucket_seconds=_count(),
        start=_TIME,
        launches=_map(_list(_LAUNCHES)),
        errors=_map(_COUNTS),
        requests=_list(_ENDED),
    ),
    "Live": _object(live=_FLAG),
    "Readiness": _object(
        ready=_FLAG,
        reasons=_TEXTS,
        zookeeper=_text("the state of the session"),
        loops=_list(_LOOP),
    ),
}
