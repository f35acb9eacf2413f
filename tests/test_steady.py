"""Time for the launcher, whatever is done to the clock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.steady import SLEW, SteadyTime, install

HOUR = 3600.0


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.true = 100.0
        self.skew = 1_700_000_000.0
        self.steady = SteadyTime(lambda: self.true + self.skew, lambda: self.true)

    @property
    def ahead(self) -> float:
        """How much later it is by the steady time than by the wall clock."""
        return self.steady.seconds() - self.true - self.skew


def test_it_is_the_wall_clock_while_that_is_left_alone() -> None:
    """Both tell the same time as long as nobody sets anything."""
    clocks = Clocks()
    for _ in range(5):
        clocks.true += 0.7
        assert clocks.ahead == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_it_goes_on_and_catches_up(step: float) -> None:
    """When the clock is set, time goes on, a tenth faster or slower until they agree."""
    clocks = Clocks()
    before = clocks.steady.seconds()
    clocks.skew += step
    assert clocks.steady.seconds() == before
    clocks.true += 10.0
    way = 1 if step > 0 else -1
    assert clocks.steady.seconds() - before == pytest.approx(10.0 + way * SLEW * 10.0)
    clocks.true += HOUR / SLEW
    assert clocks.ahead == pytest.approx(0.0, abs=1e-5)


@given(st.lists(st.tuples(st.floats(0.0, 1000.0), st.floats(-1e6, 1e6)), min_size=1, max_size=50))
def test_any_jumps(moves: list[tuple[float, float]]) -> None:
    """However the clock jumps about, what lasts a second lasts a second, give or take a tenth."""
    clocks = Clocks()
    last = clocks.steady.seconds()
    for passed, step in moves:
        clocks.true += passed
        clocks.skew += step
        now = clocks.steady.seconds()
        low, high = (1 - SLEW) * passed, (1 + SLEW) * passed
        assert low - 1e-3 <= now - last <= high + 1e-3
        last = now


def test_installed() -> None:
    """A reactor asks it, and not the wall clock."""
    reactor = SimpleNamespace(seconds=lambda: 0.0)
    install(reactor)
    assert reactor.seconds() > 1_700_000_000.0
