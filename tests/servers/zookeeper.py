"""Real Apache ZooKeeper servers on loopback, from Debian's ``zookeeper`` package.

:func:`shared_server` and :func:`shared_ensemble` start lazily, serve the whole
test process and end with it, whatever happens: the children die with their
parent (``PR_SET_PDEATHSIG``), and an exit handler removes their files.  Tests
keep apart by using a chroot each.

Everything here blocks; call what takes long through ``deferToThread``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kazoo.protocol.serialization import Connect

from tests.servers.certificates import Authority

__all__ = [
    "Ensemble",
    "ServerMissing",
    "ZookeeperServer",
    "end_session",
    "free_ports",
    "shared_authority",
    "shared_ensemble",
    "shared_server",
]

_JARS = Path("/usr/share/java")
_NETTY = ("common", "buffer", "codec", "handler", "resolver", "transport")
_CLASSPATH = (
    "zookeeper.jar",
    "zookeeper-jute.jar",
    "slf4j-api.jar",
    "slf4j-log4j12.jar",
    "log4j-1.2.jar",
    "metrics-core.jar",
    "snappy-java.jar",
    "commons-cli.jar",
    *(f"netty-{part}.jar" for part in _NETTY),
    "netty-transport-native-epoll.jar",
    "netty-transport-native-unix-common.jar",
)
_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_LOGGING = """\
log4j.rootLogger=WARN, C
log4j.appender.C=org.apache.log4j.ConsoleAppender
log4j.appender.C.layout=org.apache.log4j.PatternLayout
log4j.appender.C.layout.ConversionPattern=%d %p %c{1} - %m%n
"""
#: Quick to start, light on memory and on the disk.
_JVM = (
    "-Xms32m",
    "-Xmx192m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Dzookeeper.forceSync=no",
    "-Dzookeeper.preAllocSize=256",
    "-Dzookeeper.jmx.log4j.disable=true",
)
_START_TIMEOUT = 60.0


class ServerMissing(Exception):
    """There is no ZooKeeper server on this machine; says what to install."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _command(directory: Path, jvm: Sequence[str]) -> list[str]:
    java = shutil.which("java")
    missing = [name for name in _CLASSPATH if not (_JARS / name).exists()]
    if java is None or missing:
        what = ", ".join(missing) if java else "java"
        raise ServerMissing(
            f"no ZooKeeper server here ({what} not found): apt-get install zookeeper"
        )
    classpath = ":".join([str(directory), *(str(_JARS / name) for name in _CLASSPATH)])
    return [java, "-cp", classpath, *jvm, _MAIN, "zoo.cfg"]


