"""Log lines for people, or JSON for machines.

A line is ``time level [source] message  key=value ...``: the keys that let one
follow an event through the system (event id, request, node, provider) are
appended unless the message has them already.  In JSON an event has all its
fields, its text as ``message``, and the ``traceback`` of its failure.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Protocol

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsJSON,
    formatEvent,
    formatTime,
)
from zope.interface import implementer

__all__ = ["FORMATS", "LineObserver", "Sink", "make_observer"]

#: Fields worth a place on every line that has them.
TRACED = ("event_id", "request_id", "node_id", "provider", "pool", "hostname")

FORMATS = ("text", "json")

_FIELD = re.compile(r"{(\w+)")


class Sink(Protocol):
    """Where lines go: a text file, or one of Twisted's log files."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def format_line(event: LogEvent) -> str:
    """One event as one line; a traceback follows on its own lines."""
    message = _message(event)
    named = _FIELD.findall(event.get("log_format") or "")
    traced = " ".join(
        f"{key}={value}"
        for key in TRACED
        if (value := event.get(key)) and not isinstance(value, (list, tuple))
        if key not in named
    )
    level: Any = event.get("log_level", LogLevel.info)
    source = str(event.get("log_namespace", "-")).removeprefix("nodepool_tx.")
    line = f"{formatTime(event.get('log_time'))} {level.name:<8} [{source}] {message}"
    if traced:
        line += f"  {traced}"
    failure = event.get("log_failure")
    if failure is not None:
        line += "\n" + failure.getTraceback().rstrip()
    return line


def format_json(event: LogEvent) -> str:
    """One event as a JSON object on one line."""
    event = {**event, "message": _message(event)}
    failure = event.get("log_failure")
    if failure is not None:
        event["traceback"] = failure.getTraceback()
    return eventAsJSON(event)


def _message(event: LogEvent) -> str:
    return formatEvent(event) or str(event.get("log_text", ""))


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as one line of text or of JSON."""

    def __init__(self, out: Sink, style: str = "text") -> None:
        self._out = out
        self._json = style == "json"

    def __call__(self, event: LogEvent) -> None:
        try:
            line = format_json(event) if self._json else format_line(event)
        except Exception as e:
            line = f"(a log event could not be formatted: {e})"
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            # A log that cannot be written must not stop the service.
            return


def make_observer(out: Sink | None, style: str, level: str) -> ILogObserver:
    """An observer for ``out`` (standard output if None) from ``level`` up.

    :raises twisted.logger.InvalidLogLevelError: there is no such level.
    """
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    # Its factories announce every start and stop of every connection.
    predicate.setLogLevelForNamespace("twisted", LogLevel.warn)
    observer: ILogObserver = FilteringLogObserver(
        LineObserver(out or sys.stdout, style), [predicate]
    )
    return observer
