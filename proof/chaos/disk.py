"""A file system of its own for what one ZooKeeper server keeps."""

from __future__ import annotations

import atexit
import os
import pathlib
import subprocess
import tempfile

__all__ = ["SmallDisk"]

#: Bytes; in memory, of which only as much is taken as is used.
_ROOM = 512 * 1024 * 1024

#: How often it is tried to make it as small as what is written to it all the time.
_TRIES = 20


class SmallDisk:
    """A tmpfs, which is full or not as we please.  Only for root.

    :ivar server: whose it is, as its index in the ensemble.
    :ivar directory: where it is mounted.
    """

    def __init__(self, server: int) -> None:
        self.server = server
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="chaos-disk-"))
        self._mount(_ROOM)
        atexit.register(self.stop)

    @classmethod
    def make(cls, server: int) -> SmallDisk | None:
        """None where no file system can be mounted."""
        if os.getuid() != 0:
            return None
        try:
            return cls(server)
        except subprocess.CalledProcessError:
            return None

    def _mount(self, size: int, *options: str) -> None:
        words = ",".join([*options, f"size={size}"])
        command = ["mount", "-t", "tmpfs", "-o", words, "chaos", str(self.directory)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except subprocess.CalledProcessError:
            if not options:
                self.directory.rmdir()
            raise

    def fill(self) -> None:
        """Leave no room at all.

        :raises subprocess.CalledProcessError: it cannot be done.
        """
        for left in reversed(range(_TRIES)):
            stat = os.statvfs(self.directory)
            try:
                self._mount((stat.f_blocks - stat.f_bfree) * stat.f_frsize, "remount")
            except subprocess.CalledProcessError:
                # It is made no smaller than what is on it, which may have become more just now.
                if not left:
                    raise
            else:
                return

    def empty(self) -> None:
        """Give the room back; a server that has ended for want of it stays ended."""
        self._mount(_ROOM, "remount")

    def stop(self) -> None:
        """Unmount it and forget what is on it; safe to call twice."""
        atexit.unregister(self.stop)
        if self.directory.exists():
            subprocess.run(["umount", "-l", str(self.directory)], capture_output=True)
            self.directory.rmdir()
