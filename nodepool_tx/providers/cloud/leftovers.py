"""What is in use of a cloud, as the store knows it; the rest may be leaked."""

from __future__ import annotations

from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.leaks import Known
from nodepool_tx.store.store import Store

__all__ = ["InUse"]


class InUse:
    """The nodes and uploads of one provider."""

    def __init__(self, store: Store, provider: str) -> None:
        self._store = store
        self._provider = provider

    @property
    def current(self) -> bool:
        """See :class:`Known`."""
        return self._store.current

    def node(self, node_id: str) -> Node | None:
        """See :meth:`Known.node`; one that makes no sense may have any server."""
        nodes = self._store.nodes
        if node_id in nodes.unreadable:
            return Node(id=node_id, state=NodeState.BUILDING, provider=self._provider)
        return nodes.get(node_id)

    def has_upload(self, build_id: str, upload_id: str) -> bool:
        """See :meth:`Known.has_upload`."""
        return (build_id, upload_id) in self._store.images.upload_ids(self._provider)


def _is_known(in_use: InUse) -> Known:
    return in_use
