"""One server's log, read while it is written."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from proof.history.follower import LogFollower
from proof.history.transactions import Transaction
from tests.proof.history.written import HEADER, Server, creation, entry, payload


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "data")


def _zxids(follower: LogFollower) -> list[int]:
    return [raw.zxid for raw in follower.appended().entries]


def test_what_was_appended_comes_once(server: Server) -> None:
    """In order, over several files; what was refused is left out when it is read as entries."""
    follower = LogFollower(server.directory)
    assert follower.read() == []
    server.log(1, 2)
    assert [entry.zxid for entry in follower.read()] == [1, 2]
    assert follower.read() == []
    server.write(entry(payload(3, -1, struct.pack("!i", -101))))
    server.log(4)
    server.restart(5, 6)
    server.restart(7)
    found = follower.read()
    assert [entry.zxid for entry in found] == [4, 5, 6, 7]
    assert all(isinstance(each, Transaction) for each in found)


def test_the_directory_may_come_later(tmp_path: Path) -> None:
    """And may be the one that the files are in."""
    follower = LogFollower(tmp_path / "data" / "version-2")
    assert follower.read() == []
    server = Server(tmp_path / "data")
    (server.logs / "snapshot.0").write_bytes(b"ZKSN")
    (server.logs / "log.zzz").write_bytes(b"no")
    server.log(1)
    assert _zxids(follower) == [1]


def test_half_an_entry_is_not_yet(server: Server) -> None:
    """Whether its end is missing, or its middle is still zeros."""
    follower = LogFollower(server.directory)
    server.log(1)
    whole = creation(2)
    for cut in (5, 12, 30, len(whole) - 1):
        server.file.write_bytes(HEADER + creation(1) + whole[:cut])
        assert _zxids(follower) == ([1] if cut == 5 else [])
        server.file.write_bytes(HEADER + creation(1) + whole[:cut] + bytes(4096))
        assert _zxids(follower) == []
    server.file.write_bytes(HEADER + creation(1) + whole + bytes(4096))
    assert _zxids(follower) == [2]


def test_a_server_that_was_killed_goes_on_in_another_file(server: Server) -> None:
    """What it left half written stays so."""
    follower = LogFollower(server.directory)
    server.log(1)
    server.write(creation(2)[:20])
    assert _zxids(follower) == [1]
    server.restart(2, 3)
    assert _zxids(follower) == [2, 3]


def test_a_file_without_its_header_is_not_yet(server: Server) -> None:
    """Nor is an empty one."""
    follower = LogFollower(server.directory)
    for start in (b"", HEADER[:7], bytes(16)):
        (server.logs / "log.1").write_bytes(start)
        assert _zxids(follower) == []
    server.restart(1)
    assert _zxids(follower) == [1]


def test_large_entries_are_read_whole(server: Server) -> None:
    """Those that are larger than what is read at once."""
    server.begin(1)
    with server.file.open("r+b") as stream:
        stream.seek(len(HEADER))
        for zxid in (1, 2, 3):
            stream.write(entry(payload(zxid, -11, bytes(150_000))))
    assert _zxids(LogFollower(server.directory)) == [1, 2, 3]


def test_a_cut_takes_back_what_followed(server: Server) -> None:
    """The rest of the file is read again."""
    follower = LogFollower(server.directory)
    server.log(1, 2, 3, 4)
    assert _zxids(follower) == [1, 2, 3, 4]
    server.cut(1, 2)
    appended = follower.appended()
    assert (appended.cut, [raw.zxid for raw in appended.entries]) == (0, [1, 2])
    server.restart(3, 4, 5)
    appended = follower.appended()
    assert (appended.cut, [raw.zxid for raw in appended.entries]) == (None, [3, 4, 5])


def test_a_cut_removes_later_files(server: Server) -> None:
    """Also when the server went on already before anybody looked."""
    follower = LogFollower(server.directory)
    server.log(1, 2)
    server.restart(3, 4)
    assert _zxids(follower) == [1, 2, 3, 4]
    server.file.unlink()
    server.restart(7)
    appended = follower.appended()
    assert (appended.cut, [raw.zxid for raw in appended.entries]) == (2, [7])


def test_a_file_that_was_written_anew_is_read_anew(server: Server) -> None:
    """Even where it is as long as before."""
    follower = LogFollower(server.directory)
    server.log(1, 2)
    assert _zxids(follower) == [1, 2]
    server.file.write_bytes(HEADER + creation(1) + creation(9) + bytes(4096))
    assert [raw.zxid for raw in follower.appended().entries] == [1, 9]


def test_purged_files_take_nothing_back(server: Server) -> None:
    """They go at the other end."""
    follower = LogFollower(server.directory)
    server.log(1, 2)
    first = server.file
    server.restart(3)
    assert _zxids(follower) == [1, 2, 3]
    first.unlink()
    server.log(4)
    appended = follower.appended()
    assert (appended.cut, [raw.zxid for raw in appended.entries]) == (None, [4])
