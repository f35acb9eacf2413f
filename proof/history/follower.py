"""ZooKeeper's transaction logs of one server, followed while they are written.

Design note: what a log does to whoever reads it
------------------------------------------------
Files are made larger before they are filled, so zeros are an end.  An entry counts
when its checksum is right: one that is half written is "not yet".  A server that was
killed leaves half an entry for ever and goes on in another file.  One that comes back
to an ensemble may have to cut what nobody else has: the file shrinks, later files go.
Old files are purged from the other end, which takes nothing back.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from io import RawIOBase
from itertools import islice
from pathlib import Path

import attrs

from proof.history.records import decode, zxid_of
from proof.history.transactions import Entry

__all__ = ["Appended", "LogFollower", "Raw"]

_MAGIC = b"ZKLG"
_FILE_HEADER = 16
#: Checksum (of which the upper half is empty), length.
_ENTRY = struct.Struct("!qi")
_END = b"\x42"
#: No entry is larger: ZooKeeper takes a MiB per request, and writes not much more than that.
_LARGEST = 1 << 26
_CHUNK = 1 << 16


@attrs.frozen
class Raw:
    """An entry as it was written, its checksum found right."""

    zxid: int
    payload: bytes


@attrs.frozen
class Appended:
    """What has happened to a log.

    :ivar cut: of what was read before, everything after this zxid is taken back; None: nothing.
    :ivar entries: what came after that.
    """

    cut: int | None
    entries: tuple[Raw, ...]


@attrs.define
class _File:
    """How far one file was read.

    :ivar first: the zxid in its name.
    :ivar place: of what follows the last good entry.
    :ivar last: zxid, place and checksum of that entry.
    :ivar done: nothing will be appended any more.
    """

    path: Path
    first: int
    inode: int
    place: int = 0
    last: tuple[int, int, int] | None = None
    done: bool = False


class LogFollower:
    """The transaction log of one server.

    :param directory: its data directory, or ``version-2`` in it; it may come into being later.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = Path(directory)
        self._files: list[_File] = []

    def read(self) -> list[Entry]:
        """What was appended since the last call, whether it was committed or not.

        After a cut, entries of before may come again, and others of the same zxid.
        """
        entries = (decode(raw.payload) for raw in self.appended().entries)
        return [entry for entry in entries if entry is not None]

    def appended(self, at_most: int | None = None) -> Appended:
        """As :meth:`read`, with what was refused, and with what was taken back.

        :param at_most: so many entries; the rest comes next time.
        """
        present = self._present()
        cut = self._cut_by(present)
        known = {file.first for file in self._files}
        new = [_File(path, first, inode) for first, path, inode, _ in present if first not in known]
        self._files += new
        entries: list[Raw] = []
        # A server goes on in a new file only when it is done with the one before.
        for place, file in enumerate(self._files):
            if file.done:
                continue
            left = None if at_most is None else at_most - len(entries)
            entries += islice(_read(file), left)
            if left is not None and len(entries) == at_most:
                break
            file.done = place + 1 < len(self._files)
        return Appended(cut, tuple(entries))

    def _present(self) -> list[tuple[int, Path, int, int]]:
        """First zxid, path, inode and size of each file there is, in order."""
        found: list[tuple[int, Path, int, int]] = []
        for directory in (self._directory, self._directory / "version-2"):
            try:
                with os.scandir(directory) as listing:
                    for each in listing:
                        name, _, number = each.name.partition(".")
                        if name == "log" and _is_hex(number):
                            stat = os.stat(each.path)
                            found.append(
                                (int(number, 16), Path(each.path), stat.st_ino, stat.st_size)
                            )
            except FileNotFoundError:
                # A server makes, cuts and purges files as it likes: next time.
                continue
        return sorted(found)

    def _cut_by(self, present: list[tuple[int, Path, int, int]]) -> int | None:
        """Forget what is gone; the last zxid that is left if it was at the end of the log.

        A file that was cut is read again from its beginning.
        """
        there = {first: (inode, size) for first, _, inode, size in present}
        oldest = present[0][0] if present else None
        kept: list[_File] = []
        for file in self._files:
            if file.first not in there and (oldest is None or file.first < oldest):
                continue  # purged
            if there.get(file.first, (0, 0))[0] == file.inode and _still_there(
                file, there[file.first][1]
            ):
                kept.append(file)
                continue
            # What follows is found again as if it were new.
            self._files = kept
            return max((other.last[0] for other in kept if other.last), default=0)
        self._files = kept
        return None


def _is_hex(text: str) -> bool:
    return bool(text) and all(digit in "0123456789abcdef" for digit in text)


def _still_there(file: _File, size: int) -> bool:
    """What was read of a file is in it, as far as its last entry can tell."""
    if size < file.place:
        return False
    if file.last is None:
        return True
    _, place, checksum = file.last
    try:
        with file.path.open("rb", buffering=0) as stream:
            stream.seek(place)
            head = stream.read(_ENTRY.size)
    except FileNotFoundError:
        return False
    return len(head) == _ENTRY.size and bool(_ENTRY.unpack(head)[0] == checksum)


def _read(file: _File) -> Iterator[Raw]:
    """The good entries after those that were read, up to what is not finished."""
    try:
        stream = file.path.open("rb", buffering=0)
    except FileNotFoundError:
        return
    with stream:
        if file.place == 0:
            header = stream.read(_FILE_HEADER)
            if len(header) < _FILE_HEADER or not header.startswith(_MAGIC):
                return
            file.place = _FILE_HEADER
        stream.seek(file.place)
        for place, checksum, payload in _entries(stream, file.place):
            raw = Raw(zxid_of(payload), payload)
            file.last = (raw.zxid, place, checksum)
            file.place = place + _ENTRY.size + len(payload) + 1
            yield raw


def _entries(stream: RawIOBase, place: int) -> Iterator[tuple[int, int, bytes]]:
    """Place, checksum and content of each entry from here on."""
    buffer = b""
    start = 0

    def has(count: int) -> bool:
        nonlocal buffer, start
        while len(buffer) - start < count:
            more = stream.read(max(_CHUNK, count - (len(buffer) - start)))
            if not more:
                return False
            buffer, start = buffer[start:] + more, 0
        return True

    while has(_ENTRY.size):
        checksum, length = _ENTRY.unpack_from(buffer, start)
        if not 0 < length <= _LARGEST or not has(_ENTRY.size + length + 1):
            return
        begin = start + _ENTRY.size
        payload = buffer[begin : begin + length]
        end = buffer[begin + length : begin + length + 1]
        if end != _END or zlib.adler32(payload) != checksum:
            return
        yield place, checksum, payload
        start = begin + length + 1
        place += _ENTRY.size + length + 1
