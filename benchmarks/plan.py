"""What is measured, in which order, and how often."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import attrs

from benchmarks import (
    change_scenarios,
    cloud_scenarios,
    limit,
    queue_scenarios,
    scenarios,
    surge_scenarios,
)
from benchmarks.bench import Bench, Numbers
from benchmarks.daemons import OUR_CLIENT, OURS, OURS_TIMED, OURS_TURNS, Daemon
from benchmarks.measured import BARE, FULL, QUICK

PARTS = (
    *("idle", "throughput", "limit", "scale", "surge", "reload"),
    *("probed", "cloud", "burst", "day"),
)


def _none(config: object, state: object) -> list[str]:
    raise AssertionError("there is no launcher to be started")


NOBODY = Daemon(BARE, _none)


@attrs.frozen
class Scenario:
    """A named measurement of one launcher.

    :ivar ours: one launcher only, started like this.
    :ivar part: one of :data:`PARTS`; what can be measured alone.
    :ivar most: how often it is measured, however many runs there are.
    :ivar limit: seconds after which it is given up.
    """

    name: str
    part: str
    measure: Callable[[Bench, Daemon], Awaitable[Numbers]]
    most: int = 100
    ours: Daemon | None = None
    limit: float = 300.0


def plan(quick: bool, probe: int) -> list[Scenario]:
    """Everything, in the order in which it is measured.

    :param probe: a port at which every node answers.
    """
    sizes = QUICK if quick else FULL
    make = functools.partial
    busy = scenarios.busy
    found = [
        Scenario("idle", "idle", make(scenarios.idle, requests=sizes.idle)),
        Scenario(
            "turn-around", "idle", make(change_scenarios.turn_around, nodes=sizes.returned), most=2
        ),
        Scenario(
            "100 nodes", "throughput", make(busy, nodes=100, clients=100, seconds=sizes.window)
        ),
        Scenario(
            "limit",
            "limit",
            make(limit.scenario, nodes=100, clients=100, seconds=sizes.window),
            ours=NOBODY,
        ),
        Scenario(
            "limit, pipelined",
            "limit",
            make(limit.scenario, nodes=100, clients=100, seconds=sizes.window / 2, pipelined=True),
            ours=NOBODY,
        ),
        Scenario(
            "100 nodes",
            "limit",
            make(busy, nodes=100, clients=100, seconds=sizes.window / 2),
            ours=OUR_CLIENT,
        ),
        Scenario(
            "10 nodes",
            "throughput",
            make(busy, nodes=10, clients=100, seconds=sizes.few_nodes_window),
        ),
        Scenario(
            "1000 nodes",
            "throughput",
            make(
                busy,
                nodes=1000,
                clients=1000,
                seconds=sizes.many_nodes_window,
                before=sizes.many_nodes_window,
            ),
            most=2,
        ),
        Scenario("registration", "scale", make(scenarios.registration, nodes=2_000)),
        Scenario(
            "queue",
            "scale",
            make(queue_scenarios.queue, nodes=sizes.many, queued=sizes.queued, requests=6),
            most=2,
        ),
        Scenario(
            "passes",
            "scale",
            make(queue_scenarios.passes, nodes=sizes.many, queued=sizes.queued, requests=50),
            most=1,
            ours=OURS_TIMED,
        ),
        Scenario(
            "all served",
            "surge",
            make(surge_scenarios.all_served, nodes=100, requests=sizes.surge),
            most=1,
            limit=surge_scenarios.LIMIT + 60.0,
        ),
        Scenario(
            "all fulfilled",
            "surge",
            make(surge_scenarios.all_fulfilled, requests=sizes.surge),
            most=2,
        ),
        Scenario("reload", "reload", make(change_scenarios.reload, nodes=2_000), most=2),
        *_clouds(quick),
        Scenario(
            "day",
            "day",
            make(cloud_scenarios.day, requests=sizes.day),
            most=1,
            ours=OURS,
            limit=3600.0,
        ),
    ]
    if not quick:
        idle = make(scenarios.idle, requests=sizes.idle, probe=probe)
        throughput = make(busy, nodes=100, clients=100, seconds=sizes.window, probe=probe)
        found += [
            Scenario("idle, probed", "probed", idle, most=1),
            Scenario("100 nodes, probed", "probed", throughput, most=1),
        ]
    return found


def _clouds(quick: bool) -> list[Scenario]:
    window = (QUICK if quick else FULL).cloud_window
    make = functools.partial
    jobs = [
        Scenario(
            f"cloud, {clients}",
            "cloud",
            make(cloud_scenarios.cloud_jobs, clients=clients, seconds=window),
            most=1 if clients < 20 else 100,
        )
        for clients in ((20,) if quick else (1, 10, 20))
    ]
    bursts = [
        Scenario(
            f"burst, {servers}",
            "burst",
            make(cloud_scenarios.burst, servers=servers),
            most=1 if servers < 1000 else 100,
            ours=OURS_TURNS,
        )
        for servers in ((100, 1000) if quick else (100, 300, 1000))
    ]
    return [*jobs, *bursts]
