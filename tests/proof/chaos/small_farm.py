"""As much of a farm as one fault needs: a launcher, a ZooKeeper, a cloud and a few hosts."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from proof.chaos import faults
from proof.chaos.clock import FakedClock
from proof.chaos.hosts import Hosts
from proof.chaos.interface import Farm, Fault
from tests.functional.cloud.scene import CloudScene, label
from tests.functional.cloud.scene import provider as cloud_provider
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.settings import at_zookeeper, configuration, host, provider
from tests.functional.launcher.sight import Sight
from tests.servers.proxy import Proxy

__all__ = ["FaultScene", "SmallFarm", "SmallLauncher"]


class SmallLauncher:
    """See :class:`proof.chaos.interface.FarmLauncher`."""

    def __init__(
        self,
        number: int,
        make: Callable[..., LauncherProcess],
        clock: FakedClock,
        proxies: Sequence[Proxy],
        chroot: str,
        environ: Mapping[str, str],
        config: Mapping[str, Any],
        session: float,
    ) -> None:
        self.number = number
        self._session = session
        self.proxies = proxies
        self._clock = clock
        self._chroot = chroot
        self.configuration = config
        self.process = make(
            self._at_zookeeper(config),
            environ={"NODEPOOL_CLEANUP_INTERVAL": "0.5", **environ, **clock.environ},
            simulated=None,
        )

    def _at_zookeeper(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        ports = [proxy.port for proxy in self.proxies]
        return at_zookeeper(config, *ports, chroot=self._chroot, timeout=self._session)

    def skew(self, seconds: float) -> None:
        self._clock.skew(seconds)

    def write(self, config: Mapping[str, Any] | str) -> None:
        if isinstance(config, str):
            self.process.write(config)
            return
        self.configuration = config
        self.process.write(self._at_zookeeper(config))


class SmallFarm:
    """See :class:`proof.chaos.interface.Farm`.

    :ivar story: what was noted.
    :ivar tainted: what is excused.
    """

    def __init__(self, scene: FaultScene) -> None:
        self.reactor: Any = reactor
        self.ensemble: Any = SimpleNamespace(servers=scene.servers())
        self.client = scene.sight.client
        self.sight: Sight = scene.sight
        self.clouds = scene.clouds
        self.hosts = scene.hosts
        self.disk: Any = None
        self.launchers: Sequence[SmallLauncher] = ()
        self.some_configuration = scene.some_configuration
        self.story: list[str] = []
        self.tainted: set[str] = set()

    async def sleep(self, seconds: float) -> None:
        await deferLater(reactor, seconds)

    def note(self, words: str) -> None:
        self.story.append(words)

    def taint(self, path: str) -> None:
        self.tainted.add(path)

    def untaint(self, path: str) -> None:
        self.tainted.discard(path)


class FaultScene(CloudScene):
    """One launcher with two hosts and a cloud, struck by one fault after the other.

    :ivar session: seconds that its session lasts.
    :ivar daemon: its process.
    """

    timeout = 150
    session = 10.0

    async def _prepare(self) -> None:
        await super()._prepare()
        self.sky = self.cloud("sky")
        self.hosts = Hosts(reactor, 2)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.hosts.stop()))
        self.farm = SmallFarm(self)
        self.checked: Farm = self.farm
        self.farm.launchers = (self._launcher(0),)
        self.one = self.farm.launchers[0]
        self.daemon = self.one.process
        self.daemon.start()
        await self.until_well()

    def servers(self) -> Sequence[Any]:
        """ZooKeeper's."""
        return [self.server]

    def _launcher(self, number: int) -> SmallLauncher:
        proxies = [Proxy(reactor, server.port) for server in self.servers()]
        for proxy in proxies:
            self.addCleanup(proxy.stop)
        return SmallLauncher(
            number,
            self.launcher,
            FakedClock(self.directory / f"clock-{number}"),
            proxies,
            self.root,
            {"OS_CLIENT_CONFIG_FILE": str(self.directory / "clouds.yaml")},
            self.some_configuration(Random(0)),
            self.session,
        )

    def some_configuration(self, rng: Random) -> Mapping[str, Any]:
        machines = [
            host(machine.name, "small", connection_port=machine.port, timeout=10)
            for machine in self.hosts.machines.values()
        ]
        config = configuration(
            provider("rack", *machines, node_attributes={"version": rng.randrange(1000)}),
            cloud_provider("sky", label("vm"), label("kept"), launch_retries=2),
        )
        config["labels"] += [{"name": "vm"}, {"name": "kept", "min-ready": 1}]
        return config

    # -- what there is ---------------------------------------------------

    async def free(self) -> bool:
        """Two hosts and a server in stock, or more of these, and nothing else."""
        nodes = await self.sight.nodes()
        labels = sorted(node.data["type"][0] for node in nodes if node.free)
        return (
            len(labels) == len(nodes) > 2
            and labels[-2:] == ["small", "small"]
            and set(labels[:-2]) == {"kept"}
            and not await self.disagreements()
        )

    async def until_well(self) -> None:
        """One launcher is registered, looks after everything, and all is free."""
        try:
            await self.until("all is well", self.well, 60.0)
        except AssertionError as e:
            raise AssertionError("\n".join([*self.farm.story, str(e)])) from None

    async def well(self) -> bool:
        log = self.daemon.log
        return (
            log.rfind("Connected to ZooKeeper") > log.rfind("Lost ZooKeeper")
            and (await self.answer())[0] == 200
            and len(await self.sight.components("launcher")) == 1
            and len(await self.sight.components("pool")) == 2
            and await self.sight.owners() == {"rack": 1, "sky": 1}
            and await self.sight.requests() == {}
            and await self.free()
        )

    async def answer(self) -> tuple[int, str]:
        """What the launcher answers who asks whether it is ready: its status, and its date."""
        serving = re.search("serving HTTP on 127.0.0.1 port ([0-9]+)", self.daemon.log)
        if serving is None:
            return (0, "")
        port = int(serving[1])

        def ask() -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(connection):
                try:
                    connection.request("GET", "/ready")
                    answer = connection.getresponse()
                except OSError:
                    return (0, "")
                return (answer.status, answer.headers["date"])

        return await deferToThread(ask)

    async def strike(self, name: str, seed: int = 0) -> Fault:
        """Have a fault strike; it must find something."""
        fault = faults.make(name)
        await fault.strike(self.farm, Random(seed))
        self.assertEqual([line for line in self.farm.story if "nothing to strike" in line], [])
        return fault

    async def heal(self, fault: Fault) -> None:
        """Twice: the second time does no more."""
        await fault.heal(self.farm)
        await fault.heal(self.farm)
