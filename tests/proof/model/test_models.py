"""The models hold at small sizes, and every wrong launcher is found out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest

from proof.model.__main__ import QUICK, Entry, main
from proof.model.configurations import SERVED
from proof.model.conformance import reached
from proof.model.explore import Step, explore
from proof.model.handing_out import HandingOut
from proof.model.mirror import mirrored
from proof.model.mutants import MUTANTS
from proof.model.serving import Serving
from proof.model.taking import Taking
from proof.model.zookeeper import Tree, versionless


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
    # The way to what never ends well from the start is empty.
    assert verdict.trace or not verdict.good_ends


def test_reductions_lose_nothing() -> None:
    """What is left out of the search for being without effect is without effect."""
    small: dict[str, Any] = {"nodes": 1, "losses": 0, "crashes": 0, "wants": (1, 1)}
    reduced = explore(HandingOut(**small))
    whole = explore(HandingOut(**small, reduced=False))
    assert reduced.holds
    assert whole.holds
    assert whole.states > reduced.states


@pytest.mark.parametrize("wants", [(1,), (2,)])
def test_mirror_loses_nothing(wants: tuple[int, ...]) -> None:
    """Without mirror images and versions the same trees are reached, but for names."""
    reduced, whole = _trees(Taking(wants=wants)), _trees(Taking(wants=wants, reduced=False))
    assert reduced < whole
    assert _and_mirrored(reduced) == _and_mirrored(whole)


def _trees(model: Taking) -> set[Tree]:
    return {versionless(state.tree) for state in reached(model, model.initial())}


def _and_mirrored(trees: set[Tree]) -> set[Tree]:
    return trees | {mirrored(tree) for tree in trees}


@pytest.mark.parametrize("change", SERVED)
def test_giving_at_once_loses_nothing(change: str) -> None:
    """Hand-outs that are decided and done in one step lead everywhere that late ones do."""
    small: dict[str, Any] = {"wants": (1,)}
    at_once, late = Serving(change, **small), Serving(change, **small, late_gives=True)
    assert _seen_in(at_once) == _seen_in(late)
    assert explore(late).holds


def _seen_in(model: Serving) -> set[object]:
    """What there is and how far everybody outside the launchers is."""
    return {(s.tree, s.clients, s.losses) for s in reached(model, model.initial())}


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


def test_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command prints a row for each model and exits with 0 when all hold."""
    # Each of them is searched above.
    few = QUICK[1:4]
    monkeypatch.setattr("proof.model.__main__.QUICK", few)
    assert main(["--quick"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(few) + 2
