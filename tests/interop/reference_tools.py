"""Nodepool 11's command line and component registry, as an operator beside us uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cached_venvs import NODEPOOL, cache_directory, environment
from benchmarks.daemons import Endpoint

REGISTRY = Path(__file__).with_name("registry_program.py")
RELEASE = NODEPOOL.name
TIMEOUT = 60
DOWNLOAD_TIMEOUT = 300


def command(config: Path, *arguments: str) -> str:
    """Run Nodepool 11's `nodepool` and answer what it prints.

    :raises AssertionError: if it fails.
    """
    return _run([str(environment(NODEPOOL) / "nodepool"), "-c", str(config), *arguments])


def delete(config: Path, node: str) -> None:
    """Have Nodepool 11's `nodepool` delete a node.

    It goes on to list the node, and fails over that if the launcher has been quicker.
    """
    program = str(environment(NODEPOOL) / "nodepool")
    done = subprocess.run(
        [program, "-c", str(config), "delete", node],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0 or "NoNodeError" in done.stderr, done.stderr


def rows(printed: str) -> list[dict[str, str]]:
    """The rows of a table that it printed, by heading."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


def registry(endpoint: Endpoint) -> dict[str, Any]:
    """The `components` by kind, and the lowest `model_api`, as Nodepool 11 loads them."""
    python = environment(NODEPOOL) / "python"
    files = (str(file) for file in (endpoint.ca, endpoint.cert, endpoint.key))
    hosts = f"{endpoint.host}:{endpoint.port}"
    found: dict[str, Any] = json.loads(_run([str(python), "-I", str(REGISTRY), hosts, *files]))
    return found


def _run(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def guide() -> str:
    """Nodepool 11's operation guide, out of its source distribution."""
    archive = cache_directory() / f"{RELEASE}.tar.gz"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            options = ["--no-binary", ":all:", "--disable-pip-version-check", "--dest", folder]
            subprocess.run(
                [*pip, *options, RELEASE.replace("-", "==")], check=True, timeout=DOWNLOAD_TIMEOUT
            )
            os.replace(Path(folder) / archive.name, archive)
    with tarfile.open(archive) as members:
        stream = members.extractfile(f"{RELEASE}/doc/source/operation.rst")
        assert stream is not None
        return stream.read().decode()
