"""The table of requests, fed from two trees."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from nodepool_tx.model import RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_request, encode_request
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from tests.store.harness import StoreTestCase, waiting_request


class RequestTableTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.heard: list[RequestChange] = []
        self.unsubscribe = self.requests.subscribe(self.heard.append)

    def told(self) -> list[tuple[object, object, bool]]:
        return [(c.before, c.after, c.locked) for c in self.heard]

    def test_a_life(self) -> None:
        """Made, locked, written, unlocked and gone: each told once, in order."""
        request = self.put_request(waiting_request())
        contender = self.lock_request(request.id)
        self.settle()
        self.assertTrue(self.requests.is_locked(request.id))
        pending = request.in_state(RequestState.PENDING, 9.0)
        self.inspector.set(paths.request(request.id), encode_request(pending))
        self.settle()
        self.inspector.delete(contender)
        self.settle()
        self.assertFalse(self.requests.is_locked(request.id))
        self.inspector.delete(paths.request(request.id))
        self.settle()
        self.assertEqual(
            self.told(),
            [
                (None, request, False),
                (request, request, True),
                (request, pending, True),
                (pending, pending, False),
                (pending, None, False),
            ],
        )
        self.assertEqual(len(self.requests), 0)

    def test_a_lock_outlives_its_request(self) -> None:
        """The directory is known until somebody removes it; it tells nobody anything."""
        request = self.put_request(waiting_request())
        contender = self.lock_request(request.id)
        self.inspector.delete(paths.request(request.id))
        self.settle()
        self.heard.clear()
        self.assertTrue(self.requests.is_locked(request.id))
        self.inspector.delete(contender)
        self.settle()
        self.assertEqual(self.requests.lock_directories(), (request.id,))
        self.assertEqual(self.heard, [])
        self.run_until_done(self.store.remove_request_lock(request.id))
        self.assertEqual(self.requests.lock_directories(), ())
        self.assertFalse(self.exists(paths.request_lock(request.id)))

    def test_a_lock_that_is_held_is_not_removed(self) -> None:
        """By no clean-up."""
        self.lock_request("200-0000000001")
        self.settle()
        self.run_until_done(self.store.remove_request_lock("200-0000000001"))
        self.assertTrue(self.requests.is_locked("200-0000000001"))

    def test_removing_a_request(self) -> None:
        """One that is gone already is fine."""
        request = self.put_request(waiting_request())
        for _ in range(2):
            self.run_until_done(self.store.remove_request(request.id))
        self.assertIsNone(self.requests.get(request.id))

    def test_unreadable_requests_are_noted_and_left_out(self) -> None:
        """Also ones that could be read a moment ago, and ones with a name that is no id."""
        request = self.put_request(waiting_request())
        self.inspector.set(paths.request(request.id), b"rubbish")
        self.inspector.create(paths.request("garbage"), b'{"state": "requested"}')
        self.settle()
        self.assertEqual(set(self.requests.unreadable), {request.id, "garbage"})
        self.assertEqual(len(self.requests), 0)
        self.assertIn((request, None, False), self.told())
        self.inspector.set(paths.request(request.id), encode_request(waiting_request()))
        self.inspector.delete(paths.request("garbage"))
        self.settle()
        self.assertEqual((self.requests.unreadable, len(self.requests)), ({}, 1))

    def test_an_observer_that_fails_hurts_nobody(self) -> None:
        """Not the table, and not the observers after it."""

        def broken(change: RequestChange) -> None:
            raise ZeroDivisionError

        self.unsubscribe()
        self.requests.subscribe(broken)
        self.requests.subscribe(self.heard.append)
        request = self.put_request(waiting_request())
        self.assertEqual(self.requests.get(request.id), request)
        self.assertEqual(len(self.heard), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


KINDS = [
    *("write", "write", "rubbish", "remove", "settle", "cut", "expire"),
    *("lock", "lock", "unlock", "unlock_all"),
]
ids = st.integers(0, 3).map(lambda n: f"200-{n:010}")
steps = st.tuples(
    st.sampled_from(KINDS),
    ids,
    st.integers(0, 9),
)


@given(st.lists(steps, max_size=40))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_table_agrees_with_zookeeper(schedule: list[tuple[str, str, int]]) -> None:
    """Whatever happens, with the connection breaking in between."""
    clock = Clock()
    zookeeper = MemoryZookeeper(clock)
    inspector, client = zookeeper.inspector, zookeeper.client()
    store = Store(client, clock)
    store.startService()
    client.connect()
    inspector.settle(clock)
    heard: dict[str, RequestChange] = {}
    store.requests.subscribe(lambda change: heard.update({change.request_id: change}))

    def compare() -> None:
        dump = inspector.dump()
        expected, unreadable = {}, set()
        for path, data in dump.items():
            parts = paths.below(paths.REQUESTS, path)
            if path.startswith(paths.REQUESTS + "/") and len(parts) == 1:
                try:
                    expected[parts[0]] = decode_request(parts[0], data)
                except Unreadable:
                    unreadable.add(parts[0])
        assert {r.id: r for r in store.requests} == expected
        assert set(store.requests.unreadable) == unreadable
        lock_parts = [
            paths.below(paths.REQUEST_LOCKS, p) for p in dump if p.startswith(paths.REQUEST_LOCKS)
        ]
        locked = {parts[0] for parts in lock_parts if len(parts) == 2}
        assert {i for i in (*expected, *locked) if store.requests.is_locked(i)} == locked
        directories = {parts[0] for parts in lock_parts if parts}
        assert set(store.requests.lock_directories()) == directories
        for request_id, change in heard.items():
            assert change.after == expected.get(request_id)
            if request_id in expected:
                assert change.locked == (request_id in locked)

    for kind, request_id, number in schedule:
        path, lock = paths.request(request_id), paths.request_lock(request_id)
        contenders = [p for p in inspector.dump(lock) if p != lock]
        if kind in ("write", "rubbish"):
            data = encode_request(waiting_request(relative_priority=number))
            data = b"x" if kind == "rubbish" else data
            inspector.set(path, data) if inspector.stat(path) else inspector.create(path, data)
        elif kind == "remove" and inspector.stat(path):
            inspector.delete(path)
        elif kind == "lock":
            inspector.create(lock + "/c-", sequence=True)
        elif kind == "unlock" and contenders:
            inspector.delete(contenders[0])
        elif kind == "unlock_all":
            inspector.delete_tree(lock)
        elif kind == "settle":
            inspector.settle(clock)
            compare()
        elif kind == "cut":
            inspector.cut(client)
        elif kind == "expire":
            inspector.expire(client)
    inspector.settle(clock)
    compare()
    store.stopService()
    client.close()
    inspector.settle(clock)
