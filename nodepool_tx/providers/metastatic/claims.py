"""Finding backing nodes of ours that are not in the table, and putting them there.

Nodepool 11 keeps no table: what it knows of its backing nodes is written at the
nodes themselves.  While one of its launchers serves the provider its backing
nodes are its own; when there is none any more, they are taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.logger import Logger

from nodepool_tx.config.metastatic import MetastaticLabel
from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.providers.metastatic.backing import Backing, owner_of
from nodepool_tx.providers.metastatic.standing import our_contender
from nodepool_tx.providers.metastatic.steps import Steps
from nodepool_tx.providers.metastatic.table import Table
from nodepool_tx.providers.metastatic.taking_over import claim_in, part_of, taken_over, with_parts
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.store import Store

__all__ = ["Claims"]

#: Nodes in one of these have their slot for sure.
_SETTLED = (NodeState.READY, NodeState.IN_USE, NodeState.HOLD, NodeState.USED)


class Claims:
    """The nodes that say that they are ours, whoever wrote that.

    :param pools: the names of our own pools of the provider.
    """

    _log = Logger()

    def __init__(
        self,
        store: Store,
        table: Table,
        registry: PoolRegistry,
        provider: str,
        pools: Callable[[], Iterator[str]],
    ) -> None:
        self._store = store
        self._table = table
        self._registry = registry
        self._provider = provider
        self._pools = pools
        self._owner = owner_of(provider)
        self._claiming: dict[str, None] = {}
        #: Nodes whose lock turned out to be another's, and their version then.
        self._refuted: dict[str, int] = {}
        self._unsubscribe: Callable[[], None] | None = None
        #: Whether parts may be missing in the table.
        self._doubtful = True

    def start(self) -> None:
        self._unsubscribe = self._store.nodes.subscribe(self._follow)
        self._claiming = {}
        for node in self._store.nodes:
            self._note(node.id, node)

    def stop(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def knows(self, node_id: str) -> bool:
        return node_id in self._claiming

    def _follow(self, change: NodeChange) -> None:
        self._note(change.node_id, change.after)

    def _note(self, node_id: str, node: Node | None) -> None:
        if node is not None and claim_in(node, self._owner) is not None:
            self._claiming[node_id] = None
        else:
            self._claiming.pop(node_id, None)
            self._refuted.pop(node_id, None)

    # -- what is to be taken over ----------------------------------------

    def doubt(self) -> None:
        """Compare the table with what nodes say of themselves."""
        self._doubtful = True

    def pending(self) -> bool:
        """There is something to be taken over, and nobody else's."""
        if self._doubtful and next(self._incomplete(), None) is None:
            self._doubtful = False
        if next(self._unlisted(), None) is None and not self._doubtful:
            return False
        # What cannot be read may tell of the same nodes.
        return not self._table.unreadable and not self._others_serve()

    def _unlisted(self) -> Iterator[Node]:
        nodes = self._store.nodes
        for node_id in self._claiming:
            node = nodes.get(node_id)
            if (
                node is not None
                and nodes.is_locked(node_id)
                and self._table.of_node(node_id) is None
                and self._refuted.get(node_id) != node.version
            ):
                yield node

    def _incomplete(self) -> Iterator[Backing]:
        """Records without all of the nodes that say they are parts of theirs."""
        parts: dict[str, list[Node]] = {}
        for node in self._store.nodes.of_provider(self._provider):
            part = part_of(node)
            if part is None or node.state not in _SETTLED:
                continue
            if self._table.of_holder(node.id) is None:
                parts.setdefault(part[0], []).append(node)
        for backing_node, nodes in parts.items():
            backing = self._table.of_node(backing_node)
            if backing is not None:
                complete = with_parts(backing, nodes)
                if complete != backing:
                    yield complete

    def _others_serve(self) -> bool:
        """A launcher is online that does not look at the table: one of another program."""
        ours = {self._version(pool) for pool in self._pools()}
        return any(
            pool.provider_name == self._provider and pool.version not in ours
            for pool in self._store.components.pools()
        )

    def _version(self, pool: str) -> str | None:
        shown = self._registry.get(self._provider, pool)
        return shown.version if shown is not None else None

    async def take_over(self, steps: Steps, label: Callable[[str], MetastaticLabel | None]) -> None:
        """Add the records that are missing, and complete those that are not.

        :raises Conflict: somebody else was faster.
        """
        for node in tuple(self._unlisted()):
            contender = await our_contender(self._store.client, node.id, self._owner)
            claim = claim_in(node, self._owner)
            if contender is None or claim is None:
                self._refuted[node.id] = node.version
                continue
            parts = self._store.nodes.of_provider(self._provider)
            now = self._store.clock.seconds()
            backing = taken_over(node, claim, contender, parts, label(claim.label), now)
            await steps.add(backing)
            self._log.info(
                "backing node {backing_node} of {provider} is taken over, with {count} nodes in "
                "{slots} slots",
                backing_node=node.id,
                provider=self._provider,
                count=len(backing.slots) - backing.free,
                slots=len(backing.slots),
            )
        for complete in tuple(self._incomplete()):
            await steps.correct(complete)
