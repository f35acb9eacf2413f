"""Giving out slots and taking them back: many wishes, one transaction at a time.

All wishes that come while a transaction is on its way go into the next one, so
a burst of launches costs a few round trips, and the launches of one process
never stand in each other's way.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.config.metastatic import MetastaticLabel
from nodepool_tx.model import NodeRequest, NodeState, RequestState
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.metastatic.backing import Backing, Slot, owner_of, user_data_of
from nodepool_tx.providers.metastatic.draft import Draft
from nodepool_tx.providers.metastatic.standing import StandingLock
from nodepool_tx.providers.metastatic.table import Table
from nodepool_tx.store import paths
from nodepool_tx.store.change import (
    Change,
    Conflict,
    Locked,
    Uncertain,
    Vanished,
    connection_errors,
)
from nodepool_tx.store.codec import encode_request
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import Transaction

__all__ = ["BACKING", "Lane", "backing_request"]

#: Wishes in one transaction.
AT_ONCE = 100

#: What is written in a request of ours to say which record it is for.
BACKING = "backing"

#: After these the table is looked at again.
_IN_THE_WAY: tuple[type[Exception], ...] = (Conflict, Uncertain, *connection_errors)

#: Nodepool 11's: neither before nor behind the requests of most clients.
PRIORITY = "100"


def backing_request(backing: Backing, owner: str, now: float) -> NodeRequest:
    """The request for a backing node, known again by its record's id."""
    assert backing.backing_label is not None
    return NodeRequest(
        state=RequestState.REQUESTED,
        state_time=now,
        created_time=now,
        node_types=(backing.backing_label,),
        requestor=owner,
        requestor_data={BACKING: backing.id},
        event_id=uuid.uuid4().hex,
    )


@attrs.define(eq=False)
class _Wish:
    """:ivar epoch: the session in which it was made, if it is of no use in another."""

    work: Callable[[Draft, Change], bool]
    done: Deferred[bool]
    epoch: int | None = None


class Lane:
    """Writes the wishes of one process into the table of one provider."""

    _log = Logger()

    def __init__(self, store: Store, table: Table, provider: str) -> None:
        self._store = store
        self._table = table
        self._owner = owner_of(provider)
        self._provider = provider
        self._wishes: dict[_Wish, None] = {}
        self._working: Deferred[None] | None = None
        #: Backing nodes that somebody has taken from us.
        self._lost: set[str] = set()

    # -- wishes ----------------------------------------------------------

    async def take(self, label: MetastaticLabel, slot: Slot) -> None:
        """Give a node a slot; its backing node may have to be asked for first.

        The caller holds the node's lock; should the session end before it was
        written, nothing is written.

        :raises CloudError: the session ended.
        """

        def work(draft: Draft, change: Change) -> bool:
            draft.take(label, slot)
            return True

        await self._wish(work, self._store.client.session_epoch)

    async def give_up(self, node_id: str) -> bool:
        """Free the slot of a node; False if it has none."""
        return await self._wish(lambda draft, change: draft.give_up(node_id))

    async def fail(self, node_id: str) -> None:
        """Let the backing node of a node get no more nodes."""

        def work(draft: Draft, change: Change) -> bool:
            failed = draft.fail(node_id)
            if failed is not None:
                self._log.warn(
                    "node {node_id} cannot be reached: its backing node {backing_node} gets no "
                    "more nodes",
                    node_id=node_id,
                    backing_node=failed.node,
                    provider=self._provider,
                )
                self._tell_node(change, failed)
            return failed is not None

        await self._wish(work)

    def _tell_node(self, change: Change, backing: Backing) -> None:
        """Write it at the node, too, as far as that is still ours."""
        node = self._store.nodes.get(backing.node or "")
        if node is None or node.state is not NodeState.IN_USE or backing.lock is None:
            return
        if node.id in self._lost:
            return
        after = attrs.evolve(node, user_data=user_data_of(backing, self._owner))
        change.update_node(node, after, StandingLock(self._store.client, node.id, backing.lock))

    def _wish(
        self, work: Callable[[Draft, Change], bool], epoch: int | None = None
    ) -> Deferred[bool]:
        done: Deferred[bool] = Deferred(lambda _: self._wishes.pop(wish, None))
        wish = _Wish(work, done, epoch)
        self._wishes[wish] = None
        if self._working is None:
            self._working = Deferred.fromCoroutine(self._work())
            self._working.addErrback(self._broken).addCallback(self._rest)
        return done

    def stop(self) -> None:
        """Fulfil no more wishes."""
        if self._working is not None:
            self._working.cancel()

    # -- working ---------------------------------------------------------

    async def _work(self) -> None:
        while self._wishes:
            # What is shown has to be all that was done under locks that we hold now.
            await self._table.barrier()
            batch = list(self._wishes)[:AT_ONCE]
            for wish, granted in (await self._fulfil(batch)).items():
                if self._wishes.pop(wish, wish) is None:
                    wish.done.callback(granted)

    async def _fulfil(self, batch: list[_Wish]) -> dict[_Wish, bool]:
        """Write what is wished for; nothing is granted if that has to be tried again."""
        store, table = self._store, self._table
        now, epoch = store.clock.seconds(), store.client.session_epoch
        backings = table.all()
        found = (store.nodes.get(backing.node or "") for backing in backings)
        draft = Draft(backings, {node.id: node for node in found if node is not None}, now)
        change = store.change()
        granted: dict[_Wish, bool] = {}
        for wish in batch:
            if wish.epoch not in (None, epoch):
                del self._wishes[wish]
                wish.done.errback(CloudError("the session with ZooKeeper has ended"))
                continue
            granted[wish] = wish.work(draft, change)
        for backing in draft.changed.values():
            table.write(change, backing)
        try:
            if draft.added:
                await table.prepare()
                if store.client.session_epoch != epoch:
                    return {}
                table.pass_fence(change)
            for backing in draft.added.values():
                table.add(change, backing)
                self._ask(change, backing, now)
            await change.commit()
            if draft.added:
                await table.barrier()
        except _IN_THE_WAY as e:
            self._log.debug("slots are given out anew: {reason}", reason=str(e))
            if isinstance(e, (Locked, Vanished)) and e.what == "node":
                self._lost.add(e.id)
            return {}
        return granted

    def _ask(self, change: Change, backing: Backing, now: float) -> None:
        data = encode_request(backing_request(backing, self._owner, now))

        def create(txn: Transaction) -> None:
            txn.create(f"{paths.REQUESTS}/{PRIORITY}-", data, sequence=True)

        def created(path: str) -> None:
            self._log.info(
                "request {request_id} asks for a backing node for {provider}",
                request_id=path.rpartition("/")[2],
                provider=self._provider,
                label=backing.backing_label,
                backing=backing.id,
            )

        change.also("request", backing.id, create, created)

    def _broken(self, failure: Failure) -> None:
        if not failure.check(CancelledError, *connection_errors):
            self._log.failure(
                "slots of {provider} cannot be given out", failure, provider=self._provider
            )

    def _rest(self, _: None) -> None:
        """Nothing is written any more, for want of wishes or in spite of them."""
        self._working = None
        wishes, self._wishes = self._wishes, {}
        for wish in wishes:
            wish.done.errback(CloudError("the table of slots is closed"))
