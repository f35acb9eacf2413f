"""The lock on a ZooKeeper kept in memory."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    LockTimeout,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper
from nodepool_tx.txzookeeper.claim import Claim
from nodepool_tx.txzookeeper.contenders import predecessor
from nodepool_tx.txzookeeper.interface import SessionState, TransactionFailed
from nodepool_tx.txzookeeper.lock import Contender, Lock, contenders
from tests.testing.zk_steps import MemoryZookeeperTestCase

OURS = re.compile(r"^[0-9a-f]{32}__lock__[0-9]{10}$")


class LockTestCase(MemoryZookeeperTestCase):
    """A thing ``/n`` with a lock ``/n/lock``, and two clients."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.connected()
        self.other = self.connected()
        self.inspector.create("/n", b"thing")
        self.inspector.requests.clear()

    def lock(self, client: MemoryClient | None = None, name: str = "me", **options: Any) -> Lock:
        return Lock(client or self.client, "/n/lock", name, clock=self.clock, **options)

    def queue(self) -> list[str]:
        """Paths of the contenders in the lock's directory, the holder first."""
        paths = [path for path in self.inspector.dump("/n/lock") if path != "/n/lock"]
        return sorted(paths, key=lambda path: path[-10:])

    def taken(self, lock: Lock) -> Lock:
        self.done(lock.acquire())
        self.assertTrue(lock.held)
        return lock


