"""A simulated cloud on a clock, and how its tests talk to it."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.fake import FakeSimulation
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.transport import SimulatedTransport
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["CloudCase"]


class CloudCase(SynchronousTestCase):
    """Tests of a simulated cloud with a boot of one second.

    Keywords of :meth:`build` are those of the simulation.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.build()

    def build(self, **simulation: Any) -> None:
        """Begin with a new cloud."""
        defaults: dict[str, Any] = {"seed": 1, "boot_delay": 1.0}
        self.cloud = SimulatedOpenStack(self.clock, FakeSimulation(**defaults | simulation))
        self.transport = SimulatedTransport(self.cloud)
        self.flavor = next(iter(self.cloud.compute.flavors))

    def change(self, **simulation: Any) -> None:
        """Let the same cloud behave differently."""
        self.cloud.configure(attrs.evolve(self.cloud.simulation, **simulation))

    def begin(self, service: str, method: str, path: str, **more: Any) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self.transport.request(service, method, path, **more))

    def ask(self, service: str, method: str, path: str, **more: Any) -> Answer:
        """The answer to a call, which comes at once."""
        return self.successResultOf(self.begin(service, method, path, **more))

    def get(self, service: str, path: str, **more: Any) -> Any:
        """The body of a GET that goes well."""
        answer = self.ask(service, "GET", path, **more)
        self.assertEqual(answer.status, 200, answer)
        return answer.body

    def order(self, **changes: Any) -> dict[str, Any]:
        server = {"name": "a", "imageRef": "fake-image-id", "flavorRef": self.flavor, **changes}
        return {"server": {key: value for key, value in server.items() if value is not ...}}

    def create(self, **changes: Any) -> str:
        """Make a server; its id."""
        answer = self.ask("compute", "POST", "/servers", json=self.order(**changes))
        self.assertEqual(answer.status, 202, answer)
        return str(answer.body["server"]["id"])

    def refused(self, status: int, **changes: Any) -> str:
        """What is said of an order that is refused, after which there is no server."""
        before = len(self.cloud.compute.servers)
        answer = self.ask("compute", "POST", "/servers", json=self.order(**changes))
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(len(self.cloud.compute.servers), before)
        ((_, error),) = answer.body.items()
        self.assertEqual(error["code"], status)
        return str(error["message"])

    def server(self, server_id: str, **more: Any) -> Any:
        return self.get("compute", f"/servers/{server_id}", **more)["server"]

    def booted(self, **changes: Any) -> str:
        """Make a server and let it boot."""
        server_id = self.create(**changes)
        self.pass_time(1.0)
        self.assertEqual(self.server(server_id)["status"], "ACTIVE")
        return server_id

    def delete(self, server_id: str) -> None:
        self.assertEqual(self.ask("compute", "DELETE", f"/servers/{server_id}").status, 204)

    def network(self, name: str) -> str:
        """The id of the network of that name."""
        (network,) = self.get("network", "/networks", query={"name": name})["networks"]
        return str(network["id"])

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and everything happen in its turn."""
        end = self.clock.seconds() + seconds
        while True:
            due = [call.getTime() for call in self.clock.getDelayedCalls()]
            until = min([end, *due])
            self.clock.advance(max(0.0, until - self.clock.seconds()))
            if until >= end:
                break
        # Times are sums, which may be a little off.
        self.clock.advance(1e-6)
