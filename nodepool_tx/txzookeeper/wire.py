"""What goes over the wire, beyond what kazoo's records already describe.

Records look like kazoo's: a ``type`` (ZooKeeper's opcode) and ``serialize``.
Reading an answer is a function of the frame and the offset behind its header,
so that one record may be answered in different shapes.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import attrs
from kazoo.exceptions import EXCEPTIONS, ZookeeperError
from kazoo.protocol.serialization import (
    Connect,
    int_struct,
    long_struct,
    multiheader_struct,
    stat_struct,
    write_string,
)
from kazoo.protocol.states import ZnodeStat
from kazoo.security import ACL

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
    "Exists",
    "GetChildren",
    "GetData",
    "Grant",
    "Multi",
    "Record",
    "RemoveWatches",
    "SetWatches2",
    "check_operation",
    "create_operation",
    "delete_operation",
    "packed_acl",
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
    "set_operation",
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

_pack_int: Callable[[int], bytes] = int_struct.pack
_unpack_int = int_struct.unpack_from
#: Kind, state of the session, length of the path.
_unpack_event = struct.Struct("!iii").unpack_from
_unpack_stat = stat_struct.unpack_from
_new_tuple: Callable[..., Any] = tuple.__new__

#: Makes of a frame, and where in it the answer begins, what the asker is told; a Failure
#: if the answer says no.
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


class _Look(NamedTuple):
    """What the requests to read have in common."""

    path: str
    watch: bool

    def serialize(self) -> bytes:
        name = self.path.encode()
        return _pack_int(len(name)) + name + (b"\1" if self.watch else b"\0")


class GetData(_Look):
    """Read what is in a znode; as kazoo's in bytes, and sooner written, as those below."""

    __slots__ = ()
    type = 4


class Exists(_Look):
    """Read a znode's stat, if it is there."""

    __slots__ = ()
    type = 3


class GetChildren(_Look):
    """List the names below a znode."""

    __slots__ = ()
    type = 8


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


# -- transactions, in the bytes of kazoo's records but sooner made: each job takes two

_CREATE, _DELETE, _SET, _CHECK = 1, 2, 5, 13
_END_OF_OPERATIONS = multiheader_struct.pack(-1, True, -1)
#: Before an operation, with the length of the path that comes first in each.
_operation_header = struct.Struct("!i?ii").pack


def packed_acl(acl: Sequence[ACL]) -> bytes:
    """An ACL as :func:`create_operation` takes it; a client has one for all it creates."""
    parts = [int_struct.pack(len(acl))]
    for entry in acl:
        parts += (
            int_struct.pack(entry.perms),
            write_string(entry.id.scheme),
            write_string(entry.id.id),
        )
    return b"".join(parts)


def _operation(opcode: int, path: str) -> bytes:
    name = path.encode()
    return _operation_header(opcode, False, -1, len(name)) + name


def create_operation(path: str, data: bytes, acl: bytes, flags: int) -> bytes:
    """The creation of a znode, as a part of a transaction."""
    head = _operation(_CREATE, path)
    return b"".join((head, _pack_int(len(data)), data, acl, _pack_int(flags)))


def set_operation(path: str, data: bytes, version: int) -> bytes:
    """A write, as a part of a transaction."""
    head = _operation(_SET, path)
    return b"".join((head, _pack_int(len(data)), data, _pack_int(version)))


def delete_operation(path: str, version: int) -> bytes:
    """A removal, as a part of a transaction."""
    return _operation(_DELETE, path) + _pack_int(version)


def check_operation(path: str, version: int) -> bytes:
    """A condition, as a part of a transaction."""
    return _operation(_CHECK, path) + _pack_int(version)


@attrs.define(eq=False)
class Multi:
    """Operations that happen together or not at all."""

    type = 14
    operations: list[bytes]

    def serialize(self) -> bytes:
        return b"".join((*self.operations, _END_OF_OPERATIONS))


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
    # What ``_make`` does, but for counting the fields.
    stat: ZnodeStat = _new_tuple(ZnodeStat, _unpack_stat(frame, offset))
    return stat


def read_data(frame: bytes, offset: int) -> tuple[bytes, ZnodeStat]:
    (length,) = _unpack_int(frame, offset)
    offset += 4
    # No data at all is said by a length of -1.
    end = offset + length if length > 0 else offset
    return frame[offset:end], read_stat(frame, end)


def _read_text(frame: bytes, offset: int) -> str:
    (length,) = _unpack_int(frame, offset)
    if length < 0:
        return ""
    offset += 4
    return frame[offset : offset + length].decode()


def read_path(frame: bytes, offset: int) -> str:
    return _read_text(frame, offset)


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
    kind, _, length = _unpack_event(frame, offset)
    offset += 12
    return kind, frame[offset : offset + length].decode() if length > 0 else ""


def read_multi(frame: bytes, offset: int) -> list[Any]:
    """One result per operation of a transaction; exceptions if it was refused."""
    results: list[Any] = []
    while True:
        opcode, done, _ = multiheader_struct.unpack_from(frame, offset)
        offset += multiheader_struct.size
        if done:
            return results
        if opcode == _CREATE:
            (length,) = _unpack_int(frame, offset)
            results.append(_read_text(frame, offset))
            offset += 4 + max(0, length)
        elif opcode == _SET:
            results.append(read_stat(frame, offset))
            offset += stat_struct.size
        elif opcode in (_DELETE, _CHECK):
            results.append(None)
        elif opcode == -1:
            (code,) = _unpack_int(frame, offset)
            offset += 4
            results.append(server_error(code))
        else:
            raise ValueError(f"unknown result {opcode} in a transaction's answer")


def server_error(code: int, path: str = "") -> Exception:
    """The exception for a server's error code, carrying the path it is about."""
    error = EXCEPTIONS.get(code)
    if error is None:
        error, path = ZookeeperError, f"error {code} from the server: {path}"
    result: Exception = error(path) if path else error()
    return result
