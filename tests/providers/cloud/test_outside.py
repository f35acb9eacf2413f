"""Looking at a cloud from outside its launcher."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from nodepool_tx.config.fake import FakeProvider
from nodepool_tx.config.openstack import OpenStackProvider
from nodepool_tx.config.schema import ProviderConfig
from nodepool_tx.providers import DriverRegistry, UnknownDriver
from nodepool_tx.providers.cloud.interface import ListsImages
from nodepool_tx.providers.cloud.outside import adapter_of
from tests.store.harness import StoreTestCase


class OutsideTests(StoreTestCase):
    """What there is to be had for a provider's configuration."""

    def adapter(self, config: ProviderConfig) -> Any:
        def offload(work: Any) -> Deferred[Any]:
            self.fail("nothing is asked before the adapter is started")

        return adapter_of(config, self.store, self.clock, offload, DriverRegistry({}))

    def test_a_cloud(self) -> None:
        """Has an adapter, and nothing is written for it."""
        before = self.inspector.dump("/")
        adapter = self.adapter(OpenStackProvider(name="sky", driver="openstack", cloud="sky"))
        self.assertIsInstance(adapter, ListsImages)
        self.settle()
        self.assertEqual(self.inspector.dump("/"), before)

    def test_what_is_within_the_launcher(self) -> None:
        """Simulated clouds and machines cannot be seen from outside."""
        self.assertIsNone(self.adapter(FakeProvider(name="toy", driver="fake")))
        self.assertIsNone(self.adapter(ProviderConfig(name="rack", driver="static")))
        self.assertIsNone(self.adapter(ProviderConfig(name="slots", driver="metastatic")))

    def test_no_account(self) -> None:
        """It is said when the configuration does not tell which it is."""
        config = OpenStackProvider(name="sky", driver="openstack")
        with self.assertRaises(ValueError):
            self.adapter(config)

    def test_no_driver(self) -> None:
        """A driver that nobody knows is said to be unknown."""
        with self.assertRaises(UnknownDriver):
            self.adapter(ProviderConfig(name="x", driver="opnstack"))
