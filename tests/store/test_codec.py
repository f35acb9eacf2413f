"""The JSON of Nodepool 11, read and written."""

from __future__ import annotations

import json
import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.model import (
    ComponentState,
    LauncherComponent,
    Node,
    NodeRequest,
    NodeState,
    PoolComponent,
    RequestState,
)
from nodepool_tx.store.codec import (
    Unreadable,
    decode_component,
    decode_image_build,
    decode_node,
    decode_request,
    encode_component,
    encode_image_build,
    encode_node,
    encode_request,
)

#: What Nodepool 11 writes for a static node that a request holds.
NODE: dict[str, Any] = {
    "state": "in-use",
    "state_time": 1700000001.5,
    "cloud": None,
    "provider": "rack",
    "pool": "main",
    "type": ["small", "any"],
    "allocated_to": "200-0000000004",
    "az": None,
    "region": None,
    "public_ipv4": "192.0.2.1",
    "private_ipv4": None,
    "public_ipv6": None,
    "host_id": None,
    "interface_ip": "web1",
    "connection_port": 2222,
    "ssh_port": 2222,
    "image_id": None,
    "launcher": "static driver",
    "created_time": 1700000000.25,
    "external_id": "web1",
    "hostname": "web1",
    "comment": None,
    "user_data": '{"job": 1}',
    "hold_job": None,
    "host_keys": ["ssh-ed25519 AAAA", "ssh-rsa BBBB"],
    "username": "zuul",
    "connection_type": "ssh",
    "shell_type": None,
    "hold_expiration": None,
    "resources": {"instances": 1, "cores": 2},
    "slot": 3,
    "attributes": {"zone": "b"},
    "python_path": "auto",
    "tenant_name": "t1",
    "driver_data": None,
    "requestor": "zuul",
    "node_properties": {"spot": False},
}

#: What a client writes for a request that was answered.
REQUEST: dict[str, Any] = {
    "state": "fulfilled",
    "state_time": 1700000002.0,
    "declined_by": ["host-PoolWorker.rack-main-abc"],
    "node_types": ["small", "small"],
    "nodes": ["0000000001", "0000000002"],
    "reuse": True,
    "requestor": "zuul",
    "requestor_data": {"build_set_uuid": "u"},
    "provider": None,
    "relative_priority": 3,
    "event_id": "e1",
    "created_time": 1700000000.0,
    "tenant_name": "t1",
}


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


