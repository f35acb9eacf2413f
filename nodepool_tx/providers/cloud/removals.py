"""Removing nodes: the server first, until it is gone, then the record."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import attrs
from kazoo.exceptions import AuthFailedError, ConnectionClosedError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.holding import Hold, NotHeld
from nodepool_tx.providers.cloud.launch import servers_of
from nodepool_tx.work import Tracker

__all__ = ["Removals"]

#: Nodes whose removal is begun at the same time; those that only wait for their
#: server to be gone do not count.
BEGINNING_AT_ONCE = 50

#: In these a server may have been made whose id was never written down.
_MAYBE_MORE = frozenset({NodeState.BUILDING, NodeState.DELETING})


@attrs.define(eq=False)
class _Removal:
    node_id: str
    since: float
    #: Why it is to be removed, for the record as it is under the lock; None if
    #: it is not any more.
    why: Callable[[Node], str | None]
    reserved: bool = False
    beginning: bool = False
    external_id: str | None = None


class Removals:
    """The nodes that are being removed, and those in line, the oldest first.

    :param ended: called with a node that is removed, or left as it is, and
        whether that was a mistake of ours.
    """

    _log = Logger()

    def __init__(self, account: Account, ended: Callable[[str, bool], None]) -> None:
        self._account = account
        self._ended = ended
        self._tracker = Tracker(account.clock)
        self._under_way: dict[str, _Removal] = {}
        self._line: list[tuple[float, str]] = []
        self._waiting: dict[str, _Removal] = {}
        self._beginning = 0
        self._next: IDelayedCall | None = None
        self._open = True

    def __len__(self) -> int:
        return len(self._under_way) + len(self._waiting)

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._under_way or node_id in self._waiting

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._waiting)

    def tasks(self) -> tuple[tuple[str, float], ...]:
        """What is under way and since when."""
        return tuple(
            (f"deleting node {each.node_id}", each.since) for each in self._under_way.values()
        )

    def node_of(self, external_id: str) -> str | None:
        """The node whose server is being deleted, if it is one's."""
        for each in self._under_way.values():
            if each.external_id == external_id:
                return each.node_id
        return None

    def put(self, node: Node, why: Callable[[Node], str | None], *, free: bool = False) -> None:
        """Remove a node when it is its turn, unless it is in line already.

        :param free: it could be given to somebody: see to it that it is not.
        """
        if node.id in self or not self._open:
            return
        removal = _Removal(node.id, self._account.clock.seconds(), why)
        nodes = self._account.store.nodes
        if free and not nodes.is_reserved(node.id):
            removal.reserved = True
            nodes.reserve([node.id])
        self._waiting[node.id] = removal
        heapq.heappush(self._line, (node.state_time, node.id))
        if self._next is None:
            # Not at once, so that the oldest of all that come now is the first.
            self._next = self._account.clock.callLater(0, self._pump)

    def close(self) -> None:
        """Begin nothing more, and forget who is in line."""
        self._open = False
        self._line = []
        waiting, self._waiting = self._waiting, {}
        for removal in waiting.values():
            self._end(removal)
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def open(self) -> None:
        self._open = True

    def stop(self) -> Deferred[None]:
        """End everything as it is; fires when nothing is under way."""
        self.close()
        self._tracker.cancel()
        return self._tracker.idle()

    def idle(self) -> Deferred[None]:
        """Fires when nothing is under way."""
        return self._tracker.idle()

    # -- one removal -----------------------------------------------------

    def _pump(self) -> None:
        self._next = None
        while self._line and self._beginning < BEGINNING_AT_ONCE:
            _, node_id = heapq.heappop(self._line)
            removal = self._under_way[node_id] = self._waiting.pop(node_id)
            removal.beginning = True
            self._beginning += 1
            self._tracker.run(f"deleting node {node_id}", self._run(removal))

    def _begun(self, removal: _Removal) -> None:
        if removal.beginning:
            removal.beginning = False
            self._beginning -= 1
            if self._line and self._next is None:
                self._next = self._account.clock.callLater(0, self._pump)

    async def _run(self, removal: _Removal) -> None:
        hold = Hold(self._account.store, removal.node_id, self._account.identifier(None))
        crashed = False
        try:
            node = await hold.take()
            reason = removal.why(node) if node is not None else None
            if node is not None and reason is not None:
                await self._remove(removal, hold, reason)
        except NotHeld as e:
            self._log.info(
                "node {node_id} of {provider} is left to whoever has it: {reason}",
                node_id=removal.node_id,
                provider=self._account.name,
                reason=str(e),
            )
        except (ConnectionClosedError, AuthFailedError):
            # There will be no session any more: whoever is next goes on.
            pass
        except CancelledError:
            raise
        except Exception:
            crashed = True
            raise
        finally:
            try:
                await hold.release()
            finally:
                self._begun(removal)
                del self._under_way[removal.node_id]
                self._end(removal, crashed=crashed)

    def _end(self, removal: _Removal, *, crashed: bool = False) -> None:
        if removal.reserved:
            self._account.store.nodes.unreserve([removal.node_id])
        self._ended(removal.node_id, crashed)

    async def _remove(self, removal: _Removal, hold: Hold, reason: str) -> None:
        account, before = self._account, hold.node
        self._log.info(
            "deleting node {node_id} of {provider}: {reason}",
            node_id=before.id,
            provider=account.name,
            pool=before.pool,
            external_id=before.external_id,
            reason=reason,
        )
        now = account.clock.seconds()
        await hold.write(lambda node: _deleting(node, now))
        self._begun(removal)
        servers = await self._servers(hold.node, before.state)
        for external_id in servers:
            removal.external_id = external_id
            # Whoever holds the node meanwhile: its server is to go.
            await account.deletions.until_gone(external_id, before.id)
        await hold.remove()
        if servers and before.state is not NodeState.ABORTED:
            account.quota.freed()
        self._log.info(
            "node {node_id} of {provider} is gone", node_id=before.id, provider=account.name
        )

    async def _servers(self, node: Node, before: NodeState) -> tuple[str, ...]:
        if node.external_id is not None:
            return (str(node.external_id),)
        if before not in _MAYBE_MORE:
            return ()
        found = await servers_of(self._account, node.id)
        return tuple(instance.external_id for instance in found)


def _deleting(node: Node, now: float) -> Node:
    """On its way out; a record that says that its server is gone stays as it is."""
    if node.state in (NodeState.DELETING, NodeState.DELETED):
        return node
    return node.in_state(NodeState.DELETING, now)
