"""Looks at what is in ZooKeeper, through kazoo, as neither launcher does."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError, NotEmptyError

from benchmarks.daemons import Endpoint, Launcher

T = TypeVar("T")
INTERVAL = 0.02


def eventually(what: str, look: Callable[[], T | None], timeout: float = 30.0) -> T:
    """Look until there is something to see (not None, not False); answers it.

    :raises AssertionError: if that takes longer than `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen = look()
        if seen is not None and seen is not False:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"in {timeout} s never: {what}")
        time.sleep(INTERVAL)


class Tree:
    """What is below `/nodepool`.  A context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.client = KazooClient(
            f"{endpoint.host}:{endpoint.port}",
            use_ssl=True,
            ca=str(endpoint.ca),
            certfile=str(endpoint.cert),
            keyfile=str(endpoint.key),
        )

    def __enter__(self) -> Tree:
        self.client.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.client.stop()
        self.client.close()

    def clear(self) -> None:
        """Delete everything, also what lost launchers left."""
        for root in ("/nodepool", "/zuul"):
            while self.client.exists(root):
                with contextlib.suppress(NotEmptyError):
                    self.client.delete(root, recursive=True)

    def _all(self, root: str) -> dict[str, dict[str, Any]]:
        found = {}
        with contextlib.suppress(NoNodeError):
            for name in self.client.get_children(root):
                with contextlib.suppress(NoNodeError):
                    data, _ = self.client.get(f"{root}/{name}")
                    if data:
                        found[name] = json.loads(data)
        return found

    def nodes(self, **wanted: Any) -> dict[str, dict[str, Any]]:
        """The nodes by id that have these values, for example `provider="rack"`."""
        return {
            name: node
            for name, node in self._all("/nodepool/nodes").items()
            if all(node.get(key) == value for key, value in wanted.items())
        }

    def request(self, name: str) -> dict[str, Any] | None:
        """A request, None where there is none."""
        return self._all("/nodepool/requests").get(name)

    def components(self, kind: str) -> list[dict[str, Any]]:
        """What is registered: `launcher` or `pool`."""
        return list(self._all(f"/nodepool/components/{kind}").values())

    def contenders(self, path: str) -> list[str]:
        """Who holds or waits for a lock."""
        try:
            found: list[str] = self.client.get_children(path)
        except NoNodeError:
            return []
        return found

    def node_lock(self, node: str) -> list[str]:
        """Who holds or waits for a node."""
        return self.contenders(f"/nodepool/nodes/{node}/lock")

    def wait_ready(self, provider: str, count: int, launcher: Launcher) -> None:
        """Wait until so many of a provider's nodes are ready and nobody's.

        :raises Died: if the provider's launcher has ended.
        :raises AssertionError: with the end of its log, if it takes too long.
        """

        def ready() -> bool:
            launcher.check()
            return len(self.nodes(provider=provider, state="ready", allocated_to=None)) == count

        try:
            eventually(f"{count} free nodes of {provider}", ready)
        except AssertionError as error:
            raise AssertionError(f"{error}; {launcher.log_end()}") from None
