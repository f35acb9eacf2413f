"""The launch of one node, from its record to a server that can be used."""

from __future__ import annotations

from pathlib import Path

import attrs

from nodepool_tx.config.cloud import CloudImage
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.model import ImageState, ImageUpload, NodeState
from nodepool_tx.providers.cloud.errors import (
    CloudError,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from nodepool_tx.providers.cloud.interface import ImageUploadOrder, Instance
from nodepool_tx.providers.cloud.memory_cloud import Timing
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_image_upload
from tests.providers.cloud.world import World, WorldTestCase, cloud_label, cloud_provider


class LaunchTestCase(WorldTestCase):
    """Nodes of a provider whose deletions are somebody else's, to see how launches leave them."""

    def provide(self, *labels: object, **changes: object) -> CloudProviderService:
        return self.world.launcher().provide(cloud_provider(*labels, **changes))  # type: ignore[arg-type]

    def ids(self) -> list[str]:
        return sorted(self.world.cloud.servers)


class WhenAllGoesWell(LaunchTestCase):
    def test_ready(self) -> None:
        """A node that was ordered is ready, and let go, when its server can be reached."""
        service = self.provide()
        node_id = self.world.order(service)
        self.assertEqual(self.world.node(node_id).state, NodeState.BUILDING)
        self.world.wait(60)
        node = self.world.node(node_id)
        (server,) = self.world.cloud.servers.values()
        self.assertEqual(
            (node.state, node.external_id, node.interface_ip, node.public_ipv4),
            (NodeState.READY, server.external_id, server.interface_ip, server.interface_ip),
        )
        self.assertEqual(node.host_keys, (f"ssh-ed25519 {server.interface_ip}",))
        self.assertEqual(node.private_ipv4, server.private_ipv4)
        self.assertEqual((node.cloud, node.az), ("memory", "zone-1"))
        self.assertEqual(node.resources, {"instances": 1, "cores": 2, "ram": 4096})
        self.assertEqual((node.username, node.python_path), ("zuul", "auto"))
        self.assertEqual((node.connection_type, node.connection_port), ("ssh", 22))
        self.assertEqual((node.image_id, node.hostname), ("debian", f"np{node_id}"))
        self.assertFalse(self.world.locked(node_id))

    def test_metadata(self) -> None:
        """A server carries what it is found by, under the names Nodepool 11 uses."""
        node_id = self.world.order(self.provide())
        (server,) = self.world.cloud.servers.values()
        self.assertEqual(
            server.metadata,
            {
                "nodepool_node_id": node_id,
                "nodepool_pool_name": "main",
                "nodepool_provider_name": "cloud",
            },
        )
        self.assertEqual(server.name, f"np{node_id}")

    def test_intent_before_act(self) -> None:
        """The record says that a node is being made, under its lock, before the cloud is asked."""
        self.world.cloud.hang_next("create")
        node_id = self.world.order(self.provide())
        node = self.world.node(node_id)
        self.assertEqual((node.state, node.external_id), (NodeState.BUILDING, None))
        self.assertEqual(node.image_id, "debian")
        self.assertTrue(self.world.locked(node_id))
        self.assertEqual(self.world.cloud.calls["create"], 1)

    def test_id_as_soon_as_it_is_known(self) -> None:
        """The server's id is written long before the server can be used."""
        node_id = self.world.order(self.provide())
        self.assertEqual([self.world.node(node_id).external_id], self.ids())
        self.assertEqual(self.world.node(node_id).state, NodeState.BUILDING)

    def test_promise_is_the_pools(self) -> None:
        """What a pool writes about a node while it is made is not undone."""
        node_id = self.world.order(self.provide())
        self.world.change_node(node_id, allocated_to=None, comment="kept")
        self.world.wait(60)
        node = self.world.node(node_id)
        self.assertEqual(
            (node.state, node.allocated_to, node.comment), (NodeState.READY, None, "kept")
        )

    def test_internal_address(self) -> None:
        """A pool may use internal addresses."""
        service = self.provide(pool_use_internal_ip=True)
        node_id = self.world.order(service)
        self.world.wait(60)
        node = self.world.node(node_id)
        self.assertEqual(node.interface_ip, node.private_ipv4)
        self.assertIsNone(node.public_ipv4)

    def test_attributes_of_the_pool(self) -> None:
        """Nodes carry their pool's attributes."""
        service = self.provide(pool_node_attributes=FrozenMapping({"rack": "r1"}))
        node_id = self.world.order(service)
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).attributes, {"rack": "r1"})

    def test_finishing_takes_several_listings(self) -> None:
        """A server that is active is finished with as many listings as that takes."""
        self.world.cloud.finish_takes = 3
        node_id = self.world.order(self.provide())
        self.world.wait(32)
        self.assertEqual(self.world.node(node_id).state, NodeState.BUILDING)
        self.world.wait(25)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.cloud.calls["finish"], 4)

    def test_many_share_the_listings(self) -> None:
        """A hundred launches cost no more listings than one."""
        service = self.provide()
        for _ in range(100):
            self.world.order(service)
        before = self.world.cloud.calls["list_instances"]
        self.world.wait(60)
        self.assertEqual({n.state for n in self.world.nodes().values()}, {NodeState.READY})
        self.assertLessEqual(self.world.cloud.calls["list_instances"] - before, 12)

    def test_disk_image(self) -> None:
        """A label with a disk image is made from its newest upload, and reached as that says."""
        uploads = (("0000000001", 100.0), ("0000000002", 200.0))
        for upload_id, when in uploads:
            upload = ImageUpload(
                state=ImageState.READY,
                state_time=when,
                external_id=f"image-{upload_id}",
                username="builder",
                shell_type="sh",
            )
            path = paths.image_upload("own", "b1", "cloud", upload_id)
            self.world.inspector.create(path, encode_image_upload(upload))
            order = ImageUploadOrder(name="own", path=Path("own.qcow2"), format="qcow2")
            self.world.cloud.images[f"image-{upload_id}"] = order
        image = CloudImage(name="own", diskimage=True)
        service = self.provide(cloud_label("small", image=image))
        node_id = self.world.order(service)
        self.world.wait(60)
        node = self.world.node(node_id)
        self.assertEqual(node.state, NodeState.READY)
        self.assertEqual(node.image_id, paths.image_upload("own", "b1", "cloud", "0000000002"))
        self.assertEqual((node.username, node.shell_type), ("builder", "sh"))


