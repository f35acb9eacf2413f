"""Stock is asked for in the words of Nodepool 11."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import Endpoint
from nodepool_tx.store import paths
from tests.interop.tree import Tree
from tests.minready.world import World, config_of

PROGRAM = Path(__file__).with_name("min_ready_program.py")
TIMEOUT = 60

#: Of labels with these; the ready node is of the first.
WANTED = {"small": 3, "large": 1, "none": 0, "disabled": -1}

OF_THE_MOMENT = {"state_time", "event_id"}


def theirs(endpoint: Endpoint) -> dict[str, dict[str, Any]]:
    """The requests of Nodepool 11 by name."""
    python = environment(NODEPOOL) / "python"
    files = (str(file) for file in (endpoint.ca, endpoint.cert, endpoint.key))
    hosts = f"{endpoint.host}:{endpoint.port}"
    done = subprocess.run(
        [str(python), "-I", str(PROGRAM), json.dumps(WANTED), hosts, *files],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def ours(world: World) -> dict[str, dict[str, Any]]:
    """The requests of a launcher of ours, in the same form."""
    process = world.start(config_of(WANTED))
    found = {}
    for path, data in world.inspector.dump(f"{paths.REQUESTS}/").items():
        ephemeral = path in world.inspector.ephemerals(process.client)
        found[path.rpartition("/")[2]] = {"data": json.loads(data), "ephemeral": ephemeral}
    return found


def lasting(requests: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Everything but what is of the moment, of which only the kind can be compared."""
    return sorted(
        (
            name.partition("-")[0],
            json.dumps(
                {
                    **request,
                    "data": {
                        key: type(value).__name__ if key in OF_THE_MOMENT else value
                        for key, value in request["data"].items()
                    },
                },
                sort_keys=True,
            ),
        )
        for name, request in requests.items()
    )


def test_the_same_requests(tree: Tree, endpoint: Endpoint) -> None:
    """With one node in stock both write the same requests, key by key, in as many znodes."""
    tree.clear()
    world = World()
    node_id = world.put("small")
    node = world.inspector.dump()[paths.node(node_id)]
    tree.client.create(paths.node(node_id), node, makepath=True)
    tree.client.ensure_path(paths.REQUESTS)
    requests = lasting(theirs(endpoint))
    assert len(requests) == 3
    assert lasting(ours(world)) == requests
    world.check()
    world.close()
