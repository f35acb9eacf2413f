"""A ZooKeeper kept in memory, for tests and simulations.

.. code-block:: python

    clock = Clock()
    zookeeper = MemoryZookeeper(clock)
    client = zookeeper.client()
    client.connect()
    creating = client.create("/a", b"data")
    zookeeper.inspector.settle(clock)
    assert zookeeper.inspector.dump() == {"/a": b"data"}

It passes the contract tests that the client of a real ensemble passes
(``tests/contract/zookeeper.py``): znodes with their versions, zxids and
sequences, transactions, all kinds of watches with ZooKeeper's order of events
and answers, sessions that are suspended, resumed and expire.  It leaves out
ACLs, quotas, containers and time-to-live.

Nothing happens within a call: requests and answers travel for half the latency
each, by ``clock.callLater``, and arrive in order.  With a twisted ``Clock``,
:meth:`Inspector.settle` carries out all that is under way; with a reactor it
runs by itself.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.testing.zk_client import MemoryClient, MemoryTransaction, MemoryWatch
from nodepool_tx.testing.zk_inspector import Inspector
from nodepool_tx.testing.zk_link import Link
from nodepool_tx.testing.zk_server import MemoryServer, ServerCall

__all__ = [
    "Inspector",
    "MemoryClient",
    "MemoryTransaction",
    "MemoryWatch",
    "MemoryZookeeper",
    "ServerCall",
]


class MemoryZookeeper:
    """One server, to which any number of clients connect.

    :param clock: carries requests, answers and session timeouts; znodes are
        dated by it.
    :param latency: seconds from a request to its answer.
    :ivar inspector: the controls for tests.
    """

    def __init__(self, clock: IReactorTime, *, latency: float = 0.0) -> None:
        self._clock = clock
        self._latency = latency
        self._server = MemoryServer(clock)
        self._links: dict[MemoryClient, Link] = {}
        self.inspector = Inspector(self._server, self._links)

    def client(self, chroot: str = "", *, session_timeout: float = 10.0) -> MemoryClient:
        """A client that is not connected yet.

        :param chroot: the path that is the client's ``/``; it need not exist.
        :param session_timeout: seconds a session survives without connection.
        """
        link = Link(self._server, self._clock, self._latency, session_timeout)
        client = MemoryClient(self._server, link, chroot.rstrip("/"))
        self._links[client] = link
        return client
