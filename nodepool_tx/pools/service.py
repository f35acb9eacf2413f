"""The service that hands out a pool's nodes.

Design note: what a pass looks at
---------------------------------
Events only mark groups of requests as worth a look; one pass per reactor turn
then looks at the first request of each marked group, in the order of the
queue, and starts a task for each that can be served.  A group that cannot be
served is left at once, whatever its length.  So a pass costs the requests it
serves plus the groups an event touched.

Design note: nothing is held while waiting
------------------------------------------
A request that cannot be served whole takes nothing.  Nodes are reserved in
this process's memory while they are checked, and promised in ZooKeeper in the
same transaction that fulfils the request (see :mod:`nodepool_tx.store.change`).
The request is never `pending` in between, so there is nothing to clean up
after a crash.

Design note: patience
---------------------
Smaller requests may pass a larger one that waits for its last node.  After
:data:`PATIENCE` seconds of that they no longer may: the free nodes that the
larger one could use are then left to it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState, SortKey
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.interface import NodeSource, PoolSettings
from nodepool_tx.pools.queue import Group, WaitingRequests
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.rules import Answer, PoolView, Verdict, all_declined, judge
from nodepool_tx.pools.selection import choose
from nodepool_tx.pools.tenants import TenantLimits, exceeded
from nodepool_tx.store.change import Conflict, Uncertain
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store
from nodepool_tx.work import Tracker

__all__ = ["PATIENCE", "PassStatistics", "PoolService"]

#: Seconds a request lets smaller ones pass it.
PATIENCE = 300.0

#: Requests that are declined at the same time.
DECLINING_AT_ONCE = 50


@attrs.define
class PassStatistics:
    """How the passes of a pool went; times in seconds."""

    passes: int = 0
    groups_seen: int = 0
    served: int = 0
    declined: int = 0
    conflicts: int = 0
    last_duration: float = 0.0
    longest_duration: float = 0.0


class PoolService(Service):
    """Answers requests from the nodes of one pool.

    :ivar statistics: of the passes so far.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        registry: PoolRegistry,
        tenant_limits: TenantLimits,
        settings: PoolSettings,
        source: NodeSource,
        admission: Admission,
    ) -> None:
        self.setName(f"pool {settings.name}")
        self._clock = clock
        self._store = store
        self._registry = registry
        self._limits = tenant_limits
        self._settings = settings
        self._source = source
        self._admission = admission
        self._tracker = Tracker(clock)
        self._queue = WaitingRequests()
        #: Groups to look at in the next pass.
        self._marked: set[Group] = set()
        #: Requests a task is working on, by id; what they ask for by tenant.
        self._working: dict[str, NodeRequest] = {}
        self._promised: Counter[str] = Counter()
        self._declining = 0
        self._next_pass: IDelayedCall | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._accepting = False
        self.statistics = PassStatistics()

    # -- life ------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self.resume()

    def stopService(self) -> Deferred[None]:
        """Accept nothing more and cut short what is in flight."""
        super().stopService()
        idle = self.idle()
        self._tracker.cancel()
        return idle

    def resume(self) -> None:
        """Accept requests."""
        if self._accepting:
            return
        self._accepting = True
        self._show()
        store = self._store
        self._unsubscribe = [
            store.nodes.subscribe(self._on_node),
            store.requests.subscribe(self._on_request),
            store.components.subscribe(self._on_components),
            store.when_current(self._on_current),
        ]
        self._reload_queue()

    def idle(self) -> Deferred[None]:
        """Accept nothing more; fires when what is in flight is done.

        The pool stays registered: its successor takes the registration over.
        """
        if self._accepting:
            self._accepting = False
            for unsubscribe in self._unsubscribe:
                unsubscribe()
            self._unsubscribe = []
            if self._next_pass is not None:
                self._next_pass.cancel()
                self._next_pass = None
            self._queue = WaitingRequests()
            self._marked = set()
        return self._tracker.idle()

    def in_flight(self) -> tuple[tuple[str, float], ...]:
        """What is being worked on and since when."""
        return tuple((task.what, task.since) for task in self._tracker.tasks())

    @property
    def waiting(self) -> int:
        """Requests that this pool has not answered."""
        return len(self._queue)

    # -- what wakes it ---------------------------------------------------

    def _show(self) -> str:
        settings = self._settings
        return self._registry.show(
            settings.provider, settings.name, settings.labels, settings.priority
        ).id

    def _view(self) -> PoolView:
        settings = self._settings
        return PoolView(
            id=self._show(),
            provider=settings.provider,
            name=settings.name,
            labels=settings.labels,
            priority=settings.priority,
            enabled=settings.max_servers > 0,
            launches=False,
        )

    def _reload_queue(self) -> None:
        """Begin again from what the tables show."""
        self._queue = WaitingRequests()
        self._marked = set()
        for request in self._store.requests:
            self._consider(request, self._store.requests.is_locked(request.id))
        self._mark(self._queue)

    def _on_current(self, current: bool) -> None:
        if current:
            self._reload_queue()

    def _on_components(self) -> None:
        for group in self._queue:
            group.verdict = None
        self._mark(self._queue)

    def _on_request(self, change: RequestChange) -> None:
        if change.after is None:
            self._queue.discard(change.request_id)
        else:
            self._consider(change.after, change.locked)

    def _consider(self, request: NodeRequest, locked: bool) -> None:
        """Queue a request if it waits for an answer, else forget it.

        A locked one is in somebody's hands, perhaps only to change its
        priority; it is considered again when it is let go.
        """
        if request.state is RequestState.REQUESTED and not locked:
            if request.id not in self._working:
                group = self._queue.put(request)
                self._mark([group])
        else:
            self._queue.discard(request.id)

    def _on_node(self, change: NodeChange) -> None:
        settings = self._settings
        after = change.after
        if (
            after is not None
            and after.provider == settings.provider
            and after.pool == settings.name
            and self._store.nodes.is_free(change.node_id)
        ):
            self._mark(self._queue.with_labels(after.type))
        tenant = change.before.tenant_name if change.before else None
        if tenant and (after is None or after.tenant_name != tenant):
            self._mark(self._queue.of_tenant(tenant))

    def _mark(self, groups: Iterable[Group]) -> None:
        self._marked.update(groups)
        if self._accepting and self._marked and self._next_pass is None:
            self._next_pass = self._clock.callLater(0, self._pass)

    # -- a pass ----------------------------------------------------------

    def _pass(self) -> None:
        self._next_pass = None
        if not self._store.current or self._admission.closed:
            return
        me = self._view()
        online = self._store.components.pools()
        if all(pool.id != me.id for pool in online):
            # Our own registration has not come back to us yet, so neither
            # have others': their arrival marks every group again.
            return
        started = self._clock.seconds()
        marked, self._marked = self._marked, set()
        agenda: list[tuple[SortKey, int, Group]] = []
        for group in marked | self._queue.with_labels({x for g in marked for x in g.wish.labels}):
            self._enter(agenda, group)
        heapq.heapify(agenda)
        held_back: set[str] = set()
        looked_at = len(agenda)
        while agenda:
            _, _, group = heapq.heappop(agenda)
            if group.verdict is None:
                group.verdict = self._judge(group, me)
            if self._answer(group, held_back):
                self._enter(agenda, group, heap=True)
        self._record(looked_at, self._clock.seconds() - started)

    @staticmethod
    def _enter(agenda: list[tuple[SortKey, int, Group]], group: Group, heap: bool = False) -> None:
        first = group.first()
        if first is not None:
            entry = (first[0], id(group), group)
            if heap:
                heapq.heappush(agenda, entry)
            else:
                agenda.append(entry)

    def _judge(self, group: Group, me: PoolView) -> Verdict:
        verdict = judge(group.wish, me, self._store.components.pools())
        if verdict.answer is Answer.SERVE:
            limits = self._limits.of(group.wish.tenant)
            needed = _needs(group.wish.labels)
            if limits and (over := exceeded(limits, {}, needed)):
                return Verdict(
                    Answer.DECLINE,
                    f"it alone exceeds the limit of tenant {group.wish.tenant}: {', '.join(over)}",
                )
        return verdict

    def _answer(self, group: Group, held_back: set[str]) -> bool:
        """Answer the first request of a group; True if the next may be tried."""
        verdict = group.verdict
        assert verdict is not None
        first = group.first()
        assert first is not None
        request = self._store.requests.get(first[1])
        if request is None:
            self._queue.discard(first[1])
            return True
        if verdict.answer is Answer.DECLINE:
            return self._start_declining(request, verdict.reason, group)
        if verdict.answer is not Answer.SERVE or self._over_limit(request):
            return False
        chosen = choose(request.node_types, self._candidates, held_back)
        nodes = [node for node in chosen if node is not None]
        if len(nodes) < len(chosen):
            if nodes and self._waited(request) > PATIENCE and self._satisfiable(request):
                held_back.update(node.id for node in nodes)
            return False
        if not self._admission.enter(self._mark_all):
            return False
        self._queue.discard(request.id)
        self._working[request.id] = request
        if request.tenant_name:
            self._promised[request.tenant_name] += len(nodes)
        self._store.nodes.reserve([node.id for node in nodes])
        self._tracker.run(f"serving request {request.id}", self._serve(request, nodes))
        return True

    def _mark_all(self) -> None:
        self._mark(self._queue)

    def _candidates(self, label: str, at_most: int) -> list[Node]:
        settings = self._settings
        return self._store.nodes.free_nodes(settings.provider, settings.name, label, at_most)

    def _waited(self, request: NodeRequest) -> float:
        return self._clock.seconds() - (request.created_time or request.state_time)

    def _satisfiable(self, request: NodeRequest) -> bool:
        """The pool has nodes enough for it, whatever they are doing now."""
        nodes = [
            node
            for node in self._store.nodes.of_provider(self._settings.provider)
            if node.pool == self._settings.name
        ]

        def having(label: str, at_most: int) -> list[Node]:
            return [node for node in nodes if label in node.type]

        return None not in choose(request.node_types, having)

    def _over_limit(self, request: NodeRequest) -> Collection[str]:
        """The resources of which the request's tenant has no room left."""
        limits = self._limits.of(request.tenant_name)
        if not limits or not request.tenant_name:
            return ()
        used = Counter(self._store.nodes.usage(request.tenant_name))
        used["instances"] += self._promised[request.tenant_name]
        return exceeded(limits, used, _needs(request.node_types))

    def _record(self, looked_at: int, duration: float) -> None:
        statistics = self.statistics
        statistics.passes += 1
        statistics.groups_seen += looked_at
        statistics.last_duration = duration
        statistics.longest_duration = max(statistics.longest_duration, duration)

    # -- answering -------------------------------------------------------

    async def _serve(self, request: NodeRequest, nodes: list[Node]) -> None:
        """Check the nodes and promise them, or give them back."""
        try:
            fit = await gatherResults([self._source.check(node) for node in nodes])
            if all(fit):
                await self._fulfil(request, nodes)
        except Conflict as conflict:
            self.statistics.conflicts += 1
            self._log.debug(
                "request {request_id} is tried again: {reason}",
                request_id=request.id,
                event_id=request.event_id,
                reason=str(conflict),
            )
            await self._catch_up()
        except Uncertain as e:
            self._log.info(
                "request {request_id}: ZooKeeper did not answer ({reason}), looking again later",
                request_id=request.id,
                event_id=request.event_id,
                reason=str(e),
            )
        finally:
            self._working.pop(request.id, None)
            if request.tenant_name:
                self._promised[request.tenant_name] -= len(nodes)
            self._store.nodes.unreserve([node.id for node in nodes])
            self._admission.leave()
            self._requeue(request.id)

    async def _catch_up(self) -> None:
        """Let the tables see what a refused change has just taught us."""
        try:
            await self._store.barrier()
        except Uncertain as e:
            self._log.debug("not caught up: {reason}", reason=str(e))

    def _requeue(self, request_id: str) -> None:
        request = self._store.requests.get(request_id)
        if request is not None and self._accepting:
            self._consider(request, self._store.requests.is_locked(request_id))

    async def _fulfil(self, request: NodeRequest, nodes: list[Node]) -> None:
        now = self._clock.seconds()
        latest = self._store.requests.get(request.id)
        if latest is None or latest.state is not RequestState.REQUESTED:
            return
        change = self._store.change()
        for node in nodes:
            current = self._store.nodes.get(node.id)
            if current is None or current.state is not NodeState.READY or current.allocated_to:
                return
            promised = attrs.evolve(
                current,
                allocated_to=latest.id,
                tenant_name=latest.tenant_name,
                requestor=latest.requestor,
            )
            change.update_node(current, promised)
        fulfilled = latest.in_state(
            RequestState.FULFILLED, now, nodes=tuple(node.id for node in nodes)
        )
        change.update_request(latest, fulfilled)
        await change.commit()
        self.statistics.served += 1
        self._log.info(
            "fulfilled request {request_id} with {node_ids} from {provider}/{pool}",
            request_id=request.id,
            event_id=request.event_id,
            node_ids=", ".join(node.id for node in nodes),
            provider=self._settings.provider,
            pool=self._settings.name,
        )

    def _start_declining(self, request: NodeRequest, reason: str, group: Group) -> bool:
        if self._declining >= DECLINING_AT_ONCE:
            return False
        self._declining += 1
        self._queue.discard(request.id)
        self._working[request.id] = request
        task = self._decline(request, reason, group)
        self._tracker.run(f"declining request {request.id}", task)
        return True

    async def _decline(self, request: NodeRequest, reason: str, group: Group) -> None:
        me = self._show()
        declined_by = (*request.declined_by, me)
        failed = all_declined(declined_by, self._store.components.pools())
        state = RequestState.FAILED if failed else RequestState.REQUESTED
        after = request.in_state(state, self._clock.seconds(), declined_by=declined_by)
        change = self._store.change()
        change.update_request(request, after)
        try:
            await change.commit()
            self.statistics.declined += 1
            self._log.info(
                "{provider}/{pool} declined request {request_id}: {reason}{outcome}",
                provider=self._settings.provider,
                pool=self._settings.name,
                request_id=request.id,
                event_id=request.event_id,
                reason=reason,
                outcome="; everyone has, so it failed" if failed else "",
            )
        except (Conflict, Uncertain) as e:
            self._log.debug(
                "request {request_id} could not be declined now: {reason}",
                request_id=request.id,
                event_id=request.event_id,
                reason=str(e),
            )
            await self._catch_up()
        finally:
            self._declining -= 1
            self._working.pop(request.id, None)
            self._requeue(request.id)
            self._mark([group])

    # -- telling ---------------------------------------------------------

    def why(self, request_id: str) -> str:
        """Why this pool has not served a request, in words; "" if it is not waiting here."""
        if request_id in self._working:
            return "being served now"
        group = self._queue.group_of(request_id)
        request = self._store.requests.get(request_id)
        if group is None or request is None:
            return ""
        if not self._accepting or self._admission.closed:
            return "the pool accepts no requests"
        if not self._store.current:
            return "out of touch with ZooKeeper"
        verdict = group.verdict or self._judge(group, self._view())
        if verdict.answer is not Answer.SERVE:
            return verdict.reason
        if over := self._over_limit(request):
            return f"tenant {request.tenant_name} is at its limit of {', '.join(over)}"
        short = [
            f"{label} ({self._free(label)} of {count} free)"
            for label, count in sorted(Counter(request.node_types).items())
            if self._free(label) < count
        ]
        before = group.ahead_of(request_id)
        queued = f", {before} like it are ahead" if before else ""
        if short:
            return f"no free node for {'; '.join(short)}{queued}"
        return f"its turn has not come{queued}"

    def _free(self, label: str) -> int:
        return self._store.nodes.count_free(self._settings.provider, self._settings.name, label)


def _needs(labels: Collection[str]) -> Counter[str]:
    """What a request for these labels adds to its tenant's use."""
    return Counter({"instances": len(labels)})
