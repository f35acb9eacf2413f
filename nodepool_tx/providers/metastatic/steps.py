"""What is done about a backing node, each in one transaction.

All of these raise :class:`~nodepool_tx.store.change.Conflict` when something is
no longer what it was when this was decided, and
:class:`~nodepool_tx.store.change.Uncertain` when the connection broke.
"""

from __future__ import annotations

import attrs

from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.providers.metastatic.backing import Backing, user_data_of
from nodepool_tx.providers.metastatic.standing import StandingLock, lock_in
from nodepool_tx.providers.metastatic.table import Table
from nodepool_tx.store import paths
from nodepool_tx.store.change import Change
from nodepool_tx.store.store import Store

__all__ = ["Steps"]


class Steps:
    """The steps for one provider.

    :param owner: what it calls itself.
    """

    def __init__(self, store: Store, table: Table, owner: str) -> None:
        self._store = store
        self._table = table
        self._owner = owner

    async def take(self, backing: Backing, request: NodeRequest, node: Node) -> None:
        """Make a node that was asked for ours, and let its slots be used."""
        change = self._store.change()
        contender = lock_in(change, node.id, self._owner)
        after = attrs.evolve(
            backing,
            node=node.id,
            # A node from stock was launched long ago, for somebody else.
            launched=max(backing.created, node.created_time or 0.0),
            lock=contender,
        )
        now = self._store.clock.seconds()
        data = user_data_of(after, self._owner)
        change.update_node(node, node.in_state(NodeState.IN_USE, now, user_data=data))
        _withdraw(change, request)
        self._table.write(change, after)
        await change.commit()

    async def end(self, backing: Backing, request: NodeRequest | None, reason: str) -> None:
        """Say why there is no such node; who has a slot reads it there."""
        change = self._store.change()
        if request is not None:
            _withdraw(change, request)
        self._table.write(change, attrs.evolve(backing, trouble=reason))
        await change.commit()

    async def strand(self, node: Node) -> None:
        """Have a node deleted that is free, and a part of nothing any more."""
        change = self._store.change()
        now = self._store.clock.seconds()
        change.update_node(node, node.in_state(NodeState.DELETING, now))
        await change.commit()

    async def release(self, backing: Backing, node: Node) -> None:
        """Give a backing node back to its provider, and forget it.

        Where somebody has put it into another state already, it stays so.
        """
        change = self._store.change()
        after = attrs.evolve(node, user_data=None)
        if node.state is NodeState.IN_USE:
            after = after.in_state(NodeState.USED, self._store.clock.seconds())
        lock = StandingLock(self._store.client, node.id, backing.lock or "none")
        change.update_node(node, after, lock, release=True)
        self._table.remove(change, backing)
        await change.commit()

    async def drop(self, backing: Backing, request: NodeRequest | None) -> None:
        """Forget a backing node that there is not, and its request."""
        change = self._store.change()
        if request is not None:
            _withdraw(change, request)
        self._table.remove(change, backing)
        await change.commit()

    async def correct(self, backing: Backing) -> None:
        """Write a record as it should be."""
        change = self._store.change()
        self._table.write(change, backing)
        await change.commit()

    async def add(self, backing: Backing) -> None:
        """Add a record for a node that is ours and had none."""
        await self._table.prepare()
        change = self._store.change()
        self._table.add(change, backing)
        self._table.pass_fence(change)
        await change.commit()
        await self._table.barrier()

    async def remove_request(self, request: NodeRequest) -> None:
        """Remove a request of ours whose record is gone."""
        change = self._store.change()
        _withdraw(change, request)
        await change.commit()


def _withdraw(change: Change, request: NodeRequest) -> None:
    """Remove a request as clients do: whoever works on it notices."""
    path, version = paths.request(request.id), request.version
    change.also("request", request.id, lambda txn: txn.delete(path, version))
