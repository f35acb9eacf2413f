"""Faults that strike records and locks: what is there afterwards, what is excused, what is said."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from kazoo.exceptions import NoNodeError

from nodepool_tx.store import paths
from proof.chaos import faults
from proof.chaos.faults.garbage import GARBAGE, spoilt
from tests.nodescan.contract import asynchronous
from tests.proof.chaos.small_farm import FaultScene


class Znodes(FaultScene):
    async def there(self, path: str) -> bool:
        return await self.farm.client.exists(path) is not None

    async def ids(self) -> set[str]:
        return set(await self.sight.children(paths.NODES))

    def excused(self) -> set[str]:
        excused, self.farm.tainted = self.farm.tainted, set()
        return excused

    @asynchronous
    async def test_removed(self) -> None:
        """The one znode goes that was noted; what is excused is it and who was promised it."""
        asker = await self.requester()

        await self.heal(await self.strike("znode-free-nodes-deleted"))
        self.assertEqual(self.excused(), set())
        await self.until_well()

        before = await self.ids()
        await self.heal(await self.strike("znode-ready-removed"))
        (gone,) = self.excused()
        self.assertIn(gone.rpartition("/")[2], before)
        self.assertFalse(await self.there(gone))
        await self.until_well()

        self.sky.behave(boot_delay=30.0)
        asked = await asker.ask("vm")
        await self.until("it is made", lambda: self.state_of("building"))
        await self.heal(await self.strike("znode-building-removed"))
        self.assertEqual(paths.request(asked), max(self.excused()))
        self.assertEqual((await asker.answer(asked))["state"], "failed")
        await asker.withdraw(asked)
        self.sky.behave(boot_delay=0.2)
        await self.until_well()

        asked = await asker.ask("small")
        (promised,) = (await asker.answer(asked))["nodes"]
        await self.heal(await self.strike("znode-promised-removed"))
        self.assertEqual(self.excused(), {paths.node(promised), paths.request(asked)})
        await asker.withdraw(asked)
        await self.until_well()

        (held,) = await asker.obtain("small")
        await asker.use([held])
        await self.heal(await self.strike("znode-used-removed"))
        self.assertIn(paths.node(held.id), self.excused())
        self.assertFalse(await self.there(paths.node(held.id)))
        await self.until_well()

        self.sky.behave(boot_delay=30.0)
        asked = await asker.ask("vm")
        await self.until("it is made", lambda: self.state_of("building"))
        await self.heal(await self.strike("znode-request-removed"))
        self.assertEqual(self.excused(), {paths.request(asked)})
        self.assertFalse(await self.there(paths.request(asked)))
        self.sky.behave(boot_delay=0.2)
        await self.until("the launch has ended", lambda: self.state_of("building", count=0))
        self.assert_nothing_unforeseen()

    async def state_of(self, state: str, count: int = 1) -> bool:
        nodes = await self.sight.nodes()
        return sum(node.data["state"] == state for node in nodes) == count

    @asynchronous
    async def test_locks(self) -> None:
        """Whoever was first in line is not any more, and the launcher stands in line again."""
        asker = await self.requester()
        (held,) = await asker.obtain("small")
        (before,) = await self.sight.children(paths.node_lock(held.id))
        await self.heal(await self.strike("znode-node-lock-broken"))
        self.assertIn(paths.node(held.id), self.excused())
        self.assertNotIn(before, await self.sight.children(paths.node_lock(held.id)))
        await self.until_well()

        self.sky.behave(boot_delay=30.0)
        asked = await asker.ask("vm")
        await self.until("it is made", lambda: self.state_of("building"))
        lock = paths.request_lock(asked)
        (before,) = await self.sight.children(lock)
        await self.heal(await self.strike("znode-request-lock-broken"))
        self.assertNotIn(before, await self.sight.children(lock))
        self.assertEqual(self.excused(), {lock, paths.request(asked)})
        self.sky.behave(boot_delay=0.2)
        body = await asker.answer(asked)
        self.assertIn(body["state"], ("fulfilled", "failed"))
        await asker.withdraw(asked)
        await self.until("the launch has ended", lambda: self.state_of("building", count=0))

        for name, seed in (("znode-owner-lock-broken", 1), ("znode-owner-lock-removed", 1)):
            fault = await self.strike(name, seed)
            (lock,) = self.farm.tainted
            await self.until_logged(self.daemon, f"no longer looking after.*{lock[-3:]}")
            await self.heal(fault)
            self.assertEqual(self.excused(), set())
            await self.until("it stands in line", lambda lock=lock: self.queued(lock))

        for seed in (0, 1):
            removed = self.daemon.log.count("was removed by somebody else")
            await self.heal(await self.strike("znode-component-removed", seed))
            await self.until_logged(self.daemon, "was removed by somebody else", removed + 1)
        self.assert_nothing_unforeseen()

    async def queued(self, lock: str) -> bool:
        return len(await self.sight.children(lock)) == 1


class Garbage(FaultScene):
    async def read(self, path: str) -> bytes | None:
        try:
            data, _ = await self.farm.client.get(path)
        except NoNodeError:
            return None
        return bytes(data)

    async def spoil(self, name: str, seed: int) -> tuple[Any, str]:
        """Spoil something; the fault, and the path of what is garbage then."""
        fault: Any = await self.strike(name, seed)
        self.assertEqual(await self.read(fault.path), fault.ours)
        self.assertNotEqual(fault.ours, fault.before)
        return fault, fault.path

    @asynchronous
    async def test_records(self) -> None:
        """What is garbage is told of with its path, and afterwards it is as it was, or gone."""
        asker = await self.requester()
        ways = set()
        for seed in (1, 2, 3, 4):
            fault, path = await self.spoil("garbage-node", seed)
            ways.add(fault.goes_back)
            self.assertIn(path, self.farm.tainted)
            before = fault.before
            await self.until_logged(self.daemon, f"{path} is unreadable and is left alone")
            await self.heal(fault)
            if fault.goes_back:
                self.assertIn(await self.read(path), (before, None))
            else:
                self.assertIsNone(await self.read(path))
            await self.until_well()
        self.assertEqual(ways, {True, False})

        self.sky.behave(boot_delay=30.0)
        asked = await asker.ask("vm")
        fault, path = await self.spoil("garbage-request", 0)
        self.assertEqual(path, paths.request(asked))
        await self.until_logged(self.daemon, f"{path} is unreadable")
        await self.heal(fault)
        self.assertIsNone(await self.read(path))
        self.sky.behave(boot_delay=0.2)

        fault, path = await self.spoil("garbage-component", 0)
        before = fault.before
        await self.heal(fault)
        self.assertEqual(await self.read(path), before)
        await asker.job("small")
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_litter(self) -> None:
        """What strangers leave is there, costs nobody anything, and is cleared away."""
        asker = await self.requester()
        for name in (
            "garbage-strangers",
            "garbage-below-nodes",
            "garbage-images",
            "garbage-our-own",
            "garbage-drain",
        ):
            for seed in range(3):
                await self.until_well()
                fault: Any = await self.strike(name, seed)
                left = list(fault.left)
                self.assertTrue(left)
                missing = [path for path in left if await self.read(path) is None]
                self.assertEqual(missing, [], self.farm.story[-3:])
                await asker.job("small")
                await self.heal(fault)
                self.assertEqual({await self.read(path) for path in left}, {None})
        await self.until_well()
        # What an operator takes out has no free nodes, even if the record is garbage.
        for seed in range(4):
            fault = await self.strike("garbage-maintenance", seed)
            (path,) = fault.left
            name = path.rpartition("-")[2].replace("%2E", ".")
            await self.until(f"{name} is empty", lambda name=name: self.empty(name))
            await self.heal(fault)
            await self.until_well()
        self.assert_nothing_unforeseen()

    async def empty(self, name: str) -> bool:
        nodes = await self.sight.nodes()
        return not any(name in (one.data["hostname"], one.data["provider"]) for one in nodes)


def test_spoilt_records() -> None:
    """Half of them are no records at all, and half are good ones but for some keys."""
    record = {"state": "ready", "type": ["small"], "provider": "rack", "state_time": 1.0}
    data = json.dumps(record).encode()
    found = [spoilt(Random(seed), data) for seed in range(200)]
    nearly = [json.loads(ours) for _, ours in found if ours not in GARBAGE.values()]
    assert 50 < len(nearly) < 150
    assert all(ours != data for _, ours in found)
    assert all(one.keys() == record.keys() and one != record for one in nearly)


def test_spoilt_garbage() -> None:
    """What is no record becomes other garbage."""
    assert all(spoilt(Random(seed), b"\xff")[1] in GARBAGE.values() for seed in range(50))


def test_every_fault_is_of_a_family() -> None:
    """All faults have names of their own, and are found by them."""
    assert len(faults.ALL) >= 40
    assert all(faults.make(name).name == name for name in faults.ALL)
    assert all(
        kind.weight > 0 and 0 < kind.lasts[0] <= kind.lasts[1] for kind in faults.ALL.values()
    )
