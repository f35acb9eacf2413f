"""The contract of adapters finds the mistakes that drivers make."""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial import reporter
from twisted.trial.unittest import TestCase

from nodepool_tx.providers.cloud.errors import CloudError, Gone, NoCapacity, OverQuota
from nodepool_tx.providers.cloud.interface import ImageInCloud, Instance, Order, Resource
from nodepool_tx.providers.cloud.memory import MemoryAdapter
from nodepool_tx.resources import Amounts
from tests.contract.cloud import ABILITIES, AdapterContract, VirtualTime
from tests.providers.cloud import test_memory_adapter


def failing(case: type[unittest.TestCase]) -> set[str]:
    """The names of the tests that do not succeed."""
    result = reporter.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert not result.skipped
    return {test.id().rpartition(".")[2] for test, _ in (*result.failures, *result.errors)}


def contract_of(mistaken: type[MemoryAdapter]) -> type[unittest.TestCase]:
    """The contract, for the cloud in memory with another adapter."""

    class Tests(test_memory_adapter.MemoryContractTests):
        def make_adapter(self) -> MemoryAdapter:
            super().make_adapter()
            return mistaken(self.cloud)

    return Tests


class ForgetsMetadata(MemoryAdapter):
    async def create(self, order: Order) -> str:
        return await super().create(attrs.evolve(order, metadata={}))


class SaysNothingWasMade(MemoryAdapter):
    """Takes a lost answer for a refusal."""

    async def create(self, order: Order) -> str:
        try:
            return await super().create(order)
        except CloudError as error:
            if type(error) is CloudError:
                raise NoCapacity(str(error)) from error
            raise


class KnowsOneError(MemoryAdapter):
    """Takes everything for the same."""

    async def create(self, order: Order) -> str:
        try:
            return await super().create(order)
        except CloudError as error:
            raise CloudError(str(error)) from error


class DeletesQuietly(MemoryAdapter):
    async def delete(self, external_id: str) -> None:
        try:
            await super().delete(external_id)
        except Gone:
            return


class SeesTimePass(MemoryAdapter):
    """Shows how long a server has been there."""

    async def list_instances(self) -> Sequence[Instance]:
        now = self._cloud.clock.seconds()
        return [attrs.evolve(each, driver_data=now) for each in await super().list_instances()]


class HidesOthers(MemoryAdapter):
    async def list_instances(self) -> Sequence[Instance]:
        return [each for each in await super().list_instances() if each.node_id]


class ListsTwice(MemoryAdapter):
    """Shows the last server of a page again on the next."""

    async def list_instances(self) -> Sequence[Instance]:
        listed = tuple(await super().list_instances())
        return (*listed, *listed[-1:])


class HidesReasons(MemoryAdapter):
    async def list_instances(self) -> Sequence[Instance]:
        return [attrs.evolve(each, fault=None) for each in await super().list_instances()]


class NeverFinishes(MemoryAdapter):
    async def finish(self, order: Order, instance: Instance) -> Instance | None:
        return instance if instance.interface_ip else None


class CannotBeCancelled(MemoryAdapter):
    async def list_instances(self) -> Sequence[Instance]:
        while True:
            try:
                return await super().list_instances()
            except CancelledError:
                await Deferred()


class LeavesCallsInFlight(MemoryAdapter):
    async def stop(self) -> None:
        return


class IgnoresZones(MemoryAdapter):
    async def create(self, order: Order) -> str:
        return await super().create(attrs.evolve(order, zone=None))


class CountsOtherThings(MemoryAdapter):
    async def needs(self, label: Any) -> Amounts:
        return {"cores": (await super().needs(label))["cores"]}


class TakesABrokenApiForGone(MemoryAdapter):
    async def delete(self, external_id: str) -> None:
        try:
            await super().delete(external_id)
        except CloudError as error:
            raise Gone(str(error)) from error


class LetsErrorsOut(MemoryAdapter):
    async def zones(self) -> Sequence[str]:
        try:
            return await super().zones()
        except CloudError as error:
            raise KeyError("zones") from error


