"""A day of a large installation, in minutes: `python -m benchmarks.day`.

A hundred thousand requests, for one to five servers each, from six tenants to ten clouds: few at
night, more than there is room for in the afternoon.  Servers take a while to boot, some never do,
calls fail, and one cloud is out of order for an hour.  The launcher's own code runs, on ZooKeeper
and clouds in memory and a clock that passes as fast as the program gets on.  Only the seed decides
what happens.

Prints JSON: `numbers` for the whole day, and `hours` with the waits of those who asked in each.
"""

from __future__ import annotations

import argparse
import bisect
import gc
import itertools
import json
import os
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from twisted.logger import ILogObserver, LogEvent, globalLogBeginner, globalLogPublisher
from zope.interface import implementer

from benchmarks.day_world import MIDNIGHT, TENANT_LIMITS, Outcome, Wish, World
from nodepool_tx.model import NodeState
from nodepool_tx.providers.cloud.errors import CloudError

DAY = 86400.0
REQUESTS = 100_000
"""In a whole day; with fewer the day is shorter, and everything in it as dense."""
DEMAND = (3, 2, 2, 2, 2, 3, 4, 6, 8, 10, 11, 11, 10, 11, 12, 12, 11, 10, 8, 7, 6, 5, 4, 3)
"""How much is asked for in each hour, beginning at midnight."""
OUTAGE = (14, 15, "cloud-4")
"""From which hour to which, and where."""
T = TypeVar("T")
LABELS = (("small", 50), ("medium", 30), ("large", 15), ("arm", 5))
TENANTS = ((0, 30), (1, 25), (2, 20), (3, 15), (4, 6), (5, 4))
SIZES = ((1, 86), (2, 10), (3, 3), (5, 1))
MOMENT = 60.0
"""Seconds between two looks at whether everything is as it should be."""
UNKNOWN = 300.0
"""Seconds for which there may be a server without a record: two sweeps, and its deletion."""


class Broken(Exception):
    """Something is not as it should be; the text says what."""


@implementer(ILogObserver)
def _unprinted(event: LogEvent) -> None:
    """Nobody reads it."""


def wishes(chance: Random, requests: int) -> list[tuple[float, Wish]]:
    """What is asked for, and when, in seconds from midnight."""
    hour = 3600.0 * requests / REQUESTS
    ends = list(itertools.accumulate(DEMAND))
    found = []
    for _ in range(requests):
        place = chance.uniform(0, ends[-1])
        index = bisect.bisect_right(ends, place)
        share = (place - (ends[index] - DEMAND[index])) / DEMAND[index]
        label = _drawn(chance, LABELS)
        size = _drawn(chance, SIZES)
        seconds = min(7200.0, chance.lognormvariate(6.2, 0.8))
        tenant = _drawn(chance, TENANTS)
        wish = Wish((label,) * size, f"tenant-{tenant}", seconds)
        found.append(((index + share) * hour, wish))
    found.sort(key=lambda each: each[0])
    return found


def _drawn(chance: Random, weighed: Sequence[tuple[T, int]]) -> T:
    """One of these, each as often as it weighs."""
    values, weights = [value for value, _ in weighed], [weight for _, weight in weighed]
    return chance.choices(values, weights)[0]


