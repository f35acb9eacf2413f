"""What somebody at a terminal meets: a prompt, answers, and pages of them.

Whatever is awaited leaves the launcher and everybody else's console alone.
While it is, Ctrl-C gives the prompt back: what was awaited is cancelled, and
if it does not end at once it goes on in the background, where ``tasks()``
shows it.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from nodepool_tx.manhole.completion import complete, shared_beginning
from nodepool_tx.manhole.editor import LineEditor
from nodepool_tx.manhole.evaluating import Interpreter, is_complete
from nodepool_tx.manhole.history import History
from nodepool_tx.manhole.keyboard import Key, Keyboard
from nodepool_tx.manhole.screen import Screen
from nodepool_tx.manhole.showing import describe_error, lines_of
from nodepool_tx.manhole.widths import wrapped
from nodepool_tx.reports.table import printable

__all__ = ["Shell", "StillRunning"]

#: Keys that are kept while something is awaited.
TYPED_AHEAD = 2000
#: Keys that are handled in one turn of the reactor, and those of which it is one.
AT_ONCE = 100
_LONG_WORK = frozenset({"enter", "tab", "paste"})
#: Lines that one command may print by itself.
MOST_PRINTED = 2000
#: Lines of one input.
MOST_LINES = 1000
_MORE = "-- more: space, enter; q ends --"


class StillRunning(Exception):
    """It was cancelled and has not ended."""


class _Mode(enum.Enum):
    TYPING = "typing"
    RUNNING = "running"
    PAGING = "paging"
    OVER = "over"


class Shell:
    """One terminal's conversation.

    :param known: names that Tab offers inside quotes.
    :param typed: told every input before it is run.
    :param answered: told what came of it, in a few words.
    :param run: starts a coroutine under a name, so that it is seen while it runs.
    :param leave: called when the user wants to go.
    :param later: calls something in another turn of the reactor.
    """

    def __init__(
        self,
        screen: Screen,
        interpreter: Interpreter,
        history: History,
        known: Callable[[], Iterator[str]],
        typed: Callable[[str], None],
        answered: Callable[[str, str], None],
        run: Callable[[str, Any], Deferred[Any]],
        leave: Callable[[], None],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self.screen = screen
        self._interpreter = interpreter
        self._history = history
        self._known = known
        self._typed = typed
        self._answered = answered
        self._run = run
        self._leave = leave
        self._later = later
        self._keyboard = Keyboard()
        self._editor = LineEditor(history.lines)
        self._ahead: deque[Key] = deque()
        self._working = False
        self._lines: list[str] = []
        self._mode = _Mode.TYPING
        self._running: Deferred[Any] | None = None
        self._page: Iterator[str] = iter(())
        self._printed = 0
        interpreter.names["print"] = self.print

    # -- from outside ----------------------------------------------------

    def begin(self, greeting: str) -> None:
        """Greet, and show the first prompt."""
        # The terminal is to say where a paste begins and ends.
        self.screen.send("\x1b[?2004h")
        for line in greeting.split("\n"):
            self.screen.line(printable(line))
        self._draw()

    def received(self, data: bytes) -> None:
        """Bytes came from the terminal."""
        keys = self._keyboard.feed(data)
        interrupts = [place for place, key in enumerate(keys) if key.name == "ctrl-c"]
        if interrupts:
            # Whatever was typed before it is void, and a key that is held down counts once.
            self._ahead.clear()
            self.interrupt()
            keys = keys[interrupts[-1] + 1 :]
        self._ahead.extend(keys[: max(0, TYPED_AHEAD - len(self._ahead))])
        self._work()

    def resized(self, width: int, height: int) -> None:
        """The terminal's window has another size."""
        self.screen.resize(width, height)
        if self._mode is _Mode.TYPING:
            self._draw()

    def interrupt(self) -> None:
        """Ctrl-C: give up what is typed, awaited or shown."""
        if self._mode is _Mode.RUNNING:
            self._cancel()
        elif self._mode is _Mode.PAGING:
            self._end_page()
        elif self._mode is _Mode.TYPING:
            self._draw("^C")
            self.screen.line()
            self._lines.clear()
            self._editor.reset()
            self._draw()

    def tell(self, text: str) -> None:
        """Say something in between, above the line that is being typed."""
        if self._mode is _Mode.OVER:
            return
        if self._mode is _Mode.TYPING:
            self.screen.erase()
        for line in text.split("\n"):
            self.screen.line(printable(line))
        if self._mode is _Mode.TYPING:
            self._draw()

    def end(self, farewell: str = "") -> None:
        """The conversation is over; nothing is written afterwards."""
        if self._mode is _Mode.OVER:
            return
        self.screen.line()
        if farewell:
            self.screen.line(printable(farewell))
        self.screen.send("\x1b[?2004l")
        self.gone()

    def gone(self) -> None:
        """The terminal is gone."""
        if self._mode is _Mode.OVER:
            return
        self._mode = _Mode.OVER
        self._history.save()
        self._ahead.clear()
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    # -- keys ------------------------------------------------------------

    def _work(self) -> None:
        """Handle keys for as long as somebody is at the prompt, or looks at pages.

        A file that somebody pipes in has its lines run one in a turn of the reactor.
        """
        if self._working:
            return
        self._working = True
        try:
            for _ in range(AT_ONCE):
                if not self._may_work():
                    break
                key = self._ahead.popleft()
                if self._mode is _Mode.PAGING:
                    self._turn(key)
                else:
                    self._type(key)
                if key.name in _LONG_WORK:
                    break
        finally:
            self._working = False
        if self._may_work():
            self._working = True
            self._later(self._go_on)

    def _may_work(self) -> bool:
        return bool(self._ahead) and self._mode in (_Mode.TYPING, _Mode.PAGING)

    def _go_on(self) -> None:
        self._working = False
        self._work()

    def _type(self, key: Key) -> None:
        if key.name == "enter":
            self._submit()
        elif key.name == "tab":
            self._complete()
        elif key.name == "ctrl-d" and not self._editor.text:
            self._leave()
        elif key.name == "ctrl-d":
            self._editor.press(Key("delete"))
            self._draw()
        elif key.name == "ctrl-l":
            self.screen.clear()
            self._draw()
        elif key.name == "paste":
            self._paste(key.text)
        elif self._editor.press(key) and not self._ahead:
            self._draw()

    def _paste(self, text: str) -> None:
        """Several lines at once wait for Enter, even with empty ones among them."""
        first, *others = text.split("\n")
        self._editor.insert(first)
        for line in others:
            self._draw()
            self.screen.line()
            self._lines.append(self._editor.text)
            self._editor.reset(line)
        self._draw()

    def _draw(self, mark: str = "") -> None:
        prompt = "... " if self._lines else ">>> "
        text, cursor = self._editor.render(prompt, self.screen.width)
        self.screen.draw(text + mark, cursor)

    def _complete(self) -> None:
        before = self._editor.text[: self._editor.at]
        if not before.strip():
            self._editor.insert("    ")
            self._draw()
            return
        begun, found = complete(before, self._interpreter.names, self._known)
        more = shared_beginning(found)[len(begun) :]
        if more:
            self._editor.insert(more)
        elif len(found) > 1:
            self.screen.line()
            for line in _in_columns(found, self.screen.width):
                self.screen.line(line)
        self._draw()

    # -- running ---------------------------------------------------------

    def _submit(self) -> None:
        self._editor.at = len(self._editor.text)
        self._draw()
        self.screen.line()
        # Indentation alone, which was put there for the user, says nothing.
        line = self._editor.text if self._editor.text.strip() else ""
        self._history.add(line)
        self._lines.append(line)
        self._editor.reset()
        source = "\n".join(self._lines)
        if not source.strip():
            self._lines.clear()
            self._draw()
            return
        if len(self._lines) < MOST_LINES and not is_complete(source):
            self._editor.reset(_indentation(line))
            self._draw()
            return
        self._lines.clear()
        self._typed(source)
        self._mode = _Mode.RUNNING
        self._printed = 0
        deferred = self._run(source, self._interpreter.run(source))
        self._running = deferred
        deferred.addCallbacks(
            self._succeeded, self._failed, (source, deferred), {}, (source, deferred)
        )

    def _succeeded(self, value: Any, source: str, deferred: Deferred[Any]) -> None:
        self._answered(source, "ok")
        if self._running is deferred:
            self._running = None
            self._show(lines_of(value, self.screen.width))

    def _failed(self, failure: Failure, source: str, deferred: Deferred[Any]) -> None:
        error = failure.value
        assert error is not None
        self._answered(source, f"{type(error).__name__}: {error}")
        if self._running is not deferred:
            return
        self._running = None
        if isinstance(error, StillRunning):
            self._show(iter(["it has not ended yet and goes on in the background: see tasks()"]))
        elif isinstance(error, CancelledError):
            self._show(iter(["cancelled"]))
        else:
            self._show(iter(describe_error(error)))

    def _cancel(self) -> None:
        self.screen.line("^C")
        if self._running is not None:
            self._running.cancel()

    def print(self, *values: object, sep: str = " ", end: str = "\n") -> None:
        """Write to this console; what is too much is left out."""
        if self._mode is _Mode.OVER:
            return
        text = sep.join(str(value) for value in values) + end
        for line in text.removesuffix("\n").split("\n"):
            self._printed += 1
            if self._printed == MOST_PRINTED:
                self.tell("(more than a console can show: the rest is left out)")
            elif self._printed < MOST_PRINTED:
                for piece in wrapped(printable(line[:10_000]), self.screen.width):
                    self.tell(piece)

    # -- pages -----------------------------------------------------------

    def _show(self, lines: Iterator[str]) -> None:
        if self._mode is _Mode.OVER:
            return
        self._mode = _Mode.PAGING
        self._page = lines
        self._next(self.screen.height - 1)

    def _next(self, count: int) -> None:
        """Write so many more lines, then ask, unless that was all."""
        for _ in range(count):
            try:
                line = next(self._page)
            except StopIteration:
                self._end_page()
                return
            except Exception as e:
                for line in describe_error(e):
                    self.screen.line(line)
                self._end_page()
                return
            self.screen.line(line)
        try:
            line = next(self._page)
        except StopIteration:
            self._end_page()
            return
        except Exception as e:
            line = f"{type(e).__name__}: {e}"
        self._page = _chained(line, self._page)
        self.screen.send(_MORE)

    def _turn(self, key: Key) -> None:
        self.screen.erase()
        if key.text == " " or key.name in ("page-down", "ctrl-f"):
            self._next(self.screen.height - 1)
        elif key.name in ("enter", "down"):
            self._next(1)
        elif key in (Key("text", "q"), Key("ctrl-d")):
            self._end_page()
        else:
            self.screen.send(_MORE)

    def _end_page(self) -> None:
        if self._mode is _Mode.PAGING:
            self.screen.erase()
            self._page = iter(())
            self._mode = _Mode.TYPING
            self._draw()
            self._work()


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _indentation(line: str) -> str:
    """What the next line begins with."""
    indentation = line[: len(line) - len(line.lstrip())]
    return indentation + ("    " if line.rstrip().endswith(":") else "")


def _in_columns(words: list[str], width: int) -> list[str]:
    each = max(map(len, words)) + 2
    count = max(1, width // each)
    return [
        "".join(word.ljust(each) for word in words[at : at + count]).rstrip()
        for at in range(0, len(words), count)
    ]
