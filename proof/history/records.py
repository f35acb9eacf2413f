"""The records of ZooKeeper's transaction log, read.

Format: `org.apache.zookeeper.txn` of ZooKeeper 3.8 (jute: big-endian numbers, lengths before
text and lists).  After each record there may be a digest of the tree; it is not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from proof.history.transactions import (
    Entry,
    Kind,
    Operation,
    SessionClosed,
    SessionOpened,
    Transaction,
)

__all__ = ["Strange", "decode", "zxid_of"]

#: Session, its count of requests, zxid, time, type.
_HEADER = struct.Struct("!qiqqi")
_INT = struct.Struct("!i")
_TWO = struct.Struct("!ii")

_ERROR = -1
_OPENED, _CLOSED = -10, -11
_MULTI = 14
_CREATES = (1, 15)
_CREATES_UNOWNED = (19, 21)  # containers, and those that vanish after a time
_DELETES = (2, 20)
_SETS = (5, 16)
_CHECK = 13
#: Access lists, and what else leaves the tree as it is.
_OTHERS = (7,)


class Strange(ValueError):
    """A record of a type that nobody has heard of, or that ends too early."""


def zxid_of(payload: bytes) -> int:
    """Which entry it is, without reading the rest."""
    zxid: int = _HEADER.unpack_from(payload)[2]
    return zxid


def decode(payload: bytes) -> Entry | None:
    """What a log entry says; None if it changed nothing (a refused request).

    :raises Strange: it makes no sense.
    """
    try:
        session, _, zxid, milliseconds, kind = _HEADER.unpack_from(payload)
        if kind == _OPENED:
            (timeout,) = _INT.unpack_from(payload, _HEADER.size)
            return SessionOpened(zxid, milliseconds, session, timeout)
        if kind == _CLOSED:
            return SessionClosed(zxid, milliseconds, session)
        if kind == _ERROR:
            return None
        if kind == _MULTI:
            operations = tuple(_parts(payload, _HEADER.size))
        else:
            operations = tuple(_operation(kind, payload, _HEADER.size))
    except (struct.error, UnicodeDecodeError) as e:
        raise Strange(f"a log entry makes no sense: {e}") from e
    if not operations:
        return None
    return Transaction(zxid, milliseconds, session, operations)


def _parts(payload: bytes, place: int) -> list[Operation]:
    """The operations of a multi; none if one of them was refused, as then none was done.

    Those before the refused one are written as if they had been.
    """
    (count,) = _INT.unpack_from(payload, place)
    place += 4
    found: list[Operation] = []
    for _ in range(count):
        kind, length = _TWO.unpack_from(payload, place)
        if kind == _ERROR:
            return []
        found += _operation(kind, payload, place + 8)
        place += 8 + max(length, 0)
    return found


def _operation(kind: int, payload: bytes, place: int) -> Iterator[Operation]:
    if kind in _CREATES or kind in _CREATES_UNOWNED:
        path, place = _text(payload, place)
        data, place = _bytes(payload, place)
        place = _past_acl(payload, place)
        ephemeral = kind in _CREATES and payload[place] != 0
        yield Operation("create", path, data, None, ephemeral)
    elif kind in _DELETES:
        yield _without_data("delete", payload, place, versioned=False)
    elif kind in _SETS:
        path, place = _text(payload, place)
        data, place = _bytes(payload, place)
        (version,) = _INT.unpack_from(payload, place)
        yield Operation("set", path, data, version)
    elif kind == _CHECK:
        yield _without_data("check", payload, place, versioned=True)
    elif kind not in _OTHERS:
        raise Strange(f"a log entry is of type {kind}")


def _without_data(kind: Kind, payload: bytes, place: int, *, versioned: bool) -> Operation:
    path, place = _text(payload, place)
    if not versioned:
        return Operation(kind, path)
    (following,) = _INT.unpack_from(payload, place)
    # The server counts on even where it only looks.
    return Operation(kind, path, None, following - 1)


def _bytes(payload: bytes, place: int) -> tuple[bytes, int]:
    (length,) = _INT.unpack_from(payload, place)
    place += 4
    if length <= 0:
        return b"", place
    data = payload[place : place + length]
    if len(data) < length:
        raise Strange("a log entry ends too early")
    return data, place + length


def _text(payload: bytes, place: int) -> tuple[str, int]:
    data, place = _bytes(payload, place)
    return data.decode(), place


def _past_acl(payload: bytes, place: int) -> int:
    (count,) = _INT.unpack_from(payload, place)
    place += 4
    for _ in range(count):
        place += 4
        for _ in range(2):
            (length,) = _INT.unpack_from(payload, place)
            place += 4 + max(length, 0)
    return place
