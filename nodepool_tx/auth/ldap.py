"""Log-ins against an LDAP directory, in a few threads of their own.

A directory that hangs keeps those threads for as long as its time-out and not
longer, and nothing else ever waits for them: when more people want to log in
than can be served, the rest is told so at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from nodepool_tx.auth.interface import Denied, Directory, DirectoryTrouble, Principal
from nodepool_tx.config.operations import Ldap
from nodepool_tx.nodescan.connect import look_up
from nodepool_tx.nodescan.interface import ConnectFailed

if TYPE_CHECKING:
    from nodepool_tx.auth.conversation import Conversation

__all__ = ["THREADS", "WAITING", "LdapDirectory"]

#: Log-ins that are talked over at a time, and those that may wait for their turn.
THREADS = 4
WAITING = 16
#: Seconds between two tries to take the socket of an overdue log-in away.
_INSISTING = 0.25


@attrs.define(eq=False)
class _LogIn:
    """One that was asked for and is not over."""

    conversation: Conversation | None = None
    insisting: LoopingCall | None = None


class LdapDirectory(Service):
    """See :class:`nodepool_tx.auth.interface.Directory`.

    :param settings: gives those of the moment; None means there is no directory.
    """

    def __init__(self, reactor: Any, settings: Callable[[], Ldap | None]) -> None:
        self.setName("ldap")
        self._reactor = reactor
        self._settings = settings
        self._pool: ThreadPool | None = None
        self._under_way: set[Deferred[Principal]] = set()
        self._talking: set[_LogIn] = set()

    def startService(self) -> None:
        super().startService()
        # Threads are made when they are needed.
        self._pool = ThreadPool(0, THREADS, "ldap")
        self._pool.start()

    def stopService(self) -> None:
        """End everything under way; its threads end within a moment."""
        super().stopService()
        for waiting in tuple(self._under_way):
            waiting.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            self._stop(pool)

    def _stop(self, pool: ThreadPool) -> None:
        for log_in in tuple(self._talking):
            if log_in.conversation is not None:
                log_in.conversation.abort()
        pool.stop()

    def log_in(self, user: str, password: str, group: str | None = None) -> Deferred[Principal]:
        """See :meth:`nodepool_tx.auth.interface.Directory.log_in`."""
        outcome = Deferred.fromCoroutine(self._log_in(user, password, group))
        if not outcome.called:
            self._under_way.add(outcome)
            outcome.addBoth(self._over, outcome)
        return outcome

    def _over(self, result: Any, outcome: Deferred[Principal]) -> Any:
        self._under_way.discard(outcome)
        return result

    async def _log_in(self, user: str, password: str, group: str | None) -> Principal:
        if not password:
            raise Denied("the password is empty")
        settings = self._settings()
        pool = self._pool
        if settings is None or pool is None:
            raise DirectoryTrouble("there is no directory")
        if len(self._talking) >= THREADS + WAITING:
            raise DirectoryTrouble(f"{len(self._talking)} log-ins are under way already")
        log_in = _LogIn()
        self._talking.add(log_in)
        answer = Deferred.fromCoroutine(self._talk(pool, log_in, settings, user, password, group))
        # Even if nobody waits for it any more it counts until its thread is free.
        waiter: Deferred[Principal] = Deferred(lambda _: self._give_up(log_in))
        deadline = self._reactor.callLater(settings.timeout, self._overdue, log_in, waiter)
        answer.addBoth(self._answered, log_in, waiter)
        try:
            return await waiter
        finally:
            if deadline.active():
                deadline.cancel()

    async def _talk(
        self,
        pool: ThreadPool,
        log_in: _LogIn,
        settings: Ldap,
        user: str,
        password: str,
        group: str | None,
    ) -> Principal:
        url = urlsplit(settings.url)
        host = url.hostname or ""
        try:
            addresses = await look_up(self._reactor, host, url.port or 0)
        except ConnectFailed as e:
            raise DirectoryTrouble(f"{settings.url}: {e}") from e
        speak = await deferToThreadPool(self._reactor, pool, _conversations)
        conversation = speak(settings, tuple(address.host for address in addresses))
        log_in.conversation = conversation
        if log_in.insisting is not None:
            conversation.abort()
        if self._pool is not pool:
            raise DirectoryTrouble("the launcher is stopping")
        result: Principal = await deferToThreadPool(
            self._reactor, pool, conversation.run, user, password, group or settings.group
        )
        return result

    def _answered(self, result: Any, log_in: _LogIn, waiter: Deferred[Principal]) -> None:
        self._talking.discard(log_in)
        if log_in.insisting is not None:
            log_in.insisting.stop()
        if not waiter.called:
            waiter.callback(result)

    def _overdue(self, log_in: _LogIn, waiter: Deferred[Principal]) -> None:
        self._give_up(log_in)
        settings = self._settings()
        where = "the directory" if settings is None else settings.url
        waiter.errback(DirectoryTrouble(f"{where} has not answered in time"))

    def _give_up(self, log_in: _LogIn) -> None:
        """Take the socket away, again and again: it may be changing hands just now."""

        def insist() -> None:
            if log_in.conversation is not None:
                log_in.conversation.abort()

        if log_in.insisting is None:
            log_in.insisting = LoopingCall(insist)
            log_in.insisting.clock = self._reactor
            log_in.insisting.start(_INSISTING)


def _conversations() -> type[Conversation]:
    """How to talk with a directory; most launchers have none, and the library is large."""
    from nodepool_tx.auth.conversation import Conversation

    return Conversation


_directory: type[Directory] = LdapDirectory
