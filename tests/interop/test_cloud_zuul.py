"""Zuul 14.3's own client gets servers of a cloud from our launcher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.clouds import cloud_configuration
from benchmarks.daemons import OURS, Endpoint, Launcher
from tests.interop.tree import Tree, eventually
from tests.interop.zuul_client import Zuul

LABEL = "only"


@pytest.fixture(scope="module")
def launcher(
    endpoint: Endpoint, tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launcher]:
    tree.clear()
    config = cloud_configuration(endpoint, servers=3, simulation={"boot-delay": 0.3})
    with Launcher(OURS, config, tmp_path_factory.mktemp("launcher") / "run") as running:
        eventually("the pool is there", lambda: len(tree.components("pool")) == 1)
        yield running


@pytest.fixture(scope="module")
def zuul(
    launcher: Launcher, endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Zuul]:
    with Zuul(endpoint, tmp_path_factory.mktemp("zuul") / "log") as zuul:
        yield zuul


def until_empty(tree: Tree) -> None:
    """Every node is gone, with its server."""
    eventually("no node is left", lambda: not tree.nodes())


def test_a_server_is_made_and_deleted(zuul: Zuul, tree: Tree) -> None:
    """A request is pending while its server is made; the node is gone once it is returned."""
    request = zuul.request(LABEL)
    assert eventually("it is taken", lambda: zuul.state(request) != "requested")
    assert zuul.wait(request) == "fulfilled"
    (node,) = zuul.accept(request)
    zuul.use(request)
    assert node["type"] == [LABEL]
    assert node["external_id"]
    assert node["interface_ip"] == node["public_ipv4"]
    assert node["connection_port"] == 22
    assert len(node["host_keys"]) == 1
    assert (node["cloud"], node["provider"], node["pool"]) == ("fake", "cloud", "main")
    assert node["az"] in ("az1", "az2")
    assert node["resources"] == {"instances": 1, "cores": 4, "ram": 8192}
    assert tree.nodes()[node["id"]]["state"] == "in-use"
    zuul.give_back(request)
    until_empty(tree)


def test_what_was_used_is_counted(zuul: Zuul, tree: Tree) -> None:
    """Zuul's statistics of what a tenant and a project used are made of what the node says."""
    before = zuul.statistics()
    request, _ = zuul.obtain(LABEL, LABEL)
    zuul.give_back(request)
    counted = {key: value - before.get(key, 0) for key, value in zuul.statistics().items()}
    # Two nodes for the second that Zuul is told the job took.
    used = {"instances": 2, "cores": 8, "ram": 16384}
    for whose in ("tenant.tenant", "project.project"):
        for resource, value in used.items():
            assert counted[f"zuul.nodepool.resources.in_use.{whose}.{resource}"] == value
    until_empty(tree)


def test_several_are_of_one_zone(zuul: Zuul, tree: Tree) -> None:
    """The nodes of a request come together, in one zone."""
    request, nodes = zuul.obtain(LABEL, LABEL, LABEL)
    assert len({node["id"] for node in nodes}) == 3
    assert len({node["az"] for node in nodes}) == 1
    assert len({node["interface_ip"] for node in nodes}) == 3
    zuul.give_back(request)
    until_empty(tree)


def test_a_withdrawn_request_leaves_its_server_to_the_next(zuul: Zuul, tree: Tree) -> None:
    """What is being made for nobody any more is given to whoever asks next."""
    withdrawn = zuul.request(LABEL)
    (name,) = eventually("a node is being made", lambda: list(tree.nodes()) or None)
    zuul.cancel(withdrawn)
    eventually("it is ready", lambda: tree.nodes(state="ready", allocated_to=None) or None)
    request, (node,) = zuul.obtain(LABEL)
    assert node["id"] == name
    zuul.give_back(request)
    until_empty(tree)


def test_a_revised_request_overtakes(zuul: Zuul, tree: Tree) -> None:
    """With the cloud full, the more important request is served first."""
    first, _ = zuul.obtain(LABEL, LABEL, LABEL)
    patient = zuul.request(LABEL, LABEL, relative_priority=1)
    urgent = zuul.request(LABEL, LABEL, relative_priority=2)
    assert zuul.wait(patient, timeout=1.0) is None
    assert zuul.state(patient) == zuul.state(urgent) == "requested"
    assert zuul.revise(urgent, 0) == 0
    zuul.give_back(first)
    assert zuul.wait(urgent) == "fulfilled"
    assert zuul.state(patient) == "requested"
    zuul.accept(urgent)
    zuul.use(urgent)
    zuul.give_back(urgent)
    assert zuul.wait(patient) == "fulfilled"
    zuul.accept(patient)
    zuul.use(patient)
    zuul.give_back(patient)
    until_empty(tree)


def test_a_held_node_stays_until_the_hold_ends(zuul: Zuul, tree: Tree) -> None:
    """A held server is kept, and deleted once it is released."""
    request, (node,) = zuul.obtain(LABEL)
    assert zuul.hold(request, "look at the logs") == 1
    other, _ = zuul.obtain(LABEL)
    zuul.give_back(other)
    eventually("only the held one is left", lambda: list(tree.nodes()) == [node["id"]])
    assert tree.nodes()[node["id"]]["state"] == "hold"
    zuul.release_hold(request)
    until_empty(tree)


def test_a_node_of_a_dead_executor_is_deleted(zuul: Zuul, tree: Tree) -> None:
    """A node in use whose lock is gone with its owner's session is deleted."""
    zuul.obtain(LABEL)
    zuul.abandon()
    until_empty(tree)


def test_nodes_that_were_not_used_serve_again(zuul: Zuul, tree: Tree) -> None:
    """Zuul lets go of a node it never set in use; it is given to the next."""
    request = zuul.request(LABEL)
    assert zuul.wait(request) == "fulfilled"
    (node,) = zuul.accept(request)
    zuul.give_back(request)
    # Zuul leaves the promise in its record; who asks before that is gone gets another node.
    eventually("it is nobody's", lambda: not tree.nodes()[node["id"]]["allocated_to"])
    again, (same,) = zuul.obtain(LABEL)
    assert same["id"] == node["id"]
    zuul.give_back(again)
    until_empty(tree)
