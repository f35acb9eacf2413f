"""What a ZooKeeper server has done, and for which session, as the server itself has noted it.

Requests and replies of a session are the server's own counters (its four letter word `cons`).
Writes are read from its transaction log, where every one is, also those that it refused: each
is an entry with the session that asked for it.  What a session asked for and is not there was a
read, or one of the few pings.

The log's form: a header of 16 bytes, then entries of a checksum (8 bytes), a length (4), the
transaction, and the byte 0x42; zeros up to the file's end.
"""

from __future__ import annotations

import re
import socket
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import attrs

from benchmarks.daemons import Endpoint
from tests.servers.zookeeper import ZookeeperServer

_FILE_HEADER = 16
_ENTRY = struct.Struct("!qi")
_HEADER = struct.Struct("!qiqqi")
_PART = struct.Struct("!ii")
_INT = struct.Struct("!i")
_REFUSED = -1
_MULTI = 14
_KINDS = {1: "create", 2: "delete", 5: "set", 13: "check", 15: "create"}
_CONNECTION = re.compile(r"recved=(\d+),sent=(\d+),sid=0x([0-9a-f]+)")
_REQUEST = re.compile(
    r"Processing request:: sessionid:0x([0-9a-f]+) type:(\w+) .* reqpath:(.*)$", re.MULTILINE
)
_NAMES = (
    (re.compile(r"[0-9a-f]{32}__lock__\d{10}"), "<contender>"),
    (re.compile(r"\d{3}-\d{10}"), "<request>"),
    (re.compile(r"\d{10}"), "<node>"),
)


@attrs.frozen
class Entry:
    """One transaction.

    :ivar operations: kind and path of each of its parts; empty if it was refused.
    :ivar size: bytes in the log.
    """

    zxid: int
    session: int
    refused: bool
    operations: tuple[tuple[str, str], ...]
    size: int


@attrs.frozen
class Mark:
    """A moment: the last transaction, each session's requests and replies, the log's length."""

    zxid: int
    packets: dict[int, tuple[int, int]]
    logged: int


@attrs.frozen
class Work:
    """What some sessions had the server do.

    :ivar requests: of any kind, pings with them.
    :ivar notifications: watch events sent.
    :ivar writes: transactions, also refused ones; each is one entry in the log.
    :ivar operations: parts of those that were not refused.
    :ivar size: bytes written to the log for it.
    """

    requests: int
    notifications: int
    writes: int
    refused: int
    operations: int
    size: int

    @property
    def reads(self) -> int:
        """Requests that changed nothing and could not have."""
        return self.requests - self.writes

    def numbers(self, who: str, jobs: int) -> dict[str, float]:
        """The same per job, each named with who it was."""
        found = {
            "reads": self.reads,
            "writes": self.writes,
            "refused writes": self.refused,
            "written parts": self.operations,
            "log bytes": self.size,
            "notifications": self.notifications,
        }
        return {f"{who} {name} per job".strip(): count / jobs for name, count in found.items()}


def mark(endpoint: Endpoint) -> Mark:
    """Now."""
    server = endpoint.server
    (zxid,) = re.findall(r"^Zxid: 0x([0-9a-f]+)$", server.ask("srvr"), re.MULTILINE)
    packets = {
        int(session, 16): (int(received), int(sent))
        for received, sent, session in _CONNECTION.findall(_connections(endpoint))
    }
    return Mark(int(zxid, 16), packets, (server.directory / "zookeeper.log").stat().st_size)


