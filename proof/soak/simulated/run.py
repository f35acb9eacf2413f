"""The simulated part: hours of steady load, and a look at everything every two minutes."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

import attrs
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from benchmarks.day_world import MIDNIGHT
from nodepool_tx.collecting import give_back, resident
from nodepool_tx.history import MINUTES
from proof.soak.part import Part
from proof.soak.samples import Samples
from proof.soak.simulated.memory import Held, held, weigh
from proof.soak.simulated.world import HOSTS, Load, World
from proof.soak.verdict import Limit

__all__ = ["LIMITS", "SimulatedSoak"]

LIMITS = {
    "memory": Limit(0.05, 2**20, "bytes"),
    "blocks of memory, without histories": Limit(0.03, 1000),
    "objects, without histories": Limit(0.03, 500),
    "open files": Limit(0.0, 2),
    "watches": Limit(0.1, 8),
    "sessions": Limit(0.0, 1),
    "ephemerals": Limit(0.05, 10),
    "znodes": Limit(0.03, 20),
    "znodes of nodes": Limit(0.03, 20),
    "znodes of requests": Limit(0.05, 20),
    "znodes of locks of requests": Limit(0.05, 20),
    "other znodes": Limit(0.0, 5),
    "delayed calls": Limit(0.05, 10),
    f"delayed calls of {HOSTS[0]}": Limit(0.1, 10),
    "servers in clouds": Limit(0.05, 10),
}
"""By how much each series may change."""

_ELSEWHERE = ("nodes", "requests", "requests-lock")

_WORDS = """\
Two launchers in memory, put together as in production but for HTTP; {static} static slots and
{clouds} clouds with room for {servers} servers each; {jobs} clients that ask for one to five
nodes, each always for the same, use them for {job:g} s on the average, and ask again; of a hundred
requests 3 are withdrawn, and 3 % of what the clouds are asked for goes wrong.  A new configuration
every {reload:g} s, a connection cut every {cut:g} s, a session ended every {expire:g} s; the second
launcher is stopped every {restart:g} s and started again, every third time after it hung until its
session had ended; the first one lives from the beginning to the end.  Memory is that of everything:
launchers, ZooKeeper, clouds and clients."""


@implementer(ILogObserver)
class SimulatedSoak:
    """One soak.

    :param warm_up: simulated seconds that do not count.
    :param kept: is given what there is so far, with each look.
    :param each_look: called before each look; for what a test has grow.
    """

    def __init__(
        self,
        hours: float,
        load: Load,
        seed: int = 1,
        *,
        every: float = 120.0,
        warm_up: float = 5400.0,
        kept: Callable[[Samples], object] = lambda samples: None,
        each_look: Callable[[World], object] = lambda world: None,
    ) -> None:
        self._kept = kept
        self._seconds = 3600.0 * hours
        self._load = load
        self._every = every
        self._warm_up = warm_up
        self._each_look = each_look
        self._seed = seed
        self.samples = Samples()
        self.failures: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        """Keep what fails."""
        if event.get("log_failure") is not None and len(self.failures) < 100:
            error = event["log_failure"].getErrorMessage()
            self.failures.append(f"{formatEvent(event)}: {error}")

    def run(self) -> Part:
        """Let it pass; what was found."""
        globalLogPublisher.addObserver(self)
        # What was there before is not looked at time and again.
        gc.freeze()
        try:
            began = time.process_time()
            world = World(self._load, self._seed)
            clock = world.clock
            clock.run_until(MIDNIGHT + 600.0)
            start = clock.seconds()
            world.begin()
            while (now := clock.seconds() - start) <= self._seconds:
                self._each_look(world)
                self.samples.add(now, self._look(world))
                self._kept(self.samples)
                clock.run_until(start + now + self._every)
            world.done["seconds of processor time"] = round(time.process_time() - began)
            facts = self._facts(world)
            world.stop()
        finally:
            gc.unfreeze()
            globalLogPublisher.removeObserver(self)
        failures = [str(each) for each in world.users.failures[:100]]
        words = _WORDS.format(**attrs.asdict(self._load))
        return Part(
            "simulated",
            " ".join(words.split()),
            facts,
            self._warm_up,
            LIMITS,
            (*self.failures, *failures),
            self.samples,
        )

    def _look(self, world: World) -> dict[str, float]:
        for launcher in world.launchers.values():
            launcher.scrape()
            launcher.clock.compact()
        world.clock.compact()
        everything = held()
        # So many numbers are our own notes.
        everything -= Held(0, len(self.samples.times) * (1 + len(self.samples.columns)))
        buckets = 0
        for launcher in world.launchers.values():
            of_history, _ = weigh(launcher.history._buckets)
            everything -= of_history
            buckets += len(launcher.history._buckets)
        give_back()
        znodes, inspector = world.znodes(), world.inspector
        first = world.launchers[HOSTS[0]]
        row: dict[str, Any] = {
            "memory": resident(),
            "blocks of memory, without histories": everything.blocks,
            "objects, without histories": everything.objects,
            "buckets of histories": buckets,
            "open files": len(os.listdir("/proc/self/fd")),
            "watches": inspector.watches,
            "sessions": inspector.sessions,
            "ephemerals": inspector.all_ephemerals,
            "znodes": sum(znodes.values()),
            "znodes of nodes": znodes["nodes"],
            "znodes of requests": znodes["requests"],
            "znodes of locks of requests": znodes["requests-lock"],
            "other znodes": sum(n for name, n in znodes.items() if name not in _ELSEWHERE),
            "delayed calls": len(world.clock.getDelayedCalls()),
            f"delayed calls of {HOSTS[0]}": len(first.clock.getDelayedCalls()),
            "servers in clouds": sum(len(cloud.servers) for cloud in world.clouds.values()),
            "nodes in use": world.users.using,
            "requests that wait": world.users.waiting,
        }
        return {name: float(value) for name, value in row.items()}

    def _facts(self, world: World) -> dict[str, float]:
        history = world.launchers[HOSTS[0]].history
        _, size = weigh(history._buckets)
        each = size / max(1, len(history._buckets))
        return {
            **{f"requests {end}": count for end, count in sorted(world.users.ended.items())},
            **world.done,
            "requests to ZooKeeper": sum(world.inspector.requests.values()),
            f"history of {HOSTS[0]}: minutes": len(history._buckets),
            f"history of {HOSTS[0]}: bytes": size,
            f"history of {HOSTS[0]}: bytes when it is full": round(each * MINUTES),
        }
