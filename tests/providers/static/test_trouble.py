"""ZooKeeper goes away in the worst moment, and others are faster."""

from __future__ import annotations

from kazoo.exceptions import BadVersionError, ConnectionLoss, MarshallingError

from nodepool_tx.config.schema import StaticProvider
from nodepool_tx.model import NodeState
from nodepool_tx.nodescan.simulated import SimulatedHosts
from nodepool_tx.store import paths
from nodepool_tx.testing.scanner import MemoryScanner
from nodepool_tx.testing.zookeeper import ServerCall
from nodepool_tx.txzookeeper.interface import TransactionFailed
from tests.providers.static.stage import StageTestCase, about_nodes
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider


def provider(*names: str, **options: object) -> StaticProvider:
    nodes = [static_node(name, **options) for name in names or ("web1",)]  # type: ignore[arg-type]
    return static_provider(static_pool(*nodes))


class TroubleTestCase(StageTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2, 3):
            self.hosts.add(f"web{number}", keys=KEYS)
        self.launch = self.launcher()
        self.client = self.launch.client
        self.inspector = self.stage.inspector

    def start(self, config: StaticProvider | None = None) -> None:
        self.service = self.launch.provide(config or provider())
        self.stage.settle()

    def slots(self) -> list[tuple[str | None, int | None]]:
        """Who stands where: two nodes in one slot show up twice."""
        return sorted((str(node.hostname), node.slot) for node in self.stage.nodes())


class LostAnswerTests(TroubleTestCase):
    """The connection breaks while a change is under way."""

    def test_a_registration_that_happened_is_not_repeated(self) -> None:
        """The answer was lost; the slot is looked at again before anything is done."""
        self.inspector.lose_reply_next("transaction", path=about_nodes, client=self.client)
        self.start(provider("web1", "web2", max_parallel_jobs=2))
        self.stage.wait(5)
        self.assertEqual(self.slots(), [("web1", 0), ("web1", 1), ("web2", 0), ("web2", 1)])

    def test_a_registration_that_did_not_happen_is_made_up_for(self) -> None:
        """The request was lost."""
        self.inspector.fail_next(
            "transaction", ConnectionLoss(), path=about_nodes, client=self.client
        )
        self.start(provider("web1", "web2"))
        self.stage.wait(5)
        self.assertEqual(self.slots(), [("web1", 0), ("web2", 0)])

    def test_a_replacement_that_happened_is_not_repeated(self) -> None:
        """The used node is gone and one fresh one is there."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.inspector.lose_reply_next("transaction", path=about_nodes, client=self.client)
        self.stage.give_back(node.id)
        self.stage.wait(5)
        self.assertEqual(self.slots(), [("web1", 0)])
        self.assertEqual(self.stage.only_node().id, "0000000001")

    def test_a_replacement_that_did_not_happen_is_made_up_for(self) -> None:
        """The used node is replaced a moment later."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.inspector.fail_next(
            "transaction", ConnectionLoss(), path=about_nodes, client=self.client
        )
        self.stage.give_back(node.id)
        self.stage.wait(5)
        self.assertIs(self.stage.only_node().state, NodeState.READY)

    def test_simulated_hosts_register_once_too(self) -> None:
        """Where no look takes any time, only the caution of the reconciler is left."""
        for lose in (True, False):
            self.setUp()
            scanner = SimulatedHosts(MemoryScanner(self.clock, self.hosts), "")
            self.launch = self.launcher("l2", scanner)
            if lose:
                self.inspector.lose_reply_next(
                    "transaction", path=about_nodes, client=self.launch.client
                )
            else:
                self.inspector.fail_next(
                    "transaction", ConnectionLoss(), path=about_nodes, client=self.launch.client
                )
            names = [f"n{number}" for number in range(120)]
            self.start(provider(*names))
            self.stage.wait(5)
            self.assertEqual(self.slots(), sorted((name, 0) for name in names))
            if lose:
                self.tearDown()

    def test_cuts_at_every_request_of_a_busy_minute(self) -> None:
        """Wherever the connection breaks, the end is one node per slot, all in service."""
        for number in range(1, 40):
            self.setUp()
            counted = 0

            def cut(call: ServerCall, at: int = number) -> None:
                nonlocal counted
                counted += 1
                if counted == at:
                    self.inspector.cut(self.client)

            self.inspector.before("*", cut, client=self.client, times=None)
            self.start(provider("web1", "web2", max_parallel_jobs=2))
            for node in self.stage.nodes():
                self.stage.use(node.id)
                self.stage.give_back(node.id)
            self.stage.wait(5)
            self.assertEqual(
                self.slots(), [("web1", 0), ("web1", 1), ("web2", 0), ("web2", 1)], number
            )
            self.assertEqual({n.state for n in self.stage.nodes()}, {NodeState.READY}, number)
            if number < 39:
                self.tearDown()


