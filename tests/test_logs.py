"""Log lines for people and for machines."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import InvalidLogLevelError, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.logs import LineObserver, make_observer


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
            r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} warn     "
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
        """An event is one JSON object on one line, with its fields and the message as text."""
        self.log.info("node {node_id} is\nfree", node_id="42", event_id="e7")
        (line,) = self.lines
        event = json.loads(line)
        self.assertEqual((event["node_id"], event["event_id"]), ("42", "e7"))
        self.assertEqual(event["log_namespace"], "nodepool_tx.pools.service")
        self.assertEqual(event["message"], "node 42 is\nfree")

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
        self.log.info("{value}", value={object()})
        self.assertEqual(len(self.lines), 1)
        json.loads(self.lines[0])


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
