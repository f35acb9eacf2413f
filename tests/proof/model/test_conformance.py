"""What the real services do in memory is a path of the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, StaticProvider
from nodepool_tx.model import NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths
from proof.model.configurations import CHANGES, SERVED, config_of
from proof.model.conformance import View, first_strange, view_of
from proof.model.handing_out import HandingOut
from proof.model.reloading import Reloading
from proof.model.serving import Serving
from proof.model.taking import Taking
from tests.launcher_world import World
from tests.providers.cloud.world import World as CloudWorld
from tests.providers.cloud.world import cloud_provider


def _configuration(provider: StaticProvider) -> Config:
    return Config(providers=FrozenMapping({provider.name: provider}))


class Recording(World):
    """A launcher in memory, and how ZooKeeper looked after each change."""

    def __init__(self, hosts: tuple[str, ...], provider: StaticProvider) -> None:
        super().__init__(hosts)
        self.views: list[View] = []
        self.start(_configuration(provider))
        self.wait(5.0)
        self.inspector.after("*", lambda call: self.look(), times=None)
        self.look()

    def look(self) -> None:
        view = view_of(self.inspector.dump("/nodepool"))
        if not self.views or self.views[-1] != view:
            self.views.append(view)

    def do(self, action: Callable[..., Any], *arguments: Any, **values: Any) -> Any:
        """Something that a client does; the launcher answers to it."""
        result = action(*arguments, **values)
        self.look()
        self.settle()
        return result

    def serve(self, *labels: str, then: Mapping[str, Callable[[], None]] | None = None) -> None:
        """Ask for nodes, use them and give them back.

        :param then: what else is done, by what has just happened.
        """
        also = {"asked": _nothing, "promised": _nothing, "in-use": _nothing, **(then or {})}
        request_id = self.do(self.request, *labels)
        also["asked"]()
        nodes = self.requests()[request_id].nodes
        also["promised"]()
        contenders = [self.do(self.lock, node_id) for node_id in nodes]
        self.do(self.inspector.delete, paths.request(request_id))
        for state in (NodeState.IN_USE, NodeState.USED):
            for node_id in nodes:
                self.do(self.change_node, node_id, state=state)
            if state is NodeState.IN_USE:
                also["in-use"]()
        for contender in contenders:
            self.do(self.inspector.delete, contender)
        self.wait(5.0)


def _nothing() -> None: ...


def _tree(state: Any) -> Any:
    return state.tree


class HandingOutTests(SynchronousTestCase):
    def recording(self) -> Recording:
        labels = {"host-0": "x", "host-1": "x"}
        recording = Recording(tuple(labels), config_of(**labels))
        self.addCleanup(recording.close)
        return recording

    def follow(self, recording: Recording, least: int) -> None:
        self.assertGreater(len(recording.views), least)
        model = HandingOut(launchers=1, losses=0, crashes=0)
        self.assertIsNone(first_strange(model, _tree, recording.views))

    def test_one_node(self) -> None:
        """A node that is handed out, used and returned is a path of the model."""
        recording = self.recording()
        recording.serve("x")
        self.follow(recording, 7)
        self.assertEqual(recording.views[0], recording.views[-1])

    def test_two_nodes(self) -> None:
        """So are two nodes for one request."""
        recording = self.recording()
        recording.serve("x", "x")
        self.follow(recording, 10)

    def test_one_after_the_other(self) -> None:
        """So are a request for one node and then one for two."""
        recording = self.recording()
        recording.serve("x")
        recording.serve("x", "x")
        self.follow(recording, 17)

    def test_cancelled(self) -> None:
        """Nodes of a request that is cancelled when it is fulfilled go back, as in the model."""
        recording = self.recording()
        request_id = recording.do(recording.request, "x", "x")
        recording.do(recording.inspector.delete, paths.request(request_id))
        recording.wait(5.0)
        self.follow(recording, 4)

    def test_what_never_happens(self) -> None:
        """A node that is used without being promised is no path of the model."""
        recording = self.recording()
        (node_id, _) = recording.nodes()
        recording.do(recording.change_node, node_id, state=NodeState.IN_USE)
        model = HandingOut(launchers=1, losses=0, crashes=0)
        self.assertEqual(first_strange(model, _tree, recording.views), 1)


class ReloadingTests(SynchronousTestCase):
    def follow(self, change: str) -> Recording:
        old, new = CHANGES[change]
        recording = Recording(("a", "b"), old)
        self.addCleanup(recording.close)
        recording.process.reloader.apply(_configuration(new))
        recording.settle()
        recording.wait(5.0)
        model = Reloading(change, launchers=1, users=0, losses=0)
        self.assertIsNone(first_strange(model, _tree, recording.views))
        return recording

    def test_changed(self) -> None:
        """A reload that changes a node's labels is a path of the model."""
        self.assertEqual(len(self.follow("a node changed").views), 2)

    def test_removed(self) -> None:
        """So is one that takes a node away."""
        self.assertEqual(len(self.follow("a node removed").views), 2)

    def test_added(self) -> None:
        """So is one that adds a node."""
        self.assertEqual(len(self.follow("a node added").views), 2)

    def test_nothing(self) -> None:
        """One that changes nothing but the order changes nothing in ZooKeeper."""
        self.assertEqual(len(self.follow("nothing changed").views), 1)


