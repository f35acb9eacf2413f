"""Locks: the same places and names, so that each sees what the other holds."""

from __future__ import annotations

import string
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from benchmarks.daemons import Endpoint
from nodepool_tx.model import (
    ImageBuild,
    ImageState,
    ImageUpload,
    Node,
    NodeRequest,
    NodeState,
    RequestState,
)
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper
from nodepool_tx.txzookeeper.lock import Acquired, Lock, contenders
from tests.interop.data_process import NodepoolClasses
from tests.interop.data_records import data_of
from tests.interop.test_images import everything, store_with
from tests.interop.tree import Tree

#: A node, a request, an image, a build, a provider, an upload and an election.
NAMES = ("0000000007", "100-0000000003", "debian", "0f0f", "sky", "0000000002", "stats")
NODE, REQUEST, IMAGE, BUILD, PROVIDER, UPLOAD, _ = NAMES

#: Everything that can be locked, by the name of its lock in `data_program`.
LOCKS = {
    "node lock": paths.node_lock(NODE),
    "request lock": paths.request_lock(REQUEST),
    "builds lock": image_paths.builds_lock(IMAGE),
    "build lock": image_paths.build_lock(IMAGE, BUILD),
    "uploads lock": image_paths.uploads_lock(IMAGE, BUILD, PROVIDER),
    "upload lock": image_paths.upload_lock(IMAGE, BUILD, PROVIDER, UPLOAD),
}


@pytest.fixture(scope="module")
def nodepool(endpoint: Endpoint) -> Iterator[NodepoolClasses]:
    with NodepoolClasses(endpoint) as classes:
        yield classes


@pytest.fixture
def farm(tree: Tree) -> Iterator[Tree]:
    """One of each kind of thing that can be locked."""
    tree.clear()
    for path, record in (
        (paths.node(NODE), Node(state=NodeState.READY)),
        (paths.request(REQUEST), NodeRequest(state=RequestState.REQUESTED)),
        (paths.image_build(IMAGE, BUILD), ImageBuild(state=ImageState.READY)),
        (paths.image_upload(IMAGE, BUILD, PROVIDER, UPLOAD), ImageUpload(state=ImageState.READY)),
    ):
        tree.client.create(path, data_of(record), makepath=True)
    tree.client.ensure_path(paths.REQUEST_LOCKS)
    yield tree
    tree.clear()


def result_of(
    deferred: Deferred[Acquired | None], zookeeper: MemoryZookeeper, clock: Clock
) -> bool:
    """Whether the lock was taken."""
    found: list[Acquired | None] = []
    deferred.addCallback(found.append)
    zookeeper.inspector.settle(clock)
    return found[0] is not None


class Copy:
    """The tree as it is, in memory, with a client of ours."""

    def __init__(self, tree: Tree) -> None:
        self.clock = Clock()
        self.zookeeper = MemoryZookeeper(self.clock)
        for path, data in everything(tree, paths.ROOT).items():
            if self.zookeeper.inspector.stat(path) is None:
                self.zookeeper.inspector.create(path, data)
        self.client: MemoryClient = self.zookeeper.client()
        self.client.connect()
        self.zookeeper.inspector.settle(self.clock)

    def takes(self, path: str) -> bool:
        lock = Lock(self.client, path, "ours", makepath=True)
        return result_of(lock.try_acquire(), self.zookeeper, self.clock)

    def holders(self, path: str) -> list[str]:
        """What the contenders of a lock call themselves."""
        found: list[str] = []
        asked = contenders(self.client, path)
        asked.addCallback(lambda every: found.extend(each.identifier for each in every))
        self.zookeeper.inspector.settle(self.clock)
        return found

    def names(self, path: str) -> dict[str, bytes]:
        """The contenders of a lock, with what they say."""
        tree = self.zookeeper.inspector.dump(path)
        return {name: data for name, data in tree.items() if name != path}


def table(store: Store) -> dict[str, bool]:
    """What our tables say of locks."""
    return {
        "node lock": store.nodes.is_locked(NODE),
        "request lock": store.requests.is_locked(REQUEST),
        "builds lock": store.images.flags.is_locked(IMAGE),
    }


def test_paths(nodepool: NodepoolClasses) -> None:
    """Everything is kept in the same place, whatever it is called."""
    strange = "".join(sorted(set(string.printable) - set(string.whitespace) - {"/"})) + "ü寸"
    for names in (NAMES, (strange,) * len(NAMES)):
        node, request, image, build, provider, upload, election = names
        assert nodepool.call("paths", names) == {
            "node": paths.node(node),
            "node lock": paths.node_lock(node),
            "request": paths.request(request),
            "request lock": paths.request_lock(request),
            "image": image_paths.image(image),
            "pause": image_paths.pause(image),
            "build request": image_paths.build_request(image),
            "builds": image_paths.builds(image),
            "builds lock": image_paths.builds_lock(image),
            "build": paths.image_build(image, build),
            "build lock": image_paths.build_lock(image, build),
            "providers": image_paths.providers(image, build),
            "uploads": image_paths.uploads(image, build, provider),
            "uploads lock": image_paths.uploads_lock(image, build, provider),
            "upload lock": image_paths.upload_lock(image, build, provider, upload),
            "election": f"{paths.ELECTIONS}/{election}",
            "components": paths.COMPONENTS,
        }


def test_what_it_holds(nodepool: NodepoolClasses, farm: Tree) -> None:
    """No lock that it holds is taken here, and our tables know; once released they are."""
    assert nodepool.call("hold", NAMES) == dict.fromkeys(LOCKS, True)
    held = Copy(farm)
    assert {lock: held.takes(path) for lock, path in LOCKS.items()} == dict.fromkeys(LOCKS, False)
    assert held.holders(LOCKS["node lock"]) == ["its own word"]
    assert all(len(held.holders(path)) == 1 for path in LOCKS.values())
    store = store_with(everything(farm, paths.ROOT))
    assert set(table(store).values()) == {True}
    nodepool.call("release")
    released = Copy(farm)
    assert {lock: released.takes(path) for lock, path in LOCKS.items()} == dict.fromkeys(
        LOCKS, True
    )
    assert set(table(store_with(everything(farm, paths.ROOT))).values()) == {False}


def test_what_we_hold(nodepool: NodepoolClasses, farm: Tree) -> None:
    """No lock that is held here is taken there, as long as our contender is there."""
    ours = Copy(farm)
    mine: list[str] = []
    for path in LOCKS.values():
        assert ours.takes(path)
        for name, data in ours.names(path).items():
            farm.client.create(name, data, ephemeral=True, makepath=True)
            mine.append(name)
    assert len(mine) == len(LOCKS)
    assert nodepool.call("hold", NAMES) == dict.fromkeys(LOCKS, False)
    for name in mine:
        farm.client.delete(name)
    assert nodepool.call("hold", NAMES) == dict.fromkeys(LOCKS, True)
    nodepool.call("release")
