"""What ZooKeeper writes about each transaction, read."""

from __future__ import annotations

import struct

import pytest

from proof.history.records import Strange, decode, zxid_of
from proof.history.transactions import Operation, SessionClosed, SessionOpened, Transaction
from tests.proof.history.written import created, multi, payload, put, text


def _operations(kind: int, body: bytes) -> tuple[Operation, ...]:
    entry = decode(payload(9, kind, body))
    assert isinstance(entry, Transaction)
    assert (entry.zxid, entry.milliseconds, entry.session) == (9, 1009, 5)
    return entry.operations


def test_creations() -> None:
    """Of each kind: those that return the stat, containers, and those that end with time."""
    for kind in (1, 15):
        body = created("/a", b"x", ephemeral=True)
        assert _operations(kind, body) == (Operation("create", "/a", b"x", None, True),)
    # Neither says whether it is ephemeral: what follows is a version.
    unowned = created("/a", b"x")[:-5] + struct.pack("!i", 0x01010101)
    plain = (Operation("create", "/a", b"x"),)
    assert _operations(19, unowned) == plain
    assert _operations(21, unowned + struct.pack("!q", 60_000)) == plain


def test_changes_and_removals() -> None:
    """With the version that there is after a change, and that was checked for."""
    assert _operations(5, put("/a", b"y", 3)) == (Operation("set", "/a", b"y", 3),)
    assert _operations(2, text("/a")) == (Operation("delete", "/a"),)
    assert _operations(20, text("/a")) == (Operation("delete", "/a"),)
    assert _operations(13, text("/a") + struct.pack("!i", 8)) == (
        Operation("check", "/a", None, 7),
    )


def test_several_at_once() -> None:
    """In their order."""
    body = multi((2, text("/a")), (1, created("/ä", b"")), (5, put("/b", b"z", 1)))
    assert [each.path for each in _operations(14, body)] == ["/a", "/ä", "/b"]


def test_what_was_refused_changes_nothing() -> None:
    """Alone or several at once; nor does a change of an access list."""
    error = struct.pack("!i", -101)
    assert decode(payload(1, -1, error)) is None
    assert decode(payload(1, 14, multi((-1, error), (-1, error)))) is None
    # What came before the refused one is in the log all the same.
    assert decode(payload(1, 14, multi((1, created("/a")), (-1, error), (-1, error)))) is None
    acl = struct.pack("!ii", 1, 31) + text("world") + text("anyone")
    assert decode(payload(1, 7, text("/a") + acl + struct.pack("!i", 1))) is None


def test_sessions() -> None:
    """Their beginning says how long they last without a word, their end may list paths."""
    assert decode(payload(1, -10, struct.pack("!i", 4000))) == SessionOpened(1, 1001, 5, 4000)
    ended = struct.pack("!i", 1) + text("/a")
    assert decode(payload(2, -11, ended)) == SessionClosed(2, 1002, 5)
    assert zxid_of(payload(2, -11, ended)) == 2


def test_what_makes_no_sense_is_refused() -> None:
    """A type that there is not, or a record that ends too early."""
    with pytest.raises(Strange, match="type 99"):
        decode(payload(1, 99, b""))
    with pytest.raises(Strange):
        decode(payload(1, 1, created("/a"))[:40])
    with pytest.raises(Strange):
        decode(b"")
