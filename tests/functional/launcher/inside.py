"""The whole launcher in the test's own process, where its session can be got at."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from nodepool_tx.store.store import Store
from nodepool_tx.tap import Options, Root, build
from nodepool_tx.txzookeeper.client import ZookeeperClient
from tests.functional.launcher.settings import SIMULATED

__all__ = ["LauncherInside"]


class LauncherInside:
    """What ``twistd nodepool`` would run."""

    def __init__(self, directory: pathlib.Path, config: Mapping[str, Any]) -> None:
        path = directory / "inside.yaml"
        path.write_text(yaml.safe_dump(dict(config)))
        options = Options({})
        options.parseOptions(["--config", str(path), "--simulate-hosts", SIMULATED])
        self.root: Root = build(options, reactor)

    @property
    def client(self) -> ZookeeperClient:
        (store,) = (child for child in self.root if isinstance(child, Store))
        client = store.client
        assert isinstance(client, ZookeeperClient)
        return client

    def start(self) -> None:
        self.root.startService()

    def stop(self) -> Deferred[None]:
        return self.root.stopService()
