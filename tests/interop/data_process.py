"""Nodepool 11's own classes in a process, asked one call after the other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import Endpoint

PROGRAM = Path(__file__).with_name("data_program.py")
TIMEOUT = 60


class NodepoolClasses:
    """`data_program` at work.  A context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        files = (str(file) for file in (endpoint.ca, endpoint.cert, endpoint.key))
        self._process = subprocess.Popen(
            [
                str(environment(NODEPOOL) / "python"),
                "-I",
                str(PROGRAM),
                f"{endpoint.host}:{endpoint.port}",
                *files,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> NodepoolClasses:
        return self

    def __exit__(self, *reason: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(TIMEOUT)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def call(self, name: str, argument: Any = None) -> Any:
        """Have it do something, and answer what it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, argument]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{name}: it has ended with {self._process.wait(TIMEOUT)}"
        worked, answer = json.loads(line)
        assert worked, answer
        return answer