class TestNodes:
    """Records of nodes."""

    def test_reading_and_writing_changes_nothing(self) -> None:
        """Every key of Nodepool 11 comes back as it was, and no other."""
        assert json.loads(encode_node(decode_node("1", as_bytes(NODE)))) == NODE

    def test_the_fields(self) -> None:
        """Lists become tuples, the state an enum; id and version come from elsewhere."""
        node = decode_node("0000000007", as_bytes(NODE), version=4, mzxid=99)
        assert (node.id, node.version, node.mzxid) == ("0000000007", 4, 99)
        assert node.state is NodeState.IN_USE
        assert node.type == ("small", "any")
        assert node.host_keys == ("ssh-ed25519 AAAA", "ssh-rsa BBBB")
        assert (node.connection_port, node.slot) == (2222, 3)
        assert node.resources == {"instances": 1, "cores": 2}

    def test_a_new_node_is_written_as_nodepool_reads_it(self) -> None:
        """All keys are there, with that version's defaults."""
        written = json.loads(encode_node(Node(state=NodeState.READY, type=("a",))))
        assert set(written) == set(NODE)
        assert written["type"] == ["a"]
        assert (written["connection_port"], written["ssh_port"]) == (22, 22)
        assert (written["host_keys"], written["node_properties"]) == ([], {})
        assert "id" not in written

    def test_what_is_missing_has_nodepools_defaults(self) -> None:
        """A record of an old version, or of a careless client."""
        node = decode_node("1", b'{"state": "ready"}')
        assert (node.username, node.connection_port, node.host_keys) == ("zuul", 22, ())
        assert (node.type, node.provider, node.slot) == ((), None, None)

    def test_properties_that_nobody_wrote_are_none(self) -> None:
        """Where a new node has an empty object."""
        node = decode_node("0000000001", b'{"state": "ready"}')
        assert node.node_properties is None
        assert json.loads(encode_node(node))["node_properties"] is None

    def test_the_old_name_of_the_port(self) -> None:
        """ssh_port counts when connection_port is not there."""
        assert decode_node("1", b'{"state": "ready", "ssh_port": 23}').connection_port == 23
        both = b'{"state": "ready", "ssh_port": 23, "connection_port": 24}'
        assert decode_node("1", both).connection_port == 24

    def test_a_single_label_may_be_a_string(self) -> None:
        """As it was before nodes had several."""
        assert decode_node("1", b'{"state": "ready", "type": "small"}').type == ("small",)

    def test_unknown_keys_survive(self) -> None:
        """What a newer version or another program wrote is written back untouched."""
        raw = {**NODE, "from_the_future": {"deep": [1, None]}}
        node = decode_node("1", as_bytes(raw))
        assert node.extra == {"from_the_future": {"deep": [1, None]}}
        changed = attrs.evolve(node, comment="x")
        assert json.loads(encode_node(changed)) == {**raw, "comment": "x"}

    @pytest.mark.parametrize(
        ("typed", "read"), [(90, 90), ("90", 90), (1.9, 1), ("soon", 0), ([], 0), (None, None)]
    )
    def test_hold_times_typed_by_people(self, typed: object, read: int | None) -> None:
        """What is no number means no limit, not a broken record."""
        raw = {**NODE, "hold_expiration": typed}
        assert decode_node("1", as_bytes(raw)).hold_expiration == read

    @pytest.mark.parametrize("state", list(NodeState))
    def test_every_state(self, state: NodeState) -> None:
        """Each is written as Nodepool calls it."""
        node = decode_node("1", as_bytes({**NODE, "state": state.value}))
        assert node.state is state
        assert json.loads(encode_node(node))["state"] == state.value

    def test_a_port_that_is_none(self) -> None:
        """The Kubernetes drivers keep connection data there."""
        port = {"name": "pod", "token": "x"}
        raw = {**NODE, "connection_port": port, "ssh_port": port}
        node = decode_node("1", as_bytes(raw))
        assert json.loads(encode_node(node)) == raw


class TestRequests:
    """Records of requests."""

    def test_reading_and_writing_changes_nothing(self) -> None:
        """Every key of Nodepool 11 comes back as it was, and no other."""
        request = decode_request("200-0000000004", as_bytes(REQUEST))
        assert json.loads(encode_request(request)) == REQUEST

    def test_the_fields(self) -> None:
        request = decode_request("200-0000000004", as_bytes(REQUEST), version=2, mzxid=7)
        assert (request.id, request.version, request.mzxid) == ("200-0000000004", 2, 7)
        assert request.state is RequestState.FULFILLED
        assert request.nodes == ("0000000001", "0000000002")
        assert request.sort_key == ("200", 3, "0000000004")

    def test_what_is_missing_has_nodepools_defaults(self) -> None:
        """Reuse is wanted unless it is refused."""
        request = decode_request("200-1", b'{"state": "requested"}')
        assert (request.reuse, request.relative_priority) == (True, 0)
        assert (request.node_types, request.nodes, request.declined_by) == ((), (), ())

    def test_unknown_keys_survive(self) -> None:
        """Also when the request is changed."""
        raw = {**REQUEST, "span_info": {"trace": 1}}
        request = decode_request("200-1", as_bytes(raw))
        failed = request.in_state(RequestState.FAILED, 5.0)
        assert json.loads(encode_request(failed)) == {**raw, "state": "failed", "state_time": 5.0}

    @pytest.mark.parametrize("name", ["", "200", "200-", "nonsense"])
    def test_names_that_are_no_ids(self, name: str) -> None:
        """Its name says where a request stands in the queue; without that it is none."""
        with pytest.raises(Unreadable, match="name"):
            decode_request(name, as_bytes(REQUEST))


