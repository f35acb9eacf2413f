"""Whenever a launcher dies, its leases go on, or end and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
from twisted.internet.defer import Deferred

from nodepool_tx.leases.desk import Over
from nodepool_tx.model import NodeState
from nodepool_tx.store import paths
from nodepool_tx.store.leases import Lease, LeaseState, encode_lease
from tests.garbage import collected_between_tests  # noqa: F401
from tests.leases.lenders import OWNER, Lender, LenderTestCase


class KilledTests(LenderTestCase):
    """Killed with every single request to ZooKeeper of a whole life."""

    def whole_life(self, lender: Lender) -> bool:
        """A user's life with one launcher; whether it came to its end."""
        lease = self.wish(lender, "small", "large", key="k")
        if lease is None:
            return False
        self.wait(3)
        if self.renew(lender, lease.id) is None:
            return False
        return self.give_back(lender, lease.id) is not None

    def try_everywhere(self, beside: bool, executed: bool) -> int:
        """Kill it everywhere; how many places there were.

        :param beside: another launcher is there all the time, or else started later.
        """
        place = 0
        while True:
            place += 1
            first = self.start()
            second = self.start() if beside else None
            call_off = self.kill_at(first, place, executed)
            survived = self.whole_life(first) and first not in self.dead
            call_off()
            self.assertEqual(self.broken, [])
            second = second or self.start()
            self.wait(5)
            self.check_settled()
            for lease_id, told in self.told.leases.items():
                self.assertIn(lease_id, self.leases(), "a lease that was told of is lost")
                if told.over:
                    self.assertTrue(self.leases()[lease_id].over)
            # Whoever asks again with the same key learns what became of it.
            lease = self.wish(second, "small", "large", key="k")
            assert lease is not None
            self.wait(5)
            now = self.leases()[lease.id]
            expected = LeaseState.ENDED if lease.over else LeaseState.READY
            self.assertIs(now.state, expected)
            self.check_all_over()
            self.told.leases.clear()
            for lender in tuple(self.lenders):
                self.kill(lender)
            self.wait(30)
            if survived:
                return place

    def test_another_goes_on(self) -> None:
        """With another launcher beside it."""
        self.assertGreater(self.try_everywhere(beside=True, executed=True), 8)

    def test_another_goes_on_with_what_did_not_happen(self) -> None:
        """The same, when the last request is lost on its way."""
        self.assertGreater(self.try_everywhere(beside=True, executed=False), 8)

    def test_started_again(self) -> None:
        """With nobody but the same launcher, started again."""
        self.assertGreater(self.try_everywhere(beside=False, executed=True), 8)

    def test_started_again_with_what_did_not_happen(self) -> None:
        """The same, when the last request is lost on its way."""
        self.assertGreater(self.try_everywhere(beside=False, executed=False), 8)


