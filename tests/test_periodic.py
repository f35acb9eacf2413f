"""Loops that cannot die."""

from __future__ import annotations

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.periodic import Periodic


class PeriodicTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rounds: list[float] = []
        #: What the rounds to come wait for or raise, in order.
        self.script: list[Deferred[None] | Exception] = []

    async def work(self) -> None:
        self.rounds.append(self.clock.seconds())
        if self.script:
            event = self.script.pop(0)
            if isinstance(event, Exception):
                raise event
            await event

    def started(self, *, at_once: bool = False) -> Periodic:
        periodic = Periodic(self.clock, "the work", 10.0, self.work, at_once=at_once)
        periodic.startService()
        self.addCleanup(periodic.stopService)
        return periodic

    def test_every_interval(self) -> None:
        """The work is done once per interval, for the first time after one."""
        periodic = self.started()
        self.assertEqual(self.rounds, [])
        self.assertIsNone(periodic.last_success)
        self.clock.pump([5.0] * 6)
        self.assertEqual(self.rounds, [10.0, 20.0, 30.0])
        self.assertEqual(periodic.last_success, 30.0)

    def test_at_once(self) -> None:
        """If asked to, it begins within the start."""
        self.started(at_once=True)
        self.assertEqual(self.rounds, [0.0])

    def test_survives_failures(self) -> None:
        """A round that fails is logged and does not count as success; the next comes."""
        periodic = self.started()
        self.script = [ValueError("one"), ValueError("two")]
        self.clock.pump([10.0] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertIsNone(periodic.last_success)
        self.clock.advance(10.0)
        self.assertEqual(self.rounds, [10.0, 20.0, 30.0])
        self.assertEqual(periodic.last_success, 30.0)

    def test_rounds_do_not_overlap(self) -> None:
        """While a round lasts no other begins; success is dated by its end."""
        periodic = self.started()
        slow: Deferred[None] = Deferred()
        self.script = [slow]
        self.clock.pump([10.0] * 4)
        self.assertEqual(self.rounds, [10.0])
        self.clock.advance(2.0)
        slow.callback(None)
        self.assertEqual(periodic.last_success, 42.0)
        self.clock.advance(8.0)
        self.assertEqual(self.rounds, [10.0, 50.0])

    def test_stop_between_rounds(self) -> None:
        """Between rounds stopping is done at once, and nothing is left to come."""
        periodic = self.started()
        self.clock.advance(10.0)
        self.successResultOf(periodic.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_waits_for_the_round(self) -> None:
        """Stopping waits for the round in flight, for everyone who asks."""
        periodic = self.started()
        slow: Deferred[None] = Deferred()
        self.script = [slow]
        self.clock.advance(10.0)
        stopped = [periodic.stopService(), periodic.stopService()]
        for one in stopped:
            self.assertNoResult(one)
        slow.callback(None)
        for one in stopped:
            self.successResultOf(one)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_before_start(self) -> None:
        """One that never ran can be stopped."""
        self.successResultOf(Periodic(self.clock, "x", 1.0, self.work).stopService())

    def test_stopped_and_started_again(self) -> None:
        """It can be started again; the interval counts from then."""
        periodic = self.started()
        self.clock.advance(15.0)
        self.successResultOf(periodic.stopService())
        periodic.startService()
        self.clock.pump([5.0, 5.0])
        self.assertEqual(self.rounds, [15.0, 25.0])

    def test_holds_up_its_parents_stop(self) -> None:
        """A parent has stopped when the round in flight is over."""
        parent = MultiService()
        Periodic(self.clock, "the work", 10.0, self.work, at_once=True).setServiceParent(parent)
        slow: Deferred[None] = Deferred()
        self.script = [slow]
        parent.startService()
        stopped = parent.stopService()
        self.assertNoResult(stopped)
        slow.callback(None)
        self.successResultOf(stopped)

    def test_named_after_its_work(self) -> None:
        """It can be found in its parent by what it does."""
        parent = MultiService()
        periodic = Periodic(self.clock, "the work", 10.0, self.work)
        periodic.setServiceParent(parent)
        self.assertIs(parent.getServiceNamed("the work"), periodic)
