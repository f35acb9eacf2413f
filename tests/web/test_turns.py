"""Long work in short turns."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.web.turns import TURN, Share, Turns


class NotedTurns(Turns):
    """Notes how long each turn was."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.lengths: list[float] = []

    async def pause(self) -> None:
        self.lengths.append(self.spent - sum(self.lengths))
        await super().pause()


class TurnTests(SynchronousTestCase):
    """On a clock that shows how long somebody works."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = NotedTurns(self.clock)

    async def work(self, pieces: int, each: float) -> None:
        for _ in range(pieces):
            self.clock.rightNow += each
            await self.turns.breathe()

    def run_to_the_end(self, work: Deferred[None]) -> None:
        """Let a second pass between turns."""
        while not work.called:
            self.clock.advance(1.0)
        self.successResultOf(work)

    def test_short_work(self) -> None:
        """Work that is shorter than a turn is done in one."""
        done = Deferred.fromCoroutine(self.work(9, TURN / 10))
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_long_work(self) -> None:
        """Longer work lets others have their turn, and counts only its own."""
        self.run_to_the_end(Deferred.fromCoroutine(self.work(100, TURN / 3)))
        self.assertGreater(len(self.turns.lengths), 20)
        self.assertLessEqual(max(self.turns.lengths), 1.5 * TURN)
        self.assertLess(abs(self.turns.spent - 100 * TURN / 3), 1e-6)

    def test_cancelled(self) -> None:
        """Work that is called off in a pause leaves nothing behind."""
        done = Deferred.fromCoroutine(self.work(100, TURN))
        done.cancel()
        self.failureResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gather(self) -> None:
        """Pieces are gathered in order."""
        gathered = Deferred.fromCoroutine(self.turns.gather(iter("abc")))
        self.assertEqual(self.successResultOf(gathered), ["a", "b", "c"])


class ShareTests(SynchronousTestCase):
    """Of the time in a turn, for all who want something short."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.share = Share(self.clock)
        self.done: list[int] = []

    def turn(self) -> None:
        """One turn, where the clock's own would go on with those planned in it."""
        call = self.clock.calls.pop(0)
        call.func(*call.args, **call.kw)

    def work(self, number: int, seconds: float = TURN / 4) -> None:
        def work() -> None:
            self.clock.rightNow += seconds
            self.done.append(number)

        self.share.do(work)

    def test_bounded(self) -> None:
        """What there is no time for waits for the next turn, and keeps its place."""
        for number in range(10):
            self.work(number)
        self.assertEqual(self.done, [0, 1, 2, 3])
        self.turn()
        self.assertEqual((self.done, len(self.share)), ([*range(8)], 2))
        self.work(10)
        self.turn()
        self.assertEqual((self.done, len(self.share)), ([*range(11)], 0))

    def test_failure(self) -> None:
        """Work that fails keeps nobody else from their turn."""
        self.work(0, TURN)
        self.share.do(lambda: self.fail("that was foreseen"))
        self.work(1)
        self.assertRaises(AssertionError, self.turn)
        self.turn()
        self.assertEqual(self.done, [0, 1])
