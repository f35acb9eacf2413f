"""Zuul 14.3's own client asks by the hundred: our launcher and Nodepool 11 both bear it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import attrs
import pytest

from benchmarks.daemons import OURS, Daemon, Endpoint, Launcher, StaticNodes, configuration
from tests.interop.moves import THEIRS
from tests.interop.tree import Tree, eventually
from tests.interop.zuul_client import Zuul

PROVIDER = "rack"
EACH = 24
GROUPS = [
    StaticNodes("small", EACH, first=0),
    StaticNodes("large", EACH, first=EACH),
    StaticNodes("lonely", 1, first=2 * EACH),
]
COUNT = sum(group.count for group in GROUPS)
WISHES = [
    ["small"],
    ["large"],
    ["small", "large"],
    ["large", "large"],
    ["large", "small", "small"],
]
WAITING = 5
EXPIRATION = 2

#: Seconds that a busy machine may take for anything.
PATIENCE = 120.0


@attrs.frozen
class Burden:
    """What a launcher has to bear: how many requests, how many of them at a time."""

    daemon: Daemon
    requests: int
    at_once: int


@pytest.fixture(
    scope="module",
    # Nodepool 11 looks once a second; and where a few nodes are too few for a request it stalls.
    params=[Burden(THEIRS, 60, 16), Burden(OURS, 1000, 50)],
    ids=lambda burden: burden.daemon.name,
)
def burden(request: pytest.FixtureRequest) -> Burden:
    found: Burden = request.param
    return found


@pytest.fixture(scope="module")
def launcher(
    burden: Burden, endpoint: Endpoint, tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launcher]:
    tree.clear()
    config = configuration(endpoint, GROUPS, PROVIDER)
    folder = tmp_path_factory.mktemp("launcher") / "run"
    environ = {"NODEPOOL_CLEANUP_INTERVAL": "1"}
    with Launcher(burden.daemon, config, folder, environ) as running:
        tree.wait_ready(PROVIDER, COUNT, running)
        yield running


@pytest.fixture(scope="module")
def zuul(
    launcher: Launcher, endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Zuul]:
    with Zuul(endpoint, tmp_path_factory.mktemp("zuul") / "log") as zuul:
        yield zuul


def until_at_rest(tree: Tree) -> None:
    """Every host has one free node, nobody holds or wants a lock, and no request is left."""

    def look() -> bool:
        nodes = tree.nodes()
        free = [
            node["hostname"]
            for node in nodes.values()
            if node["state"] == "ready" and not node["allocated_to"]
        ]
        locks = [f"/nodepool/nodes/{name}/lock" for name in nodes]
        there = tree.contenders("/nodepool/requests-lock")
        locks += [f"/nodepool/requests-lock/{name}" for name in there]
        return (
            len(nodes) == len(free) == len(set(free)) == COUNT
            and not tree.contenders("/nodepool/requests")
            and not any(tree.contenders(path) for path in locks)
        )

    eventually("all is at rest", look, PATIENCE)


def test_many_requests(zuul: Zuul, tree: Tree, burden: Burden, launcher: Launcher) -> None:
    """All are served but those that are cancelled, nothing goes wrong, and nothing is left."""
    told = zuul.load(
        burden.requests,
        burden.at_once,
        within=3 * PATIENCE,
        wishes=WISHES,
        cancelled=0.1,
        revised=0.2,
        seed=7,
        patience=PATIENCE,
    )
    counts = told["counts"]
    rate = counts["asked"] / told["seconds"]
    print(f"{burden.daemon.name}: {rate:.1f} requests/s, {counts}")
    assert told["wrong"] == []
    cancelled = counts["cancelled waiting"] + counts["cancelled answered"]
    assert counts["served"] + cancelled == counts["asked"] == burden.requests
    assert counts["revised"] > 0.05 * burden.requests
    assert cancelled > 0.05 * burden.requests
    until_at_rest(tree)
    assert "Traceback" not in launcher.log.read_text()


def test_revised_requests_are_served_in_their_new_order(zuul: Zuul, tree: Tree) -> None:
    """With one node, those that wait get it by the priority that they have been given since."""
    first, _ = zuul.obtain("lonely")
    asked = [zuul.request("lonely", relative_priority=place) for place in range(WAITING)]
    for place, name in enumerate(asked):
        assert zuul.revise(name, WAITING - place) == WAITING - place
    zuul.give_back(first)
    for name in reversed(asked):
        assert zuul.wait(name) == "fulfilled"
        waiting = asked[: asked.index(name)]
        assert [zuul.state(other) for other in waiting] == ["requested"] * len(waiting)
        zuul.accept(name)
        zuul.use(name)
        zuul.give_back(name)
    until_at_rest(tree)


def test_a_hold_expires(zuul: Zuul, tree: Tree) -> None:
    """Held nodes keep reason and expiry, are left alone until then, and serve again after it."""
    request, nodes = zuul.obtain("small", "large")
    ids = [node["id"] for node in nodes]
    began = time.time()
    assert zuul.hold(request, "look at the logs", EXPIRATION) == len(ids)
    seen = tree.nodes()
    for name in ids:
        held = seen[name]
        assert held["state"] == "hold"
        assert held["comment"] == "look at the logs"
        assert held["hold_job"] == "tenant project job .*"
        assert held["hold_expiration"] == EXPIRATION
        assert held["user_data"] == {"zuul_system": "interop", "project_name": "project"}
    eventually("the hold is over", lambda: not set(ids) & set(tree.nodes(state="hold")))
    # Ages are counted in whole seconds.
    assert time.time() - began >= EXPIRATION - 1
    until_at_rest(tree)


def test_what_zuul_asked_with_is_kept(zuul: Zuul, tree: Tree) -> None:
    """A request that was answered has all that Zuul has written, and node for node its own."""
    request = zuul.request("large", "small", relative_priority=3)
    assert zuul.wait(request) == "fulfilled"
    stored = zuul.fields(request)
    assert stored["relative_priority"] == 3
    assert stored["node_types"] == ["large", "small"]
    assert stored["requestor"] == "interop"
    assert stored["tenant_name"] == "tenant"
    data = stored["requestor_data"]
    assert (data["tenant_name"], data["pipeline_name"]) == ("tenant", "check")
    assert data["job_name"] == "job"
    nodes = zuul.accept(request)
    assert stored["nodes"] == [node["id"] for node in nodes]
    assert [node["requestor"] for node in nodes] == ["interop", "interop"]
    zuul.give_back(request)
    until_at_rest(tree)