class OutOfTouchTests(TroubleTestCase):
    """No connection, for a while or for good."""

    def test_nothing_is_decided_without_a_connection(self) -> None:
        """What happened meanwhile is dealt with when it is back."""
        self.start(provider("web1", "web2"))
        a, b = self.stage.nodes()
        self.stage.use(a.id)
        self.inspector.suspend(self.client)
        self.stage.give_back(a.id)
        self.inspector.delete_tree(paths.node(b.id))
        looks = len(self.hosts.looks)
        self.stage.wait(5)
        self.assertEqual(len(self.hosts.looks), looks)
        self.inspector.resume(self.client)
        self.stage.wait(3)
        self.assertEqual(self.slots(), [("web1", 0), ("web2", 0)])
        self.assertEqual({n.state for n in self.stage.nodes()}, {NodeState.READY})

    def test_an_expired_session_is_got_over(self) -> None:
        """A new session owns the provider again and finds what is there."""
        self.start(provider("web1", "web2"))
        before = self.stage.nodes()
        self.inspector.expire(self.client)
        self.stage.wait(3)
        self.assertTrue(self.service.status().owner)
        self.assertEqual(self.stage.nodes(), before)
        self.stage.use(before[0].id)
        self.stage.give_back(before[0].id)
        self.assertEqual({n.state for n in self.stage.nodes()}, {NodeState.READY})

    def test_a_session_that_expires_in_the_middle_of_a_change(self) -> None:
        """The change did not land, and is made by the next session."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.inspector.before(
            "transaction",
            lambda call: self.inspector.expire(self.client),
            path=about_nodes,
            client=self.client,
        )
        self.stage.give_back(node.id)
        self.stage.wait(3)
        self.assertEqual(self.slots(), [("web1", 0)])
        self.assertIs(self.stage.only_node().state, NodeState.READY)

    def test_defect_23_the_owner_that_was_cut_off_overwrites_nothing(self) -> None:
        """What its successor did meanwhile stands."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        self.hosts.hold("web1")
        self.stage.give_back(node.id)
        self.inspector.suspend(self.client)
        other = self.launcher("l2")
        other.provide(provider())
        self.stage.wait(11)
        self.hosts.release("web1")
        self.stage.settle()
        fresh = self.stage.only_node()
        self.assertIs(fresh.state, NodeState.READY)
        self.inspector.resume(self.client)
        self.stage.wait(5)
        self.assertEqual(self.stage.nodes(), [fresh])

    def test_an_owner_that_is_none_any_more_when_its_change_arrives_changes_nothing(self) -> None:
        """Each change proves that the owner lock is held when it is made; the slots follow."""
        self.start()
        node = self.stage.only_node()
        self.stage.use(node.id)
        seen: list[str] = []

        def usurp(call: object) -> None:
            lock = paths.owner_lock("rack")
            for contender in self.inspector.dump(lock):
                if contender != lock:
                    self.inspector.delete(contender)

        def look(call: object) -> None:
            seen.extend(each.id for each in self.stage.nodes())

        self.inspector.before("transaction", usurp, path=about_nodes, client=self.client)
        self.inspector.after("transaction", look, path=about_nodes, client=self.client)
        self.stage.give_back(node.id)
        self.stage.wait(3)
        self.assertEqual(seen, [node.id], "it was renewed without the owner lock")
        self.assertNotEqual(self.stage.only_node().id, node.id)
        self.assertIs(self.stage.only_node().state, NodeState.READY)

    def test_idle_does_not_wait_for_zookeeper(self) -> None:
        """A slot whose fate is unknown is left to the successor."""
        self.inspector.lose_reply_next("transaction", path=about_nodes, client=self.client)
        self.inspector.after(
            "transaction",
            lambda call: self.inspector.suspend(self.client),
            path=about_nodes,
            client=self.client,
        )
        self.start()
        idled = self.service.idle()
        self.stage.settle()
        self.successResultOf(idled)
        self.launch.retire(self.service)
        self.inspector.resume(self.client)
        self.start()
        self.stage.wait(3)
        self.assertEqual(self.slots(), [("web1", 0)])


