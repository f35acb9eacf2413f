"""Servers are shown as the engine wants them, and read only when they have changed."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from nodepool_tx.providers.cloud.errors import CloudError, NoCapacity
from nodepool_tx.providers.cloud.interface import NODE_ID, InstanceState
from nodepool_tx.providers.openstack.lookups import RECHECK
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.recorded import FLAVORS, RecordedTestCase, ok, server


class ListingTests(RecordedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.tested = self.adapter()

    def show(self, *servers: dict[str, Any]) -> None:
        self.cloud.play("compute", "GET", "/servers/detail", ok({"servers": list(servers)}))

    def listed(self, *servers: dict[str, Any]) -> list[Any]:
        self.show(*servers)
        return list(self.result(self.tested.list_instances()))

    def test_a_server(self) -> None:
        """Everything that a node's record needs is there."""
        (seen,) = self.listed(server())
        self.assertEqual(seen.external_id, "s-1")
        self.assertIs(seen.state, InstanceState.ACTIVE)
        self.assertEqual(seen.metadata[NODE_ID], "0000000001")
        self.assertEqual(seen.resources, {"instances": 1, "cores": 1, "ram": 512})
        self.assertEqual((seen.interface_ip, seen.private_ipv4), ("10.0.0.7", "10.0.0.7"))
        self.assertEqual((seen.cloud, seen.region), ("example", "RegionOne"))
        self.assertEqual((seen.zone, seen.host_id), ("az1", "d1f0c6"))
        self.assertEqual(self.cloud.of("GET", "/servers/detail")[0].version, "2.47")

    def test_states(self) -> None:
        """Status and task together say how far a server is."""
        cases = [
            ("BUILD", "spawning", InstanceState.BUILDING),
            ("ACTIVE", None, InstanceState.ACTIVE),
            ("ACTIVE", "deleting", InstanceState.DELETING),
            ("BUILD", "deleting", InstanceState.DELETING),
            ("ERROR", None, InstanceState.FAILED),
            ("ERROR", "deleting", InstanceState.DELETING),
            ("SHUTOFF", None, InstanceState.BUILDING),
            ("REBOOT", "rebooting", InstanceState.BUILDING),
        ]
        servers = [
            server(str(n), status=status, **{"OS-EXT-STS:task_state": task})
            for n, (status, task, _) in enumerate(cases)
        ]
        self.assertEqual(
            [seen.state for seen in self.listed(*servers)], [state for *_, state in cases]
        )

    def test_deleted_servers(self) -> None:
        """What an administrator is still shown of them does not count."""
        self.assertEqual(
            self.listed(server(status="DELETED"), server("2", status="SOFT_DELETED")), []
        )

    def test_a_failed_server(self) -> None:
        """Its fault is the error of the contract."""
        fault = {"code": 500, "message": "No valid host was found. ", "created": "now"}
        (seen,) = self.listed(server(status="ERROR", addresses={}, hostId="", fault=fault))
        self.assertIsInstance(seen.fault, NoCapacity)
        self.assertIsNone(seen.host_id)
        self.assertIsNone(seen.interface_ip)

    def test_what_has_not_changed_is_not_read_again(self) -> None:
        """The same server is the same value; a changed one is another."""
        (first,) = self.listed(server())
        (second,) = self.listed(server())
        self.assertIs(first, second)
        (third,) = self.listed(server(**{"OS-EXT-STS:task_state": "deleting"}))
        self.assertIs(third.state, InstanceState.DELETING)
        self.assertEqual(self.listed(), [])

    def test_a_cloud_that_does_not_show_sizes(self) -> None:
        """The flavor is looked up where the micro-version is too new, once for all servers."""
        old = Answer(406, {}, {"computeFault": {"message": "Version 2.47 is not supported"}})
        flavor = {"id": "3", "links": []}
        listing = ok({"servers": [server("1", flavor=flavor), server("2", flavor=flavor)]})
        self.cloud.play("compute", "GET", "/servers/detail", old, listing)
        seen = self.result(self.tested.list_instances())
        self.assertEqual([each.resources["cores"] for each in seen], [2, 2])
        self.result(self.tested.list_instances())
        versions = [asked.version for asked in self.cloud.of("GET", "/servers/detail")]
        self.assertEqual(versions, ["2.47", None, None])
        self.assertEqual(len(self.cloud.of("GET", "/flavors/detail")), 1)

    def test_a_flavor_that_nobody_knows(self) -> None:
        """What such a server counts for is unknown; it is looked for again now and then."""
        gone = server(flavor={"id": "gone"})
        for _ in range(10):
            (seen,) = self.listed(gone)
            self.assertIsNone(seen.resources)
        self.assertEqual(len(self.cloud.of("GET", "/flavors/detail")), 1)
        self.clock.advance(RECHECK + 1)
        new = {"id": "gone", "name": "new", "vcpus": 8, "ram": 1}
        self.cloud.play("compute", "GET", "/flavors/detail", ok({"flavors": [*FLAVORS, new]}))
        (seen,) = self.listed(gone)
        self.assertEqual(seen.resources["cores"], 8)

    def test_volumes_count(self) -> None:
        """The sizes of attached volumes are part of what a server uses."""
        self.cloud.play(
            "block-storage",
            "GET",
            "/volumes/detail",
            ok({"volumes": [{"id": "v1", "size": 50}, {"id": "v2", "size": 30}]}),
        )
        key = "os-extended-volumes:volumes_attached"
        (seen,) = self.listed(server(**{key: [{"id": "v1"}, {"id": "v2"}]}))
        self.assertEqual((seen.resources["volumes"], seen.resources["volume-gb"]), (2, 80))
        self.listed(server(**{key: [{"id": "v1"}, {"id": "new"}]}))
        self.assertEqual(len(self.cloud.of("GET", "/volumes/detail")), 1)

    def test_other_services_are_down(self) -> None:
        """Servers are listed without networks and volumes, and those are not asked all the time."""
        self.cloud.play("network", "GET", "/networks", CloudError("down"))
        self.cloud.missing.add("block-storage")
        attached = {"os-extended-volumes:volumes_attached": [{"id": "v1"}]}
        for _ in range(5):
            (seen,) = self.listed(server(**attached))
            self.assertEqual(seen.resources, {"instances": 1, "cores": 1, "ram": 512})
        self.assertEqual(len(self.cloud.of("GET", "/networks")), 1)
        self.assertEqual(len(self.cloud.of("GET", "/volumes/detail")), 1)

    def test_many_servers_are_read_in_turns(self) -> None:
        """The reactor has a turn after every fifty servers that are new, or 500 that are not."""
        self.show(*(server(str(n)) for n in range(1000)))
        turns: list[float] = []
        call_later = self.clock.callLater

        def counting(delay: float, *call: Any) -> Any:
            turns.append(delay)
            return call_later(delay, *call)

        self.patch(self.clock, "callLater", counting)
        for at_least in (20, 2):
            turns.clear()
            listing = Deferred.fromCoroutine(self.tested.list_instances())  # type: ignore[arg-type]
            self.clock.advance(0)
            self.assertEqual(len(self.successResultOf(listing)), 1000)
            self.assertIn(len(turns), range(at_least, at_least + 5))
            self.assertEqual(set(turns), {0})
