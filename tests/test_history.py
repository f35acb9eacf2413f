"""What is remembered of a day."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.events import Events, LaunchEnded, NodeDeleted, ReloadEnded, RequestEnded
from nodepool_tx.history import MINUTES, RELOADS, SAMPLE, Durations, History

#: A time at the beginning of a minute.
EPOCH = 1_700_000_040.0


class HistoryTests(SynchronousTestCase):
    """Minute by minute."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(EPOCH)
        self.events = Events()
        self.history = History(self.clock, self.events, random.Random(1))

    def launch(self, result: str = "ready", seconds: float = 10.0, provider: str = "sky") -> None:
        self.events.publish(
            LaunchEnded(
                provider=provider, pool="p", label="l", node_id="1", result=result, seconds=seconds
            )
        )

    def request(self, result: str = "fulfilled", seconds: float = 1.0) -> None:
        self.events.publish(
            RequestEnded(
                request_id="1", provider="sky", pool="p", labels=(), result=result, seconds=seconds
            )
        )

    def test_launches(self) -> None:
        """Launches are counted by provider and minute, their durations when they succeed."""
        for seconds in (10.0, 20.0, 30.0):
            self.launch(seconds=seconds)
        self.launch("quota", 500.0)
        self.launch(provider="sea")
        self.clock.advance(60)
        self.launch("timeout")
        found = self.history.last(10)
        self.assertEqual(
            found["launches"]["sky"],
            [
                {"at": EPOCH, "ready": 3, "failed": 1, "p50": 20.0, "p95": 30.0},
                {"at": EPOCH + 60, "ready": 0, "failed": 1, "p50": None, "p95": None},
            ],
        )
        self.assertEqual(found["errors"], {"sky": {"quota": 1, "timeout": 1}})
        self.assertEqual(len(found["launches"]["sea"]), 1)

    def test_requests(self) -> None:
        """Requests are counted by result."""
        for result in ("fulfilled", "fulfilled", "declined", "failed"):
            self.request(result, 4.0 if result == "fulfilled" else 999.0)
        (bucket,) = self.history.last(1)["requests"]
        self.assertEqual(
            bucket,
            {"at": EPOCH, "fulfilled": 2, "failed": 1, "declined": 1, "p50": 4.0, "p95": 4.0},
        )

    def test_how_far_back(self) -> None:
        """Only the minutes asked for are told, the one under way being the last."""
        for _ in range(5):
            self.request()
            self.clock.advance(60)
        for minutes, count in ((1, 0), (2, 1), (5, 4), (6, 5), (100, 5)):
            self.assertEqual(len(self.history.last(minutes)["requests"]), count, minutes)
        self.assertEqual(self.history.last(2)["start"], EPOCH + 240)

    def test_a_day(self) -> None:
        """More than a day is forgotten."""
        for _ in range(MINUTES + 100):
            self.request()
            self.clock.advance(60)
        self.assertEqual(len(self.history.last(10 * MINUTES)["requests"]), MINUTES)

    def test_a_clock_put_back(self) -> None:
        """When the clock is put back, what happens is counted in the newest minute."""
        self.request()
        self.clock.rightNow -= 3600
        self.request()
        newest = self.history.newest()
        assert newest is not None
        self.assertEqual((newest["at"], newest["requests"]["fulfilled"]), (EPOCH, 2))

    def test_newest(self) -> None:
        """The newest minute is told by itself, to those who ask to be told of changes."""
        told: list[int] = []
        self.assertIsNone(self.history.newest())
        remove = self.history.subscribe(lambda: told.append(1))
        self.launch("quota")
        self.events.publish(NodeDeleted(provider="sky", node_id="1", seconds=1.0))
        self.assertEqual(len(told), 1)
        newest = self.history.newest()
        assert newest is not None
        self.assertEqual(newest["errors"], {"sky": {"quota": 1}})
        self.assertIsNone(newest["requests"])
        remove()
        self.launch()
        self.assertEqual(len(told), 1)

    def test_reloads(self) -> None:
        """The last hundred reloads are remembered, with their times."""
        for number in range(RELOADS + 5):
            self.events.publish(
                ReloadEnded(
                    kept=(),
                    replaced=(str(number),),
                    added=(),
                    removed=(),
                    rolled_back=(),
                    seconds=0.1,
                )
            )
            self.clock.advance(1)
        reloads = self.history.reloads()
        self.assertEqual((len(reloads), reloads[0].at), (RELOADS, EPOCH + 5))
        self.assertEqual(reloads[-1].event.replaced, (str(RELOADS + 4),))


class DurationTests(SynchronousTestCase):
    """Samples."""

    def test_bounded_and_fair(self) -> None:
        """Of very many durations a bounded sample is kept that is like them."""
        durations = Durations(random.Random(7))
        for number in range(100 * SAMPLE):
            durations.add(number / (100 * SAMPLE))
        self.assertEqual(len(durations._sample), SAMPLE)
        for share in (0.5, 0.95):
            found = durations.quantile(share)
            assert found is not None
            self.assertLess(abs(found - share), 0.06)

    def test_few(self) -> None:
        """Of one duration all shares are that one; of none there is nothing."""
        durations = Durations(random.Random(7))
        self.assertIsNone(durations.quantile(0.5))
        durations.add(3.0)
        self.assertEqual((durations.quantile(0.5), durations.quantile(0.95)), (3.0, 3.0))