class TogetherTests(LenderTestCase):
    """Launchers that follow the same leases."""

    def test_overdue_at_the_start(self) -> None:
        """What should have ended while no launcher ran ends at once."""
        first = self.start()
        lease = self.wish(first, "small")
        assert lease is not None
        self.wait(3)
        self.kill(first)
        self.done(self.janitor.stopService())
        self.wait(200)
        self.assertIs(self.leases()[lease.id].state, LeaseState.READY)
        self.start()
        self.wait(3)
        self.assertIs(self.leases()[lease.id].state, LeaseState.ENDED)
        self.janitor.startService()
        self.wait(5)
        self.assert_all_free()

    def test_each_step_once(self) -> None:
        """Of three launchers one hands over and one takes back: every node is written once."""
        lenders = [self.start() for _ in range(3)]
        lease = self.wish(lenders[0], "small")
        assert lease is not None
        self.wait(3)
        (node,) = self.held()
        version = node.version
        self.assertIs(self.leases()[lease.id].state, LeaseState.READY)
        writes: list[object] = []
        for lender in lenders:
            self.addCleanup(
                self.inspector.after(
                    "transaction",
                    writes.append,
                    path=paths.node(node.id),
                    client=lender.client,
                    times=None,
                )
            )
        self.wait(50)
        self.assertEqual(self.node(node.id).version, version)
        self.assertIsNotNone(self.renew(lenders[1], lease.id))
        self.assertIsNotNone(self.renew(lenders[2], lease.id))
        self.assertIsNotNone(self.give_back(lenders[2], lease.id))
        self.assertEqual(len(writes), 3)
        self.check_all_over()

    def test_session_lost(self) -> None:
        """A lease outlives the session of the launcher that made it."""
        lender = self.start()
        lease = self.wish(lender, "small")
        assert lease is not None
        self.wait(3)
        self.inspector.expire(lender.client)
        self.wait(3)
        self.assertIs(self.leases()[lease.id].state, LeaseState.READY)
        self.assertIsNotNone(self.renew(lender, lease.id))
        self.check_settled()
        self.check_all_over()

    def interpose(self, lender: Lender, lease_id: str, act: Callable[[], object]) -> None:
        """Have something happen just before the lender's next change of a lease."""
        self.inspector.before(
            "transaction", lambda _: act(), path=paths.lease(lease_id), client=lender.client
        )

    def test_renewed_too_late(self) -> None:
        """What was ended a moment before by another launcher is not brought back to life."""
        lender, other = self.start(), self.start()
        for labels in (("large",), ("large",)):
            lease = self.wish(lender, *labels)
            assert lease is not None
            self.wait(3)
            before = self.leases()[lease.id].state
            over = attrs.evolve(self.leases()[lease.id], state=LeaseState.ENDED, reason="elsewhere")
            # The first is ready, the second waits behind it.
            self.interpose(lender, lease.id, lambda lease=over: self.write(lease))  # type: ignore[misc]
            self.assertIsNone(self.renew(lender, lease.id), before)
            self.assertEqual(self.leases()[lease.id].reason, "elsewhere")
            self.told.leases.pop(lease.id)
            self.broken.clear()
            if before is LeaseState.READY:
                self.write(attrs.evolve(over, state=LeaseState.READY))
        self.assertIs(before, LeaseState.WAITING)
        self.assertEqual(len(other.store.leases), 2)

    def write(self, lease: Lease) -> None:
        self.inspector.set(paths.lease(lease.id), encode_lease(lease))

    def test_handed_over_too_late(self) -> None:
        """A lease that was called off a moment before gets no nodes."""
        lender = self.start()
        self.done(lender.service.stopService())
        lease = self.wish(lender, "large")
        assert lease is not None
        over = attrs.evolve(lease, state=LeaseState.ENDED, since=self.clock.seconds())
        self.interpose(lender, lease.id, lambda: self.write(over))
        lender.service.startService()
        self.wait(5)
        self.assertEqual(self.held(), [])
        self.assertIs(self.leases()[lease.id].state, LeaseState.ENDED)
        self.check_all_over()

    def ready_unseen(self, first: Lender, second: Lender) -> tuple[Lease, str]:
        """A lease that ``first`` looks after, and the path of its node; ``second`` reads it late.

        As where a write of the same launcher is under way, when two hand it out at the same time.
        """
        for lender in (first, second):
            self.done(lender.service.stopService())
        lease = self.wish(first, "large")
        assert lease is not None
        self.wait(3)
        (node,) = [n for n in self.nodes().values() if n.allocated_to]
        path = paths.node(node.id)
        second.store._node_cache.expect(path)
        first.service.startService()
        self.wait(3)
        return lease, path

    def test_seen_before_its_nodes(self) -> None:
        """A lease that is seen to be ready before its node neither fails nor leaves it behind."""
        first, second = self.start(), self.start()
        lease, path = self.ready_unseen(first, second)
        second.service.startService()
        self.wait(3)
        self.assertIs(self.leases()[lease.id].state, LeaseState.READY)
        self.assertIsNone(self.give_back(second, lease.id))
        self.assertEqual([paths.node(node.id) for node in self.held()], [path])
        self.assertIs(self.leases()[lease.id].state, LeaseState.READY)
        second.store._node_cache.settle(path)
        self.wait(3)
        self.assertIsNotNone(self.renew(second, lease.id))
        self.assertIsNotNone(self.give_back(second, lease.id))
        self.check_all_over()

    def test_shown_with_its_nodes(self) -> None:
        """Who asks a launcher that has not seen the nodes of a ready lease yet is told of them."""
        first, second = self.start(), self.start()
        lease, path = self.ready_unseen(first, second)
        known = second.store.leases.get(lease.id)
        assert known is not None
        self.assertIs(known.state, LeaseState.READY)
        self.assertEqual(second.desk.nodes_of(known), ())
        settle = second.store._node_cache.settle
        self.inspector.before("transaction", lambda _: settle(path), client=second.client)
        found = self.attempt(second.desk.find(lease.id, OWNER))
        shown = second.desk.nodes_of(found)
        self.assertEqual([paths.node(node.id) for node in shown], [path])
        second.service.startService()
        self.assertIsNotNone(self.give_back(second, lease.id))
        self.check_all_over()

    def test_ended_too_early(self) -> None:
        """A lease that was renewed elsewhere just before its end goes on."""
        lender = self.start()
        lease = self.wish(lender, "large")
        assert lease is not None
        self.wait(30)
        now = self.leases()[lease.id]
        renewed = attrs.evolve(now, expires=now.expires + 600)
        self.interpose(lender, lease.id, lambda: self.write(renewed))
        self.wait(40)
        self.assertEqual(self.leases()[lease.id], renewed)
        self.assertEqual(len(self.held()), 1)

    def test_at_the_same_time(self) -> None:
        """Of a renewal and a return at once by two launchers the return wins, and all is told."""
        for first, second in ((0, 1), (1, 0)):
            lenders = [self.start(), self.start()]
            lease = self.wish(lenders[0], "large")
            assert lease is not None
            self.wait(3)
            found = [lender.store.leases.get(lease.id) for lender in lenders]
            assert found[0] is not None
            assert found[1] is not None
            doing = [
                lenders[0].desk.renew(found[0], None, self.lent),
                lenders[1].desk.give_back(found[1], "returned"),
            ]
            outcomes = [Deferred.fromCoroutine(doing[each]) for each in (first, second)]
            self.settle()
            for outcome in outcomes:
                outcome.addErrback(lambda failure: failure.trap(Over))
            self.assertTrue(all(outcome.called for outcome in outcomes))
            self.wait(5)
            self.assertIs(self.leases()[lease.id].state, LeaseState.ENDED)
            self.check_settled()
            self.assert_all_free()

    def test_lease_removed(self) -> None:
        """When an operator removes a lease's znode, its request goes too."""
        lender = self.start()
        self.assertIsNotNone(self.wish(lender, "large"))
        self.wait(3)
        lease = self.wish(lender, "large")
        assert lease is not None
        self.wait(3)
        self.assertEqual(len(self.requests_there()), 1)
        self.delete(paths.lease(lease.id))
        self.wait(3)
        self.assertEqual(self.requests_there(), [])

    def test_locked_node(self) -> None:
        """A node that somebody has in hand delays the handing over, and the end, no longer."""
        lender = self.start()
        self.done(lender.service.stopService())
        lease = self.wish(lender, "large")
        assert lease is not None
        self.wait(3)
        (node,) = [n for n in self.nodes().values() if n.allocated_to]
        lock = self.lock_node(node.id)
        lender.service.startService()
        self.wait(5)
        self.assertIs(self.leases()[lease.id].state, LeaseState.WAITING)
        self.inspector.delete(lock)
        self.wait(3)
        self.assertIs(self.leases()[lease.id].state, LeaseState.READY)
        lock = self.lock_node(node.id)
        self.settle()
        self.assertIsNone(self.give_back(lender, lease.id))
        self.assertIsNone(self.renew(lender, lease.id))
        self.wait(70)
        self.assertIs(self.leases()[lease.id].state, LeaseState.READY)
        self.inspector.delete(lock)
        self.wait(3)
        self.assertIs(self.leases()[lease.id].state, LeaseState.ENDED)
        self.check_all_over()


