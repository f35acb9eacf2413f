"""A ZooKeeper session for whoever wants to send requests and nothing else.

Requests are bytes; most are made beforehand around a path.  Of a reply only the header is looked
at, and whoever asked gets the bytes.  Nobody waits for anything: a reply calls what was given
with its request.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Iterator

from kazoo.exceptions import EXCEPTIONS, NoNodeError

from benchmarks.connection import Connection

CREATE, DELETE, EXISTS, GET, SET, CHILDREN, MULTI, ADD_WATCH = 1, 2, 3, 4, 5, 8, 14, 106
CREATED_EVENT, DELETED_EVENT = 1, 2

_HEADER = struct.Struct("!iqi")
_INT = struct.Struct("!i")
_FRAME = struct.Struct("!iii")
_EVENT = struct.Struct("!iii")
_PART = struct.Struct("!i?i")
_STAT_SIZE = 68
_XID = 1  # replies come in the order of the requests
_WATCH_XID = -1
_EVERYBODY = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
_ANY_VERSION = _INT.pack(-1)
_END = _PART.pack(-1, True, -1)

Reply = Callable[[bytes], None]
Part = tuple[int, bytes]


def text(data: bytes) -> bytes:
    """Bytes with their length before them."""
    return _INT.pack(len(data)) + data


def creation(data: bytes = b"", flags: int = 0) -> bytes:
    """What follows the path where a znode is created that everybody may change."""
    return text(data) + _EVERYBODY + _INT.pack(flags)


def write(data: bytes) -> bytes:
    """What follows the path where a znode is written."""
    return text(data) + _ANY_VERSION


DELETION = _ANY_VERSION
WATCHED, UNWATCHED = b"\1", b"\0"
RECURSIVE = _INT.pack(1)


def request(kind: int, path: bytes, rest: bytes) -> bytes:
    """A request for one znode."""
    return _framed(kind, text(path) + rest)


def transaction(parts: Iterable[Part]) -> bytes:
    """A request for several changes at once; each is a kind, and its path and the rest."""
    body = b"".join(_PART.pack(kind, False, -1) + part for kind, part in parts)
    return _framed(MULTI, body + _END)


def _framed(kind: int, body: bytes) -> bytes:
    return _FRAME.pack(len(body) + 8, _XID, kind) + body


def created(reply: bytes) -> bytes:
    """The path of a created znode."""
    (length,) = _INT.unpack_from(reply, _HEADER.size)
    return reply[_HEADER.size + 4 : _HEADER.size + 4 + length]


def data(reply: bytes) -> bytes:
    """What was read."""
    return created(reply)  # both answers begin with bytes and their length


def refused(reply: bytes) -> bool:
    """Whether a transaction was."""
    return bool(_PART.unpack_from(reply, _HEADER.size)[0] == -1)


def all_created(reply: bytes) -> Iterator[bytes]:
    """The paths of what a transaction created.

    :raises KazooException: it was refused.
    """
    place = _HEADER.size
    while True:
        kind, done, _ = _PART.unpack_from(reply, place)
        place += _PART.size
        if done:
            return
        if kind == -1:
            raise EXCEPTIONS[_INT.unpack_from(reply, place)[0]]()
        if kind == CREATE:
            (length,) = _INT.unpack_from(reply, place)
            yield reply[place + 4 : place + 4 + length]
            place += 4 + length
        elif kind == SET:
            place += _STAT_SIZE


class BareSession(Connection):
    """Requests are posted; of watches it says what they saw.

    :ivar on_event: called with the kind and the path.
    :ivar trouble: fails with what went wrong; nothing is done after that.
    """

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.on_event: Callable[[int, bytes], None] = lambda kind, path: None
        self.trouble: asyncio.Future[None] = self._loop.create_future()

    def post(
        self,
        frame: bytes,
        reply: Reply | None = None,
        missing: Callable[[], None] | None = None,
    ) -> None:
        """Send a request, together with all others of this turn of the loop.

        :param missing: called instead where there is no such znode, which is trouble otherwise.
        """
        self._waiting.append(((reply, missing), None))
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent += frame

    def soon(self, call: Callable[[], None]) -> None:
        """Call this when all that has arrived was looked at."""
        self._loop.call_soon(self._watched, call)

    def _watched(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            if not self.trouble.done():
                self.trouble.set_exception(error)
                self.trouble.exception()  # one of them is enough to be raised

    def _frame(self, frame: bytes) -> None:
        if not self._connected.done():
            super()._frame(frame)
            return
        xid, _, error = _HEADER.unpack_from(frame)
        if xid == _WATCH_XID:
            kind, _, length = _EVENT.unpack_from(frame, _HEADER.size)
            begin = _HEADER.size + _EVENT.size
            path = frame[begin : begin + length]
            self._watched(lambda: self.on_event(kind, path))
        elif self._waiting and xid == _XID and self._waiting[0][1] is None:
            (reply, missing), _ = self._waiting.popleft()
            if error:
                expected = missing if error == NoNodeError.code else None
                self._watched(expected or (lambda: _fail(error)))
            elif reply is not None:
                self._watched(lambda: reply(frame))
        else:
            super()._frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.trouble.done():
            self.trouble.cancel()
        posted = [pair for pair in self._waiting if pair[1] is None]
        for pair in posted:
            self._waiting.remove(pair)
        super().connection_lost(exc)


def _fail(error: int) -> None:
    raise EXCEPTIONS[error]()
