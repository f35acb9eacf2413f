"""A part of ZooKeeper's tree as it is right now, with its data: for copies and removals."""

from __future__ import annotations

import attrs
from kazoo import exceptions as zke
from kazoo.protocol.states import ZnodeStat
from twisted.internet.defer import Deferred, FirstError, gatherResults

from nodepool_tx.store.change import Uncertain, connection_errors
from nodepool_tx.txzookeeper.interface import ZookeeperAPI

__all__ = ["Znode", "read_tree"]


@attrs.frozen
class Znode:
    data: bytes
    stat: ZnodeStat


async def read_tree(client: ZookeeperAPI, path: str) -> dict[str, Znode]:
    """A znode and all below it, parents first; what goes meanwhile is left out.

    :raises Uncertain: the connection broke.
    """
    try:
        return await _read(client, path)
    except connection_errors as e:
        raise Uncertain(str(e) or type(e).__name__) from e


async def _read(client: ZookeeperAPI, path: str) -> dict[str, Znode]:
    try:
        data, stat = await client.get(path)
        names = await client.get_children(path) if stat.numChildren else []
    except zke.NoNodeError:
        return {}
    below = gatherResults(
        [Deferred.fromCoroutine(_read(client, f"{path}/{name}")) for name in sorted(names)],
        consumeErrors=True,
    )
    found = {path: Znode(data, stat)}
    try:
        for tree in await below:
            found |= tree
    except FirstError as e:
        e.subFailure.raiseException()
    return found
