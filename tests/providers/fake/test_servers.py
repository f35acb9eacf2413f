"""Servers of the simulated cloud: orders, lives, quotas, room and ends."""

from __future__ import annotations

from typing import Any

from nodepool_tx.config.fake import FakeFlavor
from nodepool_tx.config.frozen import FrozenMapping
from tests.providers.fake.stage import CloudCase


class DefaultTests(CloudCase):
    """What there is when nothing is configured."""

    def test_as_in_nodepool_11(self) -> None:
        """Limits, flavors, zones and the image are those of Nodepool 11's own fake cloud."""
        self.build()
        limits = self.get("compute", "/limits")["limits"]["absolute"]
        self.assertEqual(limits["maxTotalCores"], 100)
        self.assertEqual(limits["maxTotalInstances"], 20)
        self.assertEqual(limits["maxTotalRAMSize"], 1_000_000)
        flavors = self.get("compute", "/flavors/detail")["flavors"]
        self.assertEqual(
            [(each["name"], each["vcpus"], each["ram"]) for each in flavors],
            [("Fake Flavor", 4, 8192), ("Unreal Flavor", 4, 8192)],
        )
        zones = self.get("compute", "/os-availability-zone")["availabilityZoneInfo"]
        self.assertEqual([each["zoneName"] for each in zones], ["az1", "az2"])
        images = self.get("image", "/images")["images"]
        self.assertEqual(
            [(i["name"], i["id"], i["status"]) for i in images],
            [("Fake Precise", "fake-image-id", "active")],
        )
        limits = self.get("block-storage", "/limits")["limits"]["absolute"]
        self.assertEqual(limits["maxTotalVolumes"], 100)
        self.assertEqual(limits["maxTotalVolumeGigabytes"], 1_000_000)

    def test_ids_last(self) -> None:
        """What is there from the start has the same id in each process."""
        before = self.flavor, self.network("fake-private-network-name")
        self.build(seed=2)
        self.assertEqual((self.flavor, self.network("fake-private-network-name")), before)


