"""Starting, idling, resuming and stopping a pool, and what it tells of itself."""

from __future__ import annotations

from twisted.application.service import MultiService
from twisted.internet.defer import succeed

from nodepool_tx.model import Node
from nodepool_tx.pools.answering import RETRY
from nodepool_tx.store import paths
from tests.pools.harness import EPOCH, PoolTestCase


class IdleTests(PoolTestCase):
    def test_waits_for_what_is_in_flight(self) -> None:
        """Idling accepts nothing more, and is done when what was in flight is."""
        self.source.hold()
        node_ids = [self.add_node("a") for _ in range(2)]
        first = self.add_request("a")
        self.settle()
        self.assertEqual(self.pool.in_flight(), ((f"serving request {first}", EPOCH),))
        idle = self.pool.idle()
        second = self.add_request("a")
        unknown = self.add_request("unknown")
        self.settle()
        self.assertNoResult(idle)
        self.source.let_go()
        self.settle()
        self.successResultOf(idle)
        self.assert_served(first, node_ids[0])
        self.assert_waits(second)
        self.assertEqual(self.request(unknown).declined_by, ())
        self.assert_nothing_held()

    def test_at_once(self) -> None:
        """With nothing in flight it is idle at once, as often as it is asked."""
        self.successResultOf(self.pool.idle())
        self.successResultOf(self.pool.idle())

    def test_between_event_and_pass(self) -> None:
        """A pass that was due does not come any more."""
        self.add_node("a")
        seen = []
        self.store.requests.subscribe(lambda change: seen.append(self.pool.idle()))
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(len(seen), 1)
        self.assert_waits(request_id)

    def test_stays_registered(self) -> None:
        """An idle pool is still there for others, so that they do not answer for it."""
        before = self.components()
        self.successResultOf(self.pool.idle())
        self.settle()
        self.clock.advance(100.0)
        self.assertEqual(self.components(), before)

    def test_resumes(self) -> None:
        """After resuming, what came meanwhile is served."""
        self.successResultOf(self.pool.idle())
        node_id, request_id = self.add_node("a"), self.add_request("a")
        gone = self.add_request("a")
        self.settle()
        self.delete(paths.request(gone))
        self.pool.resume()
        self.pool.resume()
        self.settle()
        self.assert_served(request_id, node_id)
        self.assertEqual(self.source.asked, [node_id])

    def test_lost_connection_while_idle(self) -> None:
        """An idle pool does nothing when ZooKeeper comes back."""
        self.successResultOf(self.pool.idle())
        self.add_node("a")
        request_id = self.add_request("a")
        self.inspector.expire(self.client)
        self.settle()
        self.assert_waits(request_id)
        self.assertEqual(len(self.components()), 1)

    def test_idling_while_a_lost_race_is_looked_into(self) -> None:
        """What is caught up with after a lost race is awaited, too."""
        self.add_node("a")
        self.settle()
        idle = []

        def race(_: object) -> None:
            self.lock_request(request_id)
            idle.append(self.pool.idle())

        self.inspector.before("transaction", race, client=self.client)
        request_id = self.add_request("a")
        self.settle()
        self.successResultOf(idle[0])
        self.assert_waits(request_id)
        self.assert_nothing_held()


class StopTests(PoolTestCase):
    def test_checks_are_cut_short(self) -> None:
        """Stopping does not wait for a slow node, and leaves nothing behind."""
        self.source.hold()
        one, two = self.add_node("a"), self.add_node("a")
        request_id = self.add_request("a", "a")
        self.settle()
        self.successResultOf(self.pool.stopService())
        self.assertEqual(sorted(self.source.given_up), [one, two])
        self.settle()
        self.assert_waits(request_id)
        self.assert_free(one, two)
        self.assertEqual(self.pool.in_flight(), ())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_during_a_commit(self) -> None:
        """A commit under way is done as a whole or not at all; its outcome is not waited for."""
        node_id = self.add_node("a")
        self.settle()
        stopped = []
        self.inspector.before(
            "transaction", lambda _: stopped.append(self.pool.stopService()), client=self.client
        )
        request_id = self.add_request("a")
        self.settle()
        self.successResultOf(stopped[0])
        if self.state(request_id) == "fulfilled":
            self.assert_served(request_id, node_id)
        else:
            self.assert_waits(request_id)
            self.assert_free(node_id)

    def test_before_the_start(self) -> None:
        """A pool that never ran can be stopped."""
        self.done(self.pool.stopService())
        self.done(self.pool.stopService())

    def test_without_a_connection(self) -> None:
        """A pool stops while ZooKeeper is away, whatever it was doing."""
        self.source.hold()
        self.add_node("a")
        self.add_request("a")
        self.add_request("unknown")
        self.settle()
        self.inspector.suspend(self.client)
        self.source.let_go()
        self.settle()
        self.successResultOf(self.pool.stopService())
        self.assertEqual(self.pool.in_flight(), ())

    def test_child_of_a_provider(self) -> None:
        """As a child it is started and stopped with its provider, and can be again."""
        self.done(self.pool.stopService())
        parent = MultiService()
        self.pool.setServiceParent(parent)
        for _ in range(2):
            parent.startService()
            node_id, request_id = self.add_node("a"), self.add_request("a")
            self.settle()
            self.assert_served(request_id, node_id)
            self.done(parent.stopService())


