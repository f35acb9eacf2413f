"""The demonstration's machines: SSH servers on loopback with keys of their own."""

from __future__ import annotations

import getpass
import os
import pathlib
import shutil
import subprocess
import time

import attrs

from demo.places import DEMO, descendants, end, free_port, make_key, running

__all__ = ["IDENTITY", "Machine", "machines", "start", "stop"]

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")

#: The key that logs in to all of them.
IDENTITY = DEMO / "ssh" / "login-key"


@attrs.frozen
class Machine:
    """One SSH server.

    :ivar key: its public host key, as in known_hosts.
    """

    host: str
    port: int
    key: str


def _directory(host: str) -> pathlib.Path:
    return DEMO / "ssh" / host


def _config(host: str) -> pathlib.Path:
    return _directory(host) / "sshd_config"


def _pids(host: str) -> list[int]:
    return running("sshd", f"-f {_config(host)} ")


def _sshd() -> str:
    return shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin") or "/usr/sbin/sshd"


def _port(host: str) -> int:
    """The port used before if it is free, or another."""
    remembered = _directory(host) / "port"
    try:
        wanted = int(remembered.read_text())
    except (OSError, ValueError):
        wanted = 0
    port = free_port(host, wanted)
    remembered.write_text(f"{port}\n")
    return port


def _locked_root() -> bool:
    """A root without a password is let in by PAM only."""
    if os.getuid() != 0:
        return False
    answer = subprocess.run(["passwd", "-S", "root"], capture_output=True, text=True)
    return answer.stdout.split()[1:2] == ["L"]


def _start(host: str) -> None:
    directory = _directory(host)
    directory.mkdir(parents=True, exist_ok=True)
    make_key(directory / "host-key")
    lines = (
        f"ListenAddress {host}:{_port(host)}",
        f'HostKey "{directory / "host-key"}"',
        f'AuthorizedKeysFile "{IDENTITY}.pub"',
        f"UsePAM {'yes' if _locked_root() else 'no'}",
        "PidFile none",
        "StrictModes no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
    )
    _config(host).write_text("\n".join(lines) + "\n")
    log = directory / "log"
    log.unlink(missing_ok=True)
    # It leaves for the background when it listens, or says why it cannot.
    subprocess.run([_sshd(), "-f", str(_config(host)), "-E", str(log)], check=False)
    deadline = time.monotonic() + 5
    while "Server listening on" not in (text := log.read_text() if log.exists() else ""):
        if time.monotonic() > deadline:
            raise SystemExit(f"demo: sshd does not start on {host}: {text.strip()}")
        time.sleep(0.01)


def machines() -> list[Machine]:
    """What :func:`start` has started."""
    found = []
    for host in HOSTS:
        port = int((_directory(host) / "port").read_text())
        key = " ".join((_directory(host) / "host-key.pub").read_text().split()[:2])
        found.append(Machine(host, port, key))
    return found


def start() -> int:
    """Start those that do not run; how many that were."""
    IDENTITY.parent.mkdir(parents=True, exist_ok=True)
    make_key(IDENTITY)
    if os.getuid() == 0:
        # Where sshd locks itself in before a login; the package's own start makes it.
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    missing = [host for host in HOSTS if not _pids(host)]
    for host in missing:
        _start(host)
    return len(missing)


def stop() -> int:
    """End them all, and the logins that are open; how many there were."""
    listeners = [pid for host in HOSTS for pid in _pids(host)]
    sessions = [process for pid in listeners for process in descendants(pid)]
    end(listeners + sessions, 3.0)
    return len(listeners)


def username() -> str:
    """Who logs in: the user that runs this."""
    return getpass.getuser()
