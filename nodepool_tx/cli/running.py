"""The reactor around one command: signals, errors, and the exit code."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.terminal import Terminal

__all__ = ["exit_code_of", "run"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What shells call a program that a signal ended.
_SIGNALLED = 128

#: A file takes no more.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def exit_code_of(failure: Failure, terminal: Terminal, *, debug: bool) -> int:
    """Tell why a command ended, in one line."""
    error = failure.value
    if isinstance(error, CancelledError):
        return ExitCode.INTERRUPTED
    if isinstance(error, Complaint):
        terminal.note(f"nodepool: {error}")
        return error.code
    if debug:
        terminal.note(failure.getTraceback())
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        terminal.note(f"nodepool: cannot write the result: {error.strerror}")
        return ExitCode.FAILED
    more = "" if debug else "; --debug shows where it happened"
    terminal.note(f"nodepool: this is a fault of nodepool: {error!r}{more}")
    return ExitCode.FAILED


def run(
    reactor: Any, work: Callable[[], Coroutine[Any, Any, int]], terminal: Terminal, *, debug: bool
) -> int:
    """Run the reactor until the work is done, and return its exit code.

    The first signal cancels the work, which then cleans up; a second one ends
    the reactor at once and leaves the rest to ZooKeeper.
    """
    codes: list[int] = []
    signals: list[int] = []
    working: list[Deferred[Any]] = []

    def end(code: int) -> None:
        if not codes:
            codes.append(code)
            reactor.stop()

    def start() -> None:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, on_signal)
        working.append(Deferred.fromCoroutine(work()))
        working[0].addErrback(exit_code_of, terminal, debug=debug)
        working[0].addCallback(finish)
        # Whatever telling it ran into, there must be an end.
        working[0].addErrback(lambda failure: end(ExitCode.FAILED))

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        reactor.callFromThread(interrupt)

    def interrupt() -> None:
        if len(signals) > 1:
            end(_SIGNALLED + signals[0])
        else:
            if signals == [signal.SIGINT]:
                terminal.interrupted()
            working[0].cancel()

    def finish(code: int) -> None:
        terminal.settle()
        interrupted = code == ExitCode.INTERRUPTED and signals
        end(_SIGNALLED + signals[0] if interrupted else code)

    # Once the reactor has set its own handlers, which this replaces.
    reactor.callWhenRunning(reactor.callLater, 0, start)
    reactor.run()
    return codes[0] if codes else ExitCode.INTERRUPTED
