"""Making room for requests that wait: stock that nobody here waits for goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.accounts import Shortage
from nodepool_tx.pools.interface import NodeMaker, PoolSettings
from nodepool_tx.pools.room import to_remove
from nodepool_tx.store.nodes import NodeChange, NodeTable
from nodepool_tx.store.usage import Account, accounts_of, resources_of

__all__ = ["Eviction"]

#: Seconds after which a node that was to go and has not is in stock again.
GIVE_UP_AFTER = 60.0


class Eviction:
    """Has nodes removed from the stock of one pool.

    :param wanted: tells of a label whether a request that waits here wants it.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        nodes: NodeTable,
        settings: PoolSettings,
        maker: NodeMaker,
        wanted: Callable[[str], bool],
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._settings = settings
        self._maker = maker
        self._wanted = wanted
        #: What was asked to go and is still in stock; reserved.
        self._going: dict[str, tuple[Node, IDelayedCall]] = {}
        self._unsubscribe: Callable[[], None] | None = None
        #: What could go, as long as :meth:`forget_stock` is not called.
        self._stock: list[Node] | None = None

    def make_room(
        self, shortages: Sequence[Shortage], instead_of: Collection[Node] | None = None
    ) -> None:
        """Remove what is in the way, unless what leaves already is enough.

        :param instead_of: what a request that has lost its patience would use
            of the stock: anything else may go for it, though others wait for
            nodes like that.  They cannot use them either, or they would have.
        """
        if any(short.kept for short in shortages):
            # That is for an older request to ask for.
            return
        lacking = {
            (short.account, short.resource): short.missing
            - self._leaving(short.account, short.resource)
            for short in shortages
        }
        if instead_of is None:
            candidates = self._candidates()
        else:
            spared = {node.id for node in instead_of}
            candidates = [node for node in self._free(lambda label: False) if node.id not in spared]
        nodes = to_remove(lacking, candidates)
        if not nodes:
            return
        self._log.info(
            "{provider}/{pool}: {node_ids} in stock make room for a request that {reason}",
            provider=self._settings.provider,
            pool=self._settings.name,
            node_ids=", ".join(node.id for node in nodes),
            reason="; ".join(str(short) for short in shortages),
        )
        self._reserve(nodes)
        self._maker.make_room(nodes)

    @property
    def possible(self) -> bool:
        """There is something in stock that could go."""
        return bool(self._candidates())

    def forget_stock(self) -> None:
        """The stock may have changed."""
        self._stock = None

    def _leaving(self, account: Account, resource: str) -> float:
        """How much is on its way out."""
        leaving = self._nodes.usage.leaving(account).get(resource, 0)
        return leaving + sum(
            resources_of(node).get(resource, 0)
            for node, _ in self._going.values()
            if account in accounts_of(node)
        )

    def _candidates(self) -> list[Node]:
        if self._stock is None:
            self._stock = self._free(self._wanted)
        return self._stock

    def _free(self, wanted: Callable[[str], bool]) -> list[Node]:
        """What is free and has no label that is wanted."""
        settings, found = self._settings, {}
        for label in sorted(settings.labels):
            if not wanted(label):
                for node in self._nodes.free_nodes(
                    settings.provider, settings.name, label, sys.maxsize
                ):
                    if not any(wanted(other) for other in node.type):
                        found[node.id] = node
        return list(found.values())

    def _reserve(self, nodes: Sequence[Node]) -> None:
        self._nodes.reserve([node.id for node in nodes])
        for node in nodes:
            timer = self._clock.callLater(GIVE_UP_AFTER, self._drop, node.id)
            self._going[node.id] = (node, timer)
        if self._unsubscribe is None:
            self._unsubscribe = self._nodes.subscribe(self._on_node)
        self.forget_stock()

    def _on_node(self, change: NodeChange) -> None:
        if change.node_id in self._going and (
            change.after is None or change.after.state is not NodeState.READY
        ):
            self._drop(change.node_id)

    def _drop(self, node_id: str) -> None:
        _, timer = self._going.pop(node_id)
        if timer.active():
            timer.cancel()
        if not self._going and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._nodes.unreserve([node_id])

    def stop(self) -> None:
        """Have nothing more to do with what was asked to go."""
        for node_id in tuple(self._going):
            self._drop(node_id)
