"""The service that hands out a pool's nodes.

Design note: what a pass looks at
---------------------------------
Events only mark groups of requests as worth a look; one pass per reactor turn
then looks at the first request of each marked group, in the order of the
queue, and starts a task for each that can be served.  A group that cannot be
served is left at once, whatever its length.  So a pass costs the requests it
serves plus the groups an event touched.  Before nodes are given away, the
larger requests that could use them are looked at, too, in their turn: nodes
may be kept for them (see :mod:`nodepool_tx.pools.patience`).

Design note: nothing is held while waiting
------------------------------------------
A request that cannot be served whole takes nothing.  Nodes are reserved in
this process's memory while they are checked, and promised in ZooKeeper in the
same transaction that fulfils the request (see :mod:`nodepool_tx.store.change`).
The request is never `pending` in between, so there is nothing to clean up
after a crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.model import Node, NodeRequest, RequestState
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.agenda import Agenda
from nodepool_tx.pools.answering import Answering, PassStatistics
from nodepool_tx.pools.interface import NodeSource, PoolSettings
from nodepool_tx.pools.patience import Patience
from nodepool_tx.pools.queue import Group, WaitingRequests
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.rules import Answer, PoolView, Verdict, judge
from nodepool_tx.pools.selection import choose
from nodepool_tx.pools.tenants import TenantLimits, exceeded, needs
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store

__all__ = ["PassStatistics", "PoolService"]

#: Requests that are declined at the same time.
DECLINING_AT_ONCE = 50


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
        self._admission = admission
        self._patience = Patience(clock, store.nodes, settings, self._on_not_kept)
        self.statistics = PassStatistics()
        self._answering = Answering(
            clock, store, settings, source, self.statistics, self._on_served, self._on_declined
        )
        self._queue = WaitingRequests()
        #: Groups to look at in the next pass.
        self._marked: set[Group] = set()
        #: Groups that are held up by max-concurrency or by too many declines.
        self._held_up: set[Group] = set()
        self._next_pass: IDelayedCall | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._accepting = False

    # -- life ------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self.resume()

    def stopService(self) -> Deferred[None]:
        """Accept nothing more and cut short what is in flight."""
        super().stopService()
        idle = self.idle()
        self._answering.tracker.cancel()
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
            self._limits.subscribe(self._on_limits),
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
            self._forget_queue()
        return self._answering.tracker.idle()

    def in_flight(self) -> tuple[tuple[str, float], ...]:
        """What is being worked on and since when."""
        return tuple((task.what, task.since) for task in self._answering.tracker.tasks())

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

    def _forget_queue(self) -> None:
        self._queue = WaitingRequests()
        self._marked, self._held_up = set(), set()
        self._patience.forget_all()

    def _reload_queue(self) -> None:
        """Begin again from what the tables show."""
        self._forget_queue()
        for request in self._store.requests:
            self._consider(request, self._store.requests.is_locked(request.id))
        self._mark(self._queue)

    def _on_current(self, current: bool) -> None:
        if current:
            self._reload_queue()

    def _on_components(self) -> None:
        self._judge_again(self._queue)

    def _on_limits(self, tenant: str | None) -> None:
        """A tenant may have room again; None is all of them."""
        self._judge_again(self._queue if tenant is None else self._queue.of_tenant(tenant))

    def _judge_again(self, groups: Iterable[Group]) -> None:
        for group in groups:
            group.verdict = None
        self._mark(groups)

    def _on_not_kept(self, labels: set[str]) -> None:
        """Nodes with these labels may not be kept for a larger request any more."""
        self._mark(self._queue.with_labels(labels))

    def _on_place_free(self) -> None:
        """What was held up can be looked at again."""
        held_up, self._held_up = self._held_up, set()
        self._mark(held_up)

    def _on_request(self, change: RequestChange) -> None:
        if change.after is None:
            self._discard(change.request_id)
        else:
            self._consider(change.after, change.locked)

    def _consider(self, request: NodeRequest, locked: bool) -> None:
        """Queue a request if it waits for an answer, else forget it.

        A locked one is in somebody's hands, perhaps only to change its
        priority; it is considered again when it is let go.
        """
        if request.state is RequestState.REQUESTED and not locked:
            if request.id not in self._answering:
                group = self._queue.put(request)
                self._mark([group])
        else:
            self._discard(request.id)

    def _discard(self, request_id: str) -> None:
        self._queue.discard(request_id)
        self._patience.forget(request_id)

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
        agenda = Agenda()
        agenda.add(marked)
        held_back: set[str] = set()
        while (group := agenda.next()) is not None:
            try:
                self._look_at(group, agenda, held_back, me)
            except Exception:
                # One group must not keep all others from being served.
                self._log.failure("cannot look at requests for {wish}", wish=group.wish)
        self.statistics.note_pass(len(agenda), self._clock.seconds() - started)

    def _judge(self, group: Group, me: PoolView) -> Verdict:
        verdict = judge(group.wish, me, self._store.components.pools())
        if verdict.answer is Answer.SERVE:
            limits = self._limits.of(group.wish.tenant)
            needed = needs(group.wish.labels)
            if limits and (over := exceeded(limits, {}, needed)):
                return Verdict(
                    Answer.DECLINE,
                    f"it alone exceeds the limit of tenant {group.wish.tenant}: {', '.join(over)}",
                )
        return verdict

    def _look_at(self, group: Group, agenda: Agenda, held_back: set[str], me: PoolView) -> None:
        """Answer the first request of a group, if that can be done now."""
        first = group.first()
        if first is None:
            return
        if group.verdict is None:
            group.verdict = self._judge(group, me)
        request = self._store.requests.get(first[1])
        if request is None:
            self._queue.discard(first[1])
            agenda.again(group)
        elif group.verdict.answer is Answer.DECLINE:
            if self._start_declining(request, group):
                agenda.again(group)
        elif group.verdict.answer is Answer.SERVE and not self._over_limit(request):
            self._try_to_serve(request, group, agenda, held_back)

    def _try_to_serve(
        self, request: NodeRequest, group: Group, agenda: Agenda, held_back: set[str]
    ) -> None:
        chosen = choose(request.node_types, self._candidates, held_back)
        nodes = [node for node in chosen if node is not None]
        if len(nodes) < len(chosen):
            if self._patience.keeps(request, nodes):
                held_back.update(node.id for node in nodes)
        elif agenda.add(self._queue.larger_with_labels({x for node in nodes for x in node.type})):
            agenda.again(group)
        elif not self._admission.enter(self._on_place_free):
            self._held_up.add(group)
        else:
            self._start_serving(request, nodes)
            agenda.again(group)

    def _candidates(self, label: str, at_most: int) -> list[Node]:
        settings = self._settings
        return self._store.nodes.free_nodes(settings.provider, settings.name, label, at_most)

    def _over_limit(self, request: NodeRequest) -> Collection[str]:
        """The resources of which the request's tenant has no room left."""
        limits = self._limits.of(request.tenant_name)
        if not limits or not request.tenant_name:
            return ()
        used = Counter(self._store.nodes.usage(request.tenant_name))
        used.update(self._limits.promised(request.tenant_name))
        return exceeded(limits, used, needs(request.node_types))

    # -- answering -------------------------------------------------------

    def _start_serving(self, request: NodeRequest, nodes: Sequence[Node]) -> None:
        self._queue.discard(request.id)
        self._store.nodes.reserve([node.id for node in nodes])
        self._limits.promise(request.tenant_name, needs(request.node_types))
        self._answering.serve(request, nodes)

    def _on_served(self, request: NodeRequest, nodes: Sequence[Node], served: bool) -> None:
        self._limits.settle(request.tenant_name, needs(request.node_types), given=served)
        self._store.nodes.unreserve([node.id for node in nodes])
        self._admission.leave()
        self._requeue(request.id)

    def _start_declining(self, request: NodeRequest, group: Group) -> bool:
        """False if too many are being declined already."""
        if self._answering.declining >= DECLINING_AT_ONCE:
            self._held_up.add(group)
            return False
        assert group.verdict is not None
        self._queue.discard(request.id)
        self._answering.decline(request, self._show(), group.verdict.reason)
        return True

    def _on_declined(self, request: NodeRequest) -> None:
        self._requeue(request.id)
        self._on_place_free()

    def _requeue(self, request_id: str) -> None:
        request = self._store.requests.get(request_id)
        if request is not None and self._accepting:
            self._consider(request, self._store.requests.is_locked(request_id))

    # -- telling ---------------------------------------------------------

    def waits(self) -> tuple[str, ...]:
        """What waits here and why; a line for requests that wish the same."""
        return tuple(
            f"{len(group)} for {', '.join(group.wish.labels)}, first {request_id}: "
            f"{self.why(request_id)}"
            for request_id, group in self._queue.in_order()
        )

    def why(self, request_id: str) -> str:
        """Why this pool has not served a request, in words; "" if it is not waiting here."""
        if request_id in self._answering:
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
        if None in choose(request.node_types, self._candidates):
            return f"the free nodes do not suffice for all of its labels at once{queued}"
        if group in self._held_up:
            return f"max-concurrency is reached{queued}"
        return f"its turn has not come{queued}"

    def _free(self, label: str) -> int:
        return self._store.nodes.count_free(self._settings.provider, self._settings.name, label)