def _connections(endpoint: Endpoint) -> str:
    """What `cons` says of the TLS port's connections; the plain port says it only of its own."""
    with (
        socket.create_connection((endpoint.host, endpoint.port), 5) as plain,
        endpoint.context().wrap_socket(plain, server_hostname=endpoint.host) as connection,
    ):
        connection.sendall(b"cons")
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def work(server: ZookeeperServer, first: Mark, last: Mark, sessions: Collection[int]) -> Work:
    """What these sessions had it do between two moments.  They all were there at the second."""
    requests = replies = 0
    for session in sessions:
        before, after = first.packets.get(session, (0, 0)), last.packets[session]
        requests += after[0] - before[0]
        replies += after[1] - before[1]
    entries = [entry for entry in _between(server, first, last) if entry.session in sessions]
    return Work(
        requests=requests,
        notifications=replies - requests,
        writes=len(entries),
        refused=sum(entry.refused for entry in entries),
        operations=sum(len(entry.operations) for entry in entries),
        size=sum(entry.size for entry in entries),
    )


def kinds(
    server: ZookeeperServer, first: Mark, last: Mark, sessions: Collection[int]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """The same one by one: requests by kind, with the path of reads; writes; parts of writes.

    The server must log its requests (:func:`benchmarks.daemons.zookeeper`).  A write is named
    by its parts, each once; ids are replaced by `<node>`, `<request>` and `<contender>`.
    """
    requests: Counter[str] = Counter()
    with (server.directory / "zookeeper.log").open("rb") as log:
        log.seek(first.logged)
        text = log.read(last.logged - first.logged).decode(errors="replace")
    for session, kind, path in _REQUEST.findall(text):
        if int(session, 16) in sessions:
            requests[f"{kind} {nameless(path)}" if path != "n/a" else kind] += 1
    writes: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for entry in _between(server, first, last):
        if entry.session in sessions:
            named = [f"{kind} {nameless(path)}" for kind, path in entry.operations]
            # A batch is named once, whatever its size.
            writes["refused" if entry.refused else ", ".join(dict.fromkeys(named))] += 1
            parts.update(named)
    return requests, writes, parts


def nameless(path: str) -> str:
    """A path with its ids replaced by what they are ids of."""
    for pattern, name in _NAMES:
        path = pattern.sub(name, path)
    return path


def _between(server: ZookeeperServer, first: Mark, last: Mark) -> Iterator[Entry]:
    folder = server.directory / "data" / "version-2"
    logs = sorted((int(file.name[4:], 16), file) for file in folder.glob("log.*"))
    for index, (begins, file) in enumerate(logs):
        ended = index + 1 < len(logs) and logs[index + 1][0] <= first.zxid + 1
        if not ended and begins <= last.zxid:
            for entry in entries(file):
                if first.zxid < entry.zxid <= last.zxid:
                    yield entry


def entries(file: Path) -> Iterator[Entry]:
    """The transactions in a log file; those that open and close sessions have no parts."""
    data = file.read_bytes()
    place = _FILE_HEADER
    while place + _ENTRY.size <= len(data):
        _, length = _ENTRY.unpack_from(data, place)
        place += _ENTRY.size
        if not length or data[place + length : place + length + 1] != b"B":
            return
        session, _, zxid, _, kind = _HEADER.unpack_from(data, place)
        parts = tuple(_parts(data, place + _HEADER.size, kind))
        refused = kind == _REFUSED or (kind == _MULTI and not parts)
        # Session ids are unsigned where the server writes them as text.
        yield Entry(zxid, session & (1 << 64) - 1, refused, parts, _ENTRY.size + length + 1)
        place += length + 1


def _parts(data: bytes, place: int, kind: int) -> list[tuple[str, str]]:
    """Kind and path of a transaction's parts; none where a part was refused, and so all were."""
    if kind in _KINDS:
        (length,) = _INT.unpack_from(data, place)
        return [(_KINDS[kind], data[place + 4 : place + 4 + length].decode())]
    if kind != _MULTI:
        return []
    found = []
    (count,) = _INT.unpack_from(data, place)
    place += _INT.size
    for _ in range(count):
        part, length = _PART.unpack_from(data, place)
        if part == _REFUSED:
            return []
        found += _parts(data, place + _PART.size, part)
        place += _PART.size + length
    return found
