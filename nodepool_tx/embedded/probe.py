"""Asking a ZooKeeper whether it serves, and which data."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from nodepool_tx.embedded.layout import HOST, Layout

__all__ = ["serves"]

#: Seconds for one question.
_PATIENCE = 2


async def serves(reactor: Any, port: int, layout: Layout) -> bool:
    """Whether the server on the port of loopback is up and has the data of ``layout``.

    Being able to connect is not enough: the server listens before it serves,
    and the port might be another server's.
    """
    try:
        question = await _ask(reactor, port)
        # Who takes the connection but does not answer is not ready.
        answer = await question.answer.addTimeout(_PATIENCE, reactor)
    except (ConnectError, TimeoutError):
        return False
    except ConnectingCancelledError:
        raise CancelledError from None
    return f"dataDir={layout.data_dir}/".encode() in answer


def _ask(reactor: Any, port: int) -> Deferred[_Question]:
    factory: Any = Factory.forProtocol(_Question)
    factory.noisy = False
    connecting: Any = TCP4ClientEndpoint(reactor, HOST, port, timeout=_PATIENCE).connect(factory)
    return connecting  # type: ignore[no-any-return]


class _Question(Protocol):
    """ZooKeeper's four letter word for its configuration."""

    transport: Any

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred(lambda _: self.transport.abortConnection())
        self._received = b""

    def connectionMade(self) -> None:
        self.transport.write(b"conf")

    def dataReceived(self, data: bytes) -> None:
        self._received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.callback(self._received)
