"""Faults that strike what the launcher is told, and the machines and clouds that it uses."""

from __future__ import annotations

import contextlib
import http.client
import socket
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodepool_tx.providers.cloud.interface import NODE_ID
from proof.chaos import faults
from proof.chaos.faults.configuration import WAYS, Spoilt, dispensable, offers
from tests.nodescan.contract import asynchronous
from tests.proof.chaos.small_farm import FaultScene

REFUSED = "the new configuration is not valid, the old one stays in force"
APPLIED = "configuration applied in full"


class Configurations(FaultScene):
    def count(self, words: str) -> int:
        return self.daemon.log.count(words)

    @asynchronous
    async def test_spoilt_and_good(self) -> None:
        """Each way is complained of, costs nothing, and is over with a good file."""
        requester = await self.requester()
        good = self.daemon.config.read_bytes()
        for way in WAYS:
            refused = self.count(REFUSED)
            fault = Spoilt()
            fault.spoil(self.farm, Random(1), self.one, way)
            await self.until_logged(self.daemon, REFUSED, refused + 1)
            await requester.job("small")
            await self.heal(fault)
            self.assertEqual(self.daemon.config.read_bytes(), good)
        # One that starts with such a file ends, and is started again when it is a good one.
        fault = await self.strike("configuration-all-spoilt")
        self.daemon.kill()
        self.daemon.start()
        await self.until("it has ended", lambda: not self.daemon.running)
        await self.heal(fault)
        await self.until_well()
        await self.good_ones()
        self.assert_nothing_unforeseen()

    async def good_ones(self) -> None:
        """What is written is applied; a provider with another name takes over, and gives back."""
        applied = self.count(APPLIED)
        for name in ("configuration-reloaded", "configuration-differing"):
            await self.heal(await self.strike(name, seed=applied))
            applied += 1
            await self.until_logged(self.daemon, APPLIED, applied)

        often = faults.make("configuration-reloaded-often")
        striking = Deferred.fromCoroutine(often.strike(self.farm, Random(1)))
        await self.until_logged(self.daemon, APPLIED, applied + 3)
        await self.heal(often)
        await striking

        usual = self.one.configuration
        for seed, name in ((1, "rack"), (0, "sky")):
            fault = await self.strike("configuration-provider-renamed", seed)
            renamed = f"{name}-renamed"
            self.assertIn(renamed, [one["name"] for one in self.one.configuration["providers"]])
            await self.until(f"{renamed} has nodes", lambda renamed=renamed: self.has(renamed))
            await self.heal(fault)
            self.assertEqual(self.one.configuration, usual)
            await self.until_well()

        # Here no provider could stand in for another.
        fault = faults.make("configuration-provider-removed")
        await fault.strike(self.farm, Random(1))
        self.assertIn("nothing to strike", self.farm.story[-1])

    async def has(self, provider: str) -> bool:
        nodes = await self.sight.nodes()
        return any(node.data["provider"] == provider and node.free for node in nodes)


class Hosts(FaultScene):
    @asynchronous
    async def test_hosts(self) -> None:
        """Nobody listens there, nodes that return do not come back; with the host they do."""
        requester = await self.requester()
        for name, left in (("host-down", 1), ("host-provider-down", 0)):
            held = await requester.obtain("small", "small")
            fault = await self.strike(name)
            up = [m for m in self.hosts.machines.values() if not refused(m.name, m.port)]
            self.assertEqual(len(up), left)
            self.assertEqual([machine.up for machine in up], [True] * left)
            await requester.give_back(held)
            await self.until_logged(self.daemon, "rack/main is down", 2 - left)
            await self.until(f"{left} are left", lambda left=left: self.there_are(left))
            await self.heal(fault)
            await self.until_well()
        fault = faults.make("host-flaps")
        striking = Deferred.fromCoroutine(fault.strike(self.farm, Random(1)))
        away = [line for line in self.farm.story if line.startswith("no longer there")]
        await self.until("thrice", lambda: len(self.farm.story) > len(away) + 6)
        await self.heal(fault)
        await striking
        self.assertTrue(all(machine.up for machine in self.hosts.machines.values()))
        await self.until_well()
        self.assertRegex(self.daemon.log, "is back after")
        self.assert_nothing_unforeseen()

    async def there_are(self, count: int) -> bool:
        nodes = await self.sight.nodes()
        return sum(node.data["provider"] == "rack" and node.free for node in nodes) == count