class TryTests(LockTestCase):
    """Taking a lock without waiting for others."""

    def test_free(self) -> None:
        """A free lock is taken, with a contender as kazoo makes them."""
        lock = self.lock()
        self.assertFalse(lock.held)
        self.assertIsNone(lock.contender)
        acquired = self.done(lock.try_acquire())
        self.assertEqual(acquired and acquired.reads, ())
        self.assertTrue(lock.held)
        [path] = self.queue()
        self.assertEqual(lock.contender, path)
        self.assertRegex(path.rpartition("/")[2], OURS)
        self.assertEqual(self.inspector.dump()[path], b"me")
        self.assertEqual(self.inspector.ephemerals(self.client), (path,))

    def test_one_round_trip(self) -> None:
        """Taking the lock and reading what is under it is one round trip."""
        clock = Clock()
        zookeeper = MemoryZookeeper(clock, latency=1.0)
        client = zookeeper.client()
        client.connect()
        zookeeper.inspector.settle(clock)
        zookeeper.inspector.create("/n", b"thing")
        before = clock.seconds()
        taking = Lock(client, "/n/lock").try_acquire("/n", "/none")
        while not taking.called:
            clock.advance(0.25)
        self.assertEqual(clock.seconds() - before, 1.0)
        acquired = self.successResultOf(taking)
        assert acquired is not None
        [thing, nothing] = acquired.reads
        self.assertEqual(thing, (b"thing", zookeeper.inspector.stat("/n")))
        self.assertIsNone(nothing)

    def test_what_is_read_is_under_the_lock(self) -> None:
        """A change made before the lock was ours is in what was read."""
        self.inspector.before("create", lambda _: self.inspector.set("/n", b"late"))
        acquired = self.done(self.lock().try_acquire("/n"))
        assert acquired is not None
        assert acquired.reads[0] is not None
        self.assertEqual(acquired.reads[0][0], b"late")

    def test_taken(self) -> None:
        """A lock that somebody holds is not taken, and no contender stays."""
        self.taken(self.lock(self.other))
        lock = self.lock()
        self.assertIsNone(self.done(lock.try_acquire("/n")))
        self.assertFalse(lock.held)
        self.assertIsNone(lock.contender)
        self.assertEqual(len(self.queue()), 1)

    def test_who_counts(self) -> None:
        """Contenders with any prefix count, those of shared locks and others do not."""
        for name, counts in [
            ("_c_0815-__lock__0000000000", True),
            ("__lock__0000000000", True),
            (f"{'a' * 32}__rlock__0000000000", False),
            ("something", False),
            ("x__lock__123", False),
            ("x__lock__0000000000-", False),
            ("x__lock__9999999999", False),
        ]:
            with self.subTest(name):
                self.inspector.create(f"/n/lock/{name}")
                acquired = self.done(self.lock().try_acquire())
                self.assertEqual(acquired is None, counts)
                self.inspector.delete_tree("/n/lock")

    def test_thing_is_gone(self) -> None:
        """Locking what vanished fails and leaves no empty znode behind."""
        self.inspector.delete("/n")
        lock = self.lock()
        self.fails(lock.try_acquire("/n"), NoNodeError)
        self.fails(lock.acquire(), NoNodeError)
        self.assertEqual(self.inspector.dump(), {})
        self.assertIsNone(lock.contender)
        self.inspector.create("/n")
        self.taken(lock)

    def test_thing_vanishes_meanwhile(self) -> None:
        """A thing that goes while its lock is being taken takes the lock along."""
        for stage in (self.inspector.before, self.inspector.after):
            for op, path in (("create", "/n/lock"), ("get_children", "/n/lock"), ("get", "/n")):
                with self.subTest(op=op, stage=stage.__name__):
                    self.inspector.create("/n") if self.inspector.stat("/n") is None else None
                    stage(op, lambda _: self.inspector.delete_tree("/n"), path=path)
                    lock = self.lock()
                    trying = lock.try_acquire("/n")
                    self.settle()
                    if op == "get":
                        # Its contender was there when the queue was listed.
                        acquired = self.successResultOf(trying)
                        assert acquired is not None
                        self.assertEqual(acquired.reads[0] is None, stage.__name__ == "before")
                        self.assertFalse(self.done(lock.confirm()))
                    elif op == "get_children" and stage.__name__ == "after":
                        self.successResultOf(trying)
                        self.assertFalse(self.done(lock.confirm()))
                    else:
                        self.failureResultOf(trying, NoNodeError)
                    self.assertEqual(self.inspector.dump(), {})

    def test_contender_removed_meanwhile(self) -> None:
        """A contender that somebody removes before the queue is listed is made anew."""
        self.inspector.before(
            "get_children", lambda _: self.inspector.delete(self.queue()[0]), path="/n/lock"
        )
        lock = self.lock()
        self.done(lock.try_acquire())
        self.assertEqual(self.queue(), [lock.contender])

    def test_failing_read(self) -> None:
        """A read that fails for a reason of its own fails the whole, and the lock is free."""
        self.inspector.fail_next("get", NoAuthError(), path="/n")
        lock = self.lock()
        self.fails(lock.try_acquire("/n"), NoAuthError)
        self.assertEqual(self.queue(), [])
        self.assertFalse(lock.held)

    def test_without_connection(self) -> None:
        """Trying without a connection fails at once."""
        lock = self.lock()
        self.inspector.suspend(self.client)
        self.failureResultOf(lock.try_acquire(), ConnectionLoss)
        self.inspector.expire(self.client)
        self.inspector.resume(self.client)
        self.settle()
        self.done(lock.try_acquire())
        self.done(lock.release())
        self.done(self.client.close())
        self.failureResultOf(lock.try_acquire(), ConnectionClosedError)
        self.assertEqual(self.queue(), [])

    def test_makepath(self) -> None:
        """A lock on its own may make the path to it."""
        lock = Lock(self.client, "/locks/deep/lock", makepath=True)
        self.done(lock.try_acquire())
        self.assertEqual(len(self.inspector.dump("/locks/deep/lock")), 2)
        self.done(lock.release())
        self.inspector.delete_tree("/locks")
        self.inspector.fail_next("create", ConnectionLoss(), path="/locks/deep")
        self.taken(lock)

    def test_taken_once_at_a_time(self) -> None:
        """Taking a lock that is held, or being taken, is a mistake."""
        lock = self.lock()
        taking = lock.try_acquire()
        for again in (lock.try_acquire, lock.acquire):
            with self.assertRaises(RuntimeError):
                again()
        self.done(taking)
        for again in (lock.try_acquire, lock.acquire):
            with self.assertRaises(RuntimeError):
                again()
        self.done(lock.release())
        self.done(lock.try_acquire())


