"""``twistd nodepool`` as a process of its own, which never outlives the test."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import yaml
from twisted.internet import reactor
from twisted.internet.task import deferLater

from nodepool_tx.embedded.layout import Layout
from nodepool_tx.embedded.location import locate
from nodepool_tx.embedded.proc import ProcFs
from tests.functional.launcher.settings import SIMULATED
from tests.servers.warm import end_with_parent

__all__ = ["ROOT", "Ended", "LauncherProcess", "command_line"]

ROOT = pathlib.Path(__file__).resolve().parents[3]
_TWISTD = "from twisted.scripts.twistd import run; run()"
_CLI = "import sys; from nodepool_tx.cli.main import main; sys.exit(main())"


@attrs.frozen
class Ended:
    """How a process ended: its exit status (minus the signal's number), and after how long.

    :ivar seconds: without those in which it could have gone on, but others had the processors.
    """

    status: int
    seconds: float


def command_line(*words: str) -> list[str]:
    """What runs the command line ``nodepool`` with these words."""
    return [sys.executable, "-c", _CLI, *words]


def _waited(pid: int) -> float:
    """The seconds for which a process of ours was ready to run and did not; 0 if it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


class LauncherProcess:
    """A launcher with a directory of its own; started, stopped and killed any number of times.

    Runs from the directory above ``nodepool_tx``, where twistd finds the plugin.

    :param options: for ``twistd nodepool``, besides the paths.
    :param environ: added to the environment.
    :param simulated: hosts that are never contacted; None contacts all.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        simulated: str | None = SIMULATED,
    ) -> None:
        self.directory = directory.absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config = self.directory / "nodepool.yaml"
        self.state = self.directory / "state"
        self.log_file = self.directory / "log"
        self.options = [*(("--simulate-hosts", simulated) if simulated else ()), *options]
        self.environ = {"NODEPOOL_CONFIG_INTERVAL": "0.1", **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._life = 0

    # -- its files

    def write(self, config: Mapping[str, Any] | str) -> None:
        """Replace the configuration, all at once."""
        text = config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False)
        new = self.config.with_suffix(".new")
        new.write_text(text)
        new.replace(self.config)

    @property
    def log(self) -> str:
        """What it has logged since it was last started."""
        return self._read(self._life)

    @property
    def log_of_all_lives(self) -> str:
        return self._read(0)

    def _read(self, start: int) -> str:
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    # -- its life

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def arguments(self) -> list[str]:
        return [
            *(sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "nodepool"),
            *("--config", str(self.config), "--state-dir", str(self.state)),
            *self.options,
        ]

    def start(self) -> None:
        assert not self.running
        self._life = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments(),
                cwd=ROOT,
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait(self) -> int:
        """Wait for its end, without a reactor; its exit status."""
        assert self._process is not None
        return self._process.wait(30)

    async def ended(self, patience: float = 30.0) -> Ended:
        """Wait for its end, which something else brings about."""
        assert self._process is not None
        began, waited, delay = time.monotonic(), _waited(self.pid), 0.0
        while True:
            delay = max(delay, _waited(self.pid) - waited)
            if (status := self._process.poll()) is not None:
                return Ended(status, time.monotonic() - began - delay)
            assert time.monotonic() < began + patience, f"it did not end:\n{self.log}"
            await deferLater(reactor, 0.005)

    async def stop(self, number: int = signal.SIGTERM, patience: float = 30.0) -> Ended:
        """Send a signal and wait for the end."""
        self.send(number)
        return await self.ended(patience)

    # -- an embedded ZooKeeper

    @property
    def zookeeper(self) -> str | None:
        """Where its embedded ZooKeeper listens, as ``host:port``."""
        return locate(self.state)

    @property
    def zookeeper_pids(self) -> list[int]:
        return ProcFs().find(Layout(self.state))

    def leave_nothing(self) -> None:
        """Kill what still runs."""
        self.kill()
        for pid in self.zookeeper_pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- the command line beside it

    def command_environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "NODEPOOL_CONFIG": str(self.config),
            "NODEPOOL_STATE_DIR": str(self.state),
            "XDG_RUNTIME_DIR": str(self.directory),
        }

    def nodepool(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command line ``nodepool`` to its end; blocks."""
        return subprocess.run(
            command_line(*words),
            env=self.command_environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
