"""Starts launchers, ours and Nodepool 11's, and looks at what they cost.

Both are started in the same way: in the foreground, with one `nodepool.yaml` that both
understand, their logs in a file.  The commands are :data:`REFERENCE` and :data:`OURS`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
import yaml

from benchmarks.cached_venvs import NODEPOOL, environment
from nodepool_tx.txzookeeper.tls import TLSFiles
from tests.servers.certificates import Authority
from tests.servers.zookeeper import ZookeeperServer

STOP_TIMEOUT = 15.0
CHECKOUT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Endpoint:
    """A ZooKeeper's TLS port and what a client needs to be let in."""

    host: str
    port: int
    ca: Path
    cert: Path
    key: Path
    server: ZookeeperServer
    """Who serves it, for whoever wants to look at what the server has done."""

    @classmethod
    def of(cls, server: ZookeeperServer, files: TLSFiles) -> Endpoint:
        """The endpoint of a test's server, for a client with these files."""
        paths = (Path(files.ca), Path(files.cert), Path(files.key))
        return cls("127.0.0.1", server.tls_port, *paths, server)

    def context(self) -> ssl.SSLContext:
        """TLS for a client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(str(self.ca))
        context.load_cert_chain(str(self.cert), str(self.key))
        return context

    def settings(self) -> dict[str, Any]:
        """The keys of a `nodepool.yaml` that lead here."""
        return {
            "zookeeper-servers": [{"host": self.host, "port": self.port}],
            "zookeeper-tls": {"cert": str(self.cert), "key": str(self.key), "ca": str(self.ca)},
        }


_LOG_REQUESTS = "log4j.logger.org.apache.zookeeper.server.FinalRequestProcessor=DEBUG\n"


@contextlib.contextmanager
def zookeeper(log_requests: bool = False) -> Iterator[Endpoint]:
    """A ZooKeeper with TLS as it comes from Debian, with room for many nodes.

    :param log_requests: let the server's log name every request, which makes it slower.
    """
    with tempfile.TemporaryDirectory(prefix="nodepool-tls-") as folder:
        authority = Authority(Path(folder))
        server = ZookeeperServer(authority, jvm=("-Xmx1g", "-Dzookeeper.jmx.log4j.disable=true"))
        if log_requests:
            with (server.directory / "log4j.properties").open("a") as settings:
                settings.write(_LOG_REQUESTS)
        try:
            server.start()
            server.wait_ready()
            _wait_for_port(server.tls_port)
            yield Endpoint.of(server, authority.client())
        finally:
            server.stop()


def _wait_for_port(port: int) -> None:
    """The server opens its TLS port a moment after the plain one."""
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f"ZooKeeper does not listen on its TLS port {port}")


@attrs.frozen
class StaticNodes:
    """So many static nodes with one label, each at a loopback address of its own.

    With `probe_port` a node counts as alive when that port accepts a connection, which a
    launcher tries before it hands the node out; without it nothing is contacted.
    """

    label: str
    count: int
    probe_port: int | None = None
    first: int = 0

    def entries(self) -> list[dict[str, Any]]:
        """The pool's `nodes`."""
        reach: dict[str, Any]
        if self.probe_port is None:
            reach = {"host-key-checking": False}
        else:
            reach = {"connection-type": "winrm", "connection-port": self.probe_port}
        return [
            {"name": address(index), "labels": [self.label], "username": "zuul", **reach}
            for index in range(self.first, self.first + self.count)
        ]


def address(index: int) -> str:
    """The loopback address of the node with this index, from 0 to 64,999."""
    return f"127.1.{index // 250}.{index % 250 + 1}"


def configuration(
    endpoint: Endpoint,
    nodes: Iterable[StaticNodes],
    provider: str = "rack",
    priority: int | None = None,
) -> dict[str, Any]:
    """A `nodepool.yaml` with one static provider with one pool."""
    groups = list(nodes)
    section: dict[str, Any] = {
        "name": provider,
        "driver": "static",
        "pools": [{"name": "main", "nodes": [n for group in groups for n in group.entries()]}],
    }
    if priority is not None:
        section["priority"] = priority
    labels = list(dict.fromkeys(group.label for group in groups))
    return {
        **endpoint.settings(),
        "webapp": {"port": 0, "listen_address": "127.0.0.1"},
        "labels": [{"name": label} for label in labels],
        "providers": [section],
    }


