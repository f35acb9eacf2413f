"""What counts as growth, and what does not."""

from __future__ import annotations

import math
import pathlib
from random import Random

import pytest

from proof.soak.part import Part
from proof.soak.report import report, summary
from proof.soak.samples import Samples
from proof.soak.verdict import Limit, Verdict, judge, slope, table

LIMIT = Limit(0.05, 2)


def verdict(values: list[float], limit: Limit = LIMIT, warm_up: float = 0.0) -> Verdict:
    samples = Samples([5.0 * i for i in range(len(values))], {"x": values})
    (found,) = judge(samples, warm_up, {"x": limit})
    return found


def test_slope() -> None:
    """The slope of a line is found, whatever a few samples say."""
    values = [3.0 * i for i in range(50)]
    values[7] = values[30] = 10_000.0
    assert math.isclose(slope([2.0 * i for i in range(50)], values), 1.5, rel_tol=0.02)


def test_noise_is_flat() -> None:
    """Ups and downs around the same value are no growth."""
    random = Random(4)
    found = verdict([random.gauss(200, 15) for _ in range(360)])
    assert not found.grows
    assert abs(found.growth) < 10


def test_slow_leak() -> None:
    """One more every two minutes is seen through that noise, and said to grow."""
    random = Random(4)
    found = verdict([random.gauss(200, 15) + i / 24 for i in range(360)])
    assert found.grows
    assert 12 < found.growth < 18


def test_peaks_are_flat() -> None:
    """What is up for a while and comes back is no growth, wherever it is."""
    assert not verdict([5.0] * 300 + [400.0] * 40 + [5.0] * 20).grows
    assert not verdict([5.0] * 200 + [0.0] * 40 + [5.0] * 120).grows


def test_queues() -> None:
    """A queue that is longer and longer, and empty now and then, leaks nothing; else it does."""
    lows = Limit(0.0, 5, lowest_of=12)
    longer = [0.0 if i % 7 == 0 else i / 4 for i in range(360)]
    assert verdict(longer, Limit(0.0, 5)).grows
    assert not verdict(longer, lows).grows
    leaking = [value + i / 40 for i, value in enumerate(longer)]
    found = verdict(leaking, lows)
    assert found.grows
    assert 8 < found.growth < 10


def test_few_samples_of_a_queue() -> None:
    """Of few samples fewer are put together, so that there is a verdict."""
    assert verdict([float(i) for i in range(10)], Limit(0.0, 5, lowest_of=12)).grows


def test_shrinking_is_flat() -> None:
    """Less and less is no growth."""
    assert not verdict([float(1000 - i) for i in range(300)]).grows


def test_warm_up() -> None:
    """What fills up in the beginning does not count."""
    values = [float(min(i, 100)) for i in range(300)]
    assert verdict(values).grows
    assert not verdict(values, warm_up=500.0).grows


def test_least() -> None:
    """So much is allowed in any case, and not more."""
    assert not verdict([i / 100 for i in range(100)], Limit(0.0, 1)).grows
    assert verdict([i / 100 for i in range(100)], Limit(0.0, 0.9)).grows


def test_too_few() -> None:
    """There is no verdict about next to nothing."""
    with pytest.raises(ValueError, match="1 samples after the warm-up"):
        verdict([1.0] * 20, warm_up=95.0)


def test_never_looked_at() -> None:
    """There is no verdict about what was not looked at."""
    samples = Samples([float(i) for i in range(20)], {"x": [1.0] * 20})
    with pytest.raises(ValueError, match="never looked at: y"):
        judge(samples, 0.0, {"y": LIMIT})


def test_columns() -> None:
    """Each look is at the same."""
    samples = Samples()
    samples.add(0.0, {"a": 1.0})
    with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
        samples.add(1.0, {"b": 1.0})


def part(name: str, values: list[float], troubles: tuple[str, ...] = ()) -> Part:
    samples = Samples([60.0 * i for i in range(len(values))], {"memory": values, "x": values})
    limits = {"memory": Limit(0.05, 1, "bytes"), "x": LIMIT}
    return Part(name, "Words.", {"jobs": 12345.0}, 120.0, limits, troubles, samples)


def test_report(tmp_path: pathlib.Path) -> None:
    """The page is made of what is kept of both parts, and says which series grow."""
    part("simulated", [2.0**20 * (100 + i) for i in range(30)]).write(tmp_path)
    part("real", [7.0] * 30).write(tmp_path)
    simulated, real = report(tmp_path)
    assert summary(simulated) == "simulated: grows: memory, x"
    assert summary(real) == "real: nothing grows"
    assert (simulated.good, real.good) == (False, True)
    assert simulated == Part.read(tmp_path, "simulated")
    page = (tmp_path / "soak.md").read_text()
    assert "| memory | 105.00 MiB | 126.00 MiB | +27.00 MiB | 5.25 MiB | **grows** |" in page
    assert "| x | 7.0 | 7.0 | +0.0 | 2.0 | flat |" in page
    assert "- jobs: 12,345" in page
    for name in ("soak.svg", "soak.png"):
        assert (tmp_path / name).stat().st_size > 5000


def test_troubles(tmp_path: pathlib.Path) -> None:
    """What went wrong is said, and not good, though nothing grows."""
    found = part("real", [7.0] * 30, ("a client: lost",))
    assert not found.good
    assert summary(found) == ("real: nothing grows; 1 things went wrong, the first: a client: lost")


def test_table_without_units() -> None:
    """Large numbers are shown without fractions."""
    text = table([Verdict("x", "", 12345.6, 99.95, -1.25, 1000.0)])
    assert text.splitlines()[-1] == "| x | 12,346 | 100.0 | -1.2 | 1,000 | flat |"
