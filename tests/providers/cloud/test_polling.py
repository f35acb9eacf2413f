"""One listing answers all who wait, and nothing is listed for nobody."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import NODE_ID, Instance, InstanceState
from nodepool_tx.providers.cloud.polling import Poller

BUILDING, ACTIVE, FAILED = InstanceState.BUILDING, InstanceState.ACTIVE, InstanceState.FAILED


def server(external_id: str, state: InstanceState = BUILDING, **fields: Any) -> Instance:
    return Instance(external_id=external_id, state=state, **fields)


class PollerTests(SynchronousTestCase):
    """The poller, with a cloud whose answers are given by hand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[Sequence[Instance]]] = []
        self.poller = Poller(self.clock, self.ask, 5, "cloud")

    def ask(self) -> Deferred[Sequence[Instance]]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self, *instances: Instance) -> None:
        """Answer the listing that was asked for last."""
        self.asked[-1].callback(instances)
        self.clock.advance(0)

    def test_nothing_is_listed_for_nobody(self) -> None:
        """No listing begins, and no timer runs, while nobody waits."""
        self.clock.advance(1000)
        self.assertEqual(self.asked, [])
        wait = self.poller.next_listing()
        wait.cancel()
        self.failureResultOf(wait, CancelledError)
        self.clock.advance(1000)
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), ([], []))

    def test_one_listing_for_all(self) -> None:
        """All who come in one turn of the reactor share a listing."""
        waiting = [self.poller.next_listing() for _ in range(10)]
        self.clock.advance(0)
        self.answer(server("a", metadata={NODE_ID: "1"}))
        for each in waiting:
            listing = self.successResultOf(each)
            self.assertEqual(listing.get("a"), server("a", metadata={NODE_ID: "1"}))
            self.assertEqual([i.external_id for i in listing.of_node("1")], ["a"])
            self.assertEqual((listing.get("b"), listing.of_node("2")), (None, ()))
        self.assertEqual((len(self.asked), self.poller.listings), (1, 1))

    def test_who_comes_during_a_listing_waits_for_the_next(self) -> None:
        """What a listing shows that began before a wait is no answer to it."""
        first = self.poller.next_listing()
        self.clock.advance(3)
        late = self.poller.next_listing()
        changed = self.poller.change_of("a", None)
        self.answer(server("a"))
        self.assertEqual(self.successResultOf(first).began, 3)
        self.assertNoResult(late)
        self.assertNoResult(changed)
        self.clock.advance(5)
        self.answer(server("a"))
        self.assertEqual(self.successResultOf(late).began, 8)
        self.assertEqual(self.successResultOf(changed), server("a"))

    def test_the_next_listing_begins_after_a_pause(self) -> None:
        """The pause counts from the end of the listing before."""
        waiting = self.poller.change_of("a", server("a"))
        self.clock.advance(0)
        self.clock.advance(100)
        self.assertEqual(len(self.asked), 1)
        self.answer(server("a"))
        self.clock.advance(4.9)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(0.1)
        self.assertEqual(len(self.asked), 2)
        self.answer()
        self.assertIsNone(self.successResultOf(waiting))

    def test_a_wait_begins_at_once_after_a_rest(self) -> None:
        """Who waits when nothing was listed for long does not wait for the pause, too."""
        self.poller.next_listing()
        self.clock.advance(0)
        self.answer()
        self.clock.advance(6)
        self.assertEqual(len(self.asked), 1)
        self.poller.next_listing()
        self.clock.advance(0)
        self.assertEqual(len(self.asked), 2)

    def test_changes(self) -> None:
        """A wait ends with the first listing that shows something else."""
        seen = server("a", metadata={"k": "v"})
        waiting = self.poller.change_of("a", seen)
        self.clock.advance(0)
        self.answer(server("a", metadata={"k": "v"}), server("b", ACTIVE))
        self.assertNoResult(waiting)
        self.clock.advance(5)
        self.answer(server("a", ACTIVE))
        self.assertEqual(self.successResultOf(waiting), server("a", ACTIVE))

    def test_the_same_fault_is_no_change(self) -> None:
        """A failed server is the same as before, though each listing makes its error anew."""
        waiting = self.poller.change_of("a", server("a", FAILED, fault=CloudError("no host")))
        self.clock.advance(0)
        self.answer(server("a", FAILED, fault=CloudError("no host")))
        self.assertNoResult(waiting)
        self.clock.advance(5)
        self.answer(server("a", FAILED, fault=CloudError("no address")))
        self.successResultOf(waiting)

    def test_cancelling(self) -> None:
        """Who gives up is forgotten; the listing is given up with the last."""
        first, second = self.poller.next_listing(), self.poller.change_of("a", None)
        self.clock.advance(0)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertFalse(self.asked[0].called)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertTrue(self.asked[0].called)
        self.assertEqual((self.poller.waiting, self.clock.getDelayedCalls()), (0, []))
        self.assertIsNone(self.poller.trouble)
        again = self.poller.next_listing()
        self.clock.advance(0)
        self.answer()
        self.successResultOf(again)

    def test_trouble(self) -> None:
        """A listing that fails is seen, tried again later each time, and nobody's failure."""
        waiting = self.poller.next_listing()
        pauses = []
        for _ in range(4):
            began = self.clock.seconds()
            self.clock.pump([0.5] * 200)
            self.asked[-1].errback(CloudError("the service is down"))
            self.assertEqual(self.poller.trouble, "servers cannot be listed: the service is down")
            self.assertNoResult(waiting)
            (timer,) = self.clock.getDelayedCalls()
            pauses.append(timer.getTime() - self.clock.seconds())
            self.assertEqual(self.clock.seconds(), began + 100)
        self.assertTrue(4 <= pauses[0] < pauses[1] < pauses[2] < pauses[3] <= 60, pauses)
        self.clock.advance(60)
        self.answer()
        self.assertEqual(self.successResultOf(waiting).by_id, {})
        self.assertIsNone(self.poller.trouble)

    def test_an_answer_that_makes_no_sense(self) -> None:
        """A listing of something else than servers is a failure like any other, with its trace."""
        waiting = self.poller.next_listing()
        self.clock.advance(0)
        self.asked[0].callback([None])  # type: ignore[list-item]
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertNoResult(waiting)
        self.clock.advance(60)
        self.answer()
        self.successResultOf(waiting)

    def test_waiting_again_at_once(self) -> None:
        """Who waits again in answer to a listing is told by a later one, and is not lost."""
        told: list[Instance | None] = []

        def again(instance: Instance | None) -> None:
            told.append(instance)
            self.poller.change_of("a", instance).addCallback(again)

        self.poller.change_of("a", None).addCallback(again)
        for state in (BUILDING, BUILDING, ACTIVE):
            self.clock.advance(5)
            self.answer(server("a", state))
        self.assertEqual(told, [server("a"), server("a", ACTIVE)])
        self.assertEqual(len(self.asked), 3)

    def test_cancelling_another_while_told(self) -> None:
        """Who is given up by somebody who was just told is not told."""
        second: list[Deferred[Any]] = []
        self.poller.change_of("a", None).addCallback(lambda _: second[0].cancel())
        second.append(self.poller.change_of("a", None))
        self.clock.advance(0)
        self.answer(server("a"))
        self.failureResultOf(second[0], CancelledError)
        self.assertEqual((self.poller.waiting, self.clock.getDelayedCalls()), (0, []))

    def test_stopping_while_told(self) -> None:
        """When all give up between two slices, nothing is left to run."""
        waiting = [self.poller.next_listing() for _ in range(1000)]
        self.clock.advance(0)
        self.asked[-1].callback([])
        left = [each for each in waiting if not each.called]
        self.assertTrue(left)
        for each in left:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        again = self.poller.next_listing()
        self.clock.advance(5)
        self.answer()
        self.successResultOf(again)


