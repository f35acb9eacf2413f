"""The service that answers requests from the nodes of one pool.

Design note: what a pass looks at
---------------------------------
Events only mark groups of requests as worth a look; one pass per reactor turn
then looks at the first request of each marked group, in the order of the
queue, and starts a task for each that can be served.  A group that cannot be
served is left at once, whatever its length.  So a pass costs the requests it
serves plus the groups an event touched; one that takes long goes on in another
turn.  Before nodes are given away, the larger requests that could use them are
looked at, too, in their turn: nodes may be kept for them (see
:mod:`nodepool_tx.pools.patience`).

Design note: nothing is held while waiting
------------------------------------------
A request that cannot be served whole takes nothing: neither nodes nor room
within a limit.  A group that is short of room is marked again when some comes
free in an account that it is short of, and by nothing else.

What can be served from stock is reserved in this process's memory while it is
checked, and promised in ZooKeeper in the same transaction that fulfils the
request (see :mod:`nodepool_tx.store.change`).  That request is never `pending`
in between, so there is nothing to clean up after a crash.  One for which nodes
must be made is taken first: see :mod:`nodepool_tx.pools.taking`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.events import Events
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.admission import Admission
from nodepool_tx.pools.agenda import Agenda
from nodepool_tx.pools.answering import PassStatistics
from nodepool_tx.pools.backlog import Backlog
from nodepool_tx.pools.deciding import Course, Deciding
from nodepool_tx.pools.eviction import Eviction
from nodepool_tx.pools.explaining import Insight, PoolExplanation, Reason
from nodepool_tx.pools.inhand import InHand
from nodepool_tx.pools.interface import NodeMaker, NodeSource, PoolSettings
from nodepool_tx.pools.outcomes import Outcomes
from nodepool_tx.pools.patience import Patience
from nodepool_tx.pools.planning import Planner
from nodepool_tx.pools.queue import Group
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.pools.reservations import Reservations
from nodepool_tx.pools.rules import Answer, PoolView
from nodepool_tx.pools.standing import Standing
from nodepool_tx.pools.telling import NoInsight, Telling, what_waits
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.requests import RequestChange
from nodepool_tx.store.store import Store
from nodepool_tx.store.usage import accounts_of, resources_of

__all__ = ["PassStatistics", "PoolService"]


#: Seconds after which a pass goes on in another reactor turn.
AT_ONCE = 0.02


class PoolService(Service):
    """Answers requests from the nodes of one pool.

    :param maker: makes nodes for requests; None: it hands out those there are.
    :param events: where the ends of requests are told.
    :ivar statistics: of the passes so far.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        registry: PoolRegistry,
        reservations: Reservations,
        settings: PoolSettings,
        source: NodeSource,
        admission: Admission,
        maker: NodeMaker | None = None,
        events: Events | None = None,
    ) -> None:
        self.setName(f"pool {settings.name}")
        self._clock = clock
        self._store = store
        self._reservations = reservations
        self._settings = settings
        self._admission = admission
        self._maker = maker
        launches = maker is not None
        self._standing = Standing(
            clock,
            registry,
            settings,
            launches,
            store.components.pools,
            store.maintenance.providers_in_words,
        )
        self._backlog = Backlog(self._wake)
        self._patience = Patience(
            clock,
            store.nodes,
            reservations,
            settings,
            again=self._backlog.mark_with_labels,
            over=self._backlog.mark_request,
        )
        self._planner = Planner(store.nodes, settings, maker)
        self._deciding = Deciding(store.nodes, reservations, self._planner, maker)
        self.statistics = PassStatistics()
        outcomes = Outcomes(events or Events(), clock, settings)
        self._hands = InHand(
            clock,
            store,
            reservations,
            settings,
            source,
            maker,
            self.statistics,
            outcomes,
            lambda: self._standing.id,
            self._deciding.find_room,
            self._on_ended,
            self._on_declined,
        )
        self._telling = Telling(
            store=store,
            settings=settings,
            registry=registry,
            standing=self._standing,
            reservations=reservations,
            backlog=self._backlog,
            patience=self._patience,
            planner=self._planner,
            deciding=self._deciding,
            hands=self._hands,
            admission=admission,
            outcomes=outcomes,
            accepting=lambda: self._accepting,
            makes=launches,
        )
        self._eviction: Eviction | None = None
        if maker is not None:
            self._eviction = Eviction(clock, store.nodes, settings, maker, self._backlog.asks_for)
        self._next_pass: IDelayedCall | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._accepting = False
        self._out_of_service: frozenset[str] = frozenset()

    # -- life ------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self.resume()

    def stopService(self) -> Deferred[None]:
        """Accept nothing more and cut short what is in flight.

        Requests that were taken are left to the janitor of any launcher.
        """
        super().stopService()
        idle = self.idle()
        self._hands.cancel()
        if self._eviction is not None:
            self._eviction.stop()
        return gatherResults([idle, self.retired()]).addCallback(lambda _: None)

    def resume(self) -> None:
        """Accept requests."""
        if self._accepting:
            return
        self._accepting = True
        self._hands.open()
        store = self._store
        self._out_of_service = frozenset(store.maintenance.providers_in_words())
        self._standing.begin()
        self._unsubscribe = [
            store.nodes.subscribe(self._on_node),
            store.requests.subscribe(self._on_request),
            store.components.subscribe(self._backlog.judge_again),
            store.maintenance.subscribe(self._on_maintenance),
            store.when_current(self._on_current),
            self._reservations.subscribe(self._backlog.mark_with_room),
        ]
        if self._maker is not None:
            self._unsubscribe.append(self._maker.subscribe(self._backlog.judge_again))
        self._reload_queue()

    def idle(self) -> Deferred[None]:
        """Decide nothing more; fires when no decision is in flight.

        Requests that were taken go on, see :meth:`retired`.  The pool stays
        registered: its successor takes the registration over.
        """
        if self._accepting:
            self._accepting = False
            for unsubscribe in self._unsubscribe:
                unsubscribe()
            self._unsubscribe = []
            if self._next_pass is not None:
                self._next_pass.cancel()
                self._next_pass = None
            self._standing.forget()
            self._forget_queue()
        return self._hands.decided()

    def retired(self) -> Deferred[None]:
        """Fires when all requests that were taken have come to their end, after :meth:`idle`."""
        return self._hands.empty()

    def in_flight(self) -> tuple[tuple[str, float], ...]:
        """What is being worked on and since when."""
        return self._hands.tasks()

    @property
    def pool(self) -> str:
        """The name of the pool in the configuration."""
        return self._settings.name

    @property
    def waiting(self) -> int:
        """Requests that this pool has not answered."""
        return len(self._backlog.queue)

    # -- what wakes it ---------------------------------------------------

    def _forget_queue(self) -> None:
        self._backlog.clear()
        self._patience.forget_all()

    def _reload_queue(self) -> None:
        """Begin again from what the tables show."""
        self._forget_queue()
        for request in self._store.requests:
            self._consider(request, self._store.requests.is_locked(request.id))

    def _on_current(self, current: bool) -> None:
        if current:
            self._reload_queue()

    def _on_maintenance(self) -> None:
        """Providers are out of service, or back: a host is its provider's business."""
        out_of_service = frozenset(self._store.maintenance.providers_in_words())
        if out_of_service != self._out_of_service:
            self._out_of_service = out_of_service
            self._standing.show()
            self._patience.forget_all()
            self._backlog.judge_again()

    def _on_request(self, change: RequestChange) -> None:
        if change.after is None:
            self._discard(change.request_id)
            self._hands.forget(change.request_id)
        else:
            self._consider(change.after, change.locked)

    def _consider(self, request: NodeRequest, locked: bool) -> None:
        """Queue a request if it waits for an answer, else forget it.

        A locked one is in somebody's hands, perhaps only to change its
        priority; it is considered again when it is let go.
        """
        if request.state is RequestState.REQUESTED and not locked:
            if request.id not in self._hands:
                self._backlog.put(request)
        else:
            self._discard(request.id)

    def _discard(self, request_id: str) -> None:
        self._backlog.discard(request_id)
        self._patience.forget(request_id)

    def _on_node(self, change: NodeChange) -> None:
        settings, after = self._settings, change.after
        if after is None or after.pool != settings.name or after.provider != settings.provider:
            return
        if self._store.nodes.is_free(change.node_id):
            self._backlog.mark_with_labels(after.type)
            self._on_stock(after)
        elif after.state is NodeState.BUILDING and not after.allocated_to:
            self._backlog.mark_with_labels(after.type)
        elif after.allocated_to:
            self._backlog.mark_request(after.allocated_to)

    def _on_stock(self, node: Node) -> None:
        """This may go, and make room for who asks for other labels."""
        if self._eviction is not None:
            for account in accounts_of(node):
                self._backlog.mark_with_room(account, resources_of(node))
            for request_id in self._patience.have_room():
                self._backlog.mark_request(request_id)

    def _wake(self) -> None:
        if self._accepting and self._next_pass is None:
            self._next_pass = self._clock.callLater(0, self._pass)

    # -- a pass ----------------------------------------------------------

    def _pass(self) -> None:
        self._next_pass = None
        if not self._store.current or self._admission.closed:
            return
        me = self._standing.view()
        if not self._standing.settled:
            # Ours or that of another pool of this process has not come back to
            # us yet: its arrival marks every group again.
            return
        started = self._clock.seconds()
        marked, for_room = self._backlog.take()
        if self._eviction is not None:
            self._eviction.forget_stock()
        agenda = Agenda()
        agenda.add(marked)
        held_back: set[str] = set()
        while (group := agenda.next()) is not None:
            if group in for_room and self._is_still_short(group):
                continue
            try:
                self._look_at(group, agenda, held_back, me)
            except Exception:
                # One group must not keep all others from being served.
                self._log.failure("cannot look at requests for {wish}", wish=group.wish)
            if self._clock.seconds() - started > AT_ONCE:
                self._backlog.leave(agenda.rest(), for_room)
                break
        self._standing.blocked(
            short=self._backlog.is_short(self._planner.accounts), objected=self._backlog.is_objected
        )
        self.statistics.note_pass(len(agenda), self._clock.seconds() - started)

    def _is_still_short(self, group: Group) -> bool:
        """A cheap look at a group that waits for room: all is as it was the last time."""
        short = self._backlog.shortages_of(group)
        if not any(self._reservations.is_short(each) for each in short):
            return False
        first = group.first()
        request = self._store.requests.get(first[1]) if first else None
        return (
            request is not None
            and not self._patience.would_keep(request, short)
            and (self._eviction is None or not self._eviction.possible)
        )

    def _look_at(self, group: Group, agenda: Agenda, held_back: set[str], me: PoolView) -> None:
        """Answer the first request of a group, if that can be done now."""
        self._backlog.forget_obstacles(group)
        first = group.first()
        if first is None:
            return
        for kept in self._patience.have_room():
            if kept in group and kept != first[1]:
                # Another of its group goes before it, and would wait for that room for ever.
                self._patience.forget_room(kept)
        if group.verdict is None:
            group.verdict = self._deciding.judge(group.wish, me, self._store.components.pools())
        request = self._store.requests.get(first[1])
        if request is None:
            self._discard(first[1])
            agenda.again(group)
        elif group.verdict.answer is Answer.DECLINE:
            self._start_declining(request, group, agenda, group.verdict.reason)
        elif group.verdict.answer is Answer.SERVE:
            self._try_to_serve(request, group, agenda, held_back)

    def _try_to_serve(
        self, request: NodeRequest, group: Group, agenda: Agenda, held_back: set[str]
    ) -> None:
        course = self._deciding.decide(request, held_back)
        plan = course.plan
        self._patience.note_kept(request.id, ())
        if course.objection is not None:
            self._patience.forget_room(request.id)
            if course.objection.lasting:
                self._start_declining(request, group, agenda, course.objection.reason)
            else:
                self._backlog.object_to(group)
        elif course.shortages:
            self._wait_for_room(request, group, agenda, held_back, course)
        elif self._is_for_the_stock(request) and self._backlog.is_short(self._planner.accounts):
            # What is making room for others would be made again in that room.
            self._start_declining(request, group, agenda, "it is only for the stock, others wait")
        elif plan is None or not plan.complete:
            present = plan.present if plan else ()
            if self._patience.keeps(request, present):
                self._hold_back(request, present, held_back)
        elif agenda.add(
            self._backlog.queue.larger_with_labels({x for node in plan.present for x in node.type})
        ):
            agenda.again(group)
        elif not self._admission.enter(self._backlog.mark_held_up):
            self._backlog.hold_up(group)
        else:
            self._discard(request.id)
            self._hands.serve(request, plan, self._deciding.reserve(plan))
            agenda.again(group)

    def _wait_for_room(
        self,
        request: NodeRequest,
        group: Group,
        agenda: Agenda,
        held_back: set[str],
        course: Course,
    ) -> None:
        if self._is_for_the_stock(request):
            reason = "; ".join(str(short) for short in course.shortages)
            self._start_declining(request, group, agenda, f"it is only for the stock, and {reason}")
            return
        self._backlog.short_of(group, course.shortages)
        present = course.plan.present if course.plan is not None else ()
        urgent = self._patience.keeps_room(request, course.shortages)
        if urgent:
            self._hold_back(request, present, held_back)
        if self._eviction is not None:
            self._eviction.make_room(course.shortages, present if urgent else None)

    def _hold_back(self, request: NodeRequest, nodes: Sequence[Node], held_back: set[str]) -> None:
        """Give these to no smaller request."""
        held_back.update(node.id for node in nodes)
        self._patience.note_kept(request.id, nodes)

    def _is_for_the_stock(self, request: NodeRequest) -> bool:
        return self._maker is not None and request.is_min_ready

    # -- answering -------------------------------------------------------

    def _on_ended(self, request: NodeRequest) -> None:
        self._admission.leave()
        self._requeue(request.id)

    def _start_declining(
        self, request: NodeRequest, group: Group, agenda: Agenda, reason: str
    ) -> None:
        """Say no, unless too many are being declined already."""
        if self._hands.decline(request, reason):
            self._discard(request.id)
            agenda.again(group)
        else:
            self._backlog.hold_up(group)

    def _on_declined(self, request: NodeRequest) -> None:
        self._requeue(request.id)
        self._backlog.mark_held_up()

    def _requeue(self, request_id: str) -> None:
        request = self._store.requests.get(request_id)
        if request is not None and self._accepting:
            self._consider(request, self._store.requests.is_locked(request_id))

    # -- telling ---------------------------------------------------------

    def waits(self) -> tuple[str, ...]:
        """What waits here and why; a line for requests that wish the same."""
        return what_waits(self._backlog.queue, self.why)

    def why(self, request_id: str) -> str:
        """Why this pool has not served a request, in words; "" if it is not waiting here."""
        return self._telling.why(request_id)

    def reason(self, request_id: str) -> Reason | None:
        """As :meth:`why`, for lists of many requests; None if it is not waiting here."""
        return self._telling.reason(request_id)

    def explain(self, request_id: str, insight: Insight | None = None) -> PoolExplanation | None:
        """Everything about a request as this pool sees it; None if there is none of that id.

        :param insight: what its provider adds.
        """
        return self._telling.explain(request_id, insight or NoInsight())
