"""Faults that strike the servers of ZooKeeper: an ensemble of three, one with a small disk."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from kazoo.exceptions import KazooException
from twisted.internet.threads import deferToThread

from proof.chaos import faults
from proof.chaos.disk import SmallDisk
from proof.chaos.stuck import Leaders
from tests.nodescan.contract import asynchronous
from tests.proof.chaos.small_farm import FaultScene
from tests.servers.zookeeper import Ensemble, ZookeeperServer, shared_authority

#: Which of the servers it is.
SMALL = 2


class Zookeeper(FaultScene):
    timeout = 240

    async def _prepare(self) -> None:
        await super()._prepare()
        self.farm.ensemble = self.ensemble
        self.farm.disk = self.disk
        # As in every run of chaos: ZooKeeper's own leader may hang after a majority was frozen.
        leaders = Leaders(self.farm)
        leaders.watch()
        self.addCleanup(leaders.stop)

    def get_server(self) -> ZookeeperServer:
        self.disk = SmallDisk.make(SMALL)
        data: dict[int, Path] = {}
        if self.disk is not None:
            self.addCleanup(self.disk.stop)
            data[SMALL] = self.disk.directory
        self.ensemble = Ensemble(shared_authority(), data=data)
        self.addCleanup(self.ensemble.stop)
        self.ensemble.start()
        return self.ensemble.servers[0]

    def servers(self) -> Sequence[Any]:
        return self.ensemble.servers

    async def client(self, address: str = "", chroot: str | None = None, **options: Any) -> Any:
        return await super().client(address or self.ensemble.address, chroot, **options)

    async def modes(self) -> list[str]:
        return await deferToThread(lambda: [server.mode() for server in self.ensemble.servers])

    async def all_serve(self) -> bool:
        return sorted(await self.modes()) == ["follower", "follower", "leader"]

    @asynchronous
    async def test_servers(self) -> None:
        """Each is struck as it is said, serves again when healed, and the launcher goes on."""
        for name, left in (
            ("zookeeper-leader-killed", 2),
            ("zookeeper-follower-killed", 2),
            ("zookeeper-server-frozen", 2),
            ("zookeeper-majority-frozen", 0),
            ("zookeeper-all-restarted", 0),
        ):
            before = (await self.modes()).index("leader")
            fault = await self.strike(name)

            async def struck(left: int = left) -> bool:
                return sum(map(bool, await self.modes())) == left

            await self.until(f"{left} serve after {name}", struck)
            if name == "zookeeper-leader-killed":
                self.assertFalse(self.ensemble.servers[before].running)
            if name == "zookeeper-follower-killed":
                self.assertTrue(self.ensemble.servers[before].running)
            await self.heal(fault)
            await self.until(f"all serve after {name}", self.all_serve)
            await self.until_well()
        await (await self.requester()).job("small")
        await self.full_disk()
        self.assert_nothing_unforeseen()

    async def full_disk(self) -> None:
        """A server says that its disk is full; with room again it catches up with the others."""
        if self.disk is None:
            # Only root can mount one: the fault says so and does nothing.
            await faults.make("zookeeper-disk-full").strike(self.farm, Random(0))
            self.assertIn("no file system can be mounted", self.farm.story[-1])
            return
        fault = await self.strike("zookeeper-disk-full")
        small = self.ensemble.servers[SMALL]

        async def noticed() -> bool:
            with contextlib.suppress(KazooException):
                await self.farm.client.create("/filler-", b"x" * 100_000, sequence=True)
            return "No space left on device" in small.log

        await self.until("the server says so", noticed, 60.0)
        await self.heal(fault)
        await self.until("all serve", self.all_serve)
        await self.until_well()
