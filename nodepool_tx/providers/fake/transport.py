"""The way to a simulated cloud: what HTTP would carry, without HTTP."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.fake.api import ENDPOINTS, Call, Handler
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.compute_api import ComputeService
from nodepool_tx.providers.fake.image_api import ImageService, store_file
from nodepool_tx.providers.fake.network_api import NetworkService
from nodepool_tx.providers.fake.rules import Refused
from nodepool_tx.providers.fake.troubles import Trouble, Troubles
from nodepool_tx.providers.fake.volume_api import VolumeService
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
        """Nothing is to be done."""

    async def stop(self) -> None:
        """Nothing is open."""

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
        delay = self._cloud.simulation.api_delay / 2
        if delay >= timeout / 2:
            await self._wait(timeout)
            raise CloudError(f"no answer to {method} {path} within {timeout:g} s")
        await self._wait(delay)
        trouble = self.troubles.meet(service, call)
        if trouble is None or trouble.takes_effect:
            answer = await self._answer(service, call)
        await self._wait(delay)
        if trouble is not None:
            return _suffer(trouble, f"{method} {path}")
        return answer

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        done: Deferred[None] = Deferred()
        timer = self._clock.callLater(seconds, done.callback, None)
        try:
            await done
        except CancelledError:
            timer.cancel()
            raise

    async def _answer(self, service: str, call: Call) -> Answer:
        if service == "image" and call.method == "PUT" and call.path[2:] == ("file",):
            if call.file is None:
                return ImageService.refuse(Refused(400, "there is no content"))
            return await store_file(self._cloud, call.path[1], call.file)
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
    where = urlsplit(path)
    bare = where.path
    if where.scheme:
        bare = path.partition("?")[0].removeprefix(ENDPOINTS[service])
    minor = int(version.partition(".")[2]) if version else 1
    return Call(
        method=method,
        path=tuple(part for part in bare.split("/") if part),
        query={**dict(parse_qsl(where.query)), **(query or {})},
        # Only what JSON can carry gets there, and nothing is shared.
        body=None if json is None else json_format.loads(json_format.dumps(json)),
        file=file,
        version=minor,
    )


def _suffer(trouble: Trouble, what: str) -> Answer:
    if trouble.answer is None:
        raise CloudError(f"{what}: the simulated connection broke")
    return trouble.answer


_: type[Transport] = SimulatedTransport
