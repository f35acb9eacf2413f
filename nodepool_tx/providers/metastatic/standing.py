"""The lock of a backing node: held by no session, until it is released."""

from __future__ import annotations

import uuid

from nodepool_tx.store import paths
from nodepool_tx.store.change import Change
from nodepool_tx.txzookeeper.interface import Transaction, ZookeeperAPI
from nodepool_tx.txzookeeper.lock import Lock, contenders

__all__ = ["StandingLock", "lock_in", "our_contender"]


class StandingLock(Lock):
    """A lock that was taken before, by whichever process, and goes with no session.

    :param contender: the name of the znode that holds it.
    """

    def __init__(self, client: ZookeeperAPI, node_id: str, contender: str) -> None:
        directory = paths.node_lock(node_id)
        super().__init__(client, directory)
        self._standing = f"{directory}/{contender}"

    def check_in(self, txn: Transaction) -> None:
        txn.check(self._standing)

    def release_in(self, txn: Transaction) -> None:
        txn.delete(self._standing)

    def released(self) -> None:
        """Nothing here knows of it."""


def lock_in(change: Change, node_id: str, owner: str) -> str:
    """Take the lock in a change that proves that nobody has it; returns our contender's name.

    Such a change makes the lock's directory anew, so ours is the first in it.
    """
    name = f"{uuid.uuid4().hex}__lock__0000000000"
    path = f"{paths.node_lock(node_id)}/{name}"
    change.also("node", node_id, lambda txn: txn.create(path, owner.encode()))
    return name


async def our_contender(client: ZookeeperAPI, node_id: str, owner: str) -> str | None:
    """The name of the contender that holds the lock, if it is ``owner``'s."""
    queue = await contenders(client, paths.node_lock(node_id))
    if not queue or queue[0].identifier != owner:
        return None
    return queue[0].path.rpartition("/")[2]
