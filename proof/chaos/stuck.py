"""ZooKeeper's own hanging: a leader that has work to do, and followers, and decides nothing.

ZooKeeper 3.8 does that at times after a majority was frozen for about as long as a leader waits
for it: the followers come back to the same leader, and their votes on what it had proposed
meanwhile never count.  Sessions stay, pings are answered, and nothing is ever written again.
Nobody but who starts the leader anew can help there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from proof.chaos.interface import Farm

__all__ = ["Leaders", "Standstill"]

#: Seconds for which nothing was decided, with all servers there, until it is called stuck.
STUCK = 15.0

#: Seconds between two looks.
_LOOK = 2.0

_FIELDS = re.compile(r"^(Mode|Zxid|Outstanding): (\S+)$", re.MULTILINE)


class Standstill:
    """Says from what servers tell of themselves whether the leader is stuck."""

    def __init__(self) -> None:
        self._zxid = ""
        self._since = 0.0

    def look(self, told: Sequence[str], now: float) -> int | None:
        """Which server leads and has been stuck for long enough; None if none has.

        :param told: what each server answers to ``srvr``; empty if it does not.
        """
        servers = [dict(_FIELDS.findall(each)) for each in told]
        leads = [number for number, each in enumerate(servers) if each.get("Mode") == "leader"]
        if len(leads) != 1 or not all("Mode" in each for each in servers):
            self._zxid = ""
            return None
        leader = servers[leads[0]]
        if leader["Zxid"] != self._zxid or leader["Outstanding"] == "0":
            self._zxid, self._since = leader["Zxid"], now
        if now - self._since < STUCK:
            return None
        self._zxid = ""
        return leads[0]


class Leaders:
    """Starts leaders of ZooKeeper again that are stuck, and notes it in the story.

    :ivar restarted: how many.
    """

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._standstill = Standstill()
        self._call = LoopingCall(self._look)
        self._call.clock = farm.reactor
        self.restarted = 0

    def watch(self) -> None:
        self._call.start(_LOOK, now=False).addErrback(self._failed)

    def stop(self) -> None:
        if self._call.running:
            self._call.stop()

    def _failed(self, failure: Any) -> None:
        self._farm.note(f"nobody looks after leaders of ZooKeeper: {failure.getTraceback()}")

    async def _look(self) -> None:
        servers = self._farm.ensemble.servers
        told = await deferToThread(lambda: [server.ask("srvr") for server in servers])
        stuck = self._standstill.look(told, time.monotonic())
        if stuck is None or not self._call.running:
            return
        self._farm.note(f"of ZooKeeper, server {stuck} leads and is stuck: it is started again")
        self.restarted += 1
        servers[stuck].kill()
        servers[stuck].start()
