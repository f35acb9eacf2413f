"""The adapter of the cloud in memory: for tests, and the smallest driver there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from nodepool_tx.config.cloud import CloudLabel
from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.cloud.interface import (
    ImageInCloud,
    ImageUploadOrder,
    Instance,
    Order,
    Resource,
)
from nodepool_tx.providers.cloud.memory_cloud import MemoryCloud, Timing, seconds_of
from nodepool_tx.resources import Amounts

__all__ = ["MemoryAdapter", "MemoryCloud", "Timing"]

T = TypeVar("T")


class MemoryAdapter:
    """An account in a :class:`MemoryCloud`."""

    def __init__(self, cloud: MemoryCloud, poll_interval: float = 5.0) -> None:
        self.poll_interval = poll_interval
        self._cloud = cloud
        self._in_flight: dict[Deferred[None], IDelayedCall | None] = {}

    def start(self) -> None:
        """There is nothing to connect to."""

    async def stop(self) -> None:
        for answer in tuple(self._in_flight):
            answer.errback(CloudError("the connection was closed"))

    async def create(self, order: Order) -> str:
        return await self._call("create", lambda: self._cloud.create(order))

    async def finish(self, order: Order, instance: Instance) -> Instance | None:
        return await self._call("finish", lambda: self._cloud.finish(order, instance))

    async def delete(self, external_id: str) -> None:
        await self._call("delete", lambda: self._cloud.delete(external_id))

    async def list_instances(self) -> Sequence[Instance]:
        return await self._call("list_instances", self._cloud.listing)

    async def console(self, external_id: str) -> str | None:
        def read() -> str:
            if external_id not in self._cloud.servers:
                raise Gone(f"there is no server {external_id}")
            return f"{external_id} login: "

        return await self._call("console", read)

    async def quota(self) -> Amounts:
        return await self._call("quota", lambda: dict(self._cloud.quota))

    async def needs(self, label: CloudLabel) -> Amounts:
        return await self._call("needs", lambda: self._cloud.needs(label))

    async def zones(self) -> Sequence[str]:
        return await self._call("zones", lambda: self._cloud.zones)

    async def image_ready(self, label: CloudLabel) -> bool:
        image = label.image
        return await self._call(
            "image_ready", lambda: image is None or image.name not in self._cloud.missing_images
        )

    async def list_resources(self) -> Sequence[Resource]:
        return await self._call("list_resources", self._cloud.resources)

    async def delete_resource(self, resource: Resource) -> None:
        await self._call("delete_resource", lambda: self._cloud.delete_resource(resource))

    async def upload_image(self, order: ImageUploadOrder) -> str:
        return await self._call("upload_image", lambda: self._cloud.upload_image(order))

    async def list_images(self) -> Sequence[ImageInCloud]:
        return await self._call("list_images", self._cloud.built_images)

    async def delete_image(self, external_id: str) -> None:
        await self._call("delete_image", lambda: self._cloud.delete_image(external_id))

    async def _call(self, method: str, work: Callable[[], T]) -> T:
        """Do ``work`` in the cloud, as the test's script has it, and answer later."""
        script = self._cloud.script(method)
        if script is None:
            result = work()
            await self._answer(seconds_of(self._cloud.timing.answer))
            return result
        if script.done:
            work()
        if script.error is None:
            await self._answer(None)
        await self._answer(seconds_of(self._cloud.timing.answer))
        raise script.error or CloudError("there was no answer")

    async def _answer(self, seconds: float | None) -> None:
        """Wait so long; None stands for ever."""
        if seconds == 0:
            return
        answer: Deferred[None] = Deferred()
        self._in_flight[answer] = (
            None if seconds is None else self._cloud.clock.callLater(seconds, answer.callback, None)
        )
        try:
            await answer
        finally:
            timer = self._in_flight.pop(answer)
            if timer is not None and timer.active():
                timer.cancel()
