"""The garbage collector looks at everything while there is nothing else to do."""

from __future__ import annotations

import gc

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx import collecting
from nodepool_tx.collecting import (
    BUSY,
    DUE,
    GROWN,
    IDLE,
    INTERVAL,
    LATE,
    OVERDUE,
    QUIET,
    SHARE,
    YOUNG,
    Collector,
    resident,
)


class Interpreter:
    """The garbage collector as the service sees it.

    :ivar younger: collections of younger objects since all were collected.
    :ivar collections: how often all objects were collected.
    """

    def __init__(self, test: CollectorTests) -> None:
        self._test = test
        self.younger = self.collections = 0

    freeze = unfreeze = staticmethod(lambda: None)
    get_threshold = staticmethod(lambda: (700, 10, 10))
    set_threshold = staticmethod(lambda *thresholds: None)

    def get_count(self) -> tuple[int, int, int]:
        return 0, 0, self.younger

    def collect(self) -> int:
        self._test.used += self._test.takes
        self.younger = 0
        self.collections += 1
        return 0


class CollectorTests(SynchronousTestCase):
    """When all objects are looked at."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.used = 0.0
        self.takes = 0.2
        self.interpreter = Interpreter(self)
        self.patch(collecting, "gc", self.interpreter)
        self.memory = 10 * OVERDUE
        self.given_back = 0
        self.collector = Collector(
            self.clock, lambda: self.used, lambda: self.memory, self.give_back
        )
        self.collector.startService()

    def tearDown(self) -> None:
        self.collector.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def give_back(self) -> None:
        self.given_back += 1

    def go_on(self, *, busy: bool = False) -> int:
        """One more interval; answers how many collections there were so far."""
        self.used += INTERVAL * IDLE * (2 if busy else 0.5)
        self.clock.advance(INTERVAL)
        return self.interpreter.collections

    def rest(self) -> int:
        """Be idle for long enough, from now on; answers as :meth:`go_on`."""
        self.go_on(busy=True)
        for _ in range(QUIET - 1):
            self.go_on()
        return self.go_on()

    def test_idle(self) -> None:
        """It is done when it is due and the process has little to do, and not before."""
        self.interpreter.younger = DUE - 1
        self.assertEqual(self.rest(), 0)
        self.interpreter.younger = DUE
        self.assertEqual(self.go_on(busy=True), 0)
        for _ in range(QUIET - 1):
            self.assertEqual(self.go_on(), 0)
        self.assertEqual(self.go_on(), 1)

    def test_grown(self) -> None:
        """It is due as well when the process has grown; what is free then is given back."""
        self.memory += GROWN - 1
        self.assertEqual(self.rest(), 0)
        self.memory += 1
        self.assertEqual(self.go_on(busy=True), 0)
        self.assertEqual(self.given_back, 0)
        self.assertEqual(self.rest(), 1)
        self.assertEqual(self.given_back, 1)

    def test_late(self) -> None:
        """A process that had to wait for the processor is not idle."""
        self.assertEqual(self.rest(), 0)
        self.interpreter.younger = DUE
        self.clock.advance(2 * LATE)
        self.assertEqual(self.go_on(), 0)
        self.assertEqual(self.rest(), 1)

    def test_overdue(self) -> None:
        """A process that is never idle does not grow for ever."""
        self.interpreter.younger = 100 * DUE
        self.memory += OVERDUE - 1
        self.assertEqual(self.go_on(busy=True), 0)
        self.memory += 1
        self.assertEqual(self.go_on(busy=True), 1)
        self.memory += OVERDUE - 1
        self.assertEqual(self.go_on(busy=True), 1)

    def test_always_busy(self) -> None:
        """A process that is never idle is not left with what it has grown by, for minutes."""
        self.interpreter.younger = 100 * DUE
        for _ in range(int(BUSY / INTERVAL)):
            self.assertEqual(self.go_on(busy=True), 0)
        self.memory += GROWN
        for _ in range(int(BUSY / INTERVAL) - 1):
            self.assertEqual(self.go_on(busy=True), 0)
        self.assertEqual(self.go_on(busy=True), 1)
        self.assertEqual(self.given_back, 1)
        # Counted anew from then on.
        self.memory += GROWN
        self.assertEqual(self.go_on(busy=True), 1)

    def test_shrinking(self) -> None:
        """Memory that was given back before counts when it is taken again."""
        self.memory -= OVERDUE // 2
        self.assertEqual(self.go_on(busy=True), 0)
        self.memory += OVERDUE
        self.assertEqual(self.go_on(busy=True), 1)

    def test_share(self) -> None:
        """Collections that take long are made rarely."""
        self.interpreter.younger = DUE
        self.assertEqual(self.rest(), 1)
        self.interpreter.younger = DUE
        for _ in range(int(self.takes / SHARE / INTERVAL) - 1):
            self.assertEqual(self.go_on(), 1)
        self.go_on()
        self.assertEqual(self.go_on(), 2)


class InterpreterTests(SynchronousTestCase):
    """What it does to the real one."""

    def test_before_and_after(self) -> None:
        """It takes over when it starts, and leaves everything as it was."""
        gc.unfreeze()
        self.addCleanup(gc.freeze)
        before = gc.get_threshold()
        collector = Collector(Clock())
        collector.startService()
        self.assertGreater(gc.get_freeze_count(), 0)
        self.assertEqual(gc.get_threshold()[:2], YOUNG)
        collector.stopService()
        self.assertEqual(gc.get_freeze_count(), 0)
        self.assertEqual(gc.get_threshold(), before)

    def test_resident(self) -> None:
        """The memory of this process is known, in bytes."""
        self.assertGreater(resident(), 5_000_000)
        self.assertLess(resident(), 100_000_000_000)
