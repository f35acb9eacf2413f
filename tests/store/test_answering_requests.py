"""Answering a request for good: no directory of its lock outlives it, and no lock is lost."""

from __future__ import annotations

from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.change import Locked, Uncertain
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.lock import Lock
from tests.store.harness import StoreTestCase, waiting_request


class AnswerTestCase(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.request = self.put_request(waiting_request())
        self.directory = paths.request_lock(self.request.id)

    def answered(self, state: RequestState) -> NodeRequest:
        return self.request.in_state(state, 5.0)

    async def write(
        self, state: RequestState, lock: Lock | None = None, *, release: bool = False
    ) -> None:
        change = self.store.change()
        change.update_request(self.request, self.answered(state), lock, release=release)
        await change.commit()

    def assert_answered(self, state: RequestState) -> None:
        self.assertEqual(self.request_there(self.request.id), self.answered(state))

    def there(self) -> bool:
        return self.inspector.stat(self.directory) is not None


class UnlockedTests(AnswerTestCase):
    """Without a lock of our own: the directory was left by somebody who had it."""

    def setUp(self) -> None:
        super().setUp()
        self.inspector.create(self.directory)
        self.settle()
        self.inspector.requests.clear()

    def test_fulfilled(self) -> None:
        """The directory goes with the answer, in one transaction."""
        self.goes_with(RequestState.FULFILLED)

    def test_failed(self) -> None:
        """And likewise where there are no nodes for it."""
        self.goes_with(RequestState.FAILED)

    def goes_with(self, state: RequestState) -> None:
        self.run_until_done(self.write(state))
        self.assert_answered(state)
        self.assertFalse(self.there())
        self.assertFalse(self.requests.has_lock_directory(self.request.id))
        self.assertEqual(self.inspector.requests["transaction"], 1)

    def test_open(self) -> None:
        """One that waits keeps it: others may be about to lock it."""
        self.run_until_done(self.write(RequestState.REQUESTED))
        self.assertTrue(self.there())

    def test_locked(self) -> None:
        """Whoever has the lock keeps it, and the request is not answered."""
        contender = self.lock_request(self.request.id)
        self.failure_of(self.write(RequestState.FULFILLED), Locked)
        self.assertIsNotNone(self.inspector.stat(contender))
        self.assertEqual(self.request_there(self.request.id), self.request)


class LockedByUsTests(AnswerTestCase):
    """With the request's lock, as whoever made its nodes."""

    def setUp(self) -> None:
        super().setUp()
        self.lock = Lock(self.client, self.directory, "test")
        self.assertIsNotNone(self.run_until_done(self.acquire()))
        self.inspector.requests.clear()

    def tearDown(self) -> None:
        if self.client.state is SessionState.CONNECTED:
            self.lock.release()
            self.settle()
        super().tearDown()

    async def acquire(self) -> object:
        return await self.lock.try_acquire()

    def test_answered(self) -> None:
        """Lock and directory go with the answer, in one transaction."""
        self.run_until_done(self.write(RequestState.FULFILLED, self.lock, release=True))
        self.assert_answered(RequestState.FULFILLED)
        self.assertFalse(self.lock.held)
        self.assertFalse(self.there())
        self.assertEqual(self.inspector.requests["transaction"], 1)

    def test_given_back(self) -> None:
        """A request that is open again keeps the directory."""
        self.run_until_done(self.write(RequestState.REQUESTED, self.lock, release=True))
        self.assertFalse(self.lock.held)
        self.assertTrue(self.there())

    def test_lock_kept(self) -> None:
        """Who keeps the lock keeps its directory."""
        self.run_until_done(self.write(RequestState.FULFILLED, self.lock))
        self.assertTrue(self.lock.held)
        self.assertTrue(self.there())

    def test_somebody_waits(self) -> None:
        """The request is answered, the lock given up, and whoever waits for it has it then."""
        contender = self.lock_request(self.request.id)
        self.settle()
        self.run_until_done(self.write(RequestState.FULFILLED, self.lock, release=True))
        self.assert_left_to(contender)

    def test_somebody_comes(self) -> None:
        """The same is so for one of whom nobody has heard yet."""
        coming: list[str] = []
        self.inspector.before(
            "transaction",
            lambda call: coming.append(self.lock_request(self.request.id)),
            client=self.client,
            times=1,
        )
        self.run_until_done(self.write(RequestState.FULFILLED, self.lock, release=True))
        self.assert_left_to(*coming)
        self.assertEqual(self.inspector.requests["transaction"], 2)

    def assert_left_to(self, contender: str) -> None:
        self.assert_answered(RequestState.FULFILLED)
        self.assertFalse(self.lock.held)
        self.assertEqual(list(self.inspector.dump(f"{self.directory}/")), [contender])

    def test_lock_lost(self) -> None:
        """A lost lock still fences the answer, whoever is in the directory now."""
        contender = self.lock.contender
        assert contender is not None
        self.inspector.delete(contender)
        successor = self.lock_request(self.request.id)
        self.failure_of(self.write(RequestState.FULFILLED, self.lock, release=True), Locked)
        self.assertEqual(self.request_there(self.request.id), self.request)
        self.assertIsNotNone(self.inspector.stat(successor))

    def test_answer_lost(self) -> None:
        """An answer of unknown outcome has given the lock up, and removed it, or has not."""
        self.inspector.lose_reply_next("transaction", client=self.client)
        writing = self.write(RequestState.FULFILLED, self.lock, release=True)
        self.failure_of(writing, Uncertain)
        self.assert_answered(RequestState.FULFILLED)
        self.assertFalse(self.run_until_done(self.held()))
        self.assertFalse(self.there())

    async def held(self) -> bool:
        return await self.lock.confirm()
