"""What the numbers were measured on and with."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from benchmarks.daemons import CHECKOUT


def describe() -> dict[str, str]:
    """Processor, programs and versions, for people."""
    found = {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
        "Twisted": version("Twisted"),
        "TLS": ssl.OPENSSL_VERSION,
        "ZooKeeper": _zookeeper(),
        "Nodepool": "11.0.0",
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
    }
    revision = _revision()
    return {**found, "revision": revision} if revision else found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.split(":", 1)[1].split())
    return platform.machine()


def _zookeeper() -> str:
    for jar in Path("/usr/share/java").glob("zookeeper-[0-9]*.jar"):
        return jar.stem.removeprefix("zookeeper-")
    return "unknown"


def _revision() -> str:
    """The commit that was measured; empty where there is no repository."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"],
            cwd=CHECKOUT,
            capture_output=True,
            check=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def busy_elsewhere(seconds: float = 2.0) -> float:
    """Watch for so long which share of the processor is used while we do nothing."""
    before = _ticks()
    time.sleep(seconds)
    idle, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return 1.0 - idle / total


def _ticks() -> tuple[int, int]:
    """The processors' idle and total time so far."""
    values = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return values[3] + values[4], sum(values)
