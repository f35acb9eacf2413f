"""Days of keeping stock: as many launches as were needed, and no more."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from nodepool_tx.minready.plan import LONGEST_REST
from tests.minready.world import World, config_of

HOUR = 3600.0
DAY = 24 * HOUR
WANTED = {"small": 5, "large": 2}
STEP = 30.0


def writes(world: World) -> Counter[str]:
    """What changed anything in ZooKeeper, from launchers' side."""
    return Counter({op: world.inspector.requests[op] for op in ("create", "set", "delete")})


@pytest.mark.parametrize("seed", range(3))
def test_a_day(seed: int) -> None:
    """Clients come and go, nodes grow old: every launch replaces a node, and none is missing."""
    chance = random.Random(seed)
    world = World()
    age = 4 * 3600
    config = config_of(WANTED, providers=("sky", "sea"), max_ready_age=age)
    for provider in ("sky", "sea", "sky"):
        world.start(config, provider, build=chance.choice((20.0, 90.0)))
    missed = 0
    end = world.clock.seconds() + DAY
    while world.clock.seconds() < end:
        world.wait(STEP, STEP)
        if chance.random() < 0.02:
            label = chance.choice(tuple(WANTED))
            missed += not world.use(label, chance.uniform(60.0, 2 * HOUR))
            world.settle()
    world.wait(2.5 * HOUR, STEP)
    world.check()
    in_stock = {label: len(world.stock(label)) for label in WANTED}
    aged = [node for node in world.gone if node.id not in world.uses]
    assert in_stock == WANTED
    assert world.launches == len(world.uses) + len(aged) + sum(WANTED.values())
    assert len(world.written) == world.launches, "a request was written in vain"
    assert all(node.state_time - (node.created_time or 0) >= age for node in aged)
    # A node that nobody takes is replaced every four hours, and a use only puts that off.
    rounds = (DAY + 2.5 * HOUR) / age
    assert len(aged) <= rounds * sum(WANTED.values())
    assert world.stocked == WANTED, "there was too much, at some time"
    assert all(world.most[label] <= WANTED[label] for label in WANTED)
    assert len(world.uses) > 30
    assert missed <= 3
    world.close()


def test_nodes_that_grow_old_together() -> None:
    """Each is replaced once and lives its time: no loop, and no request too many."""
    world = World()
    world.start(config_of({"small": 4}, max_ready_age=3600))
    world.wait(DAY, STEP)
    world.check()
    # A round takes its time in stock, up to a minute until somebody sees that it
    # is over, and the making of the next.
    least, most = int(DAY / (3600 + 60 + 60 + 4 * STEP)), int(DAY / 3600) + 1
    assert 4 * least <= world.launches <= 4 * most
    assert len(world.written) == world.launches
    lives = [node.state_time - (node.created_time or 0.0) for node in world.gone]
    assert all(3600 <= life <= 3600 + 60 + 60 + 4 * STEP for life in lives), lives
    world.close()


def test_a_maximum_age_shorter_than_a_launch() -> None:
    """Nodes that are old as soon as they are there come one after another, not in crowds."""
    world = World()
    world.start(config_of({"small": 2}, max_ready_age=1), build=120.0)
    world.wait(6 * HOUR, STEP)
    world.check()
    assert world.stocked == {"small": 2}
    assert world.launches <= 2 * 6 * HOUR / 120.0
    world.close()


def test_quiet_hours() -> None:
    """When nothing happens nothing is written, and hardly anything is asked."""
    world = World()
    for _ in range(3):
        world.start(config_of(WANTED))
    world.wait(HOUR, STEP)
    before, asked = writes(world), sum(world.inspector.requests.values())
    launches = world.launches
    world.wait(12 * HOUR, STEP)
    world.check()
    assert world.launches == launches == sum(WANTED.values())
    assert writes(world) == before
    assert sum(world.inspector.requests.values()) - asked <= 3 * 12
    world.close()


def test_a_cloud_that_is_full() -> None:
    """Six hours at quota: few requests, and the stock is filled when there is room."""
    world = World()
    process = world.start(config_of({"small": 6}), capacity=4)
    world.wait(6 * HOUR, STEP)
    world.check()
    assert (world.launches, len(world.stock())) == (4, 4)
    # Six at first, the missing two again after a success, a few at growing
    # distances, and then one each time the longest rest is over.
    assert len(world.written) <= 6 + 2 + 6 + 6 * HOUR / (LONGEST_REST * 0.875)
    process.cloud.capacity = 20
    world.wait(HOUR, STEP)
    assert (world.launches, len(world.stock())) == (6, 6)
    world.close()


def test_leaders_come_and_go() -> None:
    """Every twenty minutes the leader dies or stops, for a day; nothing is made twice."""
    chance = random.Random(7)
    world = World()
    config = config_of({"small": 3})
    for _ in range(3):
        world.start(config)
    for _ in range(72):
        world.wait(chance.uniform(0.0, 1200.0), STEP)
        if chance.random() < 0.5:
            world.use("small", chance.uniform(10.0, 600.0))
            # The leader is struck before its request is taken, or while a node
            # is made, or afterwards.
            world.settle()
            if chance.random() < 0.7:
                world.wait(chance.uniform(0.0, 90.0))
        (leader,) = world.leaders()
        if chance.random() < 0.5:
            leader.kill(chance.randrange(4))
        else:
            leader.stop()
        world.start(config)
        world.wait(30.0)
        world.check()
    world.wait(HOUR, STEP)
    assert len(world.stock()) == 3
    assert all(node.id in world.uses for node in world.gone), "one was made for nothing"
    assert world.most["small"] <= 3
    assert world.stocked["small"] <= 3
    assert world.launches == 3 + len(world.uses)
    assert len(world.written) > world.launches, "no leader was struck at a bad time"
    world.close()
