"""A real soak of seconds: two launchers, of which one is made to keep files open."""

from __future__ import annotations

import pathlib
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from nodepool_tx.store import paths
from proof.soak.real.looks import metric, process, server
from proof.soak.real.part import found
from proof.soak.real.run import RealSoak, Settings

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
            """A stream of events of the first launcher, and znodes."""
            farm = soaking.farm
            visitor = farm.members[0].visitor
            left.append(Deferred.fromCoroutine(visitor.connect()))
            for _ in range(5):
                farm.steward.create(f"{paths.TENANTS}/left-", sequence=True)

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
        self.assertIn("server: znodes", growing)


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
