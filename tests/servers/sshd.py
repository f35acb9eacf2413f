"""Throw-away OpenSSH servers on loopback, with logins that a real client can use.

    with SshServers(directory) as servers:
        server = servers.start(key_types=("ed25519",))
        subprocess.run([*server.ssh_command(), "true"], check=True)

Nothing of the machine's own SSH set-up is read or written.  Every server runs
in the foreground as a child of this process and dies with it, however it
ends; :meth:`SshServer.stop` also ends the logins that are still open.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import getpass
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import attrs

__all__ = ["KEY_TYPES", "SshServer", "SshServers"]

#: What a fresh Debian server has.
KEY_TYPES = ("ed25519", "ecdsa", "rsa")

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@attrs.define(eq=False)
class SshServer:
    """One running sshd.

    :ivar keys: its public host keys as ``"<type> <base64>"``, in the order of
        ``key_types``.
    :ivar identity: the private key that logs in as :attr:`username`.
    """

    host: str
    port: int
    keys: tuple[str, ...]
    username: str
    identity: pathlib.Path
    directory: pathlib.Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """All the server has logged."""
        return (self.directory / "log").read_text(errors="replace")

    @property
    def known_hosts(self) -> pathlib.Path:
        """A known_hosts file with exactly this server's keys."""
        path = self.directory / "known_hosts"
        path.write_text("".join(f"[{self.host}]:{self.port} {key}\n" for key in self.keys))
        return path

    def ssh_command(self) -> list[str]:
        """A command line that logs in, host key checked; append what to run there."""
        options = (
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "ConnectTimeout=10",
        )
        settings = [word for option in options for word in ("-o", option)]
        where = ["-p", str(self.port), f"{self.username}@{self.host}"]
        return ["ssh", "-F", "/dev/null", "-i", str(self.identity), *settings, *where]

    def running_connections(self) -> list[int]:
        """The processes that serve a connection now."""
        return _descendants(self.process.pid)

    def kill(self) -> None:
        """Kill the server and all its connections at once, as a power cut would."""
        family = [self.process.pid, *_descendants(self.process.pid)]
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """End the server and all its connections; nothing of it runs afterwards."""
        if self.process.poll() is None:
            connections = _descendants(self.process.pid)
            self.process.terminate()
            for pid in connections:
                _signal(pid, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
            for pid in connections:
                _signal(pid, signal.SIGKILL)


class SshServers:
    """Starts servers and stops all of them when it is left.

    :param directory: where keys, configurations and logs go.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.servers: list[SshServer] = []
        self._identity: pathlib.Path | None = None
        if os.getuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)

    def __enter__(self) -> SshServers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @contextlib.contextmanager
    def running(self, **settings: Any) -> Iterator[SshServer]:
        """A server for a ``with`` block; takes what :meth:`start` takes."""
        server = self.start(**settings)
        try:
            yield server
        finally:
            server.stop()

    def start(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        key_types: Sequence[str] = KEY_TYPES,
        options: Sequence[str] = (),
    ) -> SshServer:
        """Start one server with keys of its own.

        :param host: the address to listen on; all of 127.0.0.0/8 is there.
        :param port: the TCP port; 0 takes a free one.
        :param key_types: ssh-keygen types; ``ecdsa-384`` is ecdsa with a size.
        :param options: further lines for its sshd_config.
        """
        directory = self.directory / f"sshd-{len(self.servers)}"
        directory.mkdir(parents=True)
        key_files = [_generate(directory, key_type) for key_type in key_types]
        for _ in range(5):
            chosen = port or _free_port(host)
            process = self._spawn(directory, host, chosen, key_files, options)
            if _listens(process, directory / "log"):
                break
            process.kill()
            process.wait(5)
        else:
            raise RuntimeError((directory / "log").read_text())
        server = SshServer(
            host=host,
            port=chosen,
            keys=tuple(_public(path) for path in key_files),
            username=getpass.getuser(),
            identity=self.identity,
            directory=directory,
            process=process,
        )
        self.servers.append(server)
        return server

    @property
    def identity(self) -> pathlib.Path:
        """The private key that logs in to all of them."""
        if self._identity is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._identity = _generate(self.directory, "ed25519")
        return self._identity

    def stop(self) -> None:
        """Stop them all."""
        for server in self.servers:
            server.stop()

    def _spawn(
        self,
        directory: pathlib.Path,
        host: str,
        port: int,
        key_files: Sequence[pathlib.Path],
        options: Sequence[str],
    ) -> subprocess.Popen[bytes]:
        lines = [
            f"ListenAddress {f'[{host}]' if ':' in host else host}:{port}",
            *(f"HostKey {path}" for path in key_files),
            "PidFile none",
            f"AuthorizedKeysFile {self.identity}.pub",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "UseDNS no",
            "LogLevel VERBOSE",
        ]
        config = directory / "sshd_config"
        # The first mention of an option counts.
        config.write_text("\n".join([*options, *lines, *_no_penalties()]) + "\n")
        log = directory / "log"
        log.unlink(missing_ok=True)
        return subprocess.Popen(
            [_sshd(), "-D", "-f", str(config), "-E", str(log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )


def _sshd() -> str:
    path = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise RuntimeError("no sshd found: install the package openssh-server")
    return path


@functools.cache
def _no_penalties() -> tuple[str, ...]:
    """OpenSSH 9.8 and newer shut out who scans keys often; older ones know no such option."""
    answer = subprocess.run([_sshd(), "-V"], capture_output=True, text=True)
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", answer.stderr + answer.stdout)
    if version is None:
        raise RuntimeError(f"no version in {answer.stderr!r}")
    modern = (int(version[1]), int(version[2])) >= (9, 8)
    return ("PerSourcePenalties no",) if modern else ()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _generate(directory: pathlib.Path, key_type: str) -> pathlib.Path:
    name, _, bits = key_type.partition("-")
    if name == "rsa" and not bits:
        bits = "2048"
    path = directory / f"key-{key_type}"
    size = ["-b", bits] if bits else []
    subprocess.run(
        ["ssh-keygen", "-q", "-t", name, *size, "-N", "", "-C", "", "-f", str(path)], check=True
    )
    return path


def _public(path: pathlib.Path) -> str:
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(process: subprocess.Popen[bytes], log: pathlib.Path) -> bool:
    """Wait for the server's own word that it listens; False if it could not."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and "Server listening on" in log.read_text():
            return True
        time.sleep(0.01)
    return False


def _descendants(pid: int) -> list[int]:
    """All living processes below ``pid``, nearest first."""
    children: dict[int, list[int]] = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(children.get(pid, ()))
    for child in found:
        found.extend(children.get(child, ()))
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
