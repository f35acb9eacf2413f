"""Machines that are taken out of service and returned while launchers and jobs run."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterable
from typing import Any

from twisted.internet.threads import deferToThread

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import Slot, configuration, host, provider, slots
from tests.nodescan.contract import asynchronous

FARM = configuration(
    provider("rack", host("fake-1", "small", jobs=2), host("fake-2", "small", "large", jobs=2)),
    provider("spare", host("fake-9", "small"), priority=200),
)


def cloud(name: str) -> dict[str, Any]:
    """A cloud that is only played."""
    return {
        "name": name,
        "driver": "fake",
        "rate": 0,
        "cloud-images": [{"name": "debian", "image-name": "Fake Precise"}],
        "simulation": {"boot-delay": 0.3},
        "pools": [
            {
                "name": "main",
                "labels": [{"name": "vm", "cloud-image": "debian", "min-ram": 8192}],
            }
        ],
    }


class Maintenance(Scene):
    def on(self, *names: str) -> list[Slot]:
        """The slots of these hosts."""
        return [slot for slot in slots(FARM) if slot[2] in names]

    async def nodepool(self, launcher: LauncherProcess, *words: str, code: int = 0) -> str:
        """Run the command line beside a launcher; its output."""
        done: subprocess.CompletedProcess[str] = await deferToThread(launcher.nodepool, *words)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout + done.stderr

    async def until_free(self, wanted: Iterable[Slot], patience: float = 30.0) -> None:
        """Exactly these slots are free, whoever has others."""
        expected = sorted(wanted)

        async def look() -> bool:
            return sorted(n.slot for n in await self.sight.nodes() if n.free) == expected

        await self.until(f"just {expected} free", look, patience)

    @asynchronous
    async def test_a_host_with_a_job_on_it(self) -> None:
        """The job ends in its own time; all the rest leaves at once and returns at once."""
        launcher = await self.serving(self.at_server(FARM))
        requester = await self.requester()
        held = await requester.obtain("small", "small", "small", "small")
        await requester.use(held)
        (mine,) = {each.data["provider"] for each in held}
        self.assertEqual(mine, "rack")
        await self.nodepool(launcher, "maintain", "fake-1", "--reason", "new disk")
        began = time.monotonic()
        await requester.give_back(held)
        await self.until_free(self.on("fake-2", "fake-9"))
        left = [n for n in await self.sight.nodes() if n.data["hostname"] == "fake-1"]
        self.assertEqual(left, [])
        listed = json.loads(await self.nodepool(launcher, "maintenance-list", "--format", "json"))
        self.assertEqual([(r["host"], r["in_use"]) for r in listed], [("fake-1", 0)])
        launcher.send(signal.SIGUSR2)
        await self.until_logged(
            launcher, "SIGUSR2: rack: main: host fake-1 is in maintenance.*disk"
        )
        await self.nodepool(launcher, "return", "fake-1")
        await self.until_all_free(slots(FARM))
        self.assertLess(time.monotonic() - began, 30)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_a_provider_that_is_drained_while_a_job_runs(self) -> None:
        """``drain --wait`` ends with the job; others serve, and what only it has waits."""
        launcher = await self.serving(self.at_server(FARM))
        requester = await self.requester()
        held = await requester.obtain("large")
        await requester.use(held)
        waiting = deferToThread(
            launcher.nodepool, "drain", "--wait", "--reason", "moving house", "rack"
        )
        await self.until_free(self.on("fake-9"))
        only_there = await requester.ask("large")
        await requester.job("small")
        named = await requester.ask("small", provider="rack")
        (elsewhere,) = await requester.accept(named, ["small"])
        self.assertEqual(elsewhere.data["provider"], "spare")
        await requester.give_back([elsewhere])
        self.assertFalse(waiting.called)
        paused = {c["provider_name"]: c["paused"] for c in await self.sight.components("pool")}
        self.assertEqual(paused, {"rack": True, "spare": False})
        await requester.give_back(held)
        done = await waiting
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("waiting for provider rack to be empty: nodes: 1 in use", done.stderr)
        body = await requester.request(only_there)
        assert body is not None
        self.assertEqual((body["state"], body.get("declined_by", [])), ("requested", []))
        await self.nodepool(launcher, "return", "rack")
        held = await requester.accept(only_there, ["large"])
        await requester.give_back(held)
        await self.until_all_free(slots(FARM))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_two_launchers_one_of_them_killed(self) -> None:
        """Whoever looks after the provider next keeps it out of service, and ends it in time."""
        pair = [self.launcher(self.at_server(FARM, timeout=1)) for _ in range(2)]
        pair[0].start()
        await self.until_all_free(slots(FARM))
        pair[1].start()
        await self.until_logged(pair[1], "up to date with ZooKeeper")
        requester = await self.requester()
        crowd = self.crowd(requester, 10, [["small"], ["small"], ["small", "small"]], seed=4)
        words = ("maintain", "fake-1", "--reason", "fan", "--until", "+5s", "--format", "json")
        (record,) = json.loads(await self.nodepool(pair[0], *words))
        pair[0].kill()
        await self.until_served(crowd, 10)
        await self.until_logged(pair[1], "looks after provider rack")
        await self.until("fake-1 is empty", self.empty)
        pair[0].start()
        await self.until_served(crowd, 10)
        self.assertTrue(await self.empty() or time.time() > record["until"])
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.assertGreaterEqual(time.time(), record["until"])
        self.assertEqual(await self.sight.children("/nodepool/maintenance"), [])
        self.assert_nothing_unforeseen()

    async def empty(self) -> bool:
        return all(n.data["hostname"] != "fake-1" for n in await self.sight.nodes())

    @asynchronous
    async def test_at_any_moment_of_a_busy_farm(self) -> None:
        """No job loses a node; a reload that changes the host meanwhile does not bring it back."""
        launcher = await self.serving(self.at_server(FARM))
        requester = await self.requester()
        crowd = self.crowd(requester, 20, [["small"], ["small", "small"], ["large"]], seed=5)
        changed = configuration(
            provider(
                "rack", host("fake-1", "small", jobs=4), host("fake-2", "small", "large", jobs=2)
            ),
            provider("spare", host("fake-9", "small"), priority=200),
        )
        await self.until_served(crowd, 10)
        await self.nodepool(launcher, "drain", "fake-1")
        await self.until("fake-1 is empty", self.empty)
        launcher.write(self.at_server(changed))
        await self.until_logged(launcher, "configuration .*|reload.*", 1)
        await self.until_served(crowd, 15)
        self.assertTrue(await self.empty())
        launcher.kill()
        launcher.start()
        await self.until_served(crowd, 15)
        self.assertTrue(await self.empty())
        await self.nodepool(launcher, "return", "fake-1")
        await self.until_served(crowd, 10)
        await crowd.finish()
        await self.until_all_free(slots(changed))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_a_cloud(self) -> None:
        """Its stock is deleted and not made again before it returns; what is in use goes on."""
        farm = {"labels": [{"name": "vm", "min-ready": 2}], "providers": [cloud("c")]}
        launcher = self.launcher(self.at_server(farm))
        launcher.start()
        await self.until("two in stock", lambda: self.stock(2))
        requester = await self.requester()
        held = await requester.obtain("vm")
        await requester.use(held)
        await self.until("two in stock again", lambda: self.stock(2))
        waiting = deferToThread(launcher.nodepool, "drain", "--wait", "c")
        await self.until("the stock is gone", lambda: self.stock(0))
        request_id = await requester.ask("vm")
        await self.sleep(1.0)
        self.assertEqual([n.id for n in await self.sight.nodes()], [held[0].id])
        await requester.give_back(held)
        done = await waiting
        self.assertEqual(done.returncode, 0, done.stderr)
        body = await requester.request(request_id)
        assert body is not None
        self.assertEqual((body["state"], body.get("declined_by", [])), ("requested", []))
        await self.nodepool(launcher, "return", "c")
        held = await requester.accept(request_id, ["vm"])
        await self.until("two in stock at last", lambda: self.stock(2))
        await requester.give_back(held)
        self.assert_nothing_unforeseen()

    async def stock(self, count: int) -> bool:
        return sum(n.free for n in await self.sight.nodes()) == count