class WhenAttemptsFail(LaunchTestCase):
    def test_next_attempt(self) -> None:
        """After a failure that made nothing another attempt follows, after a pause."""
        self.world.cloud.fail_next("create", CloudError("broken"))
        node_id = self.world.order(self.provide())
        self.world.wait(1)
        self.assertEqual(self.world.cloud.calls["create"], 1)
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual((self.world.cloud.calls["create"], len(self.ids())), (2, 1))

    def test_last_attempt(self) -> None:
        """A node whose last attempt failed has failed, and is removed."""
        self.world.cloud.fail_next("create", CloudError("broken"), times=3)
        states: list[NodeState] = []
        service = self.provide(launch_retries=3)
        node_id = self.world.order(service)
        service._context.store.nodes.subscribe(
            lambda change: states.append(change.after.state) if change.after else None
        )
        self.world.wait(60)
        self.assertIn(NodeState.FAILED, states)
        self.assertNotIn(node_id, self.world.nodes())
        self.assertEqual(self.world.cloud.calls["create"], 3)
        self.assertTrue(self.world.said("launch attempt 3"))

    def test_unknown_outcome(self) -> None:
        """A server that was made without an answer is found and deleted before another is."""
        self.world.cloud.fail_next("create", CloudError("connection lost"), done=True)
        node_id = self.world.order(self.provide())
        (first,) = self.ids()
        self.world.wait(10)
        self.assertEqual(self.world.cloud.calls["create"], 1)
        self.assertEqual(self.ids(), [first])
        self.world.wait(70)
        node = self.world.node(node_id)
        self.assertEqual(node.state, NodeState.READY)
        self.assertEqual(self.ids(), [node.external_id])
        self.assertNotEqual(node.external_id, first)

    def test_no_answer(self) -> None:
        """A call without an answer is given up; what it has made is looked for."""
        self.world.cloud.hang_next("create", done=True)
        node_id = self.world.order(self.provide())
        self.world.wait(200)
        node = self.world.node(node_id)
        self.assertEqual((node.state, self.ids()), (NodeState.READY, [node.external_id]))
        self.assertEqual(self.world.cloud.made, 2)

    def test_failed_server(self) -> None:
        """A server that ends in error is deleted until it is gone before the next is made."""
        self.world.cloud.fail_boot(CloudError("no valid host"))
        self.world.cloud.slow_deletion(40.0)
        node_id = self.world.order(self.provide())
        self.world.wait(70)
        self.assertEqual(self.world.cloud.made, 1)
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual((self.world.cloud.made, len(self.ids())), (2, 1))

    def test_server_lost(self) -> None:
        """A server that is gone while it is waited for is a failed attempt."""
        node_id = self.world.order(self.provide())
        self.world.wait(10)
        self.world.cloud.lose_server(self.ids()[0])
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.cloud.made, 2)

    def test_listed_late(self) -> None:
        """A new server may be missing in the listings for a while."""
        service = self.provide()
        listing = self.world.cloud.listing
        until = self.world.clock.seconds() + 20

        def late() -> tuple[Instance, ...]:
            return () if self.world.clock.seconds() < until else listing()

        self.world.cloud.listing = late  # type: ignore[method-assign]
        node_id = self.world.order(service)
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.cloud.made, 1)

    def test_never_listed(self) -> None:
        """A new server that is gone before it was seen is a failed attempt."""
        node_id = self.world.order(self.provide())
        self.world.cloud.lose_server(self.ids()[0])
        self.world.wait(120)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.cloud.made, 2)

    def test_invalid_configuration(self) -> None:
        """What cannot be made is not tried again, and its label is left alone."""
        service = self.provide()
        self.world.cloud.fail_next("create", InvalidConfiguration("no such flavor"))
        node_id = self.world.order(service)
        self.world.wait(60)
        self.assertNotIn(node_id, self.world.nodes())
        self.assertEqual(self.world.cloud.calls["create"], 1)
        objection = service.making.objection("main", ["small"])
        assert objection is None or not objection.lasting

    def test_label_is_left_alone(self) -> None:
        """A label that could not be made is objected to, and not for ever."""
        service = self.provide()
        self.world.cloud.fail_next("create", InvalidConfiguration("no such flavor"))
        self.world.order(service)
        self.world.wait(5)
        objection = service.making.objection("main", ["small"])
        assert objection is not None
        self.assertIn("no such flavor", objection.reason)
        self.assertFalse(objection.lasting)
        self.world.wait(61)
        self.assertIsNone(service.making.objection("main", ["small"]))

    def test_retry_later(self) -> None:
        """A cloud that wants to be left in peace is; that is no attempt."""
        self.world.cloud.fail_next("create", RetryLater("slow down", 20.0), times=3)
        node_id = self.world.order(self.provide(launch_retries=1))
        self.world.wait(59)
        self.assertEqual(self.world.cloud.calls["create"], 3)
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)

    def test_launch_timeout(self) -> None:
        """A server that is not active in time is deleted; each attempt has its own time."""
        self.world.cloud.timing = Timing(boot=300.0, delete=50.0)
        service = self.provide(launch_timeout=100.0, launch_retries=2)
        node_id = self.world.order(service)
        self.world.wait(99)
        self.assertEqual(self.world.cloud.calls["delete"], 0)
        self.world.wait(60)
        self.assertEqual(self.world.cloud.made, 2)
        self.assertEqual(self.world.node(node_id).state, NodeState.BUILDING)
        self.world.wait(85)
        self.assertEqual(self.world.node(node_id).state, NodeState.BUILDING)
        self.world.wait(100)
        self.assertEqual((self.world.nodes(), self.ids()), ({}, []))

    def test_waiting_for_a_turn_is_no_launch_time(self) -> None:
        """The time for a launch begins when the cloud is asked, however long the line was."""
        service = self.provide(rate=0.2, launch_timeout=120.0, launch_retries=1)
        ids = [self.world.order(service) for _ in range(12)]
        self.world.wait(1200)
        self.assertEqual({self.world.node(i).state for i in ids}, {NodeState.READY})

    def test_keys_in_time(self) -> None:
        """A server that cannot be reached within the boot timeout is a failed attempt."""
        self.world.scanner.deaf = 1
        service = self.provide(boot_timeout=40.0)
        node_id = self.world.order(service)
        self.world.wait(60)
        self.assertEqual(self.world.cloud.made, 1)
        self.world.wait(100)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.cloud.made, 2)
        self.assertEqual(self.world.cloud.calls["console"], 0)

    def test_console(self) -> None:
        """The console of a server that did not come up is shown where that is asked for."""
        self.world.scanner.deaf = 1
        service = self.provide(cloud_label("small", console_log=True))
        self.world.order(service)
        self.world.wait(120)
        self.assertTrue(self.world.said("server-1 login:"))

    def test_console_not_to_be_had(self) -> None:
        """A console that cannot be read changes nothing."""
        self.world.scanner.deaf = 1
        self.world.cloud.fail_next("console", CloudError("not here"))
        node_id = self.world.order(self.provide(cloud_label("small", console_log=True)))
        self.world.wait(200)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)

    def test_other_connections(self) -> None:
        """A server that is not reached over SSH is only probed."""
        image = CloudImage(name="win", connection_type="winrm", connection_port=5986)
        node_id = self.world.order(self.provide(cloud_label("small", image=image)))
        self.world.wait(60)
        node = self.world.node(node_id)
        self.assertEqual((node.state, node.host_keys), (NodeState.READY, ()))
        self.assertEqual(self.world.scanner.looks, [(node.interface_ip, 5986, "probe")])

    def test_no_host_key_checking(self) -> None:
        """Without host key checking nobody looks at the server."""
        node_id = self.world.order(self.provide(cloud_label("small", host_key_checking=False)))
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.scanner.looks, [])

    def test_server_that_does_not_go(self) -> None:
        """A node whose failed server cannot be deleted fails; the deletion goes on."""
        self.world.cloud.fail_boot(CloudError("no valid host"))
        self.world.cloud.ignore_deletion(times=6)
        service = self.provide()
        node_id = self.world.order(service)
        self.world.wait(700)
        self.assertEqual(self.world.cloud.made, 1)
        self.assertEqual(self.world.node(node_id).state, NodeState.DELETING)
        (stuck,) = service.status().details["stuck"]
        self.assertEqual((stuck.external_id, stuck.node_id), ("server-1", node_id))
        self.world.wait(3000, step=10)
        self.assertEqual((self.world.nodes(), self.ids()), ({}, []))

    def test_listing_fails(self) -> None:
        """While servers cannot be listed launches wait, and then go on."""
        node_id = self.world.order(self.provide())
        self.world.cloud.fail_next("list_instances", CloudError("503"), times=4)
        self.world.wait(120)
        self.assertEqual(self.world.node(node_id).state, NodeState.READY)
        self.assertEqual(self.world.cloud.made, 1)


