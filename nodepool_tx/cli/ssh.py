"""How to reach a node over SSH, with its host keys pinned."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from nodepool_tx.model import Node

__all__ = [
    "KnownHosts",
    "ProcessSpawner",
    "Spawner",
    "host_of",
    "is_ssh",
    "remote_words",
    "ssh_words",
]

#: Exit status of a child that a signal ended, as shells count it.
_SIGNALLED = 128


def is_ssh(node: Node) -> bool:
    """The node is reached over SSH, as far as its record tells."""
    return node.connection_type in (None, "ssh", "network_cli")


def host_of(node: Node) -> str:
    """The address to connect to."""
    return node.interface_ip or node.hostname or node.public_ipv4 or node.public_ipv6 or ""


def remote_words(command: Sequence[str]) -> str:
    """A command for the shell at the other end.

    A single word is a line for that shell; several reach the program there
    exactly as they were typed here.
    """
    return command[0] if len(command) == 1 else shlex.join(command)


class KnownHosts:
    """A directory of our own with the host keys of some nodes.

    :param above: where to make it, if that exists; else where temporary files go.
    :ivar path: the file.
    """

    def __init__(self, nodes: Sequence[Node], above: str | None = None) -> None:
        place = above if above and os.path.isdir(above) else None
        self._directory = tempfile.mkdtemp(prefix="nodepool-", dir=place)
        self.path = os.path.join(self._directory, "known_hosts")
        lines = {
            f"{_known_name(host_of(node), node.connection_port)} {key}\n": None
            for node in nodes
            for key in node.host_keys
        }
        with open(self.path, "w", encoding="utf-8") as file:
            file.writelines(lines)

    def remove(self) -> None:
        """Take file and directory away."""
        os.unlink(self.path)
        os.rmdir(self._directory)


def _known_name(host: str, port: Any) -> str:
    return host if port == 22 else f"[{host}]:{port}"


def ssh_words(
    node: Node,
    known_hosts: str,
    identity: str | None = None,
    *,
    unattended: bool = False,
    terminal: bool = False,
) -> list[str]:
    """The command line of an ssh that trusts this node's host keys and no others.

    A node without keys is one whose configuration says ``host-key-checking:
    false``: nothing can be checked there.

    :param unattended: never ask anything, fail instead.
    :param terminal: give what runs there a terminal, so that it is
        interrupted when we are.
    """
    if node.host_keys:
        settings = [
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
        ]
    else:
        settings = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    if unattended:
        settings += ["BatchMode=yes", "ConnectTimeout=20"]
    words = ["ssh", "-t"] if terminal else ["ssh"]
    for setting in settings:
        words += ["-o", setting]
    if identity:
        words += ["-i", identity, "-o", "IdentitiesOnly=yes"]
    if node.connection_port != 22:
        words += ["-p", str(node.connection_port)]
    host = host_of(node)
    return [*words, f"{node.username}@{host}" if node.username else host]


class Child(Protocol):
    """A program that was started."""

    @property
    def ended(self) -> Deferred[int]:
        """Fires with its exit status, 128 and more if a signal ended it."""

    def end(self) -> None:
        """Ask it to end."""


#: Starts a program.  With a callback its output, both streams, comes as lines
#: and it reads nothing; without one it has our own standard streams.
Spawner = Callable[[Sequence[str], Callable[[str], None] | None], Child]


@attrs.define(eq=False)
class _Process(ProcessProtocol):
    """A program and, if wanted, the lines it writes."""

    _on_line: Callable[[str], None] | None
    ended: Deferred[int] = attrs.field(factory=Deferred)
    _rest: dict[int, bytes] = attrs.field(factory=dict)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._rest[childFD] = (self._rest.get(childFD, b"") + data).split(b"\n")
        for line in lines:
            self._tell(line)

    def _tell(self, line: bytes) -> None:
        if self._on_line is not None:
            self._on_line(line.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        for rest in self._rest.values():
            if rest:
                self._tell(rest)
        if reason.check(ProcessDone):
            self.ended.callback(0)
            return
        error: Any = reason.value
        status = error.exitCode
        self.ended.callback(_SIGNALLED + (error.signal or 0) if status is None else status)

    def end(self) -> None:
        if self.transport is not None:
            try:
                self.transport.signalProcess("TERM")
            except ProcessExitedAlready:
                return


class ProcessSpawner:
    """Starts programs of this machine, which end when we do, however that happens.

    :param reactor: an IReactorProcess.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        setpriv = shutil.which("setpriv")
        self._wrapper = [setpriv, "--pdeathsig", "TERM"] if setpriv else []

    def __call__(self, words: Sequence[str], on_line: Callable[[str], None] | None) -> Child:
        process = _Process(on_line)
        if on_line is None:
            self._spawn(process, words, {0: 0, 1: 1, 2: 2})
        else:
            with open(os.devnull, "rb") as nothing:
                self._spawn(process, words, {0: nothing.fileno(), 1: "r", 2: "r"})
        return process

    def _spawn(self, process: _Process, words: Sequence[str], streams: dict[int, Any]) -> None:
        words = [*self._wrapper, *words]
        self._reactor.spawnProcess(process, words[0], words, env=None, childFDs=streams)
