"""A stage for the command line: a ZooKeeper in memory, and a launcher played by the test."""

from __future__ import annotations

import io
import json
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.cli.commands import parse
from nodepool_tx.cli.main import execute
from nodepool_tx.cli.running import exit_code_of
from nodepool_tx.cli.target import Target
from nodepool_tx.cli.terminal import Terminal
from nodepool_tx.cli.visit import World
from nodepool_tx.model import Node, NodeRequest, NodeState, PoolComponent, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import (
    decode_node,
    decode_request,
    encode_component,
    encode_node,
    encode_request,
)
from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper

__all__ = ["CONFIG", "CommandLineTestCase", "Run", "Screen", "StagedChild"]

CONFIG = """\
zookeeper-servers:
  - host: zk.example
    port: 2181
labels:
  - name: debian
providers:
  - name: dc
    driver: static
    pools:
      - name: rack
        nodes:
          - name: h1
            labels: debian
            connection-port: 2222
tenant-resource-limits:
  - tenant-name: small
    max-servers: 1
"""


@attrs.define(eq=False)
class StagedChild:
    """A program that runs until the test says it has ended."""

    words: Sequence[str]
    on_line: Callable[[str], None] | None
    ended: Deferred[int] = attrs.field(factory=Deferred)
    asked_to_end: bool = False

    def end(self) -> None:
        self.asked_to_end = True


class Screen(io.StringIO):
    """Somebody's terminal."""

    def isatty(self) -> bool:
        return True


@attrs.define(eq=False)
class Run:
    """One command under way.

    :ivar code: its exit code, once it has ended.
    """

    client: MemoryClient
    working: Deferred[Any]
    out: io.StringIO
    err: io.StringIO
    code: int | None = None

    @property
    def stdout(self) -> str:
        return self.out.getvalue()

    @property
    def stderr(self) -> str:
        return self.err.getvalue()