class LifeTests(CloudCase):
    """A server from its order to its end."""

    def test_the_answer_has_no_status(self) -> None:
        """The answer to an order has the id and little more."""
        answer = self.ask("compute", "POST", "/servers", json=self.order())
        self.assertEqual(answer.status, 202)
        server = answer.body["server"]
        self.assertNotIn("status", server)
        self.assertTrue(answer.headers["location"].endswith(f"/servers/{server['id']}"))

    def test_boot(self) -> None:
        """While it boots its task changes and addresses come late; then it is active."""
        server_id = self.create(metadata={"nodepool_node_id": "1"})
        seen: list[tuple[Any, ...]] = []
        for _ in range(12):
            server = self.server(server_id)
            now = (
                server["status"],
                server["OS-EXT-STS:task_state"],
                bool(server["addresses"]),
                bool(server["OS-EXT-AZ:availability_zone"]),
            )
            if now not in seen:
                seen.append(now)
            self.clock.advance(0.1)
        self.assertEqual(
            seen,
            [
                ("BUILD", "scheduling", False, False),
                ("BUILD", "networking", False, True),
                ("BUILD", "spawning", True, True),
                ("ACTIVE", None, True, True),
            ],
        )
        server = self.server(server_id)
        self.assertEqual(server["metadata"], {"nodepool_node_id": "1"})
        self.assertEqual(server["OS-EXT-STS:vm_state"], "active")

    def test_a_boot_takes_its_time(self) -> None:
        """It is active when the boot delay is over, and not before."""
        server_id = self.create()
        self.pass_time(0.98)
        self.assertEqual(self.server(server_id)["status"], "BUILD")
        self.pass_time(0.04)
        self.assertEqual(self.server(server_id)["status"], "ACTIVE")

    def test_deletion(self) -> None:
        """A server that is deleted is deleting for a while, then unknown, and out of the quota."""
        self.build(delete_delay=5.0)
        server_id = self.booted()
        self.delete(server_id)
        self.pass_time(4.9)
        server = self.server(server_id)
        self.assertEqual(
            (server["status"], server["OS-EXT-STS:task_state"]), ("ACTIVE", "deleting")
        )
        self.delete(server_id)
        self.pass_time(0.2)
        for method in ("GET", "DELETE"):
            answer = self.ask("compute", method, f"/servers/{server_id}")
            self.assertEqual(answer.status, 404)
            self.assertIn("itemNotFound", answer.body)
        self.assertEqual(set(self.cloud.compute.used.values()), {0})

    def test_deletion_during_the_boot(self) -> None:
        """At each moment of a boot a server can be deleted, and nothing of it is left."""
        for moment in range(12):
            server_id = self.create()
            for _ in range(moment):
                self.clock.advance(0.1)
            self.delete(server_id)
            self.clock.advance(0)
            self.assertEqual(self.get("compute", "/servers/detail")["servers"], [])
            self.assertEqual(
                self.get("network", "/ports", query={"device_id": server_id})["ports"], []
            )
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_failing_boot(self) -> None:
        """By chance a server ends in ERROR, says why, and has no addresses."""
        self.build(boot_failure_rate=1.0)
        server_id = self.create()
        self.pass_time(1.1)
        server = self.server(server_id)
        self.assertEqual((server["status"], server["addresses"]), ("ERROR", {}))
        self.assertIn("aborted", server["fault"]["message"])
        self.assertEqual(self.cloud.compute.used["instances"], 1)
        self.delete(server_id)
        self.clock.advance(0)
        self.assertEqual(self.cloud.compute.used["instances"], 0)

    def test_the_share_of_failing_boots(self) -> None:
        """As many boots fail as are said to, the same ones with the same seed."""

        def failed() -> list[str]:
            self.build(boot_failure_rate=0.25, max_instances=-1, max_cores=-1, max_ram=-1, seed=7)
            ids = [self.create() for _ in range(200)]
            self.pass_time(1.1)
            return [each for each in ids if self.server(each)["status"] == "ERROR"]

        first = failed()
        self.assertTrue(30 < len(first) < 70, len(first))
        self.assertEqual(failed(), first)

    def test_console(self) -> None:
        """A server has a console once it has a host."""
        server_id = self.create()
        path = f"/servers/{server_id}/action"
        answer = self.ask("compute", "POST", path, json={"os-getConsoleOutput": {}})
        self.assertEqual(answer.status, 409)
        self.pass_time(1.1)
        answer = self.ask("compute", "POST", path, json={"os-getConsoleOutput": {"length": 1}})
        self.assertEqual((answer.status, answer.body), (200, {"output": "a login: "}))
        answer = self.ask("compute", "POST", path, json={"explode": None})
        self.assertEqual(answer.status, 400)


class RefusalTests(CloudCase):
    """Orders that are not taken."""

    def test_what_is_not_there(self) -> None:
        """A flavor, image, key pair, network, group or zone that is not there is a 400."""
        for wrong in (
            {"flavorRef": "no"},
            {"imageRef": "no"},
            {"key_name": "no"},
            {"networks": [{"uuid": "no"}]},
            {"security_groups": [{"name": "no"}]},
            {"availability_zone": "no"},
        ):
            self.assertIn("no", self.refused(400, **wrong))

    def test_what_was_accepted(self) -> None:
        """Names that the configuration uses can be made known."""
        self.cloud.accept(networks=["n"], keys=["k"], security_groups=["g"])
        self.create(
            key_name="k",
            security_groups=[{"name": "g"}],
            networks=[{"uuid": self.network("n")}],
        )

    def test_forms(self) -> None:
        """What has not the form that Nova wants is a 400."""
        for wrong in (
            {"name": ""},
            {"name": "x" * 256},
            {"name": 1},
            {"user_data": None},
            {"user_data": "x"},
            {"user_data": "eHh4" * 20_000},
            {"key_name": None},
            {"flavorRef": ...},
            {"imageRef": ...},
            {"metadata": {"a": 1}},
            {"metadata": {"a": "x" * 256}},
            {"metadata": None},
            {"config_drive": "perhaps"},
            {"networks": "auto"},
            {"networks": [{}]},
            {"volume_size": 10},
            {"description": "only from 2.19 on"},
            {"max_count": 2},
        ):
            with self.subTest(wrong=wrong):
                self.assertTrue(self.refused(400, **wrong))
        answer = self.ask("compute", "POST", "/servers", json={"servers": 1})
        self.assertEqual(answer.status, 400)

    def test_quotas(self) -> None:
        """What is over a quota is a 403 that names it; deleting makes room."""
        for limit, name in (
            ({"max_instances": 2}, "instances"),
            ({"max_cores": 11}, "cores"),
            ({"max_ram": 3 * 8192 - 1}, "ram"),
        ):
            self.build(**limit)
            first, _ = self.create(), self.create()
            message = self.refused(403)
            self.assertTrue(message.startswith(f"Quota exceeded for {name}:"), message)
            self.delete(first)
            self.clock.advance(0)
            self.create()

    def test_a_server_that_failed_counts(self) -> None:
        """The quota is used by servers in ERROR, too, until they are deleted."""
        self.build(boot_failure_rate=1.0, max_instances=1)
        self.create()
        self.pass_time(1.1)
        self.refused(403)

    def test_limits_show_what_is_used(self) -> None:
        """The limits tell what servers use."""
        self.create()
        limits = self.get("compute", "/limits")["limits"]["absolute"]
        self.assertEqual(
            [limits[f"total{each}Used"] for each in ("Instances", "Cores", "RAM")], [1, 4, 8192]
        )


