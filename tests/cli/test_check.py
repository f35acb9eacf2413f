"""``nodepool check``: every trouble made by hand, found, and repaired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from nodepool_tx.cli import check
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.model import (
    MIN_READY_REQUESTOR,
    ImageBuild,
    ImageState,
    ImageUpload,
    Maintenance,
    MaintenanceMode,
    NodeRequest,
    NodeState,
    RequestState,
)
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import NODE_ID, PROVIDER_NAME
from nodepool_tx.providers.cloud.memory import MemoryAdapter, MemoryCloud, Timing
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.codec import (
    encode_component,
    encode_image_build,
    encode_image_upload,
    encode_node,
    encode_request,
)
from nodepool_tx.store.maintenance import encode_maintenance
from nodepool_tx.testing.zookeeper import MemoryClient
from tests.check.farms import pool
from tests.cli.stage import CONFIG, CommandLineTestCase, Run

#: Three hosts, each with the slots 0 and 1.
FARM = CONFIG.replace(
    """\
          - name: h1
            labels: debian
            connection-port: 2222
""",
    "".join(
        f"          - {{name: h{n}, labels: debian, connection-port: 2222, max-parallel-jobs: 2}}\n"
        for n in (1, 2, 3)
    ),
)
GONE = "200-0000000099"


class CheckTestCase(CommandLineTestCase):
    """A farm on which a launcher is online; the test plays it, and does nothing by itself."""

    def setUp(self) -> None:
        super().setUp()
        self.config.write_text(FARM)
        self.someone: MemoryClient = self.zookeeper.client()
        self.someone.connect()
        self.settle()
        for path in paths.SKELETON:
            self.someone.ensure_path(path)
        self.settle()
        for provider in ("dc", "sky"):
            online = attrs.evolve(pool(provider, "debian"), id=f"{provider}-pool")
            path = f"{paths.COMPONENTS}/pool/host"
            self.inspector.create(path, encode_component(online), owner=self.someone, sequence=True)
        self.slots = {
            (host, slot): self.add_node(hostname=host, slot=slot, python_path="auto")
            for host in ("h1", "h2", "h3")
            for slot in (0, 1)
        }

    # -- what is done ----------------------------------------------------

    def check(self, *words: str, code: int | None = None, patience: float = 20.0) -> list[Any]:
        run = self.begin(*words)
        self.pass_time(patience)
        if code is not None:
            self.assertEqual(run.code, code, run.stdout + run.stderr)
        return self.rows(run)  # type: ignore[no-any-return]

    def begin(self, *words: str, **more: Any) -> Run:
        return self.start("check", "--format", "json", *words, **more)

    def codes(self, *words: str) -> list[str]:
        return sorted(row["code"] for row in self.check(*words))

    def repaired(self, *codes: str) -> None:
        """These are found, repaired, and not found again."""
        self.assertEqual(self.codes(), sorted(codes))
        before = self.inspector.dump("/nodepool/")
        self.assertEqual(self.codes("--repair", "--dry-run"), sorted(codes))
        self.assertEqual(self.inspector.dump("/nodepool/"), before)
        rows = self.check("--repair", "--yes", code=ExitCode.OK)
        self.assertLessEqual({row["outcome"] for row in rows}, {"done", "no longer needed"}, rows)
        self.assertIn("done", {row["outcome"] for row in rows})
        self.assertEqual(self.check(code=ExitCode.OK), [])

    def left(self, code: str) -> dict[str, Any]:
        """This is found, and a repair leaves it alone."""
        before = self.inspector.dump("/nodepool/")
        (row,) = self.check("--repair", "--yes", code=ExitCode.FAILED)
        self.assertEqual((row["code"], row["repair"], row["outcome"]), (code, "", None))
        self.assertEqual(self.inspector.dump("/nodepool/"), before)
        return row  # type: ignore[no-any-return]

    # -- what is there ---------------------------------------------------

    def add_request(self, state: str = "requested", request_id: str = "", **more: Any) -> str:
        request = NodeRequest(
            state=RequestState(state),
            **{"state_time": self.clock.seconds() - 90, "node_types": ("debian",), **more},
        )
        path = f"{paths.REQUESTS}/{request_id or '200-'}"
        made = self.inspector.create(path, encode_request(request), sequence=not request_id)
        self.settle()
        return made.rpartition("/")[2]

    def write(self, node_id: str, **changes: Any) -> None:
        node = self.node(node_id)
        assert node is not None
        self.inspector.set(paths.node(node_id), encode_node(attrs.evolve(node, **changes)))
        self.settle()

    def contend(self, directory: str, owner: MemoryClient | None = None) -> str:
        return self.inspector.create(f"{directory}/x__lock__", owner=owner, sequence=True)

    def state_of(self, request_id: str) -> str:
        (found,) = (each for each in self.requests() if each.id == request_id)
        return found.state.value


class HealthyTests(CheckTestCase):
    """What is right, and what passes."""

    def test_nothing_is_wrong(self) -> None:
        """Exit code 0, an empty list, and a word about what was looked at; at once."""
        run = self.run_to_end("check")
        self.assertEqual(run.code, 0)
        self.assertIn("6 nodes, 0 requests: nothing is wrong", run.stderr)
        self.assertEqual(self.rows(self.run_to_end("check", "--format", "json")), [])

    def test_what_passes(self) -> None:
        """Does not count: it was different when it was looked at again."""
        request = self.add_request("pending")
        self.promise(self.slots["h1", 0], GONE)
        run = self.begin()
        self.pass_time(10)
        self.assertIsNone(run.code)
        self.inspector.delete(paths.request(request))
        self.promise(self.slots["h1", 0], "")
        self.pass_time(10)
        self.assertEqual((run.code, self.rows(run)), (0, []))

    def test_what_changes_all_the_time(self) -> None:
        """Does not count either, though each look shows the same kind of trouble."""
        run = self.begin()
        self.assertEqual(run.code, 0)
        self.promise(self.slots["h1", 0], GONE)
        run = self.begin()
        for turn in range(10):
            self.pass_time(2)
            self.promise(self.slots["h1", 0], f"200-000000010{turn}")
        self.pass_time(20)
        self.assertEqual((run.code, self.rows(run)), (0, []))

    def test_a_slot_that_is_empty_now_and_then(self) -> None:
        """Is a machine at work."""
        node_id = self.slots["h3", 1]
        self.inspector.delete_tree(paths.node(node_id))
        run = self.begin()
        self.pass_time(1)
        node_id = self.add_node(hostname="h3", slot=1, python_path="auto")
        self.pass_time(4)
        self.inspector.delete_tree(paths.node(node_id))
        self.pass_time(20)
        self.assertEqual((run.code, self.rows(run)), (0, []))
        self.assertEqual(self.codes(), ["static-missing"])

    def test_looking_changes_nothing(self) -> None:
        """Neither in a healthy farm nor in a broken one."""
        self.contend(paths.node_lock(self.slots["h1", 0]))
        before = self.inspector.dump("/nodepool/")
        self.check(code=ExitCode.FAILED)
        self.assertEqual(self.inspector.dump("/nodepool/"), before)


class RepairTests(CheckTestCase):
    """Each kind of trouble, and what is left of it."""

    def test_locks_without_session(self) -> None:
        """Everywhere."""
        self.someone_builds()
        for directory in (
            paths.node_lock(self.slots["h1", 0]),
            paths.request_lock(self.add_request()),
            paths.request_lock(GONE),
            paths.owner_lock("dc"),
            f"{paths.ELECTIONS}/stats",
            image_paths.builds_lock("debian"),
        ):
            self.contend(directory)
        self.repaired(*["lock-ownerless"] * 6)
        self.assertIsNone(self.inspector.stat(paths.request_lock(GONE)))

    def someone_builds(self) -> None:
        build = ImageBuild(id="b1", image="debian", state=ImageState.READY)
        self.inspector.create(paths.image_build("debian", "b1"), encode_image_build(build))

    def test_locks_with_a_session(self) -> None:
        """Are nobody else's business."""
        for directory in (
            paths.node_lock(self.slots["h1", 0]),
            paths.request_lock(self.add_request()),
            paths.request_lock(GONE),
            paths.owner_lock("dc"),
        ):
            self.contend(directory, self.someone)
        self.assertEqual(self.codes(), [])

    def test_old_locks_of_requests(self) -> None:
        """Go when launchers have not removed them in time."""
        self.inspector.create(paths.request_lock(GONE))
        self.pass_time(1)
        self.assertEqual(self.codes(), [])
        self.clock.advance(10 * 3600)
        self.repaired("lock-orphaned")

    def test_a_registration_without_session(self) -> None:
        """Goes."""
        phantom = encode_component(pool("moon"))
        self.inspector.create(f"{paths.COMPONENTS}/pool/ghost", phantom, sequence=True)
        self.repaired("component-ownerless")

    def test_the_place_of_a_node(self) -> None:
        """Goes, with its lock."""
        self.inspector.create(f"{paths.NODES}/0000000077/lock")
        self.assertEqual(self.codes(), [])
        self.clock.advance(200)
        self.repaired("node-empty")
        self.assertIsNone(self.inspector.stat(f"{paths.NODES}/0000000077"))

    def test_nodes_that_nobody_makes(self) -> None:
        """Are marked to be deleted."""
        made = [self.add_node(state, provider="sky") for state in ("init", "building", "testing")]
        self.clock.advance(100)
        self.repaired(*["node-abandoned"] * 3)
        self.assertEqual(
            {str(self.node(each).state) for each in made},  # type: ignore[union-attr]
            {str(NodeState.DELETING)},
        )

    def test_promises_to_nobody(self) -> None:
        """The nodes are in stock again."""
        node_id = self.slots["h1", 0]
        self.write(node_id, allocated_to=GONE, tenant_name="t", requestor="zuul")
        self.repaired("node-promised-to-nobody")
        node = self.node(node_id)
        assert node is not None
        self.assertEqual((node.allocated_to, node.tenant_name, node.requestor), (None,) * 3)

    def test_promises_in_vain(self) -> None:
        """The nodes are in stock again."""
        failed = self.add_request("failed")
        fulfilled = self.add_request("fulfilled", nodes=(self.slots["h2", 0],))
        self.promise(self.slots["h1", 0], failed)
        self.promise(self.slots["h1", 1], fulfilled)
        self.promise(self.slots["h2", 0], fulfilled)
        self.repaired("node-promised-in-vain", "node-promised-in-vain")
        self.assertEqual(self.state_of(fulfilled), "fulfilled")

    def test_requests_without_nodes(self) -> None:
        """Fail, and give up what they have; those that have all theirs do not."""
        (one, two), three = (self.slots["h1", 0], self.slots["h1", 1]), self.slots["h2", 0]
        gone = self.add_request("fulfilled", nodes=(one, "0000000088"))
        nobody = self.add_request("fulfilled", nodes=(two,))
        first = self.add_request("fulfilled", nodes=(three,))
        second = self.add_request("fulfilled", nodes=(three,))
        self.promise(one, gone)
        self.promise(three, second)
        self.repaired("request-without-nodes", "request-without-nodes", "node-given-twice")
        states = [self.state_of(each) for each in (gone, nobody, first, second)]
        self.assertEqual(states, ["failed", "failed", "failed", "fulfilled"])
        self.assertEqual(self.node(one).allocated_to, None)  # type: ignore[union-attr]

    def test_requests_that_nobody_works_on(self) -> None:
        """Are open again, with their nodes back in stock."""
        lost = self.add_request("pending", nodes=())
        self.promise(self.slots["h1", 0], lost)
        made = self.add_node("building", provider="sky", allocated_to=lost)
        self.repaired("request-abandoned", "node-abandoned")
        self.assertEqual(self.state_of(lost), "requested")
        self.assertEqual(self.node(made).state, NodeState.DELETING)  # type: ignore[union-attr]
        self.assertIsNone(self.node(self.slots["h1", 0]).allocated_to)  # type: ignore[union-attr]

    def test_requests_for_the_stock(self) -> None:
        """Go with who made them."""
        for state in ("fulfilled", "failed"):
            self.add_request(state, requestor=MIN_READY_REQUESTOR, state_time=0.0)
        self.repaired("request-ownerless", "request-ownerless")
        self.assertEqual(self.requests(), [])

    def test_requests_declined_by_who_is_gone(self) -> None:
        """Are nobody's any more."""
        self.add_request(declined_by=("old",), node_types=("huge",), state_time=0.0)
        self.repaired("request-declined-by-gone")
        self.assertEqual(self.request().declined_by, ())

    def test_requests_that_nobody_takes(self) -> None:
        """Are their requestor's business."""
        node_id = self.slots["h1", 0]
        request = self.add_request("fulfilled", nodes=(node_id,), state_time=0.0)
        self.promise(node_id, request)
        found = self.left("request-not-accepted")
        self.assertIn("nobody has taken its nodes", found["words"])

    def test_slots(self) -> None:
        """What is too much goes."""
        old = self.add_node(hostname="h1", slot=0, python_path="auto")
        self.add_node(hostname="h1", slot=5, python_path="auto")
        self.add_node(hostname="h9", slot=0, python_path="auto")
        self.repaired("static-doubled", "static-not-configured", "static-not-configured")
        self.assertIsNone(self.node(old))
        self.assertIsNotNone(self.node(self.slots["h1", 0]))

    def test_two_jobs_on_one_slot(self) -> None:
        """End by themselves."""
        for node_id in (self.slots["h1", 0], self.add_node(hostname="h1", slot=0)):
            self.write(node_id, state=NodeState.IN_USE)
            self.contend(paths.node_lock(node_id), self.someone)
        self.left("static-doubled")

    def test_out_of_service(self) -> None:
        """Free nodes of such a host go; what is in use ends by itself."""
        self.write(self.slots["h1", 1], state=NodeState.IN_USE)
        self.contend(paths.node_lock(self.slots["h1", 1]), self.someone)
        self.maintain("h1")
        self.repaired("static-out-of-service")
        self.assertIsNotNone(self.node(self.slots["h1", 1]))

    def maintain(self, host: str) -> None:
        record = Maintenance(mode=MaintenanceMode.DRAIN, host=host)
        self.inspector.create(paths.maintenance_of_host(host), encode_maintenance(record))

    def test_maintenance_of_nothing(self) -> None:
        """Is left to people."""
        self.maintain("h9")
        self.assertIn("nodepool return h9", self.left("maintenance-not-configured")["left"])

    def test_images(self) -> None:
        """What nobody makes fails, and empty numbers go."""
        for build_id, state in (("b1", ImageState.BUILDING), ("b2", ImageState.READY)):
            build = ImageBuild(id=build_id, image="debian", state=state)
            path = paths.image_build("debian", build_id)
            self.inspector.create(path, encode_image_build(build))
        upload = ImageUpload(
            id="1", image="debian", build_id="b2", provider="dc", state=ImageState.UPLOADING
        )
        path = paths.image_upload("debian", "b2", "dc", "")
        self.inspector.create(path, encode_image_upload(upload), sequence=True)
        empty = self.inspector.create(path, sequence=True)
        self.inspector.create(f"{empty}/lock")
        self.clock.advance(200)
        self.repaired("image-build-abandoned", "image-upload-abandoned", "image-upload-empty")
        self.assertIsNone(self.inspector.stat(empty))
        self.assertIn(b'"failed"', self.inspector.dump("/")[paths.image_build("debian", "b1")])

    def test_notes(self) -> None:
        """That have had their time go."""
        self.inspector.create(paths.draining("moon"), b'{"driver": "static"}')
        self.inspector.create(paths.draining("dc"), b'{"driver": "static"}')
        self.inspector.create(f"{paths.QUESTIONS}/q/launcher", b"{}")
        self.clock.advance(200)
        self.repaired("draining-done", "draining-done", "question-left-over")

    def test_garbage(self) -> None:
        """Is left to people."""
        self.inspector.create(f"{paths.NODES}/0000000077", b'{"state": 5}')
        self.assertEqual(self.left("unreadable")["path"], f"{paths.NODES}/0000000077")

    def test_a_provider_that_was_removed_meanwhile(self) -> None:
        """Its free static nodes go; what is held or in a cloud stays."""
        free = self.add_node(provider="old", launcher="static driver")
        held = self.add_node("hold", provider="old", launcher="static driver", slot=1)
        cloudy = self.add_node(provider="old", launcher="l", external_id="s1", slot=None)
        rows = self.check("--repair", "--yes", code=ExitCode.FAILED)
        outcomes = {row["code"]: row["outcome"] for row in rows}
        self.assertEqual(
            outcomes,
            {"static-left-behind": "done", "static-left-in-use": None, "cloud-left-behind": None},
        )
        self.assertEqual(
            [self.node(each) is None for each in (free, held, cloudy)], [True, False, False]
        )

    def test_a_configured_provider_without_launcher(self) -> None:
        """Its nodes stay: it may be on its way back."""
        self.inspector.expire(self.someone)
        self.settle()
        self.left("provider-unserved")