#: What happens to a poller: time passes, somebody waits for news of a server in
#: this version or for any listing, gives up, the cloud answers or fails.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.sampled_from([0, 1, 5, 60])),
        st.tuples(st.just("change_of"), st.tuples(st.sampled_from("ab"), st.integers(0, 2))),
        st.tuples(st.just("next_listing"), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("answer"), st.dictionaries(st.sampled_from("ab"), st.integers(1, 2))),
        st.tuples(st.just("fail"), st.none()),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_everybody_is_told_in_time_and_once(steps: list[tuple[str, Any]]) -> None:
    """Whatever happens: the first listing begun after a wait that shows something else ends it.

    There is never more than one listing at a time, and none when nobody waits.
    """
    clock = Clock()
    asked: list[Deferred[Sequence[Instance]]] = []

    def ask() -> Deferred[Sequence[Instance]]:
        assert all(each.called for each in asked)
        asked.append(Deferred())
        return asked[-1]

    def shown(external_id: str, version: int) -> Instance | None:
        return server(external_id, name=str(version)) if version else None

    poller = Poller(clock, ask, 5, "cloud")
    #: Who waits: since which listing, for which server, and what it has seen.
    waiting: dict[Deferred[Any], tuple[int, str | None, int]] = {}
    for what, detail in steps:
        if what == "advance":
            clock.advance(detail)
        elif what == "change_of":
            waiting[poller.change_of(detail[0], shown(*detail))] = (len(asked), *detail)
        elif what == "next_listing":
            waiting[poller.next_listing()] = (len(asked), None, 0)
        elif what == "cancel" and waiting:
            given_up = list(waiting)[detail % len(waiting)]
            del waiting[given_up]
            given_up.addErrback(lambda failure: failure.trap(CancelledError))
            given_up.cancel()
        elif what == "fail" and asked and not asked[-1].called:
            asked[-1].errback(CloudError("down"))
        elif what == "answer" and asked and not asked[-1].called:
            number = len(asked)
            asked[-1].callback([server(key, name=str(value)) for key, value in detail.items()])
            clock.advance(0)
            for each, (since, external_id, seen) in tuple(waiting.items()):
                told = since < number and (
                    external_id is None or detail.get(external_id, 0) != seen
                )
                assert each.called is told
                if told and external_id is not None:
                    results: list[Any] = []
                    each.addBoth(results.append)
                    assert results == [shown(external_id, detail.get(external_id, 0))]
                if told:
                    del waiting[each]
        assert poller.waiting == len(waiting)
        assert not any(each.called for each in waiting)
        assert waiting or all(each.called for each in asked)
        assert bool(waiting) or not clock.getDelayedCalls()


