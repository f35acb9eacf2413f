"""The lock on a ZooKeeper kept in memory."""

from __future__ import annotations

import re
from typing import Any

from kazoo.exceptions import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    LockTimeout,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from nodepool_tx.testing.zookeeper import MemoryZookeeper
from nodepool_tx.txzookeeper.contenders import predecessor
from nodepool_tx.txzookeeper.interface import TransactionFailed
from nodepool_tx.txzookeeper.lock import Contender, Lock, contenders
from tests.txzookeeper.lock_steps import LockTestCase

OURS = re.compile(r"^[0-9a-f]{32}__lock__[0-9]{10}$")


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