class InterplayTests(CheckTestCase):
    """What others do meanwhile."""

    def when_repairing(self, does: Callable[[], None]) -> list[Any]:
        """Let somebody do something just before the first repair reaches ZooKeeper."""
        run = self.begin("--repair", interactive=True)
        self.pass_time(20)
        self.assertIsNone(run.code)

        def hook(_: object) -> None:
            call_off()
            does()

        def is_write(path: str) -> bool:
            return path != "/"

        call_off = self.inspector.before("transaction", hook, path=is_write, times=None)
        self.typed.callback("y")
        self.pass_time(5)
        rows = self.rows(run)
        self.assertIsNotNone(run.code)
        return rows  # type: ignore[no-any-return]

    def test_somebody_takes_the_node(self) -> None:
        """It is not touched under another's lock."""
        node_id = self.slots["h1", 0]
        self.promise(node_id, GONE)
        (row,) = self.when_repairing(
            lambda: void(self.contend(paths.node_lock(node_id), self.someone))
        )
        self.assertEqual(row["outcome"], "refused")
        self.assertIn("locked by somebody else", row["refusal"])
        self.assertEqual(self.node(node_id).allocated_to, GONE)  # type: ignore[union-attr]

    def test_somebody_is_faster(self) -> None:
        """There is nothing left to do."""
        node_id = self.slots["h1", 0]
        self.promise(node_id, GONE)
        (row,) = self.when_repairing(lambda: self.write_now(node_id, allocated_to=None))
        self.assertEqual((row["outcome"], row["refusal"]), ("no longer needed", ""))

    def write_now(self, node_id: str, **changes: Any) -> None:
        node = self.node(node_id)
        assert node is not None
        self.inspector.set(paths.node(node_id), encode_node(attrs.evolve(node, **changes)))

    def test_somebody_writes_something_else(self) -> None:
        """It is looked at once more, and repaired as it is then."""
        node_id = self.slots["h1", 0]
        self.promise(node_id, GONE)
        (row,) = self.when_repairing(lambda: self.write_now(node_id, comment="kept"))
        node = self.node(node_id)
        assert node is not None
        self.assertEqual((row["outcome"], node.allocated_to, node.comment), ("done", None, "kept"))

    def test_somebody_takes_one_of_many(self) -> None:
        """The others are deregistered; that one is told."""
        ids = [
            self.add_node(provider="old", launcher="static driver", slot=slot) for slot in range(5)
        ]
        (row,) = self.when_repairing(
            lambda: void(self.contend(paths.node_lock(ids[2]), self.someone))
        )
        self.assertEqual(row["outcome"], "refused")
        self.assertIn(ids[2], row["refusal"])
        self.assertEqual([each for each in ids if self.node(each)], [ids[2]])

    def test_broken_off(self) -> None:
        """With any of its requests, and done again: the end is the same."""
        for nth in range(1, 8):
            node_ids = [self.slots["h1", 0], self.slots["h1", 1], self.slots["h2", 0]]
            for node_id in node_ids:
                self.promise(node_id, GONE)
            run = self.begin("--repair", "--yes")
            self.pass_time(14)
            left = nth

            def hook(call: Any) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    self.inspector.suspend(run.client)  # noqa: B023

            call_off = self.inspector.after("transaction", hook, client=run.client, times=None)
            self.pass_time(3)
            if run.code is None:
                self.interrupt(run)
            call_off()
            self.inspector.resume(run.client)
            self.pass_time(1)
            self.check("--repair", "--yes", code=ExitCode.OK)
            for node_id in node_ids:
                self.assertIsNone(self.node(node_id).allocated_to)  # type: ignore[union-attr]

    def test_a_broken_session(self) -> None:
        """Ends with the code for that, or goes on with a new one; then all is well."""
        self.promise(self.slots["h1", 0], GONE)
        run = self.begin("--repair", "--yes")
        self.pass_time(10)
        self.inspector.expire(run.client)
        self.pass_time(30)
        self.assertIn(run.code, (ExitCode.OK, ExitCode.NO_ZOOKEEPER))
        self.check("--repair", "--yes", code=ExitCode.OK)
        self.assertEqual(self.codes(), [])


