"""The least that a job asks of ZooKeeper, replayed by a client that does nothing else.

For each job, in this order (`docs/benchmarks.md` says why these and no others):

* requester: create the request; read it, with a watch; when that fires read it again; read the
  node, look for its lock's directory, create a contender, list the contenders; delete the
  request, write the node `in-use`, then `used`, delete the contender.
* launcher: when a persistent watch tells of the request, read it; in one transaction promise the
  node and fulfil the request, both locks proven free; when the watch tells that a contender is
  gone, read the node; in one transaction replace all used nodes that were found at once by
  ready ones.

The launcher sends along what does not need the answer before it.  The requesters are those that a
launcher is measured with, each doing one thing after another; or ones that do not wait, either,
for what they do not need to know at once, such as whether the node is theirs.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import statistics
import time
from collections import deque

from benchmarks import bare, counted, requester
from benchmarks.bare import BareSession
from benchmarks.bench import Bench, Numbers
from benchmarks.connection import SEQUENCE
from benchmarks.crowd import CONTENDER, bare_sessions, load
from benchmarks.daemons import Daemon, cpu_seconds
from nodepool_tx.model import Node, NodeState
from nodepool_tx.store.codec import encode_node

REQUESTS, NODES = requester.REQUESTS.encode(), requester.NODES.encode()
REQUESTS_LOCK = b"/nodepool/requests-lock"
LABEL = "only"
_ID = 10
"""Digits of a node's id."""


class BareLauncher:
    """The launcher's part, on one session."""

    def __init__(self, session: BareSession, node: dict[str, object]) -> None:
        self._session = session
        self._free: deque[bytes] = deque()
        self._waiting: deque[bytes] = deque()
        self._returned: list[bytes] = []
        body = json.dumps(node).encode()
        self._node = node
        self._new = bare.text(NODES + b"/") + bare.creation(body, SEQUENCE)
        asked = json.loads(requester.request_body([LABEL]))
        self._request = {**asked, "declined_by": [], "reuse": True}
        session.on_event = self._event

    def start(self, nodes: int) -> asyncio.Future[None]:
        """Listen, and make the nodes; fires when they are there."""
        for path in (REQUESTS, NODES):
            self._session.post(bare.request(bare.ADD_WATCH, path, bare.RECURSIVE))
        parts = [(bare.CREATE, self._new)] * nodes
        self._session.post(bare.transaction(parts), self._made)
        self._there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return self._there

    def _made(self, reply: bytes) -> None:
        self._renewed(reply)
        self._there.set_result(None)

    def _event(self, kind: int, path: bytes) -> None:
        if kind == bare.CREATED_EVENT and path.startswith(REQUESTS):
            frame = bare.request(bare.GET, path, bare.UNWATCHED)
            self._session.post(frame, functools.partial(self._asked, path), _withdrawn)
        elif kind == bare.DELETED_EVENT and CONTENDER in path:
            node = path[: path.index(b"/lock/")]
            frame = bare.request(bare.GET, node, bare.UNWATCHED)
            self._session.post(frame, functools.partial(self._unlocked, node))

    def _asked(self, path: bytes, reply: bytes) -> None:
        self._waiting.append(path)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            node, path = self._free.popleft(), self._waiting.popleft()
            name = path[path.rindex(b"/") + 1 :]
            self._request.update(state="fulfilled", nodes=[node[-_ID:].decode()])
            promise = json.dumps({**self._node, "allocated_to": name.decode()}).encode()
            lock = bare.text(REQUESTS_LOCK + b"/" + name)
            parts = (
                (bare.CREATE, bare.text(node + b"/lock") + bare.creation()),
                (bare.SET, bare.text(node) + bare.write(promise)),
                (bare.CREATE, lock + bare.creation()),
                (bare.DELETE, lock + bare.DELETION),
                (bare.SET, bare.text(path) + bare.write(json.dumps(self._request).encode())),
            )
            self._session.post(bare.transaction(parts), functools.partial(self._handed_out, node))

    def _handed_out(self, node: bytes, reply: bytes) -> None:
        if bare.refused(reply):  # the request was withdrawn
            self._free.append(node)

    def _unlocked(self, node: bytes, reply: bytes) -> None:
        if b'"used"' in reply:
            self._returned.append(node)
            if len(self._returned) == 1:
                self._session.soon(self._renew)

    def _renew(self) -> None:
        parts: list[bare.Part] = []
        for node in self._returned:
            parts += [
                (bare.DELETE, bare.text(node + b"/lock") + bare.DELETION),
                (bare.DELETE, bare.text(node) + bare.DELETION),
                (bare.CREATE, self._new),
            ]
        self._returned.clear()
        self._session.post(bare.transaction(parts), self._renewed)

    def _renewed(self, reply: bytes) -> None:
        self._free.extend(bare.all_created(reply))
        self._hand_out()


async def scenario(
    bench: Bench,
    daemon: Daemon,
    nodes: int,
    clients: int,
    seconds: float,
    pipelined: bool = False,
) -> Numbers:
    """The replay, as one of the scenarios; there is no launcher to start."""
    return await replay(bench, nodes, clients, seconds, pipelined)


async def replay(
    bench: Bench, nodes: int, clients: int, seconds: float, pipelined: bool = False
) -> Numbers:
    """So many clients, for so long.

    :param pipelined: see :class:`~benchmarks.crowd.Requester`.
    """
    marks: list[counted.Mark] = []
    used: list[tuple[float, float]] = []
    endpoint = bench.endpoint

    def note() -> None:
        used.append((cpu_seconds(os.getpid()), cpu_seconds(endpoint.server.pid)))
        marks.append(counted.mark(endpoint))

    async with await bench.connect() as tidying, bare_sessions(bench, 1) as (launching,):
        await tidying.delete_tree("/nodepool")
        for path in (requester.NODES, requester.REQUESTS, REQUESTS_LOCK.decode()):
            await requester.make_path(tidying, path)
        launcher = BareLauncher(launching, static_node(LABEL))
        await asyncio.wait_for(launcher.start(nodes), 10.0)
        done = await load(bench, LABEL, clients, seconds, 1.0, note, pipelined, [launching])
        await tidying.delete_tree("/nodepool")
    first, last = marks
    work = counted.work(endpoint.server, first, last, last.packets.keys() & bench.sessions)
    client, server = (after - before for before, after in zip(*used, strict=True))
    return {
        "jobs per second": done.jobs / done.seconds,
        "median wait s": statistics.median(done.waits),
        "load cpu s per job": client / done.jobs,
        "server cpu s per job": server / done.jobs,
        **work.numbers("", done.jobs),
    }


def _withdrawn() -> None:
    """What is asked for no more needs nothing."""


def static_node(label: str) -> dict[str, object]:
    """A static node as it is written, in its length."""
    host = "127.1.0.100"
    now = time.time()
    node = Node(
        state=NodeState.READY,
        state_time=now,
        created_time=now,
        provider="rack",
        pool="main",
        type=(label,),
        allocated_to=f"{requester.PRECEDENCE}-0000000001",
        public_ipv4=host,
        interface_ip=host,
        external_id=host,
        hostname=host,
        launcher="static driver",
        connection_type="ssh",
        slot=0,
        python_path="auto",
        tenant_name="benchmark",
        requestor="benchmark",
    )
    found: dict[str, object] = json.loads(encode_node(node))
    return found
