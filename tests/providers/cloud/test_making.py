"""What pools are told of a cloud provider, at once and from memory."""

from __future__ import annotations

from typing import Any

from nodepool_tx.config.cloud import CloudImage
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.model import ImageState, ImageUpload, Node, NodeState
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.memory_cloud import Timing
from nodepool_tx.providers.cloud.service import CloudProviderService
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_image_upload
from tests.providers.cloud.world import World, WorldTestCase, cloud_label, cloud_provider


class MakingTestCase(WorldTestCase):
    def make_world(self) -> World:
        return World(
            Timing(boot=30.0, delete=10.0),
            flavors={"small": {"instances": 1, "cores": 2}, "large": {"instances": 1, "cores": 8}},
            quota={"instances": 10, "cores": 40},
            zones=("z1", "z2"),
        )

    def provide(self, *labels: Any, **changes: Any) -> CloudProviderService:
        return self.world.launcher().provide(cloud_provider(*labels, **changes))


class Answers(MakingTestCase):
    def test_needs(self) -> None:
        """What a node of each label uses is known, and None before that."""
        service = self.provide("small", "large")
        self.assertEqual(service.making.needs("main", "large"), {"instances": 1, "cores": 8})
        self.assertIsNone(service.making.needs("main", "other"))

    def test_not_known_yet(self) -> None:
        """Until the cloud has answered there is a passing objection."""
        self.world.cloud.broken = CloudError("starting up")
        service = self.provide()
        objection = service.making.objection("main", ["small"])
        assert objection is not None
        self.assertFalse(objection.lasting)
        self.assertIsNone(service.making.needs("main", "small"))
        self.assertIsNone(service.making.quota())
        told: list[bool] = []
        service.making.subscribe(lambda: told.append(True))
        self.world.cloud.broken = None
        self.world.wait(10)
        self.assertIsNone(service.making.objection("main", ["small"]))
        self.assertEqual(service.making.quota(), {"instances": 10, "cores": 40})
        self.assertTrue(told)

    def test_quota_less_what_others_use(self) -> None:
        """What others use in the account is not ours to use; what we use is."""
        self.world.cloud.add_unmanaged(needs={"instances": 1, "cores": 4})
        service = self.provide()
        self.world.order(service)
        self.world.wait(400)
        self.assertEqual(service.making.quota(), {"instances": 9, "cores": 36})

    def test_impossible(self) -> None:
        """A label that the cloud cannot make is objected to for good."""
        service = self.provide("small", "huge")
        objection = service.making.objection("main", ["small", "huge"])
        assert objection is not None
        self.assertTrue(objection.lasting)
        self.assertIn("huge", objection.reason)
        self.assertIsNone(service.making.objection("main", ["small"]))
        self.assertTrue(any("huge cannot be made" in line for line in service.status().troubles))

    def test_image_that_is_missing(self) -> None:
        """A label without its image is objected to until the image is there."""
        self.world.cloud.missing_images.add("debian")
        service = self.provide()
        objection = service.making.objection("main", ["small"])
        assert objection is not None
        self.assertIn("debian", objection.reason)
        (trouble,) = service.status().troubles
        self.assertEqual(trouble, "label main/small cannot be made: the image debian is not there")
        self.world.cloud.missing_images.clear()
        self.world.wait(130)
        self.assertIsNone(service.making.objection("main", ["small"]))
        self.assertEqual(service.status().troubles, ())

    def test_disk_image(self) -> None:
        """A label with a disk image is objected to until an upload of it is ready."""
        label = cloud_label("small", image=CloudImage(name="own", diskimage=True))
        service = self.provide(label)
        objection = service.making.objection("main", ["small"])
        assert objection is not None
        self.assertIn("the image own is not there", objection.reason)
        self.assertIn(objection.reason.partition(": ")[2], service.status().troubles[0])
        told: list[bool] = []
        service.making.subscribe(lambda: told.append(True))
        upload = ImageUpload(state=ImageState.READY, state_time=1.0, external_id="i1")
        path = paths.image_upload("own", "b1", "cloud", "0000000001")
        self.world.inspector.create(path, encode_image_upload(upload))
        self.world.settle()
        self.assertIsNone(service.making.objection("main", ["small"]))
        self.assertTrue(told)

    def test_zones(self) -> None:
        """A zone is one of the pool's, or else of the cloud's, where the labels may be tried."""
        service = self.provide("small", "large")
        found = {service.making.zone_for("main", ["small"]) for _ in range(50)}
        self.assertEqual(found, {"z1", "z2"})
        for _ in range(3):
            service._account.breakers.begin("large", "z1").failed(CloudError("no"))
        found = {service.making.zone_for("main", ["small", "large"]) for _ in range(50)}
        self.assertEqual(found, {"z2"})

    def test_zones_of_the_pool(self) -> None:
        """A pool with zones of its own uses no others."""
        service = self.provide(pool_zones=("z2",))
        self.assertEqual({service.making.zone_for("main", ["small"]) for _ in range(9)}, {"z2"})

    def test_draft(self) -> None:
        """The record of a node to be made says whose it is and what it will use."""
        service = self.provide(pool_node_attributes=FrozenMapping({"rack": "r1"}))
        request = self.world.request("small", tenant_name="acme")
        node = service.making.draft("main", "small", request, "z1")
        shown = service._context.registry.get("cloud", "main")
        assert shown is not None
        self.assertEqual(
            (node.state, node.type, node.provider, node.pool, node.az),
            (NodeState.INIT, ("small",), "cloud", "main", "z1"),
        )
        self.assertEqual(
            (node.allocated_to, node.tenant_name, node.requestor, node.launcher),
            (request.id, "acme", "a test", shown.id),
        )
        self.assertEqual(node.resources, {"instances": 1, "cores": 2})
        self.assertEqual(node.attributes, {"rack": "r1"})
        self.assertEqual(node.created_time, self.world.clock.seconds())


