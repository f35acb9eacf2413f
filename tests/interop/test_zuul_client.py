"""Zuul 14.3's own client gets nodes from our launcher as it does from Nodepool 11's.

Each test runs against both, so that what it asks of ours is known to be what Zuul was made for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from benchmarks.daemons import (
    OURS,
    REFERENCE,
    Daemon,
    Endpoint,
    Launcher,
    StaticNodes,
    configuration,
)
from tests.interop.tree import Tree, eventually
from tests.interop.zuul_client import Zuul

GROUPS = [
    StaticNodes("small", 1, first=0),
    StaticNodes("large", 2, first=1),
    StaticNodes("lonely", 1, first=3),
    StaticNodes("kept", 1, first=4),
]
COUNT = sum(group.count for group in GROUPS)
PROVIDER = "rack"


@pytest.fixture(scope="module", params=[REFERENCE, OURS], ids=lambda daemon: daemon.name)
def launcher(
    request: pytest.FixtureRequest,
    endpoint: Endpoint,
    tree: Tree,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Launcher]:
    daemon: Daemon = request.param
    tree.clear()
    config = configuration(endpoint, GROUPS, PROVIDER)
    with Launcher(daemon, config, tmp_path_factory.mktemp("launcher") / "run") as running:
        tree.wait_ready(PROVIDER, COUNT, running)
        yield running


@pytest.fixture(scope="module")
def zuul(
    launcher: Launcher, endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Zuul]:
    with Zuul(endpoint, tmp_path_factory.mktemp("zuul") / "log") as zuul:
        yield zuul


def back_in_service(tree: Tree, hostname: str) -> str:
    """Wait until a host's node is free again; answers its id."""
    found = eventually(
        f"{hostname} is free again",
        lambda: tree.nodes(hostname=hostname, state="ready", allocated_to=None) or None,
    )
    (name,) = found
    return name


def test_one_node_goes_out_and_comes_back(zuul: Zuul, tree: Tree) -> None:
    """A node is asked for, locked, used and returned, and its host serves again."""
    request, (node,) = zuul.obtain("small")
    assert node["type"] == ["small"]
    assert node["allocated_to"] == request
    assert tree.request(request) is None
    stored = tree.nodes()[node["id"]]
    assert stored["state"] == "in-use"
    assert stored["user_data"] == {"zuul_system": "interop", "project_name": "project"}
    assert len(tree.node_lock(node["id"])) == 1
    zuul.give_back(request)
    back_in_service(tree, node["hostname"])


def test_nodes_come_in_the_order_asked(zuul: Zuul, tree: Tree) -> None:
    """A request for several labels gets a node for each, in its own order, from one pool."""
    labels = ["large", "small", "large"]
    request, nodes = zuul.obtain(*labels)
    assert [node["label"] for node in nodes] == labels
    assert [node["type"] for node in nodes] == [[label] for label in labels]
    assert len({node["id"] for node in nodes}) == len(labels)
    assert len({(node["provider"], node["pool"]) for node in nodes}) == 1
    zuul.give_back(request)
    for node in nodes:
        back_in_service(tree, node["hostname"])


def test_what_zuul_needs_to_connect_is_in_the_node(zuul: Zuul, launcher: Launcher) -> None:
    """Zuul learns the address, port, user, keys and Python of the host."""
    request, (node,) = zuul.obtain("small")
    zuul.give_back(request)
    address = node["hostname"]
    assert address.startswith("127.1.")
    expected = {
        "interface_ip": address,
        "public_ipv4": address,
        "connection_type": "ssh",
        "connection_port": 22,
        "username": "zuul",
        "host_keys": [],
        "python_path": "auto",
        "shell_type": None,
        "external_id": address,
        "provider": PROVIDER,
        "pool": "main",
    }
    assert {key: node[key] for key in expected} == expected


def test_a_revised_request_overtakes(zuul: Zuul, tree: Tree) -> None:
    """A waiting request's relative priority can be changed under its lock, and counts."""
    first, (node,) = zuul.obtain("lonely")
    patient = zuul.request("lonely", relative_priority=1)
    urgent = zuul.request("lonely", relative_priority=2)
    time.sleep(1.5)  # both have been looked at, and left alone
    assert zuul.state(patient) == zuul.state(urgent) == "requested"
    assert zuul.revise(urgent, 0) == 0
    zuul.give_back(first)
    assert zuul.wait(urgent) == "fulfilled"
    assert zuul.state(patient) == "requested"
    assert [given["hostname"] for given in zuul.accept(urgent)] == [node["hostname"]]
    zuul.give_back(urgent)
    # Zuul returns a node it never set in use by unlocking it; the launcher frees it.
    assert zuul.wait(patient) == "fulfilled"
    zuul.accept(patient)
    zuul.give_back(patient)


def test_a_cancelled_request_keeps_nothing(zuul: Zuul, tree: Tree) -> None:
    """A request that is withdrawn while it waits is forgotten; its node goes to the next."""
    first, (node,) = zuul.obtain("kept")
    withdrawn = zuul.request("kept")
    following = zuul.request("kept")
    zuul.cancel(withdrawn)
    assert tree.request(withdrawn) is None
    zuul.give_back(first)
    assert zuul.wait(following) == "fulfilled"
    zuul.accept(following)
    assert [name for name, seen in tree.nodes().items() if seen["allocated_to"] == withdrawn] == []
    zuul.use(following)
    zuul.give_back(following)
    back_in_service(tree, node["hostname"])


def test_a_held_node_stays_until_the_hold_ends(zuul: Zuul, tree: Tree) -> None:
    """A held node keeps its state, job and reason, and serves again once it is released."""
    request, (node,) = zuul.obtain("large")
    assert zuul.hold(request, "look at the logs") == 1
    time.sleep(1.5)
    held = tree.nodes()[node["id"]]
    assert held["state"] == "hold"
    assert held["hold_job"] == "tenant project job .*"
    assert held["comment"] == "look at the logs"
    zuul.release_hold(request)
    back_in_service(tree, node["hostname"])


def test_a_node_of_a_dead_executor_is_taken_back(zuul: Zuul, tree: Tree) -> None:
    """A node in use whose lock is gone with its owner's session serves again."""
    _, (node,) = zuul.obtain("small")
    zuul.abandon()
    back_in_service(tree, node["hostname"])


def test_zuul_sees_the_pool_and_its_labels(zuul: Zuul) -> None:
    """Zuul lists one pool, with every label it can ask for."""
    (labels,) = zuul.launchers().values()
    assert labels == sorted(group.label for group in GROUPS)
