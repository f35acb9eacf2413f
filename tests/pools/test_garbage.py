"""Nonsense in ZooKeeper: the pool leaves it alone and goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nodepool_tx.model import Node, NodeRequest, NodeState, PoolComponent, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_component, encode_node, encode_request
from tests.pools.harness import PoolTestCase

#: What may stand in a field by mistake or malice.
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**400,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "\x00\ud800 {format} %s",
    "x" * 10_000,
    [],
    [None],
    ["a", 1],
    [[]],
    {},
    {"a": {}},
)

#: What may stand in a znode instead of a record.
BODIES = (
    b"",
    b" ",
    b"\x00",
    b"\xff\xfe{",
    b"null",
    b"3",
    b'"text"',
    b"[]",
    b"[{}]",
    b"{",
    b"{}",
    b'{"state": "ready"}',
    b'{"state": "requested"}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"x" * 1_000_000,
    b'{"type": ["' + b"a" * 900_000 + b'"]}',
    b"9" * 5000,
)


def with_each_field_spoiled(record: bytes) -> Iterator[bytes]:
    """The record with each value in turn in each of its fields."""
    fields = json.loads(record)
    for key in fields:
        for value in VALUES:
            yield json.dumps({**fields, key: value}).encode()
        yield json.dumps({name: fields[name] for name in fields if name != key}).encode()


NODE = encode_node(
    Node(
        state=NodeState.READY,
        state_time=1.0,
        provider="rack",
        pool="main",
        type=("a",),
        tenant_name="u",
        resources={"instances": 1},
        attributes={"key": "value"},
        host_keys=("ssh-ed25519 AAAA",),
        slot=0,
    )
)
REQUEST = encode_request(
    NodeRequest(
        state=RequestState.REQUESTED,
        state_time=1.0,
        created_time=1.0,
        node_types=("a",),
        tenant_name="t",
        event_id="e",
    )
)
COMPONENT = encode_component(
    PoolComponent(
        id="id",
        name="main",
        provider_name="elsewhere",
        hostname="h",
        supported_labels=frozenset("a"),
        priority=200,
    )
)


class GarbageTests(PoolTestCase):
    """The pool that is watched has label g, which no nonsense mentions."""

    labels = frozenset("ag")

    def setUp(self) -> None:
        super().setUp()
        self.limits.limits = {"t": {"instances": 100}}

    def assert_goes_on(self) -> None:
        """A request like any other is served as before, and one is declined as before."""
        node_id = self.add_node("g")
        request_id, unknown = self.add_request("g", tenant_name="t"), self.add_request("unknown")
        self.settle()
        self.assert_served(request_id, node_id)
        self.assertEqual(self.request(unknown).declined_by, (self.pool_id,))
        self.use_and_return(request_id)
        self.delete(paths.request(unknown))
        self.delete(paths.node(node_id))
        self.settle()

    def test_nodes(self) -> None:
        """Node znodes with nonsense, whole or in any one field."""
        bodies = (*BODIES, *with_each_field_spoiled(NODE))
        for body in bodies:
            self.inspector.create(f"{paths.NODES}/", body, sequence=True)
        self.settle()
        self.assert_goes_on()
        # And what serves from it, if anything, is a node with label a.
        request_id = self.add_request("a")
        self.settle()
        self.assert_served(request_id)

    def test_requests(self) -> None:
        """Request znodes with nonsense, whole or in any one field, fill the queue."""
        for body in (*BODIES, *with_each_field_spoiled(REQUEST)):
            self.inspector.create(f"{paths.REQUESTS}/100-", body, sequence=True)
        self.settle()
        self.assert_goes_on()
        for request in tuple(self.store.requests):
            self.pool.why(request.id)
        # Those that can be understood are served as nodes come.
        for _ in range(50):
            self.add_node("a")
        self.settle()
        self.assertGreater(self.pool.statistics.served, 50)
        self.assert_goes_on()

    def test_request_names(self) -> None:
        """Requests whose names are not what names should be."""
        for name in ("x", "-", "100-", "-1", "a-b", "100-1-2", "100-é\ud7ff", "{x}-{y}", "%s-%d"):
            self.inspector.create(f"{paths.REQUESTS}/{name}", REQUEST)
        self.settle()
        self.assert_goes_on()
        for _ in range(20):
            self.add_node("a")
        self.settle()
        self.assert_goes_on()

    def test_components(self) -> None:
        """Component znodes with nonsense, whole or in any one field."""
        for kind in ("pool", "launcher", "unknown-kind"):
            for body in (*BODIES, *with_each_field_spoiled(COMPONENT)):
                prefix = f"{paths.COMPONENTS}/{kind}/x"
                self.inspector.create(prefix, body, owner=self.stranger, sequence=True)
        self.settle()
        self.assert_goes_on()

    def test_foreign_znodes(self) -> None:
        """Znodes where none belong: deeper, beside, and with odd names."""
        node_id, request_id = self.add_node("a"), self.add_request("x")
        for path in (
            f"{paths.NODES}/{node_id}/other",
            f"{paths.NODES}/{node_id}/lock/directory/below",
            f"{paths.NODES}/not a number/lock/x",
            f"{paths.NODES}/{{node_id}}",
            f"{paths.REQUESTS}/{request_id}/below",
            f"{paths.REQUEST_LOCKS}/nothing-there/contender/below",
            f"{paths.REQUEST_LOCKS}/100-é",
            f"{paths.COMPONENTS}/pool/a/b/c",
            f"{paths.COMPONENTS}/beside",
            f"{paths.OWNERS}/rack/foreign",
            f"{paths.ROOT}/foreign/tree",
        ):
            self.inspector.create(path, b"{}")
        self.settle()
        self.assert_goes_on()

    def test_missing_roots(self) -> None:
        """Even a root that somebody removes is no end: it is made again."""
        for root in (paths.REQUESTS, paths.NODES, paths.REQUEST_LOCKS, paths.COMPONENTS):
            self.delete(root)
            self.settle()
            self.assertIsNotNone(self.inspector.stat(root))
        self.assert_goes_on()

    def test_good_turns_bad_and_good_again(self) -> None:
        """A record that was damaged counts again when it was repaired."""
        node_id, request_id = self.add_node("a"), self.add_request("g")
        self.settle()
        for body in BODIES:
            self.inspector.set(paths.node(node_id), body)
            self.inspector.set(paths.request(request_id), body)
            self.settle()
            other = self.add_request("a")
            self.settle()
            self.assert_waits(other)
            self.delete(paths.request(other))
        self.inspector.set(paths.node(node_id), NODE)
        self.inspector.set(paths.request(request_id), REQUEST)
        self.settle()
        self.assert_served(request_id, node_id)

    def test_absurdly_large_request(self) -> None:
        """A request for a hundred thousand nodes waits like any other that is too large."""
        huge = self.add_request(*["a"] * 100_000)
        self.settle()
        self.assert_waits(huge)
        self.assert_goes_on()
        self.clock.advance(10_000)
        self.assert_goes_on()
