"""Our launcher and Nodepool 11's serve together on one ZooKeeper, one provider each."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.daemons import OURS, REFERENCE, Endpoint, Launcher, StaticNodes, configuration
from benchmarks.requester import request_body
from tests.functional.launcher.process import command_line
from tests.interop import reference_tools
from tests.interop.tree import Tree, eventually

LABELS = ("mine", "yours", "shared", "ours-first", "theirs-first")
BEHIND = 200


def _config(endpoint: Endpoint, provider: str, own: str, behind: str, first: int) -> dict[str, Any]:
    """A provider whose second pool, with the label `behind`, comes after everybody else's."""
    config = configuration(
        endpoint,
        [
            StaticNodes(own, 2, first=first),
            StaticNodes("shared", 1, first=first + 2),
            StaticNodes(
                "ours-first" if behind == "theirs-first" else "theirs-first", 1, first=first + 3
            ),
        ],
        provider,
    )
    later = StaticNodes(behind, 1, first=first + 4)
    config["providers"][0]["pools"].append(
        {"name": "later", "priority": BEHIND, "nodes": later.entries()}
    )
    config["labels"] = [{"name": label} for label in LABELS]
    return config


class Pair:
    """Both launchers, and a client."""

    def __init__(self, tree: Tree, ours: Launcher, theirs: Launcher) -> None:
        self.tree = tree
        self.ours = ours
        self.theirs = theirs
        self._requests: list[str] = []

    def request(self, *labels: str, provider: str | None = None) -> str:
        """Ask; answers the request's id."""
        body = json.loads(request_body(list(labels)))
        body["provider"] = provider
        path: str = self.tree.client.create(
            "/nodepool/requests/100-", json.dumps(body).encode(), sequence=True, makepath=True
        )
        self._requests.append(path.rsplit("/", 1)[1])
        return self._requests[-1]

    def answer(self, request: str) -> dict[str, Any]:
        """Wait for a request to be answered; answers the request."""

        def answered() -> dict[str, Any] | None:
            found = self.tree.request(request)
            return found if found and found["state"] in ("fulfilled", "failed") else None

        return eventually(f"{request} is answered", answered)

    def nodes_of(self, request: str) -> list[dict[str, Any]]:
        """Wait for a request to be fulfilled; answers its nodes."""
        answer = self.answer(request)
        assert answer["state"] == "fulfilled", answer
        nodes = self.tree.nodes()
        return [{"id": name, **nodes[name]} for name in answer["nodes"]]

    def forget(self) -> None:
        """Delete the requests made so far, unused, and wait for all nodes to be free again."""
        for request in self._requests:
            self.tree.client.delete(f"/nodepool/requests/{request}")
        self._requests.clear()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait for all nodes of both to be free."""
        self.tree.wait_ready("theirs", 5, self.theirs)
        self.tree.wait_ready("ours", 5, self.ours)


@pytest.fixture(scope="module")
def both(
    endpoint: Endpoint, tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("launchers")
    config = _config(endpoint, "ours", "mine", "theirs-first", 0)
    other = _config(endpoint, "theirs", "yours", "ours-first", 10)
    with (
        Launcher(OURS, config, folder / "ours") as ours,
        Launcher(REFERENCE, other, folder / "theirs") as theirs,
    ):
        pair = Pair(tree, ours, theirs)
        pair.wait_ready()
        eventually("both are registered", lambda: len(tree.components("pool")) == 4)
        yield pair


@pytest.fixture
def pair(both: Pair) -> Iterator[Pair]:
    yield both
    both.forget()


def test_only_who_has_all_labels_serves(pair: Pair) -> None:
    """A request that only one can serve is served by it, whether for one label or for two."""
    labels = {"ours": "mine", "theirs": "yours"}
    one = {name: pair.request(label) for name, label in labels.items()}
    two = {name: pair.request("shared", label) for name, label in labels.items()}
    for name, label in labels.items():
        assert [node["provider"] for node in pair.nodes_of(one[name])] == [name]
        nodes = pair.nodes_of(two[name])
        assert [node["provider"] for node in nodes] == [name, name]
        assert [node["type"] for node in nodes] == [["shared"], [label]]


def test_both_serve_a_shared_label(pair: Pair) -> None:
    """Two requests for a label of which each has one node are both fulfilled.

    They come one after the other: Nodepool 11 counts free nodes over all providers, and would
    stall on one of two that come together if it saw both before we do.
    """
    first = pair.request("shared")
    nodes = pair.nodes_of(first)
    second = pair.request("shared")
    nodes += pair.nodes_of(second)
    assert sorted(node["provider"] for node in nodes) == ["ours", "theirs"]


@pytest.mark.parametrize("labels", [("mine", "yours"), ("unheard-of",)], ids=" ".join)
def test_what_nobody_can_serve_fails(pair: Pair, labels: tuple[str, ...]) -> None:
    """A request no pool can serve is declined by every pool, and then failed."""
    request = pair.request(*labels)
    answer = pair.answer(request)
    assert answer["state"] == "failed"
    assert answer["nodes"] == []
    everybody = {pool["id"] for pool in pair.tree.components("pool")}
    assert set(answer["declined_by"]) == everybody
    assert len(answer["declined_by"]) == len(everybody) == 4


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_pool_of_lower_priority_yields(pair: Pair, first: str) -> None:
    """While the other's pool of higher priority is there, a request is left to it."""
    for _ in range(2):
        request = pair.request(f"{first}-first")
        assert [node["provider"] for node in pair.nodes_of(request)] == [first]
        pair.forget()


