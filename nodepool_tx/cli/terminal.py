"""Where output goes: results to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
from typing import TextIO

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from nodepool_tx.reports.table import printable, spelled_out

__all__ = ["Terminal"]

#: Seconds between two drawings of the line that shows progress.
_REDRAW = 0.1


class Terminal:
    """The two streams, and one line of progress on the second.

    On a terminal that line is drawn over and over, with the time that has
    passed; elsewhere each new text is a line of its own.
    """

    def __init__(self, out: TextIO, err: TextIO, clock: IReactorTime) -> None:
        self._out = out
        self._err = err
        self._clock = clock
        self._live = err.isatty()
        self._unread = False
        self._drawn = False
        self._text = ""
        self._since = 0.0
        self._drawing = LoopingCall(self._draw)
        self._drawing.clock = clock

    @property
    def is_screen(self) -> bool:
        """Results go to somebody's terminal."""
        return self._out.isatty()

    def result(self, text: str) -> None:
        """What the command was asked for; a reader that has seen enough is fine.

        :raises OSError: it could not be written for another reason.
        """
        self.settle()
        self._write(text + "\n")

    @property
    def unread(self) -> bool:
        """Whoever read the results has gone away."""
        if not self._unread:
            self._unread = _has_no_reader(self._out)
        return self._unread

    @property
    def room(self) -> int:
        """Lines that :meth:`redraw` can show: the one below stays free for the cursor."""
        return max(2, _size(self._out).lines - 1)

    def redraw(self, text: str, more: int = 0) -> None:
        """Show this instead of what was shown, from the top; for a screen only.

        What does not fit on the screen is left out, and how much that is told.

        :param more: lines that were left out already.
        :raises OSError: it could not be written.
        """
        self.settle()
        lines = text.split("\n")
        room = self.room
        if more or len(lines) > room:
            more += max(0, len(lines) - room + 1)
            lines = [*lines[: room - 1], f"… {more} more lines"]
        # Draws over what there is, which does not flicker; long lines are cut
        # by the terminal for as long as this takes.
        start = "\x1b[?7l\x1b[H" if self._drawn else "\x1b[?7l\x1b[H\x1b[2J"
        self._drawn = True
        body = "".join(f"{line}\x1b[K\n" for line in lines)
        self._write(f"{start}{body}\x1b[J\x1b[?7h")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            self._unread = True

    def note(self, text: str) -> None:
        """Something worth a line that stays, or several."""
        self._clear()
        self._say(spelled_out(text) + "\n")
        self._draw_if_live()

    def _say(self, text: str) -> None:
        # The terminal may have been closed: no reason not to clean up.
        with contextlib.suppress(OSError):
            self._err.write(text)
            self._err.flush()

    def progress(self, text: str, since: float | None = None) -> None:
        """What is being waited for; replaces what was said before.

        :param since: when the wait began, if not with the first of these.
        """
        if not self._text:
            self._since = self._clock.seconds() if since is None else since
        if text == self._text:
            return
        self._text = text
        if not self._live:
            self._say(f"{self._passed()}  {spelled_out(text)}\n")
        elif self._drawing.running:
            self._draw()
        else:
            self._drawing.start(_REDRAW)

    def interrupted(self) -> None:
        """The terminal has shown ``^C`` in the line; leave that and go on in the next."""
        if self._live:
            self._say("\n")

    def settle(self) -> None:
        """Nothing is being waited for any more."""
        if self._drawing.running:
            self._drawing.stop()
        self._clear()
        self._text = ""

    def _passed(self) -> str:
        return f"{self._clock.seconds() - self._since:5.1f} s"

    def _draw(self) -> None:
        columns = _size(self._err).columns
        line = f"{self._passed()}  {printable(self._text)}"
        if len(line) >= columns:
            line = line[: max(0, columns - 2)] + "…"
        self._say(f"\r\x1b[K{line}")

    def _draw_if_live(self) -> None:
        if self._drawing.running:
            self._draw()

    def _clear(self) -> None:
        if self._live and self._text:
            self._say("\r\x1b[K")


def _has_no_reader(stream: TextIO) -> bool:
    """The other end of a pipe is closed."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False


def _size(stream: TextIO) -> os.terminal_size:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = shutil.get_terminal_size()
    return os.terminal_size((size.columns or 80, size.lines or 24))