class TalkTests(CheckTestCase):
    """Questions, options and formats."""

    def test_asking(self) -> None:
        """Nothing is repaired before somebody has said yes."""
        self.promise(self.slots["h1", 0], GONE)
        run = self.begin("--repair", interactive=True)
        self.pass_time(20)
        self.assertIn("Repair 1 of these 1?", run.stderr)
        self.assertIn("node-promised-to-nobody", run.stderr)
        self.typed.callback("no")
        self.settle()
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("nothing was repaired", run.stderr)
        self.assertEqual(self.node(self.slots["h1", 0]).allocated_to, GONE)  # type: ignore[union-attr]

    def test_nobody_to_ask(self) -> None:
        """Shows what there is, and repairs nothing."""
        self.promise(self.slots["h1", 0], GONE)
        (row,) = self.check("--repair", code=ExitCode.FAILED)
        self.assertEqual(row["code"], "node-promised-to-nobody")
        self.assertEqual(self.node(self.slots["h1", 0]).allocated_to, GONE)  # type: ignore[union-attr]

    def test_formats(self) -> None:
        """A table for people, CSV and JSON for programs."""
        self.promise(self.slots["h1", 0], GONE)
        for format, wanted in (
            ("table", "| error    | node-promised-to-nobody |"),
            ("csv", "error,node-promised-to-nobody,node 0000000000,dc,/nodepool/nodes/0000000000,"),
        ):
            run = self.start("check", "--format", format)
            self.pass_time(20)
            self.assertIn(wanted, run.stdout)
            self.assertIn("1 finding, 1 of which nodepool check --repair", run.stderr)
        (row,) = self.check()
        self.assertEqual(row["repair"], "put it back in stock")

    def test_one_provider(self) -> None:
        """Nothing is said of others; one that nobody knows is a mistake."""
        self.promise(self.slots["h1", 0], GONE)
        self.add_node("building", provider="sky")
        self.assertEqual(self.codes(), ["node-abandoned", "node-promised-to-nobody"])
        self.assertEqual(self.codes("--provider", "sky"), ["node-abandoned"])
        self.check("--provider", "dc", "--repair", "--yes", code=ExitCode.OK)
        self.assertEqual(self.codes(), ["node-abandoned"])
        run = self.run_to_end("check", "--provider", "moon")
        self.assertEqual(run.code, ExitCode.FAILED)
        self.assertIn("there is no provider moon", run.stderr)

    def test_overdue(self) -> None:
        """What else takes hours counts sooner, and is not looked at longer than that."""
        self.inspector.create(paths.request_lock(GONE))
        self.pass_time(5)
        self.assertEqual(self.codes(), [])
        run = self.begin("--overdue", "4")
        self.pass_time(3)
        self.assertEqual([row["code"] for row in self.rows(run)], ["lock-orphaned"])

    def test_yes_without_repair(self) -> None:
        """Is a mistake."""
        with self.assertRaises(SystemExit):
            self.start("check", "--yes")


