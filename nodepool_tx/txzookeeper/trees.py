"""Making whole paths and removing whole trees, in few round trips.

Both send what they can without waiting for answers, relying on the order in
which a server carries out what one client asks, and both put up with others
doing the same or the opposite at the same time.  Paths here are the server's,
chroot included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kazoo.exceptions import NodeExistsError, NoNodeError, NotEmptyError
from kazoo.protocol.serialization import Create, Delete
from kazoo.security import ACL
from twisted.internet.defer import Deferred, DeferredList

from nodepool_tx.txzookeeper.wire import (
    Decoder,
    Exists,
    GetChildren,
    Record,
    read_children,
    read_nothing,
    read_path,
    read_stat,
)

__all__ = ["create_path", "delete_tree", "ensure_path"]

Ask = Callable[[Record, Decoder], "Deferred[Any]"]

#: How often to begin again when others keep undoing what we do.
_ROUNDS = 20

#: Requests sent before their answers are awaited; bounds memory, not order.
_WINDOW = 1000

T = TypeVar("T")


async def _outcomes(requests: Sequence[Deferred[T]]) -> list[T | Exception]:
    """Results and errors of requests under way, in order."""
    settled: Any = await DeferredList(requests, consumeErrors=True)
    return [result if good else result.value for good, result in settled]


async def ensure_path(ask: Ask, path: str, acl: Sequence[ACL]) -> None:
    """Create ``path`` and what is missing above it.

    Usually it is all there, so one look comes first; then everything is
    created back to back.  Only the last answer counts: the others may exist
    already, or may be ones we are not allowed to create because they do.
    """
    if path == "/" or await ask(Exists(path, False), read_stat) is not None:
        return
    parts = path.split("/")
    paths = ["/".join(parts[: end + 1]) for end in range(1, len(parts))]
    for rounds_left in reversed(range(_ROUNDS)):
        creations = [ask(Create(each, b"", acl, 0), read_nothing) for each in paths]
        *above, last = await _outcomes(creations)
        if not isinstance(last, Exception) or isinstance(last, NodeExistsError):
            return
        if not isinstance(last, NoNodeError) or not rounds_left:
            raise last
        for error in above:
            if isinstance(error, Exception) and not isinstance(
                error, NodeExistsError | NoNodeError
            ):
                raise error


async def create_path(ask: Ask, creation: Create, acl: Sequence[ACL]) -> str:
    """Carry out ``creation``, making its parents if they turn out to be missing."""
    for _ in range(_ROUNDS):
        try:
            created: str = await ask(creation, read_path)
            return created
        except NoNodeError:
            await ensure_path(ask, creation.path.rpartition("/")[0] or "/", acl)
    raise NoNodeError(creation.path)


async def delete_tree(ask: Ask, path: str) -> None:
    """Remove ``path`` and all below it; what is not there is fine.

    Lists level by level, then deletes from the bottom up.  Somebody adding to
    the tree meanwhile makes it begin again, a bounded number of times.

    :raises NotEmptyError: they would not stop.
    """
    for rounds_left in reversed(range(_ROUNDS)):
        try:
            await _delete_once(ask, await _list_tree(ask, path))
        except NotEmptyError:
            if not rounds_left:
                raise
        else:
            return


async def _list_tree(ask: Ask, path: str) -> list[str]:
    """``path`` and everything below it, parents before children."""
    found = [path]
    level = [path]
    while level:
        below: list[str] = []
        for start in range(0, len(level), _WINDOW):
            parents = level[start : start + _WINDOW]
            listings = [ask(GetChildren(each, False), read_children) for each in parents]
            outcomes = await _outcomes(listings)
            for parent, names in zip(parents, outcomes, strict=True):
                if isinstance(names, Exception):
                    if not isinstance(names, NoNodeError):
                        raise names
                    continue
                prefix = parent if parent.endswith("/") else parent + "/"
                below.extend(prefix + name for name in names)
        found += below
        level = below
    return found


async def _delete_once(ask: Ask, paths: list[str]) -> None:
    paths.reverse()
    for start in range(0, len(paths), _WINDOW):
        window = paths[start : start + _WINDOW]
        deletions = [ask(Delete(each, -1), read_nothing) for each in window]
        for error in await _outcomes(deletions):
            if isinstance(error, Exception) and not isinstance(error, NoNodeError):
                raise error
