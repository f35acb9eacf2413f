"""What an ensemble has agreed on, from the logs of its three servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from proof.history.logs import CommittedLog, follows
from tests.proof.history.written import Server

TWO = 1 << 32
Three = tuple[Server, Server, Server]


@pytest.fixture
def servers(tmp_path: Path) -> Three:
    return (Server(tmp_path / "a"), Server(tmp_path / "b"), Server(tmp_path / "c"))


def _log(servers: Three, patience: float = 30.0) -> CommittedLog:
    return CommittedLog([each.directory for each in servers], patience)


def _zxids(log: CommittedLog) -> list[int]:
    return [raw.zxid for raw in log.read_raw()]


def test_the_entries_of_the_only_server_are_committed(servers: Three) -> None:
    """At once."""
    log = CommittedLog([servers[0].directory])
    servers[0].log(1, 2)
    assert [entry.zxid for entry in log.read()] == [1, 2]
    assert log.read() == []


def test_a_majority_commits(servers: Three) -> None:
    """One server does not, and the third changes nothing."""
    a, b, c = servers
    log = _log(servers)
    a.log(1, 2, 3)
    assert _zxids(log) == []
    b.log(1, 2)
    assert _zxids(log) == [1, 2]
    c.log(1, 2, 3)
    assert _zxids(log) == [3]
    b.log(3)
    assert _zxids(log) == []
    assert not log.missing


def test_what_a_dead_leader_wrote_alone_never_happened(servers: Three) -> None:
    """It cuts it off when it comes back, and writes what the others have."""
    a, b, c = servers
    log = _log(servers, patience=0.0)
    for each in servers:
        each.log(1, 2)
    a.log(3)
    assert _zxids(log) == [1, 2]
    for each in (b, c):
        each.restart(TWO + 1)
    assert _zxids(log) == [TWO + 1]
    a.cut(1, 2)
    assert _zxids(log) == []
    a.restart(TWO + 1, TWO + 2)
    b.log(TWO + 2)
    assert _zxids(log) == [TWO + 2]
    assert not log.missing


def test_an_entry_is_decided_even_if_all_is_read_at_once(servers: Three) -> None:
    """As it is where the logs of the past are read."""
    a, b, c = servers
    for each in servers:
        each.log(1, 2)
    a.log(3)
    for each in (b, c):
        each.restart(TWO + 1)
    log = _log(servers, patience=0.0)
    assert _zxids(log) == [1, 2, TWO + 1]
    assert not log.missing


def test_what_only_the_next_leader_has_is_waited_for(servers: Three) -> None:
    """The others were sent the tree with it, and do not have it in their logs."""
    a, b, c = servers
    log = _log(servers)
    for each in servers:
        each.log(1, 2)
    a.log(3)
    assert _zxids(log) == [1, 2]
    for each in (b, c):
        each.restart(TWO + 1)
    assert _zxids(log) == []
    a.log(TWO + 1)
    assert _zxids(log) == [3, TWO + 1]


def test_what_was_left_behind_before_a_gap_never_happened(servers: Three) -> None:
    """A server that was sent the tree keeps in its log what it alone had written before."""
    a, b, c = servers
    log = _log(servers)
    for each in servers:
        each.log(1, 2)
    a.log(3)
    for each in (b, c):
        each.restart(TWO + 1, TWO + 2, TWO + 3)
    a.restart(TWO + 3)
    assert _zxids(log) == [1, 2, TWO + 1, TWO + 2, TWO + 3]


def test_a_hole_is_waited_for_and_then_told(servers: Three) -> None:
    """Where two logs that go on lack an entry, the third may have it."""
    a, b, c = servers
    patient, hasty = _log(servers), _log(servers, patience=0.0)
    for each in (a, b):
        each.log(1, 2)
    assert _zxids(patient) == [1, 2] == _zxids(hasty)
    for each in (a, b):
        each.log(4)
    assert _zxids(patient) == []
    assert _zxids(hasty) == [4]
    assert hasty.missing == [(2, 4)]
    c.log(1, 2, 3, 4)
    assert _zxids(patient) == [3, 4]
    assert not patient.missing


def test_which_entries_follow_each_other() -> None:
    """Counted by one leader, or the first of the next."""
    assert follows(7, 8)
    assert follows(7, TWO + 1)
    assert not follows(7, 9)
    assert not follows(7, TWO + 2)
    assert not follows(TWO + 1, 1)


def test_logs_that_are_read_in_portions_are_read_as_if_at_once(
    servers: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the portions of one server are far behind those of the others."""
    monkeypatch.setattr("proof.history.logs._AT_ONCE", 3)
    a, b, c = servers
    a.log(*range(1, 13))
    a.restart(TWO + 1, TWO + 2)
    for each in (b, c):
        each.log(11)
        each.restart(TWO + 1, TWO + 2)
    log = _log(servers, patience=0.0)
    assert [entry.zxid for entry in log.read()] == [*range(1, 13), TWO + 1, TWO + 2]
    assert not log.missing
