"""What processes and a server of ZooKeeper need at this moment."""

from __future__ import annotations

import os
import pathlib
import re

__all__ = ["metric", "process", "server"]

_SERVER = {
    "server: watches": "zk_watch_count",
    "server: znodes": "zk_znode_count",
    "server: ephemerals": "zk_ephemerals_count",
    "server: connections": "zk_num_alive_connections",
    "server: open files": "zk_open_file_descriptor_count",
}


def process(pid: int) -> dict[str, float]:
    """Resident memory in bytes, open files, how many of them are sockets, and threads."""
    proc = pathlib.Path(f"/proc/{pid}")
    status = dict(re.findall(r"^(\w+):\s+(\d+)", (proc / "status").read_text(), re.MULTILINE))
    targets = []
    for descriptor in (proc / "fd").iterdir():
        try:
            targets.append(os.readlink(descriptor))
        except FileNotFoundError:
            continue
    return {
        "memory": int(status["VmRSS"]) * 1024.0,
        "open files": float(len(targets)),
        "sockets": float(sum(target.startswith("socket:") for target in targets)),
        "threads": float(status["Threads"]),
    }


def server(mntr: str) -> dict[str, float]:
    """What ZooKeeper says to the word ``mntr``."""
    said = dict(line.split("\t", 1) for line in mntr.splitlines() if "\t" in line)
    return {name: float(said[key]) for name, key in _SERVER.items()}


def metric(text: str, name: str) -> float:
    """A sample without labels from what a launcher shows at ``/metrics``."""
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"there is no {name} in the metrics")
    return float(found[1])
