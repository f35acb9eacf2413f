"""The store as a whole: when it is current, barriers, components, registrations."""

from __future__ import annotations

import json

import attrs
from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent

from nodepool_tx.model import ComponentState, LauncherComponent, PoolComponent
from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.codec import encode_component, encode_node
from nodepool_tx.store.registration import Registration
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import SessionState
from tests.store.harness import StoreTestCase, ready_node, waiting_request


class CurrentTests(StoreTestCase):
    def test_it_prepares_what_it_watches(self) -> None:
        """In an empty ZooKeeper, with nothing else."""
        made = {path for path in self.inspector.dump() if path != paths.ROOT}
        self.assertEqual(made, set(paths.SKELETON))

    def test_it_prepares_it_again(self) -> None:
        """When all was wiped, and when a new session finds nothing there."""
        self.inspector.delete_tree(paths.ROOT)
        self.settle()
        self.assertLessEqual(set(paths.SKELETON), set(self.inspector.dump(paths.ROOT)))
        self.inspector.suspend(self.client)
        self.clock.advance(11)
        self.inspector.delete_tree(paths.ROOT)
        self.inspector.resume(self.client)
        self.settle()
        self.assertLessEqual(set(paths.SKELETON), set(self.inspector.dump(paths.ROOT)))
        self.assertTrue(self.store.current)
        node_id = self.put_node(ready_node()).id
        self.settle()
        self.assertTrue(self.nodes.is_free(node_id))

    def test_it_knows_what_was_there_before(self) -> None:
        """As soon as it is current, and not before."""
        for number in range(600):
            self.inspector.create(paths.node(f"{number:010}"), encode_node(ready_node()))
        self.put_request(waiting_request())
        client = self.zookeeper.client()
        store = Store(client, self.clock)
        seen: list[tuple[bool, int, int]] = []
        store.when_current(
            lambda current: seen.append((current, len(store.nodes), len(store.requests)))
        )
        store.startService()
        self.assertFalse(store.current)
        client.connect()
        self.settle()
        self.assertEqual(seen, [(True, 600, 1)])
        self.assertTrue(store.current)
        store.stopService()
        client.close()
        self.settle()

    def test_it_is_told_when_it_is_out_of_touch_and_back(self) -> None:
        """What happened meanwhile is shown before it is said to be current."""
        node = self.put_node(ready_node())
        seen: list[tuple[bool, int]] = []
        unsubscribe = self.store.when_current(lambda now: seen.append((now, len(self.nodes))))
        self.inspector.suspend(self.client)
        self.assertFalse(self.store.current)
        self.inspector.delete(paths.node(node.id))
        self.settle()
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(seen, [(False, 1), (True, 0)])
        unsubscribe()
        self.inspector.cut(self.client)
        self.settle()
        self.assertEqual(len(seen), 2)

    def test_an_observer_that_fails_hurts_nobody(self) -> None:
        """The others hear of it all the same."""

        def broken(current: bool) -> None:
            raise ZeroDivisionError

        seen: list[bool] = []
        self.store.when_current(broken)
        self.store.when_current(seen.append)
        self.inspector.cut(self.client)
        self.settle()
        self.assertEqual(seen, [False, True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_a_connection_that_breaks_while_it_starts(self) -> None:
        """It begins again with the next one, wherever it was."""
        for number in range(1, 25):
            client = self.zookeeper.client()
            store = Store(client, self.clock)
            count = 0

            def cut(call: object, at: int = number, client: object = client) -> None:
                nonlocal count
                count += 1
                if count == at:
                    self.inspector.cut(client)  # type: ignore[arg-type]

            call_off = self.inspector.before("*", cut, client=client, times=None)
            store.startService()
            client.connect()
            self.settle()
            self.assertTrue(store.current, number)
            call_off()
            store.stopService()
            client.close()
            self.settle()

    def test_it_says_why_it_cannot_prepare(self) -> None:
        """A connection that breaks meanwhile is told of in a line."""
        client = self.zookeeper.client()
        store = Store(client, self.clock)
        self.inspector.before("exists", lambda call: self.inspector.cut(client), client=client)
        with capturedLogs() as logs:
            store.startService()
            client.connect()
            self.settle()
        told = [formatEvent(event) for event in logs]
        (line,) = [line for line in told if "cannot prepare" in line]
        self.assertNotIn("\n", line)
        self.assertRegex(line, "^cannot prepare ZooKeeper, will try again: [^#]+$")
        store.stopService()
        client.close()
        self.settle()


class BarrierTests(StoreTestCase):
    def test_what_others_wrote_before_is_shown_after(self) -> None:
        """However many there are: nodes, requests, locks and components."""
        node = self.put_node(ready_node())
        self.inspector.create(paths.node("0000000077"), encode_node(ready_node()))
        self.inspector.create(paths.request("200-5"), b'{"state": "requested"}')
        self.inspector.create(paths.request_lock("200-5") + "/c-", sequence=True)
        self.lock_node(node.id)
        pool = PoolComponent(id="i", name="main", provider_name="rack", hostname="h")
        self.inspector.create(paths.component("pool", "h0"), encode_component(pool))
        shown: list[object] = []

        async def look() -> None:
            await self.store.barrier()
            shown.extend(
                (
                    self.nodes.get("0000000077") is not None,
                    self.nodes.is_locked(node.id),
                    self.requests.get("200-5") is not None,
                    self.requests.is_locked("200-5"),
                    [p.id for p in self.store.components.pools()],
                )
            )

        self.run_until_done(look())
        self.assertEqual(shown, [True, True, True, True, ["i"]])

    def test_it_waits_for_a_connection(self) -> None:
        """Giving up is left to the caller."""
        self.inspector.suspend(self.client)
        passed = Deferred.fromCoroutine(self.store.barrier())
        self.settle()
        self.assertNoResult(passed)
        self.inspector.resume(self.client)
        self.settle()
        self.successResultOf(passed)

    def test_cancelling_it(self) -> None:
        """It ends as cancelled, whatever it waits for, and whether the store runs or not."""
        waiting = Deferred.fromCoroutine(self.store.barrier())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.inspector.suspend(self.client)
        for _ in range(2):
            waiting = Deferred.fromCoroutine(self.store.barrier())
            self.settle()
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            self.store.stopService()

    def test_the_store_stops(self) -> None:
        """Whoever waits is told that it is uncertain what the tables show, and may go on."""
        self.inspector.suspend(self.client)
        waiting = Deferred.fromCoroutine(self.store.barrier())
        self.settle()
        self.store.stopService()
        self.failureResultOf(waiting, Uncertain)


class ComponentTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.changes = 0

        def count() -> None:
            self.changes += 1

        self.store.components.subscribe(count)

    def test_pools_and_others(self) -> None:
        """Ours and everybody else's, as they come and go."""
        pool = PoolComponent(
            id="i", name="main", provider_name="rack", hostname="h", supported_labels=frozenset("a")
        )
        path = self.inspector.create(
            paths.component("pool", "h"), encode_component(pool), sequence=True
        )
        launcher = LauncherComponent(kind="launcher", hostname="h")
        self.inspector.create(
            paths.component("launcher", "h"), encode_component(launcher), sequence=True
        )
        self.settle()
        self.assertEqual(self.store.components.pools(), (pool,))
        self.assertEqual(len(self.store.components.all()), 2)
        self.assertEqual(self.changes, 2)
        paused = attrs.evolve(pool, paused=True)
        self.inspector.set(path, encode_component(paused))
        self.settle()
        self.assertEqual(self.store.components.pools(), (paused,))
        self.inspector.delete(path)
        self.settle()
        self.assertEqual(self.store.components.pools(), ())
        self.assertEqual(self.changes, 4)

    def test_rubbish_is_left_out(self) -> None:
        """And is no news."""
        for name, data in (("pool/x", b""), ("pool/y", b"[]"), ("odd/z", b"{}"), ("file", b"")):
            self.inspector.create(f"{paths.COMPONENTS}/{name}", data)
        self.settle()
        self.assertEqual(self.store.components.all(), ())
        self.assertEqual(self.changes, 0)

    def test_writing_the_same_again_is_no_news(self) -> None:
        launcher = LauncherComponent(kind="launcher", hostname="h")
        path = self.inspector.create(paths.component("launcher", "h0"), encode_component(launcher))
        self.settle()
        self.inspector.set(path, encode_component(launcher))
        self.settle()
        self.assertEqual(self.changes, 1)


class RegistrationTests(StoreTestCase):
    """A component of ours, shown to everyone."""

    def setUp(self) -> None:
        super().setUp()
        self.component = PoolComponent(
            id="i", name="main", provider_name="rack", hostname="host", version="1"
        )

    @staticmethod
    def is_ours(path: str) -> bool:
        return path.startswith(paths.component("pool", "host"))

    def there(self) -> dict[str, dict[str, object]]:
        """The registered pools in ZooKeeper."""
        dump = self.inspector.dump(f"{paths.COMPONENTS}/pool")
        return {p: json.loads(d) for p, d in dump.items() if p.count("/") == 4}

    def only(self) -> tuple[str, dict[str, object]]:
        (entry,) = self.there().items()
        return entry

    def test_it_is_an_ephemeral_of_ours(self) -> None:
        """Named as Nodepool's are."""
        registration = self.store.register(self.component)
        self.settle()
        path, content = self.only()
        self.assertEqual(path, "/nodepool/components/pool/host0000000000")
        self.assertEqual((registration.path, registration.registered), (path, True))
        self.assertIn(path, self.inspector.ephemerals(self.client))
        self.assertEqual((content["id"], content["state"]), ("i", "running"))

    def test_changes_are_written_in_place(self) -> None:
        """And what is the same is not."""
        registration = self.store.register(self.component)
        self.settle()
        before = self.only()[0]
        registration.update(attrs.evolve(self.component, paused=True))
        registration.update(attrs.evolve(self.component, paused=True, priority=7))
        self.settle()
        path, content = self.only()
        self.assertEqual((path, content["paused"], content["priority"]), (before, True, 7))
        self.inspector.requests.clear()
        registration.update(attrs.evolve(self.component, paused=True, priority=7))
        self.settle()
        self.assertEqual(self.inspector.requests["set"], 0)

    def test_it_survives_a_broken_connection(self) -> None:
        """The session lives, and so does the znode."""
        registration = self.store.register(self.component)
        self.settle()
        before = self.there()
        self.inspector.cut(self.client)
        self.settle()
        self.assertEqual(self.there(), before)
        self.assertTrue(registration.registered)

    def test_it_is_made_anew_in_a_new_session(self) -> None:
        """With what is wanted by then."""
        registration = self.store.register(self.component)
        self.settle()
        self.inspector.suspend(self.client)
        self.clock.advance(11)
        self.settle()
        self.assertEqual(self.there(), {})
        registration.update(attrs.evolve(self.component, state=ComponentState.PAUSED))
        self.inspector.resume(self.client)
        self.settle()
        path, content = self.only()
        self.assertEqual((content["state"], registration.path), ("paused", path))
        self.assertTrue(registration.registered)

    def test_it_is_made_again_when_somebody_removes_it(self) -> None:
        """Alone, or with everything else."""
        registration = self.store.register(self.component)
        self.settle()
        for victim in (registration.path, f"{paths.COMPONENTS}/pool", paths.COMPONENTS, paths.ROOT):
            self.inspector.delete_tree(victim)
            self.settle()
            self.assertEqual(self.only()[0], registration.path)
            self.assertTrue(registration.registered)
        removed = registration.remove()
        self.settle()
        self.successResultOf(removed)
        self.assertEqual(self.there(), {})

    def test_removed_while_it_is_written(self) -> None:
        """What is wanted by then is registered."""
        registration = self.store.register(self.component)
        self.settle()
        self.inspector.before(
            "set", lambda call: self.inspector.delete_tree(registration.path), path=self.is_ours
        )
        registration.update(attrs.evolve(self.component, priority=7))
        self.settle()
        self.assertEqual(self.only()[1]["priority"], 7)

    def test_a_lost_answer_leaves_no_second_one(self) -> None:
        """The one whose making was never confirmed is found again."""
        self.inspector.lose_reply_next("create", path=self.is_ours, client=self.client)
        registration = self.store.register(self.component)
        self.settle()
        self.assertEqual(len(self.there()), 1)
        self.assertEqual(registration.path, self.only()[0])

    def test_a_lost_request_is_made_again(self) -> None:
        """With the next connection."""
        self.inspector.fail_next("create", ConnectionLoss(), path=self.is_ours, client=self.client)
        self.store.register(self.component)
        self.settle()
        self.assertEqual(len(self.there()), 1)

    def test_a_lost_write_is_made_again(self) -> None:
        """Whether or not it happened."""
        registration = self.store.register(self.component)
        self.settle()
        for lose in (self.inspector.lose_reply_next, None):
            if lose is not None:
                lose("set", client=self.client)
            else:
                self.inspector.fail_next("set", ConnectionLoss(), client=self.client)
            wanted = attrs.evolve(self.component, priority=5 if lose else 6)
            registration.update(wanted)
            self.settle()
            self.assertEqual(self.only()[1]["priority"], 5 if lose else 6)

    def test_two_of_one_host_are_two(self) -> None:
        """Several pools of one process, or several processes."""
        self.store.register(self.component)
        self.store.register(attrs.evolve(self.component, id="j", name="other"))
        self.settle()
        self.assertEqual({c["id"] for c in self.there().values()}, {"i", "j"})

    def test_removing(self) -> None:
        """It is gone when the Deferred fires, and does not come back."""
        registration = self.store.register(self.component)
        self.settle()
        removed = registration.remove()
        self.settle()
        self.successResultOf(removed)
        self.assertEqual(self.there(), {})
        self.assertIsNone(registration.component)
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(self.there(), {})

    def test_removing_without_a_connection(self) -> None:
        """Waits for nothing that cannot be had; the session takes it along."""
        registration = self.store.register(self.component)
        self.settle()
        self.inspector.suspend(self.client)
        self.successResultOf(registration.remove())
        self.assertIs(self.client.state, SessionState.SUSPENDED)
        self.clock.advance(11)
        self.settle()
        self.assertEqual(self.there(), {})
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.there(), {})


class UnseenRegistrationTests(StoreTestCase):
    """A component that somebody removes before we have heard that it is there."""

    latency = 0.8

    def removed_after(self, seconds: float, *, cut: bool) -> None:
        """Register, and remove it so long after it was made; it must come back."""
        component = PoolComponent(
            id="i", name="main", provider_name="rack", hostname="host", version="1"
        )
        registration = self.store.register(component)
        there = f"{paths.COMPONENTS}/pool"
        for _ in range(100):
            if found := [path for path in self.inspector.dump(there) if path.count("/") == 4]:
                break
            self.clock.advance(0.1)
        self.clock.advance(seconds)
        if cut:
            self.inspector.cut(self.client)
        self.inspector.delete(found[0])
        self.settle()
        left = [path for path in self.inspector.dump(there) if path.count("/") == 4]
        self.assertEqual(left, [registration.path])
        self.assertNotEqual(left, found)
        self.assertTrue(registration.registered)
        self.successResultOf(self._removed(registration))

    def _removed(self, registration: Registration) -> Deferred[None]:
        removed = registration.remove()
        self.settle()
        return removed

    def test_while_we_are_connected(self) -> None:
        """Before the answer, with it, and after it."""
        for tenths in range(20):
            with self.subTest(tenths):
                self.removed_after(tenths / 10, cut=False)

    def test_while_we_are_not(self) -> None:
        """The next connection shows that it is gone."""
        for tenths in range(20):
            with self.subTest(tenths):
                self.removed_after(tenths / 10, cut=True)
