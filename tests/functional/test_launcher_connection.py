"""The launcher and its connection to ZooKeeper: lost sessions, bad networks, dying servers."""

from __future__ import annotations

import random
import time

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.functional.launcher.inside import LauncherInside
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.requesters import Requester
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import (
    at_zookeeper,
    configuration,
    host,
    provider,
    slots,
    with_tls,
)
from tests.nodescan.contract import asynchronous
from tests.servers.proxy import Proxy
from tests.servers.zookeeper import (
    Ensemble,
    end_session,
    shared_authority,
    shared_ensemble,
)

FARM = configuration(
    provider("rack", *(host(f"fake-{n}", "small", jobs=4) for n in range(3))),
    provider("shelf", host("fake-large", "large", jobs=2)),
)
WISHES = [["small"], ["small", "small"], ["large"]]


class Connection(Scene):
    async def all_is_well(self) -> None:
        """Everything is back in service, and everybody registered once."""
        await self.until_all_free(slots(FARM))
        await self.until("one of each is registered", self.registered_once)
        self.assertEqual(await self.sight.requests(), {})
        self.assert_nothing_unforeseen()

    async def registered_once(self) -> bool:
        launchers = await self.sight.components("launcher")
        pools = sorted(p["provider_name"] for p in await self.sight.components("pool"))
        owners = await self.sight.owners()
        return (len(launchers), pools, owners) == (
            1,
            ["rack", "shelf"],
            {"rack": 1, "shelf": 1},
        )


class Expiry(Connection):
    """The session is closed by somebody else, as a server does when it has expired."""

    async def _prepare(self) -> None:
        await super()._prepare()
        self.inside = LauncherInside(self.directory, self.at_server(FARM))
        self.inside.start()
        self.addCleanup(self.inside.stop)
        await self.until_all_free(slots(FARM))

    async def expire(self) -> float:
        """End the session; seconds until all is registered again."""
        client = self.inside.client
        epoch = client.session_epoch
        await deferToThread(
            end_session, self.server.port, client.session_id, client.session_password
        )
        began = time.monotonic()
        await self.until("a new session", lambda: client.session_epoch > epoch)
        await self.until("registered again", self.registered_once)
        return time.monotonic() - began

    @asynchronous
    async def test_again_and_again_under_load(self) -> None:
        """Registrations and ownership come back each time, and everybody is served."""
        rng = random.Random(5)
        requester = await self.requester()
        crowd = self.crowd(requester, 20, WISHES)
        times = []
        for _ in range(6):
            # After a connection that did not last it would be less eager to come back.
            await self.sleep(self.inside.client.session_timeout / 3 + rng.uniform(0, 0.4))
            times.append(await self.expire())
            await self.until_served(crowd, 10)
        print(f"registered again after {max(times):.2f} s at the most")
        self.assertLess(max(times), 2.0)
        await crowd.finish()
        await self.all_is_well()

    @asynchronous
    async def test_what_others_hold_stays_theirs(self) -> None:
        """A promised node, one in use and a waiting request outlive the launcher's session."""
        requester = await self.requester()
        (used,) = await requester.obtain("large")
        await requester.use([used])
        promised = await requester.ask("large")
        body = await requester.answer(promised)
        waiting = await requester.ask("large")
        await self.expire()
        await self.sleep(0.3)
        node = await self.sight.node(body["nodes"][0])
        assert node is not None
        self.assertEqual(node["allocated_to"], promised)
        self.assertEqual((await self.sight.requests())[waiting]["state"], "requested")
        await requester.give_back([used])
        await requester.give_back(await requester.accept(waiting, ["large"]))
        await requester.give_back(await requester.accept(promised, ["large"]))
        await self.all_is_well()


