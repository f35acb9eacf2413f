"""So many at a time."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.providers.static.lane import Lane


class LaneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.started: list[int] = []
        self.work: dict[int, Deferred[None]] = {}

    def start(self, item: int) -> Deferred[None]:
        self.started.append(item)
        return self.work.setdefault(item, Deferred())

    def test_it_is_first_come_first_served(self) -> None:
        """The next starts when one has ended, well or not."""
        lane = Lane(2, self.start)
        for item in range(4):
            lane.put(item)
        self.assertEqual(self.started, [0, 1])
        self.work[1].callback(None)
        self.assertEqual(self.started, [0, 1, 2])
        self.work[0].errback(ZeroDivisionError())
        self.assertEqual(self.started, [0, 1, 2, 3])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 0)

    def test_any_number_may_be_done_at_once(self) -> None:
        """Ten thousand in line behind one that held them up are no deep recursion."""
        first: Deferred[None] = Deferred()
        self.work = {0: first, **{item: succeed(None) for item in range(1, 10_001)}}
        lane = Lane(1, self.start)
        for item in range(10_001):
            lane.put(item)
        self.assertEqual(self.started, [0])
        first.callback(None)
        self.assertEqual(len(self.started), 10_001)

    def test_clearing_leaves_what_has_started(self) -> None:
        """What was in line is given back and never starts."""
        lane = Lane(1, self.start)
        for item in range(3):
            lane.put(item)
        self.assertEqual(lane.clear(), (1, 2))
        self.work[0].callback(None)
        self.assertEqual(self.started, [0])
        lane.put(5)
        self.assertEqual(self.started, [0, 5])
