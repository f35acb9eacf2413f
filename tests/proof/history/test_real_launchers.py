"""Launchers at work break no rule; whoever does is found."""

from __future__ import annotations

import json
from typing import Any

from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.lock import Lock
from proof.history.cast import Cast, Role
from proof.history.checker import Checker
from proof.history.logs import CommittedLog
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous
from tests.proof.history.play import a_request, cloud_node

FARM = configuration(
    provider(
        "rack",
        *(host(f"fake-{n}", "small", jobs=2) for n in range(3)),
        host("fake-large", "large", "small"),
    )
)
WISHES = [["small"], ["large"], ["small", "small"], ["small", "large"]]


class Launchers(Scene):
    def setUp(self) -> Any:
        prepared = super().setUp()
        self.cast = Cast()
        log = CommittedLog([self.server.directory / "data"])
        self.checker = Checker(log, self.cast, root=self.root)
        return prepared

    def nothing_found(self) -> None:
        found = self.checker.step()
        lines = [f"{each.words}\n{chr(10).join(self.checker.trail(each))}" for each in found]
        self.assertEqual(lines, [])

    @asynchronous
    async def test_they_break_no_rule(self) -> None:
        """Two of them, one of which is killed, with twenty clients and an operator."""
        first = await self.serving(self.at_server(FARM))
        second = self.launcher(self.at_server(FARM))
        second.start()
        requester = await self.requester()
        crowd = self.crowd(requester, 20, WISHES)
        await self.until_served(crowd, 50)
        self.nothing_found()
        held = await requester.obtain("small")
        await requester.use(held)
        await requester.set_state(held[0], "hold")
        await self.until_served(crowd, 20)
        await requester.give_back(held)
        first.kill()
        await self.until_served(crowd, 50)
        first.start()
        await self.until_served(crowd, 50)
        await crowd.finish()
        await self.until_all_free(slots(FARM))
        self.nothing_found()
        self.assertGreater(self.checker.transactions, 1000)
        launchers = {
            self.cast.player(znode.creator).name
            for name in self.checker.tree.children(self.root + paths.NODES)
            if (znode := self.checker.tree.get(f"{self.root}{paths.NODES}/{name}")) is not None
        }
        self.assertTrue(launchers)
        self.assertTrue(all(name.startswith("launcher ") for name in launchers), launchers)

    # -- what breaks a rule ----------------------------------------------

    async def stranger(self, role: Role = Role.LAUNCHER) -> ZookeeperClient:
        client = await self.client()
        assert client.session_id is not None
        self.cast.name(client.session_id, role, "stranger")
        return client

    async def changed(self, node_id: str, **changes: Any) -> bytes:
        record = await self.sight.node(node_id)
        assert record is not None
        return json.dumps(record | changes).encode()

    def found(self, *rules: str) -> None:
        """What was found just now, and by whom it was done."""
        found = self.checker.step()
        self.assertEqual({each.rule for each in found}, set(rules), found)
        for each in found:
            self.assertIn("stranger", each.words)
            self.assertTrue(any("stranger" in line for line in self.checker.trail(each)))

    @asynchronous
    async def test_who_does_is_found(self) -> None:
        """Each rule is broken once, in a farm whose launcher has ended."""
        launcher = await self.serving(self.at_server(FARM))
        requester = await self.requester()
        asked = await requester.ask("small")
        answer = await requester.answer(asked)
        launcher.kill()
        promised = answer["nodes"][0]
        free = [node.id for node in await self.sight.nodes() if node.id != promised]
        self.nothing_found()
        bad = await self.stranger()
        client = await self.stranger(Role.CLIENT)

        data = await self.changed(free[0])
        await client.set(paths.node(free[0]), data)
        self.found("lock")

        lock = Lock(client, paths.node_lock(free[0]))
        await lock.acquire()
        assert lock.contender is not None
        await bad.set(paths.node(free[0]), data)
        self.found("lock")
        await client.set(paths.node(free[0]), await self.changed(free[0], state="in-use"))
        self.nothing_found()
        await client.set(paths.node(free[0]), await self.changed(free[0], state="testing"))
        self.found("state")
        await bad.delete(lock.contender)
        self.found("contender")

        slot = await self.changed(free[1])
        await bad.create(f"{paths.NODES}/", slot, sequence=True)
        self.found("owner", "slot")

        server = json.dumps(cloud_node(state="building", external_id="server")).encode()
        await bad.create(f"{paths.NODES}/", server, sequence=True)
        self.found("intent")

        proof = bad.transaction()
        proof.delete(paths.node_lock(promised))
        proof.create(paths.node_lock(promised))
        proof.set(paths.node(promised), await self.changed(promised, allocated_to=None))
        await proof.commit()
        self.found("promise")

        wish = json.dumps(a_request()).encode()
        other = (await client.create(f"{paths.REQUESTS}/100-", wish, sequence=True))[-14:]
        done = json.dumps(a_request(state="fulfilled", nodes=[free[2]])).encode()
        proof = bad.transaction()
        proof.create(paths.request_lock(other))
        proof.delete(paths.request_lock(other))
        proof.set(paths.request(other), done)
        await proof.commit()
        self.found("fulfilled")
