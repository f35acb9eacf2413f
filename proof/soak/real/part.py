"""The real part, from its settings to what it has found."""

from __future__ import annotations

import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from proof.soak.part import Part
from proof.soak.real.run import RealSoak, Settings, limits, warm_up
from proof.soak.samples import Samples

__all__ = ["found", "soak"]

_WORDS = """\
A real ZooKeeper with TLS, and {launchers} launchers (`twistd nodepool`), each with {hosts} static
hosts for two jobs at a time that are probed before they are handed out, a simulated cloud of its
own with a stock, HTTP with a stream of events open and a scrape with every look, and reports to
statsd.  Three clients begin {rate:g} jobs a second of {shortest:g} to {longest:g} seconds; of a
hundred requests 88 are for a static node, 6 for two, 5 for a node of a cloud, and 3 are cancelled.
A new configuration every {reload:g} s (one in ten cannot be read), a connection cut every {cut:g}
s, a session ended every {lost:g} s, a lease every {lease:g} s.  Leases that are over are kept for
ten minutes, the longest of all there is: with a warm-up shorter than that they are not judged."""


def soak(
    reactor: Any,
    settings: Settings,
    kept: Callable[[Samples], object] = lambda samples: None,
) -> Deferred[Part]:
    """Run it in a directory that is removed at the end.

    :param kept: is given what there is so far, once a minute.
    """

    async def run() -> Part:
        with tempfile.TemporaryDirectory(prefix="soak-") as directory:
            soaking = RealSoak(reactor, pathlib.Path(directory), settings)
            last = time.monotonic()

            def keep() -> None:
                nonlocal last
                if soaking.samples.times and time.monotonic() > last + 60:
                    last = time.monotonic()
                    kept(soaking.samples)

            soaking.each_look = keep
            await soaking.run()
        return found(soaking, settings)

    return Deferred.fromCoroutine(run())


def found(soaking: RealSoak, settings: Settings) -> Part:
    """What a soak that has ended has found."""
    troubles = list(soaking.troubles)
    troubles += [
        f"{count} times in the log: {name}"
        for name, count in soaking.done.items()
        if name.endswith("tracebacks") and count
    ]
    words = _WORDS.format(
        launchers=settings.launchers,
        hosts=settings.hosts,
        rate=settings.rate,
        shortest=settings.job[0],
        longest=settings.job[1],
        reload=settings.reload,
        cut=settings.cut,
        lost=settings.lost,
        lease=settings.lease,
    )
    return Part(
        "real",
        " ".join(words.split()),
        dict(sorted(soaking.done.items())),
        warm_up(settings.seconds),
        limits(settings.launchers, settings.seconds),
        tuple(troubles),
        soaking.samples,
    )
