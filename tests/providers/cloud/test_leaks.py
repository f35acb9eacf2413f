"""What was left over is removed when it was seen twice, and nothing else ever."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.cloud.interface import (
    BUILD_ID,
    NODE_ID,
    PROVIDER_NAME,
    UPLOAD_ID,
    Resource,
)
from nodepool_tx.providers.cloud.leaks import Leaks, why_leaked
from nodepool_tx.providers.cloud.memory import MemoryAdapter, MemoryCloud
from nodepool_tx.providers.cloud.pacing import Calls, Pacer

OURS = {PROVIDER_NAME: "cloud"}


@attrs.define
class Records:
    """What is in use, as a test has it."""

    current: bool = True
    nodes: dict[str, Node] = attrs.field(factory=dict)
    uploads: set[tuple[str, str]] = attrs.field(factory=set)

    def node(self, node_id: str) -> Node | None:
        return self.nodes.get(node_id)

    def has_upload(self, build_id: str, upload_id: str) -> bool:
        return (build_id, upload_id) in self.uploads

    def add(self, node_id: str, external_id: str | None, state: NodeState, **fields: Any) -> None:
        fields = {"provider": "cloud", **fields}
        self.nodes[node_id] = Node(id=node_id, external_id=external_id, state=state, **fields)


def of_node(node_id: str, kind: str = "instance", external_id: str = "s1") -> Resource:
    return Resource(kind=kind, external_id=external_id, metadata={**OURS, NODE_ID: node_id})


class WhyLeakedTests(SynchronousTestCase):
    """What counts as left over."""

    def setUp(self) -> None:
        self.records = Records()

    def why(self, resource: Resource) -> str | None:
        return why_leaked(resource, "cloud", self.records)

    def test_of_a_node_that_is_not_there(self) -> None:
        """Whatever was made for it is leaked."""
        for kind in ("instance", "port", "volume"):
            self.assertEqual(self.why(of_node("1", kind)), "there is no node 1")

    def test_of_a_node_that_is_there(self) -> None:
        """The node's own server is not leaked, nor anything else made for it."""
        self.records.add("1", "s1", NodeState.IN_USE)
        self.assertIsNone(self.why(of_node("1")))
        self.assertIsNone(self.why(of_node("1", "port", "p1")))

    def test_a_second_server(self) -> None:
        """A server of a node that has another one is leaked, also while that is being built."""
        for state in (NodeState.READY, NodeState.BUILDING):
            self.records.add("1", "s1", state)
            self.assertEqual(self.why(of_node("1", external_id="s2")), "node 1 has server s1")

    def test_a_server_whose_id_is_not_written_yet(self) -> None:
        """It may have just been asked for, or be on its way out together with the node."""
        for state in (NodeState.INIT, NodeState.BUILDING, NodeState.DELETING):
            self.records.add("1", None, state)
            self.assertIsNone(self.why(of_node("1")))
        self.records.add("1", None, NodeState.FAILED)
        self.assertEqual(self.why(of_node("1")), "node 1 is failed and has no server")

    def test_of_another_providers_node(self) -> None:
        """A node of the same number elsewhere is not the one it was made for."""
        self.records.add("1", "s1", NodeState.READY, provider="other")
        self.assertEqual(self.why(of_node("1")), "node 1 is of provider other")

    def test_uploads(self) -> None:
        """An image is leaked when its upload is not there."""
        image = Resource(
            kind="image", external_id="i", metadata={**OURS, BUILD_ID: "b", UPLOAD_ID: "u"}
        )
        self.assertEqual(self.why(image), "there is no upload u of build b")
        self.records.uploads.add(("b", "u"))
        self.assertIsNone(self.why(image))

    def test_orphans(self) -> None:
        """An orphan is leaked, unless it says that it is another provider's."""
        orphan = Resource(kind="port", external_id="p", orphan=True)
        self.assertEqual(self.why(orphan), "nothing uses it")
        self.assertEqual(self.why(attrs.evolve(orphan, metadata=OURS)), "nothing uses it")
        self.assertIsNone(self.why(attrs.evolve(orphan, metadata={PROVIDER_NAME: "other"})))

    def test_what_does_not_say_what_it_is_for(self) -> None:
        """Things of ours that are for no node and no upload are left alone."""
        for metadata in (OURS, {**OURS, BUILD_ID: "b"}, {**OURS, UPLOAD_ID: "u"}):
            self.assertIsNone(self.why(Resource(kind="x", external_id="x", metadata=metadata)))


METADATA = st.fixed_dictionaries(
    {},
    optional={
        PROVIDER_NAME: st.sampled_from(["cloud", "other"]),
        NODE_ID: st.sampled_from(["1", "2", "3"]),
        BUILD_ID: st.just("b"),
        UPLOAD_ID: st.sampled_from(["u", "v"]),
    },
)


