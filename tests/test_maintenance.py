"""Records whose time has passed are removed, by one of many launchers."""

from __future__ import annotations

from typing import Any

import attrs

from nodepool_tx.config import load_config
from nodepool_tx.maintenance import MaintenanceEnds, hosts_of, not_configured
from nodepool_tx.store import paths
from nodepool_tx.store.maintenance import encode_maintenance
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryClient
from tests.out_of_service import host_record, provider_record, put_back, take_out
from tests.pools.harness import ZookeeperTestCase


class EndingTests(ZookeeperTestCase):
    """Two launchers."""

    def setUp(self) -> None:
        super().setUp()
        self.clients: list[MemoryClient] = []
        self.stores: list[Store] = []
        for _ in range(2):
            client = self.connected()
            self.clients.append(client)
            self.stores.append(self.make_store(client))
            ends = MaintenanceEnds(self.stores[-1])
            ends.startService()
            self.addCleanup(ends.stopService)

    def out_of_service(self) -> list[str]:
        found = self.inspector.dump(paths.MAINTENANCE + "/")
        return [path.rpartition("/")[2] for path in found]

    def later(self, seconds: float) -> float:
        return self.clock.seconds() + seconds

    def test_it_ends_at_its_time(self) -> None:
        """On the clock: nobody sweeps."""
        take_out(self.inspector, host_record("a", until=self.later(100)))
        take_out(self.inspector, provider_record("p", until=self.later(200)))
        take_out(self.inspector, host_record("for ever"))
        self.clock.advance(99)
        self.settle()
        self.assertEqual(len(self.out_of_service()), 3)
        self.clock.advance(1)
        self.settle()
        self.assertEqual(self.out_of_service(), ["host-for%20ever", "provider-p"])
        self.clock.advance(100)
        self.settle()
        self.assertEqual(self.out_of_service(), ["host-for%20ever"])

    def test_one_that_was_over_before_a_start(self) -> None:
        """It is removed by the first that sees it."""
        take_out(self.inspector, host_record("a", until=self.later(-1)))
        self.settle()
        self.assertEqual(self.out_of_service(), [])

    def test_it_is_put_off_at_the_last_moment(self) -> None:
        """What was written since stays, and ends at its own time."""
        record = host_record("a", until=self.later(100))
        take_out(self.inspector, record)
        self.settle()
        longer = attrs.evolve(record, until=self.later(300))

        def put_off(_: Any) -> None:
            self.inspector.set(paths.maintenance_of_host("a"), encode_maintenance(longer))

        self.inspector.before("delete", put_off)
        self.clock.advance(100)
        self.settle()
        self.assertEqual(self.out_of_service(), ["host-a"])
        self.assertEqual([len(store.maintenance.all()) for store in self.stores], [1, 1])
        self.clock.advance(200)
        self.settle()
        self.assertEqual(self.out_of_service(), [])

    def test_zookeeper_is_lost_at_that_moment(self) -> None:
        """It is removed when there is a connection again."""
        take_out(self.inspector, host_record("a", until=self.later(3)))
        self.settle()
        for client in self.clients:
            self.inspector.suspend(client)
        self.clock.advance(3)
        self.settle()
        self.assertEqual(self.out_of_service(), ["host-a"])
        self.assertEqual([len(store.maintenance.all()) for store in self.stores], [0, 0])
        for client in self.clients:
            self.inspector.resume(client)
        self.clock.advance(3)
        self.settle()
        self.assertEqual(self.out_of_service(), [])

    def test_it_is_removed_by_somebody_else(self) -> None:
        """Nothing is amiss."""
        record = take_out(self.inspector, host_record("a", until=self.later(10)))
        self.settle()
        self.inspector.before("delete", lambda _: put_back(self.inspector, record))
        self.clock.advance(10)
        self.settle()
        self.assertEqual(self.out_of_service(), [])


class ConfigurationTests(ZookeeperTestCase):
    def test_what_is_not_configured(self) -> None:
        """Hosts and providers are told apart, whatever their names."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(
                "labels: [{name: x}]\n"
                "providers: [{name: rack, driver: static, pools: [{name: main, nodes: [\n"
                "  {name: h1, labels: x}, {name: h2, labels: x}]}]}]\n"
            )
        config = load_config(path)
        self.assertEqual(hosts_of(config), {"h1", "h2"})
        known = [host_record("h1"), provider_record("rack")]
        unknown = [host_record("rack"), provider_record("h1"), host_record("h3")]
        self.assertEqual(not_configured([*known, *unknown], config), tuple(unknown))
