"""The tables of a launcher, a machine at a time, which may be late.

Design note: late tables
------------------------
A table shows of a machine either what there is (``NOW``), or nothing though
there is something (``NOTHING``), or a record that was written (``OLD``) or
removed (``GONE``) since.  Of a node that was replaced the deletion may be seen
before the new node is: then it shows nothing, too.  From an old record only
doomed transactions are decided, whatever it says, as each checks the version;
so none is begun.  A lock alone does not make a record old in a way that
matters: nobody locks a node that was not promised before.
Whoever is not the owner reads its tables anew before it acts (the barrier of
``Tenure``), so of those nothing is kept.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from nodepool_tx.store import paths
from proof.model.seen import nodes_in
from proof.model.zookeeper import Tree

__all__ = ["Shows", "Table", "aged", "machine_in", "merged", "shown", "without"]


class Shows(enum.IntEnum):
    """What a table shows of a machine; see the design note."""

    NOW = 0
    NOTHING = 1
    OLD = 2
    GONE = 3


#: What a table shows, by machine.
Table = tuple[Shows, ...]

#: The znodes of a machine's nodes.
Machine = frozenset[tuple[str, Any]]


def aged(table: Table, hosts: Sequence[str], before: Tree, after: Tree) -> Table:
    """What a table shows when the tree has changed."""
    return tuple(
        shows
        if (was := machine_in(before, h)) == (now := machine_in(after, h))
        else _older(shows, was, now)
        for h, shows in zip(hosts, table, strict=True)
    )


def _older(shows: Shows, was: Machine, now: Machine) -> Shows:
    """What a table shows of a machine after it has changed."""
    if shows is Shows.NOTHING:
        return Shows.NOTHING if now else Shows.NOW
    if not was and shows is Shows.NOW:
        return Shows.NOTHING
    replaced = {path for path, _ in was} - {path for path, _ in now}
    removed = any(path.count("/") == 3 for path in replaced)
    return Shows.GONE if removed or shows is Shows.GONE else Shows.OLD


@lru_cache(maxsize=500_000)
def shown(tree: Tree) -> Tree:
    """The nodes and their locks, and nothing else."""
    prefix = f"{paths.NODES}/"
    znodes = {path: znode for path, znode in tree.znodes.items() if path.startswith(prefix)}
    return Tree(znodes, frozenset())


@lru_cache(maxsize=500_000)
def machine_in(tree: Tree, host: str) -> Machine:
    """What a tree holds about a machine."""
    found: list[tuple[str, Any]] = []
    for node in nodes_in(tree):
        if node.hostname == host:
            path = paths.node(node.id)
            found += [
                (each, znode)
                for each, znode in tree.znodes.items()
                if each == path or each.startswith(f"{path}/")
            ]
    return frozenset(found)


@lru_cache(maxsize=500_000)
def without(tree: Tree, hosts: frozenset[str]) -> Tree:
    """The nodes and their locks, but for those of some machines."""
    left = shown(tree)
    hidden = {path for host in hosts for path, _ in machine_in(tree, host)}
    return Tree({p: z for p, z in left.znodes.items() if p not in hidden}, frozenset())


def merged(
    known: tuple[tuple[str, str], ...], more: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """What is unsettled, and what is now."""
    return tuple(sorted({**dict(known), **dict(more)}.items()))
