"""The loop between what is wanted and what there is.

Design note: dirty slots
------------------------
Events only mark slots; one pass per reactor turn plans the marked ones and
starts what comes out of it.  A slot with work in flight is not planned again
before that has ended, so nothing ever works on one slot twice, and slots never
wait for each other.

Design note: what the table does not show yet
---------------------------------------------
A node just created is in ZooKeeper before it is in the table.  Its slot is
*unsettled* until the table shows the node; likewise a slot whose change had no
answer, until the store has caught up with whatever became of it.  An unsettled
slot is not planned: the plan would be for a slot that looks empty.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.events import Events
from nodepool_tx.model import NodeState
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.providers.static.desired import Desired, Identity, SlotKey
from nodepool_tx.providers.static.hosts import Hosts
from nodepool_tx.providers.static.observed import HostFacts
from nodepool_tx.providers.static.plan import Deregister, Mode, Probe, Step, Wait, plan
from nodepool_tx.providers.static.slots import SlotIndex
from nodepool_tx.providers.static.steps import (
    Outcome,
    StepRunner,
    Work,
    WorkResult,
    batches,
)
from nodepool_tx.store.change import Change, Uncertain
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.store import Store
from nodepool_tx.work import Task, Tracker, shielded

__all__ = ["Reconciler"]

#: Slots planned in one reactor turn: a few milliseconds.
SLOTS_PER_TURN = 500

#: Seconds until a slot is planned again whose change came to nothing, when no
#: event asks for it before.
RETRY_AFTER = 1.0

#: Seconds until it is asked whether an unsettled slot has settled.
SETTLE_AFTER = 1.0


class Reconciler:
    """Brings the slots of a provider in line with its configuration.

    :param may_act: whether anything may be changed now.
    :param prove: makes a change fail if another launcher may act when it is made.
    :param mode: what to do.
    :param withdrawn: why a machine is out of service; "" if it is not.
    :param progress: called whenever work has ended or a slot has settled.
    :ivar hosts: what is known of the machines.
    :ivar slots: which node stands where.
    """

    _log = Logger()

    def __init__(
        self,
        provider: str,
        desired: Desired,
        clock: IReactorTime,
        store: Store,
        scanner: Scanner,
        may_act: Callable[[], bool],
        prove: Callable[[Change], None],
        mode: Callable[[], Mode],
        withdrawn: Callable[[Identity], str],
        progress: Callable[[], None] = lambda: None,
        events: Events | None = None,
    ) -> None:
        self._provider = provider
        self._desired = desired
        self._clock = clock
        self._store = store
        self._may_act = may_act
        self._mode = mode
        self._withdrawn = withdrawn
        self._progress = progress
        self._running = False
        self._counter = itertools.count(1)
        self.hosts = Hosts(clock, scanner, self._on_host, self._next_order, events=events)
        self.slots = SlotIndex(provider, desired, store.nodes)
        self._runner = StepRunner(store, may_act, prove)
        self._writes = Tracker(clock)
        self._checks = Tracker(clock)
        #: Slots to plan, in the order in which they were marked.
        self._dirty: dict[SlotKey, None] = {}
        self._next_pass: IDelayedCall | None = None
        #: Slots with work in flight; True if one was marked meanwhile.
        self._busy: dict[SlotKey, bool] = {}
        #: Slots whose nodes the table may not show, and the node expected there.
        self._unsettled: dict[SlotKey, str | None] = {}
        self._settling: IDelayedCall | None = None
        #: Slots that a look at their machine may unblock.
        self._awaiting: dict[Identity, set[SlotKey]] = {}
        self._alarms: dict[Identity, IDelayedCall] = {}
        self._retries: dict[SlotKey, IDelayedCall] = {}

    # -- life ------------------------------------------------------------

    def start(self) -> None:
        """Begin from what the store shows now."""
        self._running = True
        self.hosts.open()
        self.slots.load(self._next_order())
        for key, node_id in tuple(self._unsettled.items()):
            if node_id is not None and self.slots.key_of(node_id) == key:
                del self._unsettled[key]
        self._settle_later()
        self.mark_all()

    def halt(self) -> Deferred[None]:
        """Begin nothing more; fires when what is in flight has ended.

        The caller sees to it that nothing may be changed from now on.
        """
        self._running = False
        self._dirty = {}
        calls = [*self._alarms.values(), *self._retries.values()]
        self._alarms, self._retries = {}, {}
        for call in (*calls, self._next_pass, self._settling):
            if call is not None and call.active():
                call.cancel()
        self._next_pass = self._settling = None
        self._checks.cancel()
        looks = self.hosts.close()
        return Deferred.fromCoroutine(self._end(looks))

    async def _end(self, looks: Deferred[None]) -> None:
        await looks
        await self._writes.idle()

    def tasks(self) -> tuple[Task, ...]:
        return (*self._writes.tasks(), *self.hosts.tasks())

    @property
    def settled(self) -> bool:
        """Nothing is in flight, and the table shows all that was done."""
        return not (self._busy or self._unsettled)

    # -- marking ---------------------------------------------------------

    def mark_all(self) -> None:
        """Plan every slot again."""
        # Those without a slot first: they take one before it is filled.
        present = sorted(self.slots.keys(), key=lambda key: key.slot is not None)
        self.mark(present)
        self.mark(self._desired.slot_keys())

    def mark(self, keys: Iterable[SlotKey]) -> None:
        """Plan these slots in the next turn, or when their work has ended."""
        for key in keys:
            if key in self._busy:
                self._busy[key] = True
            else:
                self._dirty[key] = None
        if self._dirty and self._next_pass is None and self._may_act():
            self._next_pass = self._clock.callLater(0, self._pass)

    def follow(self, change: NodeChange) -> None:
        """Take in what became of a node of this provider."""
        before = self.slots.key_of(change.node_id)
        crowded = before is not None and self.slots.is_crowded(before.identity)
        keys = self.slots.follow(change, self._next_order())
        if self._unsettled:
            for key in keys:
                if self._unsettled.get(key) == change.node_id:
                    del self._unsettled[key]
        busy = self._busy
        if not busy.keys().isdisjoint(keys) or not self.slots.is_taken(change.node_id, keys):
            ours = change.before is change.after and change.locked_before == change.locked_after
            # A reservation that comes from the slot's own work says nothing new.
            self.mark(key for key in keys if not (ours and key in busy))
        if crowded and before is not None:
            self.mark(self.slots.vacancies(before.identity))
        self._progress()

    def on_current(self) -> None:
        """The table shows everything there is."""
        self._unsettled = {}
        self.mark_all()
        self._progress()

    def forget_hosts(self) -> None:
        """Another launcher has looked after the machines meanwhile."""
        self.hosts.forget()
        self._awaiting = {}

    def begin_anew(self, identities: Iterable[Identity]) -> None:
        """These machines were taken out of service, or returned: what was known is of no use."""
        for identity in identities:
            self.hosts.forget_one(identity)
            self._awaiting.pop(identity, None)
            self._mark_host(identity)

    def _next_order(self) -> int:
        return next(self._counter)

    def _mark_host(self, identity: Identity) -> None:
        host = self._desired.hosts.get(identity)
        if host is not None:
            self.mark((SlotKey(identity, None), *host.slot_keys()))

    def _on_host(self, identity: Identity, news: bool) -> None:
        waiting = self._awaiting.pop(identity, ())
        if news:
            self._mark_host(identity)
        else:
            self.mark(waiting)

    # -- planning --------------------------------------------------------

    def explain(self, key: SlotKey) -> tuple[Step, ...]:
        """What would be done about a slot now; does nothing."""
        return self._plan(key)

    def _plan(self, key: SlotKey) -> tuple[Step, ...]:
        desired = self._desired.at(key)
        if key.slot is None:
            desired = self._desired.hosts.get(key.identity)
        observed = self.slots.observe(key, self._is_taken)
        host = self.hosts.facts(key.identity) if desired else HostFacts()
        withdrawn = self._withdrawn(key.identity)
        return plan(desired, observed, host, self._mode(), self._clock.seconds(), withdrawn)

    def _is_taken(self, key: SlotKey) -> bool:
        return key in self._busy or key in self._unsettled

    def _pass(self) -> None:
        self._next_pass = None
        if not self._may_act():
            return
        works: list[Work] = []
        for key in tuple(itertools.islice(self._dirty, SLOTS_PER_TURN)):
            del self._dirty[key]
            if key in self._busy:
                self._busy[key] = True
            elif key not in self._unsettled:
                work = self._begin(key)
                if work is not None:
                    works.append(work)
        for batch in batches(works):
            self._writes.run(f"changing {len(batch)} slots", self._carry_out(batch))
        if self._dirty and self._next_pass is None:
            self._next_pass = self._clock.callLater(0, self._pass)

    def _begin(self, key: SlotKey) -> Work | None:
        """Plan a slot and start what needs no transaction."""
        retry = self._retries.pop(key, None)
        if retry is not None and retry.active():
            retry.cancel()
        writes = []
        look = False
        for step in self._plan(key):
            if isinstance(step, Probe):
                look = True
                self._awaiting.setdefault(key.identity, set()).add(key)
            elif not isinstance(step, Wait):
                writes.append(step)
            elif step.until is not None:
                self._awaiting.setdefault(key.identity, set()).add(key)
                self._set_alarm(key.identity, step.until)
        work = Work(key, tuple(writes)) if writes else None
        if work is not None:
            for touched in work.keys:
                self._busy.setdefault(touched, False)
        if look:
            self.hosts.look(self._desired.hosts[key.identity])
        return work

    def _set_alarm(self, identity: Identity, until: float) -> None:
        """Plan what waits for a machine when it is time to look again."""
        alarm = self._alarms.get(identity)
        if alarm is not None and alarm.active():
            return
        delay = max(0.0, until - self._clock.seconds())
        self._alarms[identity] = self._clock.callLater(delay, self._ring, identity)

    def _ring(self, identity: Identity) -> None:
        del self._alarms[identity]
        self.mark(self._awaiting.pop(identity, ()))

    # -- doing -----------------------------------------------------------

    def withdraw(self, node_id: str, reason: str) -> Deferred[None]:
        """Take a node out of service that the caller has reserved.

        Fires when that has happened, or turned out to be impossible; it goes
        on if the Deferred is cancelled.
        """
        node = self._store.nodes.get(node_id)
        key = self.slots.key_of(node_id)
        if node is None or node.state is not NodeState.READY or node.allocated_to:
            return succeed(None)
        if key is None or key in self._busy or not self._may_act():
            return succeed(None)
        work = Work(key, (Deregister(node, reason),))
        self._busy[key] = False
        task = self._writes.run(f"withdrawing node {node_id}", self._carry_out([work], True))
        return shielded(task)

    async def _carry_out(self, works: list[Work], reserved: bool = False) -> None:
        results: list[WorkResult] = []
        try:
            results = await self._runner.run(works, reserved=reserved)
        finally:
            for result in results:
                self._note(result)
            for work in works:
                self.mark([key for key in work.keys if self._busy.pop(key, False)])
            self._progress()

    def _note(self, result: WorkResult) -> None:
        key = result.work.key
        if result.outcome is Outcome.DONE:
            for node_id in result.created:
                if self._store.nodes.get(node_id) is None:
                    self._unsettle(key, node_id)
        elif result.outcome is Outcome.UNKNOWN:
            for touched in result.work.keys:
                self._unsettle(touched, None)
        elif self._may_act():
            self._retries[key] = self._clock.callLater(RETRY_AFTER, self.mark, [key])

    def _unsettle(self, key: SlotKey, node_id: str | None) -> None:
        self._unsettled[key] = node_id
        self._settle_later()

    def _settle_later(self) -> None:
        if self._unsettled and self._settling is None and self._running:
            self._settling = self._clock.callLater(SETTLE_AFTER, self._settle)

    def _settle(self) -> None:
        self._settling = None
        if self._unsettled:
            self._checks.run("catching up with ZooKeeper", self._catch_up())

    async def _catch_up(self) -> None:
        """Once the table shows all that was done until now, nothing is unsettled."""
        keys = dict(self._unsettled)
        try:
            await self._store.barrier()
        except Uncertain as e:
            self._log.debug("not caught up yet: {reason}", reason=str(e))
        else:
            for key, node_id in keys.items():
                if key in self._unsettled and self._unsettled[key] == node_id:
                    del self._unsettled[key]
            self.mark(keys)
            self._progress()
        self._settle_later()
