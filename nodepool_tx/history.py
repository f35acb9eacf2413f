"""What has happened during the last day, minute by minute, in bounded memory.

A minute under way keeps a sample of its durations; once it is over only its
numbers are left.  So a day costs a few numbers per minute and provider, however
busy it was.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodepool_tx.events import (
    Event,
    Events,
    LaunchEnded,
    ReloadEnded,
    RequestEnded,
)

__all__ = ["BUCKET_SECONDS", "MINUTES", "Durations", "History", "PastReload"]

#: Seconds that a bucket is about.
BUCKET_SECONDS = 60

#: How many buckets are kept: a day.
MINUTES = 24 * 60

#: Durations kept of a minute under way, of each provider; of more, a fair sample.
SAMPLE = 500

#: Reloads that are remembered.
RELOADS = 100


class Durations:
    """A fair sample of durations (seconds), of which the middle and the slow end are asked."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._seen = 0
        self._sample: list[float] = []

    def add(self, seconds: float) -> None:
        self._seen += 1
        if len(self._sample) < SAMPLE:
            self._sample.append(seconds)
        elif (place := self._random.randrange(self._seen)) < SAMPLE:
            self._sample[place] = seconds

    def quantile(self, share: float) -> float | None:
        """The duration that this share did not exceed; None if there is none."""
        if not self._sample:
            return None
        ordered = sorted(self._sample)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


@attrs.define
class _Tally:
    """What of one kind happened in one minute."""

    durations: Durations | None
    counts: Counter[str] = attrs.field(factory=Counter)
    p50: float | None = None
    p95: float | None = None

    def note(self, result: str, seconds: float | None) -> None:
        self.counts[result] += 1
        if seconds is not None and self.durations is not None:
            self.durations.add(seconds)

    def measure(self) -> None:
        if self.durations is not None:
            self.p50, self.p95 = self.durations.quantile(0.5), self.durations.quantile(0.95)

    def close(self) -> None:
        """Keep the numbers alone."""
        self.measure()
        self.durations = None


@attrs.define
class _Bucket:
    at: int
    launches: dict[str, _Tally] = attrs.field(factory=dict)
    requests: _Tally | None = None

    def tallies(self) -> Iterator[_Tally]:
        yield from self.launches.values()
        if self.requests is not None:
            yield self.requests


@attrs.frozen
class PastReload:
    """A configuration that was brought into force, and when that was done (epoch seconds)."""

    at: float
    event: ReloadEnded


class History:
    """Listens to what happens in this process and remembers it for people."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, events: Events, random: Random | None = None) -> None:
        self._clock = clock
        self._random = random or Random()
        self._buckets: deque[_Bucket] = deque(maxlen=MINUTES)
        self._reloads: deque[PastReload] = deque(maxlen=RELOADS)
        self._observers: list[Callable[[], None]] = []
        events.subscribe(self._on_event)

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear whenever the newest bucket changes; returns the removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    # -- remembering -----------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ReloadEnded):
            self._reloads.append(PastReload(self._clock.seconds(), event))
            return
        if isinstance(event, LaunchEnded):
            launches = self._bucket().launches
            if event.provider not in launches:
                launches[event.provider] = _Tally(Durations(self._random))
            ready = event.result == "ready"
            launches[event.provider].note(event.result, event.seconds if ready else None)
        elif isinstance(event, RequestEnded):
            bucket = self._bucket()
            if bucket.requests is None:
                bucket.requests = _Tally(Durations(self._random))
            served = event.result == "fulfilled"
            bucket.requests.note(event.result, event.seconds if served else None)
        else:
            return
        for observer in tuple(self._observers):
            observer()

    def _bucket(self) -> _Bucket:
        """The one of this minute."""
        at = int(self._clock.seconds() // BUCKET_SECONDS) * BUCKET_SECONDS
        newest = self._buckets[-1] if self._buckets else None
        # A clock that was put back fills the newest bucket for a while.
        if newest is None or newest.at < at:
            if newest is not None:
                for tally in newest.tallies():
                    tally.close()
            newest = _Bucket(at)
            self._buckets.append(newest)
        return newest

    # -- telling ---------------------------------------------------------

    def reloads(self) -> tuple[PastReload, ...]:
        """The last hundred, oldest first."""
        return tuple(self._reloads)

    def last(self, minutes: int) -> dict[str, Any]:
        """The buckets of the last ``minutes``, the one under way included.

        Minutes in which nothing happened are left out.  ``failed`` counts
        launch attempts with any other result than ``ready``; the results
        themselves are in ``errors``.  Durations are those of what came to a
        good end, in seconds.
        """
        now = self._clock.seconds()
        start = int(now // BUCKET_SECONDS - minutes + 1) * BUCKET_SECONDS
        launches: dict[str, list[dict[str, Any]]] = {}
        errors: dict[str, Counter[str]] = {}
        requests: list[dict[str, Any]] = []
        for bucket in self._buckets:
            if bucket.at < start:
                continue
            for provider, tally in sorted(bucket.launches.items()):
                launches.setdefault(provider, []).append(_launches(bucket.at, tally))
                if failed := _errors(tally):
                    errors.setdefault(provider, Counter()).update(failed)
            if bucket.requests is not None:
                requests.append(_requests(bucket.at, bucket.requests))
        return {
            "bucket_seconds": BUCKET_SECONDS,
            "start": start,
            "launches": launches,
            "errors": {provider: dict(counts) for provider, counts in sorted(errors.items())},
            "requests": requests,
        }

    def newest(self) -> dict[str, Any] | None:
        """The bucket that changed last; None if nothing has happened yet."""
        if not self._buckets:
            return None
        bucket = self._buckets[-1]
        return {
            "bucket_seconds": BUCKET_SECONDS,
            "at": bucket.at,
            "launches": {
                provider: _launches(bucket.at, tally)
                for provider, tally in sorted(bucket.launches.items())
            },
            "errors": {
                provider: failed
                for provider, tally in sorted(bucket.launches.items())
                if (failed := _errors(tally))
            },
            "requests": None if bucket.requests is None else _requests(bucket.at, bucket.requests),
        }


def _launches(at: int, tally: _Tally) -> dict[str, Any]:
    tally.measure()
    ready = tally.counts["ready"]
    failed = sum(tally.counts.values()) - ready
    return {"at": at, "ready": ready, "failed": failed, "p50": tally.p50, "p95": tally.p95}


def _errors(tally: _Tally) -> dict[str, int]:
    return {result: count for result, count in sorted(tally.counts.items()) if result != "ready"}


def _requests(at: int, tally: _Tally) -> dict[str, Any]:
    tally.measure()
    counts = {result: tally.counts[result] for result in ("fulfilled", "failed", "declined")}
    return {"at": at, **counts, "p50": tally.p50, "p95": tally.p95}
