"""JSON of the records, exactly as Nodepool 11 reads and writes it.

Format: ``toDict`` and ``updateFromDict`` of the classes in Nodepool 11.0.0's
``nodepool/zk/zookeeper.py`` and ``nodepool/zk/components.py``.  Missing keys
get that version's defaults, unknown keys survive in ``extra``.  Anything that
cannot be understood raises :class:`Unreadable`; nothing else is raised.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from nodepool_tx.model import (
    Component,
    ComponentState,
    ImageBuild,
    ImageState,
    ImageUpload,
    LauncherComponent,
    Node,
    NodeRequest,
    NodeState,
    PoolComponent,
    RequestState,
)

__all__ = [
    "EMPTY",
    "Unreadable",
    "decode_component",
    "decode_image_build",
    "decode_image_upload",
    "decode_node",
    "decode_request",
    "encode_component",
    "encode_image_build",
    "encode_image_upload",
    "encode_node",
    "encode_request",
]


#: The reason given for a znode without any data.
EMPTY = "the znode is empty"


class Unreadable(ValueError):
    """The data of a znode is not what should be there."""


_NODE_KEYS = (
    "state",
    "state_time",
    "cloud",
    "provider",
    "pool",
    "type",
    "allocated_to",
    "az",
    "region",
    "public_ipv4",
    "private_ipv4",
    "public_ipv6",
    "host_id",
    "interface_ip",
    "connection_port",
    "image_id",
    "launcher",
    "created_time",
    "external_id",
    "hostname",
    "comment",
    "user_data",
    "hold_job",
    "host_keys",
    "username",
    "connection_type",
    "shell_type",
    "hold_expiration",
    "resources",
    "slot",
    "attributes",
    "python_path",
    "tenant_name",
    "driver_data",
    "requestor",
    "node_properties",
)
#: Written for old clients, never read: the same as ``connection_port``.
_NODE_ALIASES = ("ssh_port",)

_REQUEST_KEYS = (
    "state",
    "state_time",
    "declined_by",
    "node_types",
    "nodes",
    "reuse",
    "requestor",
    "requestor_data",
    "provider",
    "relative_priority",
    "event_id",
    "created_time",
    "tenant_name",
)


def _object(data: bytes) -> dict[str, Any]:
    if not data:
        raise Unreadable(EMPTY)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise Unreadable(f"not JSON: {e}") from None
    if not isinstance(value, dict):
        raise Unreadable(f"expected a JSON object, found {type(value).__name__}")
    return value


#: Numbers beyond this are no time, amount or priority.
LARGEST = 1e300


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"expected a number, found {value!r:.60}")
    # JSON knows no bounds, and Python reads NaN and Infinity; nothing can be
    # compared or added up with those.
    if not -LARGEST < value < LARGEST:
        raise Unreadable(f"expected a finite number, found {value!r:.60}")
    return value


def _optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"expected a string, found {value!r:.60}")
    return value


def _name_or_none(value: Any) -> str | None:
    """Text that many records have in common, and that is kept once."""
    return None if value is None else sys.intern(_text(value))


def _shared(value: Any) -> Any:
    """Anything; text is kept once."""
    return sys.intern(value) if isinstance(value, str) else value


def _texts(value: Any) -> tuple[str, ...]:
    """A list of strings; one string and nothing at all are lists too."""
    if not value:
        return ()
    if isinstance(value, str):
        return (sys.intern(value),)
    if not isinstance(value, list):
        raise Unreadable(f"expected a list, found {value!r:.60}")
    return tuple([sys.intern(_text(item)) for item in value])


_NOTHING: Mapping[str, Any] = {}


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"expected an object, found {value!r:.60}")
    return value or _NOTHING


def _amounts(value: Any) -> Mapping[str, float]:
    return {key: _number(amount) for key, amount in _mapping(value).items()}


def _whole_seconds(value: Any) -> int:
    """Hold times were typed by people; what is no number means no limit."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def _slot(value: Any) -> int:
    return int(_number(value))


_text_or_none = _optional(_text)
_number_or_none = _optional(_number)

