"""What goes over the wire, compared with kazoo's records."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.exceptions import BadVersionError, RolledBackError
from kazoo.protocol import serialization
from kazoo.protocol.serialization import CheckVersion, Create, Delete, SetData, Transaction
from kazoo.protocol.states import ZnodeStat
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, make_digest_acl
from twisted.internet.defer import Deferred

from nodepool_tx.txzookeeper import wire
from nodepool_tx.txzookeeper.transaction import MultiTransaction
from nodepool_tx.txzookeeper.wire import (
    Multi,
    Record,
    check_operation,
    create_operation,
    delete_operation,
    packed_acl,
    read_data,
    read_event,
    read_multi,
    read_path,
    read_stat,
    set_operation,
)

ACLS = st.lists(
    st.sampled_from(
        [
            *OPEN_ACL_UNSAFE,
            *CREATOR_ALL_ACL,
            *READ_ACL_UNSAFE,
            make_digest_acl("wärter", "geheim", all=True),
        ]
    ),
    max_size=3,
)
PATHS = st.text(max_size=30).map("/{}".format)
DATA = st.binary(max_size=300) | st.just(b"\0" * 70_000)
INTEGERS = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-1, 0])

#: One operation, ours and kazoo's.
OPERATIONS = st.one_of(
    st.builds(
        lambda path, data, acl, flags: (
            create_operation(path, data, packed_acl(acl), flags),
            Create(path, data, acl, flags),
        ),
        PATHS,
        DATA,
        ACLS,
        st.integers(0, 3),
    ),
    st.builds(
        lambda path, data, version: (
            set_operation(path, data, version),
            SetData(path, data, version),
        ),
        PATHS,
        DATA,
        INTEGERS,
    ),
    st.builds(
        lambda path, version: (delete_operation(path, version), Delete(path, version)),
        PATHS,
        INTEGERS,
    ),
    st.builds(
        lambda path, version: (check_operation(path, version), CheckVersion(path, version)),
        PATHS,
        INTEGERS,
    ),
)


@given(st.lists(OPERATIONS, max_size=6))
def test_transactions_are_kazoos_to_the_byte(operations: list[tuple[bytes, Any]]) -> None:
    """Whatever is in them, in whatever script, with or without data."""
    ours = Multi([own for own, _ in operations])
    theirs = Transaction(tuple(record for _, record in operations))
    assert ours.type == theirs.type
    assert ours.serialize() == bytes(theirs.serialize())


@given(PATHS, st.booleans())
@pytest.mark.parametrize("name", ["GetData", "Exists", "GetChildren"])
def test_requests_to_read_are_kazoos_to_the_byte(name: str, path: str, watch: bool) -> None:
    """With and without a watch; they have the same name, which errors mention."""
    ours, theirs = getattr(wire, name)(path, watch), getattr(serialization, name)(path, watch)
    assert (type(ours).__name__, ours.type, ours.path) == (name, theirs.type, path)
    assert ours.serialize() == bytes(theirs.serialize())


@pytest.mark.parametrize("version", [2**31, -(2**31) - 1])
@pytest.mark.parametrize("operation", [delete_operation, check_operation])
def test_numbers_that_do_not_fit(operation: Callable[[str, int], bytes], version: int) -> None:
    """There is no way to say a version of more than 32 bits."""
    with pytest.raises(struct.error):
        operation("/a", version)


def test_what_a_transaction_asks() -> None:
    """Paths have the chroot before them, znodes the client's ACL, and flags their numbers."""
    asked: list[Record] = []

    def ask(record: Record, decode: object) -> Deferred[Any]:
        asked.append(record)
        return Deferred()

    transaction = MultiTransaction(
        ask, lambda path, sequence: "/chroot" + path, str, packed_acl(CREATOR_ALL_ACL)
    )
    transaction.create("/a", b"1", ephemeral=True)
    transaction.create("/b-", sequence=True)
    transaction.set("/c", b"2", 5)
    transaction.delete("/d")
    transaction.check("/e", 7)
    transaction.commit()
    expected = Transaction(
        (
            Create("/chroot/a", b"1", CREATOR_ALL_ACL, 1),
            Create("/chroot/b-", b"", CREATOR_ALL_ACL, 2),
            SetData("/chroot/c", b"2", 5),
            Delete("/chroot/d", -1),
            CheckVersion("/chroot/e", 7),
        )
    )
    assert [(each.type, each.serialize()) for each in asked] == [(14, bytes(expected.serialize()))]


STAT = (1, 2**60, 3, 4, 5, -6, 7, 8, 9, 10, 11)
STAT_BYTES = struct.pack("!qqqqiiiqiiq", *STAT)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("!i", len(data)) + data


def test_stats_and_data() -> None:
    """Fields have their names; no data is no bytes; what follows is not looked at."""
    stat = read_stat(b"head" + STAT_BYTES + b"tail", 4)
    assert type(stat) is ZnodeStat
    assert stat == ZnodeStat(*STAT)
    assert (stat.mzxid, stat.version, stat.numChildren) == (2**60, 5, 10)
    for length, data in ((-1, b""), (0, b""), (3, b"abc")):
        answer = struct.pack("!i", length) + data + STAT_BYTES
        assert read_data(answer, 0) == (data, stat)


@pytest.mark.parametrize("length", range(len(STAT_BYTES)))
def test_answers_that_end_too_soon(length: int) -> None:
    """A stat that is not all there is none."""
    with pytest.raises(struct.error):
        read_stat(STAT_BYTES[:length], 0)
    with pytest.raises(struct.error):
        read_data(text("data") + STAT_BYTES[:length], 0)


def test_paths_and_events() -> None:
    """Paths may be in any script; one that is missing is empty."""
    assert read_path(text("/ä"), 0) == "/ä"
    assert read_event(struct.pack("!ii", 3, 3) + text("/ä/b"), 0) == (3, "/ä/b")
    assert read_event(struct.pack("!iii", -1, 0, -1), 0) == (-1, "")


def header(opcode: int, done: bool = False) -> bytes:
    return struct.pack("!i?i", opcode, done, -1)


def test_results_of_transactions() -> None:
    """Each operation has its result, whatever the one before was long."""
    end = header(-1, True)
    answer = header(1) + text("/é") + header(5) + STAT_BYTES + header(13) + header(2) + end
    assert read_multi(b"xx" + answer, 2) == ["/é", ZnodeStat(*STAT), None, None]
    refused = header(-1) + struct.pack("!i", 0) + header(-1) + struct.pack("!i", -103) + end
    assert [type(each) for each in read_multi(refused, 0)] == [RolledBackError, BadVersionError]
    with pytest.raises(ValueError, match="unknown result 99"):
        read_multi(header(99) + end, 0)
    with pytest.raises(struct.error):
        read_multi(answer[: -len(end)], 0)
