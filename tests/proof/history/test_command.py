"""The history for people who debug a farm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proof.history.__main__ import main
from tests.proof.history.play import NODE, contender, static_node
from tests.proof.history.written import Server, created, entry, multi, payload, put


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A session that begins, makes a node, writes it, stands in line and ends."""
    server = Server(tmp_path)
    server.begin(1)
    before = json.dumps(static_node(state_time=1.0)).encode()
    after = json.dumps(static_node(state="used", state_time=2.0)).encode()
    lock = created(contender(f"{NODE}/lock"), ephemeral=True)
    bodies = (
        (-10, bytes([0, 0, 0x27, 0x10])),
        (1, created(NODE, before)),
        (14, multi((5, put(NODE, after, 1)), (1, lock))),
        (1, created("/nodepool/requests/x", b"rubbish")),
        (-11, b""),
    )
    for zxid, (kind, body) in enumerate(bodies, 1):
        server.write(entry(payload(zxid, kind, body)))
    return tmp_path


def _run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[str]]:
    status = main([str(word) for word in words])
    return status, capsys.readouterr().out.splitlines()


def test_everything_is_told(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When, who, and of what was written what changed."""
    status, lines = _run(capsys, directory)
    assert status == 0
    assert lines[0] == "00:00:01.001 1 session 5: begins a session (timeout 10 s)"
    assert lines[1].startswith(f'00:00:01.002 2 session 5: makes {NODE} state: "ready"')
    assert lines[2:] == [
        f'00:00:01.003 3 session 5: writes {NODE} state: "ready" -> "used"',
        f"00:00:01.003 3 session 5: session 5 stands in line for {NODE}/lock",
        "00:00:01.004 4 session 5: makes /nodepool/requests/x 'rubbish'",
        "00:00:01.005 5 session 5: ends its session",
        f"00:00:01.005 5 session 5: session 5 leaves the line for {NODE}/lock",
    ]


def test_one_path_alone(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not begin with it is left out."""
    _, lines = _run(capsys, directory, "--path", "/nodepool/requests")
    assert [line.split(": ")[1] for line in lines] == ["makes /nodepool/requests/x 'rubbish'"]


def test_rules_are_applied_if_asked_for(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What breaks one is told with what led to it, and in the exit status."""
    assert _run(capsys, directory, "--check", "--quiet") == (0, ["3 transactions, 0 violations"])
    server = Server(directory / "more")
    server.begin(1)
    data = json.dumps(static_node()).encode()
    server.write(entry(payload(1, 1, created(NODE, data))))
    server.write(entry(payload(2, 5, put(NODE, b"{", 1))))
    status, lines = _run(capsys, directory / "more", "--check", "--quiet")
    assert status == 1
    assert lines[0].startswith("VIOLATION of lock in 2: session 5 wrote node 0000000001")
    assert lines[-1] == "2 transactions, 2 violations"


def test_a_history_that_begins_in_the_middle_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older logs are purged where farms run for long."""
    Server(tmp_path).log(40, 41)
    assert main([str(tmp_path)]) == 0
    assert "older logs were purged" in capsys.readouterr().err
