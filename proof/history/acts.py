"""One step of the history as the rules look at it: which nodes, requests and locks it touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs

from nodepool_tx.store import paths
from proof.history.cast import Cast, Player
from proof.history.transactions import Transaction
from proof.history.tree import Step, Znode

__all__ = ["Act", "Layout", "Touched"]

_NOTHING: Mapping[str, Any] = {}


@attrs.frozen
class Layout:
    """Where things are below a chroot.

    :ivar root: the chroot of the farm; "" if it has none.
    """

    root: str = ""

    def node(self, node_id: str) -> str:
        return self.root + paths.node(node_id)

    def node_lock(self, node_id: str) -> str:
        return self.root + paths.node_lock(node_id)

    def request(self, request_id: str) -> str:
        return self.root + paths.request(request_id)

    def request_lock(self, request_id: str) -> str:
        return self.root + paths.request_lock(request_id)

    def owner_lock(self, provider: str) -> str:
        return self.root + paths.owner_lock(provider)

    def subject(self, path: str) -> str:
        """The znode that something is about: locks are about what they lock."""
        path = self.lock_of_contender(path) or path
        parts = path[len(self.root) :].split("/")
        if parts[1:3] == ["nodepool", "requests-lock"] and len(parts) > 3:
            return self.request(parts[3])
        if parts[1:3] == ["nodepool", "nodes"] and len(parts) > 3:
            return self.node(parts[3])
        return path

    def lock_of_contender(self, path: str) -> str | None:
        """The lock that a znode of this path contends for, if that is what it does."""
        directory, _, name = path.rpartition("/")
        return directory if "__lock__" in name else None


@attrs.define(eq=False)
class Touched:
    """A node or a request before and after a step; None where it was not or is not."""

    id: str
    path: str
    lock: str
    before: Znode | None
    after: Znode | None

    @property
    def was(self) -> Mapping[str, Any]:
        """Its record before; empty if there was none that can be read."""
        return (self.before.record or _NOTHING) if self.before is not None else _NOTHING

    @property
    def is_(self) -> Mapping[str, Any]:
        """Its record now; empty if there is none that can be read."""
        return (self.after.record or _NOTHING) if self.after is not None else _NOTHING


class Act:
    """A step, its author, and what it is about.

    :ivar nodes: those that were made, written or removed; :ivar requests: likewise.
    """

    def __init__(self, step: Step, layout: Layout, cast: Cast) -> None:
        self.step = step
        self.layout = layout
        self.cast = cast
        self.entry = step.entry
        self.session = step.entry.session
        self.author: Player = cast.player(step.entry.session)
        self.deliberate = isinstance(step.entry, Transaction)
        self.nodes: list[Touched] = []
        self.requests: list[Touched] = []
        nodes, requests = layout.root + paths.NODES, layout.root + paths.REQUESTS
        for path, (before, after) in step.changes.items():
            directory, _, name = path.rpartition("/")
            if directory == nodes:
                lock = layout.node_lock(name)
                self.nodes.append(Touched(name, path, lock, before, after))
            elif directory == requests:
                lock = layout.request_lock(name)
                self.requests.append(Touched(name, path, lock, before, after))

    # -- who holds what --------------------------------------------------

    @cached_property
    def _operations(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        if isinstance(self.entry, Transaction):
            for operation in self.entry.operations:
                found.setdefault(operation.path, set()).add(operation.kind)
        return found

    def holds(self, lock: str) -> bool:
        """The author held a lock before this step, or came to hold it in it.

        One that goes with no session is held by whoever made this step depend on it.
        """
        line = self.step.contenders_before(lock)
        if not line:
            line = self.step.tree.contenders(lock)
        if not line:
            return False
        if line[0].owner:
            return line[0].owner == self.session
        return bool(self._operations.get(line[0].path))

    def proves_free(self, lock: str) -> bool:
        """It made or removed the lock's directory, which goes only if nobody has the lock."""
        return not {"create", "delete"}.isdisjoint(self._operations.get(lock, ()))

    def entitled(self, touched: Touched) -> bool:
        """The author may write this record: it has its lock, or proves that nobody has."""
        return self.holds(touched.lock) or self.proves_free(touched.lock)

    # -- what there is now -----------------------------------------------

    def request(self, request_id: str) -> Mapping[str, Any] | None:
        """A request as it is now; None if it is gone, empty if it cannot be read."""
        znode = self.step.tree.get(self.layout.request(request_id))
        return None if znode is None else znode.record or _NOTHING

    def node(self, node_id: str) -> Mapping[str, Any] | None:
        """A node as it is now; None if it is gone, empty if it cannot be read."""
        znode = self.step.tree.get(self.layout.node(node_id))
        return None if znode is None else znode.record or _NOTHING

    def contenders(self) -> Iterator[tuple[str, Znode | None, Znode | None]]:
        """Each contender that came or went: its lock, before, after."""
        for path, (before, after) in self.step.changes.items():
            lock = self.layout.lock_of_contender(path)
            if lock is not None:
                yield lock, before, after
