"""Children that start in order and stop in reverse, one after the other, in time."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.root import OrderedService


class Child(Service):
    """Writes down what happens to it; ``stopping`` is what its stop returns or raises."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.setName(name)
        self.diary = diary
        self.stopping: Deferred[None] | Exception | None = None

    def startService(self) -> None:
        super().startService()
        self.diary.append(f"start {self.name}")

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        self.diary.append(f"stop {self.name}")
        if isinstance(self.stopping, Exception):
            raise self.stopping
        return self.stopping


class OrderedServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.diary: list[str] = []
        self.root = OrderedService(self.clock, 5.0)
        self.children = [Child(name, self.diary) for name in "abc"]
        for child in self.children:
            child.setServiceParent(self.root)
        self.root.startService()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def test_order(self) -> None:
        """Children start first to last and stop last to first."""
        self.successResultOf(self.root.stopService())
        self.assertEqual(
            self.diary, ["start a", "start b", "start c", "stop c", "stop b", "stop a"]
        )
        self.assertFalse(self.root.running)

    def test_each_waits_for_the_later_ones(self) -> None:
        """A child is not stopped before all later ones have stopped."""
        held: Deferred[None] = Deferred()
        self.children[1].stopping = held
        stopped = self.root.stopService()
        self.assertEqual(self.diary[3:], ["stop c", "stop b"])
        self.assertNoResult(stopped)
        held.callback(None)
        self.assertEqual(self.diary[3:], ["stop c", "stop b", "stop a"])
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_patience_has_an_end(self) -> None:
        """A child that does not stop in time is said to and left behind."""
        held: Deferred[None] = Deferred()
        self.children[2].stopping = held
        stopped = self.root.stopService()
        self.clock.advance(4.9)
        self.assertEqual(self.diary[3:], ["stop c"])
        self.clock.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.diary[3:], ["stop c", "stop b", "stop a"])
        (event,) = [e for e in self.events if "left behind" in str(e.get("log_format"))]
        self.assertEqual(event["what"], "c")
        held.callback(None)

    def test_one_that_waits_for_another_is_late_too(self) -> None:
        """A stop that fired and still waits for something is not taken for done."""
        first: Deferred[None] = Deferred()
        first.addCallback(lambda _: Deferred())
        first.callback(None)
        self.children[2].stopping = first
        stopped = self.root.stopService()
        self.assertNoResult(stopped)
        self.clock.advance(5.0)
        self.successResultOf(stopped)
        self.assertEqual(len([e for e in self.events if e.get("what") == "c"]), 1)

    def test_patience_is_for_each(self) -> None:
        """Every child has the whole time for itself."""
        for child in self.children:
            child.stopping = Deferred()
        stopped = self.root.stopService()
        self.clock.pump([5.0, 5.0])
        self.assertEqual(self.diary[3:], ["stop c", "stop b", "stop a"])
        self.assertNoResult(stopped)
        self.clock.advance(5.0)
        self.successResultOf(stopped)

    def test_bad_stops_do_not_keep_others_running(self) -> None:
        """A child whose stop raises or fails is logged, and the others are stopped."""
        self.children[2].stopping = ValueError("raised")
        failing: Deferred[None] = Deferred()
        self.children[1].stopping = failing
        stopped = self.root.stopService()
        failing.errback(ValueError("failed"))
        self.successResultOf(stopped)
        self.assertEqual(self.diary[3:], ["stop c", "stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_late_failure_is_logged(self) -> None:
        """What a child that was left behind fails with later is still logged."""
        held: Deferred[None] = Deferred()
        self.children[2].stopping = held
        stopped = self.root.stopService()
        self.clock.advance(5.0)
        self.successResultOf(stopped)
        held.errback(ValueError("late"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
