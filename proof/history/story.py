"""The history in words: who did what when, and of records only what changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from proof.history.acts import Layout
from proof.history.cast import Cast
from proof.history.transactions import Entry, SessionClosed, SessionOpened
from proof.history.tree import Step, Znode

__all__ = ["Storyteller", "changed_keys"]

#: Characters of a value that are shown.
_SHOWN = 100
#: Times that are written with every change, and say nothing new.
_DULL = frozenset({"state_time", "ssh_port"})


class Storyteller:
    """Turns steps into lines, paths being shown without the chroot."""

    def __init__(self, cast: Cast, layout: Layout) -> None:
        self._cast = cast
        self._layout = layout

    def lines(self, step: Step) -> Iterator[tuple[str, str]]:
        """What an entry did: the path of each znode and a line on it; sessions have no path."""
        entry = step.entry
        head = self.head(entry)
        if isinstance(entry, SessionOpened):
            yield "", f"{head} begins a session (timeout {entry.timeout / 1000:g} s)"
        elif isinstance(entry, SessionClosed):
            yield "", f"{head} ends its session"
        for path, (before, after) in step.changes.items():
            words = self.change(path, before, after)
            if words:
                yield path[len(self._layout.root) :], f"{head} {words}"

    def head(self, entry: Entry) -> str:
        """When and who."""
        moment = datetime.fromtimestamp(entry.milliseconds / 1000, timezone.utc)
        time = moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
        return f"{time} {entry.zxid:x} {self._cast.player(entry.session).name}:"

    def change(self, path: str, before: Znode | None, after: Znode | None) -> str:
        """What became of one znode; empty if nothing has."""
        shown = path[len(self._layout.root) :]
        lock = self._layout.lock_of_contender(shown)
        if lock is not None:
            znode = after if before is None else before
            who = self._cast.player(znode.owner).name if znode is not None else ""
            if before is None and after is not None:
                return f"{who} stands in line for {lock}"
            return f"{who} leaves the line for {lock}"
        if after is None:
            return "" if before is None else f"removes {shown}"
        if before is None:
            return f"makes {shown} {_all_of(after)}".rstrip()
        if before is after or before.modified == after.modified:
            return ""
        return f"writes {shown} {changed_keys(before, after)}"


def changed_keys(before: Znode, after: Znode) -> str:
    """The keys that differ, as ``key: old -> new``."""
    if before.data == after.data:
        return "as it was"
    old, new = before.record, after.record
    if old is None or new is None:
        return f"{_short(before.data)} -> {_short(after.data)}"
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key) and key not in _DULL]
    return ", ".join(f"{key}: {_value(old, key)} -> {_value(new, key)}" for key in keys)


def _all_of(znode: Znode) -> str:
    record = znode.record
    if record is None:
        return _short(znode.data) if znode.data else ""
    filled = [key for key, value in record.items() if value not in (None, [], {}, "")]
    return ", ".join(f"{key}: {_value(record, key)}" for key in filled if key not in _DULL)


def _value(record: Mapping[str, Any], key: str) -> str:
    return _cut(json.dumps(record[key])) if key in record else "nothing"


def _short(data: bytes) -> str:
    return _cut(repr(data)[1:]) if data else "nothing"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
