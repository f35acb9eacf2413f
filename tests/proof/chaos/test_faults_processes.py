"""Faults that strike the launcher, its session, its network and its clock."""

from __future__ import annotations

import contextlib
import socket
import time
from email.utils import parsedate_to_datetime
from random import Random

from twisted.internet.defer import Deferred

from proof.chaos import faults
from proof.chaos.faults.launchers import is_frozen
from proof.chaos.faults.sessions import launcher_sessions
from tests.nodescan.contract import asynchronous
from tests.proof.chaos.small_farm import FaultScene


class Launchers(FaultScene):
    @asynchronous
    async def test_killed_and_stopped(self) -> None:
        """The process is gone, one way or the other, and there is another one afterwards."""
        for name in ("launcher-killed", "launcher-all-killed", "launcher-stopped"):
            before = self.daemon.pid
            fault = await self.strike(name)
            self.assertFalse(self.daemon.running)
            self.assertEqual(self.daemon.wait(), 0 if name == "launcher-stopped" else -9)
            await self.heal(fault)
            self.assertTrue(self.daemon.running)
            self.assertNotEqual(self.daemon.pid, before)
            await self.until_logged(self.daemon, "up to date with ZooKeeper")
        # It dies again and again, until it is healed in the middle.
        noted = len(self.farm.story)
        fault = faults.make("launcher-killed-often")
        striking = Deferred.fromCoroutine(fault.strike(self.farm, Random(1)))
        await self.until("twice", lambda: len(self.farm.story) >= noted + 2)
        await self.heal(fault)
        await striking
        story = len(self.farm.story)
        await self.until_well()
        self.assertEqual(len(self.farm.story), story)
        self.assert_nothing_unforeseen()


class Frozen(FaultScene):
    session = 4.0

    @asynchronous
    async def test_frozen(self) -> None:
        """The kernel says that it is stopped, its session ends, and it notices when thawed."""
        fault = await self.strike("launcher-frozen")
        await self.until("it is frozen", lambda: is_frozen(self.one))
        await self.until("its session has ended", self.nobody)
        await self.heal(fault)
        await self.until("it is not frozen", lambda: not is_frozen(self.one))
        await self.until_logged(self.daemon, "ZooKeeper: expired")
        await self.until_well()
        self.assert_nothing_unforeseen()

    async def nobody(self) -> bool:
        return await self.sight.components("launcher") == []


class Network(FaultScene):
    session = 4.0

    @asynchronous
    async def test_in_between(self) -> None:
        """Connections break, hang, crawl and are refused, and come back."""
        proxy = self.one.proxies[0]
        lost = r"Lost ZooKeeper"

        before = proxy.accepted
        await self.heal(await self.strike("network-cut"))
        await self.until("it comes back", lambda: proxy.accepted > before)
        await self.until_logged(self.daemon, lost, 1)

        fault = await self.strike("network-slow", seed=3)
        self.assertGreater(proxy.pause, 0)
        await self.heal(fault)
        self.assertEqual(proxy.pause, 0)

        fault = await self.strike("network-refused")
        await self.until_logged(self.daemon, "No ZooKeeper server to be had")
        await self.heal(fault)
        await self.until_well()

        for seed, swallows in ((1, [True, False]), (2, [True])):
            count = self.daemon.log.count("Lost ZooKeeper")
            fault = await self.strike("network-silent", seed)
            self.assertEqual([side for side in (True, False) if proxy.swallows(side)], swallows)
            await self.until_logged(self.daemon, "Lost ZooKeeper.*silent", 1)
            await self.until_logged(self.daemon, lost, count + 1)
            await self.heal(fault)
            self.assertFalse(proxy.swallows(True))
            await self.until_well()

        fault = await self.strike("network-one-server-away")
        away = proxy.swallows(True) or refuses(proxy.port)
        self.assertTrue(away)
        await self.heal(fault)
        self.assertFalse(proxy.swallows(True) or refuses(proxy.port))
        await self.until_well()
        self.assert_nothing_unforeseen()


def refuses(port: int) -> bool:
    """Nobody listens there."""
    with contextlib.closing(socket.socket()) as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) != 0


class SessionsAndClocks(FaultScene):
    @asynchronous
    async def test_sessions_and_clocks(self) -> None:
        """The session is another one; what the launcher says of the time is wrong, and right."""
        for name in ("session-expired", "session-all-expired"):
            (before,) = await launcher_sessions(self.checked)
            fault = await self.strike(name)
            self.assertNotIn(before, await launcher_sessions(self.checked))
            await self.heal(fault)
            await self.until_well()
            (after,) = await launcher_sessions(self.checked)
            self.assertNotEqual(before, after)
        self.assertEqual(self.daemon.log.count("ZooKeeper: expired"), 2)

        for name, least in (("clock-minutes", 60.0), ("clock-hours", 3600.0)):
            fault = await self.strike(name)
            await self.until("its clock is wrong", lambda least=least: self.wrong(least))
            await (await self.requester()).job("small")
            await self.heal(fault)
            await self.until("its clock is right", self.right)
        await self.until_well()
        self.assert_nothing_unforeseen()

    async def ahead(self) -> float:
        """How far the launcher's clock is ahead, as it says over HTTP."""
        _, told = await self.answer()
        return parsedate_to_datetime(told).timestamp() - time.time()

    async def wrong(self, least: float) -> bool:
        return abs(await self.ahead()) >= least - 2

    async def right(self) -> bool:
        return abs(await self.ahead()) < 5
