"""ZooKeepers among the machine's processes."""

from __future__ import annotations

import os
import pathlib
from typing import Protocol

from nodepool_tx.embedded.layout import Layout

__all__ = ["MAIN_CLASS", "OtherProcesses", "ProcFs"]

MAIN_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


class OtherProcesses(Protocol):
    """The machine's processes that are not our children."""

    def find(self, layout: Layout) -> list[int]:
        """Servers that run on the data of ``layout``."""

    def is_gone(self, pid: int) -> bool:
        """Whether the process has ended and holds no file or port any more."""

    def signal(self, pid: int, number: int) -> None:
        """Send a signal; fine if the process is gone.

        :raises PermissionError: the process belongs to another user.
        """


class ProcFs:
    """The :class:`OtherProcesses` of Linux."""

    def __init__(self, root: pathlib.Path = pathlib.Path("/proc")) -> None:
        self._root = root

    def find(self, layout: Layout) -> list[int]:
        """See :meth:`OtherProcesses.find`."""
        pids = [int(entry.name) for entry in self._root.iterdir() if entry.name.isdigit()]
        return sorted(pid for pid in pids if self.is_server(pid, layout))

    def is_server(self, pid: int, layout: Layout) -> bool:
        """Whether the process is a server on the data of ``layout``.

        Process ids are used again; a command line is not.
        """
        try:
            line = (self._root / str(pid) / "cmdline").read_bytes()
        except OSError:
            return False
        words = line.rstrip(b"\0").split(b"\0")
        return words[-2:] == [MAIN_CLASS.encode(), os.fsencode(layout.config_file)]

    def is_gone(self, pid: int) -> bool:
        """See :meth:`OtherProcesses.is_gone`.

        A process that ends loses its command line before its files, so that
        :meth:`find` may miss it too early.
        """
        try:
            stat = (self._root / str(pid) / "stat").read_text()
        except OSError:
            return True
        return stat.rpartition(")")[2].split()[0] in ("Z", "X")

    def is_locked(self, path: pathlib.Path) -> bool:
        """Whether some process holds a lock of a file, without touching that lock."""
        try:
            stat = path.stat()
            lines = (self._root / "locks").read_text().splitlines()
        except OSError:
            return False
        device = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}"
        return any(f"{device}:{stat.st_ino}" in line.split() for line in lines)

    def signal(self, pid: int, number: int) -> None:
        """See :meth:`OtherProcesses.signal`."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
