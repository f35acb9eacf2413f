"""What is written where."""

import io
import os
import pty

from twisted.internet.task import Clock

from nodepool_tx.cli.main import leave
from nodepool_tx.cli.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_results_and_progress_do_not_mix() -> None:
    """Standard output holds the result only, so it can be piped."""
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err, Clock())
    terminal.progress("waiting")
    terminal.note("a note")
    terminal.result("the result")
    assert out.getvalue() == "the result\n"
    assert err.getvalue() == "  0.0 s  waiting\na note\n"


def test_nothing_steers_the_terminal() -> None:
    """Names come from others."""
    err = io.StringIO()
    terminal = Terminal(io.StringIO(), err, Clock())
    terminal.progress("\x1b[2Jwaiting")
    terminal.note("two\x07\nlines")
    assert err.getvalue() == "  0.0 s  \\x1b[2Jwaiting\ntwo\\x07\nlines\n"


def test_elsewhere_than_on_a_terminal_each_change_is_a_line() -> None:
    """And the same text is not repeated."""
    err, clock = io.StringIO(), Clock()
    terminal = Terminal(io.StringIO(), err, clock)
    terminal.progress("one")
    clock.advance(1.5)
    terminal.progress("one")
    terminal.progress("two")
    assert err.getvalue() == "  0.0 s  one\n  1.5 s  two\n"
    assert clock.getDelayedCalls() == []


def test_on_a_terminal_one_line_is_drawn_over_and_over() -> None:
    """With the time that has passed, until there is nothing to wait for."""
    err, clock = Screen(), Clock()
    terminal = Terminal(io.StringIO(), err, clock)
    terminal.progress("waiting")
    clock.pump([0.1, 0.1])
    assert err.getvalue() == (
        "\r\x1b[K  0.0 s  waiting\r\x1b[K  0.1 s  waiting\r\x1b[K  0.2 s  waiting"
    )
    terminal.settle()
    assert err.getvalue().endswith("\r\x1b[K")
    assert clock.getDelayedCalls() == []


def test_a_note_goes_above_the_live_line() -> None:
    """The line is drawn again below it."""
    err, clock = Screen(), Clock()
    terminal = Terminal(io.StringIO(), err, clock)
    terminal.progress("waiting")
    terminal.note("a note")
    assert err.getvalue().endswith("\r\x1b[Ka note\n\r\x1b[K  0.0 s  waiting")
    terminal.settle()


def test_a_long_line_is_cut_to_the_terminal() -> None:
    """A line that wraps could not be drawn over."""
    err, clock = Screen(), Clock()
    terminal = Terminal(io.StringIO(), err, clock)
    terminal.progress("x" * 500)
    drawn = err.getvalue().removeprefix("\r\x1b[K")
    assert len(drawn) < 500
    assert drawn.endswith("…")
    terminal.settle()


def test_what_follows_an_interrupt_begins_a_line() -> None:
    """On a terminal, which shows ``^C`` where it was; elsewhere nothing was shown."""
    for err, said in ((Screen(), "\na note\n"), (io.StringIO(), "a note\n")):
        terminal = Terminal(io.StringIO(), err, Clock())
        terminal.interrupted()
        terminal.note("a note")
        assert err.getvalue() == said


def test_a_screen_is_drawn_over_without_being_emptied() -> None:
    """Only the first drawing empties it, so that nothing flickers."""
    out = Screen()
    terminal = Terminal(out, io.StringIO(), Clock())
    terminal.redraw("one\ntwo")
    terminal.redraw("three")
    assert out.getvalue() == (
        "\x1b[?7l\x1b[H\x1b[2Jone\x1b[K\ntwo\x1b[K\n\x1b[J\x1b[?7h"
        "\x1b[?7l\x1b[Hthree\x1b[K\n\x1b[J\x1b[?7h"
    )


def test_what_does_not_fit_is_told() -> None:
    """With what was left out before."""
    out = Screen()
    terminal = Terminal(out, io.StringIO(), Clock())
    lines = [str(number) for number in range(terminal.room + 2)]
    terminal.redraw("\n".join(lines), more=7)
    shown = out.getvalue().split("\x1b[K\n")
    assert shown[-2] == "… 10 more lines"
    assert len(shown) - 1 == terminal.room


def test_a_terminal_that_is_gone_is_left_in_peace() -> None:
    """What could not be written is no error of the command, nor of the interpreter's end."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as screen:
        screen.write("in use until")
        os.close(ours)
        leave(screen)
