"""Putting right what nobody else will: lost requests, old nodes, leftovers.

Each duty is a small function of what the tables show; what can be told by an
event is done at the event, and a sweep repeats everything in case one was
missed.  Every change is guarded (see :mod:`nodepool_tx.store.change`), so that
any number of launchers may do this at once: one of them wins.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable

from kazoo import exceptions as zke
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodepool_tx.config.schema import Config
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.periodic import Periodic
from nodepool_tx.pools.rules import all_declined
from nodepool_tx.pools.transactions import in_stock
from nodepool_tx.store import paths
from nodepool_tx.store.change import Change, Conflict, Uncertain, connection_errors
from nodepool_tx.store.codec import EMPTY
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store
from nodepool_tx.work import SingleFlight

__all__ = ["Janitor", "past_hold_age", "past_ready_age"]

#: How often it is tried at once to open a lost request again.
RESET_ATTEMPTS = 3


def past_ready_age(node: Node, config: Config, now: float) -> bool:
    """The node has been in stock longer than one of its labels allows."""
    if node.state is not NodeState.READY or node.allocated_to:
        return False
    ages = [config.labels[label].max_ready_age for label in node.type if label in config.labels]
    return any(0 < age <= now - node.state_time for age in ages)


def past_hold_age(node: Node, config: Config, now: float) -> bool:
    """The node was held longer than was asked, or than the configuration allows."""
    if node.state is not NodeState.HOLD:
        return False
    asked = node.hold_expiration or 0
    longest = min(asked if asked > 0 else math.inf, config.max_hold_age)
    return now - node.state_time >= longest


class Janitor(MultiService):
    """The duties of one launcher.

    ``config`` gives the configuration in force.  ``providers`` gives the names
    of the providers that run here, those being given up included; the stock of
    others is none of our business.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        config: Callable[[], Config],
        providers: Callable[[], Iterable[str]],
        *,
        interval: float,
        lock_age: float,
    ) -> None:
        super().__init__()
        self.setName("janitor")
        self._clock = clock
        self._store = store
        self._config = config
        self._providers = providers
        self._lock_age = lock_age
        #: Requests and nodes that events said to look at.
        self._lost: set[str] = set()
        self._deserted: set[str] = set()
        #: Nodes that are kept for a request that is open again, and for which.
        self._kept: dict[str, str] = {}
        #: Orphaned request locks, and when they were made.
        self._orphans: dict[str, float] = {}
        self._hopeless: set[str] = set()
        #: Providers that nobody has, and in how many sweeps that was so.
        self._abandoned: dict[str, int] = {}
        self._unsubscribe: list[Callable[[], None]] = []
        self._prompt = SingleFlight(self._look_at_marked, "the janitor")
        self.sweep = Periodic(clock, "janitor sweep", interval, self._sweep)
        self.sweep.setServiceParent(self)

    def startService(self) -> None:
        super().startService()
        store = self._store
        self._unsubscribe = [
            store.nodes.subscribe(self._on_node),
            store.requests.subscribe(self._on_request),
            store.when_current(self._on_current),
        ]
        self._on_current(store.current)

    def stopService(self) -> Deferred[object]:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._lost, self._deserted = set(), set()
        stopped: Deferred[object] = Deferred.fromCoroutine(self._stop(super().stopService()))
        return stopped

    async def _stop(self, children: Deferred[object]) -> None:
        await children
        await self._prompt.idle()

    # -- events ----------------------------------------------------------

    def _on_current(self, current: bool) -> None:
        if not current:
            return
        for request in self._store.requests:
            self._suspect(request)
        for request_id in self._store.nodes.promised_to():
            if not self._store.requests.exists(request_id):
                self._deserted.add(request_id)
        self._wake()

    def _on_request(self, change: RequestChange) -> None:
        if change.after is None:
            if self._store.nodes.of_request(change.request_id):
                self._deserted.add(change.request_id)
                self._wake()
        elif self._suspect(change.after):
            self._wake()

    def _on_node(self, change: NodeChange) -> None:
        node = change.after
        if (
            node is not None
            and node.allocated_to
            and not change.locked_after
            and node.state in (NodeState.READY, NodeState.BUILDING)
            and not self._store.requests.exists(node.allocated_to)
        ):
            self._deserted.add(node.allocated_to)
            self._wake()

    def _suspect(self, request: NodeRequest) -> bool:
        """Pending, and nobody holds its lock: whoever worked on it is gone."""
        if request.state is RequestState.PENDING and not self._store.requests.is_locked(request.id):
            self._lost.add(request.id)
            return True
        return False

    def _wake(self) -> None:
        if self._store.current and self.running:
            self._prompt.wake()

    async def _look_at_marked(self) -> None:
        """Look again at what events pointed to, once the tables have caught up.

        A lock is seen to go before the last write under it is read, and a node
        may be read before the request that it was promised to meanwhile; after
        a barrier both are known.  What events point to during the barrier needs
        another one.
        """
        if not self._store.current or not (self._lost or self._deserted):
            return
        lost, self._lost = self._lost, set()
        deserted, self._deserted = self._deserted, set()
        try:
            await self._store.barrier()
        except Uncertain:
            self._lost |= lost
            self._deserted |= deserted
            return
        for request_id in lost:
            try:
                await self._reset_lost(request_id)
            except Uncertain:
                self._lost.add(request_id)
        for request_id in deserted:
            if not self._store.requests.exists(request_id):
                await self._free_promised(request_id)

    # -- duties ----------------------------------------------------------

    async def _sweep(self) -> None:
        if not self._store.current:
            return
        self._on_current(True)
        for duty in (
            self._delete_aged,
            self._free_kept,
            self._remove_empty_nodes,
            self._remove_old_locks,
            self._fail_hopeless,
            self._tell_of_abandoned,
        ):
            try:
                await duty()
            except Uncertain as e:
                self._log.debug("the sweep was interrupted: {reason}", reason=str(e))
            except Exception:
                # The others must be done all the same.
                self._log.failure("{duty} failed", duty=duty.__name__.strip("_"))

    async def _delete_aged(self) -> None:
        config, now = self._config(), self._clock.seconds()
        ours = [node for name in self._providers() for node in self._store.nodes.of_provider(name)]
        for node in ours:
            if past_ready_age(node, config, now):
                await self._delete(node, "older than max-ready-age")
            elif past_hold_age(node, config, now):
                await self._delete(node, "held longer than allowed")

    async def _reset_lost(self, request_id: str) -> None:
        """Give a request that its launcher left pending back to everyone.

        Nodes that somebody works on stay promised to it: it may get them yet.
        """
        for _ in range(RESET_ATTEMPTS):
            request = self._store.requests.get(request_id)
            if request is None or not self._suspect(request):
                return
            self._lost.discard(request_id)
            if await self._made(self._resetting(request), "reset lost request", request_id):
                self._log.info(
                    "request {request_id} was left pending by its launcher and is open again",
                    request_id=request_id,
                    event_id=request.event_id,
                )
                return
            # Perhaps one of its nodes was just adopted: see that.
            await self._store.barrier()

    def _resetting(self, request: NodeRequest) -> Change:
        now = self._clock.seconds()
        change = self._store.change()
        for node in self._store.nodes.of_request(request.id):
            if node.state is NodeState.READY or self._is_orphan(node):
                change.update_node(node, in_stock(node))
            elif node.state is NodeState.INIT:
                change.update_node(node, node.in_state(NodeState.DELETING, now, allocated_to=None))
        change.update_request(request, request.in_state(RequestState.REQUESTED, now, nodes=()))
        return change

    def _is_orphan(self, node: Node) -> bool:
        """It was being made, and whoever made it is gone."""
        return node.state is NodeState.BUILDING and not self._store.nodes.is_locked(node.id)

    async def _free_promised(self, request_id: str) -> None:
        """Put nodes back in stock whose request is gone."""
        for node in self._store.nodes.of_request(request_id):
            ready = node.state is NodeState.READY and not self._store.nodes.is_locked(node.id)
            if not (ready or self._is_orphan(node)):
                continue
            await self._put_in_stock(node, f"request {request_id} is gone")

    async def _free_kept(self) -> None:
        """Put nodes in stock that an open request does not get, seen in two sweeps.

        Somebody went on making them when it was given back, see
        :meth:`_reset_lost`.  It may wait behind others since, who wait for the
        very room that these nodes take up.
        """
        before, self._kept = self._kept, {}
        for request_id in self._store.nodes.promised_to():
            request = self._store.requests.get(request_id)
            if (
                request is None
                or request.state is not RequestState.REQUESTED
                or self._store.requests.is_locked(request_id)
            ):
                continue
            for node in self._store.nodes.of_request(request_id):
                if self._is_in_nobodys_hands(node):
                    self._kept[node.id] = request_id
        for node_id, request_id in tuple(self._kept.items()):
            kept = self._store.nodes.get(node_id)
            if before.get(node_id) != request_id or kept is None:
                continue
            if kept.allocated_to == request_id and self._is_in_nobodys_hands(kept):
                await self._put_in_stock(kept, f"request {request_id} is open, and did not get it")

    def _is_in_nobodys_hands(self, node: Node) -> bool:
        nodes = self._store.nodes
        ready = node.state is NodeState.READY and not nodes.is_locked(node.id)
        return (ready or self._is_orphan(node)) and not nodes.is_reserved(node.id)

    async def _put_in_stock(self, node: Node, reason: str) -> None:
        change = self._store.change()
        change.update_node(node, in_stock(node))
        if await self._made(change, "free node", node.id):
            self._log.info("node {node_id} is free again: {reason}", node_id=node.id, reason=reason)

    async def _delete(self, node: Node, reason: str) -> None:
        if self._store.nodes.is_locked(node.id) or self._store.nodes.is_reserved(node.id):
            return
        change = self._store.change()
        change.update_node(node, node.in_state(NodeState.DELETING, self._clock.seconds()))
        if await self._made(change, "delete node", node.id):
            self._log.info(
                "node {node_id} of {provider} is deleted: {reason}",
                node_id=node.id,
                provider=node.provider,
                reason=reason,
            )

    async def _remove_empty_nodes(self) -> None:
        """A node znode without any data is what a crash between steps leaves."""
        for node_id, reason in tuple(self._store.nodes.unreadable.items()):
            if reason == EMPTY and not self._store.nodes.is_locked(node_id):
                await self._quietly(
                    self._store.remove_unreadable_node(node_id), "empty node", node_id
                )

    async def _remove_old_locks(self) -> None:
        """Locks of requests lie beside them, and so outlive them."""
        requests, now = self._store.requests, self._clock.seconds()
        orphans = {
            request_id
            for request_id in requests.lock_directories()
            if not self._store.requests.exists(request_id) and not requests.is_locked(request_id)
        }
        for gone in self._orphans.keys() - orphans:
            del self._orphans[gone]
        for request_id in orphans:
            if request_id not in self._orphans:
                made = await self._made_at(request_id)
                if made is None:
                    continue
                self._orphans[request_id] = made
            if now - self._orphans[request_id] >= self._lock_age:
                await self._quietly(
                    self._store.remove_request_lock(request_id), "request lock", request_id
                )

    async def _made_at(self, request_id: str) -> float | None:
        """When a request's lock was made; None if that cannot be told now."""
        try:
            stat = await self._store.client.exists(paths.request_lock(request_id))
        except connection_errors:
            return None
        return stat.mtime / 1000 if stat else None

    async def _fail_hopeless(self) -> None:
        """Fail requests that everyone online has declined, seen in two sweeps.

        The last to decline fails a request; one that was waiting for a pool
        which went away since has nobody left to do it.
        """
        before = self._hopeless
        self._hopeless = {r.id for r in self._store.requests if self._is_hopeless(r)}
        doomed = before & self._hopeless
        if doomed:
            # Nobody who has just come online may be overlooked.
            await self._store.barrier()
        for request_id in doomed:
            request = self._store.requests.get(request_id)
            if request is None or not self._is_hopeless(request):
                continue
            change = self._store.change()
            now = self._clock.seconds()
            change.update_request(request, request.in_state(RequestState.FAILED, now))
            if await self._made(change, "fail request", request_id):
                self._log.info(
                    "request {request_id} failed: everyone online has declined it",
                    request_id=request_id,
                    event_id=request.event_id,
                )

    def _is_hopeless(self, request: NodeRequest) -> bool:
        online = self._store.components.pools()
        return (
            request.state is RequestState.REQUESTED
            and bool(online and request.declined_by)
            and all_declined(request.declined_by, online)
        )

    async def _tell_of_abandoned(self) -> None:
        """Say whose nodes nobody looks after, when two sweeps have seen it.

        Somebody may come back for them, so no more is done about it.
        """
        online = {pool.provider_name for pool in self._store.components.pools()}
        abandoned = set(self._store.nodes.providers()) - online - set(self._providers())
        self._abandoned = {name: self._abandoned.get(name, 0) + 1 for name in sorted(abandoned)}
        for name, sweeps in self._abandoned.items():
            if sweeps == 2:
                self._log.warn(
                    "no launcher online has provider {provider}, and its {count} nodes stay: "
                    "see nodepool check",
                    provider=name,
                    count=len(self._store.nodes.of_provider(name)),
                )

    # -- doing -----------------------------------------------------------

    async def _made(self, change: Change, what: str, which: str) -> bool:
        """Commit; False when somebody else was faster or nobody answered."""
        try:
            await change.commit()
        except (Conflict, Uncertain) as e:
            self._log.debug("{what} {which}: {reason}", what=what, which=which, reason=str(e))
            return False
        return True

    async def _quietly(self, removal: Awaitable[bool], what: str, which: str) -> None:
        try:
            if await removal:
                self._log.info("removed {what} {which}", what=what, which=which)
        except (Uncertain, zke.ZookeeperError) as e:
            self._log.debug("{what} {which} stays: {reason}", what=what, which=which, reason=str(e))
