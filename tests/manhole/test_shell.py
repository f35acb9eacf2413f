"""A shell over a terminal in memory."""

from __future__ import annotations

import json
import os
import pathlib
import re
import stat
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.manhole.evaluating import Interpreter
from nodepool_tx.manhole.history import History
from nodepool_tx.manhole.screen import Screen
from nodepool_tx.manhole.shell import Shell, StillRunning


class Endless:
    """Something with more lines than anybody can look at."""

    made = 0

    def lines(self, width: int) -> Iterator[str]:
        for number in range(10**9):
            Endless.made += 1
            yield f"line {number}"


class ShellTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = b""
        self.left = False
        self.typed: list[str] = []
        self.turns: list[Callable[[], None]] = []
        self.answers: list[tuple[str, str]] = []
        self.directory = self.mktemp()
        self.names: dict[str, Any] = {"endless": Endless(), "Deferred": Deferred}
        self.shell = self.make()

    def make(self, user: str = "eve") -> Shell:
        shell = Shell(
            Screen(self.write, 60, 10),
            Interpreter(self.names),
            History(self.directory, user),
            lambda: iter(("rack",)),
            self.typed.append,
            lambda source, outcome: self.answers.append((source, outcome)),
            self.run_it,
            self.leave,
            self.turns.append,
        )
        shell.begin("hello")
        return shell

    def write(self, data: bytes) -> None:
        self.out += data

    def leave(self) -> None:
        self.left = True

    def run_it(self, what: str, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        inner = Deferred.fromCoroutine(work)

        def cancel(outcome: Deferred[Any]) -> None:
            inner.cancel()
            if not outcome.called:
                outcome.errback(StillRunning())

        outcome: Deferred[Any] = Deferred(cancel)
        inner.addCallbacks(
            lambda r: None if outcome.called else outcome.callback(r),
            lambda f: None if outcome.called else outcome.errback(f),
        )
        return outcome

    def type(self, text: str) -> str:
        """Press keys; gives what is shown for it."""
        before = len(self.out)
        self.shell.received(text.encode())
        while self.turns:
            self.turns.pop(0)()
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.out[before:].decode())

    def test_a_line(self) -> None:
        """It is told before it is run, and its value is shown and kept."""
        self.assertIn("3\r\n", self.type("1 + 2\r"))
        self.assertIn("6\r\n", self.type("_ * 2\r"))
        self.assertEqual(self.typed, ["1 + 2", "_ * 2"])
        self.assertEqual(self.answers, [("1 + 2", "ok"), ("_ * 2", "ok")])

    def test_a_file_that_is_piped_in(self) -> None:
        """Its lines are run one in a turn of the reactor; Ctrl-C drops those that are left."""
        self.shell.received(b"1\r2\r3\r4\r")
        self.assertEqual(self.typed, ["1"])
        self.turns.pop(0)()
        self.assertEqual((self.typed, len(self.turns)), (["1", "2"], 1))
        self.shell.received(b"\x03")
        self.turns.pop(0)()
        self.assertEqual((self.typed, self.turns), (["1", "2"], []))
        self.assertIn("6\r\n", self.type("2 * 3\r"))

    def test_a_key_that_is_held_down(self) -> None:
        """A thousand Ctrl-C at once are one."""
        shown = self.type("1 + 1" + "\x03" * 1000 + "2 + 2\r")
        self.assertEqual(shown.count("^C"), 1)
        self.assertEqual(self.typed, ["2 + 2"])

    def test_errors(self) -> None:
        """They are short, whatever raised them; the launcher cannot be ended by them."""
        self.assertIn("ZeroDivisionError: division by zero", self.type("1 / 0\r"))
        self.assertIn("SyntaxError", self.type("1 1\r"))
        self.assertIn("RuntimeError: SystemExit", self.type("exit()\r"))
        self.assertIn("RuntimeError: KeyboardInterrupt", self.type("raise KeyboardInterrupt\r"))
        self.type("def f(n):\r    return f(n - 1) if n else 1 / 0\r\r")
        shown = self.type("f(50)\r")
        self.assertIn("... ", shown)
        self.assertLess(shown.count("\n"), 12)
        self.assertEqual(
            [o.partition(":")[0] for _, o in self.answers][:2], ["ZeroDivisionError", "SyntaxError"]
        )
        self.assertIn(">>> ", shown)

    def test_what_cannot_be_shown(self) -> None:
        """An object whose repr fails, and one that steers terminals."""
        self.type("class Bad:\r    def __repr__(self): return 1 / 0\r\r")
        self.assertIn("Bad that cannot be shown: ZeroDivisionError", self.type("Bad()\r"))
        self.assertNotIn("\x1b]0;", self.type("print('\\x1b]0;gotcha')\r"))
        self.assertIn("\\x1b]0;gotcha", self.type("print('\\x1b]0;gotcha')\r"))

    def test_large_values_are_cut(self) -> None:
        """A list of a million, a long text, and a loop that prints for ever so long."""
        self.assertLess(len(self.type("list(range(10**6))\r")), 2000)
        self.assertLess(len(self.type("'x' * 10**7\r")), 30_000)
        self.type("q")
        shown = self.type("for i in range(10**5): print(i)\r\r")
        self.assertIn("the rest is left out", shown)
        self.assertLess(len(shown), 100_000)

    def test_pages(self) -> None:
        """Lines are made as they are looked at."""
        Endless.made = 0
        shown = self.type("endless\r")
        self.assertIn("line 8\r\n-- more", shown)
        self.assertLess(Endless.made, 12)
        self.assertIn("line 17\r\n-- more", self.type(" "))
        self.assertIn("line 18\r\n-- more", self.type("\r"))
        self.assertIn("-- more", self.type("x"))
        self.assertIn(">>> ", self.type("q"))
        self.type("endless\r")
        self.assertIn(">>> ", self.type("\x03"))
        self.assertEqual(self.answers[-1], ("endless", "ok"))

    def test_waiting(self) -> None:
        """What can be awaited is; what is typed meanwhile is not lost."""
        waiting = self.names["waiting"] = Deferred[int]()
        self.assertNotIn(">>> ", self.type("waiting\r").partition("\n")[2])
        self.assertEqual(self.type("1 + 1\r"), "")
        before = len(self.out)
        waiting.callback(42)
        shown = self.out[before:].decode()
        self.assertIn("42\r\n", shown)
        self.assertIn("2\r\n", shown)

    def test_ctrl_c_cancels(self) -> None:
        """And the prompt is there again."""
        cancelled: list[object] = []
        waiting: Deferred[int] = Deferred(cancelled.append)
        self.names["waiting"] = waiting
        self.type("await waiting\r")
        shown = self.type("\x03")
        self.assertEqual(cancelled, [waiting])
        self.assertIn("cancelled", shown)
        self.assertIn(">>> ", shown)
        self.assertEqual(self.answers[-1][1].partition(":")[0], "CancelledError")
        self.assertIn("2\r\n", self.type("1 + 1\r"))

    def test_ctrl_c_leaves_behind_what_does_not_end(self) -> None:
        """Something that does not want to be cancelled keeps nobody."""

        async def stubborn() -> str:
            try:
                await Deferred()
            except CancelledError:
                await last
            return "done at last"

        last: Deferred[None] = Deferred()
        self.names["stubborn"] = stubborn
        self.type("stubborn()\r")
        self.assertIn("goes on in the background", self.type("\x03"))
        self.assertIn("2\r\n", self.type("1 + 1\r"))
        before = self.out
        last.callback(None)
        self.assertEqual(self.out, before)

    def test_ctrl_c_at_the_prompt(self) -> None:
        """What was typed is given up, several lines of it as well."""
        self.type("for x in y:\r    print(")
        self.assertTrue(self.type("\x03").endswith(">>> \r"))
        self.assertIn("2\r\n", self.type("1 + 1\r"))
        self.assertEqual(self.typed, ["1 + 1"])

    def test_many_lines_at_once(self) -> None:
        """A thousand commands in one go are worked through one by one."""
        shown = self.type("1 + 1\r" * 300)
        self.assertEqual(shown.count("2\r\n"), 300)

    def test_completion(self) -> None:
        """One offer is put in, several are shown, at the begin of a line it indents."""
        self.assertIn("endless", self.type("endl\t"))
        self.type("\x15")
        self.names.update(abc_one=1, abc_two=2)
        self.assertIn("abc_", self.type("ab\t"))
        self.assertIn("abc_one", self.type("\t"))
        self.type("\x15")
        self.assertIn("('rack", self.type("idle('r\t"))
        self.type("\x15")
        self.assertIn("    ", self.type("\t"))

    def test_leaving(self) -> None:
        """Ctrl-D leaves on an empty line only."""
        self.type("x\x04")
        self.assertFalse(self.left)
        self.type("\x15\x04")
        self.assertTrue(self.left)

    def test_nothing_is_shown_afterwards(self) -> None:
        """What comes late finds nobody; what is awaited is cancelled."""
        cancelled: list[object] = []
        waiting: Deferred[int] = Deferred(cancelled.append)
        self.names["waiting"] = waiting
        self.type("await waiting\r")
        self.shell.end("goodbye")
        self.assertIn(b"goodbye", self.out)
        before = self.out
        self.shell.tell("late")
        self.shell.print("late")
        self.type("1 + 1\r")
        self.assertEqual(self.out, before)
        self.assertEqual(cancelled, [waiting])

    def test_history(self) -> None:
        """Kept from one log-in to the next, for each user, for their eyes only."""
        self.type("1 + 1\r2 + 2\r2 + 2\r")
        self.shell.end()
        (path,) = pathlib.Path(self.directory).iterdir()
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.directory).st_mode), 0o700)
        self.assertEqual(json.loads(path.read_text()), ["1 + 1", "2 + 2"])
        self.shell = self.make()
        self.assertIn("2 + 2", self.type("\x1b[A"))
        self.shell.end()
        self.shell = self.make("../../eve/\0")
        self.assertNotIn("2 + 2", self.type("\x1b[A"))
        path.write_text("garbage")
        self.assertEqual(History(self.directory, "eve").lines, [])

    def test_history_is_bounded(self) -> None:
        """Old lines go."""
        history = History(self.directory, "eve")
        for number in range(600):
            history.add(f"line {number}")
        history.add("x" * 10_000)
        self.assertEqual((len(history.lines), history.lines[-1]), (500, "line 599"))

    def test_another_size(self) -> None:
        """Whatever size a terminal says it has, lines fit, and nonsense is not believed."""
        for width, height in ((30, 8), (0, 0), (2**31, 2**31), (1, 1)):
            self.shell.resized(width, height)
            self.assertIn("2\r\n", self.type("1 + 1\r"))
            self.assertLessEqual(self.shell.screen.width, 500)