class Adapter(MemoryAdapter):
    """Counts those that run."""

    running = 0

    def start(self) -> None:
        Adapter.running += 1

    async def stop(self) -> None:
        Adapter.running -= 1
        await super().stop()


class CloudTests(CheckTestCase):
    """A provider ``sky`` with a cloud in memory, and ``toy`` with one that nobody can see."""

    def setUp(self) -> None:
        super().setUp()
        clouds = (
            "  - {name: sky, driver: openstack, cloud: sky}\n"
            "  - {name: toy, driver: fake, cloud: toy}\n"
        )
        self.config.write_text(FARM.replace("tenant-res", f"{clouds}tenant-res"))
        self.cloud = MemoryCloud(self.clock, timing=Timing(answer=0))
        Adapter.running = 0
        real = check.adapter_of

        def adapter_of(config: ProviderConfig, *more: Any) -> Any:
            return Adapter(self.cloud) if config.name == "sky" else real(config, *more)

        self.patch(check, "adapter_of", adapter_of)
        self.addCleanup(lambda: self.assertEqual(Adapter.running, 0))

    def add_server(self, node_id: str, provider: str = "sky") -> str:
        metadata = {NODE_ID: node_id, PROVIDER_NAME: provider}
        return self.cloud.add_unmanaged(**metadata)

    def add_cloudy(self, state: str = "ready", **more: Any) -> str:
        return self.add_node(state, provider="sky", slot=None, launcher="sky-pool", **more)

    def test_leaks(self) -> None:
        """What nobody knows of goes; what is others' stays."""
        node_id = self.add_cloudy(external_id=None, state="building")
        self.contend(paths.node_lock(node_id), self.someone)
        others = self.add_server("0000000099", "sea")
        made = self.add_server(node_id)
        self.add_server("0000000099")
        self.cloud.leave("port", orphan=True)
        self.repaired("cloud-leaked", "cloud-leaked")
        self.assertEqual(set(self.cloud.servers), {others, made})

    def test_a_second_server(self) -> None:
        """Goes."""
        node_id = self.add_cloudy()
        mine = self.add_server(node_id)
        self.write(node_id, external_id=mine)
        self.add_server(node_id)
        self.repaired("cloud-second-server")
        self.assertEqual(set(self.cloud.servers), {mine})

    def test_lost_servers(self) -> None:
        """Their nodes are deleted, if nobody has them."""
        free, held = self.add_cloudy(external_id="s1"), self.add_cloudy("hold", external_id="s2")
        rows = self.check("--repair", "--yes", code=ExitCode.FAILED)
        self.assertEqual([row["code"] for row in rows], ["cloud-lost"] * 2)
        self.assertEqual(
            {row["what"]: row["outcome"] for row in rows},
            {f"node {free}": "done", f"node {held}": None},
        )
        self.assertEqual(self.node(free).state, NodeState.DELETING)  # type: ignore[union-attr]
        self.assertEqual(self.node(held).state, NodeState.HOLD)  # type: ignore[union-attr]

    def test_a_node_that_claims_the_server_just_then(self) -> None:
        """Keeps it: the cloud and the nodes are looked at again before the repair."""
        server = self.add_server("0000000099")
        run = self.begin("--repair", interactive=True)
        self.pass_time(20)
        node = NODE.format(server=server).encode()
        self.inspector.create(paths.node("0000000099"), node)
        self.typed.callback("y")
        self.pass_time(5)
        (row,) = self.rows(run)
        self.assertEqual(row["outcome"], "no longer needed")
        self.assertIn(server, self.cloud.servers)

    def test_trouble(self) -> None:
        """A cloud that does not answer is named, and the exit code is 1; so may be left out."""
        for error in (CloudError("503 unavailable"), KeyError("id")):
            self.cloud.fail_next("list_resources", error)
            (row,) = self.check(code=ExitCode.FAILED)
            self.assertEqual((row["code"], row["provider"]), ("cloud-not-asked", "sky"))
            self.assertIn(str(error), row["words"])
        self.cloud.fail_next("list_resources", CloudError("503"))
        self.assertEqual(self.check("--no-clouds", code=ExitCode.OK), [])

    def test_no_answer(self) -> None:
        """Is not waited for longer than a minute."""
        self.cloud.hang_next("list_resources")
        run = self.begin()
        self.pass_time(59)
        self.assertIsNone(run.code)
        self.pass_time(2)
        self.assertIn("no answer within 60 s", self.rows(run)[0]["words"])

    def test_a_removal_that_is_refused(self) -> None:
        """Is told with the reason."""
        self.add_server("0000000099")
        self.cloud.fail_next("delete_resource", CloudError("409 in use"))
        (row,) = self.check("--repair", "--yes", code=ExitCode.FAILED)
        self.assertEqual(
            (row["outcome"], row["refusal"]), ("refused", "the cloud refuses: 409 in use")
        )

    def test_clouds_that_cannot_be_seen(self) -> None:
        """Are named; only when one of them was asked for it is a failure."""
        run = self.run_to_end("check")
        self.assertEqual(run.code, 0)
        self.assertIn("no cloud to be seen from here: toy", run.stderr)
        self.assertEqual(self.run_to_end("check", "--provider", "toy").code, ExitCode.FAILED)

    def test_interrupting(self) -> None:
        """Ends the questions."""
        self.cloud.hang_next("list_resources")
        run = self.begin()
        self.interrupt(run)
        self.assertEqual(run.code, ExitCode.INTERRUPTED)


#: A node that has just got its server.
NODE = (
    '{{"state": "building", "provider": "sky", "pool": "main", "type": ["debian"], '
    '"external_id": "{server}", "state_time": 1, "launcher": "sky-pool"}}'
)


def void(_: object) -> None:
    """For the sake of what it does, not of what it returns."""