@pytest.mark.parametrize("named", ["ours", "theirs"])
def test_a_named_provider_gets_the_request(pair: Pair, named: str) -> None:
    """A request that names a provider is left to it by the other."""
    request = pair.request("shared", provider=named)
    assert [node["provider"] for node in pair.nodes_of(request)] == [named]


def test_a_named_provider_that_is_busy_is_waited_for(pair: Pair) -> None:
    """The other one has a free node, and still leaves the request alone."""
    taken = pair.request("shared", provider="ours")
    assert [node["provider"] for node in pair.nodes_of(taken)] == ["ours"]
    waiting = pair.request("shared", provider="ours")
    time.sleep(2.5)
    found = pair.tree.request(waiting)
    assert found is not None
    assert found["state"] in ("requested", "pending")
    assert not found.get("nodes")


def test_their_command_lists_our_nodes(pair: Pair) -> None:
    """Nodepool 11's `nodepool list` and `info` read the nodes that we wrote."""
    config = pair.theirs.config
    printed = reference_tools.command(config, "list", "--detail")
    ours = [row for row in reference_tools.rows(printed) if row["Provider"] == "ours"]
    stored = pair.tree.nodes(provider="ours")
    assert {row["ID"] for row in ours} == set(stored)
    for row in ours:
        node = stored[row["ID"]]
        assert row["State"] == "ready"
        assert row["Locked"] == "unlocked"
        assert row["Label"] == node["type"][0]
        assert row["Hostname"] == row["Public IPv4"] == row["Server ID"] == node["hostname"]
        assert row["Pool"] == node["pool"]
        assert row["Username"] == "zuul"
        assert row["Port"] == "22"
    _, listed_nodes = reference_tools.command(config, "info", "ours").split("Nodes:")
    listed = reference_tools.rows(listed_nodes)
    assert {row["ID"]: row["Server ID"] for row in listed} == {
        name: node["hostname"] for name, node in stored.items()
    }


def test_their_command_lists_requests_while_both_run(pair: Pair) -> None:
    """Nodepool 11's `nodepool request-list` reads a request that we have answered."""
    request = pair.request("mine")
    pair.nodes_of(request)
    (row,) = reference_tools.rows(reference_tools.command(pair.theirs.config, "request-list"))
    assert row["Request ID"] == request
    assert row["State"] == "fulfilled"


