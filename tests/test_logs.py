"""Log lines for people and for machines."""

from __future__ import annotations

import io
import json
import os
import pathlib
from typing import Any

from twisted.logger import InvalidLogLevelError, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.logs import (
    FILES_KEPT,
    LineObserver,
    begin_new_file,
    make_observer,
    open_file,
)


class LogTestCase(SynchronousTestCase):
    style = "text"

    def setUp(self) -> None:
        self.out = io.StringIO()
        self.observer = LineObserver(self.out, self.style)
        self.log = Logger(namespace="nodepool_tx.pools.service", observer=self.observer)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()

    def event(self, **fields: Any) -> LogEvent:
        return {
            "log_time": 0.0,
            "log_level": LogLevel.info,
            "log_namespace": "nodepool_tx.janitor",
            "log_format": "",
            **fields,
        }


class TextTests(LogTestCase):
    def test_a_line(self) -> None:
        """A line tells time, level, which part of us speaks, and what it says."""
        self.log.warn("it is {temperature} degrees", temperature=40)
        (line,) = self.lines
        self.assertRegex(
            line,
            r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d warn     "
            r"\[pools\.service\] it is 40 degrees$",
        )

    def test_traced_fields_follow(self) -> None:
        """Fields that lead through the system are appended if the message lacks them."""
        self.log.info(
            "done with {request_id}", request_id="100-1", event_id="e7", node_id="42", pool="main"
        )
        (line,) = self.lines
        self.assertTrue(line.endswith("done with 100-1  event_id=e7 node_id=42 pool=main"), line)

    def test_value_that_happens_to_be_in_the_text(self) -> None:
        """A traced field is shown even if its value is a part of some other word."""
        self.log.info("removed from {where}", where="10.0.0.1", node_id="1", provider="a")
        self.assertTrue(self.lines[0].endswith("  node_id=1 provider=a"), self.lines[0])

    def test_what_is_to_be_called(self) -> None:
        """A field with a call in it is called; parentheses alone are text."""
        self.log.info("there are {count()} (of {all})", count=lambda: 3, all=4)
        self.log.info("gone (was {number!r:>3})", number=7)
        first, second = self.lines
        self.assertTrue(first.endswith("] there are 3 (of 4)"), first)
        self.assertTrue(second.endswith("] gone (was   7)"), second)

    def test_plural_field_is_another_field(self) -> None:
        """A message that names a list of nodes does not hide the node of the event."""
        self.log.info("one of {node_ids}", node_ids="1, 2", node_id="2")
        self.assertTrue(self.lines[0].endswith("one of 1, 2  node_id=2"), self.lines[0])

    def test_fields_without_value(self) -> None:
        """Empty fields and lists are not appended."""
        self.log.info("nothing", event_id=None, request_id="", node_id=("1", "2"))
        self.assertTrue(self.lines[0].endswith("] nothing"), self.lines[0])

    def test_traceback(self) -> None:
        """A failure comes with its traceback, on lines of its own."""
        try:
            raise ValueError("the reason")
        except ValueError:
            self.log.failure("{what} failed", what="the work")
        self.assertIn("critical [pools.service] the work failed", self.lines[0])
        self.assertIn("the reason", self.lines[-1])
        self.assertIn("test_logs.py", self.out.getvalue())

    def test_old_style_text(self) -> None:
        """An event without a format shows its plain text."""
        self.observer(self.event(log_text="from long ago", log_format=None))
        self.assertTrue(self.lines[0].endswith("from long ago"))

    def test_event_without_anything(self) -> None:
        """An event that has nothing makes a line all the same."""
        self.observer({})
        self.assertEqual(len(self.lines), 1)
        self.assertIn("info", self.lines[0])

    def test_bad_format_is_told(self) -> None:
        """A message that cannot be formatted says so instead of raising."""
        self.log.info("{missing} field")
        self.log.info("{unclosed")
        self.assertEqual(len([line for line in self.lines if "nable to format" in line]), 2)

    def test_value_that_raises(self) -> None:
        """A value that cannot be shown does not raise into the program."""

        class Rude:
            def __str__(self) -> str:
                raise ValueError("no")

            __repr__ = __str__

        self.log.info("{value}", value=Rude())
        self.log.info("fine", pool=Rude())
        self.log.info("after")
        self.assertTrue(self.lines[-1].endswith("after"))

    def test_output_that_fails(self) -> None:
        """A log that cannot be written to does not stop the program."""

        class Full(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError("no space left")

        LineObserver(Full())(self.event())
        closed = io.StringIO()
        closed.close()
        LineObserver(closed)(self.event())
        ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        LineObserver(ascii_only)(self.event(log_format="Kiel \N{RIGHTWARDS ARROW} \udc80"))


class JSONTests(LogTestCase):
    style = "json"

    def test_a_line(self) -> None:
        """An event is one JSON object on one line, with the message as text and its fields."""
        self.log.info("node {node_id} is\nfree", node_id="42", event_id="e7")
        (line,) = self.lines
        event = json.loads(line)
        self.assertRegex(event.pop("time"), r"^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}[+-]\d\d:\d\d$")
        self.assertEqual(
            event,
            {
                "level": "info",
                "source": "pools.service",
                "message": "node 42 is\nfree",
                "format": "node {node_id} is\nfree",
                "node_id": "42",
                "event_id": "e7",
            },
        )

    def test_traceback(self) -> None:
        """A failure's traceback is in the object."""
        try:
            raise ValueError("the reason")
        except ValueError:
            self.log.failure("bad", failure=Failure())
        event = json.loads(self.lines[0])
        self.assertIn("the reason", event["traceback"])

    def test_what_json_does_not_know(self) -> None:
        """Values that JSON cannot hold do not lose the event."""
        self.log.info("{value}", value={object()}, other={1: {2}, (3,): 4})
        self.assertEqual(len(self.lines), 1)
        json.loads(self.lines[0])

    def test_event_that_cannot_be_formatted(self) -> None:
        """Such a line is JSON, too."""

        class Rude:
            def __repr__(self) -> str:
                raise ValueError("no")

        self.log.info("fine", value=Rude())
        self.observer({})
        rude, empty = (json.loads(line) for line in self.lines)
        self.assertIn("could not be formatted", rude["message"])
        self.assertEqual(empty["time"], "-")


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.file = open_file(self.path)
        self.addCleanup(lambda: self.file.close())

    def read(self, path: str) -> str:
        return pathlib.Path(path).read_text()

    def test_asked_for(self) -> None:
        """The file so far is put aside, and a new one is begun."""
        self.file.write("old\n")
        begin_new_file(self.file)
        self.file.write("new\n")
        self.assertEqual((self.read(self.path), self.read(f"{self.path}.1")), ("new\n", "old\n"))

    def test_mode(self) -> None:
        """Who may read the first file may read the others, whatever becomes of the umask."""
        mode = pathlib.Path(self.path).stat().st_mode
        umask = os.umask(0o777 & ~mode | 0o077)
        self.addCleanup(os.umask, umask)
        begin_new_file(self.file)
        self.assertEqual(pathlib.Path(self.path).stat().st_mode, mode)

    def test_moved_by_others(self) -> None:
        """A file that somebody else has moved away is left where it is, and a new one is begun."""
        self.file.write("old\n")
        pathlib.Path(self.path).rename(f"{self.path}-yesterday")
        begin_new_file(self.file)
        self.file.write("new\n")
        self.assertEqual(self.read(self.path), "new\n")
        self.assertEqual(self.read(f"{self.path}-yesterday"), "old\n")

    def test_bounded(self) -> None:
        """It is put aside when it is large, and only so many are kept."""
        self.file.rotateLength = 10
        for number in range(FILES_KEPT + 5):
            self.file.write(f"number {number:03}\n")
        names = sorted(path.name for path in pathlib.Path(self.path).parent.glob("*"))
        kept = [name for name in names if name.startswith(pathlib.Path(self.path).name)]
        self.assertEqual(len(kept), FILES_KEPT + 1)
        self.assertEqual(self.read(f"{self.path}.1"), f"number {FILES_KEPT + 3:03}\n")


class MakeObserverTests(SynchronousTestCase):
    def log(self, level: str, namespace: str) -> list[str]:
        out = io.StringIO()
        log = Logger(namespace=namespace, observer=make_observer(out, "text", level))
        log.debug("a debug line")
        log.info("an info line")
        log.warn("a warning")
        return [line.split("] ")[1] for line in out.getvalue().splitlines()]

    def test_levels(self) -> None:
        """Only events from the level up are written."""
        self.assertEqual(self.log("warn", "nodepool_tx.x"), ["a warning"])
        self.assertEqual(self.log("info", "nodepool_tx.x"), ["an info line", "a warning"])
        self.assertEqual(len(self.log("debug", "nodepool_tx.x")), 3)

    def test_twisted_is_quiet(self) -> None:
        """What Twisted says about its own doings is left out, its warnings are not."""
        self.assertEqual(self.log("info", "twisted.internet.protocol"), ["a warning"])

    def test_no_such_level(self) -> None:
        """A level that does not exist is refused."""
        with self.assertRaises(InvalidLogLevelError):
            make_observer(io.StringIO(), "text", "loud")
