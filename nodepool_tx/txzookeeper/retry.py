"""Asking again when a connection broke in between.

Only for calls that may be carried out any number of times: reads, and writes
that change nothing the second time.  Nothing here waits for a fixed time; what
is waited for is the client being connected again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, SessionExpiredError
from twisted.internet.defer import Deferred, fail, succeed

from nodepool_tx.txzookeeper.interface import SessionState, ZookeeperAPI
from nodepool_tx.txzookeeper.session import refusal_in

__all__ = ["retry_reads", "until_connected"]

T = TypeVar("T")

_FINAL = (SessionState.CLOSED, SessionState.AUTH_FAILED)


def until_connected(client: ZookeeperAPI) -> Deferred[None]:
    """Fires when ``client`` is connected, at once if it is.

    Cancel it, or give it a timeout, to stop waiting.

    :raises ConnectionClosedError: it is closed, or gets closed.
    :raises AuthFailedError: the servers refuse it.
    """
    if client.state is SessionState.CONNECTED:
        return succeed(None)
    if client.state in _FINAL:
        return fail(refusal_in(client.state))
    connected: Deferred[None] = Deferred(lambda _: remove())

    def observer(state: SessionState) -> None:
        if state is SessionState.CONNECTED:
            remove()
            connected.callback(None)
        elif state in _FINAL:
            remove()
            connected.errback(refusal_in(state))

    remove = client.observe(observer)
    return connected


async def retry_reads(
    client: ZookeeperAPI, call: Callable[[], Deferred[T]], *, attempts: int = 10
) -> T:
    """Make ``call`` until it is answered, by whichever connection or session.

    An answer that says no (NoNodeError and the like) is an answer.

    :param attempts: how many lost connections to put up with.
    :raises ConnectionLoss: as many attempts were lost.
    :raises ConnectionClosedError: the client was closed.
    """
    for left in reversed(range(attempts)):
        await until_connected(client)
        try:
            return await call()
        except ConnectionClosedError:
            raise
        except (ConnectionLoss, SessionExpiredError):
            if not left:
                raise
    raise ValueError("attempts must be positive")
