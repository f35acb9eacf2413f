"""One contender znode of ours: made, found again, and removed for certain.

A contender is named ``<32 hex digits>__lock__<sequence>``, as kazoo names its
own.  The digits are chosen anew for each, so that it can be recognised when
the answer that would have told its name was lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from kazoo.exceptions import AuthFailedError, ConnectionLoss, NoNodeError, SessionExpiredError
from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.caughtup import caught_up
from nodepool_tx.txzookeeper.interface import SessionState, ZookeeperAPI
from nodepool_tx.txzookeeper.session import refusal_in

__all__ = ["LOCK_MARK", "NO_ANSWER", "Claim", "all_answers"]

T = TypeVar("T")

#: What stands between the digits and the sequence.
LOCK_MARK = "__lock__"

#: There was no answer.  (A closed client's error is one of an expired session.)
NO_ANSWER = (ConnectionLoss, SessionExpiredError, AuthFailedError)

_NO_SESSION = (SessionState.EXPIRED, SessionState.CLOSED, SessionState.AUTH_FAILED)


class Claim:
    """A contender, from the request that creates it to the certainty that it is gone.

    :ivar path: of the contender; None until it is known.
    """

    _log = Logger()

    def __init__(
        self, client: ZookeeperAPI, directory: str, data: bytes, *, ephemeral: bool
    ) -> None:
        self._client = client
        self._directory = directory
        self._data = data
        self._ephemeral = ephemeral
        self._prefix = uuid.uuid4().hex + LOCK_MARK
        self._epoch = client.session_epoch
        self._creation: _Shared[str] | None = None
        self._removal: _Shared[None] | None = None
        self.path: str | None = None

    @property
    def name(self) -> str:
        """Of the contender within its directory."""
        assert self.path is not None
        return self.path.rpartition("/")[2]

    @property
    def sequence(self) -> str:
        return self.name[len(self._prefix) :]

    # -- being made ------------------------------------------------------

    def create(self) -> Deferred[str]:
        """Ask for the contender; fires with its path.

        Cancelling the Deferred is not waiting for the answer any more.
        """

        def named(path: str) -> str:
            self.path = path
            return path

        self._creation = _Shared(
            self._client.create(
                f"{self._directory}/{self._prefix}",
                self._data,
                ephemeral=self._ephemeral,
                sequence=True,
            ).addCallback(named)
        )
        return self._creation.wait()

    def recognise(self, names: Iterable[str]) -> bool:
        """Whether the contender is among the names in its directory."""
        for name in names:
            if name.startswith(self._prefix):
                self.path = f"{self._directory}/{name}"
                return True
        return False

    # -- the session it depends on ---------------------------------------

    @property
    def alive(self) -> bool:
        """Nothing is known that would have ended it."""
        return self._session_lasts() is not False

    def session_lasts(self) -> Deferred[bool]:
        """Fires with True when connected again, with False when that is in vain.

        It is in vain for an ephemeral when its session is gone, and for others
        when the client will never be connected again.
        """
        verdict = self._session_lasts()
        if verdict is not None:
            return succeed(verdict)
        known: Deferred[bool] = Deferred(lambda _: remove())

        def observer(_: SessionState) -> None:
            verdict = self._session_lasts()
            if verdict is not None:
                remove()
                known.callback(verdict)

        remove = self._client.observe(observer)
        return known

    def _session_lasts(self) -> bool | None:
        state = self._client.state
        if self._ephemeral:
            if state in _NO_SESSION or self._client.session_epoch != self._epoch:
                return False
        elif state in (SessionState.CLOSED, SessionState.AUTH_FAILED):
            return False
        return True if state is SessionState.CONNECTED else None

    def refusal(self) -> Exception:
        """What to tell whom the end of the session took this claim from."""
        if self._client.state in _NO_SESSION:
            return refusal_in(self._client.state)
        error: Exception = SessionExpiredError("the session that asked for the lock is gone")
        return error

    # -- its end ---------------------------------------------------------

    def withdraw(self) -> Deferred[None]:
        """Remove the contender; fires when it is certain that it is gone.

        That is when the server said so, or when it is an ephemeral whose
        session ended.  The removal goes on if the returned Deferred is
        cancelled, and whatever happens to the connection.

        :raises ConnectionClosedError: one that is not ephemeral may remain.
        """
        if self._removal is None:
            removal: Deferred[None] = Deferred.fromCoroutine(self._until_gone())
            self._removal = _Shared(removal.addErrback(self._not_removed))
        return self._removal.wait()

    def withdraw_now(self) -> Deferred[None]:
        """As :meth:`withdraw`, but waits no longer than the connection lasts."""
        removal = self.withdraw()
        if self._client.state is not SessionState.CONNECTED:
            removal.cancel()
        remove = self._client.observe(lambda _: removal.cancel())
        return removal.addBoth(lambda _: remove())

    def _not_removed(self, failure: Failure) -> Failure:
        self._log.failure("cannot remove the contender {path}", failure=failure, path=self.path)
        return failure

    async def _until_gone(self) -> None:
        if self._creation is not None:
            try:
                await self._creation.wait()
            except NO_ANSWER:
                pass
            except Exception:
                return
        while True:
            try:
                if self.path is None and not await self._find():
                    return
                assert self.path is not None
                await self._client.delete(self.path)
                return
            except NoNodeError:
                return
            except NO_ANSWER:
                if await self.session_lasts():
                    continue
                if not self._ephemeral:
                    raise self.refusal() from None
                return

    async def _find(self) -> bool:
        """Look for what was created without our being told."""
        answers = await all_answers(
            [caught_up(self._client), self._client.get_children(self._directory)]
        )
        for answer in answers:
            if isinstance(answer, Failure):
                answer.raiseException()
        names = answers[1]
        return self.recognise(names)


async def all_answers(requests: Sequence[Deferred[Any]]) -> list[Any]:
    """The answer of each request, or the Failure, once all are there.

    :raises CancelledError: somebody gave up waiting.
    """
    answers = [answer for _, answer in await DeferredList(list(requests), consumeErrors=True)]
    for answer in answers:
        if isinstance(answer, Failure) and answer.check(CancelledError):
            raise CancelledError()
    return answers


class _Shared(Generic[T]):
    """A result that several wait for, each of whom may give up without the others."""

    def __init__(self, source: Deferred[T]) -> None:
        self._waiting: dict[Deferred[T], None] = {}
        self._results: list[T | Failure] = []
        source.addBoth(self._arrived)

    def wait(self) -> Deferred[T]:
        for result in self._results:
            return fail(result) if isinstance(result, Failure) else succeed(result)
        waiting: Deferred[T] = Deferred(lambda _: self._waiting.pop(waiting, None))
        self._waiting[waiting] = None
        return waiting

    def _arrived(self, result: T | Failure) -> None:
        self._results.append(result)
        while self._waiting:
            waiting = next(iter(self._waiting))
            del self._waiting[waiting]
            waiting.errback(result) if isinstance(result, Failure) else waiting.callback(result)
