"""A report: rows under keys, ready to be shown to people or programs.

The same rows come in four forms:

- a table, with Nodepool 11's headers and its choice of columns (``fields``);
- our JSON and CSV, with every key, ages in seconds, lists as lists;
- Nodepool 11's JSON, with its keys only and its kinds of values, for programs
  that know its web service.
"""

from __future__ import annotations

import csv
import enum
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import attrs

from nodepool_tx.reports.table import Painter, render_table

__all__ = ["Column", "Paint", "Report", "Sections", "Tone", "csv_text", "show_age", "tone_of"]


class Tone(enum.Enum):
    """What a value means to the person who looks for trouble."""

    GOOD = "good"
    BUSY = "busy"
    HELD = "held"
    BAD = "bad"


#: Gives a text, which fits its cell already, the look of a tone.
Paint = Callable[[str, Tone], str]

_TONES: Mapping[str, Tone] = {
    "ready": Tone.GOOD,
    "fulfilled": Tone.GOOD,
    "init": Tone.BUSY,
    "building": Tone.BUSY,
    "testing": Tone.BUSY,
    "in-use": Tone.BUSY,
    "used": Tone.BUSY,
    "requested": Tone.BUSY,
    "pending": Tone.BUSY,
    "uploading": Tone.BUSY,
    "hold": Tone.HELD,
    "paused": Tone.HELD,
    "failed": Tone.BAD,
    "aborted": Tone.BAD,
    "deleting": Tone.BAD,
    "deleted": Tone.BAD,
}


def tone_of(state: Any) -> Tone | None:
    """What the state of a node, request, build or upload means."""
    return _TONES.get(state) if isinstance(state, str) else None


def _itself(value: Any) -> Any:
    return value


@attrs.frozen
class Column:
    """A key in JSON and its header in a table.

    :ivar shows: how a value looks in a table, where that differs from JSON.
    :ivar reference: what Nodepool 11's JSON has, from the row; the same value
        if None.
    :ivar tone: what a value means.
    :ivar ours: Nodepool 11 has no such key.
    :ivar passing: it changes by itself as time goes by.
    """

    key: str
    header: str
    shows: Callable[[Any], Any] = _itself
    reference: Callable[[Mapping[str, Any]], Any] | None = attrs.field(default=None, kw_only=True)
    tone: Callable[[Any], Tone | None] | None = attrs.field(default=None, kw_only=True)
    ours: bool = attrs.field(default=False, kw_only=True)
    passing: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Report:
    """Rows of a list.

    :ivar rows: with a value for the key of each column; plain JSON.
    :ivar shown: the keys that a table has unless told otherwise.
    """

    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    shown: Collection[str]

    def as_table(self, fields: Collection[str] | None = None, *, paint: Paint | None = None) -> str:
        """A table for people.

        :param fields: the keys to show, in the order of the columns; those
            that there are not are passed over, as Nodepool 11 does.
        """
        columns = self._chosen(fields)
        return render_table(
            [column.header for column in columns],
            self.cells(fields),
            self._painter(columns, paint),
        )

    def headers(self, fields: Collection[str] | None = None) -> list[str]:
        """The headers of :meth:`as_table`."""
        return [column.header for column in self._chosen(fields)]

    def cells(self, fields: Collection[str] | None = None) -> list[list[Any]]:
        """What :meth:`as_table` shows under them, row by row."""
        columns = self._chosen(fields)
        return [[column.shows(row[column.key]) for column in columns] for row in self.rows]

    def _chosen(self, fields: Collection[str] | None) -> list[Column]:
        wanted = fields or self.shown
        return [column for column in self.columns if column.key in wanted]

    def _painter(self, columns: list[Column], paint: Paint | None) -> Painter | None:
        if paint is None:
            return None
        toned = {
            number: (column.key, column.tone)
            for number, column in enumerate(columns)
            if column.tone is not None
        }

        def painted(row: int, column: int, text: str) -> str:
            key, tone_of = toned.get(column, ("", None))
            tone = None if tone_of is None else tone_of(self.rows[row][key])
            return text if tone is None else paint(text, tone)

        return painted

    def as_value(self) -> Any:
        """What :meth:`as_json` writes."""
        return self.rows

    def as_json(self) -> str:
        """Our JSON: a list of objects with every key."""
        return json.dumps(self.rows, indent=2)

    def as_csv(self) -> str:
        """RFC 4180: a header of keys, then the rows; lines end with CR LF."""
        keys = [column.key for column in self.columns]
        return csv_text(keys, ([row[key] for key in keys] for row in self.rows))

    def as_reference_json(self) -> str:
        """Byte for byte what Nodepool 11's web service answers for these rows.

        It always has all keys of Nodepool 11: that takes ``fields`` for tables
        only.
        """
        return json.dumps(self.reference_rows())

    def reference_rows(self) -> list[dict[str, Any]]:
        """The objects of :meth:`as_reference_json`."""
        columns = [column for column in self.columns if not column.ours]
        return [
            {
                column.key: column.reference(row) if column.reference else row[column.key]
                for column in columns
            }
            for row in self.rows
        ]

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def head(self, count: int) -> Report:
        """Its first rows: a screen takes no more."""
        return attrs.evolve(self, rows=self.rows[:count])

    def lasting(self) -> Any:
        """What a change would show in; ages go by without one."""
        keys = [column.key for column in self.columns if not column.passing]
        return [[row[key] for key in keys] for row in self.rows]


@attrs.frozen
class Sections:
    """Several reports about one thing.

    :ivar title: the first line for people.
    :ivar about: key and value that JSON begins with.
    :ivar parts: key in JSON, heading for people, and the report.
    :ivar terse: people are not shown parts without rows.
    """

    title: str
    about: Mapping[str, Any]
    parts: tuple[tuple[str, str, Report], ...]
    terse: bool = False

    def as_table(self, *, paint: Paint | None = None) -> str:
        blocks = [
            f"{heading}:\n{report.as_table(paint=paint)}"
            for _, heading, report in self.parts
            if report.rows or not self.terse
        ]
        return "\n\n".join([self.title, *blocks])

    def as_value(self) -> Any:
        return {**self.about, **{key: report.as_value() for key, _, report in self.parts}}

    def as_json(self) -> str:
        return json.dumps(self.as_value(), indent=2)

    def as_csv(self) -> str:
        """One list of all rows: the column ``section`` says to which each belongs."""
        columns = [column.key for _, _, report in self.parts for column in report.columns]
        keys = list(dict.fromkeys(columns))
        return csv_text(
            ["section", *keys],
            (
                [key, *(row.get(name) for name in keys)]
                for key, _, report in self.parts
                for row in report.rows
            ),
        )

    @property
    def size(self) -> int:
        """How many rows there are in all parts."""
        return sum(report.size for _, _, report in self.parts)

    def head(self, count: int) -> Sections:
        """The first rows of each part."""
        parts = tuple((key, heading, report.head(count)) for key, heading, report in self.parts)
        return attrs.evolve(self, parts=parts)

    def lasting(self) -> Any:
        return [report.lasting() for _, _, report in self.parts]


def csv_text(keys: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """RFC 4180: texts as they are, lists with commas, objects as JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(keys)
    writer.writerows([_csv_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ",".join(_csv_cell(item) for item in value)
    if isinstance(value, (bool, Mapping)):
        return json.dumps(value)
    return str(value)


def show_age(seconds: float | None) -> str:
    """Such as ``00:01:23:45``: a day count that grows as needed, then a time."""
    if seconds is None:
        return ""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day:02d}:{hour:02d}:{minute:02d}:{second:02d}"
