"""From Nodepool 11 to our launcher and back, twice, while 50 clients go on."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol, ServerFactory

from benchmarks.daemons import OURS, address
from tests.functional.launcher.requesters import Ledger
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import Slot, configuration, slots
from tests.interop.moves import PATIENCE, THEIRS, Move
from tests.nodescan.contract import asynchronous

HOSTS = 20
JOBS = 2
CLIENTS = 50

#: Served in each stage: as many as there are slots, so that nodes have to come back.
SERVED = HOSTS * JOBS

#: Seconds that a job takes at the most.
LONGEST = 2.0


class Migration(Scene):
    timeout = 900

    def machines(self) -> dict[str, Any]:
        """A provider of machines that accept connections."""
        factory: Any = ServerFactory.forProtocol(Protocol)
        listening: Any = reactor.listenTCP(0, factory, interface="0.0.0.0")
        self.addCleanup(listening.stopListening)
        reach = {"connection-type": "winrm", "connection-port": listening.getHost().port}
        hosts = [
            {
                "name": address(index),
                "labels": ["debian"],
                "username": "zuul",
                "max-parallel-jobs": JOBS,
                **reach,
            }
            for index in range(HOSTS)
        ]
        pools = [{"name": "main", "nodes": hosts}]
        return configuration({"name": "rack", "driver": "static", "pools": pools})

    async def clients(self, name: str, config: dict[str, Any]) -> Move:
        """A part of ZooKeeper with clients that are about to ask."""
        crowd: dict[str, Any] = {"count": CLIENTS, "wishes": [["debian"]]}
        return await Move.begin(
            self, name, config, Ledger(), longest=LONGEST, patience=PATIENCE, **crowd
        )

    async def alone(self, move: Move, wanted: Counter[Slot]) -> str:
        """How Nodepool 11 gets on without us, in words; what it fails at is no failure of ours.

        It may leave slots that it never puts right.
        """
        try:
            await move.roll(THEIRS, SERVED, wanted)
        except AssertionError as e:
            return f"{move.told()}\n  given up: {str(e).splitlines()[0]}"
        return move.told()

    @asynchronous
    async def test_static_nodes(self) -> None:
        """No request fails, no slot is doubled or missing; Nodepool 11 alone does no better."""
        config = self.machines()
        wanted = Counter(slots(config))
        ours, control = [await self.clients(name, config) for name in ("ours", "control")]
        rolls = [ours.roll(OURS, SERVED, wanted), self.alone(control, wanted)]
        _, told = await gatherResults([Deferred.fromCoroutine(each) for each in rolls])
        print(ours.told(), told, sep="\n")
        log = ours.logs_of(OURS)
        self.assertEqual(ours.incidents, [])
        self.assertEqual(ours.doubles.found, [])
        self.assertIn("is back in service as node", log)
        self.assertNotIn("Traceback", log)