class CapacityTests(CloudCase):
    """Zones that are full."""

    def test_no_valid_host(self) -> None:
        """A server for which there is no room is accepted first, and fails without a host."""
        self.build(capacity=FrozenMapping({"az1": 1}))
        self.booted(availability_zone="az1")
        server_id = self.create(availability_zone="az1")
        self.assertEqual(self.server(server_id)["status"], "BUILD")
        self.pass_time(1.0)
        server = self.server(server_id)
        self.assertEqual((server["status"], server["hostId"]), ("ERROR", ""))
        self.assertIn("No valid host was found", server["fault"]["message"])
        self.assertEqual(server["OS-EXT-AZ:availability_zone"], "az1")

    def test_another_zone(self) -> None:
        """Where no zone is asked for, one with room is taken, and none that is full."""
        self.build(capacity=FrozenMapping({"az1": 0, "az2": 3}))
        servers = [self.create() for _ in range(4)]
        self.pass_time(1.0)
        ends = [self.server(each) for each in servers]
        self.assertEqual([each["status"] for each in ends], ["ACTIVE"] * 3 + ["ERROR"])
        self.assertEqual({e["OS-EXT-AZ:availability_zone"] for e in ends[:3]}, {"az2"})

    def test_room_comes_back(self) -> None:
        """A server that is gone leaves its room to another."""
        self.build(capacity=FrozenMapping({"az1": 1, "az2": 0}))
        server_id = self.booted()
        self.delete(server_id)
        self.clock.advance(0)
        self.booted()

    def test_a_failed_server_takes_no_room(self) -> None:
        """A server in ERROR has no host."""
        self.build(capacity=FrozenMapping({"az1": 1, "az2": 0}), boot_failure_rate=1.0)
        self.create()
        self.pass_time(1.0)
        self.change(boot_failure_rate=0.0)
        self.booted()


class VersionTests(CloudCase):
    """Micro-versions."""

    def test_flavor_inside(self) -> None:
        """From 2.47 on a server shows its size instead of its flavor's id."""
        server_id = self.create()
        self.assertEqual(self.server(server_id)["flavor"]["id"], self.flavor)
        flavor = self.server(server_id, version="2.47")["flavor"]
        self.assertEqual((flavor["original_name"], flavor["vcpus"]), ("Fake Flavor", 4))
        self.assertNotIn("id", flavor)

    def test_networks_have_to_be_given(self) -> None:
        """From 2.37 on an order says what networks it wants."""
        answer = self.ask("compute", "POST", "/servers", json=self.order(), version="2.37")
        self.assertEqual(answer.status, 400)
        for networks in ("auto", "none"):
            order = self.order(networks=networks)
            answer = self.ask("compute", "POST", "/servers", json=order, version="2.37")
            self.assertEqual(answer.status, 202)

    def test_too_new(self) -> None:
        """A version that there is not is a 406."""
        self.assertEqual(self.ask("compute", "GET", "/servers", version="2.999").status, 406)