class RaceTests(TroubleTestCase):
    """Somebody else is faster."""

    def test_a_node_locked_in_the_last_moment_is_left(self) -> None:
        """The transaction proves that nobody holds it; here somebody does."""
        self.start()
        node = self.stage.only_node()
        self.inspector.before(
            "transaction",
            lambda call: self.stage.lock(node.id),
            path=about_nodes,
            client=self.client,
        )
        self.stage.change_node(node.id, state=NodeState.USED)
        self.stage.wait(3)
        self.assertEqual([n.id for n in self.stage.nodes()], [node.id])
        self.stage.unlock(node.id)
        self.stage.settle()
        self.assertEqual(self.slots(), [("web1", 0)])
        self.assertNotEqual(self.stage.only_node().id, node.id)

    def test_a_free_node_taken_in_the_last_moment_is_not_updated(self) -> None:
        """Its client finds it as it was when it was promised; the change comes later."""
        self.start()
        node = self.stage.only_node()
        self.launch.retire(self.service)
        self.inspector.before(
            "transaction",
            lambda call: self.stage.change_node(node.id, allocated_to="200-0000000001"),
            path=about_nodes,
            client=self.client,
        )
        self.start(_relabelled())
        self.assertEqual(self.stage.only_node().type, ("small",))
        self.stage.use(node.id)
        self.stage.give_back(node.id)
        self.assertEqual(self.stage.only_node().type, ("other",))

    def test_one_conflict_does_not_hold_up_the_rest_of_a_batch(self) -> None:
        """Each of the others is done on its own."""
        names = [f"n{number}" for number in range(30)]
        for name in names:
            self.hosts.add(name)
        self.start(provider(*names))
        self.launch.retire(self.service)
        victim = self.stage.nodes()[7]
        self.inspector.before(
            "transaction",
            lambda call: self.stage.lock(victim.id),
            path=about_nodes,
            client=self.client,
        )
        nodes = [static_node(name, ("other",)) for name in names]
        self.start(static_provider(static_pool(*nodes)))
        types = {node.id: node.type for node in self.stage.nodes()}
        self.assertEqual(types.pop(victim.id), ("small",))
        self.assertEqual(set(types.values()), {("other",)})
        self.stage.unlock(victim.id)
        self.stage.settle()
        self.assertEqual(self.stage.node(victim.id).type, ("other",))

    def test_a_lock_directory_nobody_knew_of(self) -> None:
        """Made and left by a client a moment ago: the change goes through all the same."""
        self.start()
        node = self.stage.only_node()
        self.inspector.before(
            "transaction",
            lambda call: self.inspector.create(paths.node_lock(node.id)),
            path=about_nodes,
            client=self.client,
        )
        self.stage.change_node(node.id, state=NodeState.USED)
        self.stage.settle()
        self.assertEqual(self.slots(), [("web1", 0)])
        self.assertEqual(len(self.inspector.dump(paths.NODES)), 2)

    def test_a_conflict_that_nothing_explains_is_no_loop(self) -> None:
        """Without an event to go by, it is tried again after a pause."""
        self.start()
        attempts: list[ServerCall] = []

        def refuse(call: ServerCall) -> None:
            attempts.append(call)
            raise TransactionFailed(0, "delete", BadVersionError())

        self.inspector.before(
            "transaction", refuse, path=about_nodes, client=self.client, times=None
        )
        before = len(self.hosts.looks)
        self.stage.change_node(self.stage.only_node().id, state=NodeState.DELETING)
        self.stage.wait(10)
        self.assertTrue(3 <= len(attempts) <= 15, len(attempts))
        self.assertLess(len(self.hosts.looks) - before, 5)

    def test_a_refusal_nobody_understands_is_tried_again_later(self) -> None:
        """Logged, and not in a loop without pause."""
        refusals = 5
        self.inspector.fail_next(
            "transaction", MarshallingError(), path=about_nodes, client=self.client, times=refusals
        )
        self.start()
        self.assertEqual(self.stage.nodes(), [])
        self.assertEqual(len(self.flushLoggedErrors(MarshallingError)), 1)
        self.stage.wait(refusals + 0.5)
        self.assertEqual(self.slots(), [("web1", 0)])
        self.assertEqual(len(self.flushLoggedErrors(MarshallingError)), refusals - 1)

    def test_a_node_removed_before_anybody_saw_it(self) -> None:
        """A slot does not wait for ever for a node that never shows up."""
        self.inspector.after(
            "transaction",
            lambda call: self.inspector.delete_tree(paths.node("0000000000")),
            path=about_nodes,
            client=self.client,
        )
        self.start()
        self.stage.wait(3)
        self.assertEqual(self.slots(), [("web1", 0)])
        self.assertEqual(self.stage.only_node().id, "0000000001")


def _relabelled() -> StaticProvider:
    return static_provider(static_pool(static_node("web1", ("other",))))