def our_command(pair: Pair, *words: str) -> Any:
    """What our `nodepool` tells, with Nodepool 11's configuration file."""
    command = command_line("-c", str(pair.theirs.config), *words, "--format", "json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_our_command_lists_their_nodes_and_requests(pair: Pair) -> None:
    """Our `nodepool` reads what Nodepool 11 wrote, as its own `nodepool` does."""
    request = pair.request("yours")
    pair.nodes_of(request)
    config = pair.theirs.config
    told = {row["id"]: row for row in our_command(pair, "list") if row["provider"] == "theirs"}
    rows = reference_tools.rows(reference_tools.command(config, "list", "--detail"))
    theirs = {row["ID"]: row for row in rows if row["Provider"] == "theirs"}
    assert set(told) == set(theirs)
    assert len(told) == 5
    for name, row in theirs.items():
        ours = told[name]
        assert ours["label"] == row["Label"].split(",")
        for key, heading in (
            ("server_id", "Server ID"),
            ("public_ipv4", "Public IPv4"),
            ("state", "State"),
            ("locked", "Locked"),
            ("pool", "Pool"),
            ("hostname", "Hostname"),
            ("username", "Username"),
            ("launcher", "Launcher"),
        ):
            assert ours[key] == row[heading], key
        assert str(ours["connection_port"]) == row["Port"]
        assert (ours["allocated_to"] or "") == row["Allocated To"]
    (asked,) = our_command(pair, "request-list")
    (row,) = reference_tools.rows(reference_tools.command(config, "request-list"))
    assert (asked["id"], asked["state"]) == (row["Request ID"], row["State"])
    assert ",".join(asked["nodes"]) == row["Nodes"]
    assert {row["label"] for row in our_command(pair, "label-list")} == set(LABELS)
    assert {row["id"] for row in our_command(pair, "info", "theirs")["nodes"]} == set(theirs)


def test_their_command_holds_and_deletes_our_node(pair: Pair) -> None:
    """A node that Nodepool 11's command deletes serves again under a new id; a held one stays."""
    (name, other) = pair.tree.nodes(provider="ours", type=["mine"])
    reference_tools.command(pair.theirs.config, "hold", name)
    request = pair.request("mine")
    assert [node["id"] for node in pair.nodes_of(request)] == [other]
    assert pair.tree.nodes()[name]["state"] == "hold"
    reference_tools.delete(pair.theirs.config, name)
    pair.forget()
    assert name not in pair.tree.nodes()


def test_their_registry_loads_ours(pair: Pair, endpoint: Endpoint) -> None:
    """Nodepool 11 sees our launcher running and our pools with labels and priority."""
    found = reference_tools.registry(endpoint)
    launchers, pools = found["components"]["launcher"], found["components"]["pool"]
    assert [launcher["state"] for launcher in launchers] == ["running", "running"]
    assert len({launcher["model_api"] for launcher in launchers}) == 1
    assert found["model_api"] == launchers[0]["model_api"]
    by_name = {(pool["provider_name"], pool["name"]): pool for pool in pools}
    assert {key: sorted(pool["supported_labels"]) for key, pool in by_name.items()} == {
        ("ours", "main"): ["mine", "ours-first", "shared"],
        ("ours", "later"): ["theirs-first"],
        ("theirs", "main"): ["shared", "theirs-first", "yours"],
        ("theirs", "later"): ["ours-first"],
    }
    assert {key: pool["priority"] for key, pool in by_name.items()} == {
        ("ours", "main"): 100,
        ("ours", "later"): BEHIND,
        ("theirs", "main"): 100,
        ("theirs", "later"): BEHIND,
    }
    theirs, ours = by_name["theirs", "main"], by_name["ours", "main"]
    assert ours["paused"] is theirs["paused"] is False
    assert set(theirs) <= set(ours)
    assert {pool["state"] for pool in pools} == {theirs["state"]}
    assert len({pool["id"] for pool in pools}) == 4
