"""The registrations of pools, which outlive the objects behind them."""

from __future__ import annotations

from kazoo.exceptions import ConnectionLoss

from nodepool_tx.model import PoolComponent
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.store import paths
from tests.pools.harness import ZookeeperTestCase


class RegistryTests(ZookeeperTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.connected()
        self.registry = PoolRegistry(self.make_store(self.client), "host", "1.2")

    def show(self, pool: str = "main", *labels: str, priority: int = 100) -> PoolComponent:
        component = self.registry.show("rack", pool, frozenset(labels), priority)
        self.settle()
        return component

    def test_shown(self) -> None:
        """A pool is shown with all that others need to know, as an ephemeral."""
        component = self.show("main", "a", "b", priority=7)
        ((path, seen),) = self.components().items()
        self.assertTrue(path.startswith(f"{paths.COMPONENTS}/pool/host"))
        self.assertEqual(seen, component)
        self.assertRegex(seen.id, r"^host-PoolWorker\.rack-main-[0-9a-f]{32}$")
        self.assertEqual(
            (seen.name, seen.provider_name, seen.hostname, seen.version),
            ("main", "rack", "host", "1.2"),
        )
        self.assertEqual((seen.supported_labels, seen.priority), (frozenset("ab"), 7))
        self.assertFalse(seen.paused)
        self.assertIn(path, self.inspector.ephemerals(self.client))
        self.assertEqual(self.registry.get("rack", "main"), component)

    def test_changed(self) -> None:
        """A pool that changes keeps its id and its znode."""
        first = self.show("main", "a")
        (path,) = self.components()
        second = self.show("main", "b")
        self.assertEqual(first.id, second.id)
        ((after, seen),) = self.components().items()
        self.assertEqual((after, seen.supported_labels), (path, frozenset("b")))

    def test_several(self) -> None:
        """Each pool has its own registration; those not kept go."""
        ids = {self.show(name).id for name in ("one", "two", "three")}
        self.assertEqual(self.registry.ids(), ids)
        self.assertEqual(len(ids), 3)
        self.done(self.registry.keep_only({("rack", "two"), ("rack", "never-seen")}))
        (left,) = self.components().values()
        self.assertEqual(left.name, "two")
        self.assertEqual(self.registry.ids(), {left.id})
        self.assertIsNone(self.registry.get("rack", "one"))

    def test_comes_back_as_somebody_else(self) -> None:
        """A pool that was taken off has a new id when it returns: it may say no afresh."""
        before = self.show().id
        removed = self.registry.keep_only(set())
        after = self.registry.show("rack", "main", frozenset(), 100)
        self.assertNotEqual(after.id, before)
        self.done(removed)
        (seen,) = self.components().values()
        self.assertEqual(seen.id, after.id)

    def test_new_session(self) -> None:
        """When the session is lost the pool is shown again, under the same id."""
        before = self.show("main", "a")
        self.inspector.expire(self.client)
        self.settle()
        (seen,) = self.components().values()
        self.assertEqual(seen, before)

    def test_taken_off_without_a_connection(self) -> None:
        """Without a connection it goes with the session, and is not waited for."""
        self.show()
        self.inspector.suspend(self.client)
        self.successResultOf(self.registry.keep_only(set()))
        self.clock.advance(self.client.session_timeout)
        self.assertEqual(self.components(), {})

    def test_taken_off_when_the_connection_is_back(self) -> None:
        """If the session lives on it is taken off then, and does not linger."""
        self.show("one")
        self.show("two")
        self.inspector.suspend(self.client)
        self.successResultOf(self.registry.keep_only({("rack", "two")}))
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual([pool.name for pool in self.components().values()], ["two"])

    def test_answers_lost(self) -> None:
        """Whichever answer is lost, there is one registration, and none after it is taken off."""
        for op in ("create", "set", "delete", "exists", "get", "get_children"):
            for stage in (
                lambda op: self.inspector.lose_reply_next(op, client=self.client),
                lambda op: self.inspector.fail_next(op, ConnectionLoss(), client=self.client),
            ):
                call_off = stage(op)
                self.show("main", "a")
                self.show("main", "b")
                (seen,) = self.components().values()
                self.assertEqual(seen.supported_labels, frozenset("b"))
                self.done(self.registry.keep_only(set()))
                self.assertEqual(self.components(), {}, op)
                call_off()

    def test_changed_before_its_making_is_known(self) -> None:
        """What changes while the answer to its making is lost is not registered twice."""
        self.inspector.lose_reply_next(
            "create", path=lambda path: "/pool/" in path, client=self.client
        )
        self.registry.show("rack", "main", frozenset("a"), 100)
        self.inspector.after(
            "create",
            lambda _: self.registry.show("rack", "main", frozenset("b"), 100),
            path=lambda path: "/pool/" in path,
        )
        self.settle()
        (seen,) = self.components().values()
        self.assertEqual(seen.supported_labels, frozenset("b"))

    def test_taken_off_before_its_making_is_known(self) -> None:
        """What is taken off while the answer to its making is lost does not linger."""
        gone = []
        self.inspector.after(
            "create",
            lambda _: gone.append(self.registry.keep_only(set())),
            path=lambda path: "/pool/" in path,
        )
        self.inspector.lose_reply_next(
            "create", path=lambda path: "/pool/" in path, client=self.client
        )
        self.registry.show("rack", "main", frozenset("a"), 100)
        self.settle()
        self.successResultOf(gone[0])
        self.assertEqual(self.components(), {})

    def test_new_session_while_its_making_is_not_known(self) -> None:
        """A session that ends just then leaves no second registration."""
        self.inspector.after(
            "create",
            lambda _: self.inspector.expire(self.client),
            path=lambda path: "/pool/" in path,
        )
        self.show("main", "a")
        self.assertEqual(len(self.components()), 1)
