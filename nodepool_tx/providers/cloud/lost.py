"""Nodes in stock whose servers are gone, though nobody here has deleted them.

Somebody may delete servers behind our back; a simulated cloud is empty when its
process begins again.  Nobody should be given such a node.  A server is missing
when two sweeps in a row have not found it, though its node was in stock before
either of them asked, and a last look of its own confirms it.  What is promised,
locked, in use or held is somebody's, who will find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from twisted.logger import Logger

from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.interface import Instance, Resource
from nodepool_tx.providers.cloud.leaks import INSTANCE

__all__ = ["LostServers"]

#: Servers by the node that they belong to.
Servers = Mapping[str, str]


class LostServers:
    """Finds the nodes of one provider that are in stock without a server.

    :param shared: other launchers see the same cloud; else only those of their
        nodes are looked for that nobody sees.
    :param remove: removes a node, if it is still for the reason that is given.
    """

    _log = Logger()

    def __init__(
        self,
        account: Account,
        registry: PoolRegistry,
        shared: bool,
        remove: Callable[[Node, Callable[[Node], str | None]], None],
    ) -> None:
        self._account = account
        self._registry = registry
        self._shared = shared
        self._remove = remove
        #: What the sweep before did not find.
        self._missing: Servers = {}

    def in_stock(self) -> Servers:
        """What a listing that begins now is to show."""
        nodes, elsewhere = self._account.store.nodes, self._elsewhere()
        return {
            node.id: str(node.external_id)
            for node in nodes.of_provider(self._account.name)
            if node.external_id is not None
            and nodes.is_free(node.id)
            and node.launcher not in elsewhere
        }

    def _elsewhere(self) -> set[str]:
        """Launchers that are online, and have a cloud of their own."""
        if self._shared:
            return set()
        online = {pool.id for pool in self._account.store.components.pools()}
        return online - self._registry.ids()

    async def compare(
        self, before: Servers, found: Iterable[Resource], go_on: Callable[[], bool]
    ) -> None:
        """See which of the servers were not found, and remove their nodes the second time.

        :param before: what :meth:`in_stock` was when the listing began.
        :param go_on: asked before anything is removed.
        :raises nodepool_tx.providers.cloud.errors.CloudError: the last look failed.
        """
        there = {each.external_id for each in found if each.kind == INSTANCE}
        missing = self._still_in_stock(before, there)
        again = {
            node_id: server
            for node_id, server in missing.items()
            if self._missing.get(node_id) == server
        }
        self._missing = missing
        if again:
            there = {each.external_id for each in await self._list()}
            again = self._still_in_stock(again, there)
        for node_id, server in again.items():
            node = self._account.store.nodes.get(node_id)
            if node is not None and go_on():
                self._log.warn(
                    "server {external_id} of node {node_id} of {provider} is gone, and nobody "
                    "here has deleted it: the node, which was in stock, is removed",
                    external_id=server,
                    node_id=node_id,
                    provider=self._account.name,
                    pool=node.pool,
                )
                self._remove(node, _without(server))

    async def _list(self) -> Sequence[Instance]:
        account = self._account
        return await account.calls.call("list_instances", account.adapter.list_instances)

    def forget(self) -> None:
        """What was seen before is of no use."""
        self._missing = {}

    def _still_in_stock(self, servers: Servers, there: Iterable[str]) -> dict[str, str]:
        stock = self.in_stock()
        return {
            node_id: server
            for node_id, server in servers.items()
            if server not in there and stock.get(node_id) == server
        }


def _without(server: str) -> Callable[[Node], str | None]:
    """Why a node is to go, as long as nobody has it and it has no other server."""

    def why(node: Node) -> str | None:
        in_stock = node.state is NodeState.READY and not node.allocated_to
        return "its server is gone" if in_stock and str(node.external_id) == server else None

    return why
