"""What goes over the wire, beyond what kazoo's records already describe.

Records look like kazoo's: a ``type`` (ZooKeeper's opcode) and ``serialize``.
Reading an answer is a function of the frame and the offset behind its header,
so that one record may be answered in different shapes.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import attrs
from kazoo.exceptions import EXCEPTIONS, ZookeeperError
from kazoo.protocol.serialization import (
    Connect,
    Create,
    Delete,
    SetData,
    int_int_struct,
    int_struct,
    long_struct,
    multiheader_struct,
    read_buffer,
    read_string,
    stat_struct,
    write_string,
)
from kazoo.protocol.states import ZnodeStat

__all__ = [
    "AUTH_XID",
    "EVENT_XID",
    "MAX_REQUEST",
    "NO_PASSWORD",
    "PING_FRAME",
    "PING_XID",
    "AddWatch",
    "AddWatchMode",
    "Decoder",
    "Grant",
    "Record",
    "RemoveWatches",
    "SetWatches2",
    "read_children",
    "read_data",
    "read_event",
    "read_grant",
    "read_multi",
    "read_nothing",
    "read_path",
    "read_stat",
    "request_frame",
    "server_error",
    "write_greeting",
]

EVENT_XID = -1
PING_XID = -2
AUTH_XID = -4

#: The password a client presents when it asks for a new session.
NO_PASSWORD = b"\0" * 16

#: ``jute.maxbuffer`` of a server that was not told otherwise, in bytes.  A
#: server drops the connection of whoever sends more.
MAX_REQUEST = 0xFFFFF

_request_header = struct.Struct("!iii")

PING_FRAME = _request_header.pack(8, PING_XID, 11)

Decoder = Callable[[bytes, int], Any]


class Record(Protocol):
    """A request, as kazoo's namedtuples and the classes below write it."""

    @property
    def type(self) -> int: ...

    def serialize(self) -> bytes | bytearray: ...


def request_frame(xid: int, opcode: int, body: bytes | bytearray) -> bytes:
    """One request, ready to be sent."""
    return _request_header.pack(len(body) + 8, xid, opcode) + body


# -- records


class AddWatchMode(enum.IntEnum):
    """What kind of persistent watch the server keeps."""

    PERSISTENT = 0
    RECURSIVE = 1


@attrs.frozen
class AddWatch:
    """Set a persistent watch; replaces one of the other mode on the same path."""

    type = 106
    path: str
    mode: AddWatchMode

    def serialize(self) -> bytes:
        return bytes(write_string(self.path) + int_struct.pack(self.mode))


@attrs.frozen
class RemoveWatches:
    """Take every watch of this connection off one path, whatever its kind."""

    type = 18
    path: str

    def serialize(self) -> bytes:
        return bytes(write_string(self.path) + int_struct.pack(3))


@attrs.frozen
class SetWatches2:
    """Set watches again on a new connection.

    The server compares the one-shot ones with ``zxid``, the last change this
    client has heard of, and fires those that missed something at once.
    """

    type = 105
    zxid: int
    data: Sequence[str] = ()
    exist: Sequence[str] = ()
    child: Sequence[str] = ()
    persistent: Sequence[str] = ()
    recursive: Sequence[str] = ()

    def serialize(self) -> bytes:
        parts = [long_struct.pack(self.zxid)]
        for paths in (self.data, self.exist, self.child, self.persistent, self.recursive):
            parts.append(int_struct.pack(len(paths)))
            parts.extend(map(write_string, paths))
        return b"".join(parts)


# -- the handshake


@attrs.frozen
class Grant:
    """The session a server gave, or gave back, to us.

    :ivar timeout: negotiated, in seconds; 0 says that the session is expired.
    """

    session_id: int
    password: bytes
    timeout: float


def write_greeting(session_id: int, password: bytes, zxid: int, timeout: float) -> bytes:
    """The first frame of a connection: ask for a session, new or known."""
    body = Connect(0, zxid, int(timeout * 1000), session_id, password, False).serialize()
    return bytes(int_struct.pack(len(body)) + body)


def read_grant(frame: bytes) -> Grant:
    """The first frame of the answer."""
    reply, _ = Connect.deserialize(frame, 0)
    return Grant(reply.session_id, reply.passwd or b"", max(0, reply.time_out) / 1000)


# -- answers


def read_nothing(frame: bytes, offset: int) -> None:
    """An answer of which only the success matters."""


def read_stat(frame: bytes, offset: int) -> ZnodeStat:
    return ZnodeStat._make(stat_struct.unpack_from(frame, offset))


def read_data(frame: bytes, offset: int) -> tuple[bytes, ZnodeStat]:
    data, offset = read_buffer(frame, offset)
    return data or b"", ZnodeStat._make(stat_struct.unpack_from(frame, offset))


def read_path(frame: bytes, offset: int) -> str:
    path: str = read_string(frame, offset)[0]
    return path


def read_children(frame: bytes, offset: int) -> list[str]:
    """A list of names; in one loop because the lists get long."""
    unpack = int_struct.unpack_from
    (count,) = unpack(frame, offset)
    offset += 4
    names = []
    for _ in range(count):
        (length,) = unpack(frame, offset)
        if length < 0:
            raise ValueError("a child without a name")
        offset += 4
        end = offset + length
        names.append(frame[offset:end].decode())
        offset = end
    if offset > len(frame):
        raise ValueError("a list of children ends behind its frame")
    return names


def read_event(frame: bytes, offset: int) -> tuple[int, str]:
    """ZooKeeper's number of the event, and its path."""
    kind, _ = int_int_struct.unpack_from(frame, offset)
    return kind, read_string(frame, offset + 8)[0] or ""


def _multi_results(frame: bytes, offset: int) -> Iterator[Any]:
    while True:
        opcode, done, _ = multiheader_struct.unpack_from(frame, offset)
        offset += multiheader_struct.size
        if done:
            return
        if opcode == Create.type:
            path, offset = read_string(frame, offset)
            yield path
        elif opcode == SetData.type:
            yield read_stat(frame, offset)
            offset += stat_struct.size
        elif opcode in (Delete.type, 13):
            yield None
        elif opcode == -1:
            (code,) = int_struct.unpack_from(frame, offset)
            offset += 4
            yield server_error(code)
        else:
            raise ValueError(f"unknown result {opcode} in a transaction's answer")


def read_multi(frame: bytes, offset: int) -> list[Any]:
    """One result per operation of a transaction; exceptions if it was refused."""
    return list(_multi_results(frame, offset))


def server_error(code: int, path: str = "") -> Exception:
    """The exception for a server's error code, carrying the path it is about."""
    error = EXCEPTIONS.get(code)
    if error is None:
        error, path = ZookeeperError, f"error {code} from the server: {path}"
    result: Exception = error(path) if path else error()
    return result
