"""Asking for a server."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodepool_tx.config.openstack import OpenStackImage
from nodepool_tx.providers.cloud.errors import CloudError, Gone, InvalidConfiguration
from nodepool_tx.providers.cloud.interface import Order
from nodepool_tx.providers.openstack.calls import Calls, part
from nodepool_tx.providers.openstack.faults import error_for, message_of
from nodepool_tx.providers.openstack.known import Known
from nodepool_tx.providers.openstack.properties import server_metadata
from nodepool_tx.providers.openstack.servers import label_of, order_body
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["Launching"]

_DOING = "make a server"

#: A busy cloud was seen to take 39 seconds.
_PATIENCE = 180.0


class Launching:
    """Makes servers for orders."""

    _log = Logger()

    def __init__(self, calls: Calls, clock: IReactorTime, known: Known, provider_name: str) -> None:
        self._calls = calls
        self._clock = clock
        self._known = known
        self._provider_name = provider_name

    async def create(self, order: Order) -> str:
        """Ask for a server; returns its id.

        When the cloud does not know what it is asked for, it is looked up once
        more: an image may have got a successor of the same name, for instance.
        """
        began = self._clock.seconds()
        body = await self._body(order)
        answer = await self._post(body)
        if answer.status in (400, 404):
            self._known.forget(began)
            again = await self._body(order)
            if again != body:
                self._log.info(
                    "Asking for the server of node {node_id} again, as the cloud has changed",
                    node_id=order.node_id,
                )
                answer = await self._post(again)
        if not 200 <= answer.status < 300:
            raise _error(answer)
        # There is no more than an id in it; the listing has the rest.
        return str(part(_DOING, part(_DOING, answer.body, "server"), "id"))

    async def _post(self, body: dict[str, Any]) -> Answer:
        return await self._calls.transport.request(
            "compute", "POST", "/servers", json=body, timeout=_PATIENCE
        )

    async def _body(self, order: Order) -> dict[str, Any]:
        label = label_of(order)
        flavor = await self._known.flavor(label)
        networks = [await self._known.network(name) for name in label.networks]
        return order_body(
            order,
            flavor_id=flavor.id,
            image_id=order.image_id or await self._image(label.name, label.image),
            network_ids=[network.id for network in networks],
            metadata=server_metadata(self._provider_name, order, label),
        )

    async def _image(self, label: str, image: Any) -> str:
        if not isinstance(image, OpenStackImage) or image.diskimage:
            raise InvalidConfiguration(f"label {label}: there is no image to make servers from")
        if image.image_id:
            return image.image_id
        found = await self._known.image(image)
        if found is None:
            raise InvalidConfiguration(f"label {label}: there is no image {image.external_name}")
        return found


def _error(answer: Answer) -> CloudError:
    error = error_for(_DOING, answer)
    if isinstance(error, Gone):
        # Not the server is gone: there is no such flavor, or no such service.
        said = message_of(answer.body)
        return InvalidConfiguration(str(error)) if said else CloudError(str(error))
    return error