class ConfigureTests(CloudCase):
    """Changing how a cloud behaves while it is in use."""

    def test_what_there_is_stays(self) -> None:
        """Servers and uploaded images outlive a change; limits and flavors are the new ones."""
        server_id = self.booted()
        image = self.ask("image", "POST", "/images", json={"name": "mine"}).body["id"]
        self.change(
            max_instances=1,
            flavors=(FakeFlavor("small", 1, 512),),
            images=("Debian",),
            zones=("z",),
        )
        self.assertEqual(self.server(server_id)["status"], "ACTIVE")
        self.refused(400)
        small = next(iter(self.cloud.compute.flavors))
        images = {each["name"]: each["id"] for each in self.get("image", "/images")["images"]}
        self.assertEqual(images.keys(), {"mine", "Debian"})
        self.assertEqual(images["mine"], image)
        self.assertIn("Quota", self.refused(403, flavorRef=small, imageRef=images["Debian"]))
        self.delete(server_id)
        self.clock.advance(0)
        self.assertEqual(set(self.cloud.compute.used.values()), {0})


class ScaleTests(CloudCase):
    """Many servers."""

    def test_pages(self) -> None:
        """A listing has a thousand servers a page, the newest first, each once."""
        self.build(max_instances=-1, max_cores=-1, max_ram=-1)
        made = [self.create() for _ in range(2100)]
        self.assertEqual(self.get("compute", "/limits")["limits"]["absolute"]["maxTotalCores"], -1)
        path, sizes, listed = "/servers/detail", [], []
        while path:
            body = self.get("compute", path)
            sizes.append(len(body["servers"]))
            listed += [each["id"] for each in body["servers"]]
            links = body.get("servers_links", [])
            path = links[0]["href"] if links else ""
        self.assertEqual(sizes, [1000, 1000, 100])
        self.assertEqual(listed, made[::-1])

    def test_smaller_pages(self) -> None:
        """Pages may be smaller, and begin after any server that there is."""
        made = [self.create() for _ in range(5)]
        query = {"limit": "2", "marker": made[3]}
        body = self.get("compute", "/servers", query=query)
        self.assertEqual([each["id"] for each in body["servers"]], [made[2], made[1]])
        body = self.get("compute", body["servers_links"][0]["href"])
        self.assertEqual([each["id"] for each in body["servers"]], [made[0]])
        self.assertNotIn("servers_links", body)
        body = self.get("compute", "/servers", query={"limit": "1", "marker": made[1]})
        self.assertEqual([each["id"] for each in body["servers"]], [made[0]])
        body = self.get("compute", body["servers_links"][0]["href"])
        self.assertEqual(body, {"servers": []})
        answer = self.ask("compute", "GET", "/servers", query={"marker": "gone"})
        self.assertEqual(answer.status, 400)

    def test_nothing_is_made_twice(self) -> None:
        """A server that has not changed is not written out again for another listing."""
        first = self.booted()
        before = self.get("compute", "/servers/detail")["servers"][0]
        second = self.create()
        newer, again = self.get("compute", "/servers/detail")["servers"]
        self.assertEqual((newer["id"], again["id"]), (second, first))
        self.assertIs(again, before)
        self.delete(first)
        self.assertIsNot(self.server(first), before)
        self.assertIsNone(before["OS-EXT-STS:task_state"])

    def test_a_thousand_boots(self) -> None:
        """A thousand servers that boot at once have a timer each, and addresses of their own."""
        self.build(max_instances=-1, max_cores=-1, max_ram=-1)
        for _ in range(1000):
            self.create()
        for _ in range(5):
            self.assertLessEqual(len(self.clock.getDelayedCalls()), 1000)
            self.clock.advance(0.25)
        servers = self.get("compute", "/servers/detail")["servers"]
        self.assertEqual({each["status"] for each in servers}, {"ACTIVE"})
        addresses = [
            entry["addr"]
            for server in servers
            for entries in server["addresses"].values()
            for entry in entries
        ]
        self.assertEqual(len(addresses), 2000)
        self.assertEqual(len(set(addresses)), 2000)
        self.assertEqual(self.clock.getDelayedCalls(), [])
