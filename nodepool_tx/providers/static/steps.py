"""Carrying out what was planned: each slot's steps in one transaction, many slots at once.

Every change proves that nobody holds the node and that it is still what the
plan saw (see :mod:`nodepool_tx.store.change`).  Changes of many slots share a
transaction, which is what makes registering thousands of nodes quick; when
one of them is in the way of the rest, each slot gets a transaction of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from nodepool_tx.model import Node
from nodepool_tx.providers.static.desired import SlotKey
from nodepool_tx.providers.static.plan import Deregister, Recycle, Register, Update, WriteStep
from nodepool_tx.store.change import Change, Conflict, Uncertain
from nodepool_tx.store.store import Store

__all__ = ["BATCH", "Outcome", "StepRunner", "Work", "WorkResult", "batches"]

#: Steps in one transaction at the most.
BATCH = 50


class Outcome(enum.Enum):
    """What came of the steps of one slot."""

    DONE = "done"
    #: Somebody was faster; what they did is the reason for a new plan.
    SKIPPED = "skipped"
    #: ZooKeeper did not answer: it happened as a whole or not at all.
    UNKNOWN = "unknown"
    #: Refused for a reason that is not understood.
    FAILED = "failed"


@attrs.frozen
class Work:
    """What is to be done about one slot, all together or not at all."""

    key: SlotKey
    steps: tuple[WriteStep, ...]

    @property
    def keys(self) -> tuple[SlotKey, ...]:
        """The slots concerned: its own, and the one a node is moved to."""
        moved = {step.after.slot for step in self.steps if isinstance(step, Update)}
        others = (SlotKey(self.key.identity, slot) for slot in moved - {self.key.slot})
        return (self.key, *others)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes there are that this changes."""
        return tuple(node for step in self.steps if (node := _changed_by(step)) is not None)


@attrs.frozen
class WorkResult:
    """What came of it; ``created`` are the ids of new nodes, when it is done."""

    work: Work
    outcome: Outcome
    created: tuple[str, ...] = ()


def batches(works: Iterable[Work]) -> Iterator[list[Work]]:
    """Cut into what fits into one transaction each."""
    batch: list[Work] = []
    size = 0
    for work in works:
        if batch and size + len(work.steps) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(work)
        size += len(work.steps)
    if batch:
        yield batch


class StepRunner:
    """Makes changes in ZooKeeper, as long as that is allowed.

    :param allowed: asked before each transaction.
    :param prove: makes a transaction fail where that is no longer so when it arrives.
    """

    _log = Logger()

    def __init__(
        self, store: Store, allowed: Callable[[], bool], prove: Callable[[Change], None]
    ) -> None:
        self._store = store
        self._allowed = allowed
        self._prove = prove

    async def run(self, works: Sequence[Work], *, reserved: bool = False) -> list[WorkResult]:
        """Carry out a batch; one result per work, in order.

        The nodes concerned are reserved meanwhile.

        :param reserved: the caller has reserved them, and gives them back.
        """
        nodes = self._store.nodes
        ids = [] if reserved else [node.id for work in works for node in work.nodes]
        nodes.reserve(ids)
        try:
            if any(isinstance(step, Register) for work in works for step in work.steps):
                await self._see_who_emptied()
            return await self._together(works)
        finally:
            nodes.unreserve(ids)

    async def _see_who_emptied(self) -> None:
        """Learn of a launcher that does not know the owner lock before its slots are filled.

        It was registered before it emptied them, but may be heard of after that.
        """
        try:
            await self._store.barrier()
        except Uncertain as e:
            self._log.debug("not caught up: {reason}", reason=str(e))

    async def _together(self, works: Sequence[Work]) -> list[WorkResult]:
        if not self._allowed():
            return [WorkResult(work, Outcome.SKIPPED) for work in works]
        change = self._store.change()
        for work in works:
            for step in work.steps:
                if isinstance(step, Register):
                    change.create_node(step.node)
                elif isinstance(step, Update):
                    change.update_node(step.before, step.after)
                elif isinstance(step, Deregister):
                    change.remove_node(step.node)
                else:
                    change.remove_node(step.old)
                    change.create_node(step.new)
        self._prove(change)
        try:
            created = list(await change.commit())
        except Conflict as e:
            if len(works) > 1:
                return await self._one_by_one(works)
            return [self._skipped(works[0], e)]
        except Uncertain as e:
            self._log.info(
                "ZooKeeper did not answer ({reason}), will look whether {count} slots changed",
                reason=str(e),
                count=len(works),
            )
            return [WorkResult(work, Outcome.UNKNOWN) for work in works]
        except Exception:
            self._log.failure("could not change {count} slots", count=len(works))
            return [WorkResult(work, Outcome.FAILED) for work in works]
        return [self._done(work, created) for work in works]

    async def _one_by_one(self, works: Sequence[Work]) -> list[WorkResult]:
        each = [Deferred.fromCoroutine(self._together([work])) for work in works]
        return [result for results in await gatherResults(each) for result in results]

    def _skipped(self, work: Work, conflict: Conflict) -> WorkResult:
        step = work.steps[0]
        self._log.debug(
            "{step} of {hostname} slot {slot} left out: {reason}",
            step=type(step).__name__,
            hostname=work.key.identity[0],
            slot=work.key.slot,
            reason=str(conflict),
        )
        return WorkResult(work, Outcome.SKIPPED)

    def _done(self, work: Work, created: list[str]) -> WorkResult:
        """Log what was done; takes the ids of this work's new nodes off ``created``."""
        ids: list[str] = []
        for step in work.steps:
            new_id = ""
            if isinstance(step, (Register, Recycle)):
                new_id = created.pop(0)
                ids.append(new_id)
            self._tell(step, work.key, new_id)
        return WorkResult(work, Outcome.DONE, tuple(ids))

    def _tell(self, step: WriteStep, key: SlotKey, new_id: str) -> None:
        if isinstance(step, Register):
            node, text = step.node, "registered node {node_id} on {hostname} slot {slot}"
        elif isinstance(step, Update):
            node, text = step.after, "updated node {node_id} on {hostname} slot {slot}"
        elif isinstance(step, Deregister):
            node = step.node
            text = "took node {node_id} on {hostname} slot {slot} out of service: {reason}"
        else:
            node = step.new
            text = (
                "{hostname} slot {slot} is back in service as node {node_id} "
                "(was {old_id}, {old_state})"
            )
        self._log.info(
            text,
            node_id=new_id or node.id,
            hostname=key.identity[0],
            slot=key.slot if node.slot is None else node.slot,
            provider=node.provider,
            pool=node.pool,
            reason=step.reason if isinstance(step, Deregister) else "",
            old_id=step.old.id if isinstance(step, Recycle) else "",
            old_state=step.old.state.value if isinstance(step, Recycle) else "",
        )


def _changed_by(step: WriteStep) -> Node | None:
    if isinstance(step, Register):
        return None
    if isinstance(step, Update):
        return step.before
    return step.node if isinstance(step, Deregister) else step.old
