"""A reactor that records the processes started on it, and plays ZooKeeper for them."""

from __future__ import annotations

import signal
from typing import Any

import attrs
from twisted.internet.error import (
    ConnectionRefusedError,
    ProcessDone,
    ProcessExitedAlready,
    ProcessTerminated,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from nodepool_tx.embedded.layout import HOST, Layout
from tests.nodescan.network import MemoryNetwork

__all__ = ["FakeProcess", "MemoryProcesses", "ProcessReactor"]


@attrs.define(eq=False)
class FakeProcess:
    """A process that does nothing by itself.

    :ivar signals: what was sent to it, by name.
    :ivar stubborn: it does not end on TERM.
    """

    protocol: Any
    executable: str
    args: list[str]
    env: dict[str, str]
    path: str
    child_fds: dict[int, Any]
    pid: int
    running: bool = True
    stubborn: bool = False
    signals: list[str] = attrs.field(factory=list)

    def signalProcess(self, name: str) -> None:
        if not self.running:
            raise ProcessExitedAlready
        self.signals.append(name)
        if name == "KILL" or not self.stubborn:
            self.end(signal=signal.Signals[f"SIG{name}"])

    def end(self, status: int = 0, signal: int | None = None) -> None:
        """The process ends by itself, or by a signal from elsewhere."""
        self.running = False
        clean = status == 0 and signal is None
        reason = ProcessDone(0) if clean else ProcessTerminated(status or None, signal, None)
        self.protocol.processEnded(Failure(reason))

    def say(self, text: bytes) -> None:
        self.protocol.childDataReceived(2, text)


class _Server(Protocol):
    """What listens on the port, and answers with ``words``."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def dataReceived(self, data: bytes) -> None:
        assert data == b"conf", data
        assert self.transport is not None
        self.transport.write(self._words)
        self.transport.loseConnection()


class ProcessReactor(MemoryNetwork):
    """A network in memory and a machine that runs processes of our making.

    :ivar started: all processes so far.
    :ivar out_of_processes: starting one fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere = ConnectionRefusedError
        self.started: list[FakeProcess] = []
        self.out_of_processes = False

    def spawnProcess(
        self,
        protocol: Any,
        executable: str,
        args: list[str],
        env: dict[str, str],
        path: str,
        childFDs: dict[int, Any],
    ) -> FakeProcess:
        if self.out_of_processes:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        process = FakeProcess(
            protocol, executable, args, env, path, childFDs, pid=1000 + len(self.started)
        )
        self.started.append(process)
        protocol.makeConnection(process)
        return process

    @property
    def alive(self) -> list[FakeProcess]:
        return [process for process in self.started if process.running]

    def listen(self, port: int, words: bytes) -> None:
        """Something listens on the port of loopback and says ``words`` when asked."""
        self.listeners[HOST, port] = lambda: _Server(words)

    def serve(self, layout: Layout) -> int:
        """The server of ``layout`` comes up on its configured port, which is returned."""
        for _ in range(200):
            if self.alive:
                break
            self.wait(0.05)
        lines = layout.config_file.read_text().splitlines()
        config = dict(line.split("=", 1) for line in lines if "=" in line)
        port = int(config["clientPort"])
        self.listen(port, f"clientPort={port}\ndataDir={layout.data_dir}/version-2\n".encode())
        self.wait(0.2)
        return port

    def hang_up(self) -> None:
        """Nothing listens any more."""
        self.listeners.clear()

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps, with everybody talking."""
        for _ in range(round(seconds / 0.05)):
            self.settle()
            self.advance(0.05)
        self.settle()


class MemoryProcesses:
    """The machine's other processes.

    :ivar servers: running ones, with how many signals each survives.
    :ivar foreign: they belong to another user.
    """

    def __init__(self) -> None:
        self.servers: dict[int, int] = {}
        self.foreign = False
        self.sent: list[tuple[int, int]] = []

    def find(self, layout: Layout) -> list[int]:
        return sorted(self.servers)

    def is_gone(self, pid: int) -> bool:
        return pid not in self.servers

    def signal(self, pid: int, number: int) -> None:
        if self.foreign:
            raise PermissionError(1, "Operation not permitted")
        self.sent.append((pid, number))
        if self.servers.get(pid, 0) > 0:
            self.servers[pid] -= 1
        else:
            self.servers.pop(pid, None)
