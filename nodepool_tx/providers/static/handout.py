"""The last look before a node is handed out.

A node that fails it must not be tried again at once.  The launcher that looks
after the provider takes it out of service.  One that only stands by may not;
it keeps the node reserved in its own memory until its machine is due for
another try, so that its pools pass it over.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.model import Node
from nodepool_tx.providers.static.desired import Desired, DesiredNode, Identity, Look, key_of
from nodepool_tx.providers.static.hosts import LONGEST_RETRY
from nodepool_tx.providers.static.observed import HostState
from nodepool_tx.providers.static.reconciler import Reconciler
from nodepool_tx.store.nodes import NodeChange, NodeTable
from nodepool_tx.work import Task, Tracker

__all__ = ["HandOut"]


class HandOut:
    """Answers whether nodes are fit to be handed out.

    :param may_act: whether this launcher may take nodes out of service.
    :param withdrawn: why an operator took a machine out of service; "" if
        nobody did.
    """

    _log = Logger()

    def __init__(
        self,
        desired: Desired,
        clock: IReactorTime,
        nodes: NodeTable,
        reconciler: Reconciler,
        may_act: Callable[[], bool],
        withdrawn: Callable[[Identity], str],
    ) -> None:
        self._desired = desired
        self._clock = clock
        self._nodes = nodes
        self._reconciler = reconciler
        self._may_act = may_act
        self._withdrawn = withdrawn
        self._tracker = Tracker(clock)
        self._open = True
        #: Nodes to be passed over until then, and those reserved for that.
        self._shunned: dict[str, float] = {}
        self._kept: dict[str, IDelayedCall] = {}

    def tasks(self) -> tuple[Task, ...]:
        return self._tracker.tasks()

    def open(self) -> None:
        """Pass over nodes that fail from now on."""
        self._open = True

    def close(self) -> Deferred[None]:
        """Pass over nothing any more; fires when no check is under way."""
        self._open = False
        self.release_all()
        return self._tracker.idle()

    def cancel(self) -> None:
        """End the checks under way: their nodes count as unfit."""
        self._tracker.cancel()

    def check(self, node: Node) -> Deferred[bool]:
        """See :meth:`nodepool_tx.pools.interface.NodeSource.check`."""
        host = self._desired.at(key_of(node))
        if host is not None and host.look is Look.NONE and not self._withdrawn(host.identity):
            # It is taken at its word, which takes no time.
            return succeed(True)
        checking = self._tracker.run(f"checking node {node.id}", self._check(node))
        return checking.addCallback(bool)

    # -- checking --------------------------------------------------------

    async def _check(self, node: Node) -> bool:
        host = self._desired.at(key_of(node))
        if host is None:
            await self._unfit(node, "it is not configured", LONGEST_RETRY)
            return False
        alive = not self._withdrawn(host.identity) and await self._is_alive(host)
        # Somebody may have begun to work on it while it was looked at.
        if withdrawn := self._withdrawn(host.identity):
            await self._unfit(node, withdrawn, LONGEST_RETRY)
            return False
        if alive:
            return True
        facts = self._reconciler.hosts.facts(host.identity)
        await self._unfit(node, facts.reason, facts.retry_at - self._clock.seconds())
        return False

    async def _is_alive(self, host: DesiredNode) -> bool:
        hosts = self._reconciler.hosts
        facts = hosts.facts(host.identity)
        if facts.state is HostState.DOWN and self._clock.seconds() < facts.retry_at:
            return False
        return await hosts.alive(host)

    async def _unfit(self, node: Node, reason: str, seconds: float) -> None:
        self._log.info(
            "node {node_id} on {hostname} is not handed out: {reason}",
            node_id=node.id,
            hostname=node.hostname,
            provider=node.provider,
            pool=node.pool,
            reason=reason,
        )
        if self._may_act():
            await self._reconciler.withdraw(node.id, reason)
        elif self._open:
            self._shunned[node.id] = self._clock.seconds() + seconds

    # -- passing over ----------------------------------------------------

    def follow(self, change: NodeChange) -> None:
        """Keep a shunned node from being tried when it is given back."""
        node_id = change.node_id
        if change.after is None:
            self._release(node_id)
        elif node_id in self._shunned and self._nodes.is_free(node_id):
            delay = self._shunned.pop(node_id) - self._clock.seconds()
            if delay > 0:
                self._nodes.reserve([node_id])
                self._kept[node_id] = self._clock.callLater(delay, self._release, node_id)

    def release_all(self) -> None:
        """Let all be tried again."""
        self._shunned = {}
        for node_id in tuple(self._kept):
            self._release(node_id)

    def _release(self, node_id: str) -> None:
        self._shunned.pop(node_id, None)
        timer = self._kept.pop(node_id, None)
        if timer is not None:
            if timer.active():
                timer.cancel()
            self._nodes.unreserve([node_id])
