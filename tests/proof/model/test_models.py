"""The models hold at small sizes, and every wrong launcher is found out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest

from proof.model.__main__ import QUICK, Entry, main
from proof.model.explore import Step, explore
from proof.model.handing_out import HandingOut
from proof.model.mutants import MUTANTS


@pytest.mark.parametrize("entry", QUICK, ids=lambda entry: entry[0])
def test_model_holds(entry: Entry) -> None:
    """Nothing is wrong in any state that can be reached, and no state is a trap."""
    verdict = explore(entry[1]())
    assert verdict.holds, verdict.in_words()
    assert verdict.good_ends


@pytest.mark.parametrize("what", MUTANTS)
def test_mutant_is_found(what: str) -> None:
    """A launcher that is wrong in one way is found out, with the way that leads there."""
    verdict = explore(MUTANTS[what](), most=100_000)
    assert verdict.problem
    assert verdict.trace


def test_reductions_lose_nothing() -> None:
    """What is left out of the search for being without effect is without effect."""
    small: dict[str, Any] = {"nodes": 1, "losses": 0, "crashes": 0, "wants": (1, 1)}
    reduced = explore(HandingOut(**small))
    whole = explore(HandingOut(**small, reduced=False))
    assert reduced.holds
    assert whole.holds
    assert whole.states > reduced.states


class Counter(NamedTuple):
    at: int


class Staircase:
    """Counts up to a number; ``pit`` is where it may fall to, and stays."""

    name = "staircase"

    def __init__(self, forbidden: int | None = None, pit: bool = False) -> None:
        self._forbidden = forbidden
        self._pit = pit

    def initial(self) -> Iterable[Counter]:
        yield Counter(0)

    def steps(self, state: Counter) -> Iterable[Step[Counter]]:
        if 0 <= state.at < 5:
            yield Step("goes up", Counter(state.at + 1))
            if state.at < 4:
                yield Step("leaps", Counter(state.at + 2))
        if self._pit and state.at == 3:
            yield Step("falls", Counter(-1))

    def wrong(self, state: Counter) -> str:
        return "forbidden" if state.at == self._forbidden else ""

    def is_good_end(self, state: Counter) -> bool:
        return state.at == 5


def test_shortest_trace() -> None:
    """What is wrong is shown with a shortest way to it."""
    verdict = explore(Staircase(forbidden=4))
    assert (verdict.problem, verdict.trace) == ("forbidden", ("leaps", "leaps"))


def test_trap() -> None:
    """A state from which no good end can be reached is found, and told to be dead."""
    verdict = explore(Staircase(pit=True))
    assert verdict.problem == "nothing can happen any more"
    assert verdict.trace[-1] == "falls"


def test_counts() -> None:
    """States, transitions and depth are counted."""
    verdict = explore(Staircase())
    assert verdict.holds
    assert (verdict.states, verdict.transitions, verdict.depth, verdict.good_ends) == (6, 9, 3, 1)


def test_given_up() -> None:
    """A search that was given up does not hold."""
    assert not explore(Staircase(), most=2).holds


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints a row for each model and exits with 0 when all hold."""
    assert main(["--quick"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(QUICK) + 2
