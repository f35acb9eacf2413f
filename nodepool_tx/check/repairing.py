"""Carrying out repairs, each in one transaction that proves that it is still right.

Design note: what is proved
---------------------------
Before a few repairs are made, everything is looked at once more, and only what
is still found is repaired.  Each transaction then holds the version of every
record it depends on, and proves that nobody holds their locks (see
:mod:`nodepool_tx.store.change`).  What cannot be proved that way is only what
does not come back: ids of nodes and requests are never used again.

A repair is made as a whole or not at all, so one that was broken off at any
moment is finished by checking again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable, Sequence

import attrs
from kazoo import exceptions as zke
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.check.asking import Asker
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.looking import Checker
from nodepool_tx.check.repairs import (
    Delete,
    Deregister,
    EndRequest,
    FailImage,
    ForgetDecliners,
    Free,
    Reclaim,
    Remove,
    ResetRequest,
)
from nodepool_tx.model import (
    IllegalTransition,
    ImageBuild,
    ImageState,
    Node,
    NodeRequest,
    NodeState,
    RequestState,
)
from nodepool_tx.store import paths
from nodepool_tx.store.change import Change, Conflict, Locked, Uncertain, connection_errors
from nodepool_tx.store.codec import encode_image_build, encode_image_upload
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import TransactionFailed

__all__ = ["Outcome", "Repaired", "Repairer"]

#: Repairs between two looks, and nodes in one transaction.
_AT_ONCE = 100

#: How often something is tried that others change at the same time.
_ATTEMPTS = 3


class Outcome(enum.Enum):
    """What came of a repair."""

    DONE = "done"
    #: Somebody was faster, or it has come right by itself.
    NOT_NEEDED = "no longer needed"
    REFUSED = "refused"


@attrs.frozen
class Repaired:
    """A finding and what came of its repair; None if there is none.

    :ivar words: why it was refused.
    """

    finding: Finding
    outcome: Outcome | None = None
    words: str = ""

    @property
    def remains(self) -> bool:
        return self.outcome in (None, Outcome.REFUSED)


class _Refused(Exception):
    """It cannot be done, for the reason given."""


class _Again(Exception):
    """Something has changed since the look."""


class Repairer:
    """Makes the repairs that findings propose.

    :param checker: that found them.
    """

    def __init__(
        self,
        store: Store,
        clock: IReactorTime,
        checker: Checker,
        asker: Asker | None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._checker = checker
        self._asker = asker
        self._progress = progress

    async def repair(self, findings: Iterable[Finding]) -> tuple[Repaired, ...]:
        """Repair what can be repaired; what came of each, in their order.

        :raises Uncertain: the connection broke.  Check again: what was done is
            not found any more.
        """
        found = tuple(findings)
        results: dict[Hashable, Repaired] = {}
        waiting = [finding for finding in found if finding.repair is not None]
        for attempt in range(_ATTEMPTS):
            waiting = await self._round(waiting, results, last=attempt == _ATTEMPTS - 1)
        return tuple(results.get(each.identity, Repaired(each)) for each in found)

    async def _round(
        self, waiting: Sequence[Finding], results: dict[Hashable, Repaired], last: bool
    ) -> list[Finding]:
        """One attempt at all of them; those that have to be looked at again."""
        again: list[Finding] = []
        asked: set[str] = set()
        for start in range(0, len(waiting), _AT_ONCE):
            chunk = waiting[start : start + _AT_ONCE]
            self._progress(f"repairing {len(waiting) - start}")
            for provider in {f.repair.provider for f in chunk if isinstance(f.repair, Reclaim)}:
                if provider not in asked:
                    asked.add(provider)
                    await self._checker.ask_again(provider)
            now = {each.identity: each for each in await self._checker.look()}
            for finding in chunk:
                fresh = now.get(finding.identity)
                try:
                    results[finding.identity] = await self._repaired(finding, fresh)
                except _Again as e:
                    again.append(finding)
                    if last:
                        refused = Repaired(finding, Outcome.REFUSED, str(e))
                        results[finding.identity] = refused
        return again

    async def _repaired(self, finding: Finding, fresh: Finding | None) -> Repaired:
        if fresh is None:
            return Repaired(finding, Outcome.NOT_NEEDED)
        if fresh.repair is None:
            return Repaired(finding, Outcome.REFUSED, fresh.left)
        try:
            done = await self._do(fresh)
        except _Refused as e:
            return Repaired(finding, Outcome.REFUSED, str(e))
        except Locked as e:
            return Repaired(finding, Outcome.REFUSED, str(e))
        except Conflict as e:
            raise _Again(str(e)) from e
        except IllegalTransition as e:
            return Repaired(finding, Outcome.REFUSED, str(e))
        return Repaired(finding, Outcome.DONE if done else Outcome.NOT_NEEDED)

    async def _do(self, finding: Finding) -> bool:
        """False if it turned out not to be needed."""
        now, repair = self._clock.seconds(), finding.repair
        match repair:
            case Remove():
                await self._remove(repair)
            case Free():
                await self._free(repair)
            case Delete():
                change = self._store.change()
                node = repair.node
                change.update_node(node, _deleting(node, now))
                await change.commit()
            case Deregister():
                await self._deregister(repair.nodes)
            case ResetRequest():
                await self._reset(repair, now)
            case EndRequest():
                await self._end(repair, now)
            case ForgetDecliners():
                change = self._store.change()
                after = attrs.evolve(repair.request, declined_by=())
                change.update_request(repair.request, after)
                await change.commit()
            case FailImage():
                await self._fail_image(repair, now)
            case Reclaim():
                return await self._reclaim(repair)
        return True

    # -- nodes and requests --------------------------------------------------

    async def _free(self, repair: Free) -> None:
        change = self._store.change()
        change.update_node(repair.node, _in_stock(repair.node))
        _require(change, repair.request)
        await change.commit()

    async def _reset(self, repair: ResetRequest, now: float) -> None:
        change = self._store.change()
        for node in repair.free:
            change.update_node(node, _in_stock(node))
        for node in repair.doomed:
            change.update_node(node, attrs.evolve(_deleting(node, now), allocated_to=None))
        request = repair.request
        change.update_request(request, request.in_state(RequestState.REQUESTED, now, nodes=()))
        await change.commit()

    async def _end(self, repair: EndRequest, now: float) -> None:
        change = self._store.change()
        for node in repair.free:
            change.update_node(node, _in_stock(node))
        request = repair.request
        if repair.remove:
            change.remove_request(request)
        else:
            change.update_request(request, request.in_state(RequestState.FAILED, now, nodes=()))
        await change.commit()

    async def _deregister(self, nodes: Sequence[Node]) -> None:
        """Many at a time; where one of them is in the way, one by one."""
        held: list[str] = []
        moved: Conflict | None = None
        for start in range(0, len(nodes), _AT_ONCE):
            batch = nodes[start : start + _AT_ONCE]
            try:
                await self._remove_nodes(batch)
            except Conflict:
                for node in batch:
                    try:
                        await self._remove_nodes([node])
                    except Locked:
                        held.append(node.id)
                    except Conflict as e:
                        moved = e
        if held:
            raise _Refused(f"somebody has taken node {', '.join(held)} meanwhile")
        if moved is not None:
            raise moved

    async def _remove_nodes(self, nodes: Sequence[Node]) -> None:
        change = self._store.change()
        for node in nodes:
            change.remove_node(node)
        await change.commit()

    # -- other znodes --------------------------------------------------------

    async def _remove(self, repair: Remove) -> None:
        txn = self._store.client.transaction()
        for path, version in repair.paths:
            txn.delete(path, version)
        try:
            await txn.commit()
        except TransactionFailed as e:
            where = repair.paths[e.index][0]
            if isinstance(e.error, zke.NotEmptyError):
                raise _Again(f"there is something new below {where}") from e
            raise _Again(f"{where} is no longer what it was") from e
        except connection_errors as e:
            raise Uncertain(str(e) or type(e).__name__) from e

    async def _fail_image(self, repair: FailImage, now: float) -> None:
        """Its lock is free if its directory can be removed and made again."""
        record = repair.record
        if isinstance(record, ImageBuild):
            data = encode_image_build(attrs.evolve(record, state=ImageState.FAILED, state_time=now))
        else:
            data = encode_image_upload(
                attrs.evolve(record, state=ImageState.FAILED, state_time=now)
            )
        txn = self._store.client.transaction()
        if repair.has_lock:
            txn.delete(repair.lock)
            txn.create(repair.lock)
        else:
            txn.create(repair.lock)
            txn.delete(repair.lock)
        txn.set(repair.path, data, record.version)
        try:
            await txn.commit()
        except TransactionFailed as e:
            if isinstance(e.error, zke.NotEmptyError):
                raise _Refused("a builder has just taken its lock") from e
            raise _Again("it is no longer what it was") from e
        except connection_errors as e:
            raise Uncertain(str(e) or type(e).__name__) from e

    # -- clouds --------------------------------------------------------------

    async def _reclaim(self, repair: Reclaim) -> bool:
        assert self._asker is not None
        try:
            return await self._asker.remove(repair.provider, repair.resource)
        except CancelledError:
            raise
        except Exception as e:
            raise _Refused(f"the cloud refuses: {e or type(e).__name__}") from e


def _in_stock(node: Node) -> Node:
    return attrs.evolve(node, allocated_to=None, tenant_name=None, requestor=None)


def _deleting(node: Node, now: float) -> Node:
    return node.in_state(NodeState.DELETING, now)


def _require(change: Change, request: NodeRequest | None) -> None:
    """Let the change fail if the request was written since."""
    if request is not None:
        path, version = paths.request(request.id), request.version
        change.also("request", request.id, lambda txn: txn.check(path, version))
