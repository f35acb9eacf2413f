"""Who guesses passwords is slowed down, and stopped for a while."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from nodepool_tx.auth import attempts
from nodepool_tx.auth.attempts import Attempts, source_of
from nodepool_tx.auth.interface import LockedOut


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(1_700_000_000)
    return clock


def test_each_failure_is_held_back_longer(clock: Clock) -> None:
    """Twice as long as the one before, up to half a minute."""
    tried = Attempts(clock)
    delays = [tried.begin("alice", "10.0.0.1").failed() for _ in range(9)]
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_the_tenth_failure_locks(clock: Clock) -> None:
    """For ten minutes, the name from everywhere and the address for everybody."""
    tried = Attempts(clock)
    for _ in range(10):
        tried.begin("alice", "10.0.0.1").failed()
    for user, address in (("alice", "10.0.0.2"), ("bob", "10.0.0.1"), (" ALICE ", "10.0.0.3")):
        with pytest.raises(LockedOut) as caught:
            tried.begin(user, address)
        assert caught.value.retry_after == pytest.approx(600)
    tried.begin("bob", "10.0.0.2").succeeded()
    clock.advance(601)
    assert tried.begin("alice", "10.0.0.1").failed() == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_behind_a_proxy(clock: Clock, address: str) -> None:
    """Whoever fails there locks no address that everybody has, but the names all the same."""
    tried = Attempts(clock)
    for _ in range(10):
        tried.begin("alice", address).failed()
    with pytest.raises(LockedOut):
        tried.begin("alice", address)
    under_way = [tried.begin(f"user{number}", address) for number in range(20)]
    assert under_way[0].failed() == 30
    tried.begin("bob", address).succeeded()


def test_failures_are_forgotten(clock: Clock) -> None:
    """After ten minutes, and those of a name when its owner comes in."""
    tried = Attempts(clock)
    for _ in range(5):
        tried.begin("alice", "10.0.0.1").failed()
    clock.advance(601)
    assert tried.begin("alice", "10.0.0.1").failed() == 1
    tried.begin("alice", "10.0.0.2").succeeded()
    assert tried.begin("alice", "10.0.0.3").failed() == 1
    assert tried.begin("bob", "10.0.0.1").failed() == 2


def test_many_at_once_gain_nothing(clock: Clock) -> None:
    """What is under way counts as if it had failed."""
    tried = Attempts(clock)
    under_way = [tried.begin("alice", "10.0.0.1") for _ in range(10)]
    with pytest.raises(LockedOut):
        tried.begin("alice", "10.0.0.2")
    for attempt in under_way[:5]:
        attempt.abandoned()
    tried.begin("alice", "10.0.0.2").abandoned()
    for attempt in under_way[5:]:
        attempt.failed()
    assert tried.begin("alice", "10.0.0.1").failed() == 30


def test_what_is_remembered_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes up names does not fill the memory, and does not free who is locked."""
    monkeypatch.setattr(attempts, "REMEMBERED", 50)
    tried = Attempts(clock)
    for _ in range(10):
        tried.begin("alice", "10.0.0.1").failed()
    for number in range(200):
        tried.begin(f"made-up-{number}" * 100, f"10.1.{number}.1").failed()
    assert len(tried._records) == 50
    with pytest.raises(LockedOut):
        tried.begin("alice", "10.9.9.9")


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("somewhere", "somewhere"),
    ],
)
def test_sources(address: str, source: str) -> None:
    """Whoever has a network of IPv6 addresses is one and the same."""
    assert source_of(address) == source
