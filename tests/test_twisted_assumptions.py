"""What Twisted does and does not do for services, as far as we build on it.

None of this tests our own code.  Each test states a property of Twisted that
some design choice here rests on, or works around; when one fails after an
upgrade, the choice named in its docstring is to be looked at again.
"""

from __future__ import annotations

import gc
import time
import warnings
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService, Service
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.task import Clock, LoopingCall
from twisted.trial.unittest import SynchronousTestCase


class SlowService(Service):
    """Stops when the test says so."""

    def __init__(self, name: str) -> None:
        self.setName(name)
        self.stopping: Deferred[None] = Deferred()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.stopping


class Failing(Service):
    def startService(self) -> None:
        super().startService()
        raise ValueError("cannot start")


class ReplacingChildren(SynchronousTestCase):
    """Why the reloader awaits everything before it adds a successor."""

    def setUp(self) -> None:
        self.parent = MultiService()
        self.parent.startService()

    def test_name_is_free_before_the_child_has_stopped(self) -> None:
        """A child's name is free as soon as it was disowned, though it still runs."""
        old, new = SlowService("rack"), SlowService("rack")
        old.setServiceParent(self.parent)
        stopped = old.disownServiceParent()
        new.setServiceParent(self.parent)
        self.assertNoResult(stopped)
        self.assertIs(self.parent.getServiceNamed("rack"), new)

    def test_second_child_of_a_name(self) -> None:
        """Two children of one name cannot be in the tree at once."""
        SlowService("rack").setServiceParent(self.parent)
        with self.assertRaises(RuntimeError):
            SlowService("rack").setServiceParent(self.parent)
        self.assertEqual(len(list(self.parent)), 1)

    def test_moving_a_child_does_not_wait(self) -> None:
        """A child that is given another parent is started there before it has stopped."""
        child = SlowService("rack")
        child.setServiceParent(self.parent)
        other = MultiService()
        other.startService()
        child.setServiceParent(other)
        self.assertFalse(child.stopping.called)
        self.assertTrue(child.running)

    def test_stop_that_raises_leaves_the_parent_set(self) -> None:
        """A stop that raises goes through disowning, and the child keeps its parent."""

        class Raises(Service):
            def stopService(self) -> None:
                raise ValueError("cannot stop")

        child = Raises()
        child.setName("rack")
        child.setServiceParent(self.parent)
        with self.assertRaises(ValueError):
            child.disownServiceParent()
        self.assertIs(child.parent, self.parent)
        self.assertEqual(list(self.parent), [])

    def test_disowning_an_orphan(self) -> None:
        """A child without a parent cannot be disowned a second time."""
        child = SlowService("rack")
        child.setServiceParent(self.parent)
        child.disownServiceParent()
        with self.assertRaises(AttributeError):
            child.disownServiceParent()

    def test_start_that_raises_leaves_the_child_in_the_tree(self) -> None:
        """A child that could not start is in the tree all the same."""
        child = Failing()
        child.setName("rack")
        with self.assertRaises(ValueError):
            child.setServiceParent(self.parent)
        self.assertEqual(list(self.parent), [child])
        self.assertIs(child.parent, self.parent)

    def test_disowned_from_a_parent_that_does_not_run(self) -> None:
        """Where nothing runs there is nothing to wait for."""
        child = SlowService("rack")
        parent = MultiService()
        child.setServiceParent(parent)
        self.assertIsNone(child.disownServiceParent())


