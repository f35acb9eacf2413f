"""Everything that chaos strikes, started and stopped as one."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.link import Pauses
from nodepool_tx.txzookeeper.retry import until_connected
from proof.chaos.configs import CLOUDS, HOSTS, Configs
from proof.chaos.disk import SmallDisk
from proof.chaos.hosts import Hosts
from proof.chaos.launchers import ChaosLauncher
from proof.chaos.stuck import Leaders
from tests.functional.launcher.sight import Sight
from tests.servers.simulated_openstack import OpenStackServer, write_clouds_yaml
from tests.servers.zookeeper import Ensemble, shared_authority

__all__ = ["ChaosFarm"]

#: Seconds within which all servers of ZooKeeper are to serve once nothing is wrong.
_SERVES = 90.0

#: The server of the ensemble with a small disk.
_SMALL = 2


class ChaosFarm:
    """See :class:`proof.chaos.interface.Farm`.

    :param directory: an empty one, for all logs and files but ZooKeeper's.
    :param note: takes a line of the story.
    :ivar began: on the monotonic clock.
    :ivar on_taint: is told of every path; :attr:`on_untaint` likewise.
    """

    def __init__(
        self,
        reactor: Any,
        directory: pathlib.Path,
        *,
        launchers: int = 3,
        note: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.reactor = reactor
        self.directory = directory
        self.note = note
        self.began = time.monotonic()
        self._touched: set[str] = set()
        self.on_taint: Callable[[str], None] = lambda path: None
        self.on_untaint: Callable[[str], None] = lambda path: None
        self._count = launchers
        self._undo: list[Callable[[], Any]] = []
        self.clouds: dict[str, OpenStackServer] = {}
        self.launchers: Sequence[ChaosLauncher] = ()

    # -- its life --------------------------------------------------------

    async def start(self) -> None:
        """Start everything; what was started so far is stopped with :meth:`stop` in any case."""
        self.disk = SmallDisk.make(_SMALL)
        if self.disk is not None:
            self._undo.append(self.disk.stop)
        data = {_SMALL: self.disk.directory} if self.disk is not None else {}
        self.ensemble = Ensemble(shared_authority(), data=data)
        self._undo.append(self.ensemble.stop)
        starting = deferToThread(self.ensemble.start)
        self._undo.append(lambda: starting.addErrback(lambda _: None))
        self.hosts = Hosts(self.reactor, HOSTS)
        self._undo.append(self.hosts.stop)
        for name, simulation in CLOUDS.items():
            self.clouds[name] = cloud = OpenStackServer(self.reactor, **simulation)
            self._undo.append(cloud.stop)
        self.clouds_yaml = self.directory / "clouds.yaml"
        write_clouds_yaml(self.clouds_yaml, self.clouds)
        self.configs = Configs(list(self.hosts.machines.values()))
        self.some_configuration: Callable[[Random], Mapping[str, Any]] = self.configs.some
        await starting
        self.client = self.make_client()
        self._undo.append(self.client.close)
        await self.client.connect()
        leaders = Leaders(self)
        leaders.watch()
        self._undo.append(leaders.stop)
        self.sight = Sight(self.client)
        for number in range(self._count):
            launcher = ChaosLauncher(
                self.reactor,
                number,
                self.directory / f"launcher-{number}",
                self.ensemble,
                self.clouds_yaml,
                self.configs.everything(),
            )
            self._undo.append(launcher.stop)
            self.launchers = (*self.launchers, launcher)
            launcher.process.start()

    async def stop(self) -> None:
        """Stop everything there is; nothing of it is left but the directory."""
        while self._undo:
            done = self._undo.pop()()
            if asyncio.iscoroutine(done):
                done = Deferred.fromCoroutine(done)
            if isinstance(done, Deferred):
                await done

    def save(self, directory: pathlib.Path) -> None:
        """Copy ZooKeeper's own history and logs to a directory, for afterwards."""
        directory.mkdir(exist_ok=True)
        ensemble: Ensemble | None = getattr(self, "ensemble", None)
        for number, server in enumerate(ensemble.servers if ensemble is not None else ()):
            place = directory / str(number)
            shutil.copytree(server.data, place / "data")
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(server.directory / "zookeeper.log", place)

    def make_client(self, session_timeout: float = 30.0) -> ZookeeperClient:
        """A client past all proxies, not connected."""
        return ZookeeperClient(
            self.reactor,
            self.ensemble.address,
            session_timeout=session_timeout,
            pauses=Pauses(0.05, 0.5),
            close_timeout=1.0,
        )

    # -- for faults ------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        await deferLater(self.reactor, seconds)

    def taint(self, path: str) -> None:
        """The checker excuses what chaos itself has done to this znode, until it is gone."""
        self._touched.add(path)
        self.on_taint(path)

    def untaint(self, path: str) -> None:
        """What happens to it from now on counts again."""
        self.on_untaint(path)

    def has_touched(self, path: str) -> bool:
        """Chaos itself has ever done something to this znode, or below it."""
        return any(each == path or each.startswith(f"{path}/") for each in self._touched)

    # -- after faults ----------------------------------------------------

    async def repair(self) -> None:
        """Put everything right that may be wrong, whoever forgot it.

        :raises RuntimeError: ZooKeeper does not serve again.
        """
        if self.disk is not None:
            self.disk.empty()
        for server in self.ensemble.servers:
            if server.running:
                server.thaw()
        for cloud in self.clouds.values():
            cloud.heal()
            cloud.troubles.silent = False
            cloud.cloud.configure(cloud.usual)
        for name in self.hosts.names():
            await self.hosts.bring_up(name)
        for launcher in self.launchers:
            for proxy in launcher.proxies:
                proxy.heal()
            launcher.skew(0.0)
            if launcher.process.running:
                launcher.process.send(signal.SIGCONT)
            else:
                launcher.process.start()
        await self._until_zookeeper_serves()
        await until_connected(self.client)

    async def _until_zookeeper_serves(self) -> None:
        """Start servers that have ended, also those that are about to for want of a disk."""
        deadline = time.monotonic() + _SERVES
        servers = self.ensemble.servers
        while not all(await deferToThread(lambda: [server.mode() for server in servers])):
            for number, server in enumerate(servers):
                if not server.running:
                    self.note(f"of ZooKeeper, server {number} starts again")
                    server.start()
            if time.monotonic() > deadline:
                raise RuntimeError("ZooKeeper does not serve again")
            await self.sleep(0.5)
