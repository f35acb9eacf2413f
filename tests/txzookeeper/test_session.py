"""The session's states, and telling of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    SessionExpiredError,
)

from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.session import Session, refusal_in
from nodepool_tx.txzookeeper.wire import NO_PASSWORD, Grant

ONE, TWO = Grant(1, b"one", 4.0), Grant(2, b"two", 5.0)


def granted(grant: Grant) -> Callable[[Session], None]:
    def give(session: Session) -> None:
        session.granted(grant)
        session.tell()

    return give


def run(*steps: Callable[[Session], None]) -> tuple[Session, list[SessionState]]:
    session = Session(10.0)
    states: list[SessionState] = []
    session.observe(states.append)
    for step in steps:
        step(session)
    return session, states


def test_life() -> None:
    """A session goes from state to state, and epochs count sessions, not connections."""
    session, states = run(
        granted(ONE),
        Session.lost,
        granted(ONE),
        Session.lost,
        Session.expired,
        granted(TWO),
        Session.close,
    )
    assert [state.value for state in states] == [
        "connected",
        "suspended",
        "connected",
        "suspended",
        "expired",
        "connected",
        "closed",
    ]
    assert (session.epoch, session.session_id, session.timeout) == (2, 2, 5.0)
    session.forget()
    assert (session.session_id, session.password, session.timeout) == (0, NO_PASSWORD, 10.0)


def test_expired() -> None:
    """An expired session has no identity any more, and the epoch grows with the next."""
    session, _ = run(granted(ONE), Session.lost, Session.expired)
    assert (session.session_id, session.password, session.epoch) == (0, NO_PASSWORD, 1)


@pytest.mark.parametrize("final", [Session.close, Session.refused])
def test_the_end_is_final(final: Callable[[Session], None]) -> None:
    """After the end nothing but closing is heard, in any order."""
    inputs = [granted(TWO), Session.lost, Session.expired, Session.refused, Session.close]
    for tail in itertools.permutations(inputs, 3):
        _, states = run(granted(ONE), final, *tail)
        expected = 1 + (final is Session.refused and Session.close in tail)
        assert len(states) == 1 + expected


def test_observers_do_not_nest() -> None:
    """A change made by an observer is told after the one it was told of."""
    session = Session(10.0)
    heard: list[tuple[int, SessionState]] = []

    def first(state: SessionState) -> None:
        heard.append((1, state))
        if state is SessionState.CONNECTED:
            session.close()
            assert session.state is SessionState.CLOSED

    session.observe(first)
    session.observe(lambda state: heard.append((2, state)))
    granted(ONE)(session)
    connected, closed = SessionState.CONNECTED, SessionState.CLOSED
    assert heard == [(1, connected), (2, connected), (1, closed), (2, closed)]


def test_removal() -> None:
    """An observer removed by another one before its turn is not told; removing twice is fine."""
    session = Session(10.0)
    heard: list[SessionState] = []
    session.observe(lambda state: remove())
    remove = session.observe(heard.append)
    granted(ONE)(session)
    remove()
    assert heard == []


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (SessionState.CONNECTING, ConnectionLoss),
        (SessionState.SUSPENDED, ConnectionLoss),
        (SessionState.EXPIRED, SessionExpiredError),
        (SessionState.AUTH_FAILED, AuthFailedError),
        (SessionState.CLOSED, ConnectionClosedError),
    ],
)
def test_refusals(state: SessionState, error: type[Exception]) -> None:
    """Each state says in its own way why no request can be made."""
    assert type(refusal_in(state)) is error