class Unclaimed(MakingTestCase):
    def test_promised_to_nobody(self) -> None:
        """A node being made whose request is gone can be had, with the lock we hold."""
        service = self.provide()
        node_id = self.world.order(service)
        self.assertEqual(service.making.unclaimed("main", "small"), [])
        self.world.change_node(node_id, allocated_to=None)
        self.world.settle()
        (found,) = service.making.unclaimed("main", "small")
        self.assertEqual(found.id, node_id)
        lock = service.making.lock_of(node_id)
        assert lock is not None
        self.assertTrue(lock.held)
        self.assertEqual(service.making.unclaimed("main", "large"), [])
        self.world.wait(60)
        self.assertEqual(service.making.unclaimed("main", "small"), [])
        self.assertIsNone(service.making.lock_of(node_id))

    def test_orphans(self) -> None:
        """A node that nobody makes can be had, too; one in the hands of others cannot."""
        fields: dict[str, Any] = {"provider": "cloud", "pool": "main", "type": ("small",)}
        orphan = self.world.put_node(Node(state=NodeState.BUILDING, state_time=2.0, **fields))
        taken = self.world.put_node(Node(state=NodeState.BUILDING, state_time=1.0, **fields))
        self.world.lock(taken)
        service = self.provide()
        self.assertEqual([node.id for node in service.making.unclaimed("main", "small")], [orphan])
        self.world.wait(60)
        self.assertEqual(self.world.node(orphan).state, NodeState.READY)

    def test_furthest_first(self) -> None:
        """Of several the one that is furthest comes first."""
        service = self.provide()
        self.world.cloud.hang_next("create")
        ids = [self.world.order(service)]
        self.world.wait(3)
        ids += [self.world.order(service) for _ in range(2)]
        for node_id in ids:
            self.world.change_node(node_id, allocated_to=None)
        self.world.settle()
        found = [node.id for node in service.making.unclaimed("main", "small")]
        self.assertEqual(found, [ids[1], ids[2], ids[0]])
        self.world.wait(200)


class Asking(MakingTestCase):
    def test_not_in_turn(self) -> None:
        """However slowly a cloud may be called, what it offers is known at once."""
        labels = [cloud_label(f"label{number}") for number in range(50)]
        self.world.cloud.flavors = None
        service = self.provide(*labels, rate=0.1)
        for label in labels:
            self.assertIsNone(service.making.objection("main", [label.name]))

    def test_one_that_does_not_answer(self) -> None:
        """A label about which there is no answer keeps no other from being known."""
        self.world.cloud.hang_next("needs")
        service = self.provide("small", "large")
        known = [label for label in ("small", "large") if service.making.needs("main", label)]
        self.assertEqual(len(known), 1)
        self.world.wait(70)
        self.assertIsNone(service.making.objection("main", ["small", "large"]))

    def test_what_was_known_holds(self) -> None:
        """A cloud that does not answer later on takes nothing back."""
        service = self.provide()
        self.world.cloud.broken = CloudError("maintenance")
        self.world.wait(700)
        self.assertIsNone(service.making.objection("main", ["small"]))
        self.assertEqual(service.making.needs("main", "small"), {"instances": 1, "cores": 2})
        self.world.cloud.broken = None
        self.world.wait(200)
        self.assertEqual(service.status().troubles, ())
