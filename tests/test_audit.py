"""The audit log."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import stat
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from nodepool_tx.audit import Audit


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(1_700_000_000.25)
    return clock


def entries(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_entry(clock: Clock, tmp_path: pathlib.Path) -> None:
    """It has a time, is for nobody else to read, and keeps to its line."""
    path = tmp_path / "audit"
    path.touch(mode=0o644)
    Audit(clock, str(path)).record("eve", "console ::1", "a\nb\x1b", "ok", session=3, x={1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert entries(path) == [
        {
            "time": "2023-11-14T22:13:20.250+00:00",
            "who": "eve",
            "where": "console ::1",
            "what": "a\nb\x1b",
            "outcome": "ok",
            "session": 3,
            "x": "{1}",
        }
    ]


def test_more_fields_hide_nothing(clock: Clock, tmp_path: pathlib.Path) -> None:
    """An entry says who did what, whatever else it says; endless texts are cut."""
    path = tmp_path / "audit"
    Audit(clock, str(path)).record("eve", "w", "x" * 100_000, time="never")
    (entry,) = entries(path)
    assert entry["time"].startswith("2023-")
    assert len(entry["what"]) == 10_000


def test_the_log_has_it_too(clock: Clock) -> None:
    """Quoted, so that nothing typed can pass for another line."""
    seen: list[Any] = []
    globalLogPublisher.addObserver(seen.append)
    try:
        Audit(clock).record("eve", "console", "x\n2024 forged", "ok")
    finally:
        globalLogPublisher.removeObserver(seen.append)
    (event,) = seen
    assert formatEvent(event) == "audit: 'eve' at 'console': 'x\\n2024 forged': 'ok'".replace(
        "at 'console'", "at console"
    )


def test_rotation(clock: Clock, tmp_path: pathlib.Path) -> None:
    """The file is followed until somebody says that there is a new one."""
    path = tmp_path / "audit"
    audit = Audit(clock, str(path))
    audit.record("a", "", "one")
    moved = path.rename(tmp_path / "audit.1")
    audit.record("a", "", "two")
    audit.reopen()
    audit.record("a", "", "three")
    assert [e["what"] for e in entries(moved)] == ["one", "two"]
    assert [e["what"] for e in entries(path)] == ["three"]


def test_another_file(clock: Clock, tmp_path: pathlib.Path) -> None:
    """A changed configuration is followed; without a file nothing is written."""
    audit = Audit(clock, str(tmp_path / "a"))
    audit.record("a", "", "one")
    audit.use(str(tmp_path / "b"))
    audit.record("a", "", "two")
    audit.use(None)
    audit.record("a", "", "three")
    assert [e["what"] for e in entries(tmp_path / "a")] == ["one"]
    assert [e["what"] for e in entries(tmp_path / "b")] == ["two"]


def test_a_file_that_cannot_be_written(clock: Clock, tmp_path: pathlib.Path) -> None:
    """It is told once, and written as soon as it can be."""
    seen: list[Any] = []
    globalLogPublisher.addObserver(seen.append)
    try:
        audit = Audit(clock, str(tmp_path / "missing" / "audit"))
        for _ in range(3):
            audit.record("a", "", "one")
        os.mkdir(tmp_path / "missing")
        audit.record("a", "", "two")
    finally:
        globalLogPublisher.removeObserver(seen.append)
    assert [e["what"] for e in entries(tmp_path / "missing" / "audit")] == ["two"]
    told = [event for event in seen if event["log_level"].name == "error"]
    assert len(told) == 1


def test_an_entry_that_was_torn(
    clock: Clock, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in the middle of an entry costs that one, and not the next."""
    path = tmp_path / "audit"
    audit = Audit(clock, str(path))
    audit.record("eve", "w", "first")
    write = os.write
    left = [20, 0]

    def full(file: int, data: bytes) -> int:
        room = left.pop(0)
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:room])

    monkeypatch.setattr(os, "write", full)
    audit.record("eve", "w", "second")
    monkeypatch.undo()
    audit.record("eve", "w", "third")
    audit.record("eve", "w", "fourth")
    first, torn, *others = path.read_text().splitlines()
    assert (len(torn), json.loads(first)["what"]) == (20, "first")
    assert [json.loads(line)["what"] for line in others] == ["third", "fourth"]


def test_a_full_disk_is_told_once(clock: Clock) -> None:
    """Not with each entry, of which there may be many; they are all in the launcher's log."""
    seen: list[str] = []

    def observe(event: Any) -> None:
        seen.append(formatEvent(event))

    audit = Audit(clock, "/dev/full")
    globalLogPublisher.addObserver(observe)
    try:
        for _ in range(3):
            audit.record("eve", "w", "something")
    finally:
        globalLogPublisher.removeObserver(observe)
    assert sum("cannot be written" in line for line in seen) == 1
    assert sum("'something'" in line for line in seen) == 3
