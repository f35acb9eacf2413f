"""What goes into a request and comes out of an answer, bit by bit.

Note: big answers
-----------------
Reading JSON takes about 5 ms for a megabyte, and a listing of 5,000 servers
has 8 to 10 megabytes: 40 ms in which the reactor would do nothing else.  So
answers above :data:`BIG` are read in a thread.  That alone is of no use, since
json's scanner, written in C, never lets another thread run: the reactor stood
still for 55 ms.  With a hook that Python has to call for every object, the
interpreter changes threads every 5 ms as usual; measured, the reactor waited
14 ms at most, the hook costs 2 %.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

__all__ = ["BIG", "Upload", "parsed", "received"]

#: Bytes above which an answer is parsed in a thread: below, it takes 2 ms or less.
BIG = 1 << 18


def parsed(body: bytes) -> Any:
    """JSON, in a way that lets other threads run meanwhile.

    :raises ValueError: it is none.
    """
    return json.loads(body, object_hook=_unchanged)


def _unchanged(found: dict[str, Any]) -> dict[str, Any]:
    return found


def received(response: IResponse, progress: Callable[[], None]) -> Deferred[bytes]:
    """The whole body of an answer.

    :param progress: is called for each bit of it.

    Cancelling gives the connection up.
    """
    body = _Body(progress)
    response.deliverBody(body)
    return body.whole


class _Body(Protocol):
    def __init__(self, progress: Callable[[], None]) -> None:
        self.whole: Deferred[bytes] = Deferred(self._give_up)
        self._progress = progress
        self._bits: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._bits.append(data)
        self._progress()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # Without a length, the end of the connection is the end of the answer.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._bits))
        else:
            self.whole.errback(reason)

    def _give_up(self, _whole: Deferred[bytes]) -> None:
        # Twisted hands out a stand-in that can only ask politely, and with TLS waits for
        # the other side to agree: for ever, if that hangs.
        connection: Any = getattr(self.transport, "_producer", None)
        if connection is not None and hasattr(connection, "abortConnection"):
            connection.abortConnection()
        elif self.transport is not None:
            self.transport.loseConnection()


@implementer(IBodyProducer)
class Upload:
    """A file as the body of a request.

    :param progress: is called for each bit that the connection takes.
    :ivar length: of the file, in bytes.
    """

    def __init__(self, path: Path, cooperator: Cooperator, progress: Callable[[], None]) -> None:
        self._file: BinaryIO = path.open("rb")
        self._progress = progress
        self._producer = FileBodyProducer(self._file, cooperator=cooperator)
        self._started = False
        self.length = self._producer.length

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self._started = True
        produced: Deferred[None] = self._producer.startProducing(_Noticed(consumer, self._progress))
        return produced

    def pauseProducing(self) -> None:
        self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._producer.resumeProducing()

    def stopProducing(self) -> None:
        if self._started:
            self._producer.stopProducing()

    def close(self) -> None:
        """Close the file; fine more than once."""
        self._file.close()


@implementer(IConsumer)
class _Noticed:
    def __init__(self, consumer: IConsumer, progress: Callable[[], None]) -> None:
        self._consumer = consumer
        self._progress = progress

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self._consumer.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._consumer.unregisterProducer()

    def write(self, data: bytes) -> None:
        self._consumer.write(data)
        self._progress()
