"""Whatever happens in whatever order: no slot is given twice, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.store import paths
from nodepool_tx.testing.zookeeper import ServerCall
from tests.providers.cloud.world import Launcher
from tests.providers.metastatic.stage import MetaWorld, meta_label, meta_provider

LABEL = meta_label(max_parallel_jobs=2, grace_time=30)

#: One thing that happens, and which of those that it could happen to.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("ask", "ask", "ask two", "use", "use", "give back", "give back"),
                *("wait", "wait", "wait long", "kill", "cut", "suspend", "resume"),
                *("delete backing", "withdraw", "fail boots", "delete part"),
            )
        ),
        st.integers(0, 5),
    ),
    max_size=25,
)


class Story:
    """Two launchers and their clients."""

    def __init__(self) -> None:
        self.world = MetaWorld()
        self.started = 0
        self.asked: list[str] = []
        self.used: list[str] = []
        self.begin()
        self.begin()

    def begin(self) -> None:
        self.started += 1
        self.world.both(f"l{self.started}", meta_provider(LABEL))

    def close(self) -> None:
        """Stop everything, and see that nothing failed unexpectedly."""
        world = self.world
        world.close()
        for launcher in world.launchers:
            world.inspector.resume(launcher.client)
            launcher.stop()
        world.settle()
        world.wait(16)
        assert world.failures == [], world.failures[0]

    # -- steps -----------------------------------------------------------

    def step(self, what: str, which: int) -> None:
        world = self.world
        launcher = world.launchers[which % len(world.launchers)]
        if what == "ask":
            self.asked.append(world.ask(1))
        elif what == "ask two":
            self.asked.append(world.ask(2))
        elif what == "use":
            self.use()
        elif what == "give back" and self.used:
            self.give_back(self.used.pop(which % len(self.used)))
        elif what == "wait":
            world.wait(1 + which)
        elif what == "wait long":
            world.wait(40)
        elif what == "kill":
            world.kill(launcher)
            self.begin()
        elif what == "cut":
            world.inspector.cut(launcher.client, executes=which)
        elif what == "suspend":
            world.inspector.suspend(launcher.client, executes=which)
        elif what == "resume":
            world.inspector.resume(launcher.client)
        elif what == "delete backing" and (big := world.of("cloud")):
            self.delete_backing(big[which % len(big)].id)
        elif what == "withdraw" and self.asked:
            request = self.asked.pop(which % len(self.asked))
            world.inspector.delete_tree(paths.request(request))
        elif what == "fail boots":
            world.cloud.fail_boot(CloudError("no power"), times=which)
        elif what == "delete part":
            ready = [node.id for node in world.of("meta") if node.state is NodeState.READY]
            for node_id in ready[which : which + 1]:
                world.change_node(node_id, state=NodeState.DELETING)
        world.settle()

    def use(self) -> None:
        """Take what was given, as Zuul does."""
        for request_id in tuple(self.asked):
            request = self.world.requests().get(request_id)
            if request is None or request.state is RequestState.FAILED:
                self.asked.remove(request_id)
                if request is not None:
                    self.world.inspector.delete_tree(paths.request(request_id))
            elif request.state is RequestState.FULFILLED:
                nodes = self.world.nodes()
                self.asked.remove(request_id)
                for node_id in request.nodes:
                    if node_id in nodes and nodes[node_id].state is NodeState.READY:
                        self.world.use(node_id)
                        self.used.append(node_id)
                self.world.inspector.delete_tree(paths.request(request_id))

    def give_back(self, node_id: str) -> None:
        assert node_id in self.world.nodes(), "a node in use was removed"
        self.world.give_back(node_id)

    def delete_backing(self, node_id: str) -> None:
        """Remove a backing node that nobody uses, behind everybody's back."""
        record = self.world.record_of(node_id)
        if record is not None and record.empty:
            self.world.inspector.delete_tree(paths.node(node_id))

    # -- the end ---------------------------------------------------------

    def end(self) -> None:
        """Everything is given back and works again: all of it goes."""
        world = self.world
        for launcher in world.launchers:
            world.inspector.resume(launcher.client)
        world.wait(20)
        for _ in range(10):
            self.use()
            world.wait(20)
        for node_id in self.used:
            self.give_back(node_id)
        for request_id in self.asked:
            world.inspector.delete_tree(paths.request(request_id))
        for _ in range(10):
            world.wait(60, step=5)
            # What was made for nobody stays in stock.
            for node in (*world.of("meta"), *world.of("cloud")):
                if node.state is NodeState.READY and not world.locked(node.id):
                    world.change_node(node.id, state=NodeState.DELETING)
        assert world.nodes() == {}
        assert world.table() == {}
        assert world.asked_for() == []
        assert not world.cloud.servers


@example([("ask", 0), ("fail boots", 5), ("ask two", 0), ("ask", 0), ("fail boots", 2)])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_schedules(steps: list[tuple[str, int]]) -> None:
    """No slot is given twice, nothing is forgotten, and in the end everything is gone."""
    story = Story()
    try:
        for what, which in steps:
            story.step(what, which)
            story.world.check()
        story.end()
    finally:
        story.close()


def life(story: Story) -> None:
    """Three nodes, which need two backing nodes, from request to release."""
    world = story.world
    for _ in range(3):
        story.asked.append(world.ask())
    for _ in range(60):
        world.wait(2)
        world.check()
        story.use()
    for node_id in story.used:
        story.give_back(node_id)
        world.wait(2)
        world.check()
    story.used = []
    world.wait(60)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(10))
def test_killed_at_every_step(number: int, when: str) -> None:
    """A launcher that dies with any write to the table leaves to the other what is to be done."""
    story = Story()
    world = story.world
    writes = [0]

    def dying(launcher: Launcher) -> Callable[[ServerCall], None]:
        def die(call: ServerCall) -> None:
            writes[0] += 1
            if writes[0] == number + 1:
                world.inspector.suspend(launcher.client)

        return die

    try:
        stage = world.inspector.before if when == "before" else world.inspector.after
        for launcher in world.launchers:
            stage(
                "transaction",
                dying(launcher),
                path=lambda path: "/metastatic/" in path,
                client=launcher.client,
                times=None,
            )
        life(story)
        world.wait(20)
        for launcher in world.launchers:
            world.inspector.resume(launcher.client)
        assert writes[0] > number
        story.end()
    finally:
        story.close()
