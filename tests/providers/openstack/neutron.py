"""What Neutron answers about the ports and floating addresses of a server."""

from __future__ import annotations

from typing import Any

from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.recorded import (
    PRIVATE,
    RecordedTestCase,
    ok,
    server,
)

__all__ = [
    "DESCRIPTION",
    "ReachingTestCase",
    "floating",
    "neutron",
    "port",
    "with_floating",
]

DESCRIPTION = "nodepool_provider_name=cloud server=s-1"


def port(number: int = 1, network: str = PRIVATE, address: str = "10.0.0.7") -> dict[str, Any]:
    return {
        "id": f"p-{number}",
        "network_id": network,
        "device_id": "s-1",
        "device_owner": "compute:az1",
        "fixed_ips": [{"subnet_id": "s", "ip_address": address}],
        "status": "ACTIVE",
    }


def floating(**changes: Any) -> dict[str, Any]:
    return {
        "id": "f-1",
        "floating_ip_address": "172.24.4.9",
        "port_id": "p-1",
        "description": DESCRIPTION,
        "status": "DOWN",
        "project_id": "mine",
        **changes,
    }


def with_floating(**changes: Any) -> dict[str, Any]:
    shown = server(**changes)
    shown["addresses"]["private"].append(
        {"addr": "172.24.4.9", "version": 4, "OS-EXT-IPS:type": "floating"}
    )
    return shown


def neutron(status: int, kind: str, message: str = "no") -> Answer:
    return Answer(status, {}, {"NeutronError": {"type": kind, "message": message, "detail": ""}})


class ReachingTestCase(RecordedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cloud.play("network", "GET", "/ports", ok({"ports": [port()]}))
        self.cloud.play("network", "POST", "/floatingips", ok({"floatingip": floating()}, 201))
        self.cloud.play("network", "DELETE", "/floatingips/f-1", Answer(204))
        self.cloud.play("compute", "DELETE", "/servers/s-1", Answer(204))
        self.tested = self.adapter()

    def have(self, *addresses: dict[str, Any]) -> None:
        self.cloud.play("network", "GET", "/floatingips", ok({"floatingips": list(addresses)}))

    def see(self, *servers: dict[str, Any]) -> Any:
        self.cloud.play("compute", "GET", "/servers/detail", ok({"servers": list(servers)}))
        return (*self.result(self.tested.list_instances()), None)[0]

    def finish(self, shown: dict[str, Any], **order: Any) -> Any:
        seen = self.see(shown)
        return self.result(self.tested.finish(self.order(**order), seen))

    def made(self) -> list[dict[str, Any]]:
        return [asked.json["floatingip"] for asked in self.cloud.of("POST", "/floatingips")]
