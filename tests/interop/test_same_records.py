"""What is in ZooKeeper is the same, key by key, whichever of the two launchers wrote it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks.daemons import OURS, REFERENCE, Daemon, Endpoint, Launcher
from benchmarks.requester import request_body
from nodepool_tx.model import OURS as OURS_BY
from tests.interop.tree import Tree, eventually
from tests.servers.sshd import SshServers

PROVIDER = "same"

#: Keys of which only the kind of their value can be compared.
OF_THE_MOMENT = {"state_time", "created_time", "allocated_to"}

LABELS = ("plain", "several", "slots", "windows", "unseen", "twin")

Record = dict[str, Any]


@attrs.frozen
class Records:
    """What one of them wrote.

    :ivar free: nodes that were just registered, by host, port and slot.
    :ivar promised: those that a request was given, likewise.
    :ivar requests: by what was asked for.
    """

    free: dict[Any, Record]
    promised: dict[Any, Record]
    requests: dict[tuple[str, ...], Record]
    launchers: list[Record]
    pools: dict[str, Record]


def machines(directory: Path) -> Iterator[list[Record]]:
    """Nodes for all that a configuration can say of one."""
    with SshServers(directory) as servers, socket.socket() as windows:
        gathered = servers.start(host="127.0.0.1", key_types=("ed25519", "ecdsa", "rsa"))
        pinned = servers.start(host="127.0.0.1", key_types=("ed25519",))
        windows.bind(("127.0.0.1", 0))
        windows.listen(50)
        yield [
            {"name": "127.0.0.1", "connection-port": gathered.port, "labels": "plain"},
            {
                "name": "127.0.0.1",
                "connection-port": pinned.port,
                "labels": ["several", "slots"],
                "host-key": list(pinned.keys),
                "max-parallel-jobs": 2,
                "username": "somebody",
                "timeout": 8,
                "connection-type": "network_cli",
                "python-path": "/usr/bin/python3",
                "shell-type": "csh",
            },
            {
                "name": "127.0.0.1",
                "connection-port": windows.getsockname()[1],
                "labels": "windows",
                "connection-type": "winrm",
                "username": "administrator",
                "shell-type": "powershell",
            },
            {
                "name": "127.0.0.9",
                "labels": "unseen",
                "host-key-checking": False,
                "host-key": "ssh-ed25519 AAAA",
            },
            {"name": "127.0.0.10", "labels": ["twin", "slots"], "host-key-checking": False},
        ]


def farm(endpoint: Endpoint, nodes: list[Record]) -> Record:
    return {
        **endpoint.settings(),
        "labels": [{"name": label} for label in LABELS],
        "providers": [
            {
                "name": PROVIDER,
                "driver": "static",
                "priority": 70,
                "pools": [
                    {"name": "rack", "node-attributes": {"row": 7, "x": ["y"]}, "nodes": nodes[:3]},
                    {"name": "shelf", "priority": 80, "nodes": nodes[3:]},
                ],
            }
        ],
    }


def seen(tree: Tree, ids: list[str] | None = None) -> dict[Any, Record]:
    """Nodes without what is of the moment."""
    found = tree.nodes(provider=PROVIDER)
    chosen = found if ids is None else {name: found[name] for name in ids}
    return {
        (node["hostname"], node["connection_port"], node["slot"]): _lasting(node)
        for node in chosen.values()
    }


def _lasting(record: Record) -> Record:
    kinds = {key: type(record[key]).__name__ for key in OF_THE_MOMENT & set(record)}
    # Nodepool 11 lists an RSA key once for each of its signature algorithms.
    keys = {"host_keys": sorted(set(record["host_keys"]))} if "host_keys" in record else {}
    return {**record, **kinds, **keys}


def _component(record: Record) -> Record:
    """A component without what tells one process from another, and in one order."""
    own = {key: type(record[key]).__name__ for key in ("id", "version") if key in record}
    labels = {key: sorted(record[key]) for key in ("supported_labels",) if key in record}
    return {**record, **own, **labels}


def records(daemon: Daemon, config: Record, tree: Tree, folder: Path) -> Records:
    """Let one of them run on an empty ZooKeeper."""
    tree.clear()
    requests: dict[tuple[str, ...], Record] = {}
    promised: dict[Any, Record] = {}
    with Launcher(daemon, config, folder) as launcher:
        tree.wait_ready(PROVIDER, 6, launcher)
        eventually("the pools are there", lambda: len(tree.components("pool")) == 2)
        free = seen(tree)
        launchers = [_component(launcher) for launcher in tree.components("launcher")]
        pools = {pool["name"]: _component(pool) for pool in tree.components("pool")}
        for labels in [("plain",), ("several", "windows"), ("nothing",), ("unseen",)]:
            body = json.loads(request_body(list(labels)))
            path = tree.client.create(
                "/nodepool/requests/100-", json.dumps(body).encode(), sequence=True, makepath=True
            )
            name = path.rpartition("/")[2]

            def answered(name: str = name) -> Record | None:
                found = tree.request(name)
                return found if found and found["state"] in ("fulfilled", "failed") else None

            answer = eventually(f"{labels} is answered", answered)
            # What is not theirs comes back as it was.
            assert {key: answer[key] for key in body if key not in ("state", "state_time")} == {
                key: value for key, value in body.items() if key not in ("state", "state_time")
            }
            promised.update(seen(tree, answer["nodes"]))
            # As neither id nor client is the same for both.
            answer["nodes"] = len(answer["nodes"])
            answer["declined_by"] = len(answer["declined_by"])
            for key in ("requestor_data", "event_id"):
                del answer[key]
            requests[labels] = _lasting(answer)
    return Records(free, promised, requests, launchers, pools)


@pytest.fixture(scope="module")
def both(
    endpoint: Endpoint, tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Records, Records]]:
    """What each of the two wrote for one configuration."""
    folder = tmp_path_factory.mktemp("records")
    for nodes in machines(folder):
        config = farm(endpoint, nodes)
        theirs = records(REFERENCE, config, tree, folder / "theirs")
        yield records(OURS, config, tree, folder / "ours"), theirs


def test_free_nodes(both: tuple[Records, Records]) -> None:
    """Every key of a node that was registered, and its value."""
    ours, theirs = both
    assert ours.free == theirs.free
    assert len(ours.free) == 6


def test_promised_nodes(both: tuple[Records, Records]) -> None:
    """And of one that was given to a request."""
    ours, theirs = both
    assert ours.promised == theirs.promised
    assert {node["type"][0] for node in ours.promised.values()} >= {"plain", "several", "windows"}


def test_requests(both: tuple[Records, Records]) -> None:
    """And of a request that was fulfilled, or failed."""
    ours, theirs = both
    assert ours.requests == theirs.requests
    assert ours.requests["nothing",]["state"] == "failed"


def test_components(both: tuple[Records, Records]) -> None:
    """And of what is registered, with an id and a version of its own; ours say whose they are."""
    ours, theirs = both
    assert ours.launchers == [{**launcher, **OURS_BY} for launcher in theirs.launchers]
    assert ours.pools == {name: {**pool, **OURS_BY} for name, pool in theirs.pools.items()}
