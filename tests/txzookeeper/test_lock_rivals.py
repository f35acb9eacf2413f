"""Several clients, one lock, and every kind of trouble: what holds all the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kazoo.exceptions import ConnectionLoss, SessionExpiredError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper
from nodepool_tx.txzookeeper.interface import SessionState, TransactionFailed
from nodepool_tx.txzookeeper.lock import Lock

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
