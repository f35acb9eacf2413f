"""The cloud in memory keeps the contract of adapters, and costs no timers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nodepool_tx.config.cloud import CloudImage, CloudLabel, CloudPool
from nodepool_tx.providers.cloud.errors import CloudError, Gone, NoCapacity, RetryLater
from nodepool_tx.providers.cloud.interface import (
    ImageUploadOrder,
    InstanceState,
    Order,
    Resource,
)
from nodepool_tx.providers.cloud.memory import MemoryAdapter, MemoryCloud, Timing
from tests.contract.cloud import AdapterContract, VirtualTime

METHODS = (
    "create",
    "finish",
    "delete",
    "list_instances",
    "quota",
    "zones",
    "list_resources",
)


class MemoryContract(AdapterContract):
    """The contract, kept by :class:`MemoryAdapter`."""

    timing = Timing(answer=0.2, boot=10, delete=5)

    #: Seconds for which the cloud wants to be left in peace.
    peace = 7.0

    clock: Any

    @cached_property
    def cloud(self) -> MemoryCloud:
        return MemoryCloud(
            self.clock,
            timing=self.timing,
            flavors={
                name: {"instances": 1, "cores": 2, "ram": 2048} for name in ("small", "no-image")
            },
            quota={"instances": 10, "cores": 20},
            zones=("a", "b"),
        )

    def make_adapter(self) -> MemoryAdapter:
        self.cloud.finish_takes = 2
        return MemoryAdapter(self.cloud)

    def label(self) -> CloudLabel:
        return CloudLabel("small", CloudImage("debian"))

    async def exhaust_quota(self) -> None:
        self.cloud.quota["cores"] = 1

    async def fill_up(self) -> str | None:
        self.cloud.capacity["b"] = 0
        return "b"

    async def bad_label(self) -> CloudLabel:
        return await self.missing_image()

    async def impossible_label(self) -> CloudLabel:
        return CloudLabel("large")

    async def missing_image(self) -> CloudLabel:
        self.cloud.missing_images.add("lost")
        return CloudLabel("no-image", CloudImage("lost"))

    async def ask_for_peace(self) -> float | None:
        self.cloud.fail_next("create", RetryLater("too many requests", self.peace))
        return self.peace

    async def break_the_api(self) -> None:
        self.cloud.broken = CloudError("the service is down")

    async def silence_the_api(self) -> None:
        for method in METHODS:
            self.cloud.hang_next(method)

    async def mend_the_api(self) -> None:
        self.cloud.broken = None
        self.cloud.forget_scripts()

    async def lose_an_answer(self) -> None:
        self.cloud.fail_next("create", CloudError("connection lost"), done=True)

    async def fail_a_server(self) -> None:
        self.cloud.fail_boot(CloudError("no valid host"))

    async def remove_server(self, external_id: str) -> None:
        self.cloud.lose_server(external_id)

    async def add_unmanaged(self) -> str:
        return self.cloud.add_unmanaged()

    async def leave_leftover(self, metadata: Mapping[str, str]) -> Resource:
        return self.cloud.leave("port", **metadata)

    async def leave_orphan(self) -> Resource:
        return self.cloud.leave("port", orphan=True)

    async def image_file(self) -> ImageUploadOrder:
        return ImageUploadOrder(
            name="debian-1", path=Path("debian.raw"), format="raw", metadata={"a": "b"}
        )


class MemoryContractTests(VirtualTime, MemoryContract, TestCase):
    """On a clock."""


class MemoryContractOnTheReactorTests(MemoryContract, TestCase):
    """In real time."""

    timing = Timing(answer=0.02, boot=0.05, delete=0.05)
    patience = 2.0
    peace = 0.01

    @cached_property
    def clock(self) -> Any:
        from twisted.internet import reactor

        return reactor


def order(**changes: object) -> Order:
    fields = {
        "node_id": "1",
        "name": "np1",
        "pool": CloudPool(name="main", provider_name="memory"),
        "label": CloudLabel("small"),
        "metadata": {},
    }
    return Order(**(fields | changes))  # type: ignore[arg-type]


class MemoryCloudTests(SynchronousTestCase):
    """What tests do to the cloud happens."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cloud = MemoryCloud(self.clock, timing=Timing(boot=10, delete=5), zones=("a", "b"))

    def states(self) -> list[InstanceState]:
        return [each.state for each in self.cloud.listing()]

    def test_time_passes_for_whoever_looks(self) -> None:
        """A server is built, active, deleting and gone at its times, without a timer."""
        external_id = self.cloud.create(order())
        self.assertEqual(self.states(), [InstanceState.BUILDING])
        self.clock.advance(10)
        self.assertEqual(self.states(), [InstanceState.ACTIVE])
        self.cloud.delete(external_id)
        self.assertEqual(self.states(), [InstanceState.DELETING])
        self.clock.advance(5)
        self.assertEqual(self.states(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(set(self.cloud.used.values()), {0})

    def test_a_deletion_that_is_ignored(self) -> None:
        """A deletion may be accepted and forgotten, or take long; the next is as usual."""
        external_id = self.cloud.create(order())
        self.cloud.ignore_deletion()
        self.cloud.slow_deletion(100)
        self.cloud.delete(external_id)
        self.assertEqual(self.states(), [InstanceState.BUILDING])
        self.cloud.delete(external_id)
        self.cloud.delete(external_id)
        self.clock.advance(99)
        self.assertEqual(self.states(), [InstanceState.DELETING])
        self.clock.advance(1)
        self.assertRaises(Gone, self.cloud.delete, external_id)

    def test_zones_fill_up(self) -> None:
        """Servers go where there is room, until there is none."""
        self.cloud.capacity = {"a": 1, "b": 1}
        made = [self.cloud.create(order()) for _ in range(2)]
        zones = [self.cloud.servers[external_id].zone for external_id in made]
        self.assertEqual(zones, ["a", "b"])
        self.assertRaises(NoCapacity, self.cloud.create, order())
        self.cloud.lose_server(made[0])
        again = self.cloud.create(order())
        self.assertEqual(self.cloud.servers[again].zone, "a")

    def test_a_call_that_hangs_is_counted_and_may_have_worked(self) -> None:
        """A call without an answer may have done what was asked for."""
        self.cloud.hang_next("create", done=True)
        call = Deferred.fromCoroutine(MemoryAdapter(self.cloud).create(order()))
        self.clock.advance(1000)
        self.assertNoResult(call)
        self.assertEqual(len(self.cloud.servers), 1)
        self.assertEqual(self.cloud.calls, {"create": 1})
        call.cancel()
        self.failureResultOf(call)
