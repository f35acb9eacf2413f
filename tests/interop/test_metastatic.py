"""Backing nodes of Nodepool 11's own classes are taken over here, and the other way round."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import Endpoint
from nodepool_tx.providers.metastatic.backing import Backing
from nodepool_tx.store import paths
from tests.interop.test_images import everything
from tests.interop.tree import Tree
from tests.providers.metastatic.stage import MetaWorld

PROGRAM = Path(__file__).with_name("metastatic_program.py")
TIMEOUT = 60


def reference(endpoint: Endpoint, do: str) -> dict[str, dict[str, Any]]:
    """The table that Nodepool 11 has after it has done what it was told."""
    python = environment(NODEPOOL) / "python"
    files = (str(file) for file in (endpoint.ca, endpoint.cert, endpoint.key))
    hosts = f"{endpoint.host}:{endpoint.port}"
    done = subprocess.run(
        [str(python), "-I", str(PROGRAM), do, hosts, *files],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def in_their_form(backings: dict[str, Backing]) -> dict[str | None, dict[str, Any]]:
    """Our table as Nodepool 11 would have it."""
    return {
        backing.node: {
            "label": backing.label,
            "slots": [slot.node_id if slot is not None else None for slot in backing.slots],
            "failed": backing.failed,
            "launched": backing.launched,
        }
        for backing in backings.values()
    }


def stop(world: MetaWorld) -> None:
    for launcher in world.launchers:
        launcher.stop()
    world.settle()
    world.wait(16)
    world.close()


def test_theirs_are_taken_over(tree: Tree, endpoint: Endpoint) -> None:
    """Slots, age and parts of a backing node that Nodepool 11 has made are the same here."""
    tree.clear()
    theirs = reference(endpoint, "write")
    assert [len(record["slots"]) for record in theirs.values()] == [3]
    world = MetaWorld()
    for path, data in everything(tree, paths.NODES).items():
        if world.inspector.stat(path) is None:
            world.inspector.create(path, data)
    (big,) = theirs
    first, second, _ = theirs[big]["slots"]
    world.both()
    world.wait(5)
    assert in_their_form(world.table()) == theirs
    (third,) = world.serve(1, seconds=5)
    # They were in stock, so one of them is used.
    assert third in (first, second)
    assert world.node(third).driver_data["backing_node"] == big
    world.check()
    stop(world)


def test_ours_are_taken_over(tree: Tree, endpoint: Endpoint) -> None:
    """Nodepool 11 recovers the same table from what we write, a failed node included."""
    tree.clear()
    world = MetaWorld()
    launcher, _ = world.both()
    nodes = world.serve(5)
    world.give_back(nodes[1])
    world.wait(5)
    failed = world.node(nodes[0]).driver_data["backing_node"]
    adapter: Any = world.adapter_of(launcher)
    world.do(adapter.boot_failed(nodes[0]))
    world.do(adapter.stop())
    for path, data in world.inspector.dump(paths.NODES).items():
        # Locks of those who use nodes would go with their sessions.
        if "/lock/" not in path or data:
            tree.client.ensure_path(path)
            tree.client.set(path, data)
    theirs = reference(endpoint, "read")
    assert theirs == in_their_form(world.table())
    assert len(theirs) == 2
    assert theirs[failed]["failed"] is True
    stop(world)
