"""The processes of a cloud: started together, ended together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["Processes", "StartFailed"]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class StartFailed(Exception):
    """A part did not start; ends with the last lines of its log."""


class Processes:
    """Children of this process that do not outlive it.

    :param logs: the folder for what they say, a file for each.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> None:
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [str(word) for word in command],
                env={**os.environ, **(env or {})},
                cwd=self._logs,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def run(
        self, name: str, *commands: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> None:
        """Run these one after the other, to their end.

        :raises StartFailed: one failed.
        """
        for command in commands:
            self.start(name, command, env)
            if self._running.pop(name).wait(600):
                raise StartFailed(f"{name} failed:\n{self.log(name)}")

    def wait_for_port(self, name: str, port: int, timeout: float = 120.0) -> None:
        """Wait until it listens.

        :raises StartFailed: it ended, or took too long.
        """
        self.wait(name, lambda: _listens(port), timeout)

    def wait(self, name: str, ready: Callable[[], bool], timeout: float = 120.0) -> None:
        """Wait until ``ready`` says so; raises as :meth:`wait_for_port`."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self._running[name].poll() is not None:
                raise StartFailed(f"{name} ended:\n{self.log(name)}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{name} is not ready after {timeout:.0f} s:\n{self.log(name)}")
            time.sleep(0.05)

    def check(self) -> None:
        """All still run.

        :raises StartFailed: one does not.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise StartFailed(f"{name} ended:\n{self.log(name)}")

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """The process stands still for the ``with`` block."""
        pid = self._running[name].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def log(self, name: str, lines: int = 30) -> str:
        """The last lines of what it said."""
        text = (self._logs / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """End them all at once; nothing they keep is of use to anybody."""
        for process in self._running.values():
            # Each leads a group of its own, with its workers in it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._running.values():
            process.wait()
        self._running.clear()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
