"""The running launcher and its changing configuration."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import Any

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider, slots
from tests.nodescan.contract import asynchronous

STAYS = host("fake-stays", "small", jobs=2)
BASE = configuration(provider("rack", STAYS))


class Changes(Scene):
    async def reload(
        self, launcher: LauncherProcess, config: Mapping[str, Any], number: int = 0
    ) -> None:
        """Change the file, signal if asked to, and wait until it is in force."""
        before = launcher.log.count("configuration applied")
        launcher.write(self.at_server(config))
        if number:
            launcher.send(number)
        await self.until_logged(launcher, "configuration applied in full", before + 1)


class Reload(Changes):
    @asynchronous
    async def test_under_load(self) -> None:
        """Nodes, pools and providers come, change and go while twenty requesters are served."""
        launcher = await self.serving(self.at_server(BASE))
        requester = await self.requester()
        crowd = self.crowd(requester, 20, [["small"], ["small", "small"]])
        more = [host(f"fake-more-{n}", "small", jobs=3) for n in range(3)]
        versions = [
            configuration(provider("rack", STAYS, *more)),
            configuration(provider("rack", STAYS, *more[1:]), provider("new", more[0])),
            configuration(
                provider("rack", STAYS, *more[1:], node_attributes={"zone": 1}),
                provider("new", {**more[0], "max-parallel-jobs": 1}, pool="other"),
            ),
            configuration(
                provider("rack", STAYS, more[1], node_attributes={"zone": 2}),
                provider("late", *(host(f"fake-late-{n}", "small") for n in range(5))),
            ),
            configuration(provider("rack", {**STAYS, "max-parallel-jobs": 4})),
            configuration(provider("rack", {**STAYS, "username": "other"}), provider("new", *more)),
        ]
        for turn, version in enumerate([*versions, BASE, *versions]):
            await self.reload(launcher, version, signal.SIGHUP if turn % 2 else 0)
            await self.until_served(crowd, 10)
        await crowd.finish()
        await self.until_all_free(slots(versions[-1]))
        self.assertEqual({n.data["username"] for n in await self.sight.nodes()}, {"other", "zuul"})
        pools = {pool["provider_name"] for pool in await self.sight.components("pool")}
        self.assertEqual(pools, {"rack", "new"})
        self.assertEqual((await self.sight.owners()).keys(), {"rack", "new"})
        self.assertEqual(await self.sight.children("/nodepool/draining"), [])
        self.assertEqual(await self.sight.requests(), {})
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_sighup_looks_at_once(self) -> None:
        """With looks an hour apart, a signal is what brings a change into force."""
        launcher = await self.serving(
            self.at_server(BASE), environ={"NODEPOOL_CONFIG_INTERVAL": "3600"}
        )
        changed = configuration(provider("rack", STAYS, host("fake-new", "small")))
        launcher.write(self.at_server(changed))
        await self.sleep(0.5)
        await self.until_all_free(slots(BASE), patience=0)
        await self.reload(launcher, changed, signal.SIGHUP)
        await self.until_all_free(slots(changed))
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_bad_configuration(self) -> None:
        """It changes nothing and is told with file, line and column; the next good one counts."""
        launcher = await self.serving(self.at_server(BASE))
        good = launcher.config.read_text()
        requester = await self.requester()
        bad = good.replace("max-parallel-jobs: 2", "max-parallel-jobs: many") + "surprise: 1\n"
        line = 1 + bad[: bad.index("many")].count("\n")
        column = bad[: bad.index("many")].rpartition("\n")[2]
        last = bad.count("\n")
        launcher.write(bad)
        await self.until_logged(launcher, "is not valid, the old one stays in force")
        self.assertIn(f"{launcher.config}:{line}:{len(column) + 1}: ", launcher.log)
        self.assertIn(f"{launcher.config}:{last}:1: ", launcher.log)
        await requester.job("small", "small")
        await self.sleep(0.5)
        self.assertEqual(launcher.log.count("is not valid, the old one stays"), 1)
        launcher.write("[]\n")
        await self.until_logged(launcher, "is not valid, the old one stays in force", 2)
        launcher.config.unlink()
        await self.until_logged(launcher, "is not valid, the old one stays in force", 3)
        await requester.job("small", "small")
        await self.reload(launcher, configuration(provider("rack", STAYS, host("fake-2", "b"))))
        self.assertIn("the configuration is valid again", launcher.log)
        await requester.job("b")
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_unavailable_driver(self) -> None:
        """A provider whose driver does not exist yet is reported; all others are served."""
        cloud = {"name": "cloud", "driver": "aws", "cloud": "x", "pools": []}
        both = {**BASE, "providers": [cloud, *BASE["providers"]]}
        launcher = self.launcher(self.at_server(both))
        launcher.start()
        await self.until_all_free(slots(BASE))
        said = "provider cloud: driver aws is not available in this version"
        self.assertIn(said, launcher.log)
        requester = await self.requester()
        await requester.job("small")
        await self.until_all_free(slots(BASE))
        pools = {pool["provider_name"] for pool in await self.sight.components("pool")}
        self.assertEqual(pools, {"rack"})
        self.assert_nothing_unforeseen()


class Drain(Changes):
    """A provider leaves the configuration while one of its nodes is in use."""

    BOTH = configuration(provider("rack", STAYS), provider("old", host("fake-old", "old", jobs=2)))

    async def half_drained(self) -> LauncherProcess:
        launcher = await self.serving(self.at_server(self.BOTH))
        self.zuul = await self.requester()
        self.held = await self.zuul.obtain("old")
        await self.zuul.use(self.held)
        await self.reload(launcher, BASE)
        await self.until("the free node is gone", self.only_the_held_one_is_left)
        return launcher

    async def only_the_held_one_is_left(self) -> bool:
        old = [n for n in await self.sight.nodes() if n.data["provider"] == "old"]
        return [(n.id, n.data["state"]) for n in old] == [(self.held[0].id, "in-use")]

    async def only_the_rest_is_left(self) -> None:
        await self.until_all_free(slots(BASE))

        async def forgotten() -> bool:
            pools = {pool["provider_name"] for pool in await self.sight.components("pool")}
            draining = await self.sight.children("/nodepool/draining")
            owners = await self.sight.owners()
            return (pools, draining, set(owners)) == ({"rack"}, [], {"rack"})

        await self.until("nothing of the provider is left", forgotten)
        self.assert_nothing_unforeseen()

    @asynchronous
    async def test_last_node_goes_when_it_returns(self) -> None:
        """Free nodes go at once, one in use when it comes back; then the provider is gone."""
        launcher = await self.half_drained()
        asked = await self.zuul.ask("old")
        self.assertEqual((await self.zuul.answer(asked))["state"], "failed")
        self.assertTrue(await self.only_the_held_one_is_left())
        await self.zuul.give_back(self.held)
        await self.only_the_rest_is_left()
        self.assertIn("provider old is gone", launcher.log)

    @asynchronous
    async def test_restart_in_the_middle(self) -> None:
        """A launcher that knows the provider from ZooKeeper only removes its last node."""
        for end in (signal.SIGTERM, signal.SIGKILL):
            launcher = await self.half_drained()
            ledger = await self.sight.record("/nodepool/draining/old")
            self.assertEqual(ledger, {"driver": "static"})
            await launcher.stop(end)
            launcher.start()
            await self.until_logged(launcher, "looks after provider old")
            self.assertTrue(await self.only_the_held_one_is_left())
            await self.zuul.give_back(self.held)
            await self.only_the_rest_is_left()
            await launcher.stop()

    @asynchronous
    async def test_node_returned_while_nobody_was_there(self) -> None:
        """It is removed by the next start, too."""
        launcher = await self.half_drained()
        launcher.kill()
        await self.zuul.give_back(self.held)
        launcher.start()
        await self.only_the_rest_is_left()

    @asynchronous
    async def test_configured_again_meanwhile(self) -> None:
        """The provider is whole again, and its node in use comes back into service."""
        launcher = await self.half_drained()
        await self.reload(launcher, self.BOTH)
        await self.until("its free slot is back", self.two_of_old)
        await self.zuul.give_back(self.held)
        await self.until_all_free(slots(self.BOTH))
        await self.zuul.job("old", "old")
        self.assertEqual(await self.sight.children("/nodepool/draining"), [])
        self.assert_nothing_unforeseen()

    async def two_of_old(self) -> bool:
        return len([n for n in await self.sight.nodes() if n.data["provider"] == "old"]) == 2

    @asynchronous
    async def test_rubbish_in_the_ledger(self) -> None:
        """What makes no sense there is told, and everything else works."""
        await self.sight.client.ensure_path("/nodepool/draining")
        for name, data in (
            ("nonsense", b"\xff{"),
            ("list", b"[]"),
            ("strange", json.dumps({"driver": "no such"}).encode()),
            ("other", json.dumps({"driver": "aws"}).encode()),
            ("number", json.dumps({"driver": 3}).encode()),
        ):
            await self.sight.client.create(f"/nodepool/draining/{name}", data)
        launcher = await self.serving(self.at_server(BASE))
        await self.until_logged(launcher, "/nodepool/draining/nonsense")
        await self.until_logged(launcher, "/nodepool/draining/list")
        await (await self.requester()).job("small")
        await self.until_all_free(slots(BASE))
        self.assert_nothing_unforeseen()