class WhenThereIsNoRoom(LaunchTestCase):
    def make_world(self) -> World:
        return World(zones=("z1", "z2", "z3"))

    def test_other_zone(self) -> None:
        """A node that has no room in its zone is made in another; that is no failed attempt."""
        self.world.cloud.capacity = {"z1": 0, "z3": 0}
        node_id = self.world.order(self.provide(launch_retries=1), az="z1")
        self.world.wait(60)
        node = self.world.node(node_id)
        self.assertEqual((node.state, node.az), (NodeState.READY, "z2"))

    def test_nowhere(self) -> None:
        """Without room anywhere all zones are tried, and that is one failed attempt."""
        self.world.cloud.capacity = {"z1": 0, "z2": 0, "z3": 0}
        node_id = self.world.order(self.provide(launch_retries=1), az="z1")
        self.world.wait(60)
        self.assertNotIn(node_id, self.world.nodes())
        self.assertEqual(self.world.cloud.calls["create"], 3)

    def test_full_after_it_was_made(self) -> None:
        """A server that turns out to have no room is deleted before another zone is tried."""
        self.world.cloud.fail_boot(NoCapacity("no valid host"))
        node_id = self.world.order(self.provide(launch_retries=1), az="z1")
        self.world.wait(120)
        node = self.world.node(node_id)
        self.assertEqual(node.state, NodeState.READY)
        self.assertNotEqual(node.az, "z1")
        self.assertEqual(self.ids(), [node.external_id])

    def test_over_quota(self) -> None:
        """What the quota does not allow is put off, which is no failed attempt."""
        service = self.provide()
        self.world.cloud.fail_next("create", OverQuota("too many cores"))
        states: list[NodeState] = []
        service._context.store.nodes.subscribe(
            lambda change: states.append(change.after.state) if change.after else None
        )
        node_id = self.world.order(service)
        self.world.wait(5)
        self.assertIn(NodeState.ABORTED, states)
        self.assertNotIn(NodeState.FAILED, states)
        self.assertNotIn(node_id, self.world.nodes())
        self.assertEqual(self.world.cloud.calls["create"], 1)

    def test_quota_is_read_again(self) -> None:
        """A refusal holds new launches up, until a while has passed or something was deleted."""
        service = self.provide()
        self.world.wait(10)
        reads = self.world.cloud.calls["quota"]
        kept = self.world.order(service)
        self.world.wait(60)
        self.world.cloud.fail_next("create", OverQuota("too many cores"))
        self.world.cloud.fail_next("quota", CloudError("busy"), times=1)
        self.world.order(service)
        self.world.wait(2)
        self.assertGreater(self.world.cloud.calls["quota"], reads)
        objection = service.making.objection("main", ["small"])
        assert objection is not None
        self.assertFalse(objection.lasting)
        self.world.use(kept)
        self.world.give_back(kept)
        self.world.wait(30)
        self.assertIsNone(service.making.objection("main", ["small"]))

    def test_over_quota_after_it_was_made(self) -> None:
        """A server that turns out to be too much is deleted with its node."""
        self.world.cloud.fail_boot(OverQuota("volume quota"))
        node_id = self.world.order(self.provide())
        self.world.wait(100)
        self.assertNotIn(node_id, self.world.nodes())
        self.assertEqual(self.ids(), [])


