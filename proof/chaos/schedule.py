"""When which fault strikes: from a seed, and nothing else.

Time at rest does not count: the periods between two rests follow each other
without a gap, and no fault lasts from one into the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

import attrs

from proof.chaos.faults import Kind, chosen

__all__ = ["AT_MOST", "Strike", "schedule"]

#: So many faults last at the same time at most.
AT_MOST = 3

#: Seconds between the strikes of a burst, and how long each lasts at most, so that no more
#: than :data:`AT_MOST` of them are there at a time.
_APART = (0.4, 1.2)
_BRIEF = 1.1


@attrs.frozen(order=True)
class Strike:
    """A fault that strikes.

    :ivar at: seconds since the beginning, without the time at rest.
    :ivar seed: of what the fault chooses.
    :ivar lasts: seconds until it is healed.
    """

    at: float
    fault: str
    seed: int
    lasts: float

    @property
    def until(self) -> float:
        return self.at + self.lasts


def schedule(
    rng: Random,
    minutes: float,
    rest_every: float,
    only: Iterable[str] = (),
    without: Iterable[str] = (),
) -> Iterator[Strike]:
    """The strikes of a run, in the order of their times.

    One fault, two or three that overlap, bursts of many short ones; and at times nothing for
    a while.

    :param minutes: of the whole run, without the time at rest.
    :param rest_every: after so many minutes all is healed, and the farm comes to rest.
    :param only: names and families of faults; all of them if empty.
    :raises ValueError: see :func:`proof.chaos.faults.chosen`; or a time is no time.
    """
    if minutes <= 0 or rest_every <= 0:
        raise ValueError("a run and its periods take some time")
    kinds = chosen(only, without)
    return _strikes(rng, kinds, 60.0 * minutes, 60.0 * rest_every)


def _strikes(rng: Random, kinds: tuple[Kind, ...], end: float, period: float) -> Iterator[Strike]:
    now, number = 0.0, 0
    while now < end:
        rest = min(end, (number + 1) * period)
        now += rng.uniform(4.0, 10.0) if rng.random() < 0.2 else rng.uniform(0.0, 1.5)
        act = _burst if rng.random() < 0.2 else _together
        wave = [strike for strike in act(rng, kinds, now) if strike.until <= rest]
        yield from wave
        if wave:
            now = max(strike.until for strike in wave)
        elif now > rest - 2.0:
            # What is left is too short for anything.
            now, number = rest, number + 1


def _together(rng: Random, kinds: tuple[Kind, ...], now: float) -> list[Strike]:
    """Some that overlap."""
    count = rng.choice((1, 1, 2, 2, AT_MOST))
    starts = sorted([0.0, *(rng.uniform(0.0, 4.0) for _ in range(count - 1))])
    return [_strike(rng, kinds, now + start) for start in starts]


def _burst(rng: Random, kinds: tuple[Kind, ...], now: float) -> list[Strike]:
    """One brief fault after the other."""
    wave: list[Strike] = []
    for _ in range(rng.randrange(5, 10)):
        strike = _strike(rng, kinds, now)
        wave.append(attrs.evolve(strike, lasts=min(strike.lasts, _BRIEF)))
        now += rng.uniform(*_APART)
    return wave


def _strike(rng: Random, kinds: tuple[Kind, ...], at: float) -> Strike:
    (kind,) = rng.choices(kinds, [kind.weight for kind in kinds])
    return Strike(at, kind.name, rng.getrandbits(32), rng.uniform(*kind.lasts))