class QueueTests(LockTestCase):
    """Waiting for one's turn."""

    def test_free(self) -> None:
        """A free lock is had at once."""
        self.taken(self.lock())

    def test_order(self) -> None:
        """Locks are handed on in the order in which they were asked for."""
        locks = [self.lock(client) for client in (self.client, self.other, self.connected())]
        order: list[int] = []
        for number, lock in enumerate(locks):
            lock.acquire().addCallback(lambda _, number=number: order.append(number))
            self.settle()
        for number, lock in enumerate(locks):
            self.assertEqual(order, list(range(number + 1)))
            self.assertEqual([one.held for one in locks].count(True), 1)
            self.assertTrue(lock.held)
            self.done(lock.release())
        self.assertEqual(self.queue(), [])

    def test_no_herd(self) -> None:
        """A release wakes the next in the queue and nobody else."""
        holder = self.taken(self.lock())
        waiting = [self.lock(self.connected()) for _ in range(10)]
        for lock in waiting:
            lock.acquire()
            self.settle()
        self.assertEqual(self.inspector.watches, 10)
        self.inspector.requests.clear()
        self.done(holder.release())
        self.assertTrue(waiting[0].held)
        self.assertEqual(self.inspector.requests, {"delete": 1, "get_children": 1})

    def test_who_is_ahead_leaves_the_queue(self) -> None:
        """One who is ahead and gives up moves the others up, but takes no lock from the holder."""
        holder = self.taken(self.lock())
        second, third = self.lock(self.other), self.lock(self.connected())
        giving_up, waiting = second.acquire(), None
        self.settle()
        waiting = third.acquire()
        self.settle()
        giving_up.cancel()
        self.settle()
        self.failureResultOf(giving_up, CancelledError)
        self.assertNoResult(waiting)
        self.done(holder.release())
        self.successResultOf(waiting)

    def test_who_is_ahead_goes_before_being_watched(self) -> None:
        """A holder that goes between listing and watching is not waited for."""
        holder = self.taken(self.lock(self.other))
        assert holder.contender is not None
        path = holder.contender
        self.inspector.before("get", lambda _: self.inspector.delete(path), path=path)
        self.taken(self.lock())

    def test_holder_expires(self) -> None:
        """A holder's end of session hands the lock on."""
        self.taken(self.lock(self.other))
        lock = self.lock()
        waiting = lock.acquire()
        self.settle()
        self.inspector.expire(self.other)
        self.settle()
        self.successResultOf(waiting)
        self.assertTrue(lock.held)

    def test_timeout(self) -> None:
        """A lock that is not to be had in time is not waited for any longer."""
        holder = self.taken(self.lock(self.other))
        lock = self.lock()
        waiting = lock.acquire(5.0)
        self.settle()
        self.assertEqual(len(self.queue()), 2)
        self.clock.advance(4.9)
        self.settle()
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.settle()
        self.failureResultOf(waiting, LockTimeout)
        self.assertEqual(self.queue(), [holder.contender])
        self.assertIsNone(lock.contender)

    def test_in_time(self) -> None:
        """A timeout does nothing to a lock that was had in time."""
        lock = self.lock()
        self.done(lock.acquire(5.0))
        self.clock.advance(6)
        self.settle()
        self.assertTrue(lock.held)

    def test_timeout_without_connection(self) -> None:
        """The time limit holds without connection; the contender goes when there is one."""
        holder = self.taken(self.lock(self.other))
        lock = self.lock()
        waiting = lock.acquire(5.0)
        self.settle()
        self.inspector.suspend(self.client)
        self.clock.advance(5.0)
        self.failureResultOf(waiting, LockTimeout)
        self.assertEqual(len(self.queue()), 2)
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.queue(), [holder.contender])

    def test_timeouts_need_a_clock(self) -> None:
        """A timeout without a clock is a mistake."""
        with self.assertRaises(ValueError):
            Lock(self.client, "/n/lock").acquire(1.0)

    def test_cancelled_at_any_moment(self) -> None:
        """Whenever it is cancelled, an attempt leaves no contender behind."""
        clock = Clock()
        zookeeper = MemoryZookeeper(clock, latency=1.0)
        zookeeper.inspector.create("/n")
        client, other = zookeeper.client(), zookeeper.client()
        client.connect()
        other.connect()
        zookeeper.inspector.settle(clock)
        holder = Lock(other, "/n/lock")
        for held in (False, True):
            if held:
                holder.acquire()
                zookeeper.inspector.settle(clock)
            for steps in range(16):
                with self.subTest(held=held, steps=steps):
                    lock = Lock(client, "/n/lock")
                    attempt = lock.acquire()
                    clock.pump([0.25] * steps)
                    finished = attempt.called
                    attempt.cancel()
                    if finished:
                        self.successResultOf(attempt)
                        lock.release()
                    else:
                        self.assertNoResult(attempt)
                    clock.pump([0.25] * 12)
                    if not finished:
                        self.failureResultOf(attempt, CancelledError)
                    left = list(zookeeper.inspector.dump("/n/lock"))
                    self.assertLessEqual(len(left), 1 + held)

    def test_cancelled_twice(self) -> None:
        """Who does not even wait for the removal leaves it going on."""
        lock = self.lock()
        attempt = lock.acquire()
        attempt.cancel()
        self.assertNoResult(attempt)
        attempt.cancel()
        self.failureResultOf(attempt, CancelledError)
        self.settle()
        self.assertEqual(self.queue(), [])
        self.taken(lock)

    def test_cancelled_while_suspended(self) -> None:
        """Without connection a cancelled attempt fails at once and is cleaned up later."""
        attempt = self.lock().acquire()
        self.inspector.suspend(self.client, executes=2)
        self.settle()
        self.assertEqual(len(self.queue()), 1)
        attempt.cancel()
        self.failureResultOf(attempt, CancelledError)
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.queue(), [])
        # What was on its way when the connection broke may have arrived only now.
        self.assertEqual(self.inspector.requests["transaction"], 1)

    def test_cancelled_and_then_suspended(self) -> None:
        """A connection lost while the contender is removed is not waited for."""
        holder = self.taken(self.lock(self.other))
        attempt = self.lock().acquire()
        self.settle()
        attempt.cancel()
        self.assertNoResult(attempt)
        self.inspector.suspend(self.client)
        self.failureResultOf(attempt, CancelledError)
        self.assertEqual(len(self.queue()), 2)
        self.inspector.resume(self.client)
        self.settle()
        self.assertEqual(self.queue(), [holder.contender])

    def test_asked_for_without_connection(self) -> None:
        """Waiting for a lock begins with waiting for a connection."""
        client = self.zookeeper.client()
        lock = self.lock(client)
        waiting = lock.acquire()
        self.assertNoResult(waiting)
        client.connect()
        self.done(waiting)
        self.assertTrue(lock.held)

    def test_asked_for_in_vain(self) -> None:
        """A client that will never be connected fails the wait."""
        client = self.zookeeper.client()
        self.inspector.refuse(client)
        waiting = self.lock(client).acquire()
        self.fails(client.connect(), AuthFailedError)
        self.failureResultOf(waiting, AuthFailedError)
        self.taken(self.lock(self.other))
        waiting = self.lock().acquire()
        self.settle()
        self.done(self.client.close())
        self.failureResultOf(waiting, ConnectionClosedError)

    def test_own_contender_removed(self) -> None:
        """Who is thrown out of the queue stands at its end again."""
        holder = self.taken(self.lock(self.other))
        lock = self.lock()
        waiting = lock.acquire()
        self.settle()
        thrown_out = self.queue()[1]
        self.inspector.delete(thrown_out)
        self.done(holder.release())
        self.successResultOf(waiting)
        self.assertEqual(self.queue(), [lock.contender])
        self.assertNotEqual(lock.contender, thrown_out)

    def test_directory_removed(self) -> None:
        """A lock whose thing is removed while we wait for it is gone."""
        self.taken(self.lock(self.other))
        waiting = self.lock().acquire()
        self.settle()
        self.inspector.delete_tree("/n")
        self.settle()
        self.failureResultOf(waiting, NoNodeError)
        self.assertEqual(self.inspector.dump(), {})

    def test_release_while_waiting(self) -> None:
        """Giving up the place in the queue is a release too."""
        holder = self.taken(self.lock(self.other))
        lock = self.lock()
        waiting = lock.acquire()
        self.settle()
        self.done(lock.release())
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.queue(), [holder.contender])


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