class BadNetwork(Connection):
    """A proxy between launcher and ZooKeeper; requesters have a connection of their own."""

    async def behind_proxy(self, session: float) -> LauncherProcess:
        self.proxy = Proxy(reactor, self.server.port)
        self.addCleanup(self.proxy.stop)
        config = at_zookeeper(FARM, self.proxy.port, chroot=self.root, timeout=session)
        return await self.serving(config)

    @asynchronous
    async def test_cut_every_half_second(self) -> None:
        """With a connection that never lasts, everybody is served, and nothing twice."""
        await self.behind_proxy(session=6)
        requester = await self.requester()
        crowd = self.crowd(requester, 20, WISHES)
        accepted = self.proxy.accepted
        for _ in range(14):
            await self.sleep(random.uniform(0.3, 0.6))
            self.proxy.cut()
            crowd.check()
        await crowd.finish()
        # It is less eager to come back the shorter its connections last.
        self.assertGreaterEqual(self.proxy.accepted - accepted, 5)
        self.assertGreater(requester.ledger.served, 40)
        await self.all_is_well()

    @asynchronous
    async def test_slow(self) -> None:
        """200 ms each way cost a hand-out two round trips, and nothing else goes wrong."""
        await self.behind_proxy(session=6)
        self.proxy.delay(0.2)
        requester = await self.requester()
        for _ in range(2):
            await requester.job("small")
        # To hear of the request, to read it and get it, to answer: 0.8 s, and one more 1.2 s.
        quickest = min(requester.ledger.waits)
        print(f"served after {quickest:.2f} s")
        self.assertLess(quickest, 1.2)
        crowd = self.crowd(requester, 10, [["small"], ["small", "small"]])
        await self.until_served(crowd, 10)
        await crowd.finish()
        self.proxy.heal()
        await self.all_is_well()

    @asynchronous
    async def test_silence_shorter_than_the_session(self) -> None:
        """Whatever was lost in three seconds of silence is done when they are over."""
        launcher = await self.behind_proxy(session=10)
        requester = await self.requester()
        crowd = self.crowd(requester, 20, WISHES)
        await self.until_served(crowd, 10)
        self.proxy.blackhole()
        await self.sleep(3)
        self.proxy.heal()
        healed = time.monotonic()
        await self.until_served(crowd, 10)
        print(f"goes on {time.monotonic() - healed:.2f} s after the silence")
        await crowd.finish()
        self.assertNotIn("ZooKeeper: expired", launcher.log)
        await self.all_is_well()

    @asynchronous
    async def test_silence_longer_than_the_session(self) -> None:
        """What went with the session comes back: registrations, ownership, service."""
        launcher = await self.behind_proxy(session=2)
        requester = await self.requester()
        crowd = self.crowd(requester, 20, WISHES)
        await self.until_served(crowd, 10)
        self.proxy.blackhole()
        await self.until("the session has expired", self.nobody_is_registered)
        await self.sleep(0.5)
        self.proxy.heal()
        await self.until_served(crowd, 10)
        await crowd.finish()
        self.assertIn("ZooKeeper: expired", launcher.log)
        await self.all_is_well()

    async def nobody_is_registered(self) -> bool:
        return not await self.sight.components("pool")


class DyingServers(Connection):
    """Three servers, of which always two are there."""

    def get_server(self) -> Ensemble:  # type: ignore[override]
        return shared_ensemble()

    @property
    def ensemble(self) -> Ensemble:
        return self.server  # type: ignore[return-value]

    async def healthy_again(self, dead: int) -> None:
        self.ensemble.restart(dead)
        await deferToThread(self.ensemble.wait_ready)

    @asynchronous
    async def test_one_killed_then_the_leader(self) -> None:
        """Everybody is served while a follower and then the leader dies."""
        ports = [server.port for server in self.ensemble.servers]
        config = at_zookeeper(FARM, *ports, chroot=self.root, timeout=6)
        launcher = await self.serving(config)
        requester = await self.requester()
        crowd = self.crowd(requester, 20, WISHES)
        leader = self.ensemble.leader()
        for victim in ((leader + 1) % 3, leader):
            await self.until_served(crowd, 20)
            self.ensemble.kill(victim)
            killed = time.monotonic()
            try:
                await self.until_served(crowd, 50)
                print(f"50 jobs within {time.monotonic() - killed:.1f} s of a kill")
            finally:
                await self.healthy_again(victim)
        await crowd.finish()
        await self.all_is_well()
        self.assertTrue(launcher.running)


class Secured(Connection):
    @asynchronous
    async def test_tls(self) -> None:
        """With client certificates everything works, the command line too."""
        authority = shared_authority()
        config = with_tls(FARM, self.server, self.root, authority.client())
        launcher = await self.serving(config)
        self.assertNotIn("is not encrypted", launcher.log)
        requester = Requester(await self.client(self.server.tls_address, tls=authority.client()))
        crowd = self.crowd(requester, 10, WISHES)
        await self.until_served(crowd, 50)
        await crowd.finish()
        await self.all_is_well()
        answer = await deferToThread(launcher.nodepool, "list")
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        self.assertEqual(answer.stdout.count("| ready | "), len(list(slots(FARM))))

    @asynchronous
    async def test_plain(self) -> None:
        """Without encryption it works, and says that this is for trusted networks."""
        launcher = await self.serving(self.at_server(FARM))
        self.assertIn("is not encrypted: this is for trusted networks only", launcher.log)

    @asynchronous
    async def test_wrong_authority(self) -> None:
        """A server of another authority is not talked to, and that is said."""
        other = type(shared_authority())(self.directory, "another ca")
        launcher = self.launcher(with_tls(FARM, self.server, self.root, other.client()))
        launcher.start()
        await self.until_logged(launcher, "is not signed by the CA in")
        self.assertEqual((await launcher.stop()).status, 0)
        self.assert_nothing_unforeseen()
