"""Keeps a client connected: dials, waits, dials again, and ends in order.

One round tries every address once.  Within a round nothing is waited for
between two attempts; between rounds there is a random pause that grows to a
cap.  A connection that has held for a while is replaced at once, one that
broke right away counts as a failed round, so that a server that accepts and
drops cannot make us spin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import attrs
from kazoo.exceptions import AuthFailedError, ConnectionClosedError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.connection import Connection
from nodepool_tx.txzookeeper.counters import Counters
from nodepool_tx.txzookeeper.endpoints import Address, Dialer
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.rounds import Exhausted, Expired, Opened, Outcome, Refused, Rounds
from nodepool_tx.txzookeeper.session import Session
from nodepool_tx.txzookeeper.wire import Grant

__all__ = ["Link", "Pauses"]


@attrs.frozen
class Pauses:
    """How long to wait between rounds, in seconds.

    The n-th pause is ``first * 2 ** n``, not more than ``cap``, of which a
    random part between half and all is waited.
    """

    first: float = 0.1
    cap: float = 3.0

    def after(self, rounds: int, random: Random) -> float:
        return min(self.cap, self.first * 2.0 ** min(rounds, 32)) * random.uniform(0.5, 1.0)


class Link:
    """The connection of one client, whichever it is at the moment.

    :ivar connection: where requests go; None when they cannot be made.
    :ivar last_failure: why the last round led nowhere; empty once connected.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        dialer: Dialer,
        session: Session,
        counters: Counters,
        *,
        auth: Sequence[tuple[str, str]],
        on_event: Callable[[int, str], None],
        on_connected: Callable[[Connection], None],
        on_session_lost: Callable[[], None],
        random: Random,
        pauses: Pauses,
        max_request: int,
    ) -> None:
        self.connection: Connection | None = None
        self.last_failure = ""
        self._clock = clock
        self._dialer = dialer
        self._rounds = Rounds(clock, dialer, session, counters, self._new_connection, self._track)
        self._session = session
        self._counters = counters
        self._auth = auth
        self._on_event = on_event
        self._on_connected = on_connected
        self._on_session_lost = on_session_lost
        self._random = random
        self._pauses = pauses
        self._max_request = max_request
        self._failed_rounds = 0
        self._lost_at = 0.0
        self._started = False
        self._next: IDelayedCall | None = None
        self._dialing: Deferred[Outcome] | None = None
        self._transports: set[Connection] = set()
        self._stopping: IDelayedCall | None = None
        self._stopped = False
        self._waiters: list[Deferred[None]] = []
        self._first: list[Deferred[None]] = []

    # -- the client's side

    def start(self) -> Deferred[None]:
        """Connect and stay connected; fires with the first session."""
        done: Deferred[None] = Deferred()
        if self._session.state in (SessionState.CLOSED, SessionState.AUTH_FAILED):
            done.errback(self._session.refusal())
        elif self._session.epoch:
            done.callback(None)
        else:
            self._first.append(done)
            if not self._started:
                self._started = True
                self._dial()
        return done

    def drop(self, why: str) -> None:
        """Break the connection, if there is one; another is made."""
        if self.connection is not None:
            self.connection.abandon(why)

    def stop(self, patience: float) -> Deferred[None]:
        """End the session and all connections, within ``patience`` seconds.

        Without a connection the time is used to get one, because ephemerals
        that outlive their owner keep others waiting.
        """
        done: Deferred[None] = Deferred()
        if self._stopped:
            done.callback(None)
            return done
        self._waiters.append(done)
        if self._ending():
            return done
        self._stopping = self._clock.callLater(patience, self._out_of_patience)
        connection, self.connection = self.connection, None
        self._session.close()
        self._settle_first(Failure(ConnectionClosedError("closed before it was connected")))
        if connection is not None:
            self._end_session(connection)
        elif not self._session.session_id:
            self._finish()
        elif self._next is not None:
            self._next.reset(0)
        return done

    def _ending(self) -> bool:
        return self._stopping is not None

    # -- dialling

    def _dial(self) -> None:
        self._next = None
        away = self._clock.seconds() - self._lost_at
        outdated = away > self._session.timeout and not self._ending()
        self._dialing = Deferred.fromCoroutine(self._rounds.run(outdated))
        self._dialing.addCallback(self._settled).addErrback(self._crashed)

    def _dial_later(self, delay: float) -> None:
        self._next = self._clock.callLater(delay, self._dial)

    def _new_connection(self, address: Address, greeting: bytes) -> Connection:
        return Connection(
            self._clock,
            str(address),
            greeting,
            auth=self._auth,
            counters=self._counters,
            on_event=self._on_event,
            on_lost=self._lost,
            describe=self._dialer.describe,
            max_request=self._max_request,
        )

    def _track(self, connection: Connection) -> None:
        self._transports.add(connection)

        def gone(_: None) -> None:
            self._transports.discard(connection)
            if self._stopped:
                self._report_stopped()

        connection.gone.addCallback(gone)

    # -- what comes of it

    def _settled(self, outcome: Outcome) -> None:
        self._dialing = None
        if self._stopped:
            return
        if self._ending():
            if isinstance(outcome, Opened):
                self._end_session(outcome.connection)
            elif isinstance(outcome, Exhausted):
                self._pause(outcome)
            else:
                self._finish()
        elif isinstance(outcome, Opened):
            if outcome.fresh:
                self._session.zxid = 0
                self._expired("the servers know less than we have seen")
            if not self._ending():
                self._opened(outcome.connection, outcome.grant)
            else:
                self._end_session(outcome.connection)
        elif isinstance(outcome, Expired):
            self._expired("the servers do not know it any more")
            if not self._ending():
                self._dial()
        elif isinstance(outcome, Refused):
            self._refused(outcome.error)
        else:
            self._pause(outcome)

    def _expired(self, why: str) -> None:
        if self._session.session_id:
            session = hex(self._session.session_id)
            self._log.warn(
                "ZooKeeper session {session} expired: {reason}", session=session, reason=why
            )
            self._session.expired()
            self._on_session_lost()

    def _opened(self, connection: Connection, grant: Grant) -> None:
        session = self._session
        known = grant.session_id == session.session_id
        if known:
            self._counters.reconnects += 1
        else:
            self._counters.sessions += 1
        self.last_failure = ""
        connection.last_zxid = session.zxid
        session.granted(grant)
        self.connection = connection
        self._log.info(
            "Connected to ZooKeeper {server}, session {session}, timeout {timeout} s",
            server=connection.name,
            session=hex(grant.session_id),
            timeout=grant.timeout,
            resumed=known,
        )
        self._on_connected(connection)
        session.tell()
        self._settle_first(None)

    def _lost(self, connection: Connection, why: str) -> None:
        """The connection we had broke; what was in flight fails right after this."""
        if connection is not self.connection and not self._ending():
            # Only tried out.
            return
        self._session.zxid = max(self._session.zxid, connection.last_zxid)
        if self._ending():
            return
        self.connection = None
        self._log.warn("Lost ZooKeeper {server}: {reason}", server=connection.name, reason=why)
        if connection.refusal is not None:
            self._refused(connection.refusal)
            return
        self._lost_at = self._clock.seconds()
        if self._lost_at - connection.since >= self._session.timeout / 3:
            self._failed_rounds = 0
            self._dial_later(0)
        else:
            self._dial_later(self._next_pause())
        self._session.lost()

    def _pause(self, outcome: Exhausted) -> None:
        why = "; ".join(sorted(outcome.reasons))
        log = self._log.warn if why != self.last_failure else self._log.debug
        log("No ZooKeeper server to be had: {reason}", reason=why)
        self.last_failure = why
        self._dial_later(self._next_pause())

    def _next_pause(self) -> float:
        pause = self._pauses.after(self._failed_rounds, self._random)
        self._failed_rounds += 1
        return pause

    def _refused(self, error: AuthFailedError) -> None:
        self._log.error("ZooKeeper refuses us: {reason}", reason=str(error))
        self.last_failure = str(error)
        self._session.refused()
        self._on_session_lost()
        self._settle_first(Failure(error))

    def _crashed(self, failure: Failure) -> None:
        self._dialing = None
        if self._stopped and failure.check(CancelledError):
            return
        self._log.failure("A round of dialling failed", failure)
        if not self._stopped and self.connection is None and self._next is None:
            self._dial_later(self._next_pause())

    def _settle_first(self, result: Failure | None) -> None:
        waiting, self._first = self._first, []
        for done in waiting:
            if isinstance(result, Failure):
                done.errback(result)
            else:
                done.callback(None)

    # -- the end

    def _end_session(self, connection: Connection) -> None:
        ending = connection.end_session()
        ending.addErrback(lambda failure: None)
        ending.addCallback(lambda _: self._finish())

    def _out_of_patience(self) -> None:
        for connection in tuple(self._transports):
            connection.abandon("it did not let us close in time")
        self._finish()

    def _finish(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._rounds.stop()
        if self._next is not None and self._next.active():
            self._next.cancel()
        if self._dialing is not None:
            self._dialing.cancel()
        self._session.forget()
        self._on_session_lost()
        for connection in tuple(self._transports):
            connection.hang_up()
        self._report_stopped()

    def _report_stopped(self) -> None:
        if self._transports:
            return
        if self._stopping is not None and self._stopping.active():
            self._stopping.cancel()
        waiters, self._waiters = self._waiters, []
        for done in waiters:
            done.callback(None)