class FenceTests(LockTestCase):
    """Transactions that depend on the lock."""

    def write(self, lock: Lock, data: bytes) -> Deferred[list[Any]]:
        txn = self.client.transaction()
        lock.check_in(txn)
        txn.set("/n", data)
        return txn.commit()

    def test_check_in(self) -> None:
        """A fenced write lands while the lock is held."""
        lock = self.taken(self.lock())
        self.done(self.write(lock, b"mine"))
        self.assertEqual(self.inspector.dump()["/n"], b"mine")

    def test_fenced_off(self) -> None:
        """A fenced write of a lock that is lost, released or removed does not land."""
        lock = self.taken(self.lock())
        self.done(lock.release())
        self.check_fenced_off(lock)
        self.taken(lock)
        self.inspector.delete(self.queue()[0])
        self.check_fenced_off(lock)
        self.done(lock.release())
        self.taken(lock)
        self.inspector.expire(self.client)
        self.settle()
        self.check_fenced_off(lock)

    def check_fenced_off(self, lock: Lock) -> None:
        failed = self.fails(self.write(lock, b"late"), TransactionFailed)
        self.assertEqual((failed.index, failed.operation), (0, "check"))
        self.assertIsInstance(failed.error, NoNodeError)
        self.assertEqual(self.inspector.dump()["/n"], b"thing")

    def test_fenced_off_by_a_successor(self) -> None:
        """A write under way when the session ends on the server does not land."""
        lock = self.taken(self.lock())
        successor = self.lock(self.other)
        successor.acquire()
        self.settle()
        writing = self.write(lock, b"late")
        self.inspector.before("transaction", lambda _: self.inspector.expire(self.client))
        self.fails(writing, ConnectionLoss)
        self.assertTrue(successor.held)
        self.assertEqual(self.inspector.dump()["/n"], b"thing")

    def test_never_held(self) -> None:
        """A lock that was never held fences nothing."""
        lock = self.lock()
        with self.assertRaises(RuntimeError):
            lock.check_in(self.client.transaction())
        with self.assertRaises(RuntimeError):
            lock.release_in(self.client.transaction())

    def test_release_in(self) -> None:
        """A lock may be given up together with a last write."""
        lock = self.taken(self.lock(guard=True))
        lost: list[str] = []
        txn = self.client.transaction()
        lock.release_in(txn)
        txn.set("/n", b"last")
        lock.on_lost(lambda: lost.append("lost"))
        committing = txn.commit().addCallback(lambda _: lock.released())
        self.done(committing)
        self.assertFalse(lock.held)
        self.assertEqual(self.queue(), [])
        self.assertEqual(self.inspector.dump()["/n"], b"last")
        self.taken(lock)

    def test_release_in_and_the_thing(self) -> None:
        """Thing, directory and lock may go together."""
        lock = self.taken(self.lock())
        txn = self.client.transaction()
        lock.release_in(txn)
        txn.delete("/n/lock")
        txn.delete("/n")
        self.done(txn.commit())
        lock.released()
        self.assertEqual(self.inspector.dump(), {})

    def test_confirm(self) -> None:
        """The server's word is what counts."""
        lock = self.lock()
        self.assertFalse(self.done(lock.confirm()))
        self.taken(lock)
        self.assertTrue(self.done(lock.confirm()))
        told: list[str] = []
        lock.on_lost(lambda: told.append("lost"))
        self.inspector.delete(self.queue()[0])
        self.assertTrue(lock.held)
        self.assertFalse(self.done(lock.confirm()))
        self.assertFalse(lock.held)
        self.assertEqual(told, ["lost"])

    def test_confirm_after_a_lost_answer(self) -> None:
        """It tells whether a transaction that gave the lock up happened."""
        for lost in (False, True):
            with self.subTest(lost=lost):
                lock = self.taken(self.lock())
                txn = self.client.transaction()
                lock.release_in(txn)
                txn.set("/n", b"%d" % lost)
                if lost:
                    self.inspector.lose_reply_next("transaction")
                else:
                    self.inspector.fail_next("transaction", ConnectionLoss())
                committing = txn.commit()
                self.settle()
                self.failureResultOf(committing, ConnectionLoss)
                self.inspector.fail_next("exists", ConnectionLoss())
                self.assertEqual(self.done(lock.confirm()), not lost)
                self.assertEqual(self.inspector.dump()["/n"] == b"1", lost)
                self.done(lock.release())

    def test_confirm_without_session(self) -> None:
        """It waits for a connection, not for a new session."""
        lock = self.taken(self.lock())
        self.inspector.suspend(self.client)
        confirming = lock.confirm()
        self.settle()
        self.assertNoResult(confirming)
        self.inspector.expire(self.client)
        self.inspector.resume(self.client)
        self.settle()
        self.assertFalse(self.successResultOf(confirming))

    def test_confirm_and_release(self) -> None:
        """A lock given up while the question was under way was not lost."""
        lock = self.taken(self.lock())
        told: list[str] = []
        lock.on_lost(lambda: told.append("lost"))

        def give_up(_: Any) -> None:
            self.inspector.delete(self.queue()[0])
            lock.released()

        self.inspector.before("exists", give_up)
        self.assertFalse(self.done(lock.confirm()))
        self.assertEqual(told, [])

    def test_confirm_refused(self) -> None:
        """A question that is refused fails."""
        lock = self.taken(self.lock())
        self.inspector.fail_next("exists", NoAuthError())
        self.fails(lock.confirm(), NoAuthError)