class Clouds(FaultScene):
    def simulated(self) -> Any:
        return self.sky.cloud.simulation

    @asynchronous
    async def test_clouds(self) -> None:
        """Each does what it says, and nothing of it is left when it is healed."""
        asker = await self.requester()
        usual = self.simulated()
        for name, seed, changed in (
            ("cloud-errors", 0, "api_failure_rate"),
            ("cloud-quota-full", 0, "max_instances"),
            ("cloud-servers-fail", 0, "boot_failure_rate"),
        ):
            fault = await self.strike(name, seed)
            self.assertNotEqual(getattr(self.simulated(), changed), getattr(usual, changed))
            await self.heal(fault)
            self.assertEqual(self.simulated(), usual)

        for seed in (1, 2):
            fault = await self.strike("cloud-overloaded", seed)
            asked = await asker.ask("vm")
            await self.until_logged(self.daemon, "provider sky is left in peace", 1)
            await self.heal(fault)
            await asker.give_back(await asker.accept(asked, ["vm"]))
        self.assertEqual(len({line for line in self.farm.story if "cloud sky" in line}), 5)

        fault = await self.strike("cloud-hangs")
        self.assertFalse(await deferToThread(answers, self.sky.url))
        await self.heal(fault)
        self.assertTrue(await deferToThread(answers, self.sky.url))

        fault = await self.strike("cloud-answers-lost", seed=1)
        made = len(self.sky.made)
        asked = await asker.ask("vm")
        await self.until("it is made", lambda: len(self.sky.made) > made)
        await self.sleep(0.5)
        self.assertEqual((await self.sight.requests())[asked]["state"], "pending")
        await self.heal(fault)
        await asker.give_back(await asker.accept(asked, ["vm"]))

        given = self.sky.tokens_given
        await self.heal(await self.strike("cloud-tokens-expired"))
        await self.until("another token", lambda: self.sky.tokens_given > given)

        fault = await self.strike("cloud-never-active")
        asked = await asker.ask("vm")
        await self.until("it is begun", lambda: "BUILD" in self.states())
        await self.sleep(1.0)
        self.assertIn("BUILD", self.states())
        await self.heal(fault)
        await asker.give_back(await asker.accept(asked, ["vm"]))
        await self.until_well()

        before = set(self.sky.servers)
        await self.heal(await self.strike("cloud-servers-vanish"))
        self.assertFalse(before & set(self.sky.servers))
        await self.until("others come", lambda: bool(self.sky.servers))
        await self.until_well()

        strangers = set()
        for seed in range(4):
            await self.heal(await self.strike("cloud-strangers-server", seed))
            (newest,) = list(self.sky.servers)[-1:]
            strangers.add(self.sky.servers[newest].order.metadata[NODE_ID] < "9")
            await self.until("it is gone", lambda newest=newest: newest not in self.sky.servers)
        self.assertEqual(strangers, {True, False})
        await self.until_well()
        self.assert_nothing_unforeseen()

    def states(self) -> list[str]:
        return [server.status for server in self.sky.servers.values()]


def refused(host: str, port: int) -> bool:
    with contextlib.closing(socket.socket()) as attempt:
        return attempt.connect_ex((host, port)) != 0


def answers(url: str) -> bool:
    """The cloud says anything at all."""
    address = url.removeprefix("http://")
    with contextlib.closing(http.client.HTTPConnection(address, timeout=2)) as connection:
        try:
            connection.request("GET", "/identity/v3")
            return connection.getresponse().status == 200
        except OSError:
            return False


def test_offers() -> None:
    """A pool offers its hosts' slots, or as many servers as it may have, of each label."""
    host = {"labels": ["a", "b"], "max-parallel-jobs": 2}
    assert offers({"nodes": [host, {"labels": ["a"]}]}) == {"a": 3, "b": 2}
    assert offers({"labels": [{"name": "a"}], "max-servers": 3}) == {"a": 3}
    assert offers({"labels": [{"name": "a"}]}) == {"a": float("inf")}


def test_dispensable() -> None:
    """A provider can be spared if another pool has room for as much of all of its labels."""
    small = {"pools": [{"labels": [{"name": "a"}], "max-servers": 3}]}
    large = {"pools": [{"labels": [{"name": "a"}, {"name": "b"}], "max-servers": 4}]}
    split = {"pools": [{"labels": [{"name": name}]} for name in "ab"]}
    assert dispensable(small, [small, large])
    assert not dispensable(large, [small, large])
    assert not dispensable(large, [large, split])
    assert not dispensable(small, [small])
