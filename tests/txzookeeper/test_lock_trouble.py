"""The lock, when connections break and sessions end."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    NoAuthError,
    SessionExpiredError,
)
from twisted.internet.defer import CancelledError

from nodepool_tx.txzookeeper.claim import Claim
from nodepool_tx.txzookeeper.interface import SessionState
from tests.txzookeeper.lock_steps import LockTestCase


class BrokenConnectionTests(LockTestCase):
    """Connections that break while a lock is taken or given up."""

    steps = (
        ("create", "/n/lock"),
        ("create", None),
        ("get_children", "/n/lock"),
        ("get", "/n"),
    )

    def break_at(self, op: str, path: str | None, lost: bool) -> None:
        def contender(created: str) -> bool:
            return created.endswith("__lock__")

        where: Any = contender if path is None else path
        if lost:
            self.inspector.lose_reply_next(op, path=where, client=self.client)
        else:
            self.inspector.fail_next(op, ConnectionLoss(), path=where, client=self.client)

    def test_trying(self) -> None:
        """Wherever the connection breaks, the lock is taken once, with one contender."""
        for op, path in self.steps:
            for lost in (False, True):
                with self.subTest(op=op, path=path, lost=lost):
                    lock = self.lock()
                    self.break_at(op, path, lost)
                    acquired = self.done(lock.try_acquire("/n", "/none"))
                    assert acquired is not None
                    self.assertEqual(
                        [read and read[0] for read in acquired.reads], [b"thing", None]
                    )
                    self.assertTrue(lock.held)
                    self.assertEqual(self.queue(), [lock.contender])
                    self.done(lock.release())
                    self.assertEqual(self.queue(), [])
                    self.inspector.delete("/n/lock")

    def test_trying_what_is_taken(self) -> None:
        """Nor does it leave a contender behind when somebody else holds the lock."""
        holder = self.taken(self.lock(self.other))
        for op, path in (*self.steps, ("delete", None)):
            for lost in (False, True):
                with self.subTest(op=op, path=path, lost=lost):
                    lock = self.lock()
                    self.break_at(op, path, lost)
                    self.assertIsNone(self.done(lock.try_acquire("/n")))
                    self.settle()
                    self.assertEqual(self.queue(), [holder.contender])

    def test_waiting(self) -> None:
        """Whenever the connection breaks, the place in the queue stays."""
        for op, path in (*self.steps[:3], ("get", None)):
            for lost in (False, True):
                with self.subTest(op=op, path=path, lost=lost):
                    holder = self.taken(self.lock(self.other))
                    lock = self.lock()
                    self.break_at(op, path or holder.contender, lost)
                    waiting = lock.acquire()
                    self.settle()
                    self.assertNoResult(waiting)
                    self.assertEqual(self.queue(), [holder.contender, lock.contender])
                    self.inspector.cut(self.client)
                    self.settle()
                    self.done(holder.release())
                    self.successResultOf(waiting)
                    self.assertEqual(self.queue(), [lock.contender])
                    self.done(lock.release())

    def test_twice(self) -> None:
        """Connections may break again while the contender is looked for."""
        lock = self.lock()
        self.break_at("create", None, True)
        self.inspector.fail_next("transaction", ConnectionLoss())
        self.inspector.lose_reply_next("get_children")
        self.taken(lock)
        self.assertEqual(self.queue(), [lock.contender])
        self.assertEqual(self.inspector.requests["transaction"], 2)

    def test_handed_on_while_suspended(self) -> None:
        """A lock that becomes ours while we are suspended is ours when we are back."""
        holder = self.taken(self.lock(self.other))
        lock = self.lock()
        waiting = lock.acquire()
        self.settle()
        self.inspector.suspend(self.client)
        self.done(holder.release())
        self.assertNoResult(waiting)
        self.inspector.resume(self.client)
        self.done(waiting)
        self.assertTrue(lock.held)

    def test_release(self) -> None:
        """A release is carried through whatever happens to the connection."""
        for lost in (False, True):
            with self.subTest(lost=lost):
                lock = self.taken(self.lock())
                self.break_at("delete", lock.contender, lost)
                releasing = lock.release()
                self.assertFalse(lock.held)
                self.done(releasing)
                self.assertEqual(self.queue(), [])

    def test_release_while_suspended(self) -> None:
        """A release without connection is done when there is one, once and for all."""
        lock = self.taken(self.lock())
        self.inspector.suspend(self.client)
        releasing, again = lock.release(), lock.release()
        self.assertFalse(lock.held)
        self.settle()
        self.assertNoResult(releasing)
        self.successResultOf(again)
        self.inspector.resume(self.client)
        self.done(releasing)
        self.assertEqual(self.queue(), [])

    def test_release_goes_on_alone(self) -> None:
        """Cancelling the Deferred of a release does not stop it."""
        lock = self.taken(self.lock())
        self.inspector.suspend(self.client)
        releasing = lock.release()
        releasing.cancel()
        self.failureResultOf(releasing, CancelledError)
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.queue(), [])

    def test_release_and_expiry(self) -> None:
        """A release is done when the session is gone."""
        lock = self.taken(self.lock())
        self.inspector.suspend(self.client)
        releasing = lock.release()
        self.inspector.expire(self.client)
        self.assertNoResult(releasing)
        self.inspector.resume(self.client)
        self.done(releasing)

    def test_release_and_close(self) -> None:
        """A release is done when the client is closed."""
        lock = self.taken(self.lock())
        self.inspector.suspend(self.client)
        releasing = lock.release()
        self.client.close()
        self.successResultOf(releasing)

    def test_release_of_what_is_gone(self) -> None:
        """A contender that somebody has removed already is fine to release."""
        lock = self.taken(self.lock())
        self.inspector.delete(self.queue()[0])
        self.done(lock.release())
        self.successResultOf(lock.release())

    def test_contender_that_cannot_be_removed(self) -> None:
        """A release that is refused says so."""
        lock = self.taken(self.lock())
        self.inspector.fail_next("delete", NoAuthError())
        self.fails(lock.release(), NoAuthError)
        self.assertEqual(len(self.flushLoggedErrors(NoAuthError)), 1)


class LossTests(LockTestCase):
    """Losing the lock."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[str] = []

    def test_expired_while_held(self) -> None:
        """The end of the session is the end of the lock, and is told once."""
        lock = self.taken(self.lock())
        lock.on_lost(lambda: self.told.append(f"{self.client.state.value} {lock.held}"))
        self.inspector.suspend(self.client)
        self.assertTrue(lock.held)
        self.inspector.expire(self.client)
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.told, ["expired False"])
        self.assertFalse(lock.held)
        self.assertIsNone(lock.contender)
        self.assertEqual(self.queue(), [])
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(len(self.told), 1)
        self.taken(lock)
        self.inspector.expire(self.client)
        self.settle()
        self.assertFalse(lock.held)
        self.assertEqual(len(self.told), 1)

    def test_not_held_as_soon_as_the_session_is_gone(self) -> None:
        """Who is told of the end of the session before the lock finds it lost already."""
        lock = self.lock()
        held: list[tuple[SessionState, bool]] = []
        self.client.observe(lambda state: held.append((state, lock.held)))
        self.taken(lock)
        self.inspector.expire(self.client)
        self.settle()
        self.assertIn((SessionState.EXPIRED, False), held)

    def test_claim_of_an_earlier_session(self) -> None:
        """What an earlier session had is gone, however many there were since."""
        claim = Claim(self.client, "/n", b"", ephemeral=True)
        self.assertTrue(claim.alive)
        self.inspector.expire(self.client)
        self.settle()
        self.assertIs(self.client.state, SessionState.CONNECTED)
        self.assertFalse(claim.alive)
        self.assertFalse(self.successResultOf(claim.session_lasts()))
        self.assertIsInstance(claim.refusal(), SessionExpiredError)

    def test_nothing_observes_for_ever(self) -> None:
        """A lock observes its client while it is held or waited for, and no longer."""
        lock = self.lock()
        for end in (lock.release, lambda: self.inspector.expire(self.client)):
            self.taken(lock)
            self.assertEqual(self.inspector.observers(self.client), 1)
            end()
            self.settle()
            self.assertEqual(self.inspector.observers(self.client), 0)
        holder = self.taken(self.lock(self.other))
        self.done(lock.try_acquire())
        self.assertEqual(self.inspector.observers(self.client), 0)
        attempt = lock.acquire()
        self.settle()
        attempt.cancel()
        self.settle()
        self.failureResultOf(attempt, CancelledError)
        self.assertEqual(self.inspector.observers(self.client), 0)
        self.done(holder.release())

    def test_expired_while_waiting(self) -> None:
        """The end of the session ends the wait, and is told."""
        holder = self.taken(self.lock(self.other))
        lock = self.lock()
        lock.on_lost(lambda: self.told.append("lost"))
        waiting = lock.acquire()
        self.settle()
        self.inspector.expire(self.client)
        self.settle()
        self.failureResultOf(waiting, SessionExpiredError)
        self.assertEqual(self.told, ["lost"])
        self.assertEqual(self.queue(), [holder.contender])

    def test_expired_while_joining(self) -> None:
        """A session that ends while the contender is made leaves nothing."""
        for executes in range(5):
            with self.subTest(executes=executes):
                lock = self.lock()
                trying = lock.try_acquire("/n")
                self.inspector.suspend(self.client, executes=executes)
                self.inspector.expire(self.client)
                self.inspector.resume(self.client)
                self.settle()
                self.failureResultOf(trying, SessionExpiredError)
                self.assertEqual(self.queue(), [])

    def test_expired_unseen(self) -> None:
        """A session that ended and was followed by another is noticed by its number."""
        lock = self.lock()
        self.inspector.before("create", lambda _: self.inspector.suspend(self.client))
        trying = lock.try_acquire()
        self.settle()
        self.inspector.expire(self.client)
        epochs: list[int] = []
        self.client.observe(lambda state: epochs.append(self.client.session_epoch))
        self.inspector.resume(self.client)
        self.settle()
        self.failureResultOf(trying, SessionExpiredError)
        self.assertEqual(epochs, [1, 2])

    def test_not_told_of_a_release(self) -> None:
        """Giving the lock up is not losing it, and the session may end later."""
        lock = self.taken(self.lock())
        lock.on_lost(lambda: self.told.append("lost"))
        self.done(lock.release())
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(self.told, [])

    def test_called_off(self) -> None:
        """Who calls it off is not told; who fails keeps nobody else from being told."""
        lock = self.taken(self.lock())

        def raises() -> None:
            raise ValueError("by intent")

        call_off = lock.on_lost(lambda: self.told.append("never"))
        lock.on_lost(raises)
        lock.on_lost(lambda: self.told.append("lost"))
        call_off()
        call_off()
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(self.told, ["lost"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_closed(self) -> None:
        """A closed client holds nothing."""
        lock = self.taken(self.lock())
        lock.on_lost(lambda: self.told.append("lost"))
        self.done(self.client.close())
        self.assertFalse(lock.held)
        self.assertEqual(self.told, ["lost"])
        self.successResultOf(lock.release())

    def test_guard(self) -> None:
        """A guarded lock hears when its contender is removed, over lost connections too."""
        for cut in (False, True):
            with self.subTest(cut=cut):
                lock = self.taken(self.lock(guard=True))
                lock.on_lost(lambda: self.told.append("lost"))
                if cut:
                    self.inspector.fail_next("exists", ConnectionLoss())
                self.settle()
                [path] = self.queue()
                self.inspector.set(path, b"else")
                self.settle()
                self.assertTrue(lock.held)
                if cut:
                    self.inspector.suspend(self.client)
                self.inspector.delete(path)
                self.inspector.resume(self.client)
                self.settle()
                self.assertFalse(lock.held)
                self.assertEqual(self.told, ["lost"])
                self.told.clear()

    def test_guard_is_late(self) -> None:
        """A contender that is gone before the guard stands is noticed as well."""
        lock = self.lock(guard=True)
        lock.on_lost(lambda: self.told.append("lost"))
        self.inspector.before("exists", lambda _: self.inspector.delete(self.queue()[0]))
        self.done(lock.acquire())
        self.assertFalse(lock.held)
        self.assertEqual(self.told, ["lost"])

    def test_guard_ends(self) -> None:
        """The guard goes with the lock, and does not take a release for a loss."""
        lock = self.taken(self.lock(guard=True))
        lock.on_lost(lambda: self.told.append("lost"))
        self.settle()
        self.done(lock.release())
        self.taken(self.lock(guard=True))
        self.inspector.expire(self.client)
        self.settle()
        self.assertEqual(self.told, [])
        self.assertEqual(self.inspector.watches, 0)

    def test_guard_that_is_refused(self) -> None:
        """A guard that cannot stand is logged; the lock is held all the same."""
        self.inspector.fail_next("exists", NoAuthError())
        lock = self.taken(self.lock(guard=True))
        self.settle()
        self.assertTrue(lock.held)
        self.assertEqual(len(self.flushLoggedErrors(NoAuthError)), 1)

    def test_not_ephemeral(self) -> None:
        """A lock that is not ephemeral outlives its session, held and waited for."""
        lock, second = self.lock(), self.lock(self.other)
        lock.on_lost(lambda: self.told.append("lost"))
        self.done(lock.acquire(ephemeral=False))
        waiting = second.acquire(ephemeral=False)
        self.settle()
        for client in (self.client, self.other):
            self.inspector.expire(client)
            self.settle()
        self.assertTrue(lock.held)
        self.assertEqual(self.told, [])
        self.assertEqual(self.queue(), [lock.contender, second.contender])
        self.assertNoResult(waiting)
        self.inspector.suspend(self.client)
        releasing = lock.release()
        self.inspector.expire(self.client)
        self.inspector.resume(self.client)
        self.done(releasing)
        self.successResultOf(waiting)
        self.inspector.suspend(self.other)
        releasing = second.release()
        self.other.close()
        self.failureResultOf(releasing, ConnectionClosedError)
        self.assertEqual(len(self.flushLoggedErrors(ConnectionClosedError)), 1)
        self.assertEqual(len(self.queue()), 1)