class ZookeeperServer:
    """One server process with a plain and a TLS client port.

    :param data: an empty directory for all that it keeps; one of its own without.
    :ivar port: of plain clients; :ivar tls_port: of those with certificates.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        number: int = 0,
        ports: tuple[int, int] | None = None,
        members: Sequence[str] = (),
        jvm: Sequence[str] = _JVM,
        data: Path | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="zookeeper-test-"))
        atexit.register(self.stop)
        self.port, self.tls_port = ports or free_ports(2)
        self._jvm = jvm
        self._process: subprocess.Popen[bytes] | None = None
        data = data or self.directory / "data"
        data.mkdir(exist_ok=True)
        self.data = data
        (data / "myid").write_text(f"{number}\n")
        (self.directory / "log4j.properties").write_text(_LOGGING)
        keystore = authority.keystore(self.directory / "server.pem")
        settings = [
            "tickTime=400",
            "initLimit=20",
            "syncLimit=10",
            "minSessionTimeout=800",
            "maxSessionTimeout=60000",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "4lw.commands.whitelist=*",
            f"dataDir={data}",
            f"clientPort={self.port}",
            "clientPortAddress=127.0.0.1",
            f"secureClientPort={self.tls_port}",
            "secureClientPortAddress=127.0.0.1",
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
            f"ssl.keyStore.location={keystore}",
            "ssl.keyStore.type=PEM",
            f"ssl.trustStore.location={authority.ca}",
            "ssl.trustStore.type=PEM",
            *members,
        ]
        (self.directory / "zoo.cfg").write_text("\n".join(settings) + "\n")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def tls_address(self) -> str:
        return f"127.0.0.1:{self.tls_port}"

    @property
    def pid(self) -> int:
        """The process id; 0 while it is not started."""
        return self._process.pid if self._process is not None else 0

    @property
    def log(self) -> str:
        return (self.directory / "zookeeper.log").read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Its process has not ended; it may be frozen."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; :meth:`wait_ready` says when it serves."""
        with (self.directory / "zookeeper.log").open("ab") as log:
            self._process = subprocess.Popen(
                _command(self.directory, self._jvm),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def ask(self, word: str) -> str:
        """Say one of ZooKeeper's four letter words; empty if nobody answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as connection:
                connection.sendall(word.encode())
                return b"".join(iter(lambda: connection.recv(4096), b"")).decode()
        except OSError:
            return ""

    def mode(self) -> str:
        """``standalone``, ``leader``, ``follower``; empty while it does not serve."""
        for line in self.ask("srvr").splitlines():
            if line.startswith("Mode: "):
                return line[6:]
        return ""

    def wait_ready(self) -> None:
        """Block until the server serves.

        :raises RuntimeError: it ended, or took too long; with its log.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while not self.mode():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"ZooKeeper did not start:\n{self.log}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the process without warning (SIGKILL)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the process in its tracks; its sockets stay open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the process and remove its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.stop)


class Ensemble:
    """Servers that form a quorum.

    :param data: directories for what some of them keep, by index.
    """

    def __init__(
        self, authority: Authority, size: int = 3, data: Mapping[int, Path] | None = None
    ) -> None:
        ports = free_ports(4 * size)
        members = [
            f"server.{number}=127.0.0.1:{ports[4 * number]}:{ports[4 * number + 1]}"
            for number in range(size)
        ]
        self.servers = [
            ZookeeperServer(
                authority,
                number=number,
                ports=(ports[4 * number + 2], ports[4 * number + 3]),
                members=members,
                data=(data or {}).get(number),
            )
            for number in range(size)
        ]

    @property
    def address(self) -> str:
        return ",".join(server.address for server in self.servers)

    def start(self) -> None:
        for server in self.servers:
            server.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Block until every member serves."""
        for server in self.servers:
            server.wait_ready()

    def leader(self) -> int:
        """The index of the member that leads."""
        return [server.mode() for server in self.servers].index("leader")

    def kill(self, index: int) -> None:
        self.servers[index].kill()

    def restart(self, index: int) -> None:
        """Start a killed member again; :meth:`wait_ready` says when it serves."""
        self.servers[index].start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


@functools.cache
def shared_authority() -> Authority:
    """The certificate authority all shared servers trust."""
    directory = Path(tempfile.mkdtemp(prefix="zookeeper-test-ca-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return Authority(directory)


@functools.cache
def shared_server() -> ZookeeperServer:
    """A single server for everybody, started by whoever asks first."""
    server = ZookeeperServer(shared_authority())
    server.start()
    server.wait_ready()
    return server


@functools.cache
def shared_ensemble() -> Ensemble:
    """Three servers for everybody; leave them all running and in good health."""
    ensemble = Ensemble(shared_authority())
    ensemble.start()
    return ensemble


def end_session(port: int, session_id: int, password: bytes) -> None:
    """Close somebody's session from a connection of our own, as if it had expired.

    Both requests leave together: taking the session over cuts its owner off,
    who would otherwise come back and cut us off.
    """
    greeting = bytes(Connect(0, 0, 10_000, session_id, password, False).serialize())
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(
            struct.pack("!i", len(greeting)) + greeting + struct.pack("!iii", 8, 1, -11)
        )
        connection.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(4096):
                pass