@given(
    things=st.lists(st.tuples(METADATA, st.booleans(), st.booleans()), max_size=12),
    known=st.lists(st.sampled_from([True, False]), min_size=1, max_size=6),
)
def test_nothing_of_others_is_ever_removed(
    things: list[tuple[dict[str, str], bool, bool]], known: list[bool]
) -> None:
    """Whatever is in the account and however the records come and go.

    Only what is ours or an orphan is removed, and only what was leaked in two
    sweeps in a row, with the records known in both.
    """
    clock = Clock()
    cloud = MemoryCloud(clock)
    records = Records(uploads={("b", "u")})
    records.add("1", "elsewhere", NodeState.READY)
    records.add("2", None, NodeState.BUILDING)
    leaks = Leaks("cloud", MemoryAdapter(cloud), Calls(clock, Pacer(clock, 0), "cloud"), records)
    for metadata, orphan, is_server in things:
        if is_server:
            cloud.add_unmanaged("pet", **metadata)
        else:
            cloud.leave("port", orphan=orphan, **metadata)
    before = {resource.external_id: resource for resource in cloud.resources()}
    leaked = {
        external_id
        for external_id, resource in before.items()
        if why_leaked(resource, "cloud", records)
    }
    for current in known:
        records.current = current
        Deferred.fromCoroutine(leaks.sweep())
    left = {resource.external_id for resource in cloud.resources()}
    removed = set(before) - left
    twice = any(a and b for a, b in itertools.pairwise(known))
    assert removed == (leaked if twice else set())
    for external_id in removed:
        resource = before[external_id]
        owner = resource.metadata.get(PROVIDER_NAME)
        assert owner == "cloud" or (owner is None and resource.orphan)


class LeaksTests(SynchronousTestCase):
    """Sweeps."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cloud = MemoryCloud(self.clock)
        self.records = Records()
        calls = Calls(self.clock, Pacer(self.clock, 0), "cloud")
        self.leaks = Leaks("cloud", MemoryAdapter(self.cloud), calls, self.records)

    def sweep(self, **options: Any) -> None:
        sweep: Coroutine[Any, Any, None] = self.leaks.sweep(**options)
        self.successResultOf(Deferred.fromCoroutine(sweep))

    def left(self) -> list[str]:
        return [resource.external_id for resource in self.cloud.resources()]

    def test_seen_twice(self) -> None:
        """What is left over is removed by the second sweep that sees it, and counted."""
        server = self.cloud.add_unmanaged("np1", **OURS, **{NODE_ID: "1"})
        port = self.cloud.leave("port", **OURS, **{NODE_ID: "1"})
        self.sweep()
        self.assertEqual(self.left(), [server, port.external_id])
        self.assertEqual(self.leaks.removed, {})
        self.assertEqual({r.external_id for r in self.leaks.suspects}, {server, port.external_id})
        self.sweep()
        self.assertEqual(self.left(), [])
        self.assertEqual(self.leaks.removed, {"instance": 1, "port": 1})
        self.assertIsNone(self.leaks.trouble)

    def test_seen_twice_with_a_pause_between(self) -> None:
        """What was in use between two sweeps must be seen twice anew."""
        port = self.cloud.leave("port", **OURS, **{NODE_ID: "1"})
        self.sweep()
        self.records.add("1", "s1", NodeState.READY)
        self.sweep()
        self.records.nodes.clear()
        self.sweep()
        self.assertEqual(self.left(), [port.external_id])
        self.sweep()
        self.assertEqual(self.left(), [])

    def test_records_that_are_not_current(self) -> None:
        """While ZooKeeper's contents are not known nothing is asked and nothing suspected."""
        self.cloud.leave("port", **OURS, **{NODE_ID: "1"})
        self.sweep()
        self.records.current = False
        self.sweep()
        self.assertEqual(self.cloud.calls["list_resources"], 1)
        self.records.current = True
        self.sweep()
        self.assertEqual(len(self.left()), 1)

    def test_errors(self) -> None:
        """A removal that fails is shown, harms no other, and is tried again."""
        for _ in range(2):
            self.cloud.leave("port", **OURS, **{NODE_ID: "1"})
        self.sweep()
        self.cloud.fail_next("delete_resource", CloudError("in use"))
        self.sweep()
        (left,) = self.left()
        self.assertEqual(self.leaks.trouble, f"port {left} cannot be removed: in use")
        self.sweep()
        self.assertEqual((self.left(), self.leaks.trouble), ([], None))
        self.assertEqual(self.leaks.removed, {"port": 2})

    def test_what_is_gone_already(self) -> None:
        """Somebody else was faster: neither trouble nor counted."""
        self.cloud.leave("port", **OURS, **{NODE_ID: "1"})
        self.sweep()
        self.cloud.fail_next("delete_resource", Gone("gone"))
        self.sweep()
        self.assertEqual((self.leaks.trouble, self.leaks.removed), (None, {}))

    def test_a_sweep_that_fails(self) -> None:
        """When the cloud does not answer the sweep fails, and the next goes on from the last."""
        self.cloud.leave("port", **OURS, **{NODE_ID: "1"})
        self.sweep()
        self.cloud.fail_next("list_resources", CloudError("down"))
        self.failureResultOf(Deferred.fromCoroutine(self.leaks.sweep()), CloudError)
        self.sweep()
        self.assertEqual(self.left(), [])

    def test_ending_a_sweep(self) -> None:
        """No removal begins when it is not wanted any more."""
        self.cloud.leave("port", **OURS, **{NODE_ID: "1"})
        self.sweep()
        self.sweep(go_on=lambda: False)
        self.assertEqual(len(self.left()), 1)

    def test_used_again_meanwhile(self) -> None:
        """What turns out to be in use while others are removed is left alone."""
        for node_id in ("1", "2"):
            self.cloud.leave("port", **OURS, **{NODE_ID: node_id})
        self.sweep()

        def go_on() -> bool:
            self.records.add("2", "s2", NodeState.READY)
            return True

        self.sweep(go_on=go_on)
        self.assertEqual(self.leaks.removed, {"port": 1})
