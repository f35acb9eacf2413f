"""Steps shared by the tests of the client over real servers."""

from __future__ import annotations

import itertools
import os
from typing import Any

from kazoo.client import KazooClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.tls import TLSFiles
from tests.servers.zookeeper import ZookeeperServer, end_session, shared_server

__all__ = ["RealServerSteps", "fresh_root", "kazoo"]

_roots = itertools.count()


def fresh_root() -> str:
    """A path that no other test uses."""
    return f"/test-{os.getpid()}-{next(_roots)}"


def kazoo(server: ZookeeperServer, chroot: str = "", **options: Any) -> KazooClient:
    """A started kazoo client; the caller stops it."""
    client = KazooClient(server.address + chroot, timeout=10, **options)
    client.start(10)
    return client


class RealServerSteps:
    """Makes clients whose ``/`` is a fresh path of the shared server."""

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
        return ZookeeperClient(
            reactor,
            address + self.root + chroot,
            tls=self.tls(),
            **{"session_timeout": 8, **options},
        )

    def expire(self, client: ZookeeperClient) -> Deferred[None]:
        return deferToThread(
            end_session, self.server.port, client.session_id, client.session_password
        )

    def cut(self, client: ZookeeperClient) -> None:
        client.drop_connection("cut by a test")
