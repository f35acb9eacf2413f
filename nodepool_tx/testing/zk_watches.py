"""The watches that a ZooKeeper kept in memory holds for its connections."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

import attrs

from nodepool_tx.txzookeeper.interface import WatchEvent, WatchKind

__all__ = ["Connection", "Registration", "WatchMode", "WatchTable"]


class WatchMode(enum.Enum):
    """What a watch is told of, and how often."""

    DATA = enum.auto()
    #: Set by ``exists`` on a path where nothing was.
    EXISTENCE = enum.auto()
    CHILDREN = enum.auto()
    PERSISTENT = enum.auto()
    RECURSIVE = enum.auto()


class Connection(Protocol):
    """Where a server sends events."""

    def event(self, registration: Registration, kind: WatchKind, path: str) -> None:
        """Queue one for the client, behind all that was sent before."""


@attrs.define(eq=False)
class Registration:
    """One watch.

    :ivar owner: the connection it goes with.
    :ivar path: where it is set, the client's chroot included.
    :ivar chroot: how many characters of a path are the client's chroot.
    :ivar told: the client's end of it.
    """

    owner: Connection
    mode: WatchMode
    path: str
    chroot: int
    told: Callable[[WatchEvent], object]

    @property
    def one_shot(self) -> bool:
        return self.mode not in (WatchMode.PERSISTENT, WatchMode.RECURSIVE)

    def tell(self, kind: WatchKind, path: str) -> None:
        self.told(WatchEvent(kind, path[self.chroot :] or "/"))


_Paths = dict[str, dict[Registration, None]]

_TABLE_OF_MODE = {
    WatchMode.DATA: "data",
    WatchMode.EXISTENCE: "data",
    WatchMode.CHILDREN: "children",
    WatchMode.PERSISTENT: "persistent",
    WatchMode.RECURSIVE: "recursive",
}


class WatchTable:
    """Every watch of every connection, by path."""

    def __init__(self) -> None:
        self._tables: dict[str, _Paths] = {name: {} for name in _TABLE_OF_MODE.values()}
        self._owned: dict[Connection, dict[Registration, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._owned.values()))

    def add(self, registration: Registration) -> None:
        table = self._tables[_TABLE_OF_MODE[registration.mode]]
        table.setdefault(registration.path, {})[registration] = None
        self._owned.setdefault(registration.owner, {})[registration] = None

    def remove(self, registration: Registration) -> None:
        """Nothing happens if it has fired or gone already."""
        owned = self._owned.get(registration.owner)
        if owned is None or registration not in owned:
            return
        del owned[registration]
        if not owned:
            del self._owned[registration.owner]
        table = self._tables[_TABLE_OF_MODE[registration.mode]]
        here = table[registration.path]
        del here[registration]
        if not here:
            del table[registration.path]

    def drop(self, owner: Connection) -> None:
        """Forget all watches of a connection."""
        for registration in tuple(self._owned.get(owner, ())):
            self.remove(registration)

    def trigger(self, kind: WatchKind, path: str) -> None:
        """Tell everyone concerned, one-shot watches for the last time."""
        if kind is WatchKind.CHILDREN:
            self._fire("children", kind, path)
        else:
            self._fire("data", kind, path)
            if kind is WatchKind.DELETED:
                self._fire("children", kind, path)
        for registration in tuple(self._tables["persistent"].get(path, ())):
            registration.owner.event(registration, kind, path)
        recursive = self._tables["recursive"]
        if not recursive or kind is WatchKind.CHILDREN:
            return
        above = path
        while True:
            for registration in tuple(recursive.get(above, ())):
                registration.owner.event(registration, kind, path)
            if above == "/":
                return
            above = above.rpartition("/")[0] or "/"

    def _fire(self, table: str, kind: WatchKind, path: str) -> None:
        for registration in tuple(self._tables[table].get(path, ())):
            self.remove(registration)
            registration.owner.event(registration, kind, path)
