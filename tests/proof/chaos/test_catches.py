"""That the instrument sees what it is there to see."""

from __future__ import annotations

import json
import pathlib
from random import Random

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from nodepool_tx.store import paths
from proof.chaos import rest
from proof.chaos.books import End
from proof.chaos.crowd import Crowd
from proof.chaos.eyes import Eyes
from proof.chaos.farm import ChaosFarm
from proof.chaos.rest import Rest, differences
from proof.chaos.verdict import Verdict
from tests.functional.launcher.requesters import Requester
from tests.nodescan.contract import asynchronous


class Catches(TestCase):
    """One launcher, its clouds and machines, and the eyes on them."""

    timeout = 240

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        directory = pathlib.Path(self.mktemp()).absolute()
        directory.mkdir()
        self.farm = ChaosFarm(reactor, directory, launchers=1)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.farm.stop()))
        self.verdict = Verdict()
        self.eyes = Eyes(self.farm, self.verdict)
        return Deferred.fromCoroutine(self._begin())

    async def _begin(self) -> None:
        await self.farm.start()
        self.eyes.open()
        self.config = self.farm.launchers[0].configuration
        await self.until_at_rest()

    async def wrong(self) -> str:
        return "\n".join(await differences(self.farm, self.config))

    async def until_at_rest(self) -> None:
        found = ""
        for _ in range(600):
            found = await self.wrong()
            if not found:
                return
            await self.farm.sleep(0.1)
        self.fail(found)

    def rules(self) -> set[str]:
        self.eyes.look()
        return {breach.rule for breach in self.verdict.breaches}

    async def until_broken(self, rule: str) -> str:
        """Wait for a breach of a rule; all that is said of it."""
        for _ in range(100):
            if rule in self.rules():
                break
            await self.farm.sleep(0.1)
        found = [str(each) for each in self.verdict.breaches if each.rule == rule]
        self.assertNotEqual(found, [], [str(each) for each in self.verdict.breaches])
        return found[0]

    def crowd(self) -> Crowd:
        """A single client at work, until the test ends."""
        crowd = Crowd(self.farm, 1, Random(1), self.eyes.meet)
        self.addCleanup(lambda: Deferred.fromCoroutine(crowd.stop()))
        return crowd

    async def complaint_of(self, crowd: Crowd) -> str:
        for _ in range(300):
            if crowd.books.complaints:
                break
            await self.farm.sleep(0.1)
        return "\n".join(crowd.books.complaints)

    @asynchronous
    async def test_what_does_not_belong(self) -> None:
        """At rest, a server without a record, a request and a node too many are told."""
        self.assertEqual(self.rules(), set())
        self.farm.launchers[0].process.kill()
        client = self.farm.client
        request = await Requester(client).ask("small")
        nodes = await self.farm.sight.nodes()
        machine = next(node for node in nodes if node.data["provider"] == "rack")
        body = json.dumps(machine.data).encode()
        await client.create(f"{paths.NODES}/", body, sequence=True)
        cloudy = next(node for node in nodes if node.data["provider"] == "sky")
        await client.delete_tree(paths.node(cloudy.id))
        found = await self.wrong()
        self.assertIn(f"slot {machine.slot} has a node too many", found)
        self.assertIn(f"there is request {request}", found)
        self.assertIn(f"server {cloudy.data['external_id']} is of node {cloudy.id}", found)
        # Chaos's own hands are excused, those of others are not.
        self.assertEqual(self.rules(), set())

    @asynchronous
    async def test_a_thief(self) -> None:
        """Somebody who writes a node that another has locked is found, with what led to it."""
        crowd = self.crowd()
        thief = self.farm.make_client()
        self.addCleanup(thief.close)
        await thief.connect()
        while True:
            used = [n for n in await self.farm.sight.nodes() if n.data["state"] == "in-use"]
            if used and used[0].contenders:
                break
            await self.farm.sleep(0.02)
        node = used[0]
        changed = {**node.data, "comment": "mine"}
        await thief.set(paths.node(node.id), json.dumps(changed).encode())
        told = await self.until_broken("lock")
        self.assertIn(paths.node(node.id), told)
        self.assertIn("zuul-0", told)
        self.assertIn(f"lost a node: node {node.id}", await self.complaint_of(crowd))

    @asynchronous
    async def test_a_lost_request(self) -> None:
        """A request that vanishes is complained of, unless chaos has taken it."""
        self.farm.launchers[0].process.kill()
        crowd = self.crowd()
        (excused,) = await self.requests(1)
        self.farm.taint(paths.request(excused))
        await self.farm.client.delete_tree(paths.request(excused))
        (lost,) = await self.requests(1, excused)
        self.assertEqual(crowd.books.complaints, [])
        self.assertEqual(crowd.books.ends[End.SPOILED], 1)
        await self.farm.client.delete_tree(paths.request(lost))
        self.assertIn(f"request {lost} of zuul-0", await self.complaint_of(crowd))

    async def requests(self, count: int, *without: str) -> list[str]:
        """So many requests, as soon as there are."""
        while True:
            found = set(await self.farm.sight.children(paths.REQUESTS)) - set(without)
            if len(found) == count:
                return sorted(found)
            await self.farm.sleep(0.05)

    @asynchronous
    async def test_a_request_that_does_not_end(self) -> None:
        """If nobody answers, the farm does not come to rest, which is told with the request."""
        self.patch(rest, "CLIENTS", 1.0)
        self.farm.launchers[0].process.kill()
        self.patch(self.farm, "repair", self.nothing)
        crowd = self.crowd()
        (lost,) = await self.requests(1)
        (told,) = await Rest(self.farm, crowd, lambda: None).demand(self.config)
        self.assertIn(f"did not end: request {lost}", told)

    async def nothing(self) -> None:
        """Heal nothing."""
