"""Calls of a cloud come in turn, end in time, and fail in known ways."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.providers.cloud.backoff import Backoff
from nodepool_tx.providers.cloud.errors import CloudError, OverQuota, RetryLater
from nodepool_tx.providers.cloud.pacing import LONGEST_HOLD_OFF, CallCount, Calls, Pacer


class BackoffTests(SynchronousTestCase):
    """Pauses grow."""

    def test_doubling(self) -> None:
        """Each pause is twice the one before, up to the longest; then it begins anew."""
        backoff = Backoff(1, 5, chance=lambda: 0)
        self.assertEqual([backoff.next() for _ in range(5)], [1, 2, 4, 5, 5])
        backoff.reset()
        self.assertEqual(backoff.next(), 1)

    def test_jitter(self) -> None:
        """Chance makes a pause up to a fifth shorter, and the next is not shorter for it."""
        backoff = Backoff(10, 100, chance=lambda: 1)
        self.assertEqual([backoff.next(), backoff.next()], [8, 16])


#: What is done with a pacer: seconds pass, a turn is asked for, one of those
#: that wait is cancelled, the cloud wants peace.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.floats(0, 3)),
        st.tuples(st.just("turn"), st.just(0.0)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("hold_off"), st.floats(0, 5)),
    ),
    max_size=60,
)


@given(steps=STEPS, rate=st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0]))
def test_turns_are_spaced_and_in_order(steps: list[tuple[str, Any]], rate: float) -> None:
    """Whatever happens, turns keep their order and distance, and none is lost."""
    clock = Clock()
    pacer = Pacer(clock, rate)
    asked = 0
    waiting: dict[int, Deferred[None]] = {}
    given_: list[tuple[int, float]] = []
    held_until = 0.0

    early: list[float] = []

    def took(_: None, number: int) -> None:
        if clock.seconds() < held_until - 1e-9:
            early.append(clock.seconds())
        given_.append((number, clock.seconds()))
        waiting.pop(number, None)

    for what, amount in steps:
        if what == "advance":
            clock.advance(amount)
        elif what == "turn":
            asked += 1
            turn = pacer.turn()
            waiting[asked] = turn
            turn.addCallbacks(took, lambda _: None, callbackArgs=(asked,))
        elif what == "cancel" and waiting:
            number = sorted(waiting)[amount % len(waiting)]
            waiting.pop(number).cancel()
        elif what == "hold_off":
            pacer.hold_off(amount)
            held_until = max(held_until, clock.seconds() + amount)
        assert pacer.waiting == len(waiting)
    for _ in range(len(waiting) + 1):
        clock.advance(10)
    assert not early
    assert not waiting
    assert not clock.getDelayedCalls()
    numbers = [number for number, _ in given_]
    assert numbers == sorted(numbers)
    if rate:
        times = [time for _, time in given_]
        assert all(b - a >= 1 / rate - 1e-9 for a, b in itertools.pairwise(times))


class PacerTests(SynchronousTestCase):
    """Turns."""

    def setUp(self) -> None:
        self.clock = Clock()

    def test_a_turn_now(self) -> None:
        """Nobody waits who need not."""
        pacer = Pacer(self.clock, 1)
        self.successResultOf(pacer.turn())
        second = pacer.turn()
        self.assertNoResult(second)
        self.assertEqual((pacer.waiting, pacer.held_until), (1, 1))
        self.clock.advance(1)
        self.successResultOf(second)

    def test_without_a_rate_there_is_no_wait(self) -> None:
        """Rate 0 gives every turn at once, until the cloud wants peace."""
        pacer = Pacer(self.clock, 0)
        for _ in range(10):
            self.successResultOf(pacer.turn())
        self.assertIsNone(pacer.held_until)
        pacer.hold_off(5)
        turns = [pacer.turn() for _ in range(3)]
        self.clock.advance(4.9)
        self.assertEqual([turn.called for turn in turns], [False] * 3)
        self.clock.advance(0.2)
        self.assertEqual([turn.called for turn in turns], [True] * 3)

    def test_cancelled_turns_cost_nothing(self) -> None:
        """Who is behind a turn that was given up moves up."""
        pacer = Pacer(self.clock, 1)
        pacer.turn()
        second, third = pacer.turn(), pacer.turn()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.clock.advance(1)
        self.successResultOf(third)

    def test_peace_for_those_who_wait_already(self) -> None:
        """A wish for peace holds for turns that were soon to come, too."""
        pacer = Pacer(self.clock, 1)
        pacer.turn()
        second = pacer.turn()
        pacer.hold_off(5)
        self.clock.advance(4)
        self.assertNoResult(second)
        self.clock.advance(1)
        self.successResultOf(second)

    def test_a_shorter_wish_does_not_end_a_longer(self) -> None:
        """The longest of several wishes for peace holds."""
        pacer = Pacer(self.clock, 0)
        pacer.hold_off(10)
        pacer.hold_off(1)
        turn = pacer.turn()
        self.clock.advance(9)
        self.assertNoResult(turn)
        self.clock.advance(1)
        self.successResultOf(turn)


class CallsTests(SynchronousTestCase):
    """Calls of an adapter."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pacer = Pacer(self.clock, 0)
        self.calls = Calls(self.clock, self.pacer, "cloud", timeout=60)

    def call(self, begin: Any, **options: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.calls.call("create", begin, **options))

    async def failing(self, error: Exception) -> None:
        raise error

    def test_results_are_counted(self) -> None:
        """A result is passed on; calls are counted with the time they took."""
        call = self.call(lambda: deferLater(self.clock, 3, lambda: "id"))
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(call), "id")
        self.failureResultOf(self.call(lambda: self.failing(OverQuota("full"))), OverQuota)
        self.assertEqual(self.calls.counts, {"create": CallCount(2, 1, 3.0)})

    def test_the_wait_for_a_turn_is_no_part_of_the_call(self) -> None:
        """Neither the timeout nor the counted time begins before the turn."""
        self.pacer.hold_off(1000)
        call = self.call(lambda: deferLater(self.clock, 59, lambda: "id"))
        self.clock.advance(1000)
        self.clock.advance(59)
        self.assertEqual(self.successResultOf(call), "id")
        self.assertEqual(self.calls.counts["create"].seconds, 59)

    def test_timeout(self) -> None:
        """What takes too long is cancelled and fails in words."""
        cancelled: list[Any] = []
        silent: Deferred[None] = Deferred(cancelled.append)
        call = self.call(lambda: silent, timeout=5)
        self.clock.advance(5)
        error = self.failureResultOf(call, CloudError).value
        self.assertEqual(str(error), "create: no answer within 5 seconds")
        self.assertEqual(cancelled, [silent])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_answer_given_when_cancelled_counts(self) -> None:
        """An adapter that still knows the result when its time is over may give it."""

        async def create() -> str:
            try:
                await Deferred()
            except CancelledError:
                return "id"
            return "never"

        call = self.call(create)
        self.clock.advance(60)
        self.assertEqual(self.successResultOf(call), "id")

    def test_what_cannot_be_cancelled_is_left_behind(self) -> None:
        """A call that goes on in spite of being cancelled keeps nobody waiting."""
        late: Deferred[None] = Deferred()

        async def stubborn() -> None:
            try:
                await Deferred()
            except CancelledError:
                await late
            raise ValueError("nobody hears this")

        call = self.call(stubborn)
        self.clock.advance(60)
        self.failureResultOf(call, CloudError)
        late.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelling(self) -> None:
        """Cancelling reaches the adapter, and is nobody's failure."""
        for waits_for_its_turn in (True, False):
            if waits_for_its_turn:
                self.pacer.hold_off(10)
            call = self.call(Deferred)
            call.cancel()
            self.failureResultOf(call, CancelledError)
            self.clock.advance(10)
        self.assertEqual(self.calls.counts, {})
        self.assertEqual(self.pacer.waiting, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelling_what_cannot_be_cancelled(self) -> None:
        """Who gives up need not wait for an adapter that does not; nothing is left to run."""

        async def stubborn() -> None:
            try:
                await Deferred()
            except CancelledError:
                await Deferred()

        call = self.call(stubborn)
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_foreign_errors_are_translated(self) -> None:
        """What an adapter lets out is a CloudError with its cause, and in the log."""

        def broken() -> Any:
            raise KeyError("server")

        for begin in (broken, lambda: self.failing(KeyError("server"))):
            error = self.failureResultOf(self.call(begin), CloudError).value
            self.assertEqual(str(error), "create failed: KeyError: 'server'")
            self.assertIsInstance(error.__cause__, KeyError)
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_cancellation_of_the_adapters_own(self) -> None:
        """An adapter that lets out a CancelledError nobody asked for has failed."""
        self.failureResultOf(self.call(lambda: self.failing(CancelledError())), CloudError)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_peace_for_as_long_as_the_cloud_says(self) -> None:
        """No turn is given before the time the cloud asked for, within reason."""
        for said, held in ((7, 7), (0.001, 1), (1e9, LONGEST_HOLD_OFF)):
            began = self.clock.seconds()
            call = self.call(lambda said=said: self.failing(RetryLater("busy", said)))
            self.failureResultOf(call, RetryLater)
            self.assertEqual(self.pacer.held_until, began + held)
            self.clock.advance(held)

    def test_peace_for_a_growing_time(self) -> None:
        """A cloud that does not say for how long is left alone longer each time."""
        pauses = []
        for _ in range(3):
            began = self.clock.seconds()
            call = self.call(lambda: self.failing(RetryLater("busy")))
            self.failureResultOf(call, RetryLater)
            until = self.pacer.held_until
            assert until is not None
            pauses.append(until - began)
            self.clock.advance(until - began)
        self.assertLess(pauses[0], pauses[1])
        self.assertLess(pauses[1], pauses[2])
        went_well: Deferred[str] = Deferred()
        went_well.callback("id")
        self.successResultOf(self.call(lambda: went_well))
        self.failureResultOf(self.call(lambda: self.failing(RetryLater("busy"))), RetryLater)
        until = self.pacer.held_until
        assert until is not None
        self.assertLessEqual(until - self.clock.seconds(), 1)

    def test_refusals_of_the_same_moment_count_once(self) -> None:
        """A hundred calls refused at a time do not make the pause a hundred times longer."""
        refusals = [Deferred[None]() for _ in range(100)]
        calls = [self.call(lambda refusal=refusal: refusal) for refusal in refusals]
        for refusal in refusals:
            refusal.errback(RetryLater("busy"))
        for call in calls:
            self.failureResultOf(call, RetryLater)
        until = self.pacer.held_until
        assert until is not None
        self.assertLessEqual(until, 1)


class TestGoingFirst(SynchronousTestCase):
    """Calls that many wait for do not wait behind those that make more to wait for."""

    def test_first(self) -> None:
        """Who goes first goes before all who wait."""
        clock, order = Clock(), []
        pacer = Pacer(clock, 1.0)
        pacer.turn()
        for name in ("a", "b"):
            pacer.turn().addCallback(lambda _, name=name: order.append(name))
        pacer.turn(first=True).addCallback(lambda _: order.append("first"))
        clock.pump([1.0] * 3)
        self.assertEqual(order, ["first", "a", "b"])

    def test_not_always(self) -> None:
        """However many go first, the others have every fourth turn."""
        clock, order = Clock(), []
        pacer = Pacer(clock, 1.0)
        pacer.turn()
        for name in ("a", "b"):
            pacer.turn().addCallback(lambda _, name=name: order.append(name))
        for _ in range(7):
            pacer.turn(first=True).addCallback(lambda _: order.append("first"))
        clock.pump([1.0] * 9)
        self.assertEqual(order, [*["first"] * 3, "a", *["first"] * 3, "b", "first"])
        self.assertEqual(pacer.waiting, 0)

    def test_leaving(self) -> None:
        """Who goes first may leave, too."""
        clock = Clock()
        pacer = Pacer(clock, 1.0)
        pacer.turn()
        turn = pacer.turn(first=True)
        turn.cancel()
        self.failureResultOf(turn, CancelledError)
        self.assertEqual((pacer.waiting, clock.getDelayedCalls()), (0, []))
