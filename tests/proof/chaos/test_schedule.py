from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proof.chaos import faults
from proof.chaos.schedule import AT_MOST, Strike, schedule

SEEDS = st.integers(0, 2**32)
#: Each example is a whole schedule.
few = settings(max_examples=20, deadline=None)

FAMILIES = sorted({kind.family for kind in faults.ALL.values()})


def strikes(seed: int, minutes: float = 10, rest: float = 2, **which: list[str]) -> list[Strike]:
    return list(schedule(Random(seed), minutes, rest, **which))


@few
@given(SEEDS)
def test_same_seed(seed: int) -> None:
    """The same seed gives the same schedule."""
    assert strikes(seed) == strikes(seed)


@few
@given(SEEDS)
def test_another_seed(seed: int) -> None:
    """Another seed gives another one."""
    assert strikes(seed) != strikes(seed + 1)


@few
@given(SEEDS, st.floats(0.05, 10), st.floats(0.05, 5))
def test_in_order(seed: int, minutes: float, rest: float) -> None:
    """Strikes come in the order of their times, within the run."""
    found = strikes(seed, minutes, rest)
    assert found == sorted(found, key=lambda strike: strike.at)
    assert all(one.at >= 0 and one.lasts > 0 and one.until <= 60 * minutes for one in found)


@few
@given(SEEDS, st.floats(0.1, 3))
def test_no_fault_lasts_into_the_rest(seed: int, rest: float) -> None:
    """Every fault begins and ends within one period."""
    for one in strikes(seed, 10, rest):
        assert any(
            number * 60 * rest <= one.at and one.until <= (number + 1) * 60 * rest
            for number in (int(one.at / (60 * rest)) - 1, int(one.at / (60 * rest)))
        )


@few
@given(SEEDS)
def test_few_at_a_time(seed: int) -> None:
    """No more than three last at the same time; each number up to that is there."""
    found = strikes(seed, minutes=30)
    numbers = {sum(one.at <= strike.at < one.until for one in found) for strike in found}
    assert numbers == set(range(1, AT_MOST + 1))


@few
@given(SEEDS)
def test_quiet_and_bursts(seed: int) -> None:
    """There are times without any fault, and times with one after the other."""
    found = strikes(seed, minutes=30)
    ends = [max(one.until for one in found[: n + 1]) for n in range(len(found) - 1)]
    quiet = [after.at - end for end, after in zip(ends, found[1:], strict=True)]
    assert max(quiet) > 3.0
    assert any(e.at - a.at < 6.0 for a, e in zip(found, islice(found, 4, None), strict=False))


@few
@given(SEEDS, st.sampled_from(FAMILIES))
def test_only_a_family(seed: int, family: str) -> None:
    """Of one family there are all, and none of another."""
    found = {one.fault for one in strikes(seed, minutes=120, only=[family])}
    assert found == {kind.name for kind in faults.ALL.values() if kind.family == family}


@few
@given(SEEDS, st.sampled_from(FAMILIES))
def test_without_a_family(seed: int, family: str) -> None:
    """What is left out does not come."""
    names = {one.fault for one in strikes(seed, without=[family])}
    assert family not in {faults.ALL[name].family for name in names}


def test_all_in_the_end() -> None:
    """In a long run every fault there is comes, the weightier the more often."""
    found = strikes(1, minutes=600)
    counts = {name: sum(one.fault == name for one in found) for name in faults.ALL}
    assert min(counts.values()) > 0
    assert counts["launcher-killed"] > counts["launcher-all-killed"]


def test_seeds_of_their_own() -> None:
    """No two strikes choose alike."""
    found = strikes(1)
    assert len({one.seed for one in found}) == len(found)
    assert all(one.at != two.at for one, two in pairwise(found))


@pytest.mark.parametrize("which", [{"only": ["no-such"]}, {"without": ["no-such"]}])
def test_unknown_words(which: dict[str, list[str]]) -> None:
    """A word that names nothing is refused by name."""
    with pytest.raises(ValueError, match="no-such"):
        strikes(1, **which)


def test_nothing_left() -> None:
    """To leave out all that is wanted is refused."""
    with pytest.raises(ValueError, match="no fault is left"):
        strikes(1, only=["clocks"], without=["clocks"])


@pytest.mark.parametrize(("minutes", "rest"), [(0, 1), (1, 0), (-1, 1)])
def test_no_time(minutes: float, rest: float) -> None:
    """A run without time is refused."""
    with pytest.raises(ValueError, match="take some time"):
        strikes(1, minutes, rest)
