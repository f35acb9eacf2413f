"""One launcher goes on with the nodes of the other, as they are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from kazoo.recipe.lock import Lock

from benchmarks.daemons import OURS, REFERENCE, Daemon, Endpoint, Launcher, StaticNodes
from benchmarks.daemons import configuration as farm_of
from benchmarks.requester import request_body
from tests.interop.tree import Tree, eventually

PROVIDER = "moved"
NODES = [StaticNodes("debian", 4)]


class Client:
    """Uses a node as Zuul does."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._client = tree.client
        self.node = ""

    def take(self) -> None:
        path = self._client.create(
            "/nodepool/requests/100-", request_body(["debian"]), sequence=True, makepath=True
        )
        name = path.rpartition("/")[2]

        def fulfilled() -> list[str] | None:
            request = self._tree.request(name)
            return request["nodes"] if request and request["state"] == "fulfilled" else None

        (self.node,) = eventually("the request is fulfilled", fulfilled)
        self._lock = Lock(self._client, f"/nodepool/nodes/{self.node}/lock")
        assert self._lock.acquire(timeout=10)
        self._client.delete(path)
        self.set_state("in-use")

    def set_state(self, state: str) -> None:
        path = f"/nodepool/nodes/{self.node}"
        node = json.loads(self._client.get(path)[0])
        node |= {"state": state, "state_time": time.time()}
        self._client.set(path, json.dumps(node).encode())

    def give_back(self) -> None:
        self.set_state("used")
        self._lock.release()


def move(
    tree: Tree, endpoint: Endpoint, folder: Path, before: Daemon, after: Daemon, *, stops: bool
) -> None:
    """From one to the other, with a node in use; it stops, or loses only the provider."""
    tree.clear()
    config: dict[str, Any] = farm_of(endpoint, NODES, PROVIDER)
    client = Client(tree)
    with Launcher(before, config, folder / "before") as old:
        tree.wait_ready(PROVIDER, 4, old)
        client.take()
        records = tree.nodes()
        if stops:
            old.stop()
        else:
            old.write({**config, "providers": []})
            eventually("its pool is gone", lambda: not tree.components("pool"))
        with Launcher(after, config, folder / "after") as new:
            eventually("the other pool is there", lambda: len(tree.components("pool")) == 1)
            other = Client(tree)
            other.take()
            assert other.node in records
            assert other.node != client.node
            kept = {name: node for name, node in records.items() if name != other.node}
            now = tree.nodes()
            assert {name: now.get(name) for name in kept} == kept
            client.give_back()
            other.give_back()
            tree.wait_ready(PROVIDER, 4, new)
            assert len(tree.nodes()) == 4
            third = Client(tree)
            third.take()
            third.give_back()


def test_ours_after_theirs(tree: Tree, endpoint: Endpoint, tmp_path: Path) -> None:
    """When Nodepool 11 has stopped, its nodes are ours with their ids, the one in use too."""
    move(tree, endpoint, tmp_path, REFERENCE, OURS, stops=True)


def test_provider_that_theirs_has_lost(tree: Tree, endpoint: Endpoint, tmp_path: Path) -> None:
    """So they are when the provider was only taken out of its configuration."""
    move(tree, endpoint, tmp_path, REFERENCE, OURS, stops=False)


def test_theirs_after_ours(tree: Tree, endpoint: Endpoint, tmp_path: Path) -> None:
    """Nodepool 11 goes on with the nodes of ours when that has stopped."""
    move(tree, endpoint, tmp_path, OURS, REFERENCE, stops=True)
