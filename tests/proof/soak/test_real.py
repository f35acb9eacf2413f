"""A real soak of seconds: two launchers, of which one is made to keep files open."""

from __future__ import annotations

import pathlib
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from nodepool_tx.store import paths
from proof.soak.real.looks import metric, process, server
from proof.soak.real.part import found
from proof.soak.real.run import RealSoak, Settings, limits, warm_up
from proof.soak.samples import Samples
from proof.soak.verdict import judge

SETTINGS = Settings(
    seconds=12.0,
    every=0.5,
    rate=10.0,
    job=(0.1, 0.5),
    hosts=10,
    stock=1,
    reload=3.0,
    cut=4.0,
    lost=1000.0,
    lease=2.0,
)


class RealTests(TestCase):
    timeout = 240

    async def test_short(self) -> None:
        """All that should happen does, and what is made to grow is named, where it grows."""
        directory = pathlib.Path(self.mktemp())
        directory.mkdir()
        soaking = RealSoak(reactor, directory, SETTINGS)
        left: list[Any] = []

        def leak() -> None:
            """A stream of events of the first launcher, znodes, and locks of no requests."""
            farm = soaking.farm
            visitor = farm.members[0].visitor
            left.append(Deferred.fromCoroutine(visitor.connect()))
            for _ in range(5):
                farm.steward.create(f"{paths.TENANTS}/left-", sequence=True)
                farm.steward.create(f"{paths.REQUEST_LOCKS}/900-", sequence=True)

        soaking.each_look = leak
        await soaking.run()
        for stream in left:
            await stream
        part = found(soaking, SETTINGS)
        self.assertEqual(part.troubles, ())
        self.assertGreater(part.facts["requests: served"], 20)
        self.assertGreater(part.facts["configurations written"], 1)
        self.assertGreater(part.facts["connections cut"], 1)
        self.assertTrue([name for name in part.facts if name.startswith("leases: ")])
        self.assertGreater(part.facts["reports to statsd"], 0)
        self.assertGreater(part.facts["bytes of event streams"], 1000)
        growing = {each.name for each in part.verdicts() if each.grows}
        self.assertLessEqual({"launcher 1: open files", "launcher 1: sockets"}, growing)
        self.assertNotIn("launcher 2: open files", growing)
        self.assertNotIn("launcher 2: sockets", growing)
        self.assertNotIn("launcher 2: watches", growing)
        self.assertLessEqual({"server: znodes", "locks of requests"}, growing)
        for name in ("nodes", "requests", "server: connections"):
            self.assertNotIn(name, growing)


def test_process() -> None:
    """A process's memory, files and threads are those that the system tells."""
    before = process(_pid())
    with open("/dev/null") as file:
        assert file.fileno() > 0
        after = process(_pid())
    assert after["open files"] == before["open files"] + 1
    assert after["sockets"] == before["sockets"]
    assert after["threads"] >= 1
    assert after["memory"] > 2**20


def _pid() -> int:
    return int(pathlib.Path("/proc/self").resolve().name)


def test_server() -> None:
    """What ZooKeeper says is read by its names."""
    said = {
        "zk_watch_count": 5,
        "zk_znode_count": 6,
        "zk_ephemerals_count": 7,
        "zk_num_alive_connections": 8,
        "zk_open_file_descriptor_count": 9,
        "zk_version": "3.8.0, built",
    }
    found = server("".join(f"{name}\t{value}\n" for name, value in said.items()))
    assert found["server: watches"] == 5
    assert found["server: open files"] == 9


def test_metric() -> None:
    """A sample without labels is found by its whole name."""
    text = 'a_b 1\na 2.5\na{x="y"} 3\n'
    assert metric(text, "a") == 2.5


HALF_AN_HOUR = 1800.0
HEALTHY = {"memory": 80.0 * 2**20, "server: znodes": 850.0, "nodes": 420.0, "leases": 60.0}


def half_an_hour(
    leaking: str = "", leak: float = 0.0, waves: str = "", height: float = 0.0
) -> set[str]:
    """What grows of a healthy launcher's numbers, with one that leaks so much by the hour,
    or one that goes up and down by so much in quarters of an hour."""
    random = Random(5)
    samples = Samples()
    for look in range(int(HALF_AN_HOUR / 5)):
        row: dict[str, float] = {}
        for name in limits(2, HALF_AN_HOUR):
            usual = HEALTHY.get(name.partition(": ")[2], HEALTHY.get(name, 20.0))
            row[name] = usual + random.gauss(0, 0.01 * usual)
            row[name] += (leak * look / 720) * (name == leaking)
            row[name] += height * (look % 180 / 180) * (name == waves)
        samples.add(5.0 * look, row)
    verdicts = judge(samples, warm_up(HALF_AN_HOUR), limits(2, HALF_AN_HOUR))
    return {each.name for each in verdicts if each.grows}


def test_healthy() -> None:
    """Of numbers that go up and down by one in a hundred nothing grows."""
    assert half_an_hour() == set()


def test_waves() -> None:
    """Locks of requests that only the sweep would remove do not pass for healthy."""
    assert half_an_hour(waves="locks of requests", height=110.0) == {"locks of requests"}


@pytest.mark.parametrize(
    ("series", "by_the_hour"),
    [
        # Those of half of the requests that clouds serve from no stock.
        ("locks of requests", 600.0),
        ("server: znodes", 400.0),
        # One record of a request, of 0.9 kB, is kept of all that are seen.
        ("launcher 2: memory", 20 * 3600 * 900.0),
        ("launcher 1: open files", 12.0),
        ("launcher 1: delayed calls", 24.0),
        ("launcher 2: watches", 12.0),
        ("launcher 1: threads", 6.0),
        ("leases", 40.0),
    ],
)
def test_slow_leak(series: str, by_the_hour: float) -> None:
    """What leaks slowly is named, and nothing else is."""
    assert half_an_hour(series, by_the_hour) == {series}


def test_short_run() -> None:
    """Leases are judged only if as many can have gone as have come."""
    assert "leases" in limits(2, HALF_AN_HOUR)
    assert "leases" not in limits(2, 12 * 60.0)
    assert warm_up(HALF_AN_HOUR) == 660.0
    assert warm_up(12.0) == 6.0
