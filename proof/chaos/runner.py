"""A whole run, from the first process that is started to the last line of the report."""

from __future__ import annotations

import math
import os
import pathlib
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from random import Random
from statistics import fmean
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall

from proof.chaos.books import End
from proof.chaos.borrowers import Borrower
from proof.chaos.configs import WISHES
from proof.chaos.crowd import Crowd
from proof.chaos.eyes import Eyes
from proof.chaos.farm import ChaosFarm
from proof.chaos.options import Options
from proof.chaos.report import Run, append, plot
from proof.chaos.rest import Rest
from proof.chaos.schedule import schedule
from proof.chaos.verdict import LogWatch, Verdict
from proof.chaos.weather import Weather

__all__ = ["Runner"]

#: Seconds between two lines of progress, and between two looks at the history.
_PROGRESS, _LOOK = 5.0, 0.25

#: Those who borrow, one lease at a time each.
_BORROWERS = 3

#: Characters of a violation that the report keeps.
_WORDS = 200

#: Lines of the story that are told when something is wrong.
_STORY = 25


class Runner:
    """One run.

    :param say: takes a line for whoever watches.
    :ivar verdict: as found so far.
    """

    def __init__(
        self, reactor: Any, options: Options, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._say = say
        self.verdict = Verdict()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
        self._story: deque[str] = deque(maxlen=_STORY)
        self._date = datetime.now(timezone.utc)
        self._rests: list[tuple[float, float]] = []
        self._loads: list[float] = []
        self._crowd: Crowd | None = None
        self._borrowers: Sequence[Borrower] = ()
        self._weather: Weather | None = None
        self._working: Deferred[None] | None = None
        self.interrupted = False

    # -- from outside ----------------------------------------------------

    async def run(self) -> int:
        """Everything; the exit status: 0, 1 if a rule was broken, 130 if it was interrupted."""
        self.farm = ChaosFarm(
            self._reactor, self.directory, launchers=self._options.launchers, note=self._note
        )
        self.eyes = Eyes(self.farm, self.verdict)
        self._say(f"seed {self._options.seed}; logs are in {self.directory}")
        try:
            self._working = Deferred.fromCoroutine(self._work())
            await self._working
        except CancelledError:
            self.interrupted = True
        except Exception:
            self.verdict.add("instrument", traceback.format_exc())
        finally:
            await self._finish()
        if not self.verdict.good:
            return 1
        return 130 if self.interrupted else 0

    def interrupt(self) -> None:
        """Come to an end, healing all."""
        if self._working is not None:
            self._working.cancel()

    # -- a run -----------------------------------------------------------

    async def _work(self) -> None:
        options, farm = self._options, self.farm
        await farm.start()
        self.eyes.open()
        rng = Random(options.seed)
        people = Random(rng.getrandbits(32))
        self._borrowers = [
            Borrower(self._reactor, farm.launchers, WISHES, Random(people.getrandbits(32)))
            for _ in range(_BORROWERS)
        ]
        crowd = self._crowd = Crowd(
            farm, options.clients, people, self.eyes.meet, borrowers=self._borrowers
        )
        strikes = schedule(
            Random(rng.getrandbits(32)),
            options.minutes,
            options.rest_every,
            options.only,
            options.without,
        )
        weather = self._weather = Weather(farm, strikes, self.verdict)
        rest = Rest(farm, crowd, self._look)
        logs = [LogWatch(launcher.process.log_file) for launcher in farm.launchers]
        self._logs = logs
        looking = LoopingCall(self._look)
        telling = LoopingCall(self._tell)
        for call, pause in ((looking, _LOOK), (telling, _PROGRESS)):
            call.clock = self._reactor
            call.start(pause, now=False).addErrback(self._blind)
        try:
            period, end = options.rest_every * 60.0, options.minutes * 60.0
            for number in range(math.ceil(end / period - 1e-9)):
                await weather.blow(number * period, min(end, (number + 1) * period))
                if self.verdict.good:
                    await self._come_to_rest(rest, crowd, rng)
                if not self.verdict.good:
                    return
        finally:
            for call in (looking, telling):
                if call.running:
                    call.stop()

    def _blind(self, failure: Any) -> None:
        self.verdict.add("instrument", failure.getTraceback())

    async def _come_to_rest(self, rest: Rest, crowd: Crowd, rng: Random) -> None:
        began = self._now()
        self._note("all is healed; the farm is to come to rest")
        for complaint in await rest.demand(self.farm.some_configuration(rng)):
            self.verdict.add("rest", complaint)
        self._look()
        self._rests.append((began, self._now()))
        self._note(f"at rest after {self._now() - began:.1f} s")
        crowd.resume()

    def _look(self) -> None:
        """At everything that was written since the last look."""
        self.eyes.look()
        assert self._crowd is not None
        complaints = self._crowd.books.complaints
        while complaints:
            self.verdict.add("client", complaints.pop(0))
        for launcher, log in zip(self.farm.launchers, self._logs, strict=True):
            found = log.look()
            if found is not None:
                self.verdict.add("log", f"launcher {launcher.number} logged:\n{found}")

    # -- telling ---------------------------------------------------------

    def _now(self) -> float:
        return time.monotonic() - self.farm.began

    def _note(self, words: str) -> None:
        line = f"{self._now():7.1f} s  {words}"
        self._story.append(line)
        with (self.directory / "story").open("a") as story:
            story.write(line + "\n")

    def _tell(self) -> None:
        self._loads.append(os.getloadavg()[0])
        self._say(f"{self._now():6.0f} s  {self._summary()}")

    def _summary(self) -> str:
        if self._crowd is None or self._weather is None:
            return "it had not begun"
        ends = self._crowd.books.ends
        leases: Counter[str] = sum((each.ends for each in self._borrowers), Counter())
        words = [
            f"{sum(self._weather.struck.values())} faults",
            *(f"{ends[end]} {end.value}" for end in End),
            f"{leases.total()} leases ({', '.join(f'{n} {end}' for end, n in leases.items())})",
            f"{self.eyes.transactions} transactions checked",
            f"{len(self._rests)} rests",
            f"{len(self.verdict.breaches)} violations",
        ]
        return ", ".join(words)

    # -- the end ---------------------------------------------------------

    async def _finish(self) -> None:
        """Stop everything, tell how it went, and keep what is to be kept."""
        try:
            if self._weather is not None:
                await self._weather.calm()
            if self._crowd is not None:
                await self._crowd.stop()
        except Exception:
            self.verdict.add("instrument", traceback.format_exc())
        keep = self._options.keep or not self.verdict.good
        try:
            if keep:
                await self._have_launchers_tell()
                self.farm.save(self.directory / "zookeeper")
        finally:
            await self.farm.stop()
        self._tell_verdict(keep)
        if not self.interrupted and self._options.results is not None:
            self._report(self._options.results)
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    async def _have_launchers_tell(self) -> None:
        """Have what they are doing in their logs."""
        for launcher in self.farm.launchers:
            if launcher.process.running:
                launcher.process.send(signal.SIGUSR2)
        await self.farm.sleep(1.0)

    def _tell_verdict(self, keep: bool) -> None:
        self._say(f"{'interrupted; ' if self.interrupted else ''}{self._summary()}")
        if self.verdict.good:
            self._say("no violation" + (" so far" if self.interrupted else ""))
        else:
            options = self._options
            self._say(f"VIOLATION, seed {options.seed}, {options.minutes:g} minutes")
            for breach in self.verdict.breaches:
                self._say(str(breach))
            self._say("what happened last:")
            for line in self._story:
                self._say(line)
        if keep:
            self._say(f"all logs are in {self.directory}")

    def _report(self, results: pathlib.Path) -> None:
        if self._crowd is None or self._weather is None:
            return
        options, books = self._options, self._crowd.books
        spent = min(options.minutes, (self._now() - sum(b - a for a, b in self._rests)) / 60.0)
        run = Run(
            date=self._date.isoformat(timespec="seconds"),
            seed=options.seed,
            minutes=round(spent, 2),
            launchers=options.launchers,
            clients=options.clients,
            faults=dict(sorted(self._weather.struck.items())),
            requests={end.value: books.ends[end] for end in End},
            transactions=self.eyes.transactions,
            rests=len(self._rests),
            longest_wait=round(max(books.waits, default=0.0), 1),
            deaths=books.deaths,
            violations=[str(breach).splitlines()[0][:_WORDS] for breach in self.verdict.breaches],
            load=round(fmean(self._loads), 1) if self._loads else 0.0,
        )
        append(results, run)
        zero = self.farm.began
        plot(
            results / "chaos.svg",
            f"{spent:.0f} minutes of chaos, seed {options.seed}",
            [at - zero for at in books.served_at],
            self._weather.strikes,
            self._rests,
        )
