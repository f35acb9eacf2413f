"""When it is better not to try: what fails again and again is left alone for a while.

There is a breaker for each label in each zone, one for each label, which only
a wrong configuration opens, and one for the provider.  A breaker opens after
several failures in a row, for a time that doubles; then one attempt is let
through, which closes it or opens it again.

Three failures in a row open a label in a zone: as many as one node's attempts
are by default, so that a node that could not be made keeps the next from the
same end.  Ten, of two labels or more, open the provider: what one label alone
does is said by its own breaker, and a launcher that starts a dozen servers
at a time must not shut a provider for one bad image.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.providers.cloud.backoff import Backoff
from nodepool_tx.providers.cloud.errors import (
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)

__all__ = ["Attempt", "Breakers", "OpenBreaker"]

_LABEL_FAILURES = 3
_PROVIDER_FAILURES = 10
_PROVIDER_LABELS = 2
_FIRST_PAUSE = 60.0
_LONGEST_PAUSE = 600.0

#: What a breaker is for: ``(label, zone)``, ``(label,)``, or nothing for the provider.
_Key = tuple[str | None, ...]


@attrs.frozen
class OpenBreaker:
    """What is left alone, for people.

    :ivar label: None for the whole provider.
    :ivar zone: None for all zones, or where zones are the cloud's choice.
    :ivar since: when it opened first (the clock's seconds).
    :ivar until: when it is tried again, or was to be.
    :ivar probing: an attempt is on its way that decides.
    """

    label: str | None
    zone: str | None
    since: float
    until: float
    reason: str
    failures: int
    probing: bool


class _Breaker:
    """Failures in a row of one thing, and what follows from them."""

    def __init__(self, backoff: Backoff) -> None:
        self.failures = 0
        self.labels: set[str] = set()
        self.reason = ""
        self.since: float | None = None
        self.until = 0.0
        self.probe: Attempt | None = None
        self.timer: IDelayedCall | None = None
        self.backoff = backoff

    def admits(self, now: float) -> bool:
        """Closed, or ready for the one attempt that tells."""
        return self.since is None or (self.probe is None and now >= self.until)

    def disarm(self) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.timer = None


class Breakers:
    """All breakers of one provider.

    What they say changes only with time and with the ends of attempts; both
    wake the subscribers.

    :param chance: see :class:`Backoff`.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        provider: str = "",
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._provider = provider
        self._chance = chance
        self._breakers: dict[_Key, _Breaker] = {}
        self._observers: list[Callable[[], None]] = []

    def objection(self, label: str, zones: Sequence[str | None]) -> str | None:
        """Why a label is not to be tried now in any of these zones; None if it is.

        :param zones: ``[None]`` where the cloud chooses.
        """
        refusing = self._refusing((), (label,))
        if refusing is None and not self.usable_zones(label, zones):
            refusing = self._refusing(*((label, zone) for zone in zones))
        if refusing is None:
            return None
        key, breaker = refusing
        times = "a failure" if breaker.failures == 1 else f"{breaker.failures} failures in a row"
        return f"{_name(key)} is left alone after {times}, the last: {breaker.reason}"

    def usable_zones(self, label: str, zones: Sequence[str | None]) -> tuple[str | None, ...]:
        """Those of the zones in which the label may be tried, in the same order."""
        if self._refusing((), (label,)) is not None:
            return ()
        return tuple(zone for zone in zones if self._refusing((label, zone)) is None)

    def _refusing(self, *keys: _Key) -> tuple[_Key, _Breaker] | None:
        """The first of these that admits nothing now."""
        now = self._clock.seconds()
        for key in keys:
            breaker = self._breakers.get(key)
            if breaker is not None and not breaker.admits(now):
                return key, breaker
        return None

    def begin(self, label: str, zone: str | None) -> Attempt:
        """Note that an attempt begins; its end must be told to what is returned.

        Where a breaker is ready for it, this is the attempt that decides.
        """
        attempt = Attempt(self, label, zone)
        now = self._clock.seconds()
        for _, breaker in self._affected(attempt):
            if breaker.since is not None and breaker.admits(now):
                breaker.probe = attempt
        return attempt

    def _affected(self, attempt: Attempt) -> Iterator[tuple[_Key, _Breaker]]:
        for key in ((), (attempt.label,), (attempt.label, attempt.zone)):
            breaker = self._breakers.get(key)
            if breaker is not None:
                yield key, breaker

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear whenever answers may have changed; returns its removal."""
        self._observers.append(observer)
        for breaker in self._breakers.values():
            self._arm(breaker)

        def remove() -> None:
            if observer in self._observers:
                self._observers.remove(observer)

        return remove

    def describe(self) -> tuple[OpenBreaker, ...]:
        """What is open, the provider first."""
        return tuple(
            OpenBreaker(
                label=key[0] if key else None,
                zone=key[1] if len(key) > 1 else None,
                since=breaker.since,
                until=breaker.until,
                reason=breaker.reason,
                failures=breaker.failures,
                probing=breaker.probe is not None,
            )
            for key, breaker in sorted(
                self._breakers.items(), key=lambda item: [part or "" for part in item[0]]
            )
            if breaker.since is not None
        )

    def stop(self) -> None:
        """Wake nobody any more, until somebody subscribes again."""
        self._observers = []
        for breaker in self._breakers.values():
            breaker.disarm()

    # -- how attempts end ------------------------------------------------

    def _succeeded(self, attempt: Attempt) -> None:
        for key, breaker in tuple(self._affected(attempt)):
            del self._breakers[key]
            breaker.disarm()
            if breaker.since is not None:
                self._log.info(
                    "provider {provider}: {what} works again",
                    provider=self._provider,
                    what=_name(key),
                )
                self._changed()

    def _failed(self, attempt: Attempt, error: BaseException) -> None:
        if isinstance(error, (OverQuota, RetryLater)):
            self._abandoned(attempt)
            return
        if isinstance(error, InvalidConfiguration):
            self._count((attempt.label,), attempt, error, at=1)
        elif isinstance(error, NoCapacity):
            # The cloud is well; it is just full.
            self._count((attempt.label, attempt.zone), attempt, error, at=_LABEL_FAILURES)
        else:
            self._count((attempt.label, attempt.zone), attempt, error, at=_LABEL_FAILURES)
            self._count((), attempt, error, at=_PROVIDER_FAILURES, labels=_PROVIDER_LABELS)
        # What is left to be decided by it is not.
        self._abandoned(attempt)

    def _count(
        self, key: _Key, attempt: Attempt, error: BaseException, at: int, labels: int = 1
    ) -> None:
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = _Breaker(Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, self._chance))
            self._breakers[key] = breaker
        breaker.failures += 1
        breaker.labels.add(attempt.label)
        breaker.reason = str(error) or type(error).__name__
        if breaker.since is None:
            if breaker.failures >= at and len(breaker.labels) >= labels:
                breaker.since = self._clock.seconds()
                self._open(key, breaker)
        elif breaker.probe is attempt:
            self._open(key, breaker)
        # Else it began before and tells nothing new.

    def _open(self, key: _Key, breaker: _Breaker) -> None:
        breaker.probe = None
        pause = breaker.backoff.next()
        breaker.until = self._clock.seconds() + pause
        self._arm(breaker)
        self._log.warn(
            "provider {provider}: {what} is left alone for {pause:.0f} seconds, "
            "failures in a row: {failures}, the last: {reason}",
            provider=self._provider,
            what=_name(key),
            pause=pause,
            failures=breaker.failures,
            reason=breaker.reason,
        )
        self._changed()

    def _arm(self, breaker: _Breaker) -> None:
        """Tell of the time at which an attempt is let through, if anybody listens."""
        breaker.disarm()
        wait = breaker.until - self._clock.seconds()
        if breaker.since is not None and wait > 0 and self._observers:
            breaker.timer = self._clock.callLater(wait, self._changed)

    def _abandoned(self, attempt: Attempt) -> None:
        for _, breaker in self._affected(attempt):
            if breaker.probe is attempt:
                breaker.probe = None
                self._changed()

    def _changed(self) -> None:
        for observer in tuple(self._observers):
            observer()


def _name(key: _Key) -> str:
    if not key:
        return "the whole provider"
    zone = key[1] if len(key) > 1 else None
    return f"label {key[0]} in zone {zone}" if zone else f"label {key[0]}"


class Attempt:
    """One attempt to make a server; exactly one of the ends is to be told.

    Telling a second one has no effect.
    """

    def __init__(self, breakers: Breakers, label: str, zone: str | None) -> None:
        self.label = label
        self.zone = zone
        self._breakers: Breakers | None = breakers

    def succeeded(self) -> None:
        """There is a server: whatever was open for it closes."""
        breakers = self._end()
        if breakers is not None:
            breakers._succeeded(self)

    def failed(self, error: BaseException) -> None:
        """There is none, for this reason.

        :class:`OverQuota` and :class:`RetryLater` say nothing about label or
        zone and count as :meth:`abandoned`.
        """
        breakers = self._end()
        if breakers is not None:
            breakers._failed(self, error)

    def abandoned(self) -> None:
        """It was given up before it could tell anything."""
        breakers = self._end()
        if breakers is not None:
            breakers._abandoned(self)

    def _end(self) -> Breakers | None:
        breakers, self._breakers = self._breakers, None
        return breakers