class WhenItIsBetterNotToTry(LaunchTestCase):
    def fail_until_left_alone(self, service: CloudProviderService) -> None:
        self.world.cloud.fail_next("create", CloudError("no valid host"), times=3)
        self.world.order(service)
        self.world.wait(40)
        self.assertIsNotNone(service.making.objection("main", ["small"]))

    def test_one_attempt_tells(self) -> None:
        """Of many that were decided on when a label is tried again one is made; the rest waits."""
        service = self.provide()
        self.fail_until_left_alone(service)
        self.world.wait(40)
        self.assertIsNone(service.making.objection("main", ["small"]))
        before = self.world.cloud.calls["create"]
        ids = [self.world.order(service) for _ in range(5)]
        self.world.wait(20)
        self.assertEqual(self.world.cloud.calls["create"] - before, 1)
        self.assertEqual(list(self.world.nodes()), ids[:1])
        self.world.wait(30)
        self.assertEqual(self.world.node(ids[0]).state, NodeState.READY)
        self.assertIsNone(service.making.objection("main", ["small"]))

    def test_it_still_fails(self) -> None:
        """While it still fails the pauses grow, and one attempt is made after each."""
        service = self.provide(launch_retries=1)
        self.world.cloud.fail_next("create", CloudError("no valid host"), times=100)
        for _ in range(1000):
            if service.making.objection("main", ["small"]) is None:
                self.world.order(service)
            self.world.wait(2, step=2)
        self.assertLess(self.world.cloud.calls["create"], 12)
        (breaker,) = service.status().details["breakers"]
        self.assertGreater(breaker.failures, 4)

    def test_refused_before(self) -> None:
        """What the quota has just refused is not asked for again at once."""
        service = self.provide()
        self.world.cloud.fail_next("create", OverQuota("cores"))
        self.world.order(service)
        self.world.settle()
        self.world.order(service)
        self.world.wait(5)
        self.assertEqual((self.world.cloud.calls["create"], self.world.nodes()), (1, {}))


