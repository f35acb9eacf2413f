"""Clocks of launchers that can be set while they run, by Debian's libfaketime.

The library is preloaded straight into the launcher instead of being started through the
program `faketime`, which would stand between us and the signals that are sent.
"""

from __future__ import annotations

import glob
import pathlib

__all__ = ["FakedClock", "NoFaketime", "library"]

_LIBRARIES = "/usr/lib/*/faketime/libfaketime.so.1"
_SHARED_MEMORY = pathlib.Path("/dev/shm")


class NoFaketime(Exception):
    """Clocks cannot be faked on this machine; says what to install."""


def library() -> str:
    """Where libfaketime is.

    :raises NoFaketime: nowhere.
    """
    found = sorted(glob.glob(_LIBRARIES))
    if not found:
        raise NoFaketime("there is no libfaketime here: apt-get install faketime")
    return found[0]


class FakedClock:
    """The wall clock of one process; its monotonic clock is left alone.

    :param file: to keep in how wrong the clock is.
    :ivar environ: what a process needs in its environment to have this clock.
    :raises NoFaketime: see there.
    """

    def __init__(self, file: pathlib.Path) -> None:
        self._file = file
        self.environ = {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            # Seconds for which a process goes on with what the file said.
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.seconds = 0.0
        self.skew(0.0)

    def skew(self, seconds: float) -> None:
        """Have the clock that much ahead, or behind if negative, within a second."""
        self.seconds = seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.3f}\n")
        new.replace(self._file)

    @staticmethod
    def clean() -> None:
        """Remove what the library leaves behind of processes that have ended."""
        for left in _SHARED_MEMORY.glob("*faketime_*"):
            pid = left.name.rpartition("_")[2]
            if pid.isdigit() and not pathlib.Path(f"/proc/{pid}").exists():
                left.unlink(missing_ok=True)