@attrs.frozen
class Daemon:
    """A launcher program: how it is called here, and its command line."""

    name: str
    command: Callable[[Path, Path], list[str]]
    """From the config file and an empty folder for the program's own use."""


def _reference(config: Path, state: Path) -> list[str]:
    launcher = environment(NODEPOOL) / "nodepool-launcher"
    return [str(launcher), "-f", "--no-webapp", "-c", str(config)]


def _ours(config: Path, state: Path, *, web: bool = False) -> list[str]:
    twistd = Path(sys.executable).parent / "twistd"
    return [
        *(str(twistd), "--nodaemon", "--pidfile="),
        *("nodepool", "--config", str(config), "--state-dir", str(state)),
        *(() if web else ("--no-webapp",)),
    ]


def ours_within(
    program: str, notes: str, *, web: bool = False
) -> Callable[[Path, Path], list[str]]:
    """Ours, run by a program of the benchmark that writes notes into the state folder."""

    def command(config: Path, state: Path) -> list[str]:
        return [
            sys.executable,
            "-m",
            program,
            str(state / notes),
            *_ours(config, state, web=web)[1:],
        ]

    return command


PASSES = "passes"
TURNS = "turns"
REFERENCE = Daemon("Nodepool 11", _reference)
OURS = Daemon("nodepool_tx", _ours)
OUR_CLIENT = Daemon(
    "its client alone",
    lambda config, state: [sys.executable, "-m", "benchmarks.replayed", str(config)],
)
"""No launcher: the least it could do, done with our ZooKeeper client."""
OURS_TIMED = Daemon("nodepool_tx", ours_within("benchmarks.timed_passes", PASSES))
"""Ours, with the length of each pass noted in the file `passes` in its state folder."""
OURS_TURNS = Daemon("nodepool_tx", ours_within("benchmarks.timed_turns", TURNS))
"""Ours, with each long turn of its reactor noted in the file `turns` there."""


class Died(Exception):
    """The launcher ended by itself; the text holds the end of its log."""


@attrs.frozen
class Usage:
    """What a process has used: CPU seconds so far, and resident memory in bytes."""

    cpu: float
    resident: int


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processors so far, user and system."""
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / _TICKS


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Launcher:
    """A running launcher.  A context manager: leaving it stops the process."""

    def __init__(
        self,
        daemon: Daemon,
        config: Mapping[str, Any],
        folder: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.daemon = daemon
        folder.mkdir(parents=True)
        self.state = folder / "state"
        self.state.mkdir()
        self.config = folder / "nodepool.yaml"
        self.write(config)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.started = time.perf_counter()
            self._process = subprocess.Popen(
                daemon.command(self.config, self.state),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=CHECKOUT,
                env={**os.environ, **(environ or {})},
                preexec_fn=_die_with_parent,
            )

    def write(self, config: Mapping[str, Any]) -> None:
        """Replace the config file."""
        new = self.config.with_suffix(".new")
        new.write_text(yaml.dump(dict(config), Dumper=yaml.CSafeDumper, sort_keys=False))
        new.replace(self.config)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def check(self) -> None:
        """:raises Died: if the process has ended."""
        if self._process.poll() is not None:
            raise Died(
                f"{self.daemon.name} ended with {self._process.returncode}:\n{self.log_end()}"
            )

    def log_end(self, size: int = 4000) -> str:
        """The last bytes of its log, as text."""
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def usage(self) -> Usage:
        """What it uses now.  :raises Died: if it has ended."""
        self.check()
        cpu = cpu_seconds(self.pid)
        status = Path(f"/proc/{self.pid}/status").read_text()
        (resident,) = (
            int(line.split()[1]) * 1024 for line in status.splitlines() if line[:6] == "VmRSS:"
        )
        return Usage(cpu, resident)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it; kill it where it does not go within :data:`STOP_TIMEOUT` seconds."""
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
