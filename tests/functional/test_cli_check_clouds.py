"""``nodepool check`` with a cloud behind HTTP, which a launcher serves."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

from twisted.internet.threads import deferToThread

from nodepool_tx.store import paths
from tests.functional.cloud.scene import CloudScene, label, provider
from tests.functional.launcher.process import command_line
from tests.nodescan.contract import asynchronous


class CheckedClouds(CloudScene):
    timeout = 180

    async def check(self, *words: str, code: int) -> list[dict[str, Any]]:
        done = await deferToThread(
            subprocess.run,
            command_line("check", "--format", "json", *words),
            env={
                **self.daemon.command_environ(),
                "OS_CLIENT_CONFIG_FILE": str(self.directory / "clouds.yaml"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    async def begin(self, timeout: float) -> None:
        self.sky = self.cloud("sky", boot_delay=0.2)
        config = self.config(
            provider("sky", label("small"), label("kept")), timeout=timeout, min_ready={"kept": 3}
        )
        self.daemon = self.cloud_launcher(config)
        self.stock = await self.until_settled(kept=3)

    @asynchronous
    async def test_leaked_and_lost(self) -> None:
        """A server whose record is gone goes; a record whose server is gone goes."""
        await self.begin(timeout=40)
        leaked, lost, kept = self.stock
        self.daemon.send(signal.SIGSTOP)
        await self.sight.client.delete_tree(paths.node(leaked.id))
        data = {**lost.data, "external_id": "00000000-0000-0000-0000-000000000000"}
        await self.sight.client.set(paths.node(lost.id), json.dumps(data).encode())
        soon = ("--overdue", "2")
        rows = await self.check(*soon, code=1)
        self.assertEqual(
            sorted((row["code"], row["what"]) for row in rows),
            [
                ("cloud-leaked", f"instance {leaked.data['external_id']}"),
                ("cloud-lost", f"node {lost.id}"),
                ("cloud-second-server", f"instance {lost.data['external_id']}"),
            ],
        )
        rows = await self.check("--repair", "--yes", *soon, code=0)
        self.assertEqual([row["outcome"] for row in rows], ["done"] * 3)
        self.daemon.send(signal.SIGCONT)
        after = await self.until_settled(kept=3)
        self.assertIn(kept.id, [each.id for each in after])
        self.assertEqual(await self.check(*soon, code=0), [])
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_under_load(self) -> None:
        """Servers that come and go all the time are nobody's trouble."""
        await self.begin(timeout=2)
        asker = await self.requester()
        crowd = self.crowd(asker, 6, [["small"], ["kept"], ["small", "small"]], seed=2)
        await self.until_served(crowd, 6)
        for _ in range(3):
            self.assertEqual(await self.check(code=0), [])
            await self.until_served(crowd, 6)
        await crowd.finish()

    @asynchronous
    async def test_a_cloud_that_does_not_answer(self) -> None:
        """Is named, and the rest is told."""
        await self.begin(timeout=40)
        known = self.directory / "clouds.yaml"
        known.write_text(known.read_text().replace(self.sky.url, "http://127.0.0.1:9"))
        (row,) = await self.check(code=1)
        self.assertEqual((row["code"], row["provider"]), ("cloud-not-asked", "sky"))
        self.assertEqual(await self.check("--no-clouds", code=0), [])
