"""Tasks that are never lost sight of, and work that never overlaps."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.work import SingleFlight, Tracker, shielded


class TrackerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(7.0)
        self.tracker = Tracker(self.clock)

    async def wait_for(self, deferred: Deferred[Any]) -> Any:
        return await deferred

    def test_nothing_in_flight(self) -> None:
        """Without tasks a tracker is idle at once."""
        self.assertEqual(len(self.tracker), 0)
        self.successResultOf(self.tracker.idle())

    def test_shows_what_is_in_flight(self) -> None:
        """A task is shown with its name and start time for as long as it runs."""
        first: Deferred[str] = Deferred()
        done = self.tracker.run("first", self.wait_for(first))
        self.clock.advance(1.0)
        self.tracker.run("second", self.wait_for(Deferred()))
        shown = [(task.what, task.since) for task in self.tracker.tasks()]
        self.assertEqual(shown, [("first", 7.0), ("second", 8.0)])
        first.callback("result")
        self.assertEqual(self.successResultOf(done), "result")
        self.assertEqual([task.what for task in self.tracker.tasks()], ["second"])

    def test_a_task_that_does_not_wait(self) -> None:
        """A task that ends at once is never in flight."""
        done = self.tracker.run("quick", self.wait_for(succeed(3)))
        self.assertEqual(self.successResultOf(done), 3)
        self.assertEqual(len(self.tracker), 0)

    def test_cancelled_while_it_waits_for_several(self) -> None:
        """A task that is cancelled while it waits for several things is no failure."""
        both: Deferred[Any] = gatherResults([Deferred(), Deferred()], consumeErrors=True)
        waiting = self.tracker.run("both", self.wait_for(both))
        self.tracker.cancel()
        self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_failure_is_logged(self) -> None:
        """A failure is logged once and comes out as None, at once or later."""
        waiting: Deferred[None] = Deferred()
        later = self.tracker.run("later", self.wait_for(waiting))
        waiting.errback(ValueError("later"))
        failed: Deferred[None] = Deferred()
        failed.errback(ValueError("at once"))
        at_once = self.tracker.run("at once", self.wait_for(failed))
        self.assertIsNone(self.successResultOf(later))
        self.assertIsNone(self.successResultOf(at_once))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.successResultOf(self.tracker.idle())

    def test_idle_waits_for_all(self) -> None:
        """Everyone who waits for idleness is told when the last task ends, not before."""
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()
        self.tracker.run("first", self.wait_for(first))
        self.tracker.run("second", self.wait_for(second))
        waits = [self.tracker.idle(), self.tracker.idle()]
        first.callback(None)
        for wait in waits:
            self.assertNoResult(wait)
        second.callback(None)
        for wait in waits:
            self.successResultOf(wait)

    def test_a_task_started_by_a_task(self) -> None:
        """What a task starts before it ends counts too."""
        outer: Deferred[None] = Deferred()
        inner: Deferred[None] = Deferred()

        async def work() -> None:
            await outer
            self.tracker.run("inner", self.wait_for(inner))

        self.tracker.run("outer", work())
        wait = self.tracker.idle()
        outer.callback(None)
        self.assertNoResult(wait)
        inner.callback(None)
        self.successResultOf(wait)

    def test_cancelled_wait(self) -> None:
        """Who gives up waiting disturbs neither the task nor others who wait."""
        held: Deferred[None] = Deferred()
        self.tracker.run("held", self.wait_for(held))
        impatient, patient = self.tracker.idle(), self.tracker.idle()
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        held.callback(None)
        self.successResultOf(patient)

    def test_cancel(self) -> None:
        """Cancelling ends every task, without a word in the log."""
        self.tracker.run("first", self.wait_for(Deferred()))
        self.tracker.run("second", self.wait_for(Deferred()))
        self.tracker.cancel()
        self.assertEqual(len(self.tracker), 0)
        self.successResultOf(self.tracker.idle())

    def test_cancelled_task_cleans_up(self) -> None:
        """A cancelled task that still has to wait is in flight until it is done."""
        cleaning: Deferred[None] = Deferred()

        async def work() -> None:
            try:
                await Deferred()
            finally:
                await cleaning

        self.tracker.run("careful", work())
        self.tracker.cancel()
        wait = self.tracker.idle()
        self.assertNoResult(wait)
        cleaning.callback(None)
        self.successResultOf(wait)


class ShieldedTests(SynchronousTestCase):
    """Waiting for something without a hold on it."""

    def test_fires_along(self) -> None:
        """It fires with the same, and any number may wait."""
        work: Deferred[int] = Deferred()
        one, two = shielded(work), shielded(work)
        work.callback(7)
        self.assertEqual((self.successResultOf(one), self.successResultOf(two)), (7, 7))

    def test_cancelled(self) -> None:
        """Giving up waiting leaves the work alone, and whatever comes of it is fine."""
        for outcome in (7, Failure(ValueError("no"))):
            work: Deferred[Any] = Deferred()
            waiter = shielded(work)
            waiter.cancel()
            self.failureResultOf(waiter, CancelledError)
            self.assertNoResult(work)
            work.callback(outcome)
        self.failureResultOf(work, ValueError)

    def test_failure_is_told_once(self) -> None:
        """Who waits is told of a failure, and nobody else."""
        work: Deferred[int] = Deferred()
        waiter = shielded(work)
        work.errback(ValueError("no"))
        self.failureResultOf(waiter, ValueError)
        del work, waiter
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])


class SingleFlightTests(SynchronousTestCase):
    """Work whose every run is held open by the test."""

    def setUp(self) -> None:
        self.runs: list[Deferred[None]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.flight = SingleFlight(self.work, "the work")

    async def work(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        self.runs.append(Deferred())
        try:
            await self.runs[-1]
        finally:
            self.at_once -= 1

    def test_idle_without_work(self) -> None:
        """Without a wake-up nothing runs and nobody waits."""
        self.assertFalse(self.flight.running)
        self.successResultOf(self.flight.idle())
        self.assertEqual(self.runs, [])

    def test_wake_runs_at_once(self) -> None:
        """The first wake-up runs the work within the call."""
        self.flight.wake()
        self.assertEqual(len(self.runs), 1)
        self.assertTrue(self.flight.running)
        wait = self.flight.idle()
        self.assertNoResult(wait)
        self.runs[0].callback(None)
        self.successResultOf(wait)
        self.assertFalse(self.flight.running)

    def test_many_wake_ups_make_one_more_run(self) -> None:
        """However often it is woken during a run, there is one more run, afterwards."""
        self.flight.wake()
        for _ in range(5):
            self.flight.wake()
        wait = self.flight.idle()
        self.assertEqual(len(self.runs), 1)
        self.runs[0].callback(None)
        self.assertEqual(len(self.runs), 2)
        self.assertNoResult(wait)
        self.runs[1].callback(None)
        self.successResultOf(wait)
        self.assertEqual(len(self.runs), 2)
        self.assertEqual(self.most_at_once, 1)

    def test_failure_ends_only_its_run(self) -> None:
        """A run that fails is logged, and the one asked for meanwhile follows."""
        self.flight.wake()
        self.flight.wake()
        self.runs[0].errback(ValueError("no"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(self.runs), 2)
        self.runs[1].callback(None)
        self.flight.wake()
        self.assertEqual(len(self.runs), 3)

    def test_woken_by_its_own_work(self) -> None:
        """Work that wakes itself before it first waits does not overlap with itself."""
        runs = []
        depth = 0

        async def work() -> None:
            nonlocal depth
            depth += 1
            self.assertEqual(depth, 1)
            runs.append(len(runs))
            if len(runs) < 4:
                flight.wake()
            depth -= 1

        flight = SingleFlight(work)
        flight.wake()
        self.assertEqual(runs, [0, 1, 2, 3])
        self.assertFalse(flight.running)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_woken_by_who_waited(self) -> None:
        """Who waited for idleness may wake it again."""
        self.flight.wake()
        self.flight.idle().addCallback(lambda _: self.flight.wake())
        self.runs[0].callback(None)
        self.assertEqual(len(self.runs), 2)
        self.assertTrue(self.flight.running)
        self.runs[1].callback(None)
        self.assertFalse(self.flight.running)

    def test_cancelled_wait(self) -> None:
        """Who gives up waiting does not disturb the run."""
        self.flight.wake()
        self.flight.idle().addErrback(lambda _: None).cancel()
        self.runs[0].callback(None)
        self.assertFalse(self.flight.running)
