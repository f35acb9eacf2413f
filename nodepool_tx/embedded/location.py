"""Telling others where the embedded ZooKeeper listens."""

from __future__ import annotations

import json
import os

import attrs

from nodepool_tx.embedded.layout import Layout, write_atomically
from nodepool_tx.embedded.proc import ProcFs

__all__ = ["Location", "is_attended", "locate"]


@attrs.frozen
class Location:
    """What ``STATE_DIR/zookeeper.json`` says.

    :ivar pid: the server's process.
    :ivar started: when it was ready, in seconds since the epoch.
    """

    host: str
    port: int
    pid: int
    started: float

    @property
    def address(self) -> str:
        """``host:port``, as ZooKeeper clients take it."""
        return f"{self.host}:{self.port}"

    def write(self, layout: Layout) -> None:
        """Publish it, for all users of the machine."""
        text = json.dumps(attrs.asdict(self), indent=2)
        write_atomically(layout.location_file, text + "\n", 0o644)

    @classmethod
    def read(cls, layout: Layout) -> Location | None:
        """What is published; None if nothing is, or nothing that makes sense."""
        try:
            fields = json.loads(layout.location_file.read_text())
            return cls(
                host=str(fields["host"]),
                port=int(fields["port"]),
                pid=int(fields["pid"]),
                started=float(fields["started"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None


def locate(state_dir: str | os.PathLike[str]) -> str | None:
    """Where the embedded ZooKeeper of a state directory listens, as ``host:port``.

    None if none runs.  It may run although its service was killed: it is
    stopped by the next start of the service only.
    """
    layout = Layout(state_dir)
    location = Location.read(layout)
    if location is None or not ProcFs().is_server(location.pid, layout):
        return None
    return location.address


def is_attended(state_dir: str | os.PathLike[str]) -> bool:
    """Whether a launcher looks after a state directory: its ZooKeeper runs, or will soon."""
    return ProcFs().is_locked(Layout(state_dir).lock_file)
