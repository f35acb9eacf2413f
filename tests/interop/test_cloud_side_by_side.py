"""Our launcher and Nodepool 11's make cloud nodes on one ZooKeeper, under one tenant's limit."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import attrs
from kazoo.exceptions import NoNodeError
from kazoo.recipe.lock import Lock

from benchmarks.clouds import cloud_configuration, cloud_environment
from benchmarks.daemons import OURS, REFERENCE, Endpoint, Launcher
from benchmarks.requester import request_body
from tests.interop.tree import Tree, eventually

TENANT = "acme"
LIMIT = 5

#: Seconds within which neither can know what the other has just done.
UNSEEN = 0.5


def configuration(endpoint: Endpoint, provider: str, own: str, boot: float | None) -> Any:
    """A cloud with a label of its own and one that both have."""
    config = cloud_configuration(
        endpoint, simulation=None if boot is None else {"boot-delay": boot}
    )
    (section,) = config["providers"]
    section["name"] = provider
    (pool,) = section["pools"]
    (label,) = pool["labels"]
    pool["labels"] = [{**label, "name": name} for name in (own, "shared")]
    return {
        **config,
        "labels": [{"name": name} for name in ("mine", "yours", "shared")],
        "tenant-resource-limits": [{"tenant-name": TENANT, "max-servers": LIMIT}],
    }


@attrs.define
class Census:
    """What nodes the tenant had, looked at whenever a node came or went.

    :ivar most: how many at the same time.
    :ivar wrong: how ours was one too many, in words.
    """

    tree: Tree
    most: int = 0
    seen: set[str] = attrs.field(factory=set)
    wrong: list[str] = attrs.field(factory=list)
    _over: threading.Event = attrs.field(factory=threading.Event)

    def begin(self) -> None:
        self.tree.client.ensure_path("/nodepool/nodes")
        self.tree.client.ChildrenWatch("/nodepool/nodes", self._look)

    def end(self) -> None:
        self._over.set()

    def _look(self, names: list[str]) -> bool:
        nodes = {name: node for name in names if (node := self._read(name)) is not None}
        there = sorted(name for name, node in nodes.items() if node["tenant_name"] == TENANT)
        self.most = max(self.most, len(there))
        if len(there) > LIMIT:
            self._blame(there, nodes)
        self.seen.update(there)
        return not self._over.is_set()

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            data, _ = self.tree.client.get(f"/nodepool/nodes/{name}")
        except NoNodeError:
            return None
        node: dict[str, Any] = json.loads(data)
        return node

    def _blame(self, there: list[str], nodes: dict[str, dict[str, Any]]) -> None:
        """Ours must not have come when the limit was known to be reached."""
        for place, name in enumerate(there):
            if place < LIMIT or name in self.seen or nodes[name]["provider"] != "ours":
                continue
            before = [nodes[each] for each in there[:place]]
            known = [
                node
                for node in before
                if node["provider"] == "ours"
                or node["created_time"] < nodes[name]["created_time"] - UNSEEN
            ]
            if len(known) >= LIMIT:
                self.wrong.append(f"{name} came when there were {len(known)}: {nodes[name]}")


class Customer:
    """Asks, takes what it gets, uses it for a moment and gives it back, many at a time."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._client = tree.client
        self._waiting: dict[str, list[str]] = {}
        self._using: list[tuple[float, str, Lock]] = []
        self.served: list[dict[str, Any]] = []

    def ask(self, *labels: str, tenant: str = TENANT) -> None:
        body = json.loads(request_body(list(labels))) | {"tenant_name": tenant}
        path = self._client.create(
            "/nodepool/requests/100-", json.dumps(body).encode(), sequence=True, makepath=True
        )
        self._waiting[path.rpartition("/")[2]] = list(labels)

    def go_on(self) -> bool:
        """Do what can be done now; True when all were served and all is given back."""
        for name in list(self._waiting):
            request = self._tree.request(name)
            assert request is not None, name
            assert request["state"] != "failed", request
            if request["state"] == "fulfilled":
                self._take(name, request)
        for entry in list(self._using):
            due, node, lock = entry
            if time.monotonic() >= due:
                self._set_state(node, "used")
                lock.release()
                self._using.remove(entry)
        return not self._waiting and not self._using

    def _take(self, name: str, request: dict[str, Any]) -> None:
        labels = self._waiting.pop(name)
        for node, label in zip(request["nodes"], labels, strict=True):
            lock = Lock(self._client, f"/nodepool/nodes/{node}/lock")
            assert lock.acquire(timeout=10)
            found = self._set_state(node, "in-use", wanted=("ready", name))
            assert label in found["type"]
            self.served.append(found)
            self._using.append((time.monotonic() + 0.3, node, lock))
        self._client.delete(f"/nodepool/requests/{name}")

    def _set_state(
        self, node: str, state: str, wanted: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        path = f"/nodepool/nodes/{node}"
        data, stat = self._client.get(path)
        found: dict[str, Any] = json.loads(data)
        if wanted is not None:
            assert (found["state"], found["allocated_to"]) == wanted, found
        changed = found | {"state": state, "state_time": time.time()}
        self._client.set(path, json.dumps(changed).encode(), version=stat.version)
        return found


def test_one_tenant_limit(tree: Tree, endpoint: Endpoint, tmp_path: Path) -> None:
    """All are served by both; ours takes a tenant no further than its limit; nothing is left."""
    tree.clear()
    ours = configuration(endpoint, "ours", "mine", boot=0.3)
    theirs = configuration(endpoint, "theirs", "yours", boot=None)
    environ = cloud_environment(tmp_path)
    with (
        Launcher(OURS, ours, tmp_path / "ours") as our_launcher,
        Launcher(REFERENCE, theirs, tmp_path / "theirs", environ) as their_launcher,
    ):
        eventually("both are there", lambda: len(tree.components("pool")) == 2)
        census = Census(tree)
        census.begin()
        customer = Customer(tree)
        for _ in range(3):
            customer.ask("mine")
            customer.ask("yours")
            customer.ask("shared")
            customer.ask("shared", "mine")
        customer.ask("mine", tenant="other")

        def served() -> bool:
            our_launcher.check()
            their_launcher.check()
            return customer.go_on()

        eventually("all are served", served, timeout=60)
        eventually("nothing is left", lambda: not tree.nodes())
        census.end()
        counts = {
            name: sum(1 for node in customer.served if node["provider"] == name)
            for name in ("ours", "theirs")
        }
        print(f"served: {counts}; at most {census.most} nodes of {LIMIT}")
        assert census.wrong == []
        assert min(counts.values()) >= 3
        assert sum(counts.values()) == 16
        assert tree.client.get_children("/nodepool/requests") == []
        for launcher in (our_launcher, their_launcher):
            log = launcher.log.read_text()
            assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