class ContendersTests(LockTestCase):
    """Who stands in the queue."""

    def test_queue(self) -> None:
        """Contenders are listed in their order, with what they call themselves."""
        self.inspector.create(f"/n/lock/{'f' * 32}__lock__0000000000", "größe".encode())
        self.inspector.create(f"/n/lock/{'a' * 32}__rlock__0000000001", b"reader")
        first, second = self.lock(name="first"), self.lock(self.other, "second")
        first.acquire()
        self.settle()
        second.acquire()
        self.settle()
        found = self.done(contenders(self.client, "/n/lock"))
        self.assertEqual([one.identifier for one in found], ["größe", "first", "second"])
        self.assertEqual(
            found[1], Contender(first.contender or "", "first", self.client.session_id)
        )
        self.assertEqual(found[0].session, 0)
        self.assertEqual(self.done(first.contenders()), found)

    def test_overflown_sequences(self) -> None:
        """Sequences are ordered as kazoo orders them, negative ones before others."""
        for name in ("x__lock__2147483647", "y__lock__-2147483648", "z__lock__-2147483647"):
            self.inspector.create(f"/n/lock/{name}", name[:1].encode())
        found = self.done(contenders(self.client, "/n/lock"))
        self.assertEqual([one.identifier for one in found], ["z", "y", "x"])
        names = ["z__lock__-2147483647", "y__lock__-2147483648"]
        self.assertEqual(predecessor(names, "-2147483648"), names[0])
        self.assertIsNone(predecessor(names, "-2147483647"))

    def test_nobody(self) -> None:
        """A lock that does not exist has no contenders."""
        self.assertEqual(self.done(contenders(self.client, "/n/lock")), ())
        self.assertEqual(self.done(contenders(self.client, "/none/lock")), ())

    def test_gone_meanwhile(self) -> None:
        """One who leaves while the list is read is left out."""
        for name in ("x__lock__0000000000", "y__lock__0000000001"):
            self.inspector.create(f"/n/lock/{name}", name[:1].encode())
        self.inspector.before("get", lambda _: self.inspector.delete(self.queue()[0]))
        found = self.done(contenders(self.client, "/n/lock"))
        self.assertEqual([one.identifier for one in found], ["y"])

    def test_refused(self) -> None:
        """A contender that may not be read fails the list."""
        self.taken(self.lock())
        self.inspector.fail_next("get", NoAuthError())
        self.fails(contenders(self.client, "/n/lock"), NoAuthError)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["acquire", "acquire", "try", "release", "cancel", "write"]),
            st.integers(0, 2),
        ),
        st.tuples(st.sampled_from(["cut", "suspend", "resume", "expire"]), st.integers(0, 2)),
        st.tuples(st.just("remove"), st.integers(0, 3)),
        st.tuples(st.just("pass"), st.integers(1, 12)),
    ),
    min_size=15,
    max_size=80,
)


