"""Waiting for Enter."""

from __future__ import annotations

import os
import stat
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["EndOfPatience"]


@implementer(IReadDescriptor)
class EndOfPatience:
    """A line, or the end, of standard input.

    Where that is no terminal, pipe or socket there is nothing to wait for,
    and the Deferred never fires: only a signal ends the wait.

    :param reactor: an IReactorFDSet.
    """

    def __init__(self, reactor: Any, stream: TextIO | None) -> None:
        self._reactor = reactor
        self._stream = stream
        self._over: Deferred[None] | None = None

    @property
    def listens(self) -> bool:
        """There is something to wait for."""
        return _can_be_waited_for(self._stream)

    def wait(self) -> Deferred[None]:
        """Fires once; cancelling it leaves what is typed to others."""
        self._over = Deferred(self._cancelled)
        if self.listens:
            self._reactor.addReader(self)
        return self._over

    def fileno(self) -> int:
        assert self._stream is not None
        return self._stream.fileno()

    def logPrefix(self) -> str:
        return "standard input"

    def doRead(self) -> None:
        data = os.read(self.fileno(), 4096)
        if self._over is not None and (not data or b"\n" in data):
            self._reactor.removeReader(self)
            over, self._over = self._over, None
            over.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has given up on the descriptor; so do we."""
        if self._over is not None:
            over, self._over = self._over, None
            over.callback(None)

    def _cancelled(self, deferred: Deferred[None]) -> None:
        self._over = None
        self._reactor.removeReader(self)


def _can_be_waited_for(stream: TextIO | None) -> bool:
    if stream is None:
        return False
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stream.isatty()