class TestComponents:
    """Records of registered processes and pools."""

    POOL: dict[str, Any] = {
        "hostname": "h",
        "state": "running",
        "kind": "pool",
        "version": "11.0.0",
        "model_api": 0,
        "id": "h-PoolWorker.rack-main-1",
        "name": "main",
        "provider_name": "rack",
        "supported_labels": ["a", "b"],
        "priority": 50,
        "paused": True,
    }

    def test_pools(self) -> None:
        """Read, and written in the same way."""
        pool = decode_component("pool", as_bytes(self.POOL), path="/x")
        assert isinstance(pool, PoolComponent)
        assert pool.supported_labels == {"a", "b"}
        assert (pool.priority, pool.paused, pool.path) == (50, True, "/x")
        assert json.loads(encode_component(pool)) == self.POOL

    def test_launchers(self) -> None:
        """And whatever other kind has no more than the common keys."""
        raw = {k: self.POOL[k] for k in ("hostname", "state", "version", "model_api")}
        raw["kind"] = "launcher"
        found = decode_component("launcher", as_bytes(raw))
        assert found == LauncherComponent(kind="launcher", hostname="h", version="11.0.0")
        assert json.loads(encode_component(found)) == raw

    def test_unknown_keys_survive(self) -> None:
        found = decode_component("pool", as_bytes({**self.POOL, "new": 1}))
        assert json.loads(encode_component(found)) == {**self.POOL, "new": 1}

    def test_a_component_without_state_has_stopped(self) -> None:
        """That is how Nodepool starts them."""
        raw = {k: v for k, v in self.POOL.items() if k != "state"}
        assert decode_component("pool", as_bytes(raw)).state is ComponentState.STOPPED

    @pytest.mark.parametrize("key", ["hostname", "id", "name", "provider_name"])
    def test_what_a_pool_cannot_do_without(self, key: str) -> None:
        raw = {k: v for k, v in self.POOL.items() if k != key}
        with pytest.raises(Unreadable):
            decode_component("pool", as_bytes(raw))


RUBBISH = [
    b"",
    b"not JSON",
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b'"ready"',
    b"17",
    b"{}",
    b'{"state": null}',
    b'{"state": "nonsense"}',
    b'{"state": ["ready"]}',
    b'{"state": {"a": 1}}',
    b"[" * 100_000,
    b'{"state": "ready", "state_time": "noon"}',
    b'{"state": "requested", "state_time": true}',
    b'{"state": "requested", "node_types": {"a": 1}}',
    b'{"state": "requested", "nodes": [1]}',
    b'{"state": "ready", "type": [null]}',
    b'{"state": "ready", "slot": "x"}',
    b'{"state": "ready", "slot": 1e999}',
    b'{"state": "ready", "slot": NaN}',
    b'{"state": "ready", "provider": 7}',
    b'{"state": "ready", "resources": {"cores": "many"}}',
    b'{"state": "ready", "attributes": [1]}',
]


def complaints(data: bytes) -> list[str]:
    """What is said of ``data`` as a node, as a request and as a pool."""
    said: list[str] = []
    for decode in (
        lambda: decode_node("1", data),
        lambda: decode_request("200-1", data),
        lambda: decode_component("pool", data),
    ):
        try:
            decode()
        except Unreadable as e:
            said.append(str(e))
    return said


@pytest.mark.parametrize("data", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_is_unreadable_and_nothing_else(data: bytes) -> None:
    """Whatever is wrong, there is one kind of error, and its text is short."""
    said = complaints(data)
    # Each of these is at best one of the three.
    assert len(said) >= 2
    assert all(0 < len(text) < 200 for text in said)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=6,
)


@given(st.binary(max_size=50) | st.dictionaries(st.sampled_from(sorted(NODE)), ANYTHING))
def test_nothing_but_unreadable_is_raised_for_nodes(value: object) -> None:
    """Any bytes, and any JSON in place of any field; what is read can be written."""
    data = value if isinstance(value, bytes) else as_bytes({"state": "ready", **value})  # type: ignore[dict-item]
    try:
        node = decode_node("1", data)
    except Unreadable:
        return
    again = decode_node("1", encode_node(node))
    assert encode_node(again) == encode_node(node)