class Rivals:
    """Three clients that want one lock and write under it, and what must hold of them."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.clock = Clock()
        self.zookeeper = MemoryZookeeper(self.clock, latency=0.008)
        self.inspector = self.zookeeper.inspector
        self.inspector.create("/n")
        self.clients = [self.zookeeper.client(session_timeout=1000) for _ in range(3)]
        self.locks = [
            Lock(client, "/n/lock", str(number), clock=self.clock)
            for number, client in enumerate(self.clients)
        ]
        self.attempts: list[Deferred[Any] | None] = [None] * 3
        self.failures: list[Failure] = []
        self.inspector.before("transaction", self.check_writer, times=None)
        for client in self.clients:
            client.connect()
        self.inspector.settle(self.clock)

    def queue(self) -> list[str]:
        paths = [path for path in self.inspector.dump("/n/lock") if path != "/n/lock"]
        return sorted(paths, key=lambda path: path[-10:])

    def check_writer(self, call: Any) -> None:
        """A write that lands, because its contender is there, is the first contender's."""
        queue = self.queue()
        assert call.paths[0] not in queue[1:]

    def step(self, kind: str, number: int) -> None:
        if kind == "pass":
            for _ in range(number):
                self.clock.advance(0.002)
                self.check()
            return
        if kind == "remove":
            queue = self.queue()
            if number < len(queue):
                self.inspector.delete(queue[number])
            return
        client, lock = self.clients[number], self.locks[number]
        if kind in ("acquire", "try"):
            self.attempt(number, kind)
        elif kind == "release":
            lock.release().addErrback(self.failures.append)
        elif kind == "cancel":
            attempt = self.attempts[number]
            if attempt is not None:
                attempt.cancel()
        elif kind == "write" and lock.held:
            self.write(client, lock)
        elif kind in ("cut", "suspend"):
            act = self.inspector.cut if kind == "cut" else self.inspector.suspend
            act(client, executes=self.data.draw(st.integers(0, 4)))
        elif kind == "resume":
            self.inspector.resume(client)
        elif kind == "expire":
            self.inspector.expire(client)

    def attempt(self, number: int, kind: str) -> None:
        lock = self.locks[number]
        if self.attempts[number] is not None or lock.held or lock.contender is not None:
            return
        try:
            attempt: Deferred[Any] = lock.acquire() if kind == "acquire" else lock.try_acquire()
        except RuntimeError:
            # Its last attempt is still being cleaned up.
            return

        def ended(result: Any) -> None:
            self.attempts[number] = None
            if isinstance(result, Failure):
                if not result.check(SessionExpiredError, ConnectionLoss, CancelledError):
                    self.failures.append(result)
            elif kind == "acquire" or result is not None:
                assert lock.contender is not None

        self.attempts[number] = attempt
        attempt.addBoth(ended).addErrback(self.failures.append)

    def write(self, client: MemoryClient, lock: Lock) -> None:
        txn = client.transaction()
        lock.check_in(txn)
        txn.set("/n", b"")

        def refused(failure: Failure) -> None:
            failure.trap(TransactionFailed, ConnectionLoss, SessionExpiredError)

        txn.commit().addErrback(refused).addErrback(self.failures.append)

    def check(self) -> None:
        """Of those who think they hold the lock, the server knows one at most: the first."""
        queue = self.queue()
        holding = [lock.contender for lock in self.locks if lock.held and lock.contender in queue]
        assert len(holding) <= 1
        assert holding in ([], queue[:1])

    def finish(self) -> None:
        """With everyone back, the lock is taken by all in turn, and nothing is left of it."""
        for client in self.clients:
            self.inspector.resume(client)
        for _ in range(4):
            self.inspector.settle(self.clock)
            self.check()
            for lock in self.locks:
                if lock.held:
                    lock.release().addErrback(self.failures.append)
        self.inspector.settle(self.clock)
        assert self.attempts == [None] * 3
        assert self.failures == []
        assert self.queue() == []
        assert self.inspector.watches == 0
        assert all(client.state is SessionState.CONNECTED for client in self.clients)


