"""Our own requests for backing nodes, by the records that they are for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nodepool_tx.model import NodeRequest
from nodepool_tx.providers.metastatic.backing import owner_of
from nodepool_tx.providers.metastatic.lane import BACKING
from nodepool_tx.store.requests import RequestChange, RequestTable

__all__ = ["AskedFor"]


class AskedFor:
    """Follows the requests of one provider.

    Requests that Nodepool 11 has made in the provider's name say nothing of
    records, and are left alone.

    :param changed: called when one of them is something else.
    """

    def __init__(self, requests: RequestTable, provider: str, changed: Callable[[], None]) -> None:
        self._requests = requests
        self._owner = owner_of(provider)
        self._changed = changed
        self._by_backing: dict[str, str] = {}
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        self._unsubscribe = self._requests.subscribe(self._follow)
        for request in self._requests:
            self._index(request)

    def stop(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def get(self, backing_id: str) -> NodeRequest | None:
        """The request for the node of a record."""
        return self._requests.get(self._by_backing.get(backing_id, ""))

    def all(self) -> tuple[tuple[str, NodeRequest], ...]:
        """Every request, with the id of the record it is for."""
        found = ((id, self._requests.get(request)) for id, request in self._by_backing.items())
        return tuple((id, request) for id, request in found if request is not None)

    def _backing_of(self, request: NodeRequest | None) -> str | None:
        if request is None or request.requestor != self._owner:
            return None
        data = request.requestor_data
        id = data.get(BACKING) if isinstance(data, Mapping) else None
        return id if isinstance(id, str) else None

    def _index(self, request: NodeRequest) -> None:
        id = self._backing_of(request)
        if id is not None:
            self._by_backing[id] = request.id

    def _follow(self, change: RequestChange) -> None:
        id = self._backing_of(change.after or change.before)
        if id is None:
            return
        if change.after is not None:
            self._by_backing[id] = change.request_id
        elif self._by_backing.get(id) == change.request_id:
            del self._by_backing[id]
        self._changed()
