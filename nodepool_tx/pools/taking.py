"""Requests for which nodes are made: each one a task, from its taking to its end.

Design note: who does what
--------------------------
A request is taken in one transaction under its own lock, together with the
records of the nodes it is to get.  From then on this module only watches: the
maker turns records into servers, whatever becomes of the request, and what
becomes of them is read in the node table.  So a launch survives its request,
and a request is never held by a promise that nobody keeps.

Whatever happens to this process, the request is pending and unlocked then, and
any launcher's janitor gives it back to everyone.  That is also the way out when
the lock is lost: nothing is put right here that somebody else may be putting
right at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kazoo.exceptions import NoNodeError
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.answering import RETRY, PassStatistics
from nodepool_tx.pools.fitness import are_fit
from nodepool_tx.pools.following import Following, Taken
from nodepool_tx.pools.interface import NodeMaker, NodeSource, PoolSettings
from nodepool_tx.pools.outcomes import Outcomes
from nodepool_tx.pools.patience import PATIENCE
from nodepool_tx.pools.planning import Plan
from nodepool_tx.pools.provision import COMING, FindRoom, Provision
from nodepool_tx.pools.reservations import Reservation, Reservations
from nodepool_tx.pools.transactions import finish, give_back, release_nodes, take
from nodepool_tx.store import paths
from nodepool_tx.store.change import Conflict, Uncertain, connection_errors
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.work import Tracker

__all__ = ["Taking"]

#: How often a request is tried again at once that could not be taken.
TRIES_AT_ONCE = 5


class Taking:
    """The requests of a pool for which nodes are made.

    :param pool_id: gives the id under which the pool is registered.
    :param find_room: for nodes that replace others.
    :param on_ended: called when a request is in our hands no more.
    :ivar deciding: tasks that have not taken their request yet.
    :ivar taken: tasks that have.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        reservations: Reservations,
        settings: PoolSettings,
        source: NodeSource,
        maker: NodeMaker,
        statistics: PassStatistics,
        outcomes: Outcomes,
        pool_id: Callable[[], str],
        find_room: FindRoom,
        on_ended: Callable[[NodeRequest], None],
    ) -> None:
        self._clock = clock
        self._store = store
        self._reservations = reservations
        self._settings = settings
        self._source = source
        self._maker = maker
        self._statistics = statistics
        self._outcomes = outcomes
        self._pool_id = pool_id
        self._on_ended = on_ended
        self._following = Following(clock, store, reservations, maker)
        self._provision = Provision(
            clock, store, reservations, settings, maker, find_room, self._catch_up
        )
        self._requests: set[str] = set()
        #: How often in a row requests could not be taken.
        self._refused: dict[str, int] = {}
        self._stopping = False
        self.deciding = Tracker(clock)
        self.taken = Tracker(clock)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    def why(self, request_id: str) -> str:
        """What a request in our hands waits for, in words."""
        nodes = self._store.nodes.of_request(request_id)
        coming = sum(1 for node in nodes if node.state in COMING)
        if not nodes:
            return "being served now"
        return f"nodes are being made: {len(nodes) - coming} of {len(nodes)} are there"

    def start(self, request: NodeRequest, plan: Plan, reservation: Reservation) -> None:
        """Take a request; what its plan uses of what is there was reserved in the table."""
        self._requests.add(request.id)
        task = self._take(request, plan, reservation)
        self.deciding.run(f"taking request {request.id}", task)

    def open(self) -> None:
        """Take requests from now on, again after :meth:`cancel`."""
        self._stopping = False

    def cancel(self) -> None:
        """Let go of everything as it is, and leave it to others."""
        self._stopping = True
        self.deciding.cancel()
        self.taken.cancel()

    # -- taking ----------------------------------------------------------

    async def _take(self, request: NodeRequest, plan: Plan, reservation: Reservation) -> None:
        path = paths.request_lock(request.id)
        lock = Lock(self._store.client, path, self._pool_id(), clock=self._clock)
        ids: tuple[str, ...] | None = None
        being_taken = self._reservations.being_taken
        first = request.id not in being_taken
        being_taken.add(request.id)
        try:
            ready = [node for node in plan.present if node.state is NodeState.READY]
            if (
                first
                and await are_fit(self._source, ready)
                and await lock.try_acquire() is not None
            ):
                ids = await take(
                    self._store,
                    self._reservations,
                    reservation,
                    self._maker,
                    self._settings.name,
                    request,
                    plan,
                    lock,
                )
            self._refused.pop(request.id, None)
        except (*connection_errors, Conflict, Uncertain, NoNodeError) as e:
            self._statistics.conflicts += 1
            self._refused[request.id] = self._refused.get(request.id, 0) + 1
            self._log.debug(
                "request {request_id} is tried again: {reason}",
                request_id=request.id,
                event_id=request.event_id,
                reason=str(e) or type(e).__name__,
            )
        except CancelledError:
            raise
        except Exception:
            # Tried again at once it would most likely go the same way.
            self._refused[request.id] = TRIES_AT_ONCE + 1
            self._log.failure(
                "request {request_id} could not be taken",
                request_id=request.id,
                event_id=request.event_id,
            )
        finally:
            if first:
                being_taken.discard(request.id)
            self._store.nodes.unreserve([node.id for node in plan.present])
            if ids is None or self._stopping:
                try:
                    # If it was taken after all, the janitor finds it pending and unlocked.
                    await self._release(request.id, lock)
                    reservation.release()
                    await self._pause_if_refused(request)
                finally:
                    reservation.release()
                    self._end(request)
        if ids is not None and not self._stopping:
            reservation.becomes(ids)
            taken = self._taken(request, lock, plan, ids)
            self.taken.run(f"making nodes for request {request.id}", self._see_through(taken))

    def _taken(self, request: NodeRequest, lock: Lock, plan: Plan, ids: tuple[str, ...]) -> Taken:
        self._log.info(
            "{provider}/{pool} makes nodes for request {request_id}: {node_ids}",
            provider=self._settings.provider,
            pool=self._settings.name,
            request_id=request.id,
            event_id=request.event_id,
            node_ids=", ".join(ids),
        )
        new = {id for id, node in zip(ids, plan.nodes, strict=True) if node is None}
        followed = self._following.follow(request.id, lock)
        now = self._clock.seconds()
        return Taken(request, lock, followed, plan.zone, list(ids), new, now)

    async def _pause_if_refused(self, request: NodeRequest) -> None:
        """Do not try the same again and again at once."""
        if self._refused.get(request.id, 0) > TRIES_AT_ONCE and not self._stopping:
            self._refused.pop(request.id)
            await deferLater(self._clock, RETRY)

    async def _release(self, request_id: str, lock: Lock) -> None:
        """Give the lock up, and see what came of all that was done under it.

        What is left of it when nobody needs it any more is removed; if we are
        stopping, or somebody else has it still, the janitor does that later.
        """
        released = lock.release().addErrback(self._not_released, lock)
        if self._stopping:
            return
        await released
        await self._catch_up()
        requests = self._store.requests
        latest = requests.get(request_id)
        over = latest.is_answered if latest is not None else not requests.exists(request_id)
        if over and requests.has_lock_directory(request_id) and not requests.is_locked(request_id):
            try:
                await self._store.remove_request_lock(request_id)
            except Uncertain as e:
                self._log.debug("a lock is left to the janitor: {reason}", reason=str(e))

    def _not_released(self, failure: Failure, lock: Lock) -> None:
        self._log.debug("{path} goes with the session", failure=failure, path=lock.path)

    def _end(self, request: NodeRequest) -> None:
        self._requests.discard(request.id)
        if self._store.requests.get(request.id) is None:
            self.forget(request.id)
        self._on_ended(request)

    def forget(self, request_id: str) -> None:
        """There is no such request any more."""
        self._refused.pop(request_id, None)

    async def _catch_up(self) -> None:
        try:
            await self._store.barrier()
        except Uncertain as e:
            self._log.debug("not caught up: {reason}", reason=str(e))

    # -- seeing it through -----------------------------------------------

    async def _see_through(self, taken: Taken) -> None:
        """Wait until all nodes are ready, or something else has become of them."""
        taken.followed.follow(taken.node_ids)
        try:
            while taken.lock.held:
                news = taken.followed.news()
                try:
                    if self._store.current and await self._step(taken):
                        return
                except (Conflict, Uncertain) as e:
                    self._log.debug(
                        "request {request_id} is looked at again: {reason}",
                        request_id=taken.request.id,
                        event_id=taken.request.event_id,
                        reason=str(e),
                    )
                    await self._catch_up()
                    if not await taken.lock.confirm():
                        break
                    taken.followed.wake_in(RETRY)
                await news
            self._tell_lost(taken)
        finally:
            taken.followed.stop()
            try:
                await self._release(taken.request.id, taken.lock)
            finally:
                self._end(taken.request)

    async def _step(self, taken: Taken) -> bool:
        """Do what the tables call for; True when the request is in our hands no more.

        :raises Conflict: somebody else was faster: look again.
        :raises Uncertain: the connection broke: look again.
        """
        request = self._store.requests.get(taken.request.id)
        if request is None or request.state is not RequestState.PENDING:
            await self._let_go(taken, request)
            return True
        if not await self._provision.all_seen(taken):
            return False
        nodes = self._provision.nodes(taken)
        if trouble := self._provision.trouble(taken, nodes):
            await self._decline(taken, request, nodes, trouble)
            return True
        if any(node.state is NodeState.ABORTED for node in nodes):
            return await self._make_up(taken, request, nodes)
        if any(node.state is not NodeState.READY for node in nodes):
            return False
        await finish(self._store, request, nodes, taken.lock)
        self._tell_finished(request, nodes)
        return True

    # -- outcomes --------------------------------------------------------

    async def _decline(
        self, taken: Taken, request: NodeRequest, nodes: Sequence[Node], reason: str
    ) -> None:
        failed = await give_back(
            self._store, self._maker, request, nodes, taken.lock, self._pool_id()
        )
        self._statistics.declined += 1
        self._outcomes.declined(request, failed, reason)
        self._log.info(
            "{provider}/{pool} declined request {request_id}: {reason}{outcome}",
            provider=self._settings.provider,
            pool=self._settings.name,
            request_id=request.id,
            event_id=request.event_id,
            reason=reason,
            outcome="; everyone has, so it failed" if failed else "",
        )

    async def _make_up(self, taken: Taken, request: NodeRequest, nodes: Sequence[Node]) -> bool:
        """Get other nodes for those that the cloud had no room for.

        Who has waited for that too long gives back what it has: two requests
        could each hold what the other lacks.  True if this one has.
        """
        aborted = [place for place, node in enumerate(nodes) if node.state is NodeState.ABORTED]
        labels = [request.node_types[place] for place in aborted]
        now = self._clock.seconds()
        if taken.bereft_since is None:
            taken.bereft_since = now
        ids = await self._provision.others(taken, request, labels)
        if ids is not None:
            for place, node_id in zip(aborted, ids, strict=True):
                taken.node_ids[place] = node_id
            taken.followed.lacks_room = False
            taken.followed.follow(taken.node_ids)
            taken.bereft_since = None
            taken.followed.wake()
            return False
        taken.followed.lacks_room = True
        if now - taken.bereft_since < PATIENCE:
            taken.followed.wake_in(PATIENCE - (now - taken.bereft_since))
            return False
        await give_back(self._store, self._maker, request, nodes, taken.lock)
        self._log.info(
            "request {request_id} is open again: there is no room for all of its nodes",
            request_id=request.id,
            event_id=request.event_id,
        )
        return True

    async def _let_go(self, taken: Taken, request: NodeRequest | None) -> None:
        """The request is not ours any more: others may have its nodes."""
        request_id = taken.request.id
        unreadable = request_id in self._store.requests.unreadable
        change = self._store.change()
        kept = request.nodes if request is not None else ()
        nodes = [node for node in self._provision.nodes(taken) if node.id not in kept]
        release_nodes(change, self._store, self._maker, request_id, nodes)
        await change.commit()
        self._log.info(
            "request {request_id} {outcome}: its nodes are free for others",
            request_id=request_id,
            event_id=taken.request.event_id,
            outcome="is unreadable"
            if unreadable
            else "is gone"
            if request is None
            else f"was made {request.state.value} by somebody else",
        )

    def _tell_finished(self, request: NodeRequest, nodes: Sequence[Node]) -> None:
        self._statistics.served += 1
        self._outcomes.fulfilled(request)
        self._log.info(
            "fulfilled request {request_id} with {node_ids} from {provider}/{pool}",
            request_id=request.id,
            event_id=request.event_id,
            node_ids=", ".join(node.id for node in nodes),
            provider=self._settings.provider,
            pool=self._settings.name,
        )

    def _tell_lost(self, taken: Taken) -> None:
        """Our lock is gone; perhaps because we gave it up and were not told."""
        request = self._store.requests.get(taken.request.id)
        if (
            request is not None
            and request.state is RequestState.FULFILLED
            and request.nodes == tuple(taken.node_ids)
        ):
            self._tell_finished(request, self._provision.nodes(taken))
            return
        self._log.warn(
            "request {request_id}: its lock was lost, it is left to whoever has it now",
            request_id=taken.request.id,
            event_id=taken.request.event_id,
        )
