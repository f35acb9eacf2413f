"""From Nodepool 11 to our launcher and back, with a cloud that both reach."""

from __future__ import annotations

from benchmarks.daemons import OURS
from tests.functional.cloud.scene import CloudScene, Nodes, label, provider
from tests.interop.moves import PATIENCE, Move
from tests.nodescan.contract import asynchronous

SERVERS = 12
CLIENTS = 16

#: Served in each stage: so many that servers have to be made again.
SERVED = 16

#: Seconds that a job takes at the most.
LONGEST = 1.0


class CloudMigration(CloudScene):
    timeout = 900

    @asynchronous
    async def test_servers(self) -> None:
        """No request fails, no node is given twice, and no server is left at any rest."""
        sky = self.cloud("sky", boot_delay=0.3)
        config = self.config(
            provider("sky", label("small"), rate=0.01, pool={"max_servers": SERVERS})
        )
        move = await Move.begin(
            self,
            "cloud",
            config,
            Nodes(),
            environ={"OS_CLIENT_CONFIG_FILE": str(self.directory / "clouds.yaml")},
            count=CLIENTS,
            wishes=[["small"]],
            longest=LONGEST,
            patience=PATIENCE,
        )
        await move.roll(OURS, SERVED, None)
        print(move.told(), f"servers: {len(sky.made)} made, at most {sky.most}", sep="\n")
        self.assertEqual(move.incidents, [])
        await move.until("no server is left", lambda: not sky.mismatches({}))
        log = move.logs_of(OURS)
        self.assertIn(" makes nodes for request", log)
        self.assertNotIn("Traceback", log)