class StartingAndStopping(SynchronousTestCase):
    """Why start is synchronous and stop returns a Deferred, neither a coroutine."""

    def test_coroutine_start_never_runs(self) -> None:
        """A coroutine as startService is made and thrown away."""
        ran: list[str] = []

        class Odd(Service):
            async def startService(self) -> None:  # type: ignore[override]
                ran.append("start")

        parent = MultiService()
        Odd().setServiceParent(parent)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            parent.startService()
        self.assertEqual(ran, [])

    def test_coroutine_stop_runs_from_the_parent_only(self) -> None:
        """A coroutine as stopService runs when the parent stops, and not when disowned."""
        ran: list[str] = []

        class Odd(Service):
            async def stopService(self) -> None:  # type: ignore[override]
                ran.append("stop")

        parent = MultiService()
        parent.startService()
        child = Odd()
        child.setServiceParent(parent)
        coroutine: Any = child.disownServiceParent()
        self.assertEqual(ran, [])
        coroutine.close()
        Odd().setServiceParent(parent)
        parent.stopService()
        self.assertEqual(ran, ["stop"])

    def test_one_bad_start_stops_the_rest(self) -> None:
        """Children after one that raises are not started, and the parent says it runs."""
        parent = MultiService()
        after = Service()
        Failing().setServiceParent(parent)
        after.setServiceParent(parent)
        with self.assertRaises(ValueError):
            parent.startService()
        self.assertTrue(parent.running)
        self.assertFalse(after.running)

    def test_children_stop_all_at_once(self) -> None:
        """A MultiService does not stop one child after the other: see OrderedService."""
        parent = MultiService()
        first, second = SlowService("first"), SlowService("second")
        first.setServiceParent(parent)
        second.setServiceParent(parent)
        parent.startService()
        stopped = parent.stopService()
        self.assertFalse(first.running or second.running)
        second.stopping.callback(None)
        self.assertNoResult(stopped)
        first.stopping.callback(None)
        self.successResultOf(stopped)

    def test_bad_stop_is_no_error_of_the_parent(self) -> None:
        """A child that stops badly is an entry in the parent's result and a log line."""
        parent = MultiService()
        child = SlowService("rack")
        child.setServiceParent(parent)
        parent.startService()
        stopped = parent.stopService()
        child.stopping.errback(ValueError("no"))
        (success, failure) = self.successResultOf(stopped)[0]
        self.assertFalse(success)
        failure.trap(ValueError)
        del child, failure, stopped, parent
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class Loops(SynchronousTestCase):
    """Why loops are Periodic services and not TimerServices."""

    def timer(self, clock: Clock, work: Any) -> TimerService:
        timer = TimerService(1.0, work)
        timer.clock = clock
        return timer

    def test_timer_dies_of_one_failure(self) -> None:
        """A TimerService whose function fails once never calls it again and seems well."""
        clock, calls = Clock(), []

        def work() -> None:
            calls.append(clock.seconds())
            raise ValueError("once")

        timer = self.timer(clock, work)
        timer.startService()
        clock.pump([1.0] * 5)
        self.assertEqual(calls, [0.0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(timer.running)

    def test_looping_call_dies_of_one_failure(self) -> None:
        """So does a LoopingCall."""
        clock = Clock()

        def work() -> None:
            raise ValueError("once")

        loop = LoopingCall(work)
        loop.clock = clock
        self.failureResultOf(loop.start(1.0), ValueError)
        self.assertFalse(loop.running)

    def test_looping_call_waits_for_its_work(self) -> None:
        """Rounds of a LoopingCall do not overlap; it goes on at the next full interval."""
        clock, rounds = Clock(), []

        async def work() -> None:
            rounds.append(clock.seconds())
            if len(rounds) == 1:
                await held

        held: Deferred[None] = Deferred()
        loop = LoopingCall(lambda: Deferred.fromCoroutine(work()))
        loop.clock = clock
        loop.start(1.0)
        clock.pump([1.0] * 3)
        self.assertEqual(rounds, [0.0])
        held.callback(None)
        clock.advance(1.0)
        self.assertEqual(rounds, [0.0, 4.0])
        loop.stop()

    def test_stopping_a_loop_waits_and_does_not_cancel(self) -> None:
        """The end of a LoopingCall is the end of the round in flight."""
        clock = Clock()
        held: Deferred[None] = Deferred()
        loop = LoopingCall(lambda: held)
        loop.clock = clock
        ended = loop.start(1.0)
        loop.stop()
        self.assertNoResult(ended)
        held.callback(None)
        self.successResultOf(ended)

    def test_stopping_a_loop_twice(self) -> None:
        """A LoopingCall that does not run cannot be stopped."""
        loop = LoopingCall(lambda: None)
        with self.assertRaises(AssertionError):
            loop.stop()


class Deferreds(SynchronousTestCase):
    """What coroutines and Deferreds do to each other."""

    def test_cancelling_reaches_what_is_awaited(self) -> None:
        """Cancelling a coroutine's Deferred cancels what it waits for, and raises there."""
        seen: list[str] = []
        inner: Deferred[None] = Deferred(lambda _: seen.append("inner"))

        async def work() -> None:
            try:
                await inner
            except CancelledError:
                seen.append("work")
                raise

        running = Deferred.fromCoroutine(work())
        running.cancel()
        self.assertEqual(seen, ["inner", "work"])
        self.failureResultOf(running, CancelledError)

    def test_a_coroutine_runs_to_its_first_wait_at_once(self) -> None:
        """fromCoroutine runs within the call; what is already fired is no wait."""
        ran: list[int] = []
        fired: Deferred[None] = Deferred()
        fired.callback(None)

        async def work() -> None:
            ran.append(1)
            await fired
            ran.append(2)

        Deferred.fromCoroutine(work())
        self.assertEqual(ran, [1, 2])

    def test_gathering_hides_a_cancellation(self) -> None:
        """A cancelled gatherResults fails with FirstError, not with CancelledError."""
        one, two = Deferred[None](), Deferred[None]()
        both = gatherResults([one, two], consumeErrors=True)
        both.cancel()
        failure = self.failureResultOf(both, FirstError)
        failure.value.subFailure.trap(CancelledError)

    def test_gathering_fails_before_the_rest_is_done(self) -> None:
        """gatherResults fails at the first failure, whatever else still runs."""
        one, two = Deferred[None](), Deferred[None]()
        both = gatherResults([one, two], consumeErrors=True)
        one.errback(ValueError("first"))
        self.failureResultOf(both, FirstError)
        self.assertFalse(two.called)

    def test_a_fired_deferred_may_still_wait(self) -> None:
        """``called`` is true of a Deferred that waits for another one."""
        outer, inner = Deferred[None](), Deferred[None]()
        outer.addCallback(lambda _: inner)
        outer.callback(None)
        self.assertTrue(outer.called)
        self.assertNoResult(outer)
        inner.callback(None)
        self.successResultOf(outer)


class ReactorTime(SynchronousTestCase):
    def test_seconds_are_since_the_epoch(self) -> None:
        """The reactor's clock can be compared with the times written in ZooKeeper."""
        self.assertLess(abs(reactor.seconds() - time.time()), 1.0)  # type: ignore[attr-defined]
