"""ZooKeeper as a value: the tree, who has a session, and what a request makes of them.

Data are the very bytes that the launcher's codec writes, paths are the real
ones.  What is left out bears on nothing that is searched for: times, quotas,
access rights.

Design note: numbers that may come again
----------------------------------------
A contender's sequence is one more than the highest that is there, while a real
server goes on counting as long as the directory lives.  Sequences are only
compared among contenders that exist together, and a contender's name begins
with its session, so a name that is used again is never taken for another one.
Node ids are counted and never come again.

Design note: versions
---------------------
A version is only ever compared: by a transaction on its way, with that of the
record that is there.  One that was decided from an older version can only be
refused, now and for ever.  A model that marks those as soon as that is so can
forget all versions after each step (:func:`versionless`): whatever else is on
its way was decided from the present one.  States that differ in nothing but how
often a record was written are one state then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from nodepool_tx.store import paths

__all__ = [
    "EMPTY",
    "Operation",
    "Refused",
    "SessionGone",
    "Tree",
    "Znode",
    "check",
    "create",
    "delete",
    "versionless",
    "write",
]


class Znode(NamedTuple):
    """:ivar owner: the session that an ephemeral goes with; 0 for what stays."""

    data: bytes
    version: int = 0
    owner: int = 0


class Operation(NamedTuple):
    """One part of a request; ``version`` -1 stands for any."""

    kind: str
    path: str
    data: bytes = b""
    version: int = -1
    ephemeral: bool = False
    sequence: bool = False


class Refused(Exception):
    """Nothing of the request happened.

    :ivar index: of the operation that was refused.
    :ivar reason: ``no node``, ``exists``, ``not empty`` or ``version``.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"operation {index}: {reason}")
        self.index = index
        self.reason = reason


class SessionGone(Exception):
    """Who asked has no session any more."""


class Tree:
    """All znodes, and the sessions; never changed, and equal to its like."""

    __slots__ = ("_below", "_contenders", "_hash", "sessions", "znodes")

    def __init__(self, znodes: Mapping[str, Znode], sessions: frozenset[int]) -> None:
        self.znodes = znodes
        self.sessions = sessions
        self._hash = hash((frozenset(znodes.items()), sessions))
        # Asked again and again of the same tree.
        self._below: dict[str, list[str]] = {}
        self._contenders: dict[str, list[str]] = {}

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Tree)
            and self._hash == other._hash
            and self.sessions == other.sessions
            and self.znodes == other.znodes
        )

    def __contains__(self, path: str) -> bool:
        return path in self.znodes

    def below(self, directory: str) -> list[str]:
        """Names right below a znode, in order."""
        known = self._below.get(directory)
        if known is None:
            known = self._below[directory] = self._find_below(directory)
        return known

    def _find_below(self, directory: str) -> list[str]:
        prefix, depth = f"{directory}/", directory.count("/") + 1
        return sorted(
            path[len(prefix) :]
            for path in self.znodes
            if path.startswith(prefix) and path.count("/") == depth
        )

    def contenders(self, directory: str) -> list[str]:
        """Names of those who hold or want a lock, the holder first."""
        known = self._contenders.get(directory)
        if known is None:
            queue = sorted(self.below(directory), key=lambda name: name.rpartition("_")[2])
            known = self._contenders[directory] = queue
        return known

    def holder(self, directory: str) -> int:
        """The session that holds a lock; 0 for nobody."""
        queue = self.contenders(directory)
        return self.znodes[f"{directory}/{queue[0]}"].owner if queue else 0

    def node_ids(self) -> Iterator[str]:
        """Of the nodes that there are, in order."""
        return iter(self.below(paths.NODES))

    def with_session(self, session: int) -> Tree:
        return Tree(self.znodes, self.sessions | {session})

    def without_session(self, session: int) -> Tree:
        """The session ends, and its ephemerals with it."""
        left = {path: z for path, z in self.znodes.items() if z.owner != session}
        return Tree(left, self.sessions - {session})

    def after(self, operations: Sequence[Operation], session: int) -> Tree:
        """What one request makes of it, all at once.

        :raises Refused: nothing happened.
        :raises SessionGone: nothing happened, and nothing ever will.
        """
        if session not in self.sessions:
            raise SessionGone
        znodes = dict(self.znodes)
        for index, operation in enumerate(operations):
            _carry_out(znodes, operation, index, session)
        return Tree(znodes, self.sessions)


#: The id of the next node, beside the nodes.
_COUNTER = f"{paths.NODES}.counter"

EMPTY = Tree({_COUNTER: Znode(b"", 0)}, frozenset())


def _carry_out(znodes: dict[str, Znode], operation: Operation, index: int, session: int) -> None:
    kind, path, data, version, ephemeral, sequence = operation
    if kind == "create":
        if sequence:
            path += _next(znodes, path)
        parent = path.rpartition("/")[0]
        if path in znodes:
            raise Refused(index, "exists")
        if parent.startswith(f"{paths.NODES}/") and parent not in znodes:
            raise Refused(index, "no node")
        if parent.startswith(f"{paths.REQUEST_LOCKS}/") and parent not in znodes:
            raise Refused(index, "no node")
        znodes[path] = Znode(data, 0, session if ephemeral else 0)
        return
    found = znodes.get(path)
    if found is None:
        raise Refused(index, "no node")
    if version not in (-1, found.version):
        raise Refused(index, "version")
    if kind == "set":
        znodes[path] = Znode(data, found.version + 1, found.owner)
    elif kind == "delete":
        prefix = f"{path}/"
        if any(other.startswith(prefix) for other in znodes):
            raise Refused(index, "not empty")
        del znodes[path]


def versionless(tree: Tree) -> Tree:
    """The same, as if each record had been written once; see the design note."""
    if not any(z.version and path != _COUNTER for path, z in tree.znodes.items()):
        return tree
    znodes = {
        path: z if path == _COUNTER or not z.version else z._replace(version=0)
        for path, z in tree.znodes.items()
    }
    return Tree(znodes, tree.sessions)


def _next(znodes: dict[str, Znode], prefix: str) -> str:
    if prefix == f"{paths.NODES}/":
        counter = znodes[_COUNTER]
        znodes[_COUNTER] = counter._replace(version=counter.version + 1)
        return f"{counter.version:010d}"
    directory = prefix.rpartition("/")[0]
    there = [int(path[-10:]) for path in znodes if path.startswith(f"{directory}/")]
    return f"{max(there, default=-1) + 1:010d}"


def create(
    path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
) -> Operation:
    return Operation("create", path, data, -1, ephemeral, sequence)


def write(path: str, data: bytes, version: int = -1) -> Operation:
    return Operation("set", path, data, version)


def delete(path: str, version: int = -1) -> Operation:
    return Operation("delete", path, b"", version)


def check(path: str, version: int = -1) -> Operation:
    return Operation("check", path, b"", version)
