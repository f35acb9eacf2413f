"""The election: kazoo's on the wire, held again after every lost session.

Whoever is first in the queue of the lock at the election's path leads.
"""

from __future__ import annotations

from collections.abc import Callable

from kazoo.exceptions import AuthFailedError, ConnectionClosedError, SessionExpiredError
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.contenders import Contender, contenders
from nodepool_tx.txzookeeper.interface import SessionState, Transaction, ZookeeperAPI
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.txzookeeper.retry import until_connected

__all__ = ["Election", "Leadership"]

_FINAL = (SessionState.CLOSED, SessionState.AUTH_FAILED)


class Leadership:
    """One time of leading, from being elected to losing it."""

    def __init__(self, client: ZookeeperAPI, lock: Lock) -> None:
        self._client = client
        self._lock = lock

    @property
    def certain(self) -> bool:
        """Whether we lead for all that can be known.

        False for good when it is lost, and for as long as there is no
        connection: another may have been elected meanwhile.
        """
        return self._lock.held and self._client.state is SessionState.CONNECTED

    def check_in(self, txn: Transaction) -> None:
        """Make ``txn`` depend on our leading; see :meth:`Lock.check_in`."""
        self._lock.check_in(txn)


class Election:
    """Stands for the lead until it resigns.

    :param path: of the election; made when missing.
    :param identifier: what others see of us.
    """

    _log = Logger()

    def __init__(self, client: ZookeeperAPI, path: str, identifier: str = "") -> None:
        self._client = client
        self.path = path
        self._identifier = identifier
        self._lock: Lock | None = None
        self._leadership: Leadership | None = None
        self._lost: Deferred[None] | None = None
        self._standing: Deferred[None] | None = None
        self._on_elected: Callable[[Leadership], None] = _ignore
        self._on_lost: Callable[[Leadership], None] = _ignore

    @property
    def leadership(self) -> Leadership | None:
        """Ours, while we lead."""
        return self._leadership

    def contenders(self) -> Deferred[tuple[Contender, ...]]:
        """Who leads and who waits for it."""
        return contenders(self._client, self.path)

    def volunteer(
        self,
        on_elected: Callable[[Leadership], None],
        on_lost: Callable[[Leadership], None],
    ) -> None:
        """Stand for the lead, and again whenever the session was lost.

        Each call of ``on_elected`` is followed by one of ``on_lost``: when the
        session ends, before anything can be asked in the next one; when
        somebody removes our contender; or when we resign, before another can be
        elected.  What the two raise is logged.

        :raises RuntimeError: we stand already.
        """
        if self._standing is not None:
            raise RuntimeError("standing for this election already")
        self._on_elected, self._on_lost = on_elected, on_lost
        standing = self._standing = Deferred.fromCoroutine(self._stand())
        standing.addErrback(self._stands_no_more)

    def resign(self) -> Deferred[None]:
        """Stand no more.

        Fires when our contender is gone, or our session with it.
        """
        standing, self._standing = self._standing, None
        lock, self._lock = self._lock, None
        # Nobody is to stand again when we have stepped down.
        self._lost = None
        self._step_down()
        released = succeed(None) if lock is None else lock.release()
        if standing is not None:
            standing.cancel()
        return released

    async def _stand(self) -> None:
        while True:
            await until_connected(self._client)
            lock = Lock(self._client, self.path, self._identifier, makepath=True, guard=True)
            lost: Deferred[None] = Deferred()
            lock.on_lost(self._step_down)
            self._lock, self._lost = lock, lost
            try:
                await lock.acquire()
            except (ConnectionClosedError, CancelledError):
                raise
            except SessionExpiredError:
                continue
            except Exception:
                self._log.failure("cannot stand for {path} now", path=self.path)
                await self._next_connection()
                continue
            if lock.held:
                self._lead(lock)
                if self._lock is not lock:
                    return
                await lost

    def _next_connection(self) -> Deferred[None]:
        """Fires when the client is connected anew."""
        connected: Deferred[None] = Deferred(lambda _: remove())

        def observer(state: SessionState) -> None:
            if state is SessionState.CONNECTED or state in _FINAL:
                remove()
                connected.callback(None)

        remove = self._client.observe(observer)
        return connected

    def _lead(self, lock: Lock) -> None:
        self._leadership = Leadership(self._client, lock)
        self._log.info("elected for {path}", path=self.path, identifier=self._identifier)
        self._tell(self._on_elected, self._leadership)

    def _step_down(self) -> None:
        """The lead, if we had it, is not ours any more."""
        leadership, self._leadership = self._leadership, None
        lost, self._lost = self._lost, None
        if leadership is None:
            return
        self._log.info("leading {path} no longer", path=self.path, identifier=self._identifier)
        self._tell(self._on_lost, leadership)
        if lost is not None:
            lost.callback(None)

    def _tell(self, callback: Callable[[Leadership], None], leadership: Leadership) -> None:
        try:
            callback(leadership)
        except Exception:
            self._log.failure("told of the election for {path}, somebody failed", path=self.path)

    def _stands_no_more(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._standing = None
            failure.trap(ConnectionClosedError, AuthFailedError)


def _ignore(leadership: Leadership) -> None:
    """Nobody volunteered yet."""
