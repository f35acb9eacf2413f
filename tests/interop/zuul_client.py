"""Talks to Zuul's own client, which runs in its own virtual environment."""

from __future__ import annotations

import json
import selectors
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.cached_venvs import ZUUL, environment
from benchmarks.daemons import Endpoint

PROGRAM = Path(__file__).with_name("zuul_program.py")
ANSWER_TIMEOUT = 60.0


class ZuulError(Exception):
    """Zuul's code raised; the text is its traceback."""


class Zuul:
    """Zuul's nodepool client.  A context manager; the functions are those of its program."""

    def __init__(self, endpoint: Endpoint, log: Path) -> None:
        python = environment(ZUUL) / "python"
        files = (str(file) for file in (endpoint.ca, endpoint.cert, endpoint.key))
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), "-I", str(PROGRAM), f"{endpoint.host}:{endpoint.port}", *files],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._answer()

    def _answer(self, timeout: float = ANSWER_TIMEOUT) -> Any:
        assert self._process.stdout is not None
        if not self._selector.select(timeout):
            raise ZuulError(f"no answer in {timeout} s; {self._log_end()}")
        line = self._process.stdout.readline()
        if not line:
            raise ZuulError(f"ended; {self._log_end()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ZuulError(answer["error"])
        return answer["result"]

    def _log_end(self) -> str:
        return self._log.read_bytes()[-3000:].decode(errors="replace")

    def _call(self, do: str, *, within: float = ANSWER_TIMEOUT, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer(within)

    def request(self, *labels: str, **options: Any) -> str:
        """Ask for one node of each label; answers the request's id.

        Options: `relative_priority`, `provider` (a name), `priority` (the precedence).
        """
        asked: str = self._call("request", labels=labels, **options)
        return asked

    def wait(self, request: str, timeout: float = 30.0) -> str | None:
        """Wait until Zuul is told that a request is answered; its state, None in vain."""
        state: str | None = self._call("wait", request=request, timeout=timeout)
        return state

    def state(self, request: str) -> str | None:
        """A request's state, None if it is gone."""
        state: str | None = self._call("state", request=request)
        return state

    def accept(self, request: str) -> list[dict[str, Any]]:
        """Lock a fulfilled request's nodes and delete it; the nodes, in the order asked."""
        nodes: list[dict[str, Any]] = self._call("accept", request=request)
        return nodes

    def obtain(self, *labels: str, **options: Any) -> tuple[str, list[dict[str, Any]]]:
        """Ask, wait, accept and use; answers the request's id and its nodes."""
        asked = self.request(*labels, **options)
        state = self.wait(asked)
        assert state == "fulfilled", state
        nodes = self.accept(asked)
        self.use(asked)
        return asked, nodes

    def use(self, request: str) -> None:
        """Set in use what a request has accepted."""
        self._call("use", request=request)

    def give_back(self, request: str) -> None:
        """Return what a request obtained."""
        self._call("give_back", request=request)

    def hold(self, request: str, reason: str, expiration: int | None = None) -> int:
        """Hold what a request obtained; answers how many nodes Zuul then finds held.

        The hold ends after `expiration` seconds, if they are given.
        """
        held: int = self._call("hold", request=request, reason=reason, expiration=expiration)
        return held

    def release_hold(self, request: str) -> None:
        """End a hold."""
        self._call("release_hold", request=request)

    def revise(self, request: str, relative_priority: int) -> int:
        """Change a waiting request's relative priority; answers the one it then has."""
        now: int = self._call("revise", request=request, relative_priority=relative_priority)
        return now

    def cancel(self, request: str) -> None:
        """Withdraw a request."""
        self._call("cancel", request=request)

    def statistics(self) -> dict[str, float]:
        """What Zuul has counted so far, by the names that it has in statsd."""
        counted: dict[str, float] = self._call("statistics")
        return counted

    def fields(self, request: str) -> dict[str, Any]:
        """A request as Zuul reads it."""
        read: dict[str, Any] = self._call("fields", request=request)
        return read

    def load(self, count: int, at_once: int, within: float, **options: Any) -> dict[str, Any]:
        """Do many jobs at a time; answers `counts`, what was `wrong`, and the `seconds`.

        Options: `wishes` (lists of labels), `cancelled` and `revised` (shares of the requests),
        `seed`, `patience` (seconds without any news).
        """
        told: dict[str, Any] = self._call(
            "load", within=within, count=count, at_once=at_once, **options
        )
        return told

    def launchers(self) -> dict[str, list[str]]:
        """Labels by id of the pools Zuul sees."""
        found: dict[str, list[str]] = self._call("launchers")
        return found

    def abandon(self) -> None:
        """Lose the session that holds the locks, as when an executor dies."""
        self._call("abandon")

    def __enter__(self) -> Zuul:
        return self

    def __exit__(self, *reason: object) -> None:
        self._selector.close()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
