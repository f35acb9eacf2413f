"""Explanations over several real launchers, one of which is silent, on a real ZooKeeper."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodepool_tx.explain import Explanation, ask
from nodepool_tx.explain.questions import encode_question, question_path
from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.client import ZookeeperClient
from tests.functional.launcher.process import LauncherProcess, command_line
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider
from tests.nodescan.contract import asynchronous
from tests.servers.zookeeper import end_session

#: What a launcher of Nodepool 11 writes about itself and a pool, field by field.
OLD_LAUNCHER = {"hostname": "old", "state": "running", "kind": "launcher", "version": "11.0.0"}
OLD_POOL = {
    "hostname": "old",
    "state": "running",
    "kind": "pool",
    "version": "11.0.0",
    "model_api": 0,
    "id": "old-PoolWorker.cellar-main-5e0a",
    "name": "main",
    "provider_name": "cellar",
    "supported_labels": ["a"],
    "priority": 100,
    "paused": False,
}

RACK = configuration(provider("rack", host("fake-r1", "a"), host("fake-r2", "a")))
LAB = configuration(provider("lab", host("fake-l1", "a", "b")))


class ExplainTests(Scene):
    async def two_launchers(self) -> list[LauncherProcess]:
        found = []
        for config in (RACK, LAB):
            launcher = self.launcher(self.at_server(config))
            launcher.start()
            found.append(launcher)

        async def all_there() -> bool:
            return len(await self.sight.nodes()) == 3

        await self.until("three nodes", all_there)
        return found

    async def old_launcher(self) -> str:
        """Nodepool 11, as others see it; what it is registered as."""
        client = await self.client()
        await client.create(
            paths.component("pool", "old"),
            json.dumps(OLD_POOL).encode(),
            ephemeral=True,
            sequence=True,
            makepath=True,
        )
        path = await client.create(
            paths.component("launcher", "old"),
            json.dumps(OLD_LAUNCHER).encode(),
            ephemeral=True,
            sequence=True,
            makepath=True,
        )
        return path.rpartition("/")[2]

    async def asker(self) -> Store:
        """A store of our own, up to date."""
        store = Store(await self.client(session_timeout=4), reactor)  # type: ignore[arg-type]
        store.startService()
        self.addCleanup(store.stopService)
        await self.until("a store that is up to date", lambda: store.current)
        return store

    async def waiting_request(self) -> str:
        """A request for which there is no node: others have all of them."""
        requester = await self.requester()
        for _ in range(3):
            await requester.ask("a")
        request_id = await requester.ask("a")

        async def all_given() -> bool:
            return not any(node.free for node in await self.sight.nodes())

        await self.until("all nodes given", all_given)
        return request_id

    async def questions(self) -> list[str]:
        return await self.sight.children(paths.QUESTIONS)

    async def explained(self, store: Store, request_id: str) -> Explanation:
        await self.until("the request in the store", lambda: store.requests.get(request_id))
        found = await ask(store, request_id)
        assert found is not None
        return found

    @asynchronous
    async def test_two_that_answer(self) -> None:
        """Both are heard, in no time, and nothing is left behind."""
        await self.two_launchers()
        request_id = await self.waiting_request()
        store = await self.asker()
        found = await self.explained(store, request_id)
        self.assertEqual([pool.provider for pool in found.pools], ["lab", "rack"])
        self.assertTrue(all(pool.answered for pool in found.pools), found)
        self.assertEqual(found.silent, ())
        self.assertEqual(
            found.summary,
            "waits for a free node with label a at provider lab: 1 promised to another; "
            "1 more pool waits with it",
        )
        began = time.monotonic()
        for _ in range(10):
            await self.explained(store, request_id)
        # Who waits for a silent one waits for two seconds.
        self.assertLess((time.monotonic() - began) / 10, 1.5)
        self.assertEqual(await self.questions(), [])
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_one_that_is_silent(self) -> None:
        """Nodepool 11 answers nothing: its pools are told of from outside after two seconds."""
        await self.two_launchers()
        silent = await self.old_launcher()
        request_id = await self.waiting_request()
        store = await self.asker()
        began = time.monotonic()
        found = await self.explained(store, request_id)
        self.assertGreater(time.monotonic() - began, 1.9)
        self.assertEqual(found.silent, (silent,))
        judged = {pool.provider: pool for pool in found.pools if not pool.answered}
        self.assertEqual(list(judged), ["cellar"])
        self.assertEqual(judged["cellar"].launcher, "old")
        self.assertEqual(judged["cellar"].rules[-1].name, "unheard")
        self.assertEqual(await self.questions(), [])

    @asynchronous
    async def test_one_that_hangs(self) -> None:
        """A launcher that is stopped in its tracks is not waited for."""
        _, second = await self.two_launchers()
        request_id = await self.waiting_request()
        store = await self.asker()
        os.kill(second.pid, signal.SIGSTOP)
        try:
            found = await self.explained(store, request_id)
        finally:
            os.kill(second.pid, signal.SIGCONT)
        self.assertEqual({p.provider: p.answered for p in found.pools}["rack"], True)
        self.assertEqual(len(found.silent), 1)

    @asynchronous
    async def test_the_command_line(self) -> None:
        """A report for people, JSON for programs; what is not there, and what is answered."""
        first, _ = await self.two_launchers()
        request_id = await self.waiting_request()

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return first.nodepool("explain", *words)

        done = await deferToThread(run, request_id)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(f"request {request_id}: requested, for a, age ", done.stdout)
        self.assertIn("\nwaits for a free node with label a at provider lab: ", done.stdout)
        for part in ("lab/main (launcher ", "rack/main (launcher ", "fake-r1", "max-concurrency"):
            self.assertIn(part, done.stdout)
        done = await deferToThread(run, request_id, "--format", "json")
        found = json.loads(done.stdout)
        self.assertEqual(set(found), {"request", "summary", "pools", "silent"})
        self.assertEqual({pool["provider"] for pool in found["pools"]}, {"rack", "lab"})
        done = await deferToThread(run, "100-9999999999")
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no request 100-9999999999", done.stderr)
        (fulfilled, *_) = [
            name
            for name, request in (await self.sight.requests()).items()
            if request["state"] == "fulfilled"
        ]
        done = await deferToThread(run, fulfilled)
        self.assertEqual(done.returncode, 0)
        self.assertIn("not taken yet", done.stdout)

    @asynchronous
    async def test_a_request_says_why_it_waits(self) -> None:
        """``nodepool request`` asks the launchers when it has waited for two seconds."""
        first, _ = await self.two_launchers()
        await self.waiting_request()
        asking = subprocess.Popen(
            command_line("request", "a", "--timeout", "6"),
            env=first.command_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _, said = await deferToThread(asking.communicate)
        self.assertEqual(asking.returncode, 124)
        self.assertIn("  waits for a free node with label a at provider lab: ", said)
        self.assertRegex(said, r"no nodes within 6 s: waits for a free node with label a at ")
        self.assertEqual(await self.questions(), [])

    @asynchronous
    async def test_an_asker_that_is_killed(self) -> None:
        """What it leaves, and any garbage, the launchers remove a minute later."""
        launchers = await self.two_launchers()
        client = await self.client()
        request_id = await self.waiting_request()
        await client.create(question_path("killed"), encode_question(request_id, time.time()))
        await client.create(question_path("garbage"), b"\xff\x00")
        await client.create(f"{question_path('garbage')}/x", b"")

        async def answered() -> bool:
            return len(await self.sight.children(question_path("killed"))) == 2

        await self.until("both have answered", answered)

        async def gone() -> bool:
            return not await self.questions()

        await self.until("nothing is left", gone, 75.0)
        self.assert_nothing_unforeseen(*launchers)

    @asynchronous
    async def test_a_session_that_ends_while_asking(self) -> None:
        """The asker is told so, and can ask again."""
        await self.two_launchers()
        await self.old_launcher()
        request_id = await self.waiting_request()
        store = await self.asker()
        await self.until("the request in the store", lambda: store.requests.get(request_id))
        asking: Deferred[Any] = Deferred.fromCoroutine(ask(store, request_id))

        async def asked() -> bool:
            return bool(await self.questions())

        await self.until("a question", asked)
        client = store.client
        assert isinstance(client, ZookeeperClient)
        await deferToThread(
            end_session, self.server.port, client.session_id, client.session_password
        )
        try:
            await asking
        except Uncertain:
            pass
        else:
            self.fail("the end of the session went unnoticed")
        await self.until("a store that is up to date", lambda: store.current)
        found = await self.explained(store, request_id)
        self.assertEqual(len(found.silent), 1)
