"""Strikes the faults of a schedule at their times, and heals them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from random import Random

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.python.failure import Failure

from proof.chaos.farm import ChaosFarm
from proof.chaos.faults import Surprise, make
from proof.chaos.interface import Fault
from proof.chaos.schedule import Strike
from proof.chaos.verdict import Verdict

__all__ = ["Weather"]


class Weather:
    """What goes wrong, in periods between which all is well.

    :param clock: seconds since the beginning of the run.
    :ivar strikes: when what struck.
    """

    def __init__(self, farm: ChaosFarm, strikes: Iterable[Strike], verdict: Verdict) -> None:
        self._farm = farm
        self._coming = iter(strikes)
        self._next = next(self._coming, None)
        self._verdict = verdict
        self._going_on: set[Deferred[None]] = set()
        self._lasting: dict[Fault, Deferred[None]] = {}
        self.struck: Counter[str] = Counter()
        self.strikes: list[tuple[float, str]] = []

    async def blow(self, begin: float, end: float) -> None:
        """Let come what is to come from `begin` to `end`, by the schedule's own time."""
        zero = time.monotonic() - begin
        while self._next is not None and self._next.at < end and self._verdict.good:
            await self._until(zero + self._next.at)
            self._begin(self._next)
            self._next = next(self._coming, None)
        await self._until(zero + end)
        await self.calm()

    async def _until(self, moment: float) -> None:
        while self._verdict.good and (left := moment - time.monotonic()) > 0:
            await self._farm.sleep(min(left, 0.5))

    async def calm(self) -> None:
        """Heal all, and wait until everything has come to its end."""
        for task in list(self._lasting.values()):
            task.cancel()
        while self._going_on:
            await DeferredList(list(self._going_on))

    def _begin(self, strike: Strike) -> None:
        fault = make(strike.fault)
        self.struck[strike.fault] += 1
        self.strikes.append((time.monotonic() - self._farm.began, strike.fault))
        striking = Deferred.fromCoroutine(fault.strike(self._farm, Random(strike.seed)))
        self._watch(striking, fault)
        self._watch(Deferred.fromCoroutine(self._heal_later(fault, strike.lasts)), fault)

    def _watch(self, task: Deferred[None], fault: Fault) -> None:
        self._going_on.add(task)
        task.addErrback(self._surprised, fault.name)
        task.addBoth(lambda _: self._going_on.discard(task))

    async def _heal_later(self, fault: Fault, seconds: float) -> None:
        lasting = Deferred.fromCoroutine(self._farm.sleep(seconds))
        self._lasting[fault] = lasting
        try:
            await lasting
        except CancelledError:
            pass
        finally:
            del self._lasting[fault]
        await fault.heal(self._farm)

    def _surprised(self, failure: Failure, name: str) -> None:
        if failure.check(Surprise):
            self._verdict.add("surprise", f"{name}: {failure.getErrorMessage()}")
        elif not failure.check(CancelledError):
            self._verdict.add("instrument", f"{name} fell over: {failure.getTraceback()}")
