"""Virtual environments for the programs we are compared with, made once and kept.

They lie outside the checkout, in `$NODEPOOL_TX_CACHE`, else in `$XDG_CACHE_HOME/nodepool-tx`,
else in `~/.cache/nodepool-tx`, one for each set of versions and each Python.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

OLDEST_PYTHON = (3, 11)
INSTALL_TIMEOUT = 1200


class CannotInstall(Exception):
    """The environment could not be made; the text says why."""


@attrs.frozen
class Recipe:
    """What goes into an environment: its name and pip's requirements."""

    name: str
    requirements: tuple[str, ...]


# Nodepool imports pkg_resources, which newer setuptools no longer has, and cachetools, which
# it does not ask for.
NODEPOOL = Recipe("nodepool-11.0.0", ("nodepool==11.0.0", "cachetools", "setuptools<81"))
ZUUL = Recipe("zuul-14.3.0", ("zuul==14.3.0", "setuptools<81"))


def cache_directory() -> Path:
    """Where the environments are kept."""
    own = os.environ.get("NODEPOOL_TX_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nodepool-tx"


def environment(recipe: Recipe) -> Path:
    """The folder with the environment's programs; makes the environment if need be.

    Several processes may ask at once: one makes it, the others wait.

    :raises CannotInstall: if there is no suitable Python or pip fails.
    """
    python, version = _python()
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    home = cache / f"{recipe.name}-py{version}"
    with (cache / f"{home.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        complete = home / "complete"
        wanted = "\n".join(recipe.requirements)
        if not complete.exists() or complete.read_text() != wanted:
            _make(home, python, recipe)
            complete.write_text(wanted)
    return home / "bin"


def _make(home: Path, python: str, recipe: Recipe) -> None:
    print(f"installing {recipe.name} into {home} (once)", file=sys.stderr, flush=True)
    if home.exists():
        shutil.rmtree(home)
    _run([python, "-m", "venv", str(home)])
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "install", "-q", *recipe.requirements])


def _run(command: list[str]) -> None:
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
    )
    if result.returncode:
        raise CannotInstall(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")


def _python() -> tuple[str, str]:
    """An interpreter new enough for both, and its version.  Ours, where it will do."""
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return sys.executable, "{}.{}".format(*sys.version_info[:2])
    for minor in range(OLDEST_PYTHON[1], 15):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found, f"3.{minor}"
    raise CannotInstall("Nodepool 11 and Zuul 14 need Python 3.11 or later: none found")