@implementer(ILogObserver)
class Day:
    """The day, and those who watch it.

    :param requests: how much of a day.
    """

    def __init__(self, seed: int, requests: int) -> None:
        chance = Random(seed)
        self._length = DAY * requests / REQUESTS
        self._wishes = wishes(chance, requests)
        self.world = World(chance)
        self.failures: list[LogEvent] = []
        self._unknown: dict[tuple[str, str], float] = {}
        #: The most nodes there were at a time, and the most requests that waited.
        self.most_nodes = self.most_waiting = 0
        globalLogPublisher.addObserver(self)

    def close(self) -> None:
        """Watch no more."""
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """Keep what fails."""
        if event.get("log_failure") is not None:
            self.failures.append(event)

    def run(self) -> None:
        """Let it pass, and see that it ends as it should.

        :raises Broken: where it does not.
        """
        world = self.world
        clock, users = world.clock, world.users
        clock.run_until(MIDNIGHT + 300.0)
        self.began = clock.seconds()
        first, last, where = OUTAGE
        hour = self._length / 24
        clock.callLater(first * hour, self._break_down, where, True)
        clock.callLater(last * hour, self._break_down, where, False)
        self._ask(iter(self._wishes))
        asked = self.began + self._length
        while clock.seconds() < asked or users.waiting or users.using:
            clock.run_until(clock.seconds() + MOMENT)
            self.look()
            if clock.seconds() > asked + DAY / 2:
                raise Broken(f"{users.waiting} requests wait for ever")
        clock.run_until(clock.seconds() + 2 * UNKNOWN)
        self.look()
        self._look_at_the_end()

    def _break_down(self, where: str, broken: bool) -> None:
        self.world.clouds[where].broken = CloudError("out of order") if broken else None

    def _ask(self, rest: Any) -> None:
        """Ask for what is due, and again when something else is."""
        clock = self.world.clock
        for when, wish in rest:
            delay = self.began + when - clock.seconds()
            if delay > 0:
                clock.callLater(delay, self._ask_one, wish, rest)
                return
            self.world.users.ask(wish)

    def _ask_one(self, wish: Wish, rest: Any) -> None:
        self.world.users.ask(wish)
        self._ask(rest)

    def look(self) -> None:
        """See that no limit is exceeded, and that nothing runs that nobody knows of.

        :raises Broken: where that is not so.
        """
        world, now = self.world, self.world.clock.seconds()
        if world.users.failures:
            raise Broken(str(world.users.failures[0]))
        if self.failures:
            raise Broken(str(self.failures[0]["log_failure"]))
        nodes = list(world.store.nodes)
        self.most_nodes = max(self.most_nodes, len(nodes))
        self.most_waiting = max(self.most_waiting, world.users.waiting)
        for name, count in Counter(node.provider for node in nodes).items():
            if count > world.limits[str(name)]:
                raise Broken(f"{name} has {count} nodes, at most {world.limits[str(name)]} may be")
        for tenant, limits in TENANT_LIMITS.items():
            mine = [node.resources or {} for node in nodes if node.tenant_name == tenant]
            for kind, limit in limits.items():
                if (used := sum(each.get(kind, 0) for each in mine)) > limit:
                    raise Broken(f"{tenant} has {used} {kind}, at most {limit} are allowed")
        known = {(node.provider, node.external_id) for node in nodes}
        unknown: dict[tuple[str, str], float] = {}
        for name, cloud in world.clouds.items():
            if over := [
                kind for kind, limit in cloud.quota.items() if cloud.used.get(kind, 0) > limit
            ]:
                raise Broken(f"{name} is over its quota of {', '.join(over)}")
            for server in cloud.servers:
                # While a cloud is out of order nobody can be told, and nothing is held against it.
                if (name, server) not in known and cloud.broken is None:
                    unknown[name, server] = self._unknown.get((name, server), now)
        self._unknown = unknown
        for (name, server), since in unknown.items():
            if now - since > UNKNOWN:
                raise Broken(f"{server} runs in {name}, and nobody knows of it")

    def _look_at_the_end(self) -> None:
        """See that nothing is left but the stock.  :raises Broken: where something is."""
        world = self.world
        if len(world.users.outcomes) != len(self._wishes):
            raise Broken(f"{len(self._wishes) - len(world.users.outcomes)} requests did not end")
        if len(world.store.requests):
            raise Broken(f"{len(world.store.requests)} requests are left")
        nodes = list(world.store.nodes)
        for node in nodes:
            if node.state is not NodeState.READY or not world.store.nodes.is_free(node.id):
                raise Broken(f"{node} is left")
        servers = {(name, each) for name, cloud in world.clouds.items() for each in cloud.servers}
        if servers != {(node.provider, node.external_id) for node in nodes}:
            raise Broken(f"{len(servers)} servers are left, and {len(nodes)} nodes")
        stopped = world.stop()
        world.clock.run_until(world.clock.seconds() + 60.0)
        if not stopped.called:
            raise Broken("the launcher does not stop")

    def numbers(self) -> dict[str, float]:
        """The whole day."""
        outcomes = self.world.users.outcomes
        clouds = self.world.clouds.values()
        calls: Counter[str] = Counter()
        troubles: Counter[str] = Counter()
        for cloud in clouds:
            calls += cloud.calls
            troubles += cloud.troubles
        return {
            "requests": len(outcomes),
            "failed requests": sum(not each.fulfilled for each in outcomes),
            "nodes": sum(each.nodes for each in outcomes if each.fulfilled),
            **waits(outcomes),
            "most waiting": self.most_waiting,
            "most nodes": self.most_nodes,
            "servers made": sum(cloud.made for cloud in clouds),
            **{f"trouble: {name}": count for name, count in sorted(troubles.items())},
            **{f"calls: {name}": count for name, count in sorted(calls.items())},
            "other calls": sum(calls.values()) - calls["list_instances"],
            "ZooKeeper requests": sum(self.world.zookeeper.inspector.requests.values()),
        }

    def hours(self) -> list[dict[str, float]]:
        """The waits of those who asked in each hour."""
        parts: list[list[Outcome]] = [[] for _ in range(24)]
        for each in self.world.users.outcomes:
            share = (each.asked - self.began) / self._length
            parts[min(23, int(share * 24))].append(each)
        return [{"requests": len(part), **waits(part)} for part in parts]


def waits(outcomes: list[Outcome]) -> dict[str, float]:
    """How long they waited, in seconds."""
    ordered = sorted(each.answered - each.asked for each in outcomes) or [0.0]
    shares = {"p95": 0.95, "p99": 0.99}
    return {
        "median wait s": statistics.median(ordered),
        **{
            f"{name} wait s": ordered[min(len(ordered) - 1, int(share * len(ordered)))]
            for name, share in shares.items()
        },
        "max wait s": ordered[-1],
    }


def main() -> int:
    """The command; answers its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.day", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="fewer: a shorter day")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order in which texts stand in a set is a matter of chance otherwise.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "benchmarks.day", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    # Nothing is printed; what fails ends the day.
    globalLogBeginner.beginLoggingTo([_unprinted], redirectStandardIO=False)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    started, before = time.perf_counter(), _peak()
    day = Day(options.seed, options.requests)
    day.run()
    numbers = day.numbers()
    numbers["wall s"] = time.perf_counter() - started
    numbers["cpu s"] = time.process_time()
    numbers["peak resident bytes"] = _peak()
    numbers["resident bytes at start"] = before
    json.dump({"numbers": numbers, "hours": day.hours()}, sys.stdout, indent=1)
    print()
    return 0


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
