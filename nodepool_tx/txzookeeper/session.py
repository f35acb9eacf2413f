"""The session's life as a state machine, and telling others about it.

The machine's states are the public ones; what happens on the wire (dialling,
greeting, waiting) is :mod:`.link`'s business and reaches this module as the
five inputs of :class:`Inputs`.  Nothing here does I/O or asks the time.
"""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Callable

import attrs
from automat import TypeMachineBuilder
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    SessionExpiredError,
)
from twisted.logger import Logger

from nodepool_tx.txzookeeper.interface import SessionState, StateObserver
from nodepool_tx.txzookeeper.wire import NO_PASSWORD, Grant

__all__ = ["Session", "refusal_in"]


class Inputs(typing.Protocol):
    """What can happen to a session."""

    def granted(self, grant: Grant) -> None:
        """A server gave us this session, new or the one we had."""

    def lost(self) -> None:
        """The connection broke."""

    def expired(self) -> None:
        """A server does not know our session any more."""

    def refused(self) -> None:
        """A server does not accept who we say we are."""

    def close(self) -> None:
        """The owner is done."""


@attrs.define
class Facts:
    """What the machine writes and everybody reads.

    :ivar news: states entered and not yet told to the observers.
    :ivar grant: the session as the server knows it, also while closing; None
        when there is none.
    """

    wanted_timeout: float
    state: SessionState = SessionState.CONNECTING
    grant: Grant | None = None
    epoch: int = 0
    news: deque[SessionState] = attrs.field(factory=deque)

    def enter(self, state: SessionState) -> None:
        self.state = state
        self.news.append(state)


def _begin(machine: Inputs, facts: Facts, grant: Grant) -> None:
    if facts.grant is None or facts.grant.session_id != grant.session_id:
        facts.epoch += 1
    facts.grant = grant
    facts.enter(SessionState.CONNECTED)


def _suspend(machine: Inputs, facts: Facts) -> None:
    facts.enter(SessionState.SUSPENDED)


def _expire(machine: Inputs, facts: Facts) -> None:
    facts.grant = None
    facts.enter(SessionState.EXPIRED)


def _refuse(machine: Inputs, facts: Facts) -> None:
    facts.grant = None
    facts.enter(SessionState.AUTH_FAILED)


def _close(machine: Inputs, facts: Facts) -> None:
    facts.enter(SessionState.CLOSED)


def _build() -> Callable[[Facts], Inputs]:
    builder = TypeMachineBuilder(Inputs, Facts)
    connecting = builder.state("connecting")
    connected = builder.state("connected")
    suspended = builder.state("suspended")
    expired = builder.state("expired")
    auth_failed = builder.state("auth failed")
    closed = builder.state("closed")

    for state in (connecting, suspended, expired):
        state.upon(Inputs.granted).to(connected)(_begin)
    connected.upon(Inputs.lost).to(suspended)(_suspend)
    suspended.upon(Inputs.expired).to(expired)(_expire)
    for state in (connecting, connected, suspended, expired):
        state.upon(Inputs.refused).to(auth_failed)(_refuse)
    for state in (connecting, connected, suspended, expired, auth_failed):
        state.upon(Inputs.close).to(closed)(_close)
    # The end comes once, and what the wire still reports then changes nothing.
    closed.upon(Inputs.close).loop().returns(None)
    for final in (closed, auth_failed):
        final.upon(Inputs.lost).loop().returns(None)
        final.upon(Inputs.expired).loop().returns(None)
        final.upon(Inputs.refused).loop().returns(None)
        final.upon(Inputs.granted).loop().returns(None)
    return builder.build()


_machine = _build()


def refusal_in(state: SessionState) -> Exception:
    """What a request made in ``state`` fails with, unless that is CONNECTED."""
    error: Exception = ConnectionLoss("not connected")
    if state is SessionState.CLOSED:
        error = ConnectionClosedError("the client is closed")
    elif state is SessionState.EXPIRED:
        error = SessionExpiredError("the session is expired, no new one is there yet")
    elif state is SessionState.AUTH_FAILED:
        error = AuthFailedError("the servers refuse our credentials")
    return error


class Session:
    """State, identity and observers of one client's sessions.

    Each input changes the state at once and then tells the observers.  An
    observer that causes the next change does not nest: all observers hear all
    states in the order they were entered.
    """

    _log = Logger()

    def __init__(self, wanted_timeout: float) -> None:
        self._facts = Facts(wanted_timeout)
        self._inputs = _machine(self._facts)
        self._observers: list[StateObserver] = []
        self._telling = False
        self.zxid = 0

    @property
    def state(self) -> SessionState:
        return self._facts.state

    @property
    def epoch(self) -> int:
        return self._facts.epoch

    @property
    def session_id(self) -> int:
        return self._facts.grant.session_id if self._facts.grant else 0

    @property
    def password(self) -> bytes:
        return self._facts.grant.password if self._facts.grant else NO_PASSWORD

    @property
    def timeout(self) -> float:
        """Negotiated if there is a session, else what will be asked for; seconds."""
        return self._facts.grant.timeout if self._facts.grant else self._facts.wanted_timeout

    @property
    def wanted_timeout(self) -> float:
        return self._facts.wanted_timeout

    def refusal(self) -> Exception:
        """Why a request cannot be made in the present state."""
        return refusal_in(self._facts.state)

    # -- inputs

    def granted(self, grant: Grant) -> None:
        self._inputs.granted(grant)

    def lost(self) -> None:
        self._inputs.lost()
        self.tell()

    def expired(self) -> None:
        self._inputs.expired()
        self.tell()

    def refused(self) -> None:
        self._inputs.refused()
        self.tell()

    def close(self) -> None:
        self._inputs.close()
        self.tell()

    def forget(self) -> None:
        """The session has ended, or is left to its timeout."""
        self._facts.grant = None

    # -- observers

    def observe(self, observer: StateObserver) -> Callable[[], None]:
        self._observers.append(observer)

        def remove() -> None:
            if observer in self._observers:
                self._observers.remove(observer)

        return remove

    def tell(self) -> None:
        """Tell the observers what they have not heard yet.

        Apart from :meth:`granted`, which leaves time to set watches first,
        the inputs do this themselves.
        """
        if self._telling:
            return
        self._telling = True
        news = self._facts.news
        try:
            while news:
                state = news.popleft()
                for observer in tuple(self._observers):
                    if observer not in self._observers:
                        continue
                    try:
                        observer(state)
                    except Exception:
                        self._log.failure("An observer raised on {state}", state=state)
        finally:
            self._telling = False
