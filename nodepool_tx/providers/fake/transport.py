"""The way to a simulated cloud: what HTTP would carry, without HTTP."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.fake.api import ENDPOINTS, Call, Handler
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.compute_api import ComputeService
from nodepool_tx.providers.fake.image_api import ImageService, store_file
from nodepool_tx.providers.fake.network_api import NetworkService
from nodepool_tx.providers.fake.rules import Refused
from nodepool_tx.providers.fake.troubles import Troubles
from nodepool_tx.providers.fake.volume_api import VolumeService
from nodepool_tx.providers.openstack.links import address_of
from nodepool_tx.providers.openstack.transport import Answer, Transport

__all__ = ["SimulatedTransport"]


class SimulatedTransport:
    """A session with a simulated cloud.

    A call takes effect halfway through the time it takes, so that one which is
    cancelled may have had its effect or not.

    :param cloud_name: what ``cloud`` in the provider's configuration says.
    :ivar troubles: what goes wrong with calls, by chance and by order of a test.
    :ivar calls: how many there were, by service, method and kind of thing.
    """

    def __init__(
        self,
        cloud: SimulatedOpenStack,
        cloud_name: str | None = None,
        region: str | None = None,
    ) -> None:
        self._cloud = cloud
        self._clock: IReactorTime = cloud.clock
        self._cloud_name = cloud_name
        self._region = region
        self._services: Mapping[str, Handler] = {
            "compute": ComputeService(cloud),
            "network": NetworkService(cloud),
            "image": ImageService(cloud),
            "block-storage": VolumeService(cloud),
        }
        self.troubles = Troubles(cloud)
        self._waiting: set[Deferred[None]] = set()
        self._stopped = False
        self.calls: dict[tuple[str, str, str], int] = {}

    @property
    def cloud(self) -> str | None:
        """See :attr:`Transport.cloud`."""
        return self._cloud_name

    @property
    def region(self) -> str | None:
        """See :attr:`Transport.region`."""
        return self._region

    def start(self) -> None:
        """Make ready; nothing is asked."""
        self._stopped = False

    async def stop(self) -> None:
        """Give up what is in flight."""
        self._stopped = True
        for waiting in list(self._waiting):
            waiting.cancel()

    async def request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        version: str | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """See :meth:`Transport.request`."""
        if service not in self._services:
            raise Gone(f"the simulated cloud has no service {service}")
        call = _call(service, method, path, query, json, file, version)
        counted = (service, method, call.path[0] if call.path else "")
        self.calls[counted] = self.calls.get(counted, 0) + 1
        what = f"{method} {path}"
        delay = self._cloud.simulation.api_delay
        if self.troubles.silent or delay > timeout:
            await self._wait(timeout)
            raise CloudError(f"{what}: no answer within {timeout:g} seconds")
        await self._wait(delay / 2)
        trouble = self.troubles.meet(service, call)
        if trouble is None or trouble.takes_effect:
            answer = await self._answer(service, call)
        await self._wait(delay / 2)
        if trouble is None:
            return answer
        if trouble.answer is None:
            raise CloudError(f"{what}: the simulated connection broke")
        return trouble.answer

    async def _wait(self, seconds: float) -> None:
        """Let time pass, unless this is stopped."""
        if self._stopped:
            raise CloudError("the connection to the simulated cloud is closed")
        if seconds > 0:
            await self._pause(seconds)

    async def _pause(self, seconds: float = 0.0) -> None:
        done: Deferred[None] = Deferred()
        timer = self._clock.callLater(seconds, done.callback, None)
        self._waiting.add(done)
        try:
            await done
        except CancelledError:
            if self._stopped:
                raise CloudError("given up, as the simulated cloud is used no more") from None
            raise
        finally:
            self._waiting.discard(done)
            if timer.active():
                timer.cancel()

    async def _answer(self, service: str, call: Call) -> Answer:
        if service == "image" and call.method == "PUT" and call.path[2:] == ("file",):
            if call.file is None:
                return ImageService.refuse(Refused(400, "there is no content"))
            return await store_file(self._cloud, call.path[1], call.file, self._pause)
        return self._services[service](call)


def _call(
    service: str,
    method: str,
    path: str,
    query: Mapping[str, str] | None,
    json: Any,
    file: Path | None,
    version: str | None,
) -> Call:
    endpoint = ENDPOINTS[service]
    where = urlsplit(address_of(endpoint, path, query))
    below = where.path.removeprefix(urlsplit(endpoint).path)
    minor = int(version.partition(".")[2]) if version else 1
    return Call(
        method=method,
        path=tuple(unquote(part) for part in below.split("/") if part),
        query=dict(parse_qsl(where.query, keep_blank_values=True)),
        # Only what JSON can carry gets there, and nothing is shared.
        body=None if json is None else json_format.loads(json_format.dumps(json)),
        file=file,
        version=minor,
    )


_: type[Transport] = SimulatedTransport