@given(st.dictionaries(st.sampled_from(sorted(REQUEST)), ANYTHING))
def test_nothing_but_unreadable_is_raised_for_requests(value: dict[str, object]) -> None:
    """Any JSON in place of any field; what is read has a place in the queue."""
    try:
        request = decode_request("200-1", as_bytes({"state": "requested", **value}))
    except Unreadable:
        return
    assert isinstance(request, NodeRequest)
    assert not isinstance(request.relative_priority, str)
    hash(request.node_types)
    encode_request(request)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_json_in_any_encoding(encoding: str, space: str) -> None:
    """Whatever ``json.loads`` reads is read, with space around it or without."""
    data = f'{space}{{"state": "ready", "comment": "ä"}}{space}'.encode(encoding)
    assert decode_node("1", data).comment == "ä"
    with pytest.raises(Unreadable, match="not JSON"):
        decode_node("1", data + "x".encode(encoding))


#: Anything that a field of a record may hold, of the types that the model names and others.
VALUES = ANYTHING | st.lists(st.text(max_size=5), max_size=3).map(tuple) | st.just(1e300)


@given(
    st.dictionaries(st.sampled_from(sorted(set(NODE) - {"ssh_port", "state"})), VALUES),
    st.sampled_from(NodeState),
    st.dictionaries(st.sampled_from(["az", "ssh_port", "new", "é"]), ANYTHING),
)
def test_nodes_are_written_as_json_dumps_would(
    fields: dict[str, Any], state: NodeState, extra: dict[str, Any]
) -> None:
    """Not a byte differs, in whatever order and however escaped; what is unknown comes last."""
    node = Node(state=state, **fields, extra=extra)
    known = {key: getattr(node, key) for key in NODE if key != "ssh_port"}
    known |= {"state": state.value, "ssh_port": node.connection_port}
    assert list(json.loads(encode_node(Node(state=state)))) == list(known)
    assert encode_node(node) == json.dumps({**known, **extra}).encode()


@given(
    st.dictionaries(st.sampled_from(sorted(set(REQUEST) - {"state"})), VALUES),
    st.sampled_from(RequestState),
    st.dictionaries(st.sampled_from(["nodes", "new", "%s"]), ANYTHING),
)
def test_requests_are_written_as_json_dumps_would(
    fields: dict[str, Any], state: RequestState, extra: dict[str, Any]
) -> None:
    """As nodes are."""
    request = NodeRequest(state=state, **fields, extra=extra)
    known = {key: getattr(request, key) for key in REQUEST} | {"state": state.value}
    assert encode_request(request) == json.dumps({**known, **extra}).encode()


@pytest.mark.parametrize("key", ["state_time", "relative_priority"])
def test_what_cannot_be_unknown(key: str) -> None:
    """None is no time and no priority; elsewhere it is read as what Nodepool 11 makes of it."""
    with pytest.raises(Unreadable):
        decode_request("200-1", as_bytes({**REQUEST, key: None}))
    request = decode_request(
        "200-1",
        as_bytes(
            dict.fromkeys(REQUEST) | {"state": "failed", "state_time": 1, "relative_priority": 2}
        ),
    )
    assert (request.node_types, request.nodes, request.declined_by) == ((), (), ())
    assert (request.reuse, request.provider, request.created_time) == (False, None, None)


@given(st.dictionaries(st.sampled_from(sorted(TestComponents.POOL)), ANYTHING))
def test_nothing_but_unreadable_is_raised_for_components(value: dict[str, object]) -> None:
    """Any JSON in place of any field."""
    try:
        decode_component("pool", as_bytes({**TestComponents.POOL, **value}))
    except Unreadable:
        return


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_priorities_that_cannot_be_sorted(number: float) -> None:
    """A queue needs an order: what has none is no priority."""
    with pytest.raises(Unreadable):
        decode_request("200-1", as_bytes({**REQUEST, "relative_priority": number}))


def test_a_builder_without_a_name_is_not_none() -> None:
    """What was written as an empty text is written as one again, and no formats not at all."""
    data = b'{"state": "ready", "state_time": 1, "builder": "", "formats": ""}'
    build = decode_image_build("i", "b", data)
    assert (build.builder, build.builder_id, build.formats) == ("", None, ())
    written = json.loads(encode_image_build(build))
    assert written["builder"] == ""
    assert set(written) & {"builder_id", "formats"} == set()
