"""The tree of znodes, as the entries of the history make it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from proof.history.transactions import Entry, SessionClosed, SessionOpened, Transaction

__all__ = ["Step", "Tree", "Znode"]

Contender = tuple[str, str]

_CONTENDER = re.compile(r"__lock__(-?\d{10})$")
_UNREAD = object()


@attrs.define(eq=False)
class Znode:
    """A znode as it was after one transaction; never changed, but replaced.

    :ivar owner: the session that it goes with; 0 if none.
    :ivar creator: the session that made it, in the transaction ``created``.
    """

    path: str
    data: bytes
    version: int
    owner: int
    created: int
    creator: int
    modified: int
    _record: Any = _UNREAD

    @property
    def record(self) -> dict[str, Any] | None:
        """The JSON object in it; None if there is none."""
        if self._record is _UNREAD:
            try:
                value = json.loads(self.data) if self.data else None
            except (ValueError, RecursionError):
                value = None
            self._record = value if isinstance(value, dict) else None
        found: dict[str, Any] | None = self._record
        return found


@attrs.define(eq=False)
class Step:
    """One entry, and what it did.

    :ivar tree: as it is after it.
    :ivar changes: each znode that it touched, before and after; None where it was not or is not.
    """

    entry: Entry
    tree: Tree
    changes: Mapping[str, tuple[Znode | None, Znode | None]]

    def before(self, path: str) -> Znode | None:
        changed = self.changes.get(path)
        return self.tree.get(path) if changed is None else changed[0]

    def after(self, path: str) -> Znode | None:
        return self.tree.get(path)

    def contenders_before(self, lock_path: str) -> list[Znode]:
        """Who stood in line for a lock before this, the holder first."""
        prefix = lock_path + "/"
        names = set(self.tree.children(lock_path))
        gone: dict[str, Znode] = {}
        for path, (before, after) in self.changes.items():
            if path.startswith(prefix):
                name = path[len(prefix) :]
                if before is None:
                    names.discard(name)
                elif after is None:
                    gone[name] = before
        found = {name: self.tree.get(prefix + name) for name in names} | gone
        return [found[name] for name in _in_line(found)]  # type: ignore[misc]


class Tree:
    """All znodes there are below some path.

    Entries about znodes that were never seen made (the history began before) make them.

    :param below: what does not begin with this is left out.
    """

    def __init__(self, below: str = "") -> None:
        self._below = below
        self._znodes: dict[str, Znode] = {}
        self._children: dict[str, dict[str, None]] = {}
        self._owned: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._znodes)

    def get(self, path: str) -> Znode | None:
        return self._znodes.get(path)

    def children(self, path: str) -> Iterable[str]:
        """The names of those below a path, in the order of their making."""
        return self._children.get(path, {}).keys()

    def owned(self, session: int) -> Iterable[str]:
        """The paths of what goes with a session."""
        return self._owned.get(session, {}).keys()

    def contenders(self, lock_path: str) -> list[Znode]:
        """Who stands in line for a lock, the holder first."""
        return [self._znodes[f"{lock_path}/{name}"] for name in _in_line(self.children(lock_path))]

    def holder(self, lock_path: str) -> int | None:
        """The session that holds a lock (0: one that goes with no session); None if nobody."""
        line = self.contenders(lock_path)
        return line[0].owner if line else None

    def apply(self, entry: Entry) -> Step:
        """Let an entry happen."""
        changes: dict[str, tuple[Znode | None, Znode | None]] = {}
        if isinstance(entry, Transaction):
            for operation in entry.operations:
                path = operation.path
                if operation.kind == "check" or not path.startswith(self._below):
                    continue
                first = path not in changes
                before = self._znodes.get(path)
                if operation.kind == "delete":
                    self._remove(path)
                    after = None
                else:
                    fresh = operation.kind == "create" or before is None
                    owner = entry.session if operation.ephemeral else 0
                    after = Znode(
                        path,
                        operation.data or b"",
                        operation.version or 0,
                        owner if fresh or before is None else before.owner,
                        entry.zxid if fresh or before is None else before.created,
                        entry.session if fresh or before is None else before.creator,
                        entry.zxid,
                    )
                    self._put(after)
                changes[path] = (before if first else changes[path][0], after)
        elif isinstance(entry, SessionClosed):
            for path in tuple(self.owned(entry.session)):
                changes[path] = (self._znodes[path], None)
                self._remove(path)
        else:
            assert isinstance(entry, SessionOpened)
        return Step(entry, self, changes)

    def _put(self, znode: Znode) -> None:
        path = znode.path
        self._znodes[path] = znode
        parent, _, name = path.rpartition("/")
        self._children.setdefault(parent, {})[name] = None
        if znode.owner:
            self._owned.setdefault(znode.owner, {})[path] = None

    def _remove(self, path: str) -> None:
        znode = self._znodes.pop(path, None)
        if znode is None:
            return
        parent, _, name = path.rpartition("/")
        siblings = self._children[parent]
        del siblings[name]
        if not siblings:
            del self._children[parent]
        if znode.owner:
            owned = self._owned[znode.owner]
            del owned[path]
            if not owned:
                del self._owned[znode.owner]


def _in_line(names: Iterable[str]) -> list[str]:
    """The contenders among them, the first in line first; compared as text, as all do."""
    found = ((match.group(1), name) for name in names if (match := _CONTENDER.search(name)))
    return [name for _, name in sorted(found)]