_NODE_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "state_time": _number,
    "provider": _name_or_none,
    "pool": _name_or_none,
    "type": _texts,
    **dict.fromkeys(("cloud", "az", "region", "shell_type", "python_path"), _shared),
    "allocated_to": _name_or_none,
    "public_ipv4": _name_or_none,
    "private_ipv4": _name_or_none,
    "public_ipv6": _name_or_none,
    "interface_ip": _name_or_none,
    "launcher": _name_or_none,
    "created_time": _number_or_none,
    "hostname": _name_or_none,
    "host_keys": _texts,
    "username": _name_or_none,
    "connection_type": _name_or_none,
    "hold_expiration": _optional(_whole_seconds),
    "resources": _optional(_amounts),
    "slot": _optional(_slot),
    "attributes": _optional(_mapping),
    "tenant_name": _name_or_none,
    "requestor": _name_or_none,
    "node_properties": _optional(_mapping),
}
_REQUEST_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "state_time": _number,
    "declined_by": _texts,
    "node_types": _texts,
    "nodes": _texts,
    "reuse": bool,
    "requestor": _name_or_none,
    "provider": _name_or_none,
    "relative_priority": _number,
    "event_id": _text_or_none,
    "created_time": _number_or_none,
    "tenant_name": _name_or_none,
}


