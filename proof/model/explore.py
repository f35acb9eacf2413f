"""Every state that a model can come to, breadth first, and what is wrong with any.

Design note: what is searched for
---------------------------------
- a state that breaks an invariant, or a step that breaks a rule about steps;
- a *trap*: a state from which no good end can be reached, whatever happens.
  A state without any step that is no good end (a deadlock) is one of those.

The first is found as soon as it is reached, so the trace to it is a shortest
one.  Traps are known when everything was searched: going backwards from all
good ends, what is never reached is a trap, and the one nearest to the start is
shown.  That a good end *can* be reached from everywhere says that nothing is
ever lost for good; it does not say how long it may take.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

import attrs

__all__ = ["Model", "Step", "Verdict", "explore"]

S = TypeVar("S", bound=Hashable)
S_contra = TypeVar("S_contra", bound=Hashable, contravariant=True)


class Step(NamedTuple, Generic[S]):
    """What happens, in words, and the state after it.

    :ivar wrong: what is wrong with the step; "" if nothing is.
    """

    words: str
    after: S
    wrong: str = ""


class Model(Protocol[S]):
    """A transition system, small enough to be searched."""

    @property
    def name(self) -> str: ...

    def initial(self) -> Iterable[S]: ...

    def steps(self, state: S) -> Iterable[Step[S]]:
        """Everything that may happen next."""

    def wrong(self, state: S) -> str:
        """What is wrong with a state; "" if nothing is."""

    def is_good_end(self, state: S) -> bool:
        """Nothing is left to be done."""


@attrs.frozen
class Verdict:
    """What a search found.

    :ivar depth: steps to the state that is farthest from the start.
    :ivar good_ends: states in which nothing is left to be done.
    :ivar problem: what is wrong, in words; "" if nothing is.
    :ivar trace: the steps that lead to it.
    :ivar complete: everything that can be reached was searched.
    """

    model: str
    states: int
    transitions: int
    depth: int
    good_ends: int
    seconds: float
    problem: str = ""
    trace: tuple[str, ...] = ()
    complete: bool = True

    @property
    def holds(self) -> bool:
        return self.complete and not self.problem

    def in_words(self) -> str:
        """The problem and the way to it, a step a line."""
        if not self.problem:
            return f"{self.model}: nothing is wrong in {self.states} states"
        steps = [f"{number:3}. {words}" for number, words in enumerate(self.trace, 1)]
        return "\n".join([f"{self.model}: {self.problem}", *steps])


def explore(
    model: Model[S],
    *,
    most: int = 20_000_000,
    progress: Callable[[int, int], None] = lambda searched, found: None,
) -> Verdict:
    """Search all of a model.

    :param most: states after which it is given up, as incomplete.
    :param progress: told now and then how many states were searched, and found.
    """
    return _Search(model, most, progress).run()


#: States between two reports of progress.
_REPORT_EVERY = 1000


class _Search(Generic[S]):
    def __init__(self, model: Model[S], most: int, progress: Callable[[int, int], None]) -> None:
        self._model = model
        self._most = most
        self._progress = progress
        self._index: dict[S, int] = {}
        self._states: list[S] = []
        #: From which state each was first reached.
        self._parents = array("q")
        self._good = array("q")
        #: Transitions, as two columns.
        self._from = array("q")
        self._to = array("q")
        self._began = time.monotonic()

    def run(self) -> Verdict:
        model = self._model
        for state in model.initial():
            problem = self._add(state, -1)
            if problem:
                return self._verdict(problem, [state])
        at = 0
        while at < len(self._states):
            state = self._states[at]
            for step in model.steps(state):
                problem = step.wrong or self._add(step.after, at)
                if problem:
                    return self._verdict(problem, [*self._way(at), step.after])
                self._from.append(at)
                self._to.append(self._index[step.after])
            if len(self._states) > self._most:
                return attrs.evolve(self._verdict("", []), complete=False)
            at += 1
            if at % _REPORT_EVERY == 0:
                self._progress(at, len(self._states))
        trap = self._trap()
        if trap is None:
            return self._verdict("", [])
        dead = not any(True for _ in model.steps(self._states[trap]))
        problem = "nothing can happen any more" if dead else "no good end can be reached from here"
        return self._verdict(problem, self._way(trap))

    def _add(self, state: S, parent: int) -> str:
        if state in self._index:
            return ""
        number = self._index[state] = len(self._states)
        self._states.append(state)
        self._parents.append(parent)
        if self._model.is_good_end(state):
            self._good.append(number)
        return self._model.wrong(state)

    def _trap(self) -> int | None:
        """The state nearest to the start from which no good end can be reached."""
        count = len(self._states)
        # The transitions by where they lead to, without a list for each state.
        starts = array("q", bytes(8 * (count + 1)))
        for to in self._to:
            starts[to + 1] += 1
        for number in range(count):
            starts[number + 1] += starts[number]
        fill, sources = array("q", starts), array("q", bytes(8 * len(self._to)))
        for source, to in zip(self._from, self._to, strict=True):
            sources[fill[to]] = source
            fill[to] += 1
        saved = bytearray(count)
        pending = list(self._good)
        for number in pending:
            saved[number] = 1
        while pending:
            number = pending.pop()
            for place in range(starts[number], starts[number + 1]):
                source = sources[place]
                if not saved[source]:
                    saved[source] = 1
                    pending.append(source)
        lost = saved.find(0)
        return None if lost < 0 else lost

    # -- telling ---------------------------------------------------------

    def _way(self, number: int) -> list[S]:
        """The states from the start to this one."""
        way = []
        while number >= 0:
            way.append(self._states[number])
            number = self._parents[number]
        return way[::-1]

    def _verdict(self, problem: str, way: Sequence[S]) -> Verdict:
        return Verdict(
            self._model.name,
            len(self._states),
            len(self._from),
            len(self._way(len(self._states) - 1)) - 1,
            len(self._good),
            time.monotonic() - self._began,
            problem,
            self._words(way),
        )

    def _words(self, way: Sequence[S]) -> tuple[str, ...]:
        """What happened from each state to the next."""
        return tuple(
            next(step.words for step in self._model.steps(before) if step.after == after)
            for before, after in pairwise(way)
        )
