"""The real part: a load, faults, and a look at everything every few seconds."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from nodepool_tx.leases.plan import KEPT
from nodepool_tx.providers.interface import Intervals
from nodepool_tx.store import paths
from proof.soak.real import looks
from proof.soak.real.farm import Member, RealFarm
from proof.soak.real.zuuls import Zuuls
from proof.soak.samples import Samples
from proof.soak.verdict import Limit

__all__ = ["RealSoak", "Settings", "limits", "warm_up"]

#: Looks, of which the lowest counts where there are queues.
A_MINUTE = 12
_PER_LAUNCHER = {
    # A launcher that is never idle looks for garbage five minutes after it has grown by 4 MB, and
    # what is free then is only given back in part: up to 8 MiB were seen.  One record kept for
    # each of the requests in half an hour would be twice the limit; the simulated part, which
    # counts without garbage, sees less than that.
    "memory": Limit(0.0, 10 * 2**20, "bytes"),
    "open files": Limit(0.05, 3),
    "sockets": Limit(0.05, 3),
    "threads": Limit(0.0, 1),
    "delayed calls": Limit(0.1, 5),
    "watches": Limit(0.0, 2),
    "requests under way": Limit(0.0, 5, lowest_of=A_MINUTE),
}
_COMMON = {
    "server: watches": Limit(0.1, 20),
    "server: znodes": Limit(0.1, 20),
    "server: connections": Limit(0.0, 1),
    "server: open files": Limit(0.05, 3),
    "nodes": Limit(0.05, 10),
    # Clients have one for each node that they use, and use more when the machine is less busy.
    "ephemerals without clients'": Limit(0.1, 10),
    "requests": Limit(0.1, 10, lowest_of=A_MINUTE),
    # They go with the requests: those of the few under way.  If those that clouds serve left
    # theirs for the sweep after five minutes, there would be a hundred, in waves.
    "locks of requests": Limit(0.1, 10),
    "leases": Limit(0.1, 5),
}

AT_REST = KEPT + Intervals().cleanup
"""Seconds after which as much goes as comes of everything: nothing is kept longer than leases."""


def warm_up(seconds: float) -> float:
    """How many seconds of a soak do not count: until all is at rest, but at most half of it."""
    return min(AT_REST, seconds / 2)


def limits(launchers: int, seconds: float) -> dict[str, Limit]:
    """By how much each series may change, with so many launchers.

    :param seconds: how long the soak takes; in a short one leases only come.
    """
    found = {
        f"launcher {number}: {name}": limit
        for number in range(1, launchers + 1)
        for name, limit in _PER_LAUNCHER.items()
    } | _COMMON
    if warm_up(seconds) < AT_REST:
        del found["leases"]
    return found


@attrs.frozen(kw_only=True)
class Settings:
    """What happens how often; times in seconds.

    :ivar rate: jobs a second.
    :ivar job: between how many and how many seconds one takes.
    :ivar lost: between two ends of a launcher's session.
    """

    seconds: float = 1800.0
    every: float = 5.0
    rate: float = 20.0
    job: tuple[float, float] = (2.0, 14.0)
    launchers: int = 2
    hosts: int = 200
    stock: int = 5
    reload: float = 60.0
    cut: float = 120.0
    lost: float = 600.0
    lease: float = 10.0
    seed: int = 1


class RealSoak:
    """One soak.

    :ivar samples: what was seen.
    :ivar done: how often what was done.
    """

    def __init__(self, reactor: Any, directory: pathlib.Path, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings
        self.farm = RealFarm(
            reactor,
            directory,
            launchers=settings.launchers,
            hosts=settings.hosts,
            stock=settings.stock,
        )
        self.samples = Samples()
        self.done: Counter[str] = Counter()
        self.troubles: list[str] = []
        self._tasks: list[Deferred[Any]] = []
        #: Called with each look; for what a test has grow.
        self.each_look: Callable[[], object] = lambda: None

    async def run(self) -> None:
        """All of it; what was started has ended then.

        :raises Exception: a launcher ended, or could not be asked.
        """
        try:
            await self.farm.start()
            await self._soak()
            self.done["reports to statsd"] = self.farm.told
            for name, count in self.farm.traces().items():
                self.done[f"{name}: tracebacks"] = count
            for member in self.farm.members:
                self.done["bytes of event streams"] += member.visitor.streamed
                self.done["event streams begun"] += member.visitor.streams
        finally:
            for task in self._tasks:
                task.cancel()
            await self.farm.stop()

    async def _soak(self) -> None:
        settings, farm = self._settings, self.farm
        clients = [await farm.client() for _ in range(3)]
        most = int(settings.rate * (settings.job[1] + 1))
        zuuls = Zuuls(self._reactor, clients, settings.rate, most, settings.job, settings.seed)
        self.zuuls = zuuls
        self._keep(zuuls.run())
        for member in farm.members:
            self._keep(member.visitor.follow())
        self._keep(self._time_and_again(settings.reload, self._reload))
        self._keep(self._time_and_again(settings.cut, self._cut))
        self._keep(self._time_and_again(settings.lost, self._lose))
        self._keep(self._time_and_again(settings.lease, self._borrow))
        began = self._reactor.seconds()
        while (now := self._reactor.seconds() - began) < settings.seconds:
            self.each_look()
            self.samples.add(round(now, 1), await self._look())
            farm.check()
            behind = self._reactor.seconds() - began - now
            await deferLater(self._reactor, max(0.0, settings.every - behind))
        for task in self._tasks:
            task.cancel()
        await zuuls.finish(150.0)
        self.troubles += [f"a client: {fault}" for fault in zuuls.faults]
        for end, count in zuuls.ended.items():
            self.done[f"requests: {end}"] = count

    def _keep(self, work: Any) -> None:
        def trouble(failure: Failure) -> None:
            if not failure.check(CancelledError):
                self.troubles.append(failure.getErrorMessage())

        task: Deferred[Any] = Deferred.fromCoroutine(work)
        self._tasks.append(task.addErrback(trouble))

    async def _look(self) -> dict[str, float]:
        row: dict[str, float] = {}
        for member in self.farm.members:
            text = await member.visitor.metrics()
            found = {
                **looks.process(member.process.pid),
                "delayed calls": looks.metric(text, "nodepool_reactor_delayed_calls"),
                "watches": looks.metric(text, "nodepool_zookeeper_watches"),
                "requests under way": looks.metric(text, "nodepool_zookeeper_outstanding_requests"),
            }
            row |= {f"{member.name}: {name}": value for name, value in found.items()}
        mntr = await deferToThread(self.farm.server.ask, "mntr")
        row |= looks.server(mntr)
        steward = self.farm.steward
        for name, path in (
            ("nodes", paths.NODES),
            ("requests", paths.REQUESTS),
            ("locks of requests", paths.REQUEST_LOCKS),
            ("leases", paths.LEASES),
        ):
            row[name] = float(len(await steward.get_children(path)))
        clients = self.zuuls.ledger.in_use
        row["ephemerals without clients'"] = row["server: ephemerals"] - clients
        row["jobs under way"] = float(self.zuuls.busy)
        row["jobs served"] = float(self.zuuls.ended["served"])
        return row

    # -- what happens meanwhile ----------------------------------------------

    async def _time_and_again(
        self, seconds: float, act: Callable[[Member], Awaitable[None]]
    ) -> None:
        """Do something every so many seconds, to one launcher after the other."""
        turn = 0
        while True:
            await deferLater(self._reactor, seconds)
            await act(self.farm.members[turn % len(self.farm.members)])
            turn += 1

    async def _reload(self, member: Member) -> None:
        self.farm.reload()
        self.done["configurations written"] += 1

    async def _cut(self, member: Member) -> None:
        member.proxy.cut()
        self.done["connections cut"] += 1

    async def _lose(self, member: Member) -> None:
        """Nothing is heard of it until ZooKeeper gives its session up."""
        member.proxy.blackhole()
        try:
            await deferLater(self._reactor, 12.0)
        finally:
            member.proxy.heal()
        self.done["sessions that ended"] += 1

    async def _borrow(self, member: Member) -> None:
        self.done[f"leases: {await member.visitor.borrow('static')}"] += 1
