"""The lock: kazoo's on the wire, asynchronous, and honest about being lost.

Design note: what a lock is worth
---------------------------------
A session may end on the server without our knowing, so no answer to "do we
hold it" is worth much a moment later.  What is done under a lock is therefore
*fenced*: a transaction that carries :meth:`Lock.check_in` lands only if our
contender exists at that moment, and whoever gets the lock after us gets it
after our contender is gone.

Design note: lost connections
-----------------------------
A contender that was asked for and not confirmed may exist.  Ours is known by
the digits of its name: after the reconnect we look for it, having made sure
that what was on its way over the old connection has arrived or never will.
Until it is certain that a contender is gone, its removal goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs
from kazoo.exceptions import LockTimeout
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.caughtup import caught_up
from nodepool_tx.txzookeeper.claim import NO_ANSWER, Claim, all_answers
from nodepool_tx.txzookeeper.contenders import Contender, contenders, predecessor
from nodepool_tx.txzookeeper.interface import (
    SessionState,
    Transaction,
    WatchKind,
    ZookeeperAPI,
)
from nodepool_tx.txzookeeper.lockqueue import Answers, LockQueue
from nodepool_tx.txzookeeper.retry import until_connected
from nodepool_tx.txzookeeper.session import refusal_in

__all__ = ["Acquired", "Contender", "Lock", "contenders"]

T = TypeVar("T")


@attrs.frozen
class Acquired:
    """What :meth:`Lock.try_acquire` brings along.

    :ivar reads: data and stat of each path asked for, read when we held the
        lock already; None for a znode that does not exist.
    """

    reads: Answers


class Lock:
    """An exclusive lock, whose contenders are the children of ``path``.

    Held by the contender with the lowest sequence.  An object holds it once at
    a time and may take it again after giving it up.

    :param path: the lock's directory; made if its parent exists.
    :param identifier: what others see of us.
    :param clock: needed for timeouts only.
    :param makepath: make the parents of ``path`` too.  Without it, a lock on
        something that is gone fails with NoNodeError and leaves nothing behind.
    :param guard: watch our contender while we hold the lock, to hear when
        somebody else removes it; one more read for each time it is taken.
    """

    _log = Logger()

    def __init__(
        self,
        client: ZookeeperAPI,
        path: str,
        identifier: str = "",
        *,
        clock: IReactorTime | None = None,
        makepath: bool = False,
        guard: bool = False,
    ) -> None:
        self._client = client
        self.path = path
        self.identifier = identifier
        self._clock = clock
        self._queue = LockQueue(client, path, identifier.encode(), makepath)
        self._guard = guard
        self._claim: Claim | None = None
        self._held = False
        self._fence: str | None = None
        self._attempt: Deferred[Any] | None = None
        self._guarding: Deferred[None] | None = None
        self._unobserve: Callable[[], None] = _nothing
        self._lost_callbacks: list[Callable[[], None]] = []

    # -- looking ---------------------------------------------------------

    @property
    def held(self) -> bool:
        """The lock was taken, and nothing is known that would have ended that.

        While the client is suspended this cannot be known for sure.
        """
        return self._held and self._claim is not None and self._claim.alive

    @property
    def contender(self) -> str | None:
        """Path of our contender, while we hold the lock or wait for it."""
        return None if self._claim is None else self._claim.path

    def on_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` once, when the lock or the place in the queue is lost.

        That is when the session ends, when the server turns out not to have our
        contender any more, and with ``guard`` when somebody removes it; not when
        we give it up.  Returns what calls it off.
        """
        self._lost_callbacks.append(callback)

        def call_off() -> None:
            if callback in self._lost_callbacks:
                self._lost_callbacks.remove(callback)

        return call_off

    def contenders(self) -> Deferred[tuple[Contender, ...]]:
        """Who holds the lock and who waits for it."""
        return contenders(self._client, self.path)

    # -- taking ----------------------------------------------------------

    def try_acquire(self, *reads: str) -> Deferred[Acquired | None]:
        """Take the lock if nobody has it, and read ``reads`` under it, in one round trip.

        Fires with None, our contender removed again, when somebody else holds
        it.  If the connection breaks meanwhile, it goes on when there is a new
        one; cancel it to give up.

        :raises NoNodeError: what the lock is for is gone.
        :raises ConnectionLoss: there is no connection to begin with.
        :raises SessionExpiredError: the session ended; nothing is left of it.
        """
        return self._begin(self._try(reads))

    def acquire(self, timeout: float | None = None, *, ephemeral: bool = True) -> Deferred[None]:
        """Take the lock as soon as it is our turn.

        Cancelling gives the place in the queue up; the Deferred fails when our
        contender is gone, or at once if there is no connection: it is then
        removed when there is one.

        :param timeout: how long to wait, in seconds; for ever without.
        :param ephemeral: whether the lock goes with our session.
        :raises LockTimeout: it was not our turn in time.
        :raises NoNodeError: what the lock is for is gone.
        :raises SessionExpiredError: the session ended while we waited.
        """
        if timeout is None:
            return self._begin(self._acquire(ephemeral))
        if self._clock is None:
            raise ValueError("a lock without a clock knows no timeouts")
        acquiring = self._begin(self._acquire(ephemeral))
        return acquiring.addTimeout(timeout, self._clock, self._timed_out)

    def _begin(self, attempt: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        if self._attempt is not None or self._claim is not None:
            attempt.close()
            raise RuntimeError("the lock is held or being taken already")
        self._unobserve = self._client.observe(self._on_state)
        running = self._attempt = Deferred.fromCoroutine(attempt)
        if running.called:
            self._attempt = None
        return running

    def _timed_out(self, result: object, timeout: float) -> None:
        raise LockTimeout(f"the lock {self.path} was not to be had within {timeout} s")

    async def _try(self, reads: tuple[str, ...]) -> Acquired | None:
        try:
            if self._client.state is not SessionState.CONNECTED:
                raise refusal_in(self._client.state)
            while True:
                claim, names, answers = await self._queue.enter(True, reads, self._claimed)
                if claim.name in names:
                    break
            if predecessor(names, claim.sequence) is not None:
                await self._give_up()
                return None
            self._take(claim)
            return Acquired(answers)
        except Exception:
            await self._give_up()
            raise
        finally:
            self._attempt = None

    async def _acquire(self, ephemeral: bool) -> None:
        try:
            while True:
                await until_connected(self._client)
                claim, names, _ = await self._queue.enter(ephemeral, (), self._claimed)
                if await self._queue.wait_for_turn(claim, names):
                    self._take(claim)
                    return
        except Exception:
            await self._give_up()
            raise
        finally:
            self._attempt = None

    def _claimed(self, claim: Claim) -> None:
        self._claim = claim

    def _take(self, claim: Claim) -> None:
        self._held = True
        self._fence = claim.path
        if self._guard:
            self._guarding = Deferred.fromCoroutine(self._keep_watch(claim))
            self._guarding.addErrback(self._guard_ended)

    # -- giving up -------------------------------------------------------

    def release(self) -> Deferred[None]:
        """Give the lock, or the place in the queue, up.

        Fires when it is certain that our contender is gone, or our session with
        it; connections lost meanwhile only delay that.  Nothing to give up is
        fine.
        """
        claim = self._claim
        if self._attempt is not None:
            self._attempt.cancel()
        if claim is None:
            return succeed(None)
        self._forget()
        return claim.withdraw()

    def check_in(self, txn: Transaction) -> None:
        """Make ``txn`` depend on our holding the lock.

        It fails with NoNodeError at this operation if the lock was lost or
        given up, also if that happened before this call.

        :raises RuntimeError: the lock was never held.
        """
        txn.check(self._fenced_by())

    def release_in(self, txn: Transaction) -> None:
        """Make giving the lock up a part of ``txn``, which fails if we do not hold it.

        When it is committed, call :meth:`released`.  When its outcome is
        unknown, :meth:`confirm` tells whether it happened, and :meth:`release`
        is right either way.

        :raises RuntimeError: the lock was never held.
        """
        txn.delete(self._fenced_by())

    def released(self) -> None:
        """A transaction gave the lock up."""
        self._forget()

    def confirm(self) -> Deferred[bool]:
        """Ask the server whether we still hold the lock.

        Waits for a connection as long as that can matter.
        """
        return Deferred.fromCoroutine(self._confirm())

    async def _confirm(self) -> bool:
        while self.held:
            claim = self._claim
            assert claim is not None
            assert claim.path is not None
            if not await claim.session_lasts():
                break
            _, there = await all_answers([caught_up(self._client), self._client.exists(claim.path)])
            if there is None:
                if claim is self._claim:
                    self._lose()
                break
            if not isinstance(there, Failure):
                return self.held
            if not there.check(*NO_ANSWER):
                there.raiseException()
        return False

    def _fenced_by(self) -> str:
        if self._fence is None:
            raise RuntimeError("the lock was never held")
        return self._fence

    async def _give_up(self) -> None:
        claim = self._claim
        self._forget()
        if claim is not None:
            await claim.withdraw_now()

    def _forget(self) -> None:
        self._claim = None
        self._held = False
        self._unobserve()
        self._unobserve = _nothing
        guarding, self._guarding = self._guarding, None
        if guarding is not None:
            guarding.cancel()

    # -- losing ----------------------------------------------------------

    def _on_state(self, _: SessionState) -> None:
        if self._claim is not None and not self._claim.alive:
            self._lose()

    def _lose(self) -> None:
        if self._held:
            self._forget()
        callbacks, self._lost_callbacks = self._lost_callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                self._log.failure("told of the loss of {path}, somebody failed", path=self.path)

    async def _keep_watch(self, claim: Claim) -> None:
        """Wait until our contender is gone, and say so."""
        assert claim.path is not None
        while True:
            looking, watch = self._client.exists_and_watch(claim.path)
            try:
                gone = await looking is None
                if not gone:
                    gone = (await watch).kind is WatchKind.DELETED
            except NO_ANSWER:
                if not await claim.session_lasts():
                    return
            else:
                if gone:
                    self._lose()
                    return

    def _guard_ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("cannot watch over {path}", failure=failure, path=self.path)


def _nothing() -> None:
    """What there is to undo before anything was done."""