class AnythingTests(LenderTestCase):
    """Users, operators and trouble in any order."""

    def one_of(self, random: Random) -> Lender:
        return random.choice(self.lenders)

    def some_lease(self, random: Random) -> str:
        return random.choice(sorted(self.told.leases) or ["none"])

    def happen(self, random: Random) -> None:
        """One thing."""
        deeds: list[tuple[int, Callable[[], object]]] = [
            (6, lambda: self.wish(self.one_of(random), *random.choices(["small", "large"], k=2))),
            (6, lambda: self.wish(self.one_of(random), random.choice(["small", "large"]))),
            (6, lambda: self.renew(self.one_of(random), self.some_lease(random))),
            (6, lambda: self.give_back(self.one_of(random), self.some_lease(random))),
            (3, lambda: self.inspector.cut(self.one_of(random).client)),
            (2, lambda: self.inspector.expire(self.one_of(random).client)),
            (2, lambda: self.inspector.expire(self.client)),
            (2, lambda: self.die(random)),
            (3, lambda: self.operator_deletes(random)),
            (1, lambda: self.operator_removes_request(random)),
            (9, lambda: self.wait(random.choice([0.5, 2, 10, 40]))),
        ]
        weights, acts = zip(*deeds, strict=True)
        random.choices(acts, weights)[0]()

    def die(self, random: Random) -> None:
        lender = self.one_of(random)
        self.kill_at(lender, random.randrange(1, 6), random.random() < 0.5)
        self.start()

    def operator_deletes(self, random: Random) -> None:
        held = self.held()
        if held:
            node = random.choice(held)
            self.taken.add(node.id)
            self.change_node(node.id, state=NodeState.DELETING)

    def operator_removes_request(self, random: Random) -> None:
        for request_id in self.requests_there()[:1]:
            self.delete(paths.request(request_id))

    def test_anything(self) -> None:
        """Whatever happens, no node is lost or lent twice, and in the end all are free."""
        for seed in range(25):
            random = Random(seed)
            for _ in range(2):
                self.start()
            for _ in range(40):
                self.happen(random)
                self.settle()
                while len(self.lenders) < 2:
                    self.start()
                self.assertEqual(self.broken, [], f"seed {seed}")
            self.wait(10)
            self.check_settled()
            self.check_all_over()
            self.told.leases.clear()
            for lender in tuple(self.lenders):
                self.kill(lender)
            self.wait(30)
