"""The history of real servers, and what clients see there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from twisted.trial.unittest import SynchronousTestCase

from proof.history.logs import CommittedLog
from proof.history.transactions import Transaction
from proof.history.tree import Tree
from tests.functional.zk_clients import fresh_root, kazoo
from tests.servers.zookeeper import Ensemble, shared_authority, shared_server


def _all(client: KazooClient, path: str) -> dict[str, tuple[bytes, int, int]]:
    """Data, version and owner of each znode from here on, as a client sees them."""
    data, stat = client.get(path)
    found = {path: (data, stat.version, stat.ephemeralOwner)}
    for name in client.get_children(path):
        found.update(_all(client, f"{path}/{name}"))
    return found


class _Follower:
    """A tree that follows the logs."""

    def __init__(self, directories: list[Path], root: str) -> None:
        self.log = CommittedLog(directories)
        self.tree = Tree(below=root)
        self.zxids: list[int] = []
        self.root = root

    def read(self) -> None:
        for entry in self.log.read():
            self.zxids.append(entry.zxid)
            self.tree.apply(entry)

    def all(self) -> dict[str, tuple[bytes, int, int]]:
        found: dict[str, tuple[bytes, int, int]] = {}
        todo = [self.root]
        while todo:
            path = todo.pop()
            znode = self.tree.get(path)
            assert znode is not None, path
            found[path] = (znode.data, znode.version, znode.owner)
            todo += [f"{path}/{name}" for name in self.tree.children(path)]
        assert len(found) == len(self.tree)
        return found


class _Writer:
    """Does this and that below a path, most of which works."""

    def __init__(self, client: KazooClient, root: str, rng: random.Random) -> None:
        self.client = client
        self.root = root
        self.rng = rng

    def write(self, count: int) -> None:
        deeds: list[Callable[[], object]] = [self._create, self._set, self._delete, self._several]
        for _ in range(count):
            try:
                self.rng.choice(deeds)()
            except KazooException:
                continue

    def _path(self) -> str:
        return f"{self.root}/{self.rng.randrange(20)}"

    def _create(self) -> None:
        ephemeral, sequence = self.rng.random() < 0.4, self.rng.random() < 0.1
        data = bytes(self.rng.randrange(2000))
        self.client.create(self._path(), data, ephemeral=ephemeral, sequence=sequence)

    def _set(self) -> None:
        self.client.set(self._path(), b"%d" % self.rng.randrange(1000))

    def _delete(self) -> None:
        self.client.delete(self._path())

    def _several(self) -> None:
        with self.client.transaction() as transaction:
            transaction.check(self.root, 0)
            transaction.create(f"{self.root}/several-", b"x", sequence=True)
            transaction.set_data(self._path(), b"several")
            transaction.delete(self._path())


class SingleServer(SynchronousTestCase):
    def test_the_tree_is_what_clients_see(self) -> None:
        """After all kinds of changes, refused ones among them, and sessions that ended."""
        server, root = shared_server(), fresh_root()
        follower = _Follower([server.directory / "data"], root)
        steward = kazoo(server)
        self.addCleanup(steward.stop)
        steward.ensure_path(root)
        rng = random.Random(11)
        for _ in range(4):
            client = kazoo(server)
            _Writer(client, root, rng).write(150)
            follower.read()
            self.assertEqual(follower.all(), _all(steward, root))
            client.stop()
            client.close()
            follower.read()
            self.assertEqual(follower.all(), _all(steward, root))
        self.assertEqual(follower.zxids, sorted(set(follower.zxids)))
        self.assertEqual(follower.log.missing, [])


class ThreeServers(SynchronousTestCase):
    """An ensemble of its own, as its servers are killed again and again."""

    def setUp(self) -> None:
        self.ensemble = Ensemble(shared_authority())
        self.addCleanup(self.ensemble.stop)
        self.ensemble.start()
        self.client = KazooClient(self.ensemble.address, timeout=20)
        self.client.start(30)
        self.addCleanup(self.client.stop)

    def test_the_tree_is_what_clients_see(self) -> None:
        """While the leader is killed, and comes back to far more than it remembers."""
        root, rng = "/farm", random.Random(5)
        self.client.create(root)
        directories = [server.directory / "data" for server in self.ensemble.servers]
        follower = _Follower(directories, root)
        for _ in range(2):
            leader = self.ensemble.leader()
            _Writer(self.client, root, rng).write(100)
            follower.read()
            self.ensemble.kill(leader)
            for _ in range(6):
                _Writer(self.client, root, rng).write(100)
                follower.read()
            self.ensemble.restart(leader)
            self.ensemble.wait_ready()
            _Writer(self.client, root, rng).write(50)
        self.client.sync(root)
        self._until_read(follower)
        self.assertEqual(follower.all(), _all(self.client, root))
        self.assertEqual(follower.log.missing, [])
        self.assertGreaterEqual(follower.zxids[-1] >> 32, 3)

    def _until_read(self, follower: _Follower) -> None:
        """Until what was written last is there."""
        self.client.create("/farm/last")
        deadline = time.monotonic() + 20
        while follower.tree.get("/farm/last") is None and time.monotonic() < deadline:
            follower.read()
            time.sleep(0.05)

    def test_nothing_is_told_that_a_majority_does_not_have(self) -> None:
        """What is read at last, all at once, is what was read step by step."""
        self.client.create("/farm")
        directories = [server.directory / "data" for server in self.ensemble.servers]
        live = CommittedLog(directories)
        told = live.read()
        for index in (self.ensemble.leader(), 0, 1):
            self.ensemble.kill(index)
            _Writer(self.client, "/farm", random.Random(index)).write(60)
            told += live.read()
            self.ensemble.restart(index)
            self.ensemble.wait_ready()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            told += live.read()
            if told == CommittedLog(directories, patience=0.0).read():
                break
            time.sleep(0.1)
        self.assertEqual(told, CommittedLog(directories, patience=0.0).read())
        self.assertGreater(len([entry for entry in told if isinstance(entry, Transaction)]), 60)