def _fields(
    raw: dict[str, Any],
    keys: tuple[str, ...],
    checks: Mapping[str, Callable[[Any], Any]],
    aliases: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Constructor arguments from a JSON object; pops what it knows."""
    found: dict[str, Any] = {}
    for key in keys:
        if key not in raw:
            continue
        value = raw.pop(key)
        if key in checks:
            try:
                value = checks[key](value)
            except Unreadable as e:
                raise Unreadable(f"{key}: {e}") from None
        found[key] = value
    for alias in aliases:
        raw.pop(alias, None)
    if raw:
        found["extra"] = raw
    return found


def _written(
    record: Node | NodeRequest | ImageUpload, keys: tuple[str, ...], **aliases: Any
) -> bytes:
    """The JSON of a record; ``aliases`` are what old clients read."""
    out = {key: getattr(record, key) for key in keys}
    out["state"] = record.state.value
    return json.dumps({**out, **aliases, **record.extra}).encode()


def decode_node(node_id: str, data: bytes, *, version: int = -1, mzxid: int = 0) -> Node:
    """The node in a znode's data.

    :raises Unreadable: it is no node.
    """
    raw = _object(data)
    raw.setdefault("connection_port", raw.get("ssh_port", 22))
    raw.setdefault("username", "zuul")
    raw.setdefault("node_properties", None)
    fields = _fields(raw, _NODE_KEYS, _NODE_CHECKS, _NODE_ALIASES)
    try:
        fields["state"] = NodeState(fields.get("state"))
    except ValueError:
        raise Unreadable(f"unknown node state {fields.get('state')!r:.60}") from None
    return Node(id=node_id, version=version, mzxid=mzxid, **fields)


def encode_node(node: Node) -> bytes:
    return _written(node, _NODE_KEYS, ssh_port=node.connection_port)


def decode_request(
    request_id: str, data: bytes, *, version: int = -1, mzxid: int = 0
) -> NodeRequest:
    """The request in a znode's data.

    :raises Unreadable: it is no request, or its name is not
        ``<priority>-<sequence>``.
    """
    if not request_id.partition("-")[2]:
        raise Unreadable("the name is not <priority>-<sequence>")
    fields = _fields(_object(data), _REQUEST_KEYS, _REQUEST_CHECKS)
    try:
        fields["state"] = RequestState(fields.get("state"))
    except ValueError:
        raise Unreadable(f"unknown request state {fields.get('state')!r:.60}") from None
    return NodeRequest(id=request_id, version=version, mzxid=mzxid, **fields)


def encode_request(request: NodeRequest) -> bytes:
    return _written(request, _REQUEST_KEYS)


_BUILD_KEYS = (
    "state",
    "state_time",
    "builder",
    "builder_id",
    "formats",
    "username",
    "python_path",
    "shell_type",
)
#: Left out when there is nothing to say.
_BUILD_OPTIONAL_KEYS = ("builder", "builder_id", "formats")
_UPLOAD_KEYS = (
    "state",
    "state_time",
    "external_id",
    "external_name",
    "format",
    "username",
    "python_path",
    "shell_type",
)


def _formats(value: Any) -> tuple[str, ...]:
    """In one string, with commas between them, in no order."""
    return tuple(sorted(_text(value).split(","))) if value else ()


_IMAGE_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "state_time": _number,
    "builder": _text_or_none,
    "builder_id": _text_or_none,
    "formats": _formats,
    "external_name": _text_or_none,
    "format": _text_or_none,
    "username": _text_or_none,
    "python_path": _text_or_none,
    "shell_type": _text_or_none,
}


def _image_fields(data: bytes, keys: tuple[str, ...], foreign: ImageState) -> dict[str, Any]:
    """Of a build or an upload; ``foreign`` is a state that it cannot be in."""
    fields = _fields(_object(data), keys, _IMAGE_CHECKS)
    state = fields.get("state")
    known = [each for each in ImageState if each is not foreign and each.value == state]
    if not known:
        raise Unreadable(f"unknown state {state!r:.60}")
    return {**fields, "state": known[0]}


def decode_image_build(
    image: str, build_id: str, data: bytes, *, version: int = -1, mzxid: int = 0
) -> ImageBuild:
    """The build in a znode's data.

    :raises Unreadable: it is none.
    """
    fields = _image_fields(data, _BUILD_KEYS, ImageState.UPLOADING)
    return ImageBuild(image=image, id=build_id, version=version, mzxid=mzxid, **fields)


def encode_image_build(build: ImageBuild) -> bytes:
    out = {key: getattr(build, key) for key in _BUILD_KEYS}
    out |= {"state": build.state.value, "formats": ",".join(sorted(build.formats)) or None}
    absent = {key for key in _BUILD_OPTIONAL_KEYS if out[key] is None}
    known = {key: value for key, value in out.items() if key not in absent}
    return json.dumps({**known, **build.extra}).encode()


def decode_image_upload(
    image: str,
    build_id: str,
    provider: str,
    upload_id: str,
    data: bytes,
    *,
    version: int = -1,
    mzxid: int = 0,
) -> ImageUpload:
    """The upload in a znode's data.

    :raises Unreadable: it is none.
    """
    fields = _image_fields(data, _UPLOAD_KEYS, ImageState.BUILDING)
    return ImageUpload(
        image=image,
        build_id=build_id,
        provider=provider,
        id=upload_id,
        version=version,
        mzxid=mzxid,
        **fields,
    )


def encode_image_upload(upload: ImageUpload) -> bytes:
    return _written(upload, _UPLOAD_KEYS)


_COMMON_COMPONENT_KEYS = ("hostname", "state", "kind", "version", "model_api")
_POOL_KEYS = ("id", "name", "provider_name", "supported_labels", "priority", "paused")


def decode_component(kind: str, data: bytes, *, path: str = "") -> Component:
    """The component in a znode's data.

    :raises Unreadable: it is none.
    """
    raw = _object(data)
    keys = _COMMON_COMPONENT_KEYS + (_POOL_KEYS if kind == "pool" else ())
    fields = _fields(raw, keys, {})
    fields["kind"] = kind
    try:
        fields["state"] = ComponentState(fields.get("state", "stopped"))
        fields["hostname"] = _text(fields.get("hostname"))
        if kind != "pool":
            return LauncherComponent(path=path, **fields)
        for key in ("id", "name", "provider_name"):
            fields[key] = _text(fields.get(key))
        fields["supported_labels"] = frozenset(_texts(fields.get("supported_labels")))
        fields["priority"] = int(_number(fields.get("priority", 100)))
        fields["paused"] = bool(fields.get("paused", False))
        return PoolComponent(path=path, **fields)
    except (ValueError, TypeError) as e:
        raise Unreadable(str(e)) from None


def encode_component(component: Component) -> bytes:
    out = {key: getattr(component, key) for key in _COMMON_COMPONENT_KEYS}
    out["state"] = component.state.value
    if isinstance(component, PoolComponent):
        out.update({key: getattr(component, key) for key in _POOL_KEYS})
        out["supported_labels"] = sorted(component.supported_labels)
    out.update(component.extra)
    return json.dumps(out, sort_keys=True).encode()


# Every field of a record is either written or bookkeeping; a new one must be
# placed in one of the lists above.
assert {a.name for a in attrs.fields(Node)} == {*_NODE_KEYS, "id", "extra", "version", "mzxid"}
assert {a.name for a in attrs.fields(NodeRequest)} == {
    *_REQUEST_KEYS,
    "id",
    "extra",
    "version",
    "mzxid",
}
assert {a.name for a in attrs.fields(ImageBuild)} == {
    *_BUILD_KEYS,
    *("id", "image", "extra", "version", "mzxid"),
}
assert {a.name for a in attrs.fields(ImageUpload)} == {
    *_UPLOAD_KEYS,
    *("id", "image", "build_id", "provider", "extra", "version", "mzxid"),
}
