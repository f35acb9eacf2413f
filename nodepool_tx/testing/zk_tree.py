"""The znodes of a ZooKeeper kept in memory.

Bookkeeping only: nothing in here knows of clients, sessions' ends, watches or
time.  :class:`ZnodeTree` holds the znodes; a :class:`TreeWrite` makes one
change (of one or of several operations) under one zxid, collects the events it
causes and can take itself back.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from kazoo.protocol.states import ZnodeStat

from nodepool_tx.txzookeeper.interface import WatchKind

__all__ = ["TreeWrite", "Znode", "ZnodeTree", "valid_path"]


def valid_path(path: str) -> bool:
    """Whether a server would take ``path`` as the name of a znode."""
    if path == "/":
        return True
    if path[:1] != "/" or path[-1] == "/" or "//" in path or "\0" in path:
        return False
    return "/." not in path or not any(part in (".", "..") for part in path.split("/"))


@attrs.define(eq=False)
class Znode:
    """One znode.  ``creates`` counts the children it ever had: the next sequence."""

    data: bytes
    owner: int
    czxid: int
    ctime: int
    mzxid: int
    mtime: int
    pzxid: int
    version: int = 0
    creates: int = 0
    #: Names in order of creation; None as long as there never were any.
    children: dict[str, None] | None = None

    def stat(self) -> ZnodeStat:
        count = len(self.children) if self.children else 0
        return ZnodeStat(
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            # What is shown counts changes of the list; a deletion is one too.
            2 * self.creates - count,
            0,
            self.owner,
            len(self.data),
            count,
            self.pzxid,
        )


class ZnodeTree:
    """All znodes by path, and the paths of each session's ephemerals."""

    def __init__(self) -> None:
        self.znodes: dict[str, Znode] = {"/": Znode(b"", 0, 0, 0, 0, 0, 0)}
        self.ephemerals: dict[int, dict[str, None]] = {}

    def find(self, path: str) -> Znode:
        """:raises NoNodeError: there is none."""
        try:
            return self.znodes[path]
        except KeyError:
            raise NoNodeError() from None

    def children(self, path: str) -> list[str]:
        """Names of the children, the newest first: an order nobody can rely on."""
        children = self.find(path).children
        return list(reversed(children)) if children else []


class TreeWrite:
    """One change of a tree, under one zxid.

    :param now: milliseconds since the epoch.
    :ivar events: what watches may be told of, in ZooKeeper's order.
    """

    def __init__(self, tree: ZnodeTree, zxid: int, now: int) -> None:
        self._tree = tree
        self._zxid = zxid
        self._now = now
        self._undo: list[Callable[[], None]] = []
        self.events: list[tuple[WatchKind, str]] = []

    def take_back(self) -> None:
        """Undo everything done so far; no event remains."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self.events.clear()

    def create(self, path: str, data: bytes, *, owner: int = 0, sequence: bool = False) -> str:
        """:param owner: the session that takes the znode with it, or 0."""
        znodes = self._tree.znodes
        parent_path, _, name = path.rpartition("/")
        parent_path = parent_path or "/"
        parent = self._tree.find(parent_path)
        if sequence:
            number = f"{parent.creates:010d}"
            path += number
            name += number
        if not valid_path(path):
            raise BadArgumentsError()
        if path in znodes:
            raise NodeExistsError()
        if parent.owner:
            raise NoChildrenForEphemeralsError()
        zxid, now, pzxid = self._zxid, self._now, parent.pzxid
        znodes[path] = Znode(data, owner, zxid, now, zxid, now, zxid)
        if parent.children is None:
            parent.children = {}
        parent.children[name] = None
        parent.creates += 1
        parent.pzxid = zxid
        if owner:
            self._tree.ephemerals.setdefault(owner, {})[path] = None

        def undo() -> None:
            assert parent.children is not None
            del znodes[path], parent.children[name]
            parent.creates -= 1
            parent.pzxid = pzxid
            if owner:
                self._disown(owner, path)

        self._undo.append(undo)
        self.events += (WatchKind.CREATED, path), (WatchKind.CHILDREN, parent_path)
        return path

    def set(self, path: str, data: bytes, version: int = -1) -> ZnodeStat:
        znode = self._at_version(path, version)
        before = (znode.data, znode.version, znode.mzxid, znode.mtime)
        znode.data = data
        znode.version += 1
        znode.mzxid = self._zxid
        znode.mtime = self._now

        def undo() -> None:
            znode.data, znode.version, znode.mzxid, znode.mtime = before

        self._undo.append(undo)
        self.events.append((WatchKind.CHANGED, path))
        return znode.stat()

    def delete(self, path: str, version: int = -1) -> None:
        if path == "/":
            raise BadArgumentsError()
        znodes = self._tree.znodes
        znode = self._at_version(path, version)
        if znode.children:
            raise NotEmptyError()
        parent_path, _, name = path.rpartition("/")
        parent_path = parent_path or "/"
        parent = znodes[parent_path]
        assert parent.children is not None
        pzxid = parent.pzxid
        del znodes[path], parent.children[name]
        parent.pzxid = self._zxid
        if znode.owner:
            self._disown(znode.owner, path)

        def undo() -> None:
            assert parent.children is not None
            znodes[path] = znode
            parent.children[name] = None
            parent.pzxid = pzxid
            if znode.owner:
                self._tree.ephemerals.setdefault(znode.owner, {})[path] = None

        self._undo.append(undo)
        self.events += (WatchKind.DELETED, path), (WatchKind.CHILDREN, parent_path)

    def check(self, path: str, version: int = -1) -> None:
        self._at_version(path, version)

    def _at_version(self, path: str, version: int) -> Znode:
        znode = self._tree.find(path)
        if version not in (-1, znode.version):
            raise BadVersionError()
        return znode

    def _disown(self, owner: int, path: str) -> None:
        paths = self._tree.ephemerals[owner]
        del paths[path]
        if not paths:
            del self._tree.ephemerals[owner]
