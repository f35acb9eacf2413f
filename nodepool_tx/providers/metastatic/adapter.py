"""The adapter: servers are slots of backing nodes, known by their nodes' ids."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from nodepool_tx.config.cloud import CloudLabel
from nodepool_tx.config.metastatic import MetastaticLabel, MetastaticProvider
from nodepool_tx.providers.cloud.errors import Gone, InvalidConfiguration
from nodepool_tx.providers.cloud.interface import (
    CloudAdapter,
    ImageUploadOrder,
    Instance,
    Order,
    Resource,
)
from nodepool_tx.providers.metastatic.backing import Slot
from nodepool_tx.providers.metastatic.cloud import Member, MetastaticCloud
from nodepool_tx.providers.metastatic.instances import NEEDS
from nodepool_tx.resources import Amounts

__all__ = ["MetastaticAdapter"]

T = TypeVar("T")

INSTANCE = "instance"


class MetastaticAdapter:
    """The cloud of a metastatic provider, for one service of it.

    A listing asks nobody, so it may be had often.
    """

    def __init__(self, config: MetastaticProvider, cloud: MetastaticCloud) -> None:
        self.poll_interval = 0.1
        # Where nothing is configured the provider is only there to be emptied.
        self._member = Member(config, gives_up=not config.pools)
        self._cloud = cloud
        self._in_flight: dict[Deferred[Any], None] = {}

    def start(self) -> None:
        self._cloud.join(self._member)

    async def stop(self) -> None:
        for call in tuple(self._in_flight):
            call.cancel()
        await self._cloud.leave(self._member)

    def give_up(self) -> None:
        """The provider is given up: keep no backing node longer than it is used."""
        self._member.gives_up = True
        self._cloud.wake()

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        call = Deferred.fromCoroutine(work)
        self._in_flight[call] = None
        try:
            return await call
        finally:
            del self._in_flight[call]

    # -- servers ---------------------------------------------------------

    async def create(self, order: Order) -> str:
        label = order.label
        if not isinstance(label, MetastaticLabel) or not label.backing_label:
            raise InvalidConfiguration(f"label {label.name} has no backing-label")
        await self._call(self._cloud.lane.take(label, Slot(order.node_id, dict(order.metadata))))
        return order.node_id

    async def finish(self, order: Order, instance: Instance) -> Instance | None:
        return instance

    async def delete(self, external_id: str) -> None:
        if not await self._call(self._cloud.lane.give_up(external_id)):
            raise Gone(f"node {external_id} has no slot")

    async def list_instances(self) -> Sequence[Instance]:
        await self._call(self._cloud.ready())
        return self._cloud.instances()

    async def console(self, external_id: str) -> str | None:
        return None

    async def boot_failed(self, external_id: str) -> None:
        """A node cannot be reached: neither can others on its backing node."""
        await self._call(self._cloud.lane.fail(external_id))

    # -- what may be had -------------------------------------------------

    async def quota(self) -> Amounts:
        return {}

    async def needs(self, label: CloudLabel) -> Amounts:
        return NEEDS

    async def zones(self) -> Sequence[str]:
        return ()

    async def image_ready(self, label: CloudLabel) -> bool:
        return True

    # -- leftovers -------------------------------------------------------

    async def list_resources(self) -> Sequence[Resource]:
        """Asked for in each sweep, which is the time to look at everything here, too."""
        instances = await self.list_instances()
        self._cloud.wake()
        return [
            Resource(kind=INSTANCE, external_id=i.external_id, metadata=i.metadata)
            for i in instances
        ]

    async def delete_resource(self, resource: Resource) -> None:
        await self.delete(resource.external_id)

    # -- images ----------------------------------------------------------

    async def upload_image(self, order: ImageUploadOrder) -> str:
        raise InvalidConfiguration("a metastatic provider has no images")

    async def delete_image(self, external_id: str) -> None:
        raise Gone("a metastatic provider has no images")


def _is_an_adapter(adapter: MetastaticAdapter) -> CloudAdapter:
    return adapter
