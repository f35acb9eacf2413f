"""One label's stock: standing for the lead, asking, and taking in what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.minready.plan import Plan, Rest, View, plan
from nodepool_tx.minready.stock import Stock
from nodepool_tx.model import (
    MIN_READY_REQUESTOR,
    Node,
    NodeRequest,
    NodeState,
    RequestState,
)
from nodepool_tx.store import paths
from nodepool_tx.store.change import Conflict, Uncertain, connection_errors
from nodepool_tx.store.codec import encode_request
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.election import Election, Leadership
from nodepool_tx.txzookeeper.interface import SessionState, TransactionFailed
from nodepool_tx.work import SingleFlight, shielded

__all__ = ["LabelKeeper", "Surroundings"]

#: The precedence Nodepool 11 gives these requests: everybody else's go first.
PRECEDENCE = "900"

#: Requests written in one transaction.
_AT_ONCE = 100


@attrs.frozen
class Surroundings:
    """What all keepers of a process share.

    :ivar identifier: what other launchers see of us in the elections.
    :ivar random: a number from 0 to 1, another one at each call.
    :ivar possible: whether somebody online may have nodes of a label made.
    :ivar counts: whether a node on its way is still to be reckoned with.
    """

    clock: IReactorTime
    store: Store
    stock: Stock
    identifier: str
    random: Callable[[], float]
    possible: Callable[[str], bool]
    counts: Callable[[Node], bool]


class LabelKeeper:
    """Keeps a label in stock while it leads; takes in what it asked for anyway.

    A request belongs to the session that wrote it, and so to the keeper in
    that process, whoever leads now: nobody else touches it.
    """

    _log = Logger()

    def __init__(self, around: Surroundings, label: str) -> None:
        self.label = label
        self.wanted = 0
        self.rest = Rest()
        self._around = around
        self._store = around.store
        self._election = Election(
            around.store.client, paths.min_ready_election(label), around.identifier
        )
        self._standing = False
        self._resigned: Deferred[None] = succeed(None)
        self._catching_up: Deferred[None] = succeed(None)
        self._stopped = False
        self._alarm: IDelayedCall | None = None
        self._flight = SingleFlight(self._act_if_running, f"min-ready of {label}")

    @property
    def leads(self) -> bool:
        """Nobody else may be asking for this label."""
        leadership = self._election.leadership
        return leadership is not None and leadership.certain

    @property
    def done(self) -> bool:
        """Nothing is wanted, and nothing of ours is left."""
        return not self.wanted and not self._own() and not self._flight.running

    # -- life ------------------------------------------------------------

    def want(self, count: int) -> None:
        """Keep so many from now on; 0 gives the label up."""
        self.wanted = count
        if count and not self._standing:
            self._standing = True
            self._election.volunteer(lambda _: self.look(), lambda _: None)
        elif not count and self._standing:
            self._resign()
        self.look()

    def forgive(self) -> None:
        """What failed so far may succeed now."""
        self.rest = Rest()

    def stop(self) -> Deferred[None]:
        """Do no more; fires when nothing is in flight and another can lead."""
        self._stopped = True
        self._set_alarm()
        # It waits for a connection, which may not come while we are stopped.
        self._catching_up.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._flight.idle()
        if self._standing:
            self._resign()
        # Without a connection the lead ends with the session.
        if self._store.client.state is SessionState.CONNECTED:
            await shielded(self._resigned)

    def _resign(self) -> None:
        self._standing = False
        self._resigned = self._election.resign().addErrback(self._not_resigned)

    def _not_resigned(self, failure: Failure) -> None:
        failure.trap(*connection_errors)
        self._log.debug(
            "the lead of {label} goes with the session: {reason}",
            label=self.label,
            reason=failure.getErrorMessage(),
        )

    # -- looking ---------------------------------------------------------

    def look(self) -> None:
        """See whether there is anything to do, and do it."""
        if self._stopped or not self._store.current:
            return
        if self._finished() or self._plan() != Plan():
            self._flight.wake()
        self._set_alarm()

    def view(self) -> View:
        """The label as it is now."""
        around = self._around
        waiting = [
            request
            for request in around.stock.requests(self.label)
            if request.state in (RequestState.REQUESTED, RequestState.PENDING)
        ]
        return View(
            ready=around.stock.ready(self.label),
            building=sum(map(around.counts, around.stock.building(self.label))),
            requested=sum(request.node_types.count(self.label) for request in waiting),
            own=sum(self._is_own(request) for request in waiting),
            untaken=len(self._untaken()),
            possible=around.possible(self.label),
            resting=self._resting(),
            failures=self.rest.failures,
        )

    def _plan(self) -> Plan:
        if not self.wanted:
            return Plan(withdraw=len(self._untaken()))
        return plan(self.wanted, self.view()) if self.leads else Plan()

    def _is_own(self, request: NodeRequest) -> bool:
        return self._store.is_request_of_this_session(request.id)

    def _own(self) -> list[NodeRequest]:
        requests = self._around.stock.requests(self.label)
        return [request for request in requests if self._is_own(request)]

    def _finished(self) -> list[NodeRequest]:
        over = (RequestState.FULFILLED, RequestState.FAILED)
        return [request for request in self._own() if request.state in over]

    def _untaken(self) -> list[NodeRequest]:
        """Those that can be taken back, the youngest first."""
        return [
            request
            for request in reversed(self._own())
            if request.state is RequestState.REQUESTED
            and not self._store.requests.is_locked(request.id)
        ]

    def _resting(self) -> bool:
        return self._around.clock.seconds() < self.rest.until

    def _set_alarm(self) -> None:
        """Look again when the rest, if there is one, is over."""
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None
        left = self.rest.until - self._around.clock.seconds()
        if left > 0 and self.wanted and not self._stopped:
            self._alarm = self._around.clock.callLater(left, self.look)

    # -- doing -----------------------------------------------------------

    async def _act_if_running(self) -> None:
        if not self._stopped:
            await self._act()

    async def _act(self) -> None:
        """Decide on what the tables show once they have caught up, and do it."""
        try:
            self._catching_up = Deferred.fromCoroutine(self._store.barrier())
            await self._catching_up
            for request in self._finished():
                if self._stopped:
                    return
                await self._take_in(request)
            # Each decision is of its moment: nothing was waited for since.
            if self._stopped or not self._store.current:
                return
            todo = self._plan()
            leadership = self._election.leadership
            if todo.withdraw:
                await self._withdraw(self._untaken()[: todo.withdraw])
            elif todo.ask and leadership is not None:
                await self._ask(todo.ask, leadership)
        except Uncertain as e:
            self._log.debug("min-ready waits for ZooKeeper: {reason}", reason=str(e))
        except CancelledError:
            if not self._stopped:
                raise
        finally:
            self._set_alarm()

    async def _ask(self, count: int, leadership: Leadership) -> None:
        view, store = self.view(), self._store
        self._log.info(
            "asking for {count} {label}: of {wanted} wanted {ready} are ready, {building} on "
            "their way and {requested} asked for",
            count=count,
            label=self.label,
            wanted=self.wanted,
            **attrs.asdict(view, filter=lambda a, _: a.name in ("ready", "building", "requested")),
        )
        for start in range(0, count, _AT_ONCE):
            txn = store.client.transaction()
            # Whoever has been elected since has counted without these.
            leadership.check_in(txn)
            for _ in range(start, min(start + _AT_ONCE, count)):
                data = encode_request(self._new_request())
                txn.create(f"{paths.REQUESTS}/{PRECEDENCE}-", data, ephemeral=True, sequence=True)
            try:
                await txn.commit()
            except TransactionFailed as e:
                self._log.info(
                    "{label} was not asked for: {reason}", label=self.label, reason=str(e)
                )
                return
            except connection_errors as e:
                raise Uncertain(str(e) or type(e).__name__) from e
            if self._stopped or not leadership.certain:
                return

    def _new_request(self) -> NodeRequest:
        """As Nodepool 11 writes them: for one node, which is to be a new one."""
        return NodeRequest(
            state=RequestState.REQUESTED,
            state_time=self._around.clock.seconds(),
            node_types=(self.label,),
            reuse=False,
            requestor=MIN_READY_REQUESTOR,
            event_id=uuid.uuid4().hex,
        )

    async def _take_in(self, request: NodeRequest) -> None:
        """Put the nodes of a request that is over in stock, and remove it."""
        change = self._store.change()
        for node in self._store.nodes.of_request(request.id):
            if node.state is NodeState.READY:
                change.update_node(node, node.changed(allocated_to=None))
        change.remove_request(request)
        try:
            await change.commit()
        except Conflict as e:
            self._log.debug("{label} is taken in later: {reason}", label=self.label, reason=str(e))
            return
        if request.state is RequestState.FULFILLED:
            self.rest = Rest()
        elif self.wanted:
            self._failed(request)

    def _failed(self, request: NodeRequest) -> None:
        now = self._around.clock.seconds()
        self.rest = self.rest.after_failure(now, self._around.random())
        self._log.warn(
            "nobody could make a {label} for the stock; asking again in {seconds:.0f} s",
            label=self.label,
            seconds=self.rest.until - now,
            request_id=request.id,
        )

    async def _withdraw(self, requests: list[NodeRequest]) -> None:
        for request in requests:
            change = self._store.change()
            change.remove_request(request)
            try:
                await change.commit()
            except Conflict as e:
                self._log.debug(
                    "{label} stays asked for: {reason}", label=self.label, reason=str(e)
                )
            else:
                self._log.info("{label} is not asked for any more", label=self.label)
