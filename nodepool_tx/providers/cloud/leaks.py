"""What was left over in a cloud: found by what it carries, and removed.

A thing is leaked when it says that it was made for a node or an upload of this
provider, and there is none such; or when it is a server of a node that has
another one.  It must be seen so in two sweeps in a row, as what is just being
made or deleted looks the same for a moment.  A thing of another provider, or
one that does not say whose it is, is never touched; only a thing without a
provider may be an orphan, where the driver can tell that it was ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from twisted.logger import Logger

from nodepool_tx.events import Events, LeakRemoved
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.cloud.interface import (
    BUILD_ID,
    NODE_ID,
    PROVIDER_NAME,
    UPLOAD_ID,
    CloudAdapter,
    Resource,
)
from nodepool_tx.providers.cloud.pacing import Calls

__all__ = ["INSTANCE", "Known", "Leaks", "why_leaked"]

#: The kind of a server among the resources.
INSTANCE = "instance"

#: A node in one of these may have a server whose id is not written: one that is
#: being made, or one that whoever removes the node has found and is deleting.
_UNWRITTEN = (NodeState.INIT, NodeState.BUILDING, NodeState.DELETING)


class Known(Protocol):
    """What is in use."""

    @property
    def current(self) -> bool:
        """All of this is known; else nothing can be said to be leaked."""

    def node(self, node_id: str) -> Node | None:
        """The node of that id."""

    def has_upload(self, build_id: str, upload_id: str) -> bool:
        """Whether there is such an upload to this provider."""


def why_leaked(resource: Resource, provider: str, known: Known) -> str | None:
    """Why nobody uses a thing, in words; None if somebody does, or may."""
    metadata = resource.metadata
    owner = metadata.get(PROVIDER_NAME)
    if owner is None:
        return "nothing uses it" if resource.orphan else None
    if owner != provider:
        return None
    if resource.orphan:
        return "nothing uses it"
    node_id = metadata.get(NODE_ID)
    if node_id is not None:
        return _why_not_of(known.node(node_id), node_id, resource, provider)
    build_id, upload_id = metadata.get(BUILD_ID), metadata.get(UPLOAD_ID)
    if build_id is None or upload_id is None or known.has_upload(build_id, upload_id):
        return None
    return f"there is no upload {upload_id} of build {build_id}"


def _why_not_of(node: Node | None, node_id: str, resource: Resource, provider: str) -> str | None:
    if node is None:
        return f"there is no node {node_id}"
    if node.provider != provider:
        return f"node {node_id} is of provider {node.provider}"
    if resource.kind != INSTANCE or str(node.external_id) == resource.external_id:
        return None
    if node.external_id is not None:
        return f"node {node_id} has server {node.external_id}"
    if node.state in _UNWRITTEN:
        return None
    return f"node {node_id} is {node.state.value} and has no server"


class Leaks:
    """Sweeps one provider's account; :meth:`sweep` is one round.

    :ivar removed: how many things were removed so far, by kind.
    :ivar trouble: why the last round could not remove all it wanted to.
    """

    _log = Logger()

    def __init__(
        self,
        provider: str,
        adapter: CloudAdapter,
        calls: Calls,
        known: Known,
        events: Events | None = None,
    ) -> None:
        self._provider = provider
        self._adapter = adapter
        self._calls = calls
        self._known = known
        self._events = events or Events()
        #: What the round before found, by kind and id.
        self._suspects: Mapping[tuple[str, str], Resource] = {}
        self.removed: Counter[str] = Counter()
        self.trouble: str | None = None

    @property
    def suspects(self) -> tuple[Resource, ...]:
        """What the last round found; removed by the next, if still there."""
        return tuple(self._suspects.values())

    async def sweep(self, go_on: Callable[[], bool] = lambda: True) -> Sequence[Resource] | None:
        """Find what is leaked, and remove what the round before found, too.

        Returns all there is in the cloud; None if that was not asked for.

        :param go_on: asked before each removal; False ends the round.
        :raises CloudError: the cloud did not say what there is.
        """
        if not self._known.current:
            self._suspects = {}
            return None
        there = await self._calls.call("list_resources", self._adapter.list_resources)
        found = self._leaked(there)
        again = [resource for key, resource in found.items() if key in self._suspects]
        self._suspects = found
        self.trouble = None
        for resource in again:
            if not go_on():
                break
            await self._remove(resource)
        return there

    def _leaked(self, resources: Iterable[Resource]) -> dict[tuple[str, str], Resource]:
        if not self._known.current:
            return {}
        return {
            (resource.kind, resource.external_id): resource
            for resource in resources
            if why_leaked(resource, self._provider, self._known) is not None
        }

    async def _remove(self, resource: Resource) -> None:
        # Others went first, and that took its time: look again.
        why = why_leaked(resource, self._provider, self._known) if self._known.current else None
        if why is None:
            return
        self._log.warn(
            "provider {provider}: removing {kind} {external_id}, which is left over: {why}",
            provider=self._provider,
            kind=resource.kind,
            external_id=resource.external_id,
            why=why,
        )
        try:
            await self._calls.call(
                "delete_resource", lambda: self._adapter.delete_resource(resource)
            )
        except Gone:
            return
        except CloudError as error:
            self.trouble = f"{resource.kind} {resource.external_id} cannot be removed: {error}"
            self._log.warn(
                "provider {provider}: {trouble}; the next round tries again",
                provider=self._provider,
                trouble=self.trouble,
            )
            return
        self.removed[resource.kind] += 1
        self._events.publish(LeakRemoved(provider=self._provider, kind=resource.kind))