class ForgetsOrphans(MemoryAdapter):
    async def list_resources(self) -> Sequence[Resource]:
        return [attrs.evolve(each, orphan=False) for each in await super().list_resources()]


class ForgetsServersAmongResources(MemoryAdapter):
    async def list_resources(self) -> Sequence[Resource]:
        return [each for each in await super().list_resources() if each.kind != "instance"]


class ForgetsNamesOfImages(MemoryAdapter):
    async def list_images(self) -> Sequence[ImageInCloud]:
        return [attrs.evolve(each, name="") for each in await super().list_images()]


class ListsImagesOfOthers(MemoryAdapter):
    async def list_images(self) -> Sequence[ImageInCloud]:
        return [
            ImageInCloud(external_id=image_id, name=order.name, metadata=order.metadata)
            for image_id, order in self._cloud.images.items()
        ]


class RefusesWithoutWords(MemoryAdapter):
    async def create(self, order: Order) -> str:
        try:
            return await super().create(order)
        except OverQuota:
            raise OverQuota("") from None


@pytest.mark.parametrize(
    ("mistaken", "found"),
    [
        (ForgetsMetadata, "test_metadata_is_kept"),
        (SaysNothingWasMade, "test_an_answer_that_is_lost"),
        (KnowsOneError, "test_over_quota"),
        (KnowsOneError, "test_no_capacity"),
        (KnowsOneError, "test_retry_later"),
        (KnowsOneError, "test_a_label_that_asks_for_what_is_not_there"),
        (DeletesQuietly, "test_deleting_again"),
        (SeesTimePass, "test_listings_are_comparable"),
        (HidesOthers, "test_servers_of_others"),
        (ListsTwice, "test_a_servers_life"),
        (HidesReasons, "test_a_server_that_fails"),
        (NeverFinishes, "test_a_servers_life"),
        (CannotBeCancelled, "test_cancelling"),
        (LeavesCallsInFlight, "test_stopping_with_calls_in_flight"),
        (IgnoresZones, "test_zones"),
        (CountsOtherThings, "test_needs"),
        (TakesABrokenApiForGone, "test_a_broken_api"),
        (LetsErrorsOut, "test_a_broken_api"),
        (ForgetsOrphans, "test_orphans"),
        (ForgetsServersAmongResources, "test_servers_among_the_resources"),
        (ForgetsNamesOfImages, "test_images_of_builders_are_listed"),
        (ListsImagesOfOthers, "test_images_of_builders_are_listed"),
        (RefusesWithoutWords, "test_over_quota"),
    ],
)
def test_mistakes_are_found(mistaken: type[MemoryAdapter], found: str) -> None:
    """Each of these drivers fails the test that is about its mistake."""
    assert found in failing(contract_of(mistaken))


def test_what_cannot_be_done_must_be_said() -> None:
    """An ability that is neither provided nor declared impossible is found, and so is both."""

    class Nothing(VirtualTime, AdapterContract, TestCase):
        """Provides nothing, and declares nothing."""

    class Both(test_memory_adapter.MemoryContractTests):
        cannot = {"exhaust_quota": "it can"}

    class NoReason(Nothing):
        cannot = dict.fromkeys(ABILITIES, "")

    for case in (Nothing, Both, NoReason):
        assert "test_abilities_are_declared" in failing(case)


def test_tests_of_what_cannot_be_done_are_not_there() -> None:
    """They are neither run nor skipped; the others are all there."""

    class Some(test_memory_adapter.MemoryContractTests):
        cannot = {"exhaust_quota": "no end to it", "silence_the_api": "it always answers"}

    def names(case: type[unittest.TestCase]) -> set[str]:
        return set(unittest.defaultTestLoader.getTestCaseNames(case))

    assert names(test_memory_adapter.MemoryContractTests) - names(Some) == {
        "test_over_quota",
        "test_cancelling",
        "test_stopping_with_calls_in_flight",
    }
