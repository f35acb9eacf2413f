"""A running launcher tells statsd and Prometheus what it does."""

from __future__ import annotations

import pathlib
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.threads import deferToThread

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider
from tests.servers.zookeeper import free_ports


class MetricsTests(Scene):
    """One launcher with one machine of two slots."""

    async def start(self, **environ: str) -> int:
        """A launcher at work; the port of its web server."""
        (port,) = free_ports(1)
        config = {
            **configuration(provider("rack", host("fake-1", "small", jobs=2))),
            "webapp": {"port": port, "listen_address": "127.0.0.1"},
        }
        environ = {"NODEPOOL_STATS_INTERVAL": "0.2", **environ}
        await self.serving(self.at_server(config), environ=environ)
        return port

    async def scrape(self, port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """What Prometheus would see."""

        def read() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain")
                text: str = answer.read().decode()
                return text

        text = await deferToThread(read)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def test_prometheus(self) -> None:
        """Nodes, requests, ZooKeeper, the reactor and the process, at /metrics."""
        port = await self.start()
        requester = await self.requester()
        await requester.ask("small")
        await self.until("the request was counted", lambda: self._has_served(port))
        seen = await self.scrape(port)
        ready = {("provider", "rack"), ("pool", "main"), ("state", "ready")}
        self.assertEqual(seen["nodepool_nodes", frozenset(ready)], 2)
        self.assertEqual(seen["nodepool_store_current", frozenset()], 1)
        self.assertEqual(seen["nodepool_zookeeper_state", frozenset({("state", "connected")})], 1)
        answers = seen["nodepool_zookeeper_request_seconds_count", frozenset()]
        self.assertGreater(answers, 10)
        largest = seen["nodepool_zookeeper_request_seconds_bucket", frozenset({("le", "+Inf")})]
        self.assertEqual(largest, answers)
        self.assertGreater(seen["nodepool_zookeeper_watches", frozenset()], 0)
        self.assertGreater(seen["process_resident_memory_bytes", frozenset()], 1e7)
        self.assertEqual(seen["nodepool_reloads_total", frozenset({("result", "full")})], 1)

        await self.until("the reactor was looked at", lambda: self._has_looked(port))

    async def _has_looked(self, port: int) -> bool:
        seen = await self.scrape(port)
        return seen["nodepool_reactor_lag_seconds_count", frozenset()] > 0

    async def _has_served(self, port: int) -> bool:
        seen = await self.scrape(port)
        key = frozenset({("provider", "rack"), ("pool", "main"), ("result", "fulfilled")})
        return seen.get(("nodepool_requests_ended_total", key)) == 1

    async def test_statsd(self) -> None:
        """Gauges arrive again and again, in datagrams of a size that fits everywhere."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.setblocking(False)
            where = {"STATSD_HOST": "localhost", "STATSD_PORT": str(server.getsockname()[1])}
            await self.start(**where)
            datagrams: list[bytes] = []

            def arrived() -> bool:
                try:
                    while True:
                        datagrams.append(server.recv(65536))
                except BlockingIOError:
                    lines = [line for each in datagrams for line in each.split(b"\n")]
                    return lines.count(b"nodepool.provider.rack.nodes.ready:2|g") > 2

            await self.until("statsd has heard of the nodes", arrived)
            self.assertLessEqual(max(map(len, datagrams)), 1432)

    async def test_nobody_listens(self) -> None:
        """A statsd server that is not there costs one line in the log, and nothing else."""
        (nobodys,) = free_ports(1)
        port = await self.start(STATSD_HOST="127.0.0.1", STATSD_PORT=str(nobodys))
        (launcher,) = self.launchers
        await self.until("it is said", lambda: "gets no statistics" in launcher.log)
        requester = await self.requester()
        await requester.ask("small")
        await self.until("the request was counted", lambda: self._has_served(port))
        self.assertEqual(launcher.log.count("gets no statistics"), 1)


@pytest.fixture
def launcher(tmp_path: pathlib.Path) -> Iterator[LauncherProcess]:
    launcher = LauncherProcess(tmp_path / "launcher", environ={"STATSD_PORT": "http"})
    launcher.write(configuration(provider("rack", host("fake-1", "small"))))
    yield launcher
    launcher.leave_nothing()


def test_no_port(launcher: LauncherProcess) -> None:
    """A port that is none is told of before anything starts."""
    launcher.start()
    assert launcher.wait() == 1
    assert "STATSD_PORT: 'http' is not the number of a port" in launcher.log
    assert "Traceback" not in launcher.log
