"""Launchers' janitors, and what they look after."""

from __future__ import annotations

import math

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, Label
from nodepool_tx.janitor import Janitor
from nodepool_tx.providers.interface import Intervals
from nodepool_tx.store.store import Store
from tests.pools.harness import ZookeeperTestCase

INTERVAL = 60.0
LOCK_AGE = Intervals().lock_cleanup


def config_of(max_hold_age: float = math.inf, **max_ready_ages: int) -> Config:
    labels = {name: Label(name, max_ready_age=age) for name, age in max_ready_ages.items()}
    return Config(labels=FrozenMapping(labels), max_hold_age=max_hold_age)


class JanitorTestCase(ZookeeperTestCase):
    """Two launchers, each with a janitor; every test is run with one and with both."""

    rivals = False

    def setUp(self) -> None:
        super().setUp()
        self.config = config_of(a=1000, max_hold_age=5000)
        self.providers = ["rack"]
        self.janitors: list[Janitor] = []
        self.client = self.connected()
        self.store = self.make_store(self.client)
        self.janitor = self.make_janitor(self.store)
        if self.rivals:
            self.make_janitor(self.make_store())

    def make_janitor(self, store: Store) -> Janitor:
        janitor = Janitor(
            self.clock,
            store,
            lambda: self.config,
            lambda: self.providers,
            interval=INTERVAL,
            lock_age=LOCK_AGE,
        )
        janitor.startService()
        self.addCleanup(janitor.stopService)
        self.janitors.append(janitor)
        self.settle()
        return janitor

    def sweep(self, count: int = 1) -> None:
        self.settle()
        for _ in range(count):
            self.clock.advance(INTERVAL)
            self.settle()

    def exists(self, path: str) -> bool:
        return self.inspector.stat(path) is not None

    def written_once(self, path: str, since: int) -> None:
        """However many janitors there are, it was changed by one of them, once."""
        stat = self.inspector.stat(path)
        assert stat is not None
        self.assertEqual(stat.version, since + 1)
