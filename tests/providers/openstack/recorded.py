"""A transport that plays recorded answers and notes what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.openstack import (
    OpenStackImage,
    OpenStackLabel,
    OpenStackPool,
    OpenStackProvider,
)
from nodepool_tx.providers.cloud.errors import Gone
from nodepool_tx.providers.cloud.interface import NODE_ID, POOL_NAME, PROVIDER_NAME, Order
from nodepool_tx.providers.openstack.adapter import OpenStackAdapter
from nodepool_tx.providers.openstack.calls import Calls
from nodepool_tx.providers.openstack.hints import NetworkHints
from nodepool_tx.providers.openstack.transport import Answer, Transport

__all__ = [
    "FLAVORS",
    "IMAGE",
    "NETWORKS",
    "Asked",
    "RecordedTestCase",
    "RecordedTransport",
    "ok",
    "server",
]

IMAGE = "0aee7a43-3bba-4ac6-b1e2-f0da8a4d8d29"
PRIVATE = "5c1f3b1e-7d3a-4b43-8d55-3f2f8a3f9f10"
EXTERNAL = "9b1e0a52-5b8e-4a43-8a11-6ac3c2f8d001"

FLAVORS = [
    {"id": "3", "name": "m1.medium", "vcpus": 2, "ram": 4096, "disk": 40},
    {"id": "1", "name": "m1.tiny", "vcpus": 1, "ram": 512, "disk": 1},
    {"id": "2", "name": "m1.small", "vcpus": 1, "ram": 2048, "disk": 20},
    {"id": "9", "name": "c1.small", "vcpus": 4, "ram": 2048, "disk": 20},
]

NETWORKS = [
    {"id": PRIVATE, "name": "private", "router:external": False, "subnets": ["s1"]},
    {"id": EXTERNAL, "name": "public", "router:external": True, "is_default": True},
]


def ok(body: Any = None, status: int = 200) -> Answer:
    return Answer(status, {}, body)


@attrs.frozen
class Asked:
    """One request."""

    service: str
    method: str
    path: str
    query: Mapping[str, str]
    json: Any = None
    file: Path | None = None
    headers: Mapping[str, str] | None = None
    version: str | None = None


class RecordedTransport:
    """Plays the answers for each kind of request one after the other, the last for ever.

    :ivar missing: services that the catalog does not have.
    :ivar held: requests that wait for :meth:`release`, while ``holding``.
    """

    def __init__(self) -> None:
        self.cloud: str | None = "example"
        self.region: str | None = "RegionOne"
        self.asked: list[Asked] = []
        self.missing: set[str] = set()
        self.holding = False
        self._held: list[Deferred[None]] = []
        self._answers: dict[tuple[str, str, str], list[Answer | Exception]] = {}

    def play(self, service: str, method: str, path: str, *answers: Answer | Exception) -> None:
        self._answers[service, method, path] = list(answers)

    def of(self, method: str, path: str) -> list[Asked]:
        return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    def release(self) -> None:
        self.holding = False
        held, self._held = self._held, []
        for deferred in held:
            deferred.callback(None)

    def start(self) -> None: ...

    async def stop(self) -> None: ...

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
        self.asked.append(
            Asked(service, method, path, dict(query or {}), json, file, headers, version)
        )
        if self.holding:
            waiting: Deferred[None] = Deferred()
            self._held.append(waiting)
            await waiting
        if service in self.missing:
            raise Gone(f"no {service} in the catalog")
        answers = self._answers[service, method, path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def server(server_id: str = "s-1", **changes: Any) -> dict[str, Any]:
    """A server as Nova 2.47 shows it in a listing."""
    return {
        "id": server_id,
        "name": "np0000000001",
        "status": "ACTIVE",
        "OS-EXT-STS:task_state": None,
        "OS-EXT-STS:vm_state": "active",
        "OS-EXT-AZ:availability_zone": "az1",
        "hostId": "d1f0c6",
        "metadata": {NODE_ID: "0000000001", PROVIDER_NAME: "cloud"},
        "flavor": {"original_name": "m1.tiny", "vcpus": 1, "ram": 512, "disk": 1, "swap": 0},
        "addresses": {
            "private": [
                {
                    "addr": "10.0.0.7",
                    "version": 4,
                    "OS-EXT-IPS:type": "fixed",
                    "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:07",
                }
            ]
        },
        "accessIPv4": "",
        "accessIPv6": "",
        "os-extended-volumes:volumes_attached": [],
        **changes,
    }


class RecordedTestCase(SynchronousTestCase):
    """An adapter over recorded answers, on a virtual clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cloud = RecordedTransport()
        self.calls = Calls(self.cloud)
        self.hints = NetworkHints()
        self.cloud.play("compute", "GET", "/flavors/detail", ok({"flavors": FLAVORS}))
        self.cloud.play("network", "GET", "/networks", ok({"networks": NETWORKS}))
        self.cloud.play("network", "GET", "/routers", ok({"routers": []}))
        self.cloud.play("network", "GET", "/ports", ok({"ports": []}))
        self.cloud.play("network", "GET", "/floatingips", ok({"floatingips": []}))
        self.cloud.play("compute", "GET", "/servers/detail", ok({"servers": []}))
        self.cloud.play("image", "GET", "/images", ok({"images": []}))

    def adapter(self, *labels: OpenStackLabel, **changes: Any) -> OpenStackAdapter:
        pool = self.pool(cloud_labels=FrozenMapping({label.name: label for label in labels}))
        config = OpenStackProvider(name="cloud", driver="openstack", cloud="example", pools=(pool,))

        async def hints() -> NetworkHints:
            return self.hints

        return OpenStackAdapter(attrs.evolve(config, **changes), self.cloud, self.clock, hints)

    def pool(self, **changes: Any) -> OpenStackPool:
        return attrs.evolve(OpenStackPool(name="main", provider_name="cloud"), **changes)

    def label(self, **changes: Any) -> OpenStackLabel:
        image = OpenStackImage("debian", image_id=IMAGE)
        return attrs.evolve(
            OpenStackLabel(name="small", image=image, flavor_name="m1.tiny"), **changes
        )

    def order(self, label: OpenStackLabel | None = None, **changes: Any) -> Order:
        order = Order(
            node_id="0000000001",
            name="np0000000001",
            pool=self.pool(),
            label=label or self.label(),
            metadata={NODE_ID: "0000000001", POOL_NAME: "main", PROVIDER_NAME: "cloud"},
        )
        return attrs.evolve(order, **changes)

    def result(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def error(self, coroutine: Any, *kinds: type[Exception]) -> str:
        """The text of the error; it is of exactly one of these kinds."""
        failure = self.failureResultOf(Deferred.fromCoroutine(coroutine), *kinds)
        self.assertIn(type(failure.value), kinds)
        return str(failure.value)


_: type[Transport] = RecordedTransport
