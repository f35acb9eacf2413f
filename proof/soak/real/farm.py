"""A ZooKeeper with TLS, two launchers, static hosts, a simulated cloud each, and who watches."""

from __future__ import annotations

import hashlib
import pathlib
import re
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from benchmarks.daemons import StaticNodes
from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.client import ZookeeperClient
from proof.soak.real.http import Visitor
from tests.functional.launcher.process import LauncherProcess
from tests.servers.certificates import Authority
from tests.servers.proxy import Proxy
from tests.servers.zookeeper import ZookeeperServer, free_ports

__all__ = ["TOKEN", "Member", "RealFarm"]

TOKEN = "a-token-of-the-soak"

#: Seconds after which the session of a launcher ends that is not heard of.
SESSION = 6

#: Of its configurations one in so many cannot be read.
BAD = 10


class _Closes(Protocol):
    """A host that is up."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class _Statsd(DatagramProtocol):
    """Counts what it is told."""

    received = 0

    def datagramReceived(self, datagram: bytes, address: Any) -> None:
        self.received += 1


class Member:
    """One launcher, its way to ZooKeeper, and its port for HTTP."""

    def __init__(self, reactor: Any, number: int, directory: pathlib.Path, target: int) -> None:
        self.number = number
        self.proxy = Proxy(reactor, target)
        (self.port,) = free_ports(1)
        self.directory = directory
        self.visitor = Visitor(reactor, self.port, TOKEN)
        self.configurations = 0
        self.process: LauncherProcess

    @property
    def name(self) -> str:
        return f"launcher {self.number}"


class RealFarm:
    """Everything there is.

    :param hosts: static hosts, each for two jobs at a time.
    :param stock: nodes of the cloud that each launcher keeps ready.
    """

    def __init__(
        self, reactor: Any, directory: pathlib.Path, *, launchers: int, hosts: int, stock: int
    ) -> None:
        self.reactor = reactor
        self.hosts = hosts
        self._stock = stock
        directory = self._directory = directory.absolute()
        authority = Authority(directory)
        self.tls = authority.client()
        self.server = ZookeeperServer(authority)
        self._statsd = _Statsd()
        self._udp = reactor.listenUDP(0, self._statsd, interface="127.0.0.1")
        factory = Factory.forProtocol(_Closes)
        factory.noisy = False
        self._listening = reactor.listenTCP(0, factory, backlog=500)
        self._count = launchers
        self.members: list[Member] = []
        self._clients: list[ZookeeperClient] = []

    async def start(self) -> None:
        """Returns when all static hosts are in service."""
        self.server.start()
        await deferToThread(self.server.wait_ready)
        for number in range(1, self._count + 1):
            member = Member(
                self.reactor,
                number,
                self._directory / f"launcher-{number}",
                self.server.tls_port,
            )
            statsd = {"STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(self._udp.getHost().port)}
            member.process = LauncherProcess(
                member.directory, environ={**statsd, "NODEPOOL_CONFIG_INTERVAL": "1"}
            )
            member.process.write(self.configuration(member))
            self.members.append(member)
            member.process.start()
        self.steward = await self.client()
        wanted = 2 * self.hosts
        await self.until("all hosts in service", lambda: self._registered(wanted), 300.0)
        for member in self.members:
            logged = member.process
            await self.until("HTTP", lambda p=logged: "serving HTTP" in p.log, 60.0)  # type: ignore[misc]

    async def _registered(self, wanted: int) -> bool:
        if await self.steward.exists(paths.NODES) is None:
            return False
        return len(await self.steward.get_children(paths.NODES)) >= wanted

    async def until(self, what: str, look: Callable[[], Any], patience: float) -> None:
        """Look until it is so.  :raises RuntimeError: it is not in so many seconds."""
        deadline = time.monotonic() + patience
        while True:
            seen = look()
            if not isinstance(seen, bool):
                seen = await seen
            if seen:
                return
            self.check()
            if time.monotonic() > deadline:
                ends = "\n".join(each.process.log[-3000:] for each in self.members)
                raise RuntimeError(f"in {patience:g} s never: {what}\n{ends}")
            await deferLater(self.reactor, 0.1)

    def check(self) -> None:
        """:raises RuntimeError: a launcher or ZooKeeper has ended."""
        for member in self.members:
            if not member.process.running:
                raise RuntimeError(f"{member.name} has ended:\n{member.process.log[-5000:]}")
        if not self.server.running:
            raise RuntimeError(f"ZooKeeper has ended:\n{self.server.log[-5000:]}")

    async def client(self) -> ZookeeperClient:
        """A client of its own for somebody, straight to the server."""
        client = ZookeeperClient(
            self.reactor, self.server.tls_address, tls=self.tls, session_timeout=60.0
        )
        self._clients.append(client)
        await client.connect()
        return client

    # -- configurations ----------------------------------------------------

    def configuration(self, member: Member) -> dict[str, Any]:
        """The one that is due; hosts, limits and stock are not always the same."""
        odd = member.configurations % 2
        port = self._listening.getHost().port
        machines = StaticNodes("static", self.hosts + 5 * odd, probe_port=port).entries()
        for machine in machines:
            machine["max-parallel-jobs"] = 2
        static = {
            "name": "rack",
            "driver": "static",
            "pools": [{"name": "main", "nodes": machines}],
        }
        cloud = {
            "name": f"sky-{member.number}",
            "driver": "fake",
            "rate": 50,
            "cloud-images": [{"name": "debian", "image-name": "Fake Precise"}],
            "simulation": {"boot-delay": 1.0},
            "pools": [
                {
                    "name": "main",
                    "max-servers": 60 + odd,
                    "labels": [{"name": "cloud", "cloud-image": "debian", "min-ram": 8192}],
                }
            ],
        }
        token = {"name": "soak", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}
        return {
            "zookeeper-servers": [{"host": "127.0.0.1", "port": member.proxy.port}],
            "zookeeper-tls": {"cert": self.tls.cert, "key": self.tls.key, "ca": self.tls.ca},
            "zookeeper-timeout": SESSION,
            "webapp": {"port": member.port, "listen_address": "127.0.0.1"},
            "nodepool-tx": {"leases": {"tokens": [token], "requests-per-minute": 600}},
            "labels": [{"name": "static"}, {"name": "cloud", "min-ready": self._stock + odd}],
            "providers": [static, cloud],
        }

    def reload(self) -> None:
        """Give every launcher its next configuration; now and then one that cannot be read."""
        for member in self.members:
            member.configurations += 1
            bad = member.configurations % BAD == 0
            member.process.write("providers: [" if bad else self.configuration(member))

    # -- the end -------------------------------------------------------------

    @property
    def told(self) -> int:
        """Reports that statsd has got."""
        return self._statsd.received

    def traces(self) -> dict[str, int]:
        """How many tracebacks there are in each log."""
        pattern = re.compile(r"Traceback|Unhandled|critical", re.IGNORECASE)
        return {each.name: len(pattern.findall(each.process.log)) for each in self.members}

    async def stop(self) -> None:
        """End everything."""
        for client in self._clients:
            await client.close()
        for member in self.members:
            member.process.leave_nothing()
            await member.visitor.stop()
        await gatherResults([member.proxy.stop() for member in self.members])
        await gatherResults([self._udp.stopListening(), self._listening.stopListening()])
        await deferToThread(self.server.stop)
