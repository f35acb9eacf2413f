"""Telling the tasks of taken requests that something has changed for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.pools.interface import NodeMaker
from nodepool_tx.pools.reservations import Reservations
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store
from nodepool_tx.store.usage import Account
from nodepool_tx.txzookeeper.lock import Lock

__all__ = ["Followed", "Following", "Taken"]


class Followed:
    """What one task waits for: its request, its nodes, its lock, perhaps room or a time."""

    def __init__(self, owner: Following, request_id: str, lock: Lock) -> None:
        self._owner = owner
        self.request_id = request_id
        self.node_ids: Sequence[str] = ()
        #: Nodes that were put off, as they were then: they are removed at once.
        self.aborted: dict[str, Node] = {}
        #: It waits for room.
        self.lacks_room = False
        self._news: Deferred[None] = Deferred()
        self._timer: IDelayedCall | None = None
        self._call_off = lock.on_lost(self.wake)

    def news(self) -> Deferred[None]:
        """Fires with the first thing that happens from now on: ask before looking."""
        self._news = Deferred()
        return self._news

    def wake(self) -> None:
        if not self._news.called:
            self._news.callback(None)

    def wake_in(self, seconds: float) -> None:
        """Look again then, or at a sooner time that was asked for, if nothing happens before."""
        clock, timer = self._owner.clock, self._timer
        if timer is None or not timer.active():
            self._timer = clock.callLater(seconds, self.wake)
        elif clock.seconds() + seconds < timer.getTime():
            timer.reset(seconds)

    def follow(self, node_ids: Sequence[str]) -> None:
        """From now on it waits for these nodes."""
        self._owner.forget(self)
        self.node_ids = tuple(node_ids)
        self._owner.remember(self)

    def stop(self) -> None:
        """Nobody waits any more."""
        self._call_off()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._owner.forget(self)


@attrs.define(eq=False)
class Taken:
    """A request of ours that waits for its nodes.

    :ivar zone: in which its nodes are.
    :ivar node_ids: in the order of its labels.
    :ivar to_make: nodes that were created and have not been seen yet.
    :ivar since: when the last of them was created.
    :ivar bereft_since: when it lost a node that has not been replaced.
    """

    request: NodeRequest
    lock: Lock
    followed: Followed
    zone: str | None
    node_ids: list[str]
    to_make: set[str]
    since: float
    bereft_since: float | None = None


class Following:
    """The tasks of one pool, by what they wait for; subscribed while there are any."""

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        reservations: Reservations,
        maker: NodeMaker,
    ) -> None:
        self.clock = clock
        self._store = store
        self._reservations = reservations
        self._maker = maker
        self._by_request: dict[str, Followed] = {}
        self._by_node: dict[str, Followed] = {}
        self._unsubscribe: list[Callable[[], None]] = []

    def follow(self, request_id: str, lock: Lock) -> Followed:
        return Followed(self, request_id, lock)

    def remember(self, followed: Followed) -> None:
        if not self._unsubscribe:
            self._unsubscribe = [
                self._store.nodes.subscribe(self._on_node),
                self._store.requests.subscribe(self._on_request),
                self._store.when_current(self._on_current),
                self._reservations.subscribe(self._on_room),
                self._maker.subscribe(self._on_maker),
            ]
        self._by_request[followed.request_id] = followed
        self._by_node.update(dict.fromkeys(followed.node_ids, followed))

    def forget(self, followed: Followed) -> None:
        # Another may wait for the same by now: what one gives up, the next takes.
        if self._by_request.get(followed.request_id) is followed:
            del self._by_request[followed.request_id]
        for node_id in followed.node_ids:
            if self._by_node.get(node_id) is followed:
                del self._by_node[node_id]
        if not self._by_request:
            for unsubscribe in self._unsubscribe:
                unsubscribe()
            self._unsubscribe = []

    def _on_node(self, change: NodeChange) -> None:
        followed = self._by_node.get(change.node_id)
        if followed is not None:
            if change.after is not None and change.after.state is NodeState.ABORTED:
                followed.aborted[change.node_id] = change.after
            followed.wake()

    def _on_request(self, change: RequestChange) -> None:
        followed = self._by_request.get(change.request_id)
        if followed is not None:
            followed.wake()

    def _on_current(self, current: bool) -> None:
        if current:
            for followed in tuple(self._by_request.values()):
                followed.wake()

    def _on_room(self, account: Account | None, resources: Collection[str]) -> None:
        self._on_maker()

    def _on_maker(self) -> None:
        for followed in tuple(self._by_request.values()):
            if followed.lacks_room:
                followed.wake()