class WhenTheRecordIsStrange(LaunchTestCase):
    def test_two_orders(self) -> None:
        """A node that is ordered twice is made once."""
        service = self.provide()
        request = self.world.request("small")
        node = service.making.draft("main", "small", request, None)
        node_id = self.world.put_node(node)
        service.making.make(node_id, request)
        service.making.make(node_id, request)
        self.world.wait(60)
        self.assertEqual(self.world.cloud.made, 1)

    def test_label_is_unknown(self) -> None:
        """A node of a label that is not configured fails, and nothing is made."""
        service = self.provide()
        request = self.world.request("small")
        node = service.making.draft("main", "small", request, None)
        node_id = self.world.put_node(attrs.evolve(node, type=("huge",)))
        service.making.make(node_id, request)
        self.world.wait(10)
        self.assertEqual((self.world.cloud.made, self.world.nodes()), (0, {}))

    def test_locked_by_somebody_else(self) -> None:
        """A node that somebody else holds is left to them."""
        service = self.provide()
        request = self.world.request("small")
        node_id = self.world.put_node(service.making.draft("main", "small", request, None))
        self.world.lock(node_id)
        service.making.make(node_id, request)
        self.world.wait(10)
        self.assertEqual(self.world.node(node_id).state, NodeState.INIT)
        self.assertEqual(self.world.cloud.made, 0)
