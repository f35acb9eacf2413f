"""Signals and the end of the program, seen from outside."""

from __future__ import annotations

import errno
import io
import signal
import subprocess
import sys

from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nodepool_tx.cli.running import exit_code_of
from nodepool_tx.cli.terminal import Terminal

PROGRAM = """
import signal
import sys
# Whoever runs the tests may have been told to ignore them.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.running import run
from nodepool_tx.cli.terminal import Terminal

async def patient():
    print("begun", flush=True)
    try:
        await Deferred()
    finally:
        print("cleaning up", flush=True)
        if sys.argv[1] == "stubborn":
            await Deferred()

async def done():
    return 7

async def complains():
    raise Complaint("it is so", ExitCode.NO_ZOOKEEPER)

class Closed:
    def isatty(self):
        return False
    def write(self, text):
        raise ValueError("closed")

err = Closed() if sys.argv[1] == "speechless" else sys.stderr
work = {"done": done, "complains": complains, "speechless": complains}.get(sys.argv[1], patient)
sys.exit(run(reactor, work, Terminal(sys.stdout, err, reactor), debug=False))
"""


def start(what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(what: str, *numbers: signal.Signals) -> tuple[int, str, str]:
    """Its exit code and output when it gets these signals, one after the other."""
    program = start(what)
    assert program.stdout is not None
    said = program.stdout.readline()
    program.send_signal(numbers[0])
    for number in numbers[1:]:
        said += program.stdout.readline()
        program.send_signal(number)
    out, err = program.communicate(timeout=30)
    return program.returncode, said + out, err


def test_the_exit_code_is_that_of_the_work() -> None:
    """Nothing is added."""
    program = start("done")
    assert program.communicate(timeout=30) == ("", "")
    assert program.returncode == 7


def test_a_complaint_is_one_line() -> None:
    """With the code that belongs to it."""
    program = start("complains")
    assert program.communicate(timeout=30) == ("", "nodepool: it is so\n")
    assert program.returncode == 3


def test_a_full_disk_is_no_fault_of_ours() -> None:
    """It is told as such."""
    err = io.StringIO()
    full = Failure(OSError(errno.ENOSPC, "No space left on device"))
    assert exit_code_of(full, Terminal(io.StringIO(), err, Clock()), debug=False) == 1
    assert err.getvalue() == "nodepool: cannot write the result: No space left on device\n"


def test_a_signal_lets_the_work_clean_up() -> None:
    """And is told to the shell by the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert interrupted("patient", number) == (128 + number, "begun\ncleaning up\n", "")


def test_a_second_signal_ends_it_at_once() -> None:
    """Cleaning up may hang where a network does."""
    code, out, _ = interrupted("stubborn", signal.SIGINT, signal.SIGINT)
    assert (code, out) == (128 + signal.SIGINT, "begun\ncleaning up\n")


def test_it_ends_even_if_it_cannot_say_why() -> None:
    """As when standard error is closed."""
    program = start("speechless")
    program.communicate(timeout=30)
    assert program.returncode == 1
