"""The files of an embedded ZooKeeper below a state directory.

::

    STATE_DIR/lock                      held while a service uses the directory
    STATE_DIR/zookeeper.json            where ZooKeeper listens, while it does
    STATE_DIR/zookeeper/port            the port, kept over restarts
    STATE_DIR/zookeeper/zoo.cfg         written anew at each start
    STATE_DIR/zookeeper/log4j.properties
    STATE_DIR/zookeeper/zookeeper.log   at most four files of 5 MB
    STATE_DIR/zookeeper/data/           snapshots and transaction logs
"""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import random
import socket

import attrs

__all__ = [
    "HOST",
    "Layout",
    "Lock",
    "StateDirBusy",
    "pick_port",
    "port_is_free",
    "write_atomically",
]

#: Where it listens: for this machine only.
HOST = "127.0.0.1"

#: Ports to choose from; below those that outgoing connections are given.
_PORTS = range(20000, 32000)

_ZOO_CFG = """\
dataDir={data}
clientPort={port}
clientPortAddress={host}
# Sessions end within a tick of their timeout.  Milliseconds.
tickTime=500
minSessionTimeout=1000
maxSessionTimeout=120000
# All clients come from one address.
maxClientCnxns=0
# What was answered is on disk.
syncEnabled=true
forceSync=yes
preAllocSize=8192
autopurge.snapRetainCount=3
autopurge.purgeInterval=1
admin.enableServer=false
4lw.commands.whitelist=conf,srvr
"""

_LOG4J = """\
log4j.rootLogger=INFO, F
log4j.logger.org.apache.zookeeper.server.NIOServerCnxn=WARN
log4j.logger.org.apache.zookeeper.server.command.FourLetterCommands=WARN
log4j.appender.F=org.apache.log4j.RollingFileAppender
log4j.appender.F.File={log}
log4j.appender.F.MaxFileSize=5MB
log4j.appender.F.MaxBackupIndex=3
log4j.appender.F.layout=org.apache.log4j.PatternLayout
log4j.appender.F.layout.ConversionPattern=%d{{ISO8601}} %-5p %c{{1}}: %m%n
"""


class StateDirBusy(Exception):
    """Another service uses the state directory; the text is for an operator."""


def _real_path(path: str | os.PathLike[str]) -> pathlib.Path:
    return pathlib.Path(path).resolve()


@attrs.frozen
class Layout:
    """Where things are.

    :ivar state_dir: the service's state directory, absolute and without
        symbolic links: however it is spelled, it is the same one.
    """

    state_dir: pathlib.Path = attrs.field(converter=_real_path)

    @property
    def lock_file(self) -> pathlib.Path:
        return self.state_dir / "lock"

    @property
    def location_file(self) -> pathlib.Path:
        return self.state_dir / "zookeeper.json"

    @property
    def directory(self) -> pathlib.Path:
        return self.state_dir / "zookeeper"

    @property
    def port_file(self) -> pathlib.Path:
        return self.directory / "port"

    @property
    def config_file(self) -> pathlib.Path:
        return self.directory / "zoo.cfg"

    @property
    def log_config_file(self) -> pathlib.Path:
        return self.directory / "log4j.properties"

    @property
    def log_file(self) -> pathlib.Path:
        return self.directory / "zookeeper.log"

    @property
    def data_dir(self) -> pathlib.Path:
        return self.directory / "data"

    def create(self) -> None:
        """Make the directories that are missing.

        The state directory is readable for all, so that other users' clients
        find the server; what the server stores is not.

        :raises OSError: it is not possible.
        """
        if not self.state_dir.is_dir():
            self.state_dir.mkdir(parents=True)
            self.state_dir.chmod(0o755)
        for directory in (self.directory, self.data_dir):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o700)

    def write_config(self, port: int) -> None:
        """Write ZooKeeper's configuration and that of its log."""
        config = _ZOO_CFG.format(data=_as_property(self.data_dir), port=port, host=HOST)
        write_atomically(self.config_file, config, 0o600)
        log_config = _LOG4J.format(log=_as_property(self.log_file))
        write_atomically(self.log_config_file, log_config, 0o600)

    def remembered_port(self) -> int | None:
        """The port of the last start; None if there was none that makes sense."""
        try:
            port = int(self.port_file.read_text())
        except (OSError, ValueError):
            return None
        return port if 0 < port < 65536 else None

    def remember_port(self, port: int) -> None:
        """Keep the port for the next start."""
        write_atomically(self.port_file, f"{port}\n", 0o644)

    def log_tail(self, lines: int = 8) -> list[str]:
        """The last lines of ZooKeeper's log; none when it cannot be read."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 8192))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line[:200] for line in text.splitlines()[-lines:]]


def _as_property(path: pathlib.Path) -> str:
    """A path as Java's property files want it."""
    units = str(path).encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    plain = frozenset(range(0x20, 0x7F)) - {ord("\\"), ord("$")}
    return "".join(chr(code) if code in plain else f"\\u{code:04x}" for code in codes)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on the port of loopback now."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
        return True


def pick_port(rng: random.Random) -> int:
    """A port that is free now."""
    for _ in range(100):
        port = rng.choice(_PORTS)
        if port_is_free(port):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {_PORTS.start} and {_PORTS.stop}")


def write_atomically(path: pathlib.Path, text: str, mode: int) -> None:
    """Readers see the old text or the new one, never something between."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)


class Lock:
    """One service per state directory; the kernel lets go when the process ends.

    :raises StateDirBusy: another process holds it.
    """

    def __init__(self, layout: Layout) -> None:
        self._file = layout.lock_file.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(20).strip() or "unknown"
            self._file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise StateDirBusy(
                f"the state directory {layout.state_dir} is used by process {holder};"
                " stop that one or use another --state-dir"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others in."""
        self._file.close()
