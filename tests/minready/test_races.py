"""Several launchers, struck at any moment: never more requests than nodes wanted."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.interface import SessionState
from tests.minready.world import Process, World, config_of

ACTIONS = (
    *("moment", "moment", "moment", "settle", "wait", "wait", "work", "work"),
    *("start", "kill", "stop", "cut", "expire", "suspend", "resume", "depose", "lose reply"),
    *("use", "use", "more", "less", "refuse", "relent", "full", "room"),
)
MOST = 3

actions = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 5))


class Trouble:
    """A world with latency, in which requests of several launchers are under way at once."""

    def __init__(self) -> None:
        self.world = World(latency=0.01)
        self.wanted = MOST
        for _ in range(2):
            self.world.start(self.config())

    def config(self) -> object:
        return config_of({"small": self.wanted})

    def alive(self) -> list[Process]:
        return [each for each in self.world.processes if each.alive]

    def act(self, action: str, number: int) -> None:
        world = self.world
        chosen = self.alive()[number % len(self.alive())]
        if action == "moment":
            world.clock.advance(0.002 * (number + 1))
        elif action == "settle":
            world.settle()
        elif action == "wait":
            world.wait(5.0 * (number + 1))
        elif action == "work":
            chosen.cloud.work()
        elif action == "start" and len(self.alive()) < 4:
            world.start(self.config())  # type: ignore[arg-type]
        elif action in ("kill", "stop") and len(self.alive()) > 1:
            chosen.kill(number) if action == "kill" else chosen.stop()
        elif action == "cut":
            world.inspector.cut(chosen.client, executes=number)
        elif action == "expire":
            world.inspector.expire(chosen.client)
        elif action == "suspend":
            world.inspector.suspend(chosen.client, executes=number)
        elif action == "resume":
            world.inspector.resume(chosen.client)
        elif action == "lose reply":
            world.inspector.lose_reply_next("transaction", client=chosen.client)
        elif action == "depose":
            below = world.inspector.dump(f"{paths.min_ready_election('small')}/")
            if below:
                world.inspector.delete(min(below, key=lambda path: path[-10:]))
        elif action == "use":
            world.use("small", 10.0 * number)
        elif action in ("more", "less"):
            self.wanted = MOST if action == "more" else number % (MOST + 1)
            for process in self.alive():
                process.config = self.config()  # type: ignore[assignment]
                process.min_ready.reconfigure()
        elif action in ("refuse", "relent"):
            chosen.cloud.refuses = action == "refuse"
        elif action in ("full", "room"):
            chosen.cloud.capacity = 1 if action == "full" else 10

    def check(self) -> None:
        self.world.check()
        assert self.world.most.get("small", 0) <= MOST
        assert self.world.stocked.get("small", 0) <= MOST

    def mend(self) -> None:
        """End all trouble; then there is exactly what is wanted."""
        self.wanted = MOST
        for process in self.alive():
            self.world.inspector.resume(process.client)
            process.cloud.refuses, process.cloud.capacity = False, 10
            process.config = self.config()  # type: ignore[assignment]
            process.min_ready.reconfigure()
        self.world.wait(2400.0, 10.0)
        self.check()
        world = self.world
        assert all(p.client.state is SessionState.CONNECTED for p in self.alive())
        assert len(world.leaders()) == 1
        assert (len(world.stock()), len(world.nodes())) == (MOST, MOST)
        assert world.requests() == {}

    def close(self) -> None:
        for process in self.world.processes:
            self.world.inspector.resume(process.client)
            process.stop()
        self.world.wait(60.0)
        self.world.close()


def run(schedule: list[tuple[str, int]]) -> None:
    trouble = Trouble()
    try:
        for action, number in schedule:
            trouble.act(action, number)
            trouble.check()
        trouble.mend()
    finally:
        trouble.close()


@given(st.lists(actions, max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_schedule(schedule: list[tuple[str, int]]) -> None:
    """At no time is more asked for than wanted, and in the end all of it is there."""
    run(schedule)


@pytest.mark.parametrize("seed", range(5))
def test_long_schedules(seed: int) -> None:
    """Trouble that goes on for a while."""
    chance = random.Random(seed)
    run([(chance.choice(ACTIONS), chance.randrange(6)) for _ in range(150)])


@pytest.mark.parametrize("moment", range(40))
def test_the_leader_dies_at_any_moment(moment: int) -> None:
    """After any of its first requests to ZooKeeper, with or without their being carried out."""
    world = World(latency=0.01)
    config = config_of({"small": 3})
    for _ in range(3):
        world.start(config)
    world.wait(200.0)
    (leader,) = world.leaders()
    for _ in range(2):
        world.use("small", 600.0)
    world.clock.advance(0.002 * moment)
    leader.kill(moment % 4)
    world.wait(300.0)
    world.check()
    assert len(world.leaders()) == 1
    assert (len(world.stock()), world.launches) == (3, 5)
    assert world.most["small"] <= 3
    world.close()
