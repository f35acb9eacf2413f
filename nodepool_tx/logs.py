"""Log lines for people, or JSON for machines.

A line is ``time level [source] message  key=value ...``: the keys that let one
follow an event through the system (event id, request, node, provider) are
appended unless the message has them already.  In JSON an event has ``time``,
``level``, ``source``, its text as ``message``, the ``format`` of that text, which
is the same for all events of a kind, the ``traceback`` of its failure, and all
its fields.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import stat
import sys
from functools import lru_cache
from typing import Any, Protocol

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

__all__ = [
    "FORMATS",
    "LineObserver",
    "Sink",
    "begin_new_file",
    "format_line",
    "make_levels",
    "make_observer",
    "open_file",
]

#: Fields worth a place on every line that has them.
TRACED = ("event_id", "request_id", "node_id", "provider", "pool", "hostname")

FORMATS = ("text", "json")

#: A log file that has grown beyond these bytes is put aside, and so many are kept.
FILE_SIZE = 10_000_000
FILES_KEPT = 10

_FIELD = re.compile(r"{(\w+)")


class Sink(Protocol):
    """Where lines go: a text file, or one of Twisted's log files."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def format_line(event: LogEvent) -> str:
    """One event as one line; a traceback follows on its own lines."""
    message = _message(event)
    named = _fields_in(event.get("log_format") or "")
    traced = " ".join(
        f"{key}={value}"
        for key in TRACED
        if (value := event.get(key)) and not isinstance(value, (list, tuple))
        if key not in named
    )
    line = f"{_time(event)} {_level(event):<8} [{_source(event)}] {message}"
    if traced:
        line += f"  {traced}"
    failure = event.get("log_failure")
    if failure is not None:
        line += "\n" + failure.getTraceback().rstrip()
    return line


def format_json(event: LogEvent) -> str:
    """One event as a JSON object on one line."""
    told: dict[str, Any] = {
        "time": _time(event),
        "level": _level(event),
        "source": _source(event),
        "message": _message(event),
        "format": event.get("log_format"),
    }
    failure = event.get("log_failure")
    if failure is not None:
        told["traceback"] = failure.getTraceback()
    fields = {key: value for key, value in event.items() if not key.startswith("log_")}
    return json.dumps({**told, **fields, **told}, default=repr, skipkeys=True)


def _time(event: LogEvent) -> str:
    """Local time with its distance from UTC; "-" for an event without one."""
    when = event.get("log_time")
    if when is None:
        return "-"
    second = math.floor(when)
    time, zone = _second(second)
    return f"{time}.{int((when - second) * 1000):03}{zone}"


@lru_cache(maxsize=1)
def _second(when: int) -> tuple[str, str]:
    """The local time of a second, and its distance from UTC; the log has many lines of each."""
    text = datetime.datetime.fromtimestamp(when).astimezone().isoformat()
    return text[:19], text[19:]


@lru_cache(maxsize=1000)
def _fields_in(form: str) -> frozenset[str]:
    return frozenset(_FIELD.findall(form))


def _level(event: LogEvent) -> str:
    level: Any = event.get("log_level", LogLevel.info)
    return str(level.name)


def _source(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-")).removeprefix("nodepool_tx.")


def _message(event: LogEvent) -> str:
    form = event.get("log_format")
    if isinstance(form, str) and form and "()" not in form:
        # Twisted's own way is slow, as it looks for what is to be called: there is nothing.
        try:
            return form.format_map(event)
        except Exception:
            # Its own way says what is wrong with the line.
            pass
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
            if self._json:
                line = json.dumps({"message": line})
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            # A log that cannot be written must not stop the service.
            return


def open_file(path: str) -> LogFile:
    """A file for log lines, which is put aside as ``path.1`` when it has grown large."""
    directory, name = os.path.split(os.path.abspath(path))
    file = LogFile(name, directory, rotateLength=FILE_SIZE, maxRotatedFiles=FILES_KEPT)
    # In the background twistd makes new files unreadable for others: keep to the first one's mode.
    file.defaultMode = stat.S_IMODE(os.stat(path).st_mode)
    return file


def begin_new_file(file: LogFile) -> None:
    """Put the file aside and begin a new one; only the latter if somebody moved it already."""
    if os.path.exists(file.path):
        file.rotate()
    else:
        file.reopen()


def make_levels(level: str) -> LogLevelFilterPredicate:
    """What lets everything from ``level`` up through; it can be set to another later.

    :raises twisted.logger.InvalidLogLevelError: there is no such level.
    """
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    # Its factories announce every start and stop of every connection.
    levels.setLogLevelForNamespace("twisted", LogLevel.warn)
    return levels


def make_observer(
    out: Sink | None, style: str, level: str, levels: LogLevelFilterPredicate | None = None
) -> ILogObserver:
    """An observer for ``out`` (standard output if None) from ``level`` up.

    :param levels: to be used in place of ``level``.
    :raises twisted.logger.InvalidLogLevelError: there is no such level.
    """
    observer: ILogObserver = FilteringLogObserver(
        LineObserver(out or sys.stdout, style), [levels or make_levels(level)]
    )
    return observer
