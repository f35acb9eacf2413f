"""Looks and repairs beside a whole launcher in memory that works all the time."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nodepool_tx.check.farm import Ages
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.gathering import Gatherer
from nodepool_tx.check.looking import Checker
from nodepool_tx.check.repairing import Repaired, Repairer
from nodepool_tx.config.schema import Config
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node, encode_request
from nodepool_tx.store.store import Store
from tests.check.farms import config, static
from tests.launcher_world import World

HOSTS = ("h1", "h2", "h3", "h4")
FARM = config(static("rack", h1=3, h2=2), static("lab", h3=3))
LARGER = config(static("rack", h1=3, h2=4, h4=1), static("lab", h3=2))


class Visitor:
    """Somebody who checks, with a session of their own."""

    def __init__(self, world: World, known: Config) -> None:
        self.world = world
        self.client = world.zookeeper.client()
        self.store = Store(self.client, world.clock)
        self.store.startService()
        self.client.connect()
        world.settle()
        ages = Ages()
        gatherer = Gatherer(self.store, world.clock, known, ages)
        self.checker = Checker(gatherer, world.clock, ages)
        self.repairer = Repairer(self.store, world.clock, self.checker, None)

    def begin(self) -> Deferred[tuple[Finding, ...]]:
        return Deferred.fromCoroutine(self.checker.check())

    def repair(self, found: tuple[Finding, ...]) -> Deferred[tuple[Repaired, ...]]:
        return Deferred.fromCoroutine(self.repairer.repair(found))

    def leave(self) -> None:
        self.store.stopService()
        self.client.close()
        self.world.settle()


class Life:
    """What clients and operators do, at random.

    :param whole: the launcher loses its session, and its file changes.
    """

    def __init__(self, world: World, seed: int, whole: bool = True) -> None:
        self.whole = whole
        self.world = world
        self.rng = random.Random(seed)
        self.config = FARM

    def step(self) -> None:
        often, rarely = [self.ask, self.take, self.go_on, self.go_on], [self.withdraw]
        if self.whole:
            rarely += [self.reload, self.lose_session]
        self.rng.choice(rarely if self.rng.random() < 0.05 else often)()
        self.world.settle()

    def ask(self) -> None:
        if len(self.world.requests()) < 12:
            self.world.request(*["small"] * self.rng.choice([1, 1, 2]))

    def take(self) -> None:
        taken = {lease.request_id for lease in self.world.leases}
        for request in self.world.requests().values():
            if request.state is RequestState.FULFILLED and request.id not in taken:
                self.world.accept(request.id)
                return

    def go_on(self) -> None:
        if self.world.leases:
            lease = self.rng.choice(self.world.leases)
            held = self.rng.random() < 0.05 and lease.stage == "in use"
            self.world.go_on(lease, NodeState.HOLD if held else NodeState.USED)

    def withdraw(self) -> None:
        taken = {lease.request_id for lease in self.world.leases}
        for request_id in sorted(self.world.requests().keys() - taken)[:1]:
            self.world.inspector.delete_tree(paths.request(request_id))

    def reload(self) -> None:
        self.config = LARGER if self.config is FARM else FARM
        self.world.process.reloader.apply(self.config)

    def lose_session(self) -> None:
        self.world.inspector.expire(self.world.process.client)


@pytest.mark.parametrize("seed", range(12))
def test_a_busy_farm(seed: int) -> None:
    """Nothing is found, whatever is done, even if the session is lost or the file changed."""
    world = World(HOSTS)
    try:
        world.start(FARM)
        world.wait(30.0)
        life = Life(world, seed)
        for _ in range(10):
            visitor = Visitor(world, life.config)
            before = life.config
            checking = visitor.begin()
            steps = 0
            while not checking.called:
                life.step()
                world.wait(life.rng.choice([0.1, 0.5, 1.5]), step=0.5)
                steps += 1
                assert steps < 1000
            if life.config is before:
                assert result_of(checking) == ()
            visitor.leave()
            # Nothing is suspicious in most looks: let it go on for a while.
            for _ in range(5):
                life.step()
        world.check()
        for lease in tuple(world.leases):
            world.give_back(lease)
        world.wait(100.0)
        visitor = Visitor(world, life.config)
        checking = visitor.begin()
        world.wait(20.0, step=0.5)
        assert result_of(checking) == ()
        visitor.leave()
    finally:
        world.close()


def result_of(deferred: Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "it goes on"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def break_something(world: World, rng: random.Random) -> None:
    """What a launcher that works does not put right by itself, or does just then."""
    inspector, free = world.inspector, world.free()
    what = rng.randrange(6)
    if what == 0 and free:
        inspector.create(f"{paths.node_lock(rng.choice(free))}/x__lock__", sequence=True)
    elif what == 1:
        inspector.create(f"{paths.request_lock('100-0000099999')}/x__lock__", sequence=True)
    elif what == 2 and free:
        world.change_node(rng.choice(free), allocated_to="100-0000099999")
    elif what == 3:
        lost = NodeRequest(
            state=RequestState.PENDING,
            state_time=world.clock.seconds(),
            node_types=("small",),
            requestor="lost",
        )
        path = f"{paths.REQUESTS}/100-"
        inspector.create(path, encode_request(lost), sequence=True)
    elif what == 4:
        made = Node(
            state=NodeState.BUILDING, state_time=world.clock.seconds(), provider="rack", pool="main"
        )
        inspector.create(f"{paths.NODES}/", encode_node(made), sequence=True)
    else:
        inspector.create(paths.draining(f"gone{rng.random()}"), b'{"driver": "static"}')


@pytest.mark.parametrize("seed", range(12))
def test_repairs_while_it_works(seed: int) -> None:
    """All comes right, no job loses a node, and the farm is as configured afterwards."""
    world = World(HOSTS)
    try:
        world.start(FARM)
        world.wait(30.0)
        life = Life(world, seed, whole=False)
        for _ in range(3):
            for _ in range(5):
                break_something(world, life.rng)
                life.step()
            visitor = Visitor(world, FARM)
            checking = visitor.begin()
            go_on(world, life, checking)
            repairing = visitor.repair(result_of(checking))
            go_on(world, life, repairing)
            for each in result_of(repairing):
                assert not (each.remains and each.finding.repair is None), each
            visitor.leave()
            world.check()
        world.mend()
        visitor = Visitor(world, FARM)
        for _ in range(2):
            checking = visitor.begin()
            world.wait(20.0, step=0.5)
            repairing = visitor.repair(result_of(checking))
            world.settle()
            result_of(repairing)
        checking = visitor.begin()
        world.wait(20.0, step=0.5)
        assert result_of(checking) == ()
        visitor.leave()
        world.wait(100.0)
        world.check_settled(FARM)
        world.check_serves(FARM)
    finally:
        world.close()


def go_on(world: World, life: Life, until: Deferred[Any]) -> None:
    """Life goes on until something has ended."""
    steps = 0
    while not until.called:
        life.step()
        world.wait(0.5, step=0.5)
        steps += 1
        assert steps < 1000
