"""Programs that begin as copies are what they would be if they had been started as ever."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.servers import warm
from tests.servers.warm import PROGRAMS, end_with_parent

CLI, TWISTD = PROGRAMS
#: Tells all that a process can see of itself; a third program, for these tests.
LOOK = """
import json, os, signal, sys, threading
json.dump({
    "words": sys.argv, "environ": dict(os.environ), "cwd": os.getcwd(), "parent": os.getppid(),
    "session": os.getsid(0) == os.getpid(), "files": sorted(os.listdir("/proc/self/fd")),
    "name": __name__, "read": sys.stdin.read(), "threads": threading.active_count(),
    "main": threading.current_thread() is threading.main_thread(), "umask": os.umask(0),
    "signals": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "reactor": "twisted.internet.reactor" in sys.modules,
    "encoding": [sys.stdin.encoding, sys.stdout.encoding, sys.stdout.line_buffering],
}, sys.stdout)
sys.exit(3)
"""


def look(directory: pathlib.Path, **more: object) -> tuple[int, str]:
    """What a process sees of itself, and its exit code."""
    done = subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-c", LOOK, "a", "b c", "ü"],
        cwd=directory,
        env={**os.environ, "ONLY": "here ü"},
        input="typed",
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        **more,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("more", [{}, {"start_new_session": True}], ids=["", "session"])
def test_the_same(
    more: dict[str, object], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, environment, directory, files, parent and all else are the same."""
    cold = look(tmp_path, **more)
    monkeypatch.setattr(warm, "PROGRAMS", (LOOK,))
    with warm.warm():
        assert look(tmp_path, **more) == cold
        assert look(tmp_path, **more) == cold
    assert cold[0] == 3
    assert f'"parent": {os.getpid()}' in cold[1]


def start(program: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=end_with_parent,
    )


def test_signals_and_ends() -> None:
    """A copy can be waited for and killed, and says what it says."""
    running = start(TWISTD, "--nodaemon", "--pidfile=", "web", "--listen=tcp:0:interface=127.0.0.1")
    assert running.stdout is not None
    while "starting on" not in running.stdout.readline():
        assert running.poll() is None
    running.kill()
    assert running.wait(30) == -signal.SIGKILL
    running.stdout.close()
    wrong = start(CLI, "no-such-verb")
    said, _ = wrong.communicate(timeout=30)
    assert (wrong.returncode, "no-such-verb" in said) == (2, True)


def test_it_takes_less() -> None:
    """A command line that begins so takes a part of the processor's time."""
    took = []
    for end in ("", " "):
        start(CLI + end, "--help").communicate(timeout=60)
        before = os.times()
        start(CLI + end, "--help").communicate(timeout=60)
        took.append(os.times().children_user - before.children_user)
    assert took[0] < took[1] / 2


def test_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that copies are made of ends when it is needed no more."""
    monkeypatch.setattr(warm, "PROGRAMS", (LOOK,))
    with warm.warm():
        look(pathlib.Path("/"))
        children = pathlib.Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        before = set(children.read_text().split())
    left = set(children.read_text().split())
    assert len(before - left) == 1
