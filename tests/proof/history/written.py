"""Transaction logs as ZooKeeper writes them, made by hand."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

HEADER = b"ZKLG" + struct.pack("!iq", 2, 0)
#: What follows each record: a version and a digest of the tree.
_DIGEST = struct.pack("!iq", 2, 77)
_ACL = struct.pack("!i", 1) + struct.pack("!i", 31)


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!i", len(data)) + data


def payload(zxid: int, kind: int, body: bytes, session: int = 5) -> bytes:
    return struct.pack("!qiqqi", session, 1, zxid, 1000 + zxid, kind) + body + _DIGEST


def created(path: str, data: bytes = b"", *, ephemeral: bool = False) -> bytes:
    acl = _ACL + text("world") + text("anyone")
    return text(path) + text(data) + acl + struct.pack("!?i", ephemeral, 1)


def put(path: str, data: bytes, version: int) -> bytes:
    return text(path) + text(data) + struct.pack("!i", version)


def multi(*parts: tuple[int, bytes]) -> bytes:
    told = [struct.pack("!i", kind) + text(body) for kind, body in parts]
    return struct.pack("!i", len(parts)) + b"".join(told)


def entry(content: bytes) -> bytes:
    return struct.pack("!qi", zlib.adler32(content), len(content)) + content + b"\x42"


def creation(zxid: int) -> bytes:
    """An entry that creates `/<zxid>`."""
    return entry(payload(zxid, 1, created(f"/{zxid:x}")))


class Server:
    """The data directory of a server, and the file that it writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "version-2"
        self.logs.mkdir(parents=True)
        self.file = self.logs / "none"
        self._end = 0

    def begin(self, zxid: int) -> None:
        """Go on in a new file."""
        self.file = self.logs / f"log.{zxid:x}"
        self.file.write_bytes(HEADER + bytes(4096))
        self._end = len(HEADER)

    def write(self, data: bytes) -> None:
        with self.file.open("r+b") as stream:
            stream.seek(self._end)
            stream.write(data)
        self._end += len(data)

    def log(self, *zxids: int) -> None:
        """Write entries that each create a znode."""
        if not self.file.exists():
            self.begin(zxids[0])
        for zxid in zxids:
            self.write(creation(zxid))

    def restart(self, *zxids: int) -> None:
        self.begin(zxids[0])
        self.log(*zxids)

    def cut(self, *kept: int) -> None:
        """Cut the present file so that these entries are left of it."""
        self.file.write_bytes(HEADER + b"".join(map(creation, kept)))
