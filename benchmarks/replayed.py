"""The launcher's part of :mod:`benchmarks.limit`, on nodepool_tx's own ZooKeeper client.

Run as ``python -m benchmarks.replayed nodepool.yaml`` it stands in for a launcher: it makes the
static nodes of that file, hands them out and renews them, with the least that a job asks of
ZooKeeper.  It keeps no table, knows no rules and does not look at what it need not.  So what it
costs is the cost of the client, of Twisted and of TLS, and what the launcher costs beyond that is
what the launcher decides and shows.
"""

from __future__ import annotations

import functools
import json
import sys
from collections import deque
from pathlib import Path
from typing import Any

import yaml
from kazoo.protocol.states import ZnodeStat
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react
from twisted.python.failure import Failure

from benchmarks import requester
from benchmarks.limit import REQUESTS_LOCK, static_node
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.interface import WatchEvent, WatchKind, ZookeeperAPI
from nodepool_tx.txzookeeper.tls import TLSFiles

_CONTENDER = "/lock/"
_LOCKS = REQUESTS_LOCK.decode()


class Replay:
    """Hands out so many nodes."""

    def __init__(self, client: ZookeeperAPI, label: str) -> None:
        self._client = client
        self._node = static_node(label)
        self._new = json.dumps(self._node).encode()
        self._free: deque[str] = deque()
        self._waiting: deque[str] = deque()
        self._returned: list[str] = []
        asked = json.loads(requester.request_body([label]))
        self._request = {**asked, "declined_by": [], "reuse": True}

    async def start(self, nodes: int) -> None:
        """Listen, and make the nodes."""
        for path in (requester.NODES, requester.REQUESTS, _LOCKS):
            await self._client.ensure_path(path)
        for path in (requester.NODES, requester.REQUESTS):
            await self._client.watch(path, self._event, recursive=True)
        txn = self._client.transaction()
        for _ in range(nodes):
            txn.create(requester.NODES + "/", self._new, sequence=True)
        self._renewed(await txn.commit())

    def _event(self, event: WatchEvent) -> None:
        kind, path = event
        if kind is WatchKind.CREATED and path.startswith(requester.REQUESTS):
            self._client.get(path).addCallbacks(
                functools.partial(self._asked, path), lambda _: None
            )
        elif kind is WatchKind.DELETED and _CONTENDER in path:
            node = path[: path.index(_CONTENDER)]
            self._client.get(node).addCallback(functools.partial(self._unlocked, node))

    def _asked(self, path: str, answer: tuple[bytes, ZnodeStat]) -> None:
        self._waiting.append(path)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            node, path = self._free.popleft(), self._waiting.popleft()
            name = path.rpartition("/")[2]
            self._request.update(state="fulfilled", nodes=[node.rpartition("/")[2]])
            lock = f"{_LOCKS}/{name}"
            txn = self._client.transaction()
            txn.create(node + "/lock")
            txn.set(node, json.dumps({**self._node, "allocated_to": name}).encode())
            txn.create(lock)
            txn.delete(lock)
            txn.set(path, json.dumps(self._request).encode())
            txn.commit().addErrback(functools.partial(self._refused, node))

    def _refused(self, node: str, failure: Failure) -> None:
        """The request was withdrawn."""
        self._free.append(node)

    def _unlocked(self, node: str, answer: tuple[bytes, ZnodeStat]) -> None:
        if b'"used"' in answer[0]:
            self._returned.append(node)
            if len(self._returned) == 1:
                self._client.soon(self._renew)

    def _renew(self) -> None:
        txn = self._client.transaction()
        for node in self._returned:
            txn.delete(node + "/lock")
            txn.delete(node)
            txn.create(requester.NODES + "/", self._new, sequence=True)
        self._returned.clear()
        txn.commit().addCallback(self._renewed)

    def _renewed(self, results: list[Any]) -> None:
        self._free.extend(path for path in results if isinstance(path, str))
        self._hand_out()


async def run(reactor: Any, config: Path) -> None:
    """Until the process is ended."""
    settings = yaml.safe_load(config.read_text())
    (server,) = settings["zookeeper-servers"]
    (label,) = settings["labels"]
    (provider,) = settings["providers"]
    (pool,) = provider["pools"]
    client = ZookeeperClient(
        reactor,
        f"{server['host']}:{server['port']}",
        session_timeout=10.0,
        tls=TLSFiles(**settings["zookeeper-tls"]),
    )
    await client.connect()
    await Replay(client, label["name"]).start(len(pool["nodes"]))
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(run(reactor, Path(sys.argv[1]))))
