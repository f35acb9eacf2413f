"""Noticing that ZooKeeper itself hangs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from proof.chaos import stuck
from proof.chaos.stuck import STUCK, Leaders, Standstill


def says(mode: str, zxid: str = "0x30001", outstanding: int = 7) -> str:
    return f"Zookeeper version: 3.8\nOutstanding: {outstanding}\nZxid: {zxid}\nMode: {mode}\n"


def all_three(**leads: Any) -> list[str]:
    return [says("follower"), says("leader", **leads), says("follower")]


def test_stuck() -> None:
    """A leader with followers, work and no decision for long is stuck."""
    look = Standstill().look
    assert look(all_three(), 100.0) is None
    assert look(all_three(outstanding=90), 99.9 + STUCK) is None
    assert look(all_three(), 100.0 + STUCK) == 1


@pytest.mark.parametrize(
    "meanwhile",
    [
        all_three(zxid="0x30002"),
        all_three(outstanding=0),
        ["", *all_three()[1:]],
        [says("follower"), "This ZooKeeper instance is not currently serving requests", ""],
        [says("leader"), says("leader"), says("follower")],
    ],
)
def test_not_stuck(meanwhile: list[str]) -> None:
    """One that decides something, has nothing to decide or lacks a server is not, so far."""
    look = Standstill().look
    assert look(all_three(), 0.0) is None
    assert look(meanwhile, STUCK - 1) is None
    assert look(all_three(), STUCK + 1) is None


class Server:
    """One that tells what it is made to."""

    def __init__(self, told: str) -> None:
        self.told = told
        self.done: list[str] = []

    def ask(self, word: str) -> str:
        return self.told

    def kill(self) -> None:
        self.done.append("kill")

    def start(self) -> None:
        self.done.append("start")


class Farm:
    def __init__(self) -> None:
        self.reactor = Clock()
        self.servers = [Server(told) for told in all_three()]
        self.ensemble = self
        self.story: list[str] = []

    def note(self, words: str) -> None:
        self.story.append(words)


def test_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stuck leader is started again, which is noted; nothing is done after the end."""

    def at_once(call: Callable[[], Any]) -> Any:
        return maybeDeferred(call)

    farm: Any = Farm()
    monkeypatch.setattr(stuck, "deferToThread", at_once)
    monkeypatch.setattr(stuck.time, "monotonic", farm.reactor.seconds)
    leaders = Leaders(farm)
    leaders.watch()
    farm.reactor.pump([2.0] * 9)
    assert [server.done for server in farm.servers] == [[], ["kill", "start"], []]
    assert (leaders.restarted, len(farm.story)) == (1, 1)
    leaders.stop()
    farm.reactor.pump([2.0] * 20)
    assert leaders.restarted == 1
