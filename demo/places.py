"""Where the demonstration keeps its things, and what of it runs.

All is below ``.demo`` in the checkout, or where ``NODEPOOL_DEMO_DIR`` says.
"""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import time

__all__ = [
    "DEMO",
    "ROOT",
    "USUAL",
    "descendants",
    "end",
    "free_port",
    "listens",
    "make_key",
    "running",
]

ROOT = pathlib.Path(__file__).resolve().parent.parent
USUAL = ROOT / ".demo"
DEMO = pathlib.Path(os.environ.get("NODEPOOL_DEMO_DIR") or USUAL).absolute()


def running(*words: str) -> list[int]:
    """Processes whose command line contains all of these.

    A process is told by what it was started with, not by a number in a file:
    numbers are given to others when the machine was restarted.
    """
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        line = " ".join(line.split("\0"))
        if all(word in line for word in words):
            found.append(int(entry.name))
    return sorted(found)


def descendants(pid: int) -> list[int]:
    """Processes that ``pid`` started, and those that they did."""
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    found = [int(word) for word in text.split()]
    return found + [below for child in found for below in descendants(child)]


def free_port(host: str, *wanted: int) -> int:
    """The first of these that is free on an address, or any."""
    for port in (*wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise SystemExit(f"demo: no port is free on {host}")


def listens(pid: int, port: int) -> bool:
    """Whether a process of this user listens on a port, and not another one."""
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}")}
    try:
        files = [os.readlink(entry) for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return not sockets.isdisjoint(files)


def make_key(path: pathlib.Path, comment: str = "") -> None:
    """A key of SSH, for this user only, unless it is there already."""
    if not path.exists():
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
        subprocess.run(words, check=True)


def _alive(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def end(pids: list[int], patience: float) -> None:
    """Ask processes to end, and insist after ``patience`` seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + patience
        while (pids := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        if not pids:
            return
