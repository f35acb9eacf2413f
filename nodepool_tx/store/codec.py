"""JSON of the records, exactly as Nodepool 11 reads and writes it.

Format: ``toDict`` and ``updateFromDict`` of the classes in Nodepool 11.0.0's
``nodepool/zk/zookeeper.py`` and ``nodepool/zk/components.py``.  Missing keys
get that version's defaults, unknown keys survive in ``extra``.  Anything that
cannot be understood raises :class:`Unreadable`; nothing else is raised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from nodepool_tx.drafts import maker
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
from nodepool_tx.store.shapes import (
    EMPTY,
    LARGEST,
    Shape,
    Unreadable,
    amounts,
    anything,
    formats,
    mapping,
    name,
    number,
    read_fields,
    read_object,
    shared,
    slot,
    text,
    texts,
    whole_seconds,
    writer,
)

__all__ = [
    "EMPTY",
    "LARGEST",
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


S = TypeVar("S")

_NODE = Shape(
    {
        "state": anything,
        "state_time": number,
        "cloud": shared,
        "provider": name,
        "pool": name,
        "type": texts,
        "allocated_to": name,
        "az": shared,
        "region": shared,
        "public_ipv4": name,
        "private_ipv4": name,
        "public_ipv6": name,
        "host_id": anything,
        "interface_ip": name,
        "connection_port": anything,
        "image_id": anything,
        "launcher": name,
        "created_time": number,
        "external_id": anything,
        "hostname": name,
        "comment": anything,
        "user_data": anything,
        "hold_job": anything,
        "host_keys": texts,
        "username": name,
        "connection_type": name,
        "shell_type": shared,
        "hold_expiration": whole_seconds,
        "resources": amounts,
        "slot": slot,
        "attributes": mapping,
        "python_path": shared,
        "tenant_name": name,
        "driver_data": anything,
        "requestor": name,
        "node_properties": mapping,
    },
    not_none=frozenset({"state_time", "type", "host_keys"}),
    # Written for old clients, and read only where the port is nowhere else.
    aliases={"ssh_port": "connection_port"},
)
_REQUEST = Shape(
    {
        "state": anything,
        "state_time": number,
        "declined_by": texts,
        "node_types": texts,
        "nodes": texts,
        "reuse": bool,
        "requestor": name,
        "requestor_data": anything,
        "provider": name,
        "relative_priority": number,
        "event_id": text,
        "created_time": number,
        "tenant_name": name,
    },
    not_none=frozenset(
        {"state_time", "declined_by", "node_types", "nodes", "reuse", "relative_priority"}
    ),
)
_write_node = writer(_NODE)
_write_request = writer(_REQUEST)

_make_node = maker(Node)
_make_request = maker(NodeRequest)

#: What a record is of which nothing is written.
_BLANK_NODE = attrs.asdict(
    Node(state=NodeState.INIT, username="zuul", node_properties=None), recurse=False
)
_BLANK_REQUEST = attrs.asdict(NodeRequest(state=RequestState.REQUESTED), recurse=False)

_NODE_STATES: Mapping[Any, NodeState] = {state.value: state for state in NodeState}
_REQUEST_STATES: Mapping[Any, RequestState] = {state.value: state for state in RequestState}


def _state_in(states: Mapping[Any, S], value: Any, what: str) -> S:
    state = states.get(value) if isinstance(value, str) else None
    if state is None:
        raise Unreadable(f"unknown {what} state {value!r:.60}")
    return state


def decode_node(node_id: str, data: bytes, *, version: int = -1, mzxid: int = 0) -> Node:
    """The node in a znode's data.

    :raises Unreadable: it is no node.
    """
    raw = read_object(data)
    fields = read_fields(raw, _NODE)
    fields["state"] = _state_in(_NODE_STATES, fields.get("state"), "node")
    if "connection_port" not in raw:
        fields["connection_port"] = raw.get("ssh_port", 22)
    fields["id"], fields["version"], fields["mzxid"] = node_id, version, mzxid
    return _make_node({**_BLANK_NODE, **fields})


def encode_node(node: Node) -> bytes:
    return _write_node(node)


def decode_request(
    request_id: str, data: bytes, *, version: int = -1, mzxid: int = 0
) -> NodeRequest:
    """The request in a znode's data.

    :raises Unreadable: it is no request, or its name is not
        ``<priority>-<sequence>``.
    """
    if not request_id.partition("-")[2]:
        raise Unreadable("the name is not <priority>-<sequence>")
    fields = read_fields(read_object(data), _REQUEST)
    fields["state"] = _state_in(_REQUEST_STATES, fields.get("state"), "request")
    fields["id"], fields["version"], fields["mzxid"] = request_id, version, mzxid
    return _make_request({**_BLANK_REQUEST, **fields})


def encode_request(request: NodeRequest) -> bytes:
    return _write_request(request)


_BUILD = Shape(
    {
        "state": anything,
        "state_time": number,
        "builder": text,
        "builder_id": text,
        "formats": formats,
        "username": text,
        "python_path": text,
        "shell_type": text,
    },
    not_none=frozenset({"state_time", "formats"}),
)
#: Left out when there is nothing to say.
_BUILD_OPTIONAL_KEYS = ("builder", "builder_id", "formats")
_UPLOAD = Shape(
    {
        "state": anything,
        "state_time": number,
        "external_id": anything,
        "external_name": text,
        "format": text,
        "username": text,
        "python_path": text,
        "shell_type": text,
    },
    not_none=frozenset({"state_time"}),
)
_write_upload = writer(_UPLOAD)


def _image_fields(data: bytes, shape: Shape, foreign: ImageState) -> dict[str, Any]:
    """Of a build or an upload; ``foreign`` is a state that it cannot be in."""
    fields = read_fields(read_object(data), shape)
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
    fields = _image_fields(data, _BUILD, ImageState.UPLOADING)
    return ImageBuild(image=image, id=build_id, version=version, mzxid=mzxid, **fields)


def encode_image_build(build: ImageBuild) -> bytes:
    out = {key: getattr(build, key) for key in _BUILD.checks}
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
    fields = _image_fields(data, _UPLOAD, ImageState.BUILDING)
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
    return _write_upload(upload)


_LAUNCHER = Shape(dict.fromkeys(("hostname", "state", "kind", "version", "model_api"), anything))
_POOL_KEYS = ("id", "name", "provider_name", "supported_labels", "priority", "paused")
_POOL = Shape({**_LAUNCHER.checks, **dict.fromkeys(_POOL_KEYS, anything)})


def decode_component(kind: str, data: bytes, *, path: str = "") -> Component:
    """The component in a znode's data.

    :raises Unreadable: it is none.
    """
    raw = read_object(data)
    fields = read_fields(raw, _POOL if kind == "pool" else _LAUNCHER)
    fields["kind"] = kind
    try:
        fields["state"] = ComponentState(fields.get("state", "stopped"))
        fields["hostname"] = text(fields.get("hostname"))
        if kind != "pool":
            return LauncherComponent(path=path, **fields)
        for key in ("id", "name", "provider_name"):
            fields[key] = text(fields.get(key))
        fields["supported_labels"] = frozenset(texts(fields.get("supported_labels")))
        fields["priority"] = int(number(fields.get("priority", 100)))
        fields["paused"] = bool(fields.get("paused", False))
        return PoolComponent(path=path, **fields)
    except (ValueError, TypeError) as e:
        raise Unreadable(str(e)) from None


def encode_component(component: Component) -> bytes:
    out = {key: getattr(component, key) for key in _LAUNCHER.checks}
    out["state"] = component.state.value
    if isinstance(component, PoolComponent):
        out.update({key: getattr(component, key) for key in _POOL_KEYS})
        out["supported_labels"] = sorted(component.supported_labels)
    out.update(component.extra)
    return json.dumps(out, sort_keys=True).encode()


# Every field of a record is either written or bookkeeping; a new one must be
# placed in one of the lists above.
assert {a.name for a in attrs.fields(Node)} == {*_NODE.checks, "id", "extra", "version", "mzxid"}
assert {a.name for a in attrs.fields(NodeRequest)} == {
    *_REQUEST.checks,
    "id",
    "extra",
    "version",
    "mzxid",
}
assert {a.name for a in attrs.fields(ImageBuild)} == {
    *_BUILD.checks,
    *("id", "image", "extra", "version", "mzxid"),
}
assert {a.name for a in attrs.fields(ImageUpload)} == {
    *_UPLOAD.checks,
    *("id", "image", "build_id", "provider", "extra", "version", "mzxid"),
}
