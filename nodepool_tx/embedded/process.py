"""Starting and ending ZooKeeper's processes: our child, and what an earlier service left."""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import shutil
import signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nodepool_tx.embedded.layout import Layout, StateDirBusy
from nodepool_tx.embedded.proc import MAIN_CLASS, OtherProcesses
from nodepool_tx.embedded.runtime import Runtime

__all__ = ["Child", "command_line", "end_orphans", "spawn"]

#: Half a second to be up instead of a full one, 60 MB instead of 70.
_JVM_FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dzookeeper.jmx.log4j.disable=true",
    "-Djava.awt.headless=true",
)


def command_line(runtime: Runtime, layout: Layout, heap_mb: int) -> list[str]:
    """The command that runs the server; its last word identifies it."""
    flags = (
        f"-Xmx{heap_mb}m",
        f"-XX:ErrorFile={layout.directory}/crash-%p.log",
        f"-Dlog4j.configuration={layout.log_config_file.as_uri()}",
        *_JVM_FLAGS,
    )
    classpath = ":".join(runtime.classpath)
    return [runtime.java, *flags, "-cp", classpath, MAIN_CLASS, str(layout.config_file)]


def spawn(reactor: Any, command: list[str], directory: pathlib.Path) -> Child:
    """Start the server.

    In a session of its own: a Ctrl-C in the terminal goes to all processes of
    ours, and the server must be there until the others have stopped in order.
    """
    setsid = shutil.which("setsid")
    words = [setsid, *command] if setsid else command
    child = Child()
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
    # Standard input stays closed; output is read for the last words only.
    fds = {1: "r", 2: "r"}
    reactor.spawnProcess(child, words[0], words, environment, str(directory), childFDs=fds)
    return child


class Child(ProcessProtocol):
    """The server as our child.

    :ivar last_words: what it last wrote to standard output and error.
    :ivar ending: how it ended; None while it runs.
    """

    def __init__(self) -> None:
        self.last_words: collections.deque[str] = collections.deque(maxlen=20)
        self.ending: str | None = None
        self._waiting: list[Deferred[None]] = []

    @property
    def pid(self) -> int:
        pid: int = self._process.pid
        return pid

    @property
    def _process(self) -> Any:
        return self.transport

    def when_ended(self) -> Deferred[None]:
        """Fires when the process is no more; cancelling it does nothing to the process."""
        ended: Deferred[None] = Deferred(self._waiting.remove)
        if self.ending is None:
            self._waiting.append(ended)
        else:
            ended.callback(None)
        return ended

    def send(self, name: str) -> None:
        """Send a signal, by its name without SIG; fine if the process is gone."""
        with contextlib.suppress(ProcessExitedAlready):
            self._process.signalProcess(name)

    async def stop(self, reactor: Any, patience: float) -> bool:
        """End it: first ask, after ``patience`` seconds insist.  True if asking was enough."""
        self.send("TERM")
        insist = reactor.callLater(patience, self.send, "KILL")
        await self.when_ended()
        if insist.active():
            insist.cancel()
            return True
        return False

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.last_words.extend(data.decode("utf-8", "replace").splitlines())

    def processEnded(self, reason: Failure) -> None:
        number = getattr(reason.value, "signal", None)
        status = getattr(reason.value, "exitCode", None)
        self.ending = f"signal {signal.Signals(number).name}" if number else f"status {status}"
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            ended.callback(None)


async def end_orphans(
    reactor: Any, processes: OtherProcesses, layout: Layout, patience: float
) -> list[int]:
    """End servers that an earlier service has left behind; returns which.

    Why not take such a server over: it was started by another version with
    other settings, its output leads nowhere, and watching a process that is
    no child needs a second way to supervise.  Ending it in order costs a
    second, sessions survive that, and there is one way of running.

    :raises StateDirBusy: one of them cannot be ended; a second server on the
        same data would ruin it.
    """
    orphans = processes.find(layout)
    left = orphans
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            try:
                processes.signal(pid, number)
            except PermissionError:
                raise StateDirBusy(
                    f"another user's ZooKeeper, process {pid}, runs on {layout.data_dir};"
                    " stop it or use another --state-dir"
                ) from None
        deadline = reactor.seconds() + patience
        while left and reactor.seconds() < deadline:
            await deferLater(reactor, 0.05)
            left = [pid for pid in orphans if not processes.is_gone(pid)]
    if left:
        raise StateDirBusy(
            f"an earlier ZooKeeper, process {left[0]}, runs on {layout.data_dir} and does not end"
        )
    return orphans
