"""Records with every field set, in the form that Nodepool 11's classes take, and ours likewise."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from nodepool_tx.model import (
    Component,
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
from nodepool_tx.store import codec

__all__ = [
    "BUILD",
    "COMPONENTS",
    "DECODERS",
    "NODE",
    "REQUEST",
    "STATES",
    "UPLOAD",
    "Record",
    "data_of",
    "normal",
    "plain",
]

Record = Node | NodeRequest | ImageBuild | ImageUpload
Fields = dict[str, Any]

#: Text of more than one script, and characters that JSON escapes.
WORDS = "Größe 寸法 🦆 \"'\\\u2028\x07"

NODE: Fields = {
    "state": "hold",
    "state_time": 1700000001.25,
    "cloud": "sky",
    "provider": "rack",
    "pool": "main",
    "type": ["debian", "debian-large"],
    "allocated_to": "200-0000000007",
    "az": "az2",
    "region": "RegionTwo",
    "public_ipv4": "198.51.100.7",
    "private_ipv4": "10.0.0.7",
    "public_ipv6": "2001:db8::7",
    "host_id": "0a1b2c",
    "interface_ip": "198.51.100.8",
    "connection_port": 5986,
    "image_id": {"id": "7f3c"},
    "launcher": "nl01-PoolWorker.rack-main-0f",
    "created_time": 1700000000.5,
    "external_id": {"server": "9d3e", "zone": 2},
    "hostname": "n7.example.org",
    "comment": WORDS,
    "user_data": json.dumps({"job": WORDS}),
    "hold_job": "tenant project job refs/heads/x",
    "host_keys": ["ssh-rsa AAAA", "ssh-ed25519 BBBB"],
    "username": "somebody",
    "connection_type": "winrm",
    "shell_type": "powershell",
    "hold_expiration": 3600,
    "resources": {"cores": 4, "ram": 8192, "instances": 1, "volume-gb": 80.5},
    "slot": 3,
    "attributes": {"executor-zone": "east", "deep": {"list": [1, None, True]}},
    "python_path": "/usr/bin/python3",
    "tenant_name": "tenant-1",
    "driver_data": {"slot": 1, "node": "0000000003"},
    "requestor": "zuul:gate",
    "node_properties": {"spot": True, "x": [1.5]},
}

REQUEST: Fields = {
    "state": "pending",
    "state_time": 1700000002.75,
    "declined_by": ["nl01-PoolWorker.rack-main-0f", "nl02-PoolWorker.sky-main-0e"],
    "node_types": ["debian", "debian", "windows"],
    "nodes": ["0000000001", "0000000002"],
    "reuse": False,
    "requestor": "zuul:check",
    "requestor_data": {"build_set_uuid": "7", "words": WORDS, "list": [None]},
    "provider": "rack",
    "relative_priority": 7,
    "event_id": "5d41402abc4b2a76b9719d911017c592",
    "created_time": 1700000000.125,
    "tenant_name": "tenant-2",
}

BUILD: Fields = {
    "state": "failed",
    "state_time": 1700000003.5,
    "builder": "nb01.example.org",
    "builder_id": "4b9b4f9c",
    "formats": ["qcow2", "raw", "vhd"],
    "username": "debian",
    "python_path": "auto",
    "shell_type": "csh",
}

UPLOAD: Fields = {
    "state": "uploading",
    "state_time": 1700000004.5,
    "external_id": "aaaa-bbbb",
    "external_name": "debian-1700000004",
    "format": "qcow2",
    "username": "debian",
    "python_path": "auto",
    "shell_type": "sh",
}

COMPONENTS: Mapping[str, Fields] = {
    "launcher": {"hostname": "nl01", "version": "11.0.0", "state": "paused"},
    "builder": {"hostname": "nb-ü", "version": None, "state": "running"},
    "pool": {
        "hostname": "nl02",
        "version": "11.0.1.dev2",
        "state": "initializing",
        "id": "nl02-PoolWorker.rack-main-0f",
        "name": "main",
        "provider_name": "räck",
        "supported_labels": ["debian", "windows"],
        "priority": 3,
        "paused": True,
    },
}

STATES: Mapping[str, tuple[str, ...]] = {
    "node": tuple(state.value for state in NodeState),
    "request": tuple(state.value for state in RequestState),
    "build": tuple(state.value for state in ImageState if state is not ImageState.UPLOADING),
    "upload": tuple(state.value for state in ImageState if state is not ImageState.BUILDING),
}

DECODERS: Mapping[str, Callable[[bytes], Record]] = {
    "node": lambda data: codec.decode_node("0000000001", data),
    "request": lambda data: codec.decode_request("100-0000000001", data),
    "build": lambda data: codec.decode_image_build("image", "build", data),
    "upload": lambda data: codec.decode_image_upload("image", "build", "sky", "1", data),
}

#: What a record has beside what is written.
_BOOKKEEPING = frozenset({"id", "image", "build_id", "extra", "mzxid", "path"})


def plain(record: Record | Component) -> Fields:
    """The fields of a record of ours as JSON has them."""
    names = {field.name for field in attrs.fields(type(record))} - _BOOKKEEPING
    if isinstance(record, ImageUpload):
        names.discard("provider")
    if isinstance(record, PoolComponent):
        names.add("id")
    elif not isinstance(record, LauncherComponent):
        names.discard("version")
    values = {name: getattr(record, name) for name in names}
    values["state"] = record.state.value
    if isinstance(record, PoolComponent):
        values["supported_labels"] = sorted(record.supported_labels)
    found: Fields = json.loads(json.dumps(values))
    return found


def normal(fields: Fields) -> Fields:
    """What Nodepool 11 knows of a record, with what has no order in one order."""
    found = dict(fields)
    if "supported_labels" in found:
        found["supported_labels"] = sorted(found["supported_labels"])
    return found


def data_of(record: Record | Component) -> bytes:
    """What we write of it."""
    if isinstance(record, Node):
        return codec.encode_node(record)
    if isinstance(record, NodeRequest):
        return codec.encode_request(record)
    if isinstance(record, ImageBuild):
        return codec.encode_image_build(record)
    if isinstance(record, ImageUpload):
        return codec.encode_image_upload(record)
    assert isinstance(record, LauncherComponent | PoolComponent)
    return codec.encode_component(record)