@settings(max_examples=300, deadline=None)
@given(steps, st.data())
def test_mutual_exclusion(history: list[tuple[str, int]], data: st.DataObject) -> None:
    """Whatever breaks, one at a time holds the lock, and nobody waits in vain."""
    rivals = Rivals(data)
    for kind, number in history:
        rivals.step(kind, number)
        rivals.check()
    rivals.finish()


def test_names_are_never_used_twice() -> None:
    """Each attempt has a name of its own, so that an old contender is not taken for a new one."""
    clock = Clock()
    zookeeper = MemoryZookeeper(clock)
    client = zookeeper.client()
    client.connect()
    zookeeper.inspector.create("/n")
    zookeeper.inspector.settle(clock)
    lock = Lock(client, "/n/lock")
    names = set()
    for _ in range(20):
        lock.acquire()
        zookeeper.inspector.settle(clock)
        assert lock.contender is not None
        names.add(lock.contender.rpartition("__lock__")[0])
        lock.release()
        zookeeper.inspector.settle(clock)
    assert len(names) == 20


def test_error_of_an_existing_directory_is_no_error() -> None:
    """The directory being there already is the usual case."""
    clock = Clock()
    zookeeper = MemoryZookeeper(clock)
    client = zookeeper.client()
    client.connect()
    zookeeper.inspector.create("/n/lock")
    zookeeper.inspector.fail_next("create", NodeExistsError(), path="/n/lock")
    zookeeper.inspector.settle(clock)
    lock = Lock(client, "/n/lock")
    lock.try_acquire()
    zookeeper.inspector.settle(clock)
    assert lock.held
