"""Whether a launcher that runs for long needs ever more of anything: `python -m proof.soak`.

Six hours of simulated time, then thirty real minutes; 0 leaves a part out, and what is kept of
its last run stays in the report.  Ends with 1 if anything grows.
"""

from __future__ import annotations

import argparse
import gc
import os
import pathlib
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from zope.interface import implementer

from proof.soak.real.part import soak as soak_really
from proof.soak.real.run import Settings
from proof.soak.report import report, summary
from proof.soak.simulated.run import SimulatedSoak
from proof.soak.simulated.world import Load

WARM_UP = 0.25
"""The share of the simulated time that does not count."""
RESULTS = pathlib.Path(__file__).resolve().parent.parent / "results"


def main() -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m proof.soak", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--simulated-hours", type=float, default=6.0)
    parser.add_argument("--real-minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    options = parser.parse_args()
    if options.simulated_hours and os.environ.get("PYTHONHASHSEED") != "0":
        # The order in which texts stand in a set is a matter of chance otherwise.
        command = [sys.executable, "-m", "proof.soak", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})
    folder: pathlib.Path = options.results
    folder.mkdir(parents=True, exist_ok=True)
    if options.simulated_hours:
        _in_memory(options.simulated_hours, options.seed, folder)
    if options.real_minutes:
        _really(Settings(seconds=60 * options.real_minutes, seed=options.seed), folder)
    parts = report(folder)
    for part in parts:
        print(summary(part))
    return 0 if all(part.good for part in parts) else 1


def _in_memory(hours: float, seed: int, folder: pathlib.Path) -> None:
    # Nothing is printed; what fails is part of what is found.
    globalLogBeginner.beginLoggingTo([_unprinted], redirectStandardIO=False)
    gc.set_threshold(50_000, 20, 20)
    soaking = SimulatedSoak(
        hours,
        Load(),
        seed,
        warm_up=WARM_UP * 3600 * hours,
        kept=lambda samples: samples.write(folder / "soak-simulated.csv"),
    )
    soaking.run().write(folder)


@implementer(ILogObserver)
def _unprinted(event: LogEvent) -> None:
    """Nobody reads it."""


def _really(settings: Settings, folder: pathlib.Path) -> None:
    def run(reactor: Any) -> Deferred[Any]:
        soaking = soak_really(
            reactor, settings, lambda samples: samples.write(folder / "soak-real.csv")
        )
        return soaking.addCallback(lambda part: part.write(folder))

    try:
        react(run)
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    sys.exit(main())
