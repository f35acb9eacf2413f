"""Steps shared by the tests of the client over real servers."""

from __future__ import annotations

import itertools
import os
from typing import Any

from kazoo.client import KazooClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.link import Pauses
from nodepool_tx.txzookeeper.tls import TLSFiles
from tests.servers.proxy import Proxy
from tests.servers.zookeeper import ZookeeperServer, end_session, shared_server

__all__ = ["RealServerSteps", "fresh_root", "kazoo", "seconds"]

_roots = itertools.count()


def fresh_root() -> str:
    """A path that no other test uses."""
    return f"/test-{os.getpid()}-{next(_roots)}"


def kazoo(server: ZookeeperServer, chroot: str = "", **options: Any) -> KazooClient:
    """A started kazoo client; the caller stops it."""
    client = KazooClient(server.address + chroot, timeout=10, **options)
    client.start(10)
    return client


def seconds(duration: float) -> Deferred[None]:
    """Fires after real time has passed."""
    return deferLater(reactor, duration)


class RealServerSteps:
    """Makes clients whose ``/`` is a fresh path of the shared server."""

    #: Seconds a single test may take (trial's own limit).
    timeout = 180

    def setUp(self) -> None:
        self.server = shared_server()
        self.root = fresh_root()
        steward = kazoo(self.server)
        try:
            steward.ensure_path(self.root)
        finally:
            steward.stop()
            steward.close()

    def address(self) -> str:
        return self.server.address

    def tls(self) -> TLSFiles | None:
        return None

    def make_client(self, chroot: str = "", **options: Any) -> ZookeeperClient:
        address = options.pop("address", None) or self.address()
        options = {"session_timeout": 8, "tls": self.tls(), **options}
        return ZookeeperClient(reactor, address + self.root + chroot, **options)

    async def connected(self, chroot: str = "", **options: Any) -> ZookeeperClient:
        client = self.make_client(chroot, **options)
        self.addCleanup(client.close)
        await client.connect()
        return client

    def kazoo(self, **options: Any) -> KazooClient:
        """A kazoo client with the same ``/``, stopped at the end of the test."""
        client = kazoo(self.server, self.root, **options)
        self.addCleanup(client.close)
        self.addCleanup(deferToThread, client.stop)
        return client

    async def through_proxy(
        self, session_timeout: float = 8, interface: str = "127.0.0.1"
    ) -> tuple[Proxy, ZookeeperClient, list[SessionState]]:
        """A proxy, a client connected through it, and its states from then on."""
        proxy = Proxy(reactor, self.server.port, interface)
        self.addCleanup(proxy.stop)
        client = await self.connected(
            address=proxy.address,
            session_timeout=session_timeout,
            close_timeout=1.0,
            pauses=Pauses(0.05, 0.2),
        )
        states: list[SessionState] = []
        client.observe(states.append)
        return proxy, client, states

    def expire(self, client: ZookeeperClient) -> Deferred[None]:
        return deferToThread(
            end_session, self.server.port, client.session_id, client.session_password
        )

    def cut(self, client: ZookeeperClient) -> None:
        client.drop_connection("cut by a test")
