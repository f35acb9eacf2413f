"""Every kind of record, every field: written by Nodepool 11 and read here, and the reverse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from benchmarks.daemons import Endpoint
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
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.store import Store
from tests.interop.data_process import NodepoolClasses
from tests.interop.data_records import (
    BUILD,
    COMPONENTS,
    DECODERS,
    NODE,
    REQUEST,
    STATES,
    UPLOAD,
    Record,
    data_of,
    normal,
    plain,
)
from tests.interop.test_images import everything, store_with
from tests.interop.tree import Tree

FULL = {"node": NODE, "request": REQUEST, "build": BUILD, "upload": UPLOAD}

#: An image and a provider with names out of the common.
IMAGE = "debian-größe"
PROVIDER = "sky.näh"

#: Fields of which Nodepool 11 itself makes no None, and what their None means to both.
NEVER_NONE = {"state", "state_time", "formats", "relative_priority"}

Fields = dict[str, Any]


@pytest.fixture(scope="module")
def nodepool(endpoint: Endpoint, tree: Tree) -> Iterator[NodepoolClasses]:
    tree.clear()
    with NodepoolClasses(endpoint) as classes:
        yield classes


def variants(kind: str) -> Iterator[Fields]:
    """All fields set, none, each of them None, and all states."""
    full = FULL[kind]
    yield full
    for state in STATES[kind]:
        yield {"state": state}
    yield {name: value if name in NEVER_NONE else None for name, value in full.items()}
    for name in set(full) - NEVER_NONE:
        yield {**full, name: None}


def placed(kind: str, fields: Fields, build: str) -> Fields:
    """With where it belongs."""
    if kind == "build":
        return {**fields, "image": IMAGE}
    if kind == "upload":
        return {**fields, "image": IMAGE, "build": build, "provider": PROVIDER}
    return {**fields, "id": "200"} if kind == "request" else fields


def ours(store: Store) -> dict[str, Record | Component]:
    """Everything that our store has, by path."""
    images = store.images
    found: dict[str, Record | Component] = {paths.node(node.id): node for node in store.nodes}
    found |= {paths.request(each.id): each for each in store.requests}
    found |= {paths.image_build(build.image, build.id): build for build in images.builds()}
    found |= {
        paths.image_upload(each.image, each.build_id, each.provider, each.id): each
        for each in images.uploads()
    }
    return found | {each.path: each for each in store.components.all()}


def absent_lists(fields: Fields) -> Fields:
    """With lists and choices that are None there as what they mean: nothing, and no."""
    found = normal(fields)
    for name in ("type", "host_keys", "node_types", "nodes", "declined_by"):
        if found.get(name, ...) is None:
            found[name] = []
    if found.get("reuse", ...) is None:
        found["reuse"] = False
    return found


def test_theirs_read_here(nodepool: NodepoolClasses, tree: Tree) -> None:
    """What its classes write is in our tables, with the value of every field."""
    tree.clear()
    ((build, _),) = nodepool.call("write", [["build", placed("build", BUILD, "")]])
    build_id = build.rpartition("/")[2]
    records = [[kind, placed(kind, fields, build_id)] for kind in FULL for fields in variants(kind)]
    records.append(["request", {"state": "requested", "node_types": ["of", "its", "own"]}])
    records += [[kind, dict(fields)] for kind, fields in COMPONENTS.items()]
    written = dict(nodepool.call("write", records))
    nodepool.call("flags", [IMAGE, "only-asked-for"])
    assert len(written) == len(records) >= 90
    store = store_with(everything(tree, "/nodepool"))
    found = ours(store)
    assert set(found) == {*written, build}
    for path, fields in written.items():
        assert plain(found[path]) == absent_lists(fields), path
    assert store.images.unreadable == {}
    flags = store.images.flags
    assert [flags.is_paused(name) for name in (IMAGE, "only-asked-for")] == [True, True]
    assert flags.request("only-asked-for") is not None
    again = nodepool.call("read")
    assert {path: fields for path, fields in again["cached"].items() if path != build} == written
    assert again["cached"] == again["read"]


def our_records() -> Iterator[tuple[str, Record | Component]]:
    """One of each kind with everything set and one with nothing, by what their paths begin with."""
    for number, state in enumerate(NodeState):
        yield paths.node(f"{number:010}"), Node(state=state)
    node = {**NODE, "state": NodeState.HOLD}
    for field in ("type", "host_keys"):
        node[field] = tuple(NODE[field])
    yield paths.node("0000000100"), Node(**node)
    request = {**REQUEST, "state": RequestState.PENDING}
    for field in ("declined_by", "node_types", "nodes"):
        request[field] = tuple(REQUEST[field])
    yield paths.request("050-0000000100"), NodeRequest(**request)
    for number, wish in enumerate(RequestState):
        yield paths.request(f"100-{number:010}"), NodeRequest(state=wish)
    build = {**BUILD, "state": ImageState.FAILED, "formats": tuple(BUILD["formats"])}
    yield paths.image_build(IMAGE, "full"), ImageBuild(**build)
    yield paths.image_build(IMAGE, "bare"), ImageBuild(state=ImageState.BUILDING)
    upload = {**UPLOAD, "state": ImageState.UPLOADING}
    where = (IMAGE, "full", PROVIDER)
    yield paths.image_upload(*where, "0000000000"), ImageUpload(**upload)
    yield paths.image_upload(*where, "0000000001"), ImageUpload(state=ImageState.READY)
    for kind, fields in COMPONENTS.items():
        values: Fields = {**fields, "model_api": 0, "state": ComponentState(fields["state"])}
        path = paths.component(kind, fields["hostname"])
        if kind == "pool":
            values["supported_labels"] = frozenset(fields["supported_labels"])
            yield f"{path}0000000000", PoolComponent(**values)
            continue
        yield f"{path}0000000000", LauncherComponent(kind=kind, **values)


def put(tree: Tree, path: str, data: bytes) -> None:
    tree.client.ensure_path(path.rpartition("/")[0])
    if tree.client.exists(path):
        tree.client.set(path, data)
    else:
        tree.client.create(path, data)


def test_ours_read_there(nodepool: NodepoolClasses, tree: Tree) -> None:
    """What we write is in the caches of its launcher, and in its commands, field by field."""
    tree.clear()
    records = dict(our_records())
    for path, record in records.items():
        put(tree, path, data_of(record))
    put(tree, image_paths.pause(IMAGE), b"")
    put(tree, image_paths.build_request(IMAGE), b"")
    read = nodepool.call("read")
    for way in ("cached", "read"):
        assert set(read[way]) == set(records)
        for path, record in records.items():
            assert plain(record) == normal(read[way][path]), path
    kinds = [
        sum(isinstance(record, of) for record in records.values())
        for of in (Node, NodeRequest, ImageBuild, ImageUpload)
    ]
    assert read["listed"] == kinds == [len(NodeState) + 1, len(RequestState) + 1, 2, 2]
    asked = tree.client.exists(image_paths.build_request(IMAGE))
    assert read["flags"] == {IMAGE: [True, asked.created]}


def test_round_trip(nodepool: NodepoolClasses) -> None:
    """What we write again of what it wrote is what it wrote, with what neither of us knows."""
    records = [[kind, fields] for kind in FULL for fields in variants(kind)]
    unknown = {"new in 12": {"deep": [1, None]}, "größe": "寸法", "id": "not the id"}
    for (kind, fields), text in zip(records, nodepool.call("serialize", records), strict=True):
        lists = [name for name, value in fields.items() if value is None and name in NO_LISTS]
        before = {**json.loads(text), **unknown}
        if lists:
            before |= {name: ABSENT[name] for name in lists}
        record = DECODERS[kind](json.dumps(before).encode())
        assert json.loads(data_of(record)) == before
        moved = attrs.evolve(record, state_time=5.5)
        assert json.loads(data_of(moved)) == {**before, "state_time": 5.5}


ABSENT: Fields = {
    "type": [],
    "host_keys": [],
    "node_types": [],
    "nodes": [],
    "declined_by": [],
    "reuse": False,
}
NO_LISTS = frozenset(ABSENT)

#: Data as older versions and other hands have left it.
OLD: tuple[tuple[str, Fields], ...] = (
    ("node", {"state": "ready", "state_time": 1}),
    ("node", {"state": "ready", "state_time": 1, "type": "debian"}),
    ("node", {"state": "ready", "state_time": 1, "type": ""}),
    ("node", {"state": "in-use", "state_time": 1, "ssh_port": 2222}),
    ("node", {"state": "in-use", "state_time": 1, "ssh_port": 2222, "connection_port": 22}),
    ("node", {"state": "ready", "state_time": 1.5, "host_keys": ["a"], "az": None}),
    ("node", {"state": "hold", "state_time": 1, "hold_expiration": "3600", "hold_job": "x"}),
    ("node", {"state": "hold", "state_time": 1, "hold_expiration": "a day"}),
    ("node", {"state": "hold", "state_time": 1, "hold_expiration": ""}),
    ("node", {"state": "hold", "state_time": 1, "hold_expiration": 7.9}),
    ("node", {"state": "hold", "state_time": 1, "hold_expiration": None}),
    ("node", {"state": "used", "state_time": 1, "resources": {}, "attributes": {}}),
    ("node", {"state": "used", "state_time": 1, "node_properties": None}),
    ("node", {"state": "building", "state_time": 1, "external_id": 7, "slot": 0}),
    ("node", {"state": "ready", "state_time": 1, "username": None, "allocated_to": None}),
    ("node", {"state": "ready", "state_time": 1, "connection_port": {"name": "n", "token": "t"}}),
    ("request", {"state": "requested", "state_time": 1}),
    ("request", {"state": "requested", "state_time": 1, "node_types": ["debian"]}),
    ("request", {"state": "fulfilled", "state_time": 1, "nodes": ["0000000001"]}),
    ("request", {"state": "requested", "state_time": 1, "relative_priority": -3}),
    ("request", {"state": "requested", "state_time": 1, "requestor": None, "provider": None}),
    ("build", {"state": "ready", "state_time": 1}),
    ("build", {"state": "ready", "state_time": 1, "formats": ""}),
    ("build", {"state": "ready", "state_time": 1, "formats": "vhd,raw"}),
    ("build", {"state": "ready", "state_time": 1, "builder": "nb01", "username": None}),
    ("upload", {"state": "ready", "state_time": 1}),
    ("upload", {"state": "deleting", "state_time": 1, "external_id": None, "python_path": None}),
)
OLD_COMPONENTS: tuple[tuple[str, Fields], ...] = (
    ("launcher", {"hostname": "a", "kind": "launcher", "state": "running"}),
    ("launcher", {"hostname": "b", "state": "stopped", "version": None}),
    ("builder", {"hostname": "c", "kind": "builder", "state": "running", "more": [1]}),
    ("pool", {"hostname": "d", "id": "i", "name": "n", "provider_name": "p", "state": "running"}),
    (
        "pool",
        {
            "hostname": "e",
            "id": "j",
            "name": "n",
            "provider_name": "p",
            "supported_labels": ["z", "a"],
            "kind": "pool",
        },
    ),
)


def test_old_formats(nodepool: NodepoolClasses) -> None:
    """Records with fewer fields, or with values of older versions, mean the same to both."""
    texts = [(kind, json.dumps(fields)) for kind, fields in OLD]
    for (kind, text), theirs in zip(texts, nodepool.call("parse", texts), strict=True):
        assert plain(DECODERS[kind](text.encode())) == normal(theirs), text


def test_old_components(nodepool: NodepoolClasses, tree: Tree) -> None:
    """So do components that do not say all that they do now."""
    tree.clear()
    for kind, fields in OLD_COMPONENTS:
        put(tree, f"{paths.component(kind, fields['hostname'])}0000000000", _json(fields))
    theirs = nodepool.call("read")["read"]
    found = ours(store_with(everything(tree, paths.COMPONENTS)))
    assert set(found) == set(theirs)
    for path, fields in theirs.items():
        component = found[path]
        assert isinstance(component, LauncherComponent | PoolComponent)
        assert {**plain(component), **component.extra} == normal(fields), path


#: What neither can use: its reader fails where ours says what is wrong.
BROKEN: tuple[tuple[str, Any], ...] = (
    ("node", []),
    ("node", {"state": "asleep", "state_time": 1}),
    ("request", {"state": "ready", "state_time": 1}),
    ("build", {"state": "uploading", "state_time": 1}),
    ("upload", {"state": "building", "state_time": 1}),
    ("node", None),
    ("request", {"state": None, "state_time": 1}),
)


def test_broken(nodepool: NodepoolClasses) -> None:
    """What it cannot read is unreadable here, too."""
    texts = [(kind, json.dumps(value)) for kind, value in BROKEN]
    for (kind, text), theirs in zip(texts, nodepool.call("parse", texts), strict=True):
        assert theirs in ("TypeError", "AttributeError"), text
        with pytest.raises(ValueError, match=r"\w"):
            DECODERS[kind](text.encode())


#: What its classes take as it comes, and fail over later, when they use it.
NEVER_WRITTEN: tuple[tuple[str, Fields], ...] = (
    ("node", {"state_time": 1, "provider": "rack"}),
    ("node", {"state": "ready", "state_time": None}),
    ("node", {"state": "ready", "state_time": 1, "provider": 7}),
    ("node", {"state": "ready", "state_time": 1, "slot": "x"}),
    ("node", {"state": "ready", "state_time": 1, "resources": {"cores": "many"}}),
    ("request", {"state_time": 1, "node_types": ["debian"]}),
    ("request", {"state": "requested", "state_time": 1, "relative_priority": None}),
    ("request", {"state": "requested", "state_time": 1, "node_types": {"debian": 1}}),
    ("request", {"state": "requested", "state_time": 1, "nodes": [1]}),
    ("upload", {"state_time": 1}),
)


def test_what_nobody_writes(nodepool: NodepoolClasses) -> None:
    """Values of types that no version has ever written make a record unreadable here only."""
    texts = [(kind, json.dumps(value)) for kind, value in NEVER_WRITTEN]
    for (kind, text), theirs in zip(texts, nodepool.call("parse", texts), strict=True):
        assert isinstance(theirs, dict), text
        with pytest.raises(ValueError, match=r"\w"):
            DECODERS[kind](text.encode())


def _json(fields: Fields) -> bytes:
    return json.dumps(fields).encode()