class ReplacementTests(PoolTestCase):
    """The pool of a provider that is reloaded."""

    def test_registration_is_taken_over(self) -> None:
        """The successor has its predecessor's registration and identity."""
        (path,) = self.components()
        before = self.pool_id
        events: list[str] = []
        self.done(
            self.stranger.watch(
                f"{paths.COMPONENTS}/pool", lambda e: events.append(e.kind.value), recursive=True
            )
        )
        self.replace_pool(labels=frozenset("xyz"), priority=7)
        ((after, component),) = self.components().items()
        self.assertEqual((after, component.id), (path, before))
        self.assertEqual((component.supported_labels, component.priority), (frozenset("xyz"), 7))
        self.assertEqual(events, ["changed"])

    def test_same_settings_write_nothing(self) -> None:
        """A successor with the same labels and priority writes nothing."""
        (before,) = self.components().values()
        self.inspector.requests.clear()
        self.replace_pool()
        self.assertEqual(self.inspector.requests["set"], 0)
        self.assertEqual(list(self.components().values()), [before])

    def test_declines_are_remembered(self) -> None:
        """What the predecessor declined the successor does not decline again."""
        self.add_pool("a")
        request_id = self.add_request("unknown")
        self.settle()
        before = self.request(request_id)
        self.replace_pool()
        self.assertEqual(self.request(request_id), before)


class TellingTests(PoolTestCase):
    """Why a request waits."""

    def test_no_free_node(self) -> None:
        """What is short is told by label, and how many like it come first."""
        self.add_node("a")
        first = self.add_request("a", "a", "b")
        second = self.add_request("b", "a", "a")
        self.settle()
        short = "no free node for a (1 of 2 free); b (0 of 1 free)"
        self.assertEqual(self.pool.why(first), short)
        self.assertEqual(self.pool.why(second), f"{short}, 1 like it are ahead")

    def test_being_served(self) -> None:
        """A request whose nodes are checked is being served."""
        self.source.hold()
        self.add_node("a")
        request_id = self.add_request("a")
        self.settle()
        self.assertEqual(self.pool.why(request_id), "being served now")

    def test_versatile_nodes(self) -> None:
        """A request for more than the same few nodes can do is told so."""
        self.add_node("a", "b")
        request_id = self.add_request("a", "b")
        self.settle()
        self.assertEqual(
            self.pool.why(request_id), "the free nodes do not suffice for all of its labels at once"
        )

    def test_all_that_waits(self) -> None:
        """Requests that wish the same are told together, in the order of the queue."""
        first = self.add_request("b")
        second = self.add_request("a")
        self.add_request("b")
        self.settle()
        self.assertEqual(
            self.pool.waits(),
            (
                f"2 for b, first {first}: no free node for b (0 of 1 free)",
                f"1 for a, first {second}: no free node for a (0 of 1 free)",
            ),
        )

    def test_not_waiting_here(self) -> None:
        """Of requests that do not wait there is nothing to say."""
        self.add_node("a")
        served = self.add_request("a")
        locked = self.add_request("a")
        self.lock_request(locked)
        self.settle()
        for request_id in (served, locked, "100-0000009999"):
            self.assertEqual(self.pool.why(request_id), "")

    def test_out_of_touch(self) -> None:
        """Without ZooKeeper that is the reason."""
        request_id = self.add_request("a")
        self.settle()
        self.inspector.suspend(self.client)
        self.assertEqual(self.pool.why(request_id), "out of touch with ZooKeeper")

    def test_statistics(self) -> None:
        """Passes tell how many there were and how long they took."""
        self.add_node("a")
        self.add_request("a")
        self.add_request("unknown")
        self.settle()
        statistics = self.pool.statistics
        self.assertEqual((statistics.served, statistics.declined), (1, 1))
        self.assertGreater(statistics.passes, 0)
        self.assertGreaterEqual(statistics.longest_duration, statistics.last_duration)


class BrokenSourceTests(PoolTestCase):
    """A provider that does not keep its promises."""

    def test_check_that_raises(self) -> None:
        """A check that fails is logged and tried again after a while; nothing stays reserved."""

        def check(node: Node) -> object:
            return succeed(None).addCallback(lambda _: 1 / 0)

        self.source.check = check  # type: ignore[method-assign,assignment]
        node_id, request_id = self.add_node("a"), self.add_request("a")
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(RETRY)
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        del self.source.check
        self.clock.advance(RETRY)
        self.settle()
        self.assert_served(request_id, node_id)
        self.assert_nothing_held()
