"""How many to ask for, decided from numbers alone."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.minready.plan import FIRST_REST, LONGEST_REST, Plan, Rest, View, plan

few = st.integers(0, 6)


@st.composite
def views(draw: st.DrawFn) -> View:
    requested = draw(few)
    own = draw(st.integers(0, requested))
    return View(
        ready=draw(few),
        building=draw(few),
        requested=requested,
        own=own,
        untaken=draw(st.integers(0, own)),
        possible=draw(st.booleans()),
        resting=draw(st.booleans()),
        failures=draw(st.integers(0, 2)),
    )


class TestPlan:
    @pytest.mark.parametrize(
        ("wanted", "view", "expected"),
        [
            (3, View(), Plan(ask=3)),
            (3, View(ready=1, building=1), Plan(ask=1)),
            (3, View(ready=1, requested=2, own=2, untaken=1), Plan()),
            (3, View(requested=5), Plan()),
            (3, View(ready=9), Plan()),
            (3, View(ready=2, requested=2, own=2, untaken=2), Plan(withdraw=1)),
            (3, View(ready=9, requested=2, own=2, untaken=1), Plan(withdraw=1)),
            (3, View(possible=False), Plan()),
            (3, View(resting=True, failures=1), Plan()),
            (3, View(failures=1), Plan(ask=1)),
            (3, View(failures=1, requested=1, own=1), Plan()),
            (3, View(failures=1, requested=1), Plan(ask=1)),
        ],
    )
    def test_cases(self, wanted: int, view: View, expected: Plan) -> None:
        """What is missing is asked for, what is too much and untaken is taken back."""
        assert plan(wanted, view) == expected

    @given(few, views())
    def test_what_always_holds(self, wanted: int, view: View) -> None:
        """Never more than wanted, never both, never less than wanted by taking back."""
        todo = plan(wanted, view)
        there = view.ready + view.building + view.requested
        assert todo.ask >= 0
        assert todo.withdraw >= 0
        assert not (todo.ask and todo.withdraw)
        assert todo.ask == 0 or there + todo.ask <= wanted
        assert todo.withdraw <= view.untaken
        assert todo.withdraw == 0 or there - todo.withdraw >= wanted
        if todo.ask:
            assert view.possible
            assert not view.resting

    @given(few, views())
    def test_it_comes_to_rest(self, wanted: int, view: View) -> None:
        """When all that was planned has been done there is nothing to do."""
        todo = plan(wanted, view)
        after = attrs.evolve(
            view,
            requested=view.requested + todo.ask - todo.withdraw,
            own=view.own + todo.ask - todo.withdraw,
            untaken=view.untaken + todo.ask - todo.withdraw,
        )
        assert plan(wanted, after) == Plan()


class TestRest:
    def test_it_grows(self) -> None:
        """Each failure after a rest makes the next twice as long, up to ten minutes."""
        rest, now, lengths = Rest(), 1000.0, []
        for _ in range(8):
            rest = rest.after_failure(now, 0.0)
            lengths.append(rest.until - now)
            now = rest.until
        assert lengths == [15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
        assert (lengths[0], lengths[-1]) == (FIRST_REST, LONGEST_REST)

    def test_several_failures_at_once(self) -> None:
        """What was asked for together and failed together counts once."""
        rest = Rest().after_failure(1000.0, 0.0)
        assert rest.after_failure(1014.9, 0.0) is rest
        assert rest.after_failure(1015.0, 0.0).failures == 2

    @given(st.integers(0, 5000), st.floats(0, 1))
    def test_luck(self, failures: int, luck: float) -> None:
        """Labels that fail together do not ask again together, nor later than in ten minutes."""
        full = Rest(failures).after_failure(0.0, 0.0).until
        assert full <= LONGEST_REST
        assert 0.75 * full <= Rest(failures).after_failure(0.0, luck).until <= full
