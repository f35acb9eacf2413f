"""The programs an OpenStack is made of: Debian's servers, and an environment of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cached_venvs import Recipe, cache_directory, environment

__all__ = ["RABBITMQ", "SEARCH", "Missing", "install_servers", "locked", "python_environment"]

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
#: Where servers are, which an ordinary user's PATH leaves out.
SEARCH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
_POLICY = Path("/usr/sbin/policy-rc.d")
_NEEDED = {
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "my_print_defaults": "mariadb-client-core",
    "memcached": "memcached",
    "epmd": "erlang-base",
}


class Missing(Exception):
    """Something is not there and cannot be installed; says what and why."""


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time, for what several test runs share."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def python_environment() -> Path:
    """The environment with OpenStack's services; made once, and kept."""
    lines = REQUIREMENTS.read_text().splitlines()
    pins = tuple(line for line in lines if line and not line.startswith("#"))
    return environment(Recipe("openstack-2026.2", pins)).parent


def install_servers() -> None:
    """Install the Debian packages that are missing; none of their services is started.

    :raises Missing: that cannot be done.
    """
    with locked("openstack-packages"):
        packages = {
            package
            for program, package in _NEEDED.items()
            if shutil.which(program, path=SEARCH) is None
        }
        if not RABBITMQ.exists():
            packages.add("rabbitmq-server")
        if packages:
            _apt(sorted(packages))


def _apt(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise Missing(f"this is no Debian; please install what provides {', '.join(packages)}")
    print(f"installing {', '.join(packages)}", file=sys.stderr, flush=True)
    policy = not _POLICY.exists()
    if policy:
        _root("tee", str(_POLICY), text="#!/bin/sh\nexit 101\n")
        _root("chmod", "755", str(_POLICY))
    try:
        _root("apt-get", "update", "-q")
        _root("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages)
    finally:
        if policy:
            _root("rm", "-f", str(_POLICY))
    if Path("/run/systemd/system").is_dir():
        for service in ("rabbitmq-server", "memcached"):
            if any(service in package for package in packages):
                _root("systemctl", "disable", "-q", service)


def _root(*command: str, text: str | None = None) -> None:
    if os.getuid():
        command = ("sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", *command)
    done = subprocess.run(
        command,
        input=text or "",
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode:
        raise Missing(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
