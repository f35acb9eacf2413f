"""Answers are shared by those who ask together, and used as long as they hold."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.openstack.lookups import RECHECK, Lookup


class LookupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[int]] = []
        self.lookup: Lookup[int] = Lookup(self.clock, "numbers", 600.0, self._ask)

    async def _ask(self) -> int:
        deferred: Deferred[int] = Deferred()
        self.asked.append(deferred)
        return await deferred

    def get(self, **how: Any) -> Deferred[int]:
        return Deferred.fromCoroutine(self.lookup.get(**how))

    def know(self, value: int) -> None:
        asked = self.get()
        self.asked[-1].callback(value)
        self.assertEqual(self.successResultOf(asked), value)

    def test_who_asks_together_shares_one_answer(self) -> None:
        """However many ask, the cloud is asked once."""
        waiting = [self.get() for _ in range(1000)]
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback(7)
        self.assertEqual({self.successResultOf(each) for each in waiting}, {7})

    def test_an_answer_gets_old(self) -> None:
        """It is used until its age, and asked for again then."""
        self.know(7)
        self.clock.advance(600)
        self.assertEqual(self.successResultOf(self.get()), 7)
        self.clock.advance(1)
        waiting = self.get()
        self.asked[1].callback(8)
        self.assertEqual(self.successResultOf(waiting), 8)

    def test_one_who_gives_up_leaves_it_to_the_others(self) -> None:
        """Only when nobody waits any more is the question given up."""
        first, second = self.get(), self.get()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertFalse(self.asked[0].called)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertTrue(self.asked[0].called)
        self.know(9)

    def test_a_failure_is_not_kept(self) -> None:
        """All who wait learn of it, and the next asks again."""
        waiting = [self.get(), self.get()]
        self.asked[0].errback(CloudError("down"))
        for each in waiting:
            self.failureResultOf(each, CloudError)
        self.know(7)

    def test_forgetting(self) -> None:
        """Only an answer from before the trouble is forgotten."""
        self.know(7)
        self.clock.advance(10)
        self.lookup.forget(5)
        waiting = self.get()
        self.asked[1].callback(8)
        self.assertEqual(self.successResultOf(waiting), 8)
        self.lookup.forget(5)
        self.assertEqual(self.successResultOf(self.get()), 8)

    def test_what_is_missing_is_looked_for_again_now_and_then(self) -> None:
        """A thousand that miss something cost one question per recheck."""

        def find(wanted: int) -> Deferred[int | None]:
            return Deferred.fromCoroutine(
                self.lookup.find(lambda value: value if value == wanted else None)
            )

        self.know(7)
        self.assertEqual(self.successResultOf(find(7)), 7)
        self.assertEqual([self.successResultOf(find(8)) for _ in range(3)], [None] * 3)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(RECHECK + 1)
        waiting = [find(8) for _ in range(1000)]
        self.assertEqual(len(self.asked), 2)
        self.asked[1].callback(8)
        self.assertEqual({self.successResultOf(each) for each in waiting}, {8})

    def test_going_on_without_an_answer(self) -> None:
        """The last answer serves while there is none, and not every caller asks in vain."""

        def get(enough: bool = True) -> Deferred[int]:
            return Deferred.fromCoroutine(self.lookup.get_if_possible(lambda _: enough, 0))

        waiting = get()
        self.asked[0].errback(CloudError("down"))
        self.assertEqual(self.successResultOf(waiting), 0)
        self.assertEqual(self.successResultOf(get()), 0)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(RECHECK)
        waiting = get()
        self.asked[1].callback(7)
        self.assertEqual(self.successResultOf(waiting), 7)
        self.assertEqual(self.successResultOf(get(enough=False)), 7)
        self.clock.advance(RECHECK + 1)
        waiting = get(enough=False)
        self.asked[2].errback(CloudError("down"))
        self.assertEqual(self.successResultOf(waiting), 7)
        self.assertEqual(len(self.asked), 3)
