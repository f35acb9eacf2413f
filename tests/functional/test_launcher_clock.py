"""A launcher whose wall clock is set while it works."""

from __future__ import annotations

from proof.chaos.clock import FakedClock
from tests.functional.cloud.scene import CloudScene, label, provider
from tests.nodescan.contract import asynchronous


class Clocks(CloudScene):
    @asynchronous
    async def test_forth_and_back(self) -> None:
        """It serves everybody while its clock is an hour ahead, and after it was set right."""
        self.cloud("sky")
        clock = FakedClock(self.directory / "clock")
        daemon = self.cloud_launcher(
            self.config(provider("sky", label("small"))), environ=clock.environ
        )
        self.addCleanup(clock.clean)
        self.addCleanup(daemon.leave_nothing)
        pid = daemon.pid
        crowd = self.crowd(await self.requester(), 4, [["small"]])
        await self.until_served(crowd, 4)
        for skew in (3600.0, 0.0, -3600.0, 0.0):
            clock.skew(skew)
            # The clock is looked at again after a second.
            await self.sleep(1.5)
            await self.until_served(crowd, 8)
        await crowd.finish()
        await self.until_settled()
        self.assertEqual(daemon.pid, pid)
        self.assert_nothing_unforeseen()