class CommandLineTestCase(SynchronousTestCase):
    """Runs commands and plays the launcher."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.zookeeper = MemoryZookeeper(self.clock)
        self.inspector = self.zookeeper.inspector
        self.children: list[StagedChild] = []
        self.enough: Deferred[None] = Deferred()
        self.typed: Deferred[str] = Deferred()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.config = pathlib.Path(directory.name) / "nodepool.yaml"
        self.config.write_text(CONFIG)

    # -- commands --------------------------------------------------------

    def start(
        self,
        *words: str,
        interactive: bool = False,
        screen: bool = False,
        environ: Mapping[str, str] | None = None,
        reachable: bool = True,
        listens: bool = True,
    ) -> Run:
        """Begin a command, and let it go as far as it comes by itself."""
        client = self.zookeeper.client()
        out, err = Screen() if screen else io.StringIO(), io.StringIO()
        terminal = Terminal(out, err, self.clock)

        def connect(target: Target) -> MemoryClient:
            if not reachable:
                self.inspector.suspend(client)
            return client

        def spawn(words: Sequence[str], on_line: Callable[[str], None] | None) -> StagedChild:
            self.children.append(StagedChild(words, on_line))
            return self.children[-1]

        world = World(
            environ={"XDG_RUNTIME_DIR": str(self.config.parent), **(environ or {})},
            reactor=self.clock,
            terminal=terminal,
            connect=connect,
            spawn=spawn,
            interactive=interactive,
            enough=lambda: self.enough,
            listens=listens,
            typed=lambda: self.typed,
        )
        options = parse(["-c", str(self.config), *words], {})
        working: Deferred[Any] = Deferred.fromCoroutine(execute(world, options))
        run = Run(client, working, out, err)

        def ended(result: Any) -> None:
            if isinstance(result, Failure):
                result = exit_code_of(result, terminal, debug=True)
            run.code = int(result)
            terminal.settle()

        working.addBoth(ended)
        self.addCleanup(self._end, run)
        self.settle()
        return run

    def _end(self, run: Run) -> None:
        """Leave no coroutine behind that would be closed at any time in any other test."""
        self.inspector.resume(run.client)
        for _ in range(3):
            if run.code is None:
                run.working.cancel()
                self.settle()
                self.pass_time(10)
        self.assertIsNotNone(run.code, "the command does not end")

    def run_to_end(self, *words: str) -> Run:
        """A command that comes to its end without anybody's help."""
        run = self.start(*words)
        self.assertIsNotNone(run.code, run.stderr)
        return run

    def settle(self) -> None:
        self.inspector.settle(self.clock)

    def pass_time(self, seconds: float) -> None:
        """In steps, so that what each brings about can happen."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.settle()

    def interrupt(self, run: Run) -> None:
        """Ctrl-C."""
        run.working.cancel()
        self.settle()

    # -- what is in ZooKeeper --------------------------------------------

    def add_pool(self, *labels: str, **more: Any) -> PoolComponent:
        pool = PoolComponent(
            id="launcher-pool",
            name="rack",
            provider_name="dc",
            hostname="launcher",
            supported_labels=frozenset(labels or ("debian",)),
            **more,
        )
        path = paths.component("pool", "launcher")
        self.inspector.create(path, encode_component(pool), sequence=True)
        return pool

    def add_node(self, state: str = "ready", *labels: str, **more: Any) -> str:
        """A node of the static provider; its id."""
        fields: dict[str, Any] = {
            "provider": "dc",
            "pool": "rack",
            "hostname": "h1",
            "interface_ip": "h1",
            "connection_port": 2222,
            "slot": 0,
            "host_keys": ("ssh-ed25519 AAAA",),
            "connection_type": "ssh",
            **more,
        }
        node = Node(
            state=NodeState(state),
            state_time=self.clock.seconds() - 90,
            type=labels or ("debian",),
            **fields,
        )
        path = self.inspector.create(paths.NODES + "/", encode_node(node), sequence=True)
        self.settle()
        return path.rpartition("/")[2]

    def node(self, node_id: str) -> Node | None:
        data = self.inspector.dump(paths.NODES).get(paths.node(node_id))
        return None if data is None else decode_node(node_id, data)

    def locked(self, node_id: str) -> bool:
        below = paths.node_lock(node_id) + "/"
        return any(path.startswith(below) for path in self.inspector.dump(paths.NODES))

    def lock(self, node_id: str) -> str:
        """Somebody else takes the lock; the path of the contender."""
        return self.inspector.create(f"{paths.node_lock(node_id)}/{'0' * 32}__lock__0000000000")

    def requests(self) -> list[NodeRequest]:
        return [
            decode_request(path.rpartition("/")[2], data)
            for path, data in self.inspector.dump(paths.REQUESTS).items()
            if path != paths.REQUESTS
        ]

    def request(self) -> NodeRequest:
        (request,) = self.requests()
        return request

    # -- the launcher ----------------------------------------------------

    def fulfil(self, *node_ids: str) -> NodeRequest:
        """Promise the nodes to the one request there is, as a launcher does."""
        request = self.request()
        for node_id in node_ids:
            self.promise(node_id, request.id)
        self.answer(request, RequestState.FULFILLED, nodes=node_ids)
        return request

    def promise(self, node_id: str, request_id: str) -> None:
        node = self.node(node_id)
        assert node is not None
        self.inspector.set(
            paths.node(node_id), encode_node(attrs.evolve(node, allocated_to=request_id))
        )

    def answer(self, request: NodeRequest, state: RequestState, **changes: Any) -> None:
        after = request.in_state(state, self.clock.seconds(), **changes)
        self.inspector.set(paths.request(request.id), encode_request(after))
        self.settle()

    def recycle(self, node_id: str) -> str:
        """Replace a node by its successor; the new id."""
        node = self.node(node_id)
        assert node is not None
        self.inspector.delete_tree(paths.node(node_id))
        return self.add_node("ready", *node.type, hostname=node.hostname, slot=node.slot)

    def rows(self, run: Run) -> Any:
        return json.loads(run.stdout)
