"""What dead launchers and dead requesters leave behind is put right, at once where it matters."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous

FARM = configuration(provider("rack", host("fake-1", "small", jobs=2), host("fake-2", "large")))

#: Sweeps every half second, so that tests do not wait for minutes.
SWEEPS = {"NODEPOOL_CLEANUP_INTERVAL": "0.5", "NODEPOOL_LOCK_CLEANUP": "1"}


class Janitor(Scene):
    async def change(self, node_id: str, **fields: Any) -> None:
        """Write a node as somebody would who holds its lock."""
        path = f"/nodepool/nodes/{node_id}"
        data = await self.sight.record(path)
        await self.sight.client.set(path, json.dumps({**(data or {}), **fields}).encode())

    async def free_node(self, label: str) -> str:
        nodes = await self.sight.nodes()
        return next(n.id for n in nodes if n.free and label in n.data["type"])

    async def since(self, began: float, what: str) -> None:
        """It took much less than the minute between sweeps in production."""
        taken = time.monotonic() - began
        print(f"{what} after {taken:.3f} s")
        self.assertLess(taken, 10)

    async def without_sweeps(self) -> LauncherProcess:
        return await self.serving(
            self.at_server(FARM), environ={"NODEPOOL_CLEANUP_INTERVAL": "3600"}
        )

    @asynchronous
    async def test_request_of_a_dead_launcher(self) -> None:
        """A pending request with nodes is open again, and served, when its lock is gone."""
        await self.without_sweeps()
        other = await self.client()
        name = "100-0000005000"
        lock = f"/nodepool/requests-lock/{name}/{uuid.uuid4().hex}__lock__"
        await other.create(lock, b"other", ephemeral=True, sequence=True, makepath=True)
        node_id = await self.free_node("large")
        request = {
            "state": "pending",
            "state_time": time.time(),
            "node_types": ["large", "small"],
            "nodes": [],
            "declined_by": [],
            "requestor": "tests",
        }
        await other.create(f"/nodepool/requests/{name}", json.dumps(request).encode())
        await self.change(node_id, allocated_to=name)
        requester = await self.requester()
        await self.sleep(0.5)
        body = await requester.request(name)
        assert body is not None
        self.assertEqual((body["state"], body["nodes"]), ("pending", []))
        await other.close()
        began = time.monotonic()
        held = await requester.accept(name, ["large", "small"])
        await self.since(began, "served")
        await requester.give_back(held)
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_node_promised_to_a_request_that_is_gone(self) -> None:
        """It is free at once, whether the request went before or after the promise."""
        await self.without_sweeps()
        node_id = await self.free_node("large")
        began = time.monotonic()
        await self.change(node_id, allocated_to="100-0000009999")
        await self.until_all_free(slots(FARM))
        await self.since(began, "free")
        requester = await self.requester()
        asked = await requester.ask("large", "small")
        await requester.answer(asked)
        began = time.monotonic()
        await requester.withdraw(asked)
        await self.until_all_free(slots(FARM))
        await self.since(began, "free")
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_node_of_a_dead_requester(self) -> None:
        """In use and locked by nobody any more, it is in service again at once."""
        await self.without_sweeps()
        dying = await self.requester()
        await dying.use(await dying.obtain("large", "small"))
        unused = await dying.obtain("small")
        self.assertEqual(unused[0].data["state"], "ready")
        began = time.monotonic()
        await dying.client.close()
        await self.until_all_free(slots(FARM))
        await self.since(began, "in service again")
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_held_too_long(self) -> None:
        """A hold ends after ``max-hold-age``, or before where that was asked for."""
        farm = {**FARM, "max-hold-age": 3}
        await self.serving(self.at_server(farm), environ=SWEEPS)
        began = time.monotonic()
        long, short = [await self.free_node(label) for label in ("large", "small")]
        await self.change(long, state="hold", state_time=time.time())
        await self.change(short, state="hold", state_time=time.time(), hold_expiration=1)

        await self.until("both are held", lambda: self.are_held({long, short}))
        await self.until("the short hold has ended", lambda: self.are_held({long}))
        self.assertGreater(time.monotonic() - began, 0.9)
        await self.until_all_free(slots(FARM))
        self.assertGreater(time.monotonic() - began, 2.9)
        await self.since(began, "all in service")
        self.assert_nothing_unforeseen()

    async def are_held(self, ids: set[str]) -> bool:
        return {n.id for n in await self.sight.nodes() if n.data["state"] == "hold"} == ids

    @asynchronous
    async def test_ready_too_long(self) -> None:
        """A node that nobody asked for within ``max-ready-age`` is replaced by a fresh one."""
        labels = [{"name": "small"}, {"name": "large", "max-ready-age": 1}]
        await self.serving(self.at_server({**FARM, "labels": labels}), environ=SWEEPS)
        before = {n.data["hostname"]: n.id for n in await self.sight.nodes()}

        async def replaced() -> bool:
            now = {n.data["hostname"]: n.id for n in await self.sight.nodes() if n.free}
            return now.get("fake-2", before["fake-2"]) != before["fake-2"]

        await self.until("the large node is another one", replaced)
        await self.until_all_free(slots(FARM))
        after = {n.data["hostname"]: n.id for n in await self.sight.nodes()}
        self.assertEqual(after["fake-1"], before["fake-1"])
        requester = await self.requester()
        held = await requester.obtain("large")
        await self.sleep(2)
        node = await self.sight.node(held[0].id)
        assert node is not None
        self.assertEqual(
            (node["state"], node["allocated_to"]), ("ready", held[0].data["allocated_to"])
        )
        await requester.give_back(held)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_locks_of_requests_that_are_gone(self) -> None:
        """They are removed after a while; those of requests there are, and held ones, stay."""
        await self.serving(self.at_server(FARM), environ=SWEEPS)
        requester = await self.requester()
        there = await requester.ask(*["large"] * 2)
        client = self.sight.client
        for name in (there, "100-0000007001", "100-0000007002"):
            await client.ensure_path(f"/nodepool/requests-lock/{name}")
        contender = "/nodepool/requests-lock/100-0000007002/" + uuid.uuid4().hex + "__lock__"
        held = await client.create(contender, ephemeral=True, sequence=True)

        async def locks() -> set[str]:
            return set(await self.sight.children("/nodepool/requests-lock"))

        async def one_less() -> bool:
            return await locks() == {there, "100-0000007002"}

        await self.until("the old lock is gone", one_less)
        await client.delete(held)

        async def two_less() -> bool:
            return await locks() == {there}

        await self.until("the other one, too", two_less)
        self.assert_nothing_unforeseen()
