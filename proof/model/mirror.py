"""Two launchers that differ only in name: of a state and its mirror image one is searched.

A launcher's name is in what it owns: in the contenders of its sessions, in the
nodes that it makes and in the requests that it declined.  Mirroring exchanges
the names of the two everywhere, also in what they have sent.  Nothing that is
searched depends on which of two names is the lesser, so what may follow a state
is the mirror image of what may follow its mirror image.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from proof.model.seen import Operations, alias
from proof.model.zookeeper import Operation, Tree, Znode

__all__ = ["marks", "mirrored", "mirrored_operations", "mirrored_session", "mirrored_text"]

_NAMES = re.compile(r"(?<=pool-)[01]|(?<=/)\d0[12](?=__lock__)")
_NAMES_IN_DATA = re.compile(rb"(?<=pool-)[01]")
_OTHER = {"0": "1", "1": "0"}


def mirrored_session(session: int) -> int:
    """Sessions of launchers end in 01 and 02; those of clients stay as they are."""
    return session + {1: 1, 2: -1}.get(session % 100, 0)


def mirrored_text(text: str) -> str:
    """A path, or the name of a pool."""
    return _NAMES.sub(_other, text) if "_" in text or "pool-" in text else text


def _other(match: re.Match[str]) -> str:
    name = match[0]
    return _OTHER[name] if len(name) == 1 else f"{mirrored_session(int(name)):03d}"


@lru_cache(maxsize=100_000)
def _mirrored_data(data: bytes) -> bytes:
    return _NAMES_IN_DATA.sub(lambda match: b"1" if match[0] == b"0" else b"0", data)


@lru_cache(maxsize=500_000)
def mirrored(tree: Tree) -> Tree:
    znodes = {
        mirrored_text(path): Znode(_mirrored_data(z.data), z.version, mirrored_session(z.owner))
        for path, z in tree.znodes.items()
    }
    return Tree(znodes, frozenset(mirrored_session(session) for session in tree.sessions))


@lru_cache(maxsize=500_000)
def mirrored_operations(operations: Operations) -> Operations:
    """What the other one would have sent."""
    found = tuple(_mirrored_operation(operation) for operation in operations)
    alias(found, operations, mirrored_operations)
    return found


def _mirrored_operation(operation: Operation) -> Operation:
    return operation._replace(
        path=mirrored_text(operation.path), data=_mirrored_data(operation.data)
    )


class Marks(NamedTuple):
    """What a tree shows of one launcher, but for its name."""

    owned: tuple[str, ...]
    named: tuple[str, ...]


@lru_cache(maxsize=500_000)
def marks(tree: Tree, session: int, pool: str) -> Marks:
    """By these the two are told apart, to choose one of the two images."""
    name, contender = f'"{pool}"'.encode(), f"{session:03d}"
    return Marks(
        tuple(
            sorted(p.replace(contender, "") for p, z in tree.znodes.items() if z.owner == session)
        ),
        tuple(sorted(p for p, z in tree.znodes.items() if name in z.data)),
    )
