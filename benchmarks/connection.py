"""A small ZooKeeper connection on asyncio, for generating load.

The client must not be what is measured.  kazoo spends a thread switch on each call and
tops out far below what the faster daemon can do; the daemon's own client is part of what is
under test.  So this is a third one: the wire records are kazoo's, everything is on one event
loop, and requests of one loop iteration leave in one TLS record.  It does not reconnect: a
benchmark whose connection broke has failed.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from types import TracebackType
from typing import Any, TypeVar

from kazoo.exceptions import EXCEPTIONS, NoNodeError, NotEmptyError
from kazoo.protocol import serialization as wire
from kazoo.protocol.states import ZnodeStat
from kazoo.security import OPEN_ACL_UNSAFE

EPHEMERAL = 1
SEQUENCE = 2

_C = TypeVar("_C", bound="Connection")
_INT = struct.Struct("!i")
_HEADER = struct.Struct("!ii")
_PING_XID = -2
_WATCH_XID = -1


class ConnectionGone(Exception):
    """The connection closed while operations were waiting for their reply."""


class Connection(asyncio.Protocol):
    """One session.  Make one with :meth:`open`; operations are awaitable and pipelined."""

    def __init__(self, timeout: float) -> None:
        self._session_timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._waiting: deque[tuple[Any, Any]] = deque()
        self._watches: dict[str, asyncio.Future[None]] = {}
        self._received = bytearray()
        self._unsent = bytearray()
        self._xid = 0
        self._transport: asyncio.WriteTransport | None = None
        self._pinger: asyncio.TimerHandle | None = None
        self.operations = 0
        self.session = 0
        """Its id, as the server writes it."""

    @classmethod
    async def open(
        cls: type[_C], host: str, port: int, tls: ssl.SSLContext | None, timeout: float = 30.0
    ) -> _C:
        """Connect and shake hands.  `timeout` is the session's, in seconds."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(timeout), host, port, ssl=tls)
        await connection._connected
        return connection

    async def __aenter__(self: _C) -> _C:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session, so that its ephemeral nodes are gone at once."""
        if self._pinger is not None:
            self._pinger.cancel()
        if self._transport is not None and not self._transport.is_closing():
            await self._call(wire.CloseInstance)
            self._transport.close()

    # Operations

    def create(self, path: str, data: bytes = b"", flags: int = 0) -> asyncio.Future[str]:
        """Create a znode that everybody may change; answers its path."""
        return self._call(wire.Create(path, data, OPEN_ACL_UNSAFE, flags))

    def get(self, path: str) -> asyncio.Future[tuple[bytes, ZnodeStat]]:
        """Read a znode."""
        return self._call(wire.GetData(path, False))

    async def get_and_watch(self, path: str) -> tuple[bytes, ZnodeStat, asyncio.Future[None]]:
        """Read a znode; the third value fires when it changes or goes."""
        changed = self._watch(path)
        data, stat = await self._call(wire.GetData(path, True))
        return data, stat, changed

    async def children_and_watch(self, path: str) -> tuple[list[str], asyncio.Future[None]]:
        """List a znode's children; the second value fires when the list changes."""
        changed = self._watch(path)
        return await self._call(wire.GetChildren(path, True)), changed

    def set(self, path: str, data: bytes, version: int = -1) -> asyncio.Future[ZnodeStat]:
        """Write a znode."""
        return self._call(wire.SetData(path, data, version))

    def delete(self, path: str) -> asyncio.Future[bool]:
        """Delete a znode."""
        return self._call(wire.Delete(path, -1))

    def children(self, path: str) -> asyncio.Future[list[str]]:
        """List a znode's children."""
        return self._call(wire.GetChildren(path, False))

    async def stat(self, path: str) -> ZnodeStat | None:
        """A znode's stat, or None where there is none."""
        try:
            found: ZnodeStat | None = await self._call(wire.Exists(path, False))
        except NoNodeError:
            return None
        return found

    async def delete_tree(self, path: str) -> None:
        """Delete a znode and all below it, whoever else adds to it meanwhile."""
        for _ in range(100):
            try:
                names = await self.children(path)
            except NoNodeError:
                return
            await asyncio.gather(*(self.delete_tree(f"{path}/{name}") for name in names))
            try:
                await self.delete(path)
            except NoNodeError:
                return
            except NotEmptyError:
                continue
            return
        raise RuntimeError(f"{path} is filled faster than it can be emptied")

    # The wire

    def _call(self, record: Any) -> asyncio.Future[Any]:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionGone("not connected")
        self._xid += 1
        self.operations += 1
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((record, reply))
        self._send(_HEADER.pack(self._xid, record.type) + record.serialize())
        return reply

    def _watch(self, path: str) -> asyncio.Future[None]:
        changed = self._watches.get(path)
        if changed is None or changed.done():
            changed = self._watches[path] = self._loop.create_future()
        return changed

    def _send(self, frame: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent += _INT.pack(len(frame)) + frame

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(bytes(self._unsent))
        self._unsent.clear()

    def _ping(self) -> None:
        self._send(_HEADER.pack(_PING_XID, wire.Ping.type))
        self._pinger = self._loop.call_later(self._session_timeout / 3, self._ping)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        timeout = int(self._session_timeout * 1000)
        self._send(bytes(wire.Connect(0, 0, timeout, 0, b"\0" * 16, False).serialize()))

    def data_received(self, data: bytes) -> None:
        buffer = self._received
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            (length,) = _INT.unpack_from(buffer, start)
            if len(buffer) - start - 4 < length:
                break
            self._frame(bytes(buffer[start + 4 : start + 4 + length]))
            start += 4 + length
        del buffer[:start]

    def _frame(self, frame: bytes) -> None:
        if not self._connected.done():
            self.session = wire.Connect.deserialize(frame, 0)[0].session_id & (1 << 64) - 1
            self._connected.set_result(None)
            self._ping()
            return
        header, offset = wire.ReplyHeader.deserialize(frame, 0)
        if header.xid == _WATCH_XID:
            event, _ = wire.Watch.deserialize(frame, offset)
            changed = self._watches.pop(event.path, None)
            if changed is not None and not changed.done():
                changed.set_result(None)
        elif header.xid != _PING_XID:
            record, reply = self._waiting.popleft()
            if reply.done():
                return
            if header.err:
                reply.set_exception(EXCEPTIONS[header.err]())
            elif record is wire.CloseInstance:
                reply.set_result(None)
            else:
                reply.set_result(record.deserialize(frame, offset))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pinger is not None:
            self._pinger.cancel()
        gone = ConnectionGone(str(exc or "closed by the server"))
        lost = [reply for _, reply in self._waiting]
        futures: list[asyncio.Future[None]] = [self._connected, *lost, *self._watches.values()]
        for future in futures:
            if not future.done():
                future.set_exception(gone)
                future.exception()  # not everybody still listens