class _Turns(Clock):
    """A clock that notes how long the turns of its reactor take."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        self.turns = 0

    def callLater(self, when: float, what: Any, *args: Any, **kw: Any) -> Any:
        def turn() -> None:
            began = time.process_time()
            what(*args, **kw)
            self.longest = max(self.longest, time.process_time() - began)
            self.turns += 1

        return super().callLater(when, turn)


class ManyWaitersTests(SynchronousTestCase):
    """A thousand waiters."""

    def test_turns_stay_short(self) -> None:
        """A listing of 1,000 servers for 1,000 waiters is told in many turns, each short.

        Every waiter works for a tenth of a millisecond when it is told, as one
        that writes to ZooKeeper does.
        """
        clock = _Turns()
        state = BUILDING

        async def ask() -> list[Instance]:
            return [server(str(n), state, metadata={NODE_ID: str(n)}) for n in range(1000)]

        def work(_: Any) -> None:
            until = time.process_time() + 0.0001
            while time.process_time() < until:
                pass

        poller = Poller(clock, ask, 5, "cloud")
        seen = [server(str(n), BUILDING, metadata={NODE_ID: str(n)}) for n in range(1000)]
        told = [poller.change_of(each.external_id, each).addCallback(work) for each in seen]
        clock.advance(0)
        self.assertEqual(sum(each.called for each in told), 0)
        quiet = clock.longest
        state = ACTIVE
        clock.advance(5)
        self.assertEqual(sum(each.called for each in told), 1000)
        self.assertGreater(clock.turns, 50)
        # A whole listing at once would take more than 100 milliseconds.
        self.assertLess(clock.longest, 0.05)
        self.assertLess(quiet, 0.05)
