"""Looking after the backing nodes of one provider: one launcher does, its owner.

Events and due times wake it; one pass then looks at every record, sees what is
to become of each, and does that.  What is said to be gone has to be gone after
a barrier; everything else is tied to what it was decided on by versions, so a
pass that is cut off anywhere leaves nothing half done.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.config.metastatic import MetastaticLabel
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.metastatic.asked_for import AskedFor
from nodepool_tx.providers.metastatic.backing import Backing, owner_of
from nodepool_tx.providers.metastatic.claims import Claims
from nodepool_tx.providers.metastatic.fate import Fate, Situation, Verdict, fate_of
from nodepool_tx.providers.metastatic.standing import our_contender
from nodepool_tx.providers.metastatic.steps import Steps
from nodepool_tx.providers.metastatic.table import Table
from nodepool_tx.providers.metastatic.taking_over import part_of
from nodepool_tx.store.change import Conflict, Locked, Uncertain, connection_errors
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.store import Store
from nodepool_tx.work import shielded

__all__ = ["Keeper"]

#: Seconds until what was in somebody's way is tried again.
RETRY = 5.0

_NO_ANSWER: tuple[type[Exception], ...] = (Uncertain, *connection_errors)

#: Nodes in one of these are being used, or will be.
_IN_USE = (NodeState.READY, NodeState.IN_USE, NodeState.HOLD, NodeState.USED, NodeState.TESTING)


class Keeper:
    """Takes, ends and releases backing nodes.

    :param label: a label by name, as configured now.
    :param gives_up: whether the provider is being given up.
    :param may_act: whether that is for us to do, and everything is known.
    """

    _log = Logger()

    def __init__(
        self,
        store: Store,
        table: Table,
        claims: Claims,
        provider: str,
        label: Callable[[str], MetastaticLabel | None],
        gives_up: Callable[[], bool],
        may_act: Callable[[], bool],
    ) -> None:
        self._store = store
        self._table = table
        self._claims = claims
        self._provider = provider
        self._label = label
        self._gives_up = gives_up
        self._may_act = may_act
        self._steps = Steps(store, table, owner_of(provider))
        self._asked_for = AskedFor(store.requests, provider, self.wake)
        self._unsubscribe: list[Callable[[], None]] = []
        self._timer: IDelayedCall | None = None
        self._task: Deferred[None] | None = None
        self._again = False
        self._open = False

    # -- life ------------------------------------------------------------

    def start(self) -> None:
        self._open = True
        self._asked_for.start()
        self._unsubscribe = [
            self._table.subscribe(self.wake),
            self._store.nodes.subscribe(self._on_node),
        ]
        self.wake()

    def stop(self) -> None:
        self._open = False
        self._asked_for.stop()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        self._rest()
        if self._task is not None:
            self._task.cancel()

    async def flush(self) -> None:
        """Do now what is to be done now."""
        self._rest()
        while self._task is not None:
            self._again = False
            await shielded(self._task)
            self._rest()
        while await self._pass() <= 0:
            self._again = False

    def _on_node(self, change: NodeChange) -> None:
        holder = self._table.of_holder(change.node_id)
        if (
            self._table.of_node(change.node_id) is not None
            or (holder is not None and holder.trouble is not None)
            or self._claims.knows(change.node_id)
        ):
            self.wake()

    # -- waking ----------------------------------------------------------

    def wake(self) -> None:
        """Look at everything soon."""
        self._at(0.0)

    def _at(self, seconds: float) -> None:
        if not self._open or seconds == math.inf:
            return
        if self._task is not None:
            self._again = self._again or seconds <= 0
            return
        clock = self._store.clock
        due = clock.seconds() + max(0.0, seconds)
        if self._timer is not None:
            if self._timer.getTime() <= due:
                return
            self._timer.cancel()
        self._timer = clock.callLater(max(0.0, seconds), self._begin)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._timer = None
        pause: list[float] = []

        async def work() -> None:
            pause.append(await self._pass())

        def ended(_: object) -> None:
            self._task = None
            again, self._again = self._again, False
            self._at(0.0 if again else pause[0] if pause else RETRY)

        task = self._task = Deferred.fromCoroutine(work())
        task.addErrback(self._failed).addCallback(ended)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError, *connection_errors):
            self._log.failure(
                "the backing nodes of {provider} cannot be looked after",
                failure,
                provider=self._provider,
            )

    # -- a pass ----------------------------------------------------------

    async def _pass(self) -> float:
        """Do what is to be done; returns the seconds until there is more."""
        if not self._may_act():
            return math.inf
        if not self._anything():
            return self._next_due()
        try:
            await self._store.barrier()
            await self._table.barrier()
            undone = [step async for step in self._do_all()].count(False)
        except _NO_ANSWER as e:
            self._log.debug("not looked after: {reason}", reason=str(e))
            return RETRY
        return RETRY if undone else min(self._next_due(), 0.0 if self._anything() else math.inf)

    def _anything(self) -> bool:
        """There is something to be done, as far as is known."""
        return (
            any(verdict.fate is not Fate.KEEP for _, verdict in self._judged())
            or next(self._stranded(), None) is not None
            or next(self._strays(), None) is not None
            or self._claims.pending()
        )

    def _next_due(self) -> float:
        due = min((verdict.due for _, verdict in self._judged()), default=math.inf)
        return due - self._store.clock.seconds()

    def _judged(self) -> Iterator[tuple[Backing, Verdict]]:
        now = self._store.clock.seconds()
        for backing in self._table.all():
            yield backing, fate_of(backing, self._situation(backing), now)

    def _situation(self, backing: Backing) -> Situation:
        nodes = self._store.nodes
        request = self._asked_for.get(backing.id)
        node = nodes.get(backing.node or "")
        given = nodes.get(request.nodes[0]) if request is not None and request.nodes else None
        if given is not None and request is not None and given.allocated_to != request.id:
            given = None
        unused = backing.empty
        if self._gives_up():
            unused = not any(self._store.nodes.exists(slot.node_id) for _, slot in backing.held())
        return Situation(
            label=None if self._gives_up() else self._label(backing.label),
            request=request,
            node=node,
            node_there=self._store.nodes.exists(backing.node or ""),
            given=given,
            unused=unused,
            referenced=unused and backing.node is not None and self._is_referenced(backing.node),
        )

    def _is_referenced(self, backing_node: str) -> bool:
        return any(
            node.state in _IN_USE and (part_of(node) or ("", 0))[0] == backing_node
            for node in self._store.nodes.of_provider(self._provider)
        )

    def _stranded(self) -> Iterator[Node]:
        """Nodes in stock whose backing node is gone."""
        nodes = self._store.nodes
        for backing in self._table.all():
            for _, slot in backing.held() if backing.trouble is not None else ():
                node = nodes.get(slot.node_id)
                if (
                    node is not None
                    and node.state is NodeState.READY
                    and not nodes.is_locked(node.id)
                    and not nodes.is_reserved(node.id)
                ):
                    yield node

    def _strays(self) -> Iterator[str]:
        """Records that are gone and whose requests are not."""
        for id, _ in self._asked_for.all():
            if self._table.get(id) is None and id not in self._table.unreadable:
                yield id

    # -- doing -----------------------------------------------------------

    async def _do_all(self) -> AsyncIterator[bool]:
        for backing, verdict in tuple(self._judged()):
            if verdict.fate is not Fate.KEEP:
                yield await self._made(self._do(backing, verdict), backing.id)
        for node in tuple(self._stranded()):
            self._log.info(
                "node {node_id} of {provider} is deleted: its backing node is gone",
                node_id=node.id,
                provider=self._provider,
            )
            yield await self._made(self._steps.strand(node), node.id)
        for id in tuple(self._strays()):
            request = self._asked_for.get(id)
            if request is not None:
                yield await self._made(self._steps.remove_request(request), request.id)
        if self._claims.pending():
            yield await self._made(self._claims.take_over(self._steps, self._label), "")

    async def _made(self, step: Coroutine[Any, Any, None], which: str) -> bool:
        """Whether it was done; if not, somebody was faster, or is in the way."""
        try:
            await step
        except Conflict as e:
            self._log.debug("{which} is left for now: {reason}", which=which, reason=str(e))
            return False
        return True

    async def _do(self, backing: Backing, verdict: Verdict) -> None:
        request = self._asked_for.get(backing.id)
        situation = self._situation(backing)
        if verdict.fate is Fate.TAKE:
            assert request is not None
            assert situation.given is not None
            await self._steps.take(backing, request, situation.given)
            self._log.info(
                "backing node {backing_node} of {provider} is there, with {slots} slots",
                backing_node=situation.given.id,
                provider=self._provider,
                label=backing.label,
                slots=len(backing.slots),
            )
        elif verdict.fate is Fate.END:
            await self._steps.end(backing, request, verdict.reason)
            self._log.warn(
                "{count} nodes of {provider} have no backing node: {reason}",
                count=len(backing.slots) - backing.free,
                provider=self._provider,
                reason=verdict.reason,
                backing=backing.id,
            )
        elif verdict.fate is Fate.RELEASE:
            await self._release(backing, situation, verdict.reason)
        else:
            await self._steps.drop(backing, request)

    async def _release(self, backing: Backing, situation: Situation, reason: str) -> None:
        assert situation.node is not None
        try:
            await self._steps.release(backing, situation.node)
        except Locked:
            node_id = situation.node.id
            contender = await our_contender(self._store.client, node_id, owner_of(self._provider))
            if contender is None:
                self._log.warn(
                    "the lock of backing node {backing_node} of {provider} was taken away: it is "
                    "left alone",
                    backing_node=node_id,
                    provider=self._provider,
                )
                await self._steps.drop(backing, None)
                return
            if contender == backing.lock:
                raise
            await self._steps.correct(attrs.evolve(backing, lock=contender))
            return
        self._log.info(
            "backing node {backing_node} of {provider} is released: {reason}",
            backing_node=backing.node,
            provider=self._provider,
            label=backing.label,
            reason=reason,
        )
