"""The janitor beside a launcher that answers at once, with time between all that happens."""

from __future__ import annotations

import math

from nodepool_tx.config.schema import Config
from nodepool_tx.janitor import Janitor
from nodepool_tx.model import RequestState
from nodepool_tx.store import paths
from tests.pools.harness import ZookeeperTestCase


class TimingTests(ZookeeperTestCase):
    """Requests and answers travel for two ticks each way."""

    TICK = 0.25
    latency = 4 * TICK

    def ticks(self, count: int) -> None:
        for _ in range(count):
            self.clock.advance(self.TICK)

    def promise_at(self, created: int, promised: int) -> None:
        """A node comes to be, and is promised to a new request, while the janitor is busy.

        :param created: when the node is made, in ticks from another node's desertion.
        :param promised: when the request is made and fulfilled.
        """
        deserted = self.add_node("x")
        self.settle()
        ids = {}

        def create() -> None:
            ids["node"] = self.add_node("x")

        def promise() -> None:
            ids["request"] = self.add_request(
                "x", state=RequestState.FULFILLED, nodes=(ids["node"],)
            )
            self.change_node(ids["node"], allocated_to=ids["request"])

        start = 8
        self.clock.callLater(start * self.TICK, self.change_node, deserted, allocated_to="100-9")
        self.clock.callLater((start + created) * self.TICK, create)
        self.clock.callLater((start + promised) * self.TICK + self.TICK / 2, promise)
        self.ticks(60)
        self.assertIsNone(self.node(deserted).allocated_to)
        self.assertEqual(
            self.node(ids["node"]).allocated_to, ids["request"], f"{created} {promised}"
        )
        self.delete(paths.node(deserted))
        self.delete(paths.node(ids["node"]))
        self.delete(paths.request(ids["request"]))
        self.settle()

    def test_promise_to_a_request_that_is_not_read_yet(self) -> None:
        """It holds, whatever the janitor was doing when it was made."""
        janitor = Janitor(
            self.clock,
            self.make_store(),
            lambda: Config(max_hold_age=math.inf),
            lambda: ["rack"],
            interval=3600.0,
            lock_age=3600.0,
        )
        janitor.startService()
        self.addCleanup(janitor.stopService)
        self.settle()
        for created in range(-8, 20):
            for promised in range(created, created + 10):
                self.promise_at(created, promised)
