"""Nodes in our hands: taken as Zuul takes them, and given back.

A lease is a real lock on each node, tied to the session: when this process is
gone, however it ended, the launcher sees unlocked nodes in use and takes them
back.  Every write under it is fenced by the lock.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

import attrs
from kazoo.exceptions import LockTimeout, NoNodeError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.cli.gathering import gathered
from nodepool_tx.cli.outcome import Complaint
from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.store import paths
from nodepool_tx.store.change import Conflict, Moved
from nodepool_tx.store.codec import Unreadable, decode_node
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.lock import Lock

__all__ = ["Lease", "take"]

#: Seconds to wait for the lock of a node that was promised to us; as Zuul does.
_LOCK_PATIENCE = 30.0


@attrs.define(eq=False)
class Lease:
    """Nodes that are locked by us, in the order asked for.

    :ivar lost: fires when the session ended and the locks with it.
    """

    store: Store
    clock: IReactorTime
    nodes: tuple[Node, ...]
    locks: tuple[Lock, ...]
    lost: Deferred[None] = attrs.field(factory=Deferred)
    _unobserve: Callable[[], None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._unobserve = self.store.client.observe(self._on_state)

    def _on_state(self, state: SessionState) -> None:
        if state is SessionState.EXPIRED and not self.lost.called:
            self.lost.callback(None)

    async def give_back(self) -> None:
        """Set the nodes used and let go of them.

        :raises Complaint: they are not ours any more.
        """
        await self._leave(lambda node: node.in_state(NodeState.USED, self.clock.seconds()))

    async def keep(self, comment: str) -> None:
        """Hold the nodes, so that they stay as they are, and let go of them.

        :raises Complaint: they are not ours any more.
        """
        now = self.clock.seconds()
        await self._leave(lambda node: node.in_state(NodeState.HOLD, now, comment=comment))

    async def _leave(self, leaving: Callable[[Node], Node]) -> None:
        self._unobserve()
        try:
            present = await gathered(_read(self.store, node.id) for node in self.nodes)
            change = self.store.change()
            for node, lock in zip(present, self.locks, strict=True):
                change.update_node(node, leaving(node), lock)
            await change.commit()
        except (Conflict, NoNodeError, Unreadable) as e:
            raise Complaint(f"the nodes are not ours any more: {e}") from e
        await gathered(lock.release() for lock in self.locks)


async def take(store: Store, clock: IReactorTime, request: NodeRequest) -> Lease:
    """Lock a fulfilled request's nodes, set them in use, and remove the request.

    The request goes last: until then its nodes are promised to it, after that
    they are locked and in use; nobody else ever finds them free in between.

    :raises Complaint: a node is not there for us after all.
    """
    me = f"{socket.gethostname()}:{os.getpid()}"
    locks = [Lock(store.client, paths.node_lock(id), me, clock=clock) for id in request.nodes]
    try:
        nodes = await _lock_and_use(store, clock, request, locks)
    except LockTimeout:
        raise Complaint(
            f"a node of request {request.id} was locked by somebody else for {_LOCK_PATIENCE:g} s"
        ) from None
    except (Conflict, NoNodeError, Unreadable) as e:
        raise Complaint(f"the nodes of request {request.id} cannot be used: {e}") from e
    await store.remove_request(request.id)
    return Lease(store, clock, tuple(nodes), tuple(locks))


async def _lock_and_use(
    store: Store, clock: IReactorTime, request: NodeRequest, locks: Sequence[Lock]
) -> list[Node]:
    """Take the locks and set the nodes in use, or let go of what was locked."""

    def read() -> Deferred[list[Node]]:
        return gathered(_read(store, node_id) for node_id in request.nodes)

    try:
        # Sent together: what is read is already under the lock, unless another
        # contender was there first, which the version then shows.
        locking = gathered(lock.acquire(_LOCK_PATIENCE) for lock in locks)
        nodes, _ = await gathered([read(), locking])
        while True:
            try:
                return await _use(store, clock, request, nodes, locks)
            except Moved:
                nodes = await read()
    except BaseException:
        await gathered(lock.release() for lock in locks)
        raise


def _read(store: Store, node_id: str) -> Deferred[Node]:
    return store.client.get(paths.node(node_id)).addCallback(
        lambda answer: decode_node(
            node_id, answer[0], version=answer[1].version, mzxid=answer[1].mzxid
        )
    )


async def _use(
    store: Store,
    clock: IReactorTime,
    request: NodeRequest,
    nodes: Sequence[Node],
    locks: Sequence[Lock],
) -> list[Node]:
    now = clock.seconds()
    change = store.change()
    in_use = []
    for node, lock in zip(nodes, locks, strict=True):
        if node.allocated_to != request.id or node.state is not NodeState.READY:
            raise Complaint(f"node {node.id} is {node.state.value} and not promised to us any more")
        in_use.append(node.in_state(NodeState.IN_USE, now))
        change.update_node(node, in_use[-1], lock)
    await change.commit()
    return in_use