class ServingTests(SynchronousTestCase):
    def follow(self, change: str, *labels: str, at: str) -> Recording:
        """Serve a request, with the reload when the job has come to this point."""
        old, new = SERVED[change]
        recording = Recording(("a", "b"), old)
        self.addCleanup(recording.close)

        def reload() -> None:
            recording.process.reloader.apply(_configuration(new))
            recording.settle()

        recording.serve(*labels, then={at: reload})
        self.assertEqual(recording.process.reloader.config, _configuration(new))
        model = Serving(change, launchers=1, wants=(len(labels),), losses=0)
        self.assertIsNone(first_strange(model, _tree, recording.views))
        return recording

    def test_promised(self) -> None:
        """A reload that changes nodes which are promised is a path of the model."""
        self.assertGreater(len(self.follow("a label added", "x", "x", at="promised").views), 10)

    def test_in_use(self) -> None:
        """So is one that takes a node away which is in use."""
        recording = self.follow("a node removed", "x", "x", at="in-use")
        self.assertEqual(len(recording.nodes()), 1)

    def test_waiting(self) -> None:
        """So is one that brings the node for which a request waits."""
        recording = self.follow("a node added", "x", "x", at="asked")
        self.assertEqual(len(recording.nodes()), 2)

    def test_what_never_happens(self) -> None:
        """A reload that takes a node away is no path of the model of one that keeps it."""
        recording = self.follow("a node removed", "x", at="in-use")
        model = Serving("a label added", launchers=1, wants=(1,), losses=0)
        self.assertIsNotNone(first_strange(model, _tree, recording.views))


class TakingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = world = CloudWorld()
        self.addCleanup(world.close)
        world.launcher().provide(cloud_provider("x", name="rack"))
        self.views: list[View] = []
        world.inspector.after("*", lambda call: self.look(), times=None)
        self.look()

    def look(self) -> None:
        view = view_of(self.world.inspector.dump("/nodepool"))
        if not self.views or self.views[-1] != view:
            self.views.append(view)

    def do(self, action: Callable[..., Any], *arguments: Any, **values: Any) -> Any:
        result = action(*arguments, **values)
        self.look()
        self.world.settle()
        return result

    def ask(self, *labels: str) -> str:
        found: NodeRequest = self.do(self.world.request, *labels, state=RequestState.REQUESTED)
        return found.id

    def follow(self, labels: int) -> None:
        model = Taking(stock=0, launchers=1, wants=(labels,), losses=0)
        self.assertIsNone(first_strange(model, _tree, self.views))

    def serve(self, *labels: str) -> None:
        """Ask for nodes that have to be made, use them and give them back."""
        world = self.world
        request_id = self.ask(*labels)
        world.wait(60.0)
        nodes = list(world.nodes())
        for node_id in nodes:
            self.do(world.lock, node_id)
        self.do(world.inspector.delete, paths.request(request_id))
        for state in (NodeState.IN_USE, NodeState.USED):
            for node_id in nodes:
                self.do(world.change_node, node_id, state=state)
        for node_id in nodes:
            self.do(world.unlock, node_id)
        world.wait(60.0)
        self.assertEqual(world.nodes(), {})

    def test_one_node(self) -> None:
        """A node that is made for a request, used and removed is a path of the model."""
        self.serve("x")
        self.assertGreater(len(self.views), 12)
        self.follow(1)

    def test_two_nodes(self) -> None:
        """So are two nodes for one request."""
        self.serve("x", "x")
        self.assertGreater(len(self.views), 18)
        self.follow(2)

    def test_cancelled(self) -> None:
        """So is a request that is cancelled while its nodes are made."""
        request_id = self.ask("x", "x")
        self.world.wait(5.0)
        self.do(self.world.inspector.delete, paths.request(request_id))
        self.world.wait(120.0)
        self.follow(2)

    def test_what_never_happens(self) -> None:
        """A node that is ready without having been built is no path of the model."""
        self.serve("x")
        self.views = [
            (nodes, requests)
            for nodes, requests in self.views
            if not any(NodeState.BUILDING in node for node in nodes)
        ]
        model = Taking(stock=0, launchers=1, wants=(1,), losses=0)
        self.assertEqual(first_strange(model, _tree, self.views), 4)
