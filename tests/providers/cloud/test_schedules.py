"""Whatever happens, in the end every node has its server, and every server its node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nodepool_tx.model import NodeState
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from nodepool_tx.providers.cloud.memory_cloud import Timing
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.store import paths
from tests.providers.cloud.world import Launcher, World, cloud_provider

#: What can go wrong with a call.
ERRORS: dict[str, Callable[[], CloudError]] = {
    "broken": lambda: CloudError("broken"),
    "quota": lambda: OverQuota("cores"),
    "capacity": lambda: NoCapacity("full"),
    "later": lambda: RetryLater("slow down", 3.0),
    "invalid": lambda: InvalidConfiguration("no such flavor"),
}

#: What a launcher lives through without the node's lock being taken from it.
ORDINARY = {
    "wait": st.sampled_from([0.25, 0.5, 1.0, 5.0, 20.0, 70.0]),
    "order": st.integers(0, 1),
    "use": st.integers(0, 5),
    "give_back": st.integers(0, 5),
    "fail_create": st.sampled_from([*ERRORS, "done"]),
    "hang_create": st.booleans(),
    "fail_boot": st.sampled_from(["broken", "quota", "capacity"]),
    "fail_call": st.sampled_from(["delete", "finish", "list_instances"]),
    "ignore_deletion": st.just(0),
    "deaf": st.integers(1, 2),
    "lose_server": st.integers(0, 5),
    "set_deleting": st.integers(0, 5),
    "cut": st.integers(0, 1),
    "restart": st.integers(0, 1),
}

#: What takes locks away, or records.
VIOLENT = {
    "remove_node": st.integers(0, 5),
    "steal_lock": st.integers(0, 5),
    "expire": st.integers(0, 1),
    "hang": st.integers(0, 1),
}


def steps(
    kinds: dict[str, st.SearchStrategy[Any]],
) -> st.SearchStrategy[list[tuple[str, Any]]]:
    """Some of these in any order."""
    some = [st.tuples(st.just(name), values) for name, values in kinds.items()]
    return st.lists(st.one_of(some), max_size=25)


class Schedule:
    """A world with two launchers, and what is done to it."""

    def __init__(self) -> None:
        self.world = World(Timing(answer=0.5, boot=20.0, delete=5.0), zones=("z1", "z2"))
        self.names = 0
        self.services: list[tuple[Launcher, CloudProviderService]] = []
        self.used: list[str] = []
        for _ in range(2):
            self.start()
        self.world.wait(5)

    def start(self) -> None:
        self.names += 1
        launcher = self.world.launcher(f"l{self.names}")
        self.services.append((launcher, launcher.provide(cloud_provider(launch_timeout=60.0))))

    def a_node(self, number: int) -> str | None:
        ids = sorted(self.world.nodes())
        return ids[number % len(ids)] if ids else None

    def do(self, step: str, value: Any) -> None:
        getattr(self, f"do_{step}")(value)
        self.world.settle()

    def do_wait(self, seconds: float) -> None:
        self.world.wait(seconds, step=0.5)

    def do_order(self, number: int) -> None:
        launcher, service = self.services[number]
        if launcher.store.current and service.making.needs("main", "small") is not None:
            self.world.order(service)

    def do_use(self, number: int) -> None:
        node_id = self.a_node(number)
        if node_id is None or self.world.locked(node_id):
            return
        if self.world.node(node_id).state is NodeState.READY:
            self.world.use(node_id)
            self.used.append(node_id)

    def do_give_back(self, number: int) -> None:
        if self.used:
            node_id = self.used.pop(number % len(self.used))
            if node_id in self.world.nodes():
                self.world.give_back(node_id)

    def do_fail_create(self, name: str) -> None:
        if name == "done":
            self.world.cloud.fail_next("create", CloudError("no answer"), done=True)
        else:
            self.world.cloud.fail_next("create", ERRORS[name]())

    def do_hang_create(self, done: bool) -> None:
        self.world.cloud.hang_next("create", done=done)

    def do_fail_boot(self, name: str) -> None:
        self.world.cloud.fail_boot(ERRORS[name]())

    def do_fail_call(self, method: str) -> None:
        self.world.cloud.fail_next(method, CloudError("503"))

    def do_ignore_deletion(self, _: int) -> None:
        self.world.cloud.ignore_deletion()

    def do_deaf(self, times: int) -> None:
        self.world.scanner.deaf += times

    def do_lose_server(self, number: int) -> None:
        servers = sorted(self.world.cloud.servers)
        if servers:
            self.world.cloud.lose_server(servers[number % len(servers)])

    def do_remove_node(self, number: int) -> None:
        node_id = self.a_node(number)
        if node_id is not None:
            self.world.inspector.delete_tree(paths.node(node_id))

    def do_steal_lock(self, number: int) -> None:
        node_id = self.a_node(number)
        if node_id is not None and node_id not in self.used:
            for path in self.world.inspector.dump(f"{paths.node_lock(node_id)}/"):
                self.world.inspector.delete(path)

    def do_set_deleting(self, number: int) -> None:
        node_id = self.a_node(number)
        if node_id is not None and node_id not in self.used:
            self.world.change_node(node_id, state=NodeState.DELETING)

    def do_expire(self, number: int) -> None:
        self.world.inspector.expire(self.services[number][0].client)

    def do_cut(self, number: int) -> None:
        self.world.inspector.cut(self.services[number][0].client, executes=1)

    def do_hang(self, number: int) -> None:
        client = self.services[number][0].client
        self.world.inspector.suspend(client, executes=1)
        self.world.wait(12.0)
        self.world.inspector.resume(client)

    def do_restart(self, number: int) -> None:
        launcher, _ = self.services.pop(number)
        stopped = launcher.stop()
        self.world.wait(15.0)
        assert stopped.called
        self.world.launchers.remove(launcher)
        self.start()

    # -- what must hold --------------------------------------------------

    def check(self) -> None:
        """At no time is a node ready without a server of its own."""
        assert not self.world.failures, self.world.failures[0]
        ready = [
            node.external_id
            for node in self.world.nodes().values()
            if node.state in (NodeState.READY, NodeState.IN_USE)
        ]
        assert None not in ready
        assert len(set(ready)) == len(ready), "two nodes have one server"

    def end(self) -> None:
        """End all trouble, wait, and see that everything has found its end."""
        world = self.world
        world.scanner.deaf = 0
        while self.used:
            self.do_give_back(0)
        world.wait(1500.0, step=5.0)
        self.check()
        nodes, servers = world.nodes(), world.cloud.servers
        lost = {n.id for n in nodes.values() if str(n.external_id) not in servers}
        assert {node.state for node in nodes.values()} <= {NodeState.READY}, nodes
        assert not [node_id for node_id in nodes if world.locked(node_id)]
        known = {str(node.external_id) for node in nodes.values()}
        assert set(servers) == known - {str(nodes[i].external_id) for i in lost}, "leaked servers"
        for _, service in self.services:
            status = service.status()
            assert (status.details["launching"], status.details["deleting"]) == (0, 0), status.tasks
        assert sum(service.owner for _, service in self.services) == 1

    def close(self) -> None:
        for launcher in self.world.launchers:
            stopped = launcher.stop()
            self.world.wait(6.0)
            assert stopped.called
        self.world.visitor.close()
        self.world.settle()
        self.world.close()
        assert self.world.clock.getDelayedCalls() == []


FEW = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


def run(steps: list[tuple[str, Any]]) -> int:
    """Do all of it; returns how much was left over and swept up."""
    schedule = Schedule()
    try:
        for step, value in steps:
            schedule.do(step, value)
            schedule.check()
        schedule.end()
        removed = [service.status().details["leaks_removed"] for _, service in schedule.services]
        return sum(sum(each.values()) for each in removed)
    finally:
        schedule.close()


@given(steps({**ORDINARY, **VIOLENT}))
@FEW
@example([("order", 0), ("wait", 0.25), ("expire", 0), ("order", 1), ("wait", 20.0)])
def test_anything(steps: list[tuple[str, Any]]) -> None:
    """Errors, lost answers, stolen locks and restarts in any order leave nothing behind."""
    run(steps)


@given(steps(ORDINARY))
@FEW
@example([("order", 0), ("fail_create", "done"), ("order", 0), ("restart", 0)])
@example(
    [
        ("hang_create", True),
        ("ignore_deletion", 0),
        ("order", 0),
        ("ignore_deletion", 0),
        ("set_deleting", 0),
    ]
)
def test_nothing_left_over(steps: list[tuple[str, Any]]) -> None:
    """While nobody takes its nodes away a launcher leaves nothing over to be swept up."""
    assert run(steps) == 0
