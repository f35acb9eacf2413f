"""``nodepool check`` beside real launchers: broken farms, busy farms, large farms, kills."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from nodepool_tx.model import (
    MIN_READY_REQUESTOR,
    ImageBuild,
    ImageState,
    ImageUpload,
    Maintenance,
    MaintenanceMode,
    Node,
    NodeRequest,
    NodeState,
    PoolComponent,
    RequestState,
)
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.codec import (
    encode_component,
    encode_image_build,
    encode_image_upload,
    encode_node,
    encode_request,
)
from nodepool_tx.store.maintenance import encode_maintenance
from tests.functional.launcher.process import LauncherProcess, command_line
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous

FARM = configuration(
    provider("rack", host("fake-1", "small", jobs=4), host("fake-2", "small", "large", jobs=4)),
    provider("spare", host("fake-9", "small", jobs=2), priority=200),
)

#: So that what a sweep would find in minutes or hours counts now.
SOON = ("--overdue", "1", "--no-clouds")

GONE = "100-0000099999"


class CheckScene(Scene):
    """A farm, and the command beside it."""

    async def check(
        self, launcher: LauncherProcess, *words: str, code: int | None = None
    ) -> list[dict[str, Any]]:
        done: subprocess.CompletedProcess[str] = await deferToThread(
            launcher.nodepool, "check", "--format", "json", *words
        )
        if code is not None:
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    async def put(self, path: str, data: bytes = b"", **more: Any) -> str:
        """Somebody makes a znode; its path."""
        return await self.sight.client.create(path, data, makepath=True, **more)

    async def contend(self, directory: str, **more: Any) -> str:
        return await self.put(f"{directory}/x__lock__", sequence=True, **more)

    async def write(self, node_id: str, **changes: Any) -> None:
        data = await self.sight.node(node_id)
        assert data is not None
        await self.sight.client.set(paths.node(node_id), json.dumps(data | changes).encode())

    async def add_node(self, state: str = "ready", **more: Any) -> str:
        fields: dict[str, Any] = {
            "provider": "rack",
            "pool": "main",
            "type": ("small",),
            "hostname": "fake-1",
            "launcher": "static driver",
            "slot": 0,
            "connection_type": "ssh",
            **more,
        }
        node = Node(state=NodeState(state), state_time=time.time() - 100, **fields)
        path = await self.put(f"{paths.NODES}/", encode_node(node), sequence=True)
        return path.rpartition("/")[2]

    async def add_request(self, state: str, request_id: str = "", **more: Any) -> str:
        request = NodeRequest(
            state=RequestState(state),
            **{"node_types": ("small",), "state_time": time.time() - 100, **more},
        )
        path = f"{paths.REQUESTS}/{request_id or '100-'}"
        made = await self.put(path, encode_request(request), sequence=not request_id)
        return made.rpartition("/")[2]


class BrokenFarm(CheckScene):
    """A launcher that is online and does nothing, while the farm is broken in all ways."""

    async def break_requests(self) -> None:
        nodes = sorted(n.id for n in await self.sight.nodes() if n.data["hostname"] == "fake-1")
        await self.write(nodes[0], allocated_to=GONE)
        failed = await self.add_request("failed")
        await self.write(nodes[1], allocated_to=failed)
        await self.add_request("fulfilled", nodes=("0000088888",))
        mine = await self.add_request("fulfilled", nodes=(nodes[2],), state_time=time.time())
        await self.add_request("fulfilled", nodes=(nodes[2],))
        await self.write(nodes[2], allocated_to=mine)
        pending = await self.add_request("pending")
        await self.write(nodes[3], allocated_to=pending)
        await self.add_request("failed", requestor=MIN_READY_REQUESTOR)
        await self.add_request("requested", node_types=("huge",), declined_by=("old",))
        self.given = (mine, nodes[2])

    async def break_locks(self) -> None:
        found = [n.id for n in await self.sight.nodes() if n.data["hostname"] == "fake-2"]
        await self.contend(paths.node_lock(max(found)))
        await self.contend(paths.request_lock(GONE))
        await self.put(paths.request_lock("100-0000099998"))
        await self.put(paths.node_lock("0000077777"))
        await self.contend(paths.owner_lock("elsewhere"))
        await self.contend(f"{paths.ELECTIONS}/stats")
        phantom = PoolComponent(id="x", name="x", provider_name="x", hostname="x")
        await self.put(f"{paths.COMPONENTS}/pool/ghost", encode_component(phantom), sequence=True)

    async def break_nodes(self) -> None:
        for state in ("init", "building", "testing"):
            await self.add_node(state, provider="spare", launcher="gone", slot=None)
        await self.add_node(hostname="fake-2", slot=0)
        await self.add_node(hostname="fake-2", slot=17)
        await self.add_node(hostname="fake-77")
        for slot in range(3):
            await self.add_node(provider="removed", slot=slot)
        await self.put(
            paths.maintenance_of_host("fake-9"),
            encode_maintenance(Maintenance(mode=MaintenanceMode.DRAIN, host="fake-9")),
        )

    async def break_images(self) -> None:
        for build_id, state in (("b1", ImageState.BUILDING), ("b2", ImageState.READY)):
            build = ImageBuild(id=build_id, image="debian", state=state)
            await self.put(paths.image_build("debian", build_id), encode_image_build(build))
        upload = ImageUpload(
            id="1", image="debian", build_id="b2", provider="rack", state=ImageState.UPLOADING
        )
        place = paths.image_upload("debian", "b2", "rack", "")
        await self.put(place, encode_image_upload(upload), sequence=True)
        await self.put(place, sequence=True)
        await self.contend(image_paths.builds_lock("centos"))
        await self.put(paths.draining("nothing"), b'{"driver": "static"}')
        await self.put(f"{paths.QUESTIONS}/q/answer", b"{}")

    REPAIRED = Counter(
        {
            "lock-ownerless": 5,
            "lock-orphaned": 1,
            "component-ownerless": 1,
            "node-empty": 1,
            "node-abandoned": 3,
            "node-promised-to-nobody": 1,
            "node-promised-in-vain": 1,
            "request-without-nodes": 1,
            "node-given-twice": 1,
            "request-abandoned": 1,
            "request-ownerless": 1,
            "request-declined-by-gone": 1,
            "static-left-behind": 1,
            "static-doubled": 1,
            "static-not-configured": 2,
            "static-out-of-service": 2,
            "image-build-abandoned": 1,
            "image-upload-abandoned": 1,
            "image-upload-empty": 1,
            "draining-done": 1,
            "question-left-over": 1,
        }
    )

    async def break_for_people(self) -> Counter[str]:
        """What only people can put right."""
        await self.put(f"{paths.REQUESTS}/100-0000066666", b"[]")
        await self.put(f"{paths.LEASES}/x", b"nonsense")
        await self.put(
            paths.maintenance_of_host("nowhere"),
            encode_maintenance(Maintenance(mode=MaintenanceMode.DRAIN, host="nowhere")),
        )
        upload = ImageUpload(
            id="1", image="debian", build_id="b9", provider="rack", state=ImageState.READY
        )
        place = paths.image_upload("debian", "b9", "rack", "")
        await self.put(place, encode_image_upload(upload), sequence=True)
        await self.add_node("hold", provider="removed", slot=9)
        await self.add_node(provider="elsewhere", launcher="l", slot=None, external_id="s")
        return Counter(
            {
                "unreadable": 2,
                "maintenance-not-configured": 1,
                "image-upload-orphaned": 1,
                "static-left-in-use": 1,
                "cloud-left-behind": 1,
            }
        )

    async def mend_by_hand(self) -> None:
        """What a person does about the rest."""
        client = self.sight.client
        for path in (
            f"{paths.REQUESTS}/100-0000066666",
            f"{paths.LEASES}/x",
            paths.maintenance_of_host("nowhere"),
            paths.maintenance_of_host("fake-9"),
            paths.image_build("debian", "b9"),
        ):
            await client.delete_tree(path)
        for node in await self.sight.nodes():
            if node.data["provider"] in ("removed", "elsewhere"):
                await client.delete_tree(paths.node(node.id))

    @asynchronous
    async def test_all_at_once(self) -> None:
        """All is found; what can be repaired is; nothing is found again; the farm serves."""
        launcher = await self.serving(self.at_server(FARM, timeout=40))
        launcher.send(signal.SIGSTOP)
        await self.break_requests()
        await self.break_locks()
        await self.break_nodes()
        await self.break_images()
        for_people = await self.break_for_people()
        await self.sleep(1.5)
        before = Counter(row["code"] for row in await self.check(launcher, *SOON, code=1))
        # Who has taken its nodes is seen by nobody: two were fulfilled long ago.
        before -= Counter({"request-not-accepted": before["request-not-accepted"]})
        wanted = self.REPAIRED + for_people
        self.assertEqual((before - wanted, wanted - before), (Counter(), Counter()))
        rows = await self.check(launcher, "--repair", "--yes", *SOON, code=1)
        outcomes = Counter(row["outcome"] for row in rows if row["repair"])
        self.assertLessEqual(outcomes.keys(), {"done", "no longer needed"}, rows)
        rows = await self.check(launcher, *SOON, code=1)
        left = Counter(row["code"] for row in rows)
        left -= Counter({"static-missing": left["static-missing"]})
        left -= Counter({"node-not-deleted": 3, "request-not-accepted": 1})
        self.assertEqual(left, for_people)
        mine, node_id = self.given
        given = await self.sight.record(paths.request(mine))
        assert given is not None
        self.assertEqual((given["state"], given["nodes"]), ("fulfilled", [node_id]))
        await self.mend_by_hand()
        launcher.send(signal.SIGCONT)
        for request_id in await self.sight.requests():
            await self.sight.client.delete_tree(paths.request(request_id))
        await self.until_all_free(slots(FARM))
        self.assertEqual(await self.check(launcher, *SOON, code=0), [])
        requester = await self.requester()
        crowd = self.crowd(requester, 6, [["small"], ["large"], ["small", "small"]])
        await self.until_served(crowd, 30)
        await crowd.finish()
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_while_it_works(self) -> None:
        """Locks for ever are taken off the nodes of a farm that serves all the time."""
        launcher = await self.serving(self.at_server(FARM))
        requester = await self.requester()
        crowd = self.crowd(requester, 8, [["small"], ["large"], ["small", "small"]], seed=3)
        await self.until_served(crowd, 20)
        locked: set[str] = set()
        while len(locked) < 3:
            free = [n.id for n in await self.sight.nodes() if n.free]
            for node_id in free[:1]:
                await self.contend(paths.node_lock(node_id))
                locked.add(node_id)
        await self.put(paths.draining("nothing"), b'{"driver": "static"}')
        rows = await self.check(launcher, "--repair", "--yes", "--no-clouds", code=0)
        outcomes = {row["code"]: row["outcome"] for row in rows}
        self.assertEqual(outcomes, {"lock-ownerless": "done", "draining-done": "done"})
        await self.until_served(crowd, 20)
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_killed_in_the_middle(self) -> None:
        """Whenever that is, doing it again ends the same."""
        farm = configuration(provider("rack", host("fake-1", "small")))
        launcher = await self.serving(self.at_server(farm, timeout=40))
        launcher.send(signal.SIGSTOP)
        rng = random.Random(8)
        for _ in range(3):
            ids = await self.add_all(120, provider="old")
            held = await self.add_node("hold", provider="old", slot=500)
            for node_id in ids[:60]:
                await self.write(node_id, allocated_to=GONE)
            process = subprocess.Popen(
                command_line("check", "--repair", "--yes", *SOON),
                env=launcher.command_environ(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self.addCleanup(process.kill)
            await self.until("repairs begin", partial(self.repaired, ids), patience=20)
            await self.sleep(rng.uniform(0, 0.15))
            process.kill()
            await deferToThread(process.communicate)
            rows = await self.check(launcher, "--repair", "--yes", *SOON, code=1)
            # On a slow machine the launcher, which is stopped, may be taken for gone.
            self.assertLessEqual(
                {row["code"] for row in rows if row["outcome"] is None},
                {"static-left-in-use", "provider-unserved"},
            )
            # Those that were promised are in stock by now, and go like the others.
            await self.check(launcher, "--repair", "--yes", *SOON, code=1)
            (left,) = (n for n in await self.sight.nodes() if n.data["provider"] == "old")
            self.assertEqual((left.id, left.data["state"]), (held, "hold"))
            await self.sight.client.delete_tree(paths.node(held))
        launcher.send(signal.SIGCONT)
        self.assertEqual(await self.check(launcher, *SOON, code=0), [])

    async def repaired(self, ids: Iterable[str]) -> bool:
        there = {n.id: n.data["allocated_to"] for n in await self.sight.nodes()}
        return any(each not in there for each in ids) or list(there.values()).count(GONE) < 60

    async def add_all(self, count: int, **more: Any) -> list[str]:
        adding = [Deferred.fromCoroutine(self.add_node(slot=slot, **more)) for slot in range(count)]
        return sorted(await gatherResults(adding))


class HealthyFarm(CheckScene):
    """Where nothing is wrong, nothing is found."""

    timeout = 180

    @asynchronous
    async def test_under_load(self) -> None:
        """Two launchers, a crowd, and looks all the time, with and without patience."""
        pair = [self.launcher(self.at_server(FARM)) for _ in range(2)]
        for launcher in pair:
            launcher.start()
        await self.until_all_free(slots(FARM))
        requester = await self.requester()
        crowd = self.crowd(requester, 24, [["small"], ["large"], ["small", "small"]], seed=11)
        await self.until_served(crowd, 50)
        for words in ((), ("--repair", "--yes"), ("--overdue", "2"), ()):
            self.assertEqual(await self.check(pair[0], *words, code=0), [])
            await self.until_served(crowd, 20)
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.assertEqual(await self.check(pair[0], code=0), [])
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_through_deaths_and_reloads(self) -> None:
        """What is done over by the next launcher is not taken for broken."""
        pair = [self.launcher(self.at_server(FARM, timeout=4)) for _ in range(2)]
        for launcher in pair:
            launcher.start()
        await self.until_all_free(slots(FARM))
        requester = await self.requester()
        crowd = self.crowd(requester, 10, [["small"], ["small", "small"]], seed=12)
        await self.until_served(crowd, 20)
        checking = Deferred.fromCoroutine(self.check(pair[0], code=0))
        pair[1].kill()
        pair[1].start()
        await self.until_served(crowd, 20)
        self.assertEqual(await checking, [])
        await crowd.finish()

    @asynchronous
    async def test_ten_thousand_nodes(self) -> None:
        """Are looked at in less than five seconds of the command's processor time."""

        def spent() -> float:
            """By children that have ended: launchers and servers here have not."""
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            return usage.ru_utime + usage.ru_stime

        machines = [host(f"fake-{n}", "small", jobs=100) for n in range(100)]
        farm = configuration(provider("rack", *machines))
        launcher = await self.serving(self.at_server(farm))
        took = []
        for _ in range(3):
            before = spent()
            self.assertEqual(await self.check(launcher, code=0), [])
            took.append(spent() - before)
        print(f"took {took}")
        self.assertLess(min(took), 5)
