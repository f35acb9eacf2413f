"""One expression given on ssh's command line: its value, and a status for scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from nodepool_tx.manhole.evaluating import Interpreter
from nodepool_tx.manhole.showing import describe_error, lines_of
from nodepool_tx.manhole.ssh import Channel

__all__ = ["Command"]

#: Nothing is cut for a program.
WIDTH = 1000
#: Lines written in one turn of the reactor.
AT_ONCE = 100

OK, FAILED, CANCELLED = 0, 1, 130


class Command:
    """One command; see :class:`nodepool_tx.manhole.ssh.Visit`.

    :param later: calls something in another turn of the reactor.
    :param over: called once, when there is nothing more to come.
    """

    def __init__(
        self,
        channel: Channel,
        source: str,
        interpreter: Interpreter,
        size: tuple[int, int] | None,
        run: Callable[[str, Any], Deferred[Any]],
        later: Callable[[Callable[[], None]], object],
        answered: Callable[[str, str], None],
        over: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._source = source
        self._later = later
        self._answered = answered
        self._over = over
        self._width = size[0] or 80 if size else WIDTH
        self._end = "\r\n" if size else "\n"
        self._lines: Iterator[str] | None = None
        self._ended = False
        interpreter.names["print"] = self.print
        self._deferred = run(source, interpreter.evaluate(source.strip()))

    def begin(self) -> None:
        """Show what it gives, when it does."""
        self._deferred.addCallbacks(self._succeeded, self._failed)

    def say(self, text: str) -> None:
        """Write a line in between."""
        self._channel.send((text.replace("\n", self._end) + self._end).encode("utf-8", "replace"))

    def print(self, *values: object, sep: str = " ", end: str = "\n") -> None:
        """Write to standard output."""
        text = sep.join(map(str, values)) + end
        self._channel.send(text.replace("\n", self._end).encode("utf-8", "replace"))

    def _succeeded(self, value: Any) -> None:
        self._answered(self._source, "ok")
        self._lines = lines_of(value, self._width)
        self._write()

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        assert error is not None
        self._answered(self._source, f"{type(error).__name__}: {error}")
        if not self._ended:
            cancelled = isinstance(error, CancelledError)
            lines = ["cancelled"] if cancelled else describe_error(error)
            text = "".join(line + self._end for line in lines)
            self._channel.send_error(text.encode("utf-8", "replace"))
            self._finish(CANCELLED if cancelled else FAILED)

    def _write(self) -> None:
        """Write some lines; the rest when the client has read them, and in another turn."""
        lines = self._lines
        if lines is None or self._ended:
            return
        for _ in range(AT_ONCE):
            if self._channel.full:
                return
            try:
                line = next(lines)
            except StopIteration:
                self._finish(OK)
                return
            except Exception as e:
                self._failed(Failure(e))
                return
            self._channel.send((line + self._end).encode("utf-8", "replace"))
        if not self._channel.full:
            self._later(self._write)

    def _finish(self, status: int) -> None:
        self._lines = None
        if not self._ended:
            self._ended = True
            self._channel.finish(status)
            self._over()

    # -- Visit -----------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Of a terminal only Ctrl-C is of interest."""
        if b"\x03" in data:
            self.interrupt()

    def resized(self, width: int, height: int) -> None:
        """What is being written stays as it is."""

    def interrupt(self) -> None:
        """Cancel it; one that does not end is left behind."""
        self._deferred.cancel()
        if not self._ended and self._lines is None:
            self._finish(CANCELLED)

    def ended_input(self) -> None:
        """There is no input anyway."""

    def drained(self) -> None:
        """The client has read something."""
        self._write()

    def gone(self) -> None:
        """The client is gone."""
        if not self._ended:
            self._ended = True
            self._lines = None
            self._deferred.cancel()
            self._over()

    def end(self, words: str) -> None:
        """The console is closed."""
        if not self._ended:
            self._channel.send_error((words + self._end).encode())
            self._deferred.cancel()
            self._finish(FAILED)
