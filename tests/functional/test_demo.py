"""``bin/demo`` does what the README says, again and again, and leaves nothing running."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def demo(directory: pathlib.Path, *words: str) -> str:
    """Run it; its output."""
    answer = subprocess.run(
        [ROOT / "bin" / "demo", *words],
        env={**os.environ, "NODEPOOL_DEMO_DIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert answer.returncode == 0, answer.stdout
    return answer.stdout


def processes(directory: pathlib.Path) -> list[int]:
    """Everything that runs with a path of the demonstration on its command line."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{directory}/".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[pathlib.Path, str]]:
    """Where it runs, and what it said when it was started for the first time."""
    directory = tmp_path_factory.mktemp("demo") / "demo"
    try:
        yield directory, demo(directory)
    finally:
        demo(directory, "stop")


@pytest.fixture
def directory(started: tuple[pathlib.Path, str]) -> pathlib.Path:
    return started[0]


def assert_shown(output: str) -> None:
    """The whole story was told."""
    told = [
        "machines",
        "launcher",
        "nodes       4 ready",
        "$ nodepool list",
        "$ nodepool request debian-small -- ",
        "which demo/rack may serve",
        "running on node ",
        "Linux ",
        "working",
        "in-use",
        "locked",
        "done",
        "gave back ",
        "back in service, under a new id",
        "source ",
        "bin/demo stop",
    ]
    at = 0
    for part in told:
        at = output.find(part, at)
        assert at >= 0, f"no {part!r} in its place in:\n{output}"


def test_the_first_time(started: tuple[pathlib.Path, str]) -> None:
    """Everything is started, a job runs on a node, and the launcher stays."""
    directory, output = started
    assert_shown(output)
    assert "(running)" not in output
    assert len(processes(directory)) == 5, "three SSH servers, a launcher and its ZooKeeper"


def test_again_while_it_runs(directory: pathlib.Path) -> None:
    """Nothing is started twice."""
    before = processes(directory)
    output = demo(directory)
    assert_shown(output)
    assert output.count("(running)") == 2
    assert sorted(processes(directory)) == sorted(before)


def test_going_on_by_hand(directory: pathlib.Path) -> None:
    """The file to source makes ``nodepool`` work from anywhere."""
    command = f". {directory}/env && nodepool request debian-large -- echo by hand"
    answer = subprocess.run(
        ["sh", "-c", command],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (answer.returncode, answer.stdout) == (0, "by hand\n"), answer.stderr


def test_after_everything_was_killed(directory: pathlib.Path) -> None:
    """It works again, with the data there was."""
    for pid in processes(directory):
        os.kill(pid, signal.SIGKILL)
    output = demo(directory)
    assert_shown(output)
    assert "(running)" not in output
    assert len(processes(directory)) == 5


def test_stopping(directory: pathlib.Path) -> None:
    """Nothing is left running, not even what has lost its launcher."""
    (launcher,) = (pid for pid in processes(directory) if b"twistd" in _command_line(pid))
    os.kill(launcher, signal.SIGKILL)
    assert "stopped 3 SSH servers and the launcher" in demo(directory, "stop")
    assert processes(directory) == []
    assert "stopped 0 SSH servers" in demo(directory, "stop")


def _command_line(pid: int) -> bytes:
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
