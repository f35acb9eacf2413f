"""Asking the person at the terminal."""

from __future__ import annotations

import os
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["TypedLine"]


@implementer(IReadDescriptor)
class TypedLine:
    """The next line that is typed; the empty text at the end of what there is.

    :param reactor: an IReactorFDSet.
    :param stream: a terminal.
    """

    def __init__(self, reactor: Any, stream: TextIO) -> None:
        self._reactor = reactor
        self._stream = stream
        self._typed = b""
        self._line: Deferred[str] | None = None

    def read(self) -> Deferred[str]:
        """Fires once; cancelling it leaves what is typed to others."""
        self._line = Deferred(self._cancelled)
        self._reactor.addReader(self)
        return self._line

    def fileno(self) -> int:
        return self._stream.fileno()

    def logPrefix(self) -> str:
        return "standard input"

    def doRead(self) -> None:
        data = os.read(self.fileno(), 4096)
        self._typed += data
        if not data or b"\n" in data:
            self._answer()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has given up on the descriptor: nothing more will come."""
        self._answer()

    def _answer(self) -> None:
        line = self._end()
        if line is not None:
            typed, _, self._typed = self._typed.partition(b"\n")
            line.callback(typed.decode(errors="replace").strip())

    def _cancelled(self, deferred: Deferred[str]) -> None:
        self._end()

    def _end(self) -> Deferred[str] | None:
        line, self._line = self._line, None
        self._reactor.removeReader(self)
        return line
