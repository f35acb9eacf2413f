"""What a cloud offers: sizes, limits, zones, consoles."""

from __future__ import annotations

from typing import Any

from nodepool_tx.providers.cloud.errors import CloudError, InvalidConfiguration
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.recorded import FLAVORS, RecordedTestCase, ok


class NeedsTests(RecordedTestCase):
    def needs(self, **label: Any) -> Any:
        return self.result(self.adapter().needs(self.label(**label)))

    def cores(self, **label: Any) -> Any:
        return self.needs(**label)["cores"]

    def test_by_name_or_id(self) -> None:
        """Without min-ram the name or id must be exact."""
        self.assertEqual(
            self.needs(flavor_name="m1.medium"), {"instances": 1, "cores": 2, "ram": 4096}
        )
        self.assertEqual(self.cores(flavor_name="9"), 4)
        self.assertEqual(self.cloud.asked[0].query, {"is_public": "None"})
        label = self.label(flavor_name="m1")
        self.assertIn("m1", self.error(self.adapter().needs(label), InvalidConfiguration))

    def test_by_memory(self) -> None:
        """The least memory that suffices is taken, then the name in order, with its part."""
        self.assertEqual(self.cores(min_ram=1024, flavor_name=None), 4, "c1.small")
        self.assertEqual(self.cores(min_ram=1024, flavor_name="m1"), 1, "m1.small")
        self.assertEqual(self.cores(min_ram=2049, flavor_name="m1"), 2, "m1.medium")
        label = self.label(min_ram=4097, flavor_name=None)
        self.error(self.adapter().needs(label), InvalidConfiguration)

    def test_volumes(self) -> None:
        """A label that boots from a volume needs it, too."""
        needs = self.needs(boot_from_volume=True, volume_size=80)
        self.assertEqual((needs["volumes"], needs["volume-gb"]), (1, 80))

    def test_a_flavor_that_appears(self) -> None:
        """A flavor that was missing is found once it is there, without a restart."""
        adapter, label = self.adapter(), self.label(flavor_name="new")
        self.error(adapter.needs(label), InvalidConfiguration)
        new = {"id": "n", "name": "new", "vcpus": 6, "ram": 1}
        self.cloud.play("compute", "GET", "/flavors/detail", ok({"flavors": [*FLAVORS, new]}))
        self.clock.advance(60)
        self.assertEqual(self.result(adapter.needs(label))["cores"], 6)


class LimitTests(RecordedTestCase):
    COMPUTE = {
        "maxTotalInstances": 10,
        "maxTotalCores": 20,
        "maxTotalRAMSize": 51200,
        "totalInstancesUsed": 3,
    }
    VOLUMES = {"maxTotalVolumes": 10, "maxTotalVolumeGigabytes": 1000, "totalVolumesUsed": 0}

    def setUp(self) -> None:
        super().setUp()
        self.play("compute", self.COMPUTE)
        self.play("block-storage", self.VOLUMES)

    def play(self, service: str, absolute: dict[str, int]) -> None:
        body = {"limits": {"rate": [], "absolute": absolute}}
        self.cloud.play(service, "GET", "/limits", ok(body))

    def quota(self) -> Any:
        return self.result(self.adapter().quota())

    def test_limits(self) -> None:
        """Those of servers and volumes come together."""
        self.assertEqual(
            self.quota(),
            {"instances": 10, "cores": 20, "ram": 51200, "volumes": 10, "volume-gb": 1000},
        )

    def test_no_limit(self) -> None:
        """A negative limit is none; nothing is limited by it, and 0 is a limit."""
        self.play("compute", {**self.COMPUTE, "maxTotalCores": -1, "maxTotalInstances": 0})
        self.play("block-storage", {"maxTotalVolumes": -1, "maxTotalVolumeGigabytes": -1})
        self.assertEqual(self.quota(), {"instances": 0, "ram": 51200})

    def test_no_volumes(self) -> None:
        """A cloud may have none."""
        self.cloud.missing.add("block-storage")
        self.assertEqual(self.quota(), {"instances": 10, "cores": 20, "ram": 51200})

    def test_volumes_are_down(self) -> None:
        """That matters only to who boots from volumes."""
        self.cloud.play("block-storage", "GET", "/limits", Answer(500))
        self.assertEqual(self.quota(), {"instances": 10, "cores": 20, "ram": 51200})
        adapter = self.adapter(self.label(boot_from_volume=True))
        self.error(adapter.quota(), CloudError)

    def test_nonsense(self) -> None:
        """Limits that cannot be read are an error, not no limits."""
        self.cloud.play("compute", "GET", "/limits", ok({"limits": {}}))
        self.error(self.adapter().quota(), CloudError)


class ZoneTests(RecordedTestCase):
    def test_zones(self) -> None:
        """Those that are available; asked for once."""
        zones = [
            {"zoneName": "az2", "zoneState": {"available": True}, "hosts": None},
            {"zoneName": "down", "zoneState": {"available": False}, "hosts": None},
            {"zoneName": "az1", "zoneState": {"available": True}, "hosts": None},
        ]
        self.cloud.play(
            "compute", "GET", "/os-availability-zone", ok({"availabilityZoneInfo": zones})
        )
        adapter = self.adapter()
        for _ in range(2):
            self.assertEqual(list(self.result(adapter.zones())), ["az1", "az2"])
        self.assertEqual(len(self.cloud.asked), 1)

    def test_who_may_not_know(self) -> None:
        """The choice is the cloud's where zones are hidden; an outage is none."""
        for status in (403, 404):
            self.cloud.play("compute", "GET", "/os-availability-zone", Answer(status))
            self.assertEqual(list(self.result(self.adapter().zones())), [])
        self.cloud.play("compute", "GET", "/os-availability-zone", Answer(500))
        self.error(self.adapter().zones(), CloudError)


class ConsoleTests(RecordedTestCase):
    def test_console(self) -> None:
        """Its text, or None where the cloud has none; an outage is an error."""
        path = "/servers/s-1/action"
        for answer, text in (
            (ok({"output": "hello\n"}), "hello\n"),
            (ok({"output": None}), None),
            (Answer(404), None),
            (Answer(409), None),
            (Answer(501), None),
        ):
            self.cloud.play("compute", "POST", path, answer)
            self.assertEqual(self.result(self.adapter().console("s-1")), text)
        self.assertEqual(self.cloud.asked[0].json, {"os-getConsoleOutput": {}})
        self.cloud.play("compute", "POST", path, Answer(500))
        self.error(self.adapter().console("s-1"), CloudError)
