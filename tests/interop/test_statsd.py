"""Our statistics have the names of Nodepool 11's, and the same values on the same farm."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks.clouds import cloud_configuration, cloud_environment
from benchmarks.daemons import OURS, REFERENCE, Daemon, Endpoint, Launcher
from benchmarks.requester import request_body
from nodepool_tx.events import LaunchEnded, LeakRemoved
from nodepool_tx.metrics.statsd import lines_of
from tests.interop import reference_tools
from tests.interop.tree import Tree, eventually

#: What differs from one farm to the next, in names.
PLACEHOLDER = re.compile(r"<[a-z -]+>")

#: The kinds of things that our OpenStack driver can leave behind.
KINDS = ("floatingip", "image", "instance", "port")


class Statsd:
    """A server that keeps what it gets.  A context manager."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._receive)

    @property
    def environ(self) -> dict[str, str]:
        return {"STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(self._socket.getsockname()[1])}

    def __enter__(self) -> Statsd:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while not self._stopping.is_set():
            try:
                datagram = self._socket.recv(65536)
            except TimeoutError:
                continue
            self.lines += datagram.decode().split("\n")

    def gauges(self) -> dict[str, str]:
        """The last value of each."""
        found = (line.rpartition(":") for line in tuple(self.lines) if line.endswith("|g"))
        return {name: value.removesuffix("|g") for name, _, value in found}

    def others(self) -> set[tuple[str, str]]:
        """Names and types of counters and timers."""
        found = (line.rpartition(":") for line in tuple(self.lines) if not line.endswith("|g"))
        return {(name, value.rpartition("|")[2]) for name, _, value in found}


def farm(endpoint: Endpoint) -> dict[str, Any]:
    config = cloud_configuration(endpoint, servers=7)
    (cloud,) = config["providers"]
    # Without, each chooses one by chance.
    cloud["pools"][0]["availability-zones"] = ["az2"]
    rack = {
        "name": "rack",
        "driver": "static",
        "pools": [
            {
                "name": "shelf",
                "max-servers": 9,
                "nodes": [
                    {"name": "127.0.0.9", "labels": "debian-12.5", "host-key-checking": False},
                    {"name": "127.0.0.10", "labels": "debian-12.5", "host-key-checking": False},
                ],
            }
        ],
    }
    limits = {"tenant-name": "tenant.one", "max-servers": 40, "max-cores": 300}
    return {
        **config,
        "labels": [*config["labels"], {"name": "debian-12.5"}],
        "tenant-resource-limits": [limits],
        "providers": [cloud, rack],
    }


@attrs.frozen
class Seen:
    """What one of the two has sent."""

    gauges: dict[str, str]
    others: set[tuple[str, str]]


def run(daemon: Daemon, endpoint: Endpoint, tree: Tree, folder: Path) -> Seen:
    """Let one of them serve some requests, and see what it has to say once all is quiet."""
    tree.clear()
    folder.mkdir()
    environ = {**cloud_environment(folder), "NODEPOOL_STATS_INTERVAL": "0.5"}
    with Statsd() as statsd:
        environ.update(statsd.environ)
        with Launcher(daemon, farm(endpoint), folder / "run", environ) as launcher:
            tree.wait_ready("rack", 2, launcher)
            eventually("both pools are there", lambda: len(tree.components("pool")) == 2)
            for labels in (["debian-12.5"], ["only"], ["only"]):
                body = {**json.loads(request_body(labels)), "requestor": "zuul:gate.one"}
                path = tree.client.create(
                    "/nodepool/requests/100-",
                    json.dumps(body).encode(),
                    sequence=True,
                    makepath=True,
                )
                name = path.rpartition("/")[2]
                eventually(
                    f"{labels} is fulfilled",
                    lambda name=name: (tree.request(name) or {}).get("state") == "fulfilled",  # type: ignore[misc]
                )
            cloudy = "nodepool.provider.cloud.nodes.ready"

            def quiet() -> bool:
                launcher.check()
                values = statsd.gauges()
                return values.get(cloudy) == "2" and values.get("nodepool.nodes.ready") == "4"

            eventually("what it says is how it is", quiet)
            own = "nodepool.launcher."
            eventually(
                "it speaks of itself", lambda: any(own in name for name in statsd.gauges()), 40.0
            )
        return Seen(statsd.gauges(), statsd.others())


@pytest.fixture(scope="module")
def ours(endpoint: Endpoint, tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return run(OURS, endpoint, tree, tmp_path_factory.mktemp("statsd") / "ours")


@pytest.fixture(scope="module")
def theirs(endpoint: Endpoint, tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return run(REFERENCE, endpoint, tree, tmp_path_factory.mktemp("statsd") / "theirs")


def test_gauges(ours: Seen, theirs: Seen) -> None:
    """Every gauge of Nodepool 11 is one of ours, with the same value, and there are no others.

    Where there is no limit it sends ``inf``, of which no server of statistics makes anything.
    """
    finite = {name: value for name, value in theirs.gauges.items() if value != "inf"}
    assert set(ours.gauges) == set(finite)
    # What waits on the way from ZooKeeper is another matter in each of them.
    different = {
        name: (value, ours.gauges[name])
        for name, value in finite.items()
        if not name.startswith("nodepool.launcher.") and float(value) != float(ours.gauges[name])
    }
    assert different == {}


def test_counters_and_timers(ours: Seen, theirs: Seen) -> None:
    """So is every counter and timer; ours also tell of images, and of calls of a simulated cloud.

    The guide has both; Nodepool 11 itself counts no launches by image.
    """
    more = {
        (name, kind)
        for name, kind in ours.others
        if not name.startswith(("nodepool.launch.image.", "nodepool.task.cloud."))
    }
    assert more == theirs.others
    assert theirs.others


@attrs.frozen
class Stat:
    """An entry of the guide."""

    name: str
    types: frozenset[str]
    drivers: frozenset[str]

    def is_one(self, name: str) -> bool:
        """Whether a name that was sent is meant by it."""
        pattern = PLACEHOLDER.sub(r"[^:|]+", re.escape(self.name).replace(r"\ ", " "))
        return re.fullmatch(pattern, name) is not None


def stats() -> Iterator[Stat]:
    """Everything that a launcher sends, according to the guide."""
    text = reference_tools.guide()
    _, heading, text = text.partition("Nodepool launcher\n~~~")
    assert heading
    for part in text.split(".. zuul:stat::")[1:]:
        name, _, rest = part.partition("\n")
        types = re.search(r":type: ([a-z, ]+)", rest)
        drivers = re.search(r"Drivers: ([A-Za-z, ]+)", rest)
        yield Stat(
            name.strip(),
            frozenset(re.split(", *", types[1].strip())) if types else frozenset(),
            frozenset(re.split(", *", drivers[1])) if drivers else frozenset(),
        )


def test_guide(ours: Seen) -> None:
    """Everything in the guide is sent, but for what only drivers do that we do not have."""
    sent = dict.fromkeys(ours.gauges, "gauge")
    launch = LaunchEnded(
        provider="p", pool="q", label="l", node_id="1", result="quota", seconds=1.0
    )
    events = [launch, *(LeakRemoved(provider="p", kind=kind) for kind in KINDS)]
    lines = {line.partition(":")[0] for event in events for line in lines_of(event)}
    names = {*sent, *(name for name, _ in ours.others), *lines}
    wanted = list(stats())
    assert len(wanted) > 25
    missing = [
        stat.name
        for stat in wanted
        if stat.types
        and (not stat.drivers or "OpenStack" in stat.drivers)
        and not any(stat.is_one(name) for name in names)
    ]
    assert missing == []


def test_nothing_but_the_guide(ours: Seen) -> None:
    """Nothing is sent that the guide does not have in one form or another."""
    wanted = list(stats())
    tasks = re.compile(r"nodepool\.task\.cloud\.[a-z-]+\.[A-Z]+\.[^.]+\.(\d+|attempted|failed)")
    # Not in the guide, but sent by Nodepool 11 all the same.
    more = re.compile(r"nodepool\.launch\.provider\.cloud\.ready")
    unknown = [
        name
        for name in sorted({*ours.gauges, *(name for name, _ in ours.others)})
        if not any(stat.is_one(name) for stat in wanted)
        and not tasks.fullmatch(name)
        and not more.fullmatch(name)
    ]
    assert unknown == []
