"""What Prometheus is told, on a launcher in memory."""

from __future__ import annotations

from typing import NoReturn

from nodepool_tx.config.errors import ConfigError, ConfigErrors
from nodepool_tx.events import HostChanged, LaunchEnded, LeakRemoved, NodeDeleted, ReloadRefused
from nodepool_tx.metrics.statsd import Statsd
from nodepool_tx.model import NodeState
from nodepool_tx.store.nodes import NodeTable
from nodepool_tx.store.requests import RequestTable
from tests.metrics.stage import CONFIG, FarmTestCase


class FarmTests(FarmTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.measure()
        self.bring()

    def test_nodes(self) -> None:
        """Nodes are counted by where they belong, and once more under each label."""
        self.add_node("one", "two", provider="elsewhere", pool="p", state=NodeState.HOLD)
        self.settle()
        seen = self.scrape()
        rack = {"provider": "rack", "pool": "main", "state": "ready"}
        self.assertEqual(seen.get("nodepool_nodes", **rack), 3)
        held = {"provider": "elsewhere", "pool": "p", "state": "hold"}
        self.assertEqual(seen.get("nodepool_nodes", **held), 1)
        self.assertEqual(seen.get("nodepool_label_nodes", **held, label="one"), 1)
        self.assertEqual(seen.get("nodepool_label_nodes", **held, label="two"), 1)

    def test_requests(self) -> None:
        """Requests by state, how old they are, and how long those took that got their nodes."""
        self.exercise()
        seen = self.scrape()
        self.assertEqual(seen.get("nodepool_requests", state="fulfilled"), 2)
        self.assertEqual(seen.get("nodepool_requests", state="failed"), 1)
        self.assertEqual(seen.get("nodepool_requests", state="pending"), 0)
        age = seen.get("nodepool_oldest_request_age_seconds", state="failed")
        self.assertAlmostEqual(age or 0.0, 30.0)
        self.assertEqual(seen.get("nodepool_request_age_seconds_count", state="failed"), 1)
        median = seen.get("nodepool_request_age_seconds", state="failed", quantile="0.5")
        self.assertAlmostEqual(median or 0.0, 30.0)
        cloud = {"provider": "cloud", "pool": "small"}
        self.assertEqual(seen.get("nodepool_request_fulfil_seconds_count", **cloud), 1)
        self.assertEqual(seen.get("nodepool_request_fulfil_seconds_bucket", **cloud, le="0.5"), 0)
        rack = {"provider": "rack", "pool": "main"}
        self.assertEqual(seen.get("nodepool_request_fulfil_seconds_bucket", **rack, le="0.5"), 1)
        self.assertEqual(seen.get("nodepool_requests_ended_total", **rack, result="fulfilled"), 1)
        declined = [
            seen.get("nodepool_requests_ended_total", **pool, result=result) or 0
            for pool in (rack, cloud)
            for result in ("declined", "failed")
        ]
        self.assertEqual(sum(declined), 2)

    def test_cloud(self) -> None:
        """Launches, calls, quota and limits of a cloud."""
        self.exercise()
        seen = self.scrape()
        ready = {"provider": "cloud", "result": "ready"}
        self.assertEqual(seen.get("nodepool_launches_total", **ready, pool="small"), 1)
        self.assertEqual(seen.get("nodepool_launch_seconds_count", **ready), 1)
        create = {"provider": "cloud", "call": "create"}
        self.assertEqual(seen.get("nodepool_cloud_calls_total", **create, result="ok"), 1)
        self.assertEqual(seen.get("nodepool_cloud_call_seconds_count", **create), 1)
        post = {"service": "compute", "method": "POST", "operation": "servers", "status": "202"}
        asked = seen.get("nodepool_cloud_http_requests_total", provider="cloud", **post)
        self.assertEqual(asked, 1)
        pool = {"provider": "cloud", "pool": "small"}
        self.assertEqual(seen.get("nodepool_pool_limit", **pool, resource="instances"), 5)
        self.assertEqual(seen.get("nodepool_pool_used", **pool, resource="instances"), 1)
        self.assertEqual(seen.get("nodepool_pool_limit", **pool, resource="cores"), 20)
        limit = seen.get("nodepool_quota_limit", provider="cloud", resource="instances")
        used = seen.get("nodepool_quota_used", provider="cloud", resource="instances")
        self.assertEqual((limit is not None, used), (True, 1))
        self.assertEqual(seen.get("nodepool_provider_owned", provider="cloud"), 1)
        self.assertEqual(seen.get("nodepool_launching_nodes", provider="cloud"), 0)

    def test_tenants(self) -> None:
        """What tenants may use, and what they do."""
        self.exercise()
        seen = self.scrape()
        tenant = {"tenant": "the.tenant", "resource": "instances"}
        self.assertEqual(seen.get("nodepool_tenant_limit", **tenant), 10)
        self.assertEqual(seen.get("nodepool_tenant_used", **tenant), 2)

    def test_hosts(self) -> None:
        """Static hosts by health; one that went down is counted, too."""
        self.hosts.take_down("web2")
        (of_web2,) = [i for i, node in self.nodes().items() if node.hostname == "web2"]
        lock = self.lock_node(of_web2)
        self.change_node(of_web2, state=NodeState.USED)
        self.delete(lock)
        self.wait(10)
        seen = self.scrape()
        found = {
            health: seen.get("nodepool_static_hosts", provider="rack", health=health)
            for health in ("up", "down", "unknown", "maintenance")
        }
        self.assertEqual(found, {"up": 1, "down": 1, "unknown": 0, "maintenance": 0})
        changes = {
            health: seen.get("nodepool_static_host_changes_total", provider="rack", health=health)
            for health in ("up", "down")
        }
        self.assertEqual(changes, {"up": 2, "down": 1})

    def test_reloads(self) -> None:
        """What became of configurations, and when the last one was taken."""
        error = ConfigError("nodepool.yaml", 3, 1, "labels", "there is no such label")
        self.process.on_errors(ConfigErrors([error, error]))
        seen = self.scrape()
        self.assertEqual(seen.get("nodepool_reloads_total", result="full"), 1)
        self.assertEqual(seen.get("nodepool_reloads_total", result="part"), 0)
        self.assertEqual(seen.get("nodepool_reloads_total", result="refused"), 1)
        self.assertEqual(seen.get("nodepool_config_errors"), 2)
        at = seen.get("nodepool_reload_last_success_timestamp_seconds") or 0.0
        self.assertLess(self.clock.seconds() - at, 10)

    def test_others(self) -> None:
        """Events of every other kind."""
        for event in (
            NodeDeleted(provider="cloud", node_id=None, seconds=7.0),
            LeakRemoved(provider="cloud", kind="port"),
            HostChanged(provider="rack", hostname="web1", up=False),
            ReloadRefused(errors=("no",)),
            LaunchEnded(
                provider="cloud", pool="small", label="a", node_id="1", result="quota", seconds=2.0
            ),
        ):
            self.events.publish(event)
        seen = self.scrape()
        self.assertEqual(seen.get("nodepool_deletion_seconds_sum", provider="cloud"), 7.0)
        self.assertEqual(seen.get("nodepool_leaks_removed_total", provider="cloud", kind="port"), 1)
        quota = {"provider": "cloud", "pool": "small", "result": "quota"}
        self.assertEqual(seen.get("nodepool_launches_total", **quota), 1)

    def test_removed_provider(self) -> None:
        """Gauges of a provider that is gone are gone, too."""
        kept = CONFIG.partition("  - name: cloud")[0].replace(", {name: cloudy}", "")
        self.bring(kept)
        self.wait(5)
        self.assertIsNone(self.scrape().get("nodepool_provider_owned", provider="cloud"))
        self.assertIsNotNone(self.scrape().get("nodepool_provider_owned", provider="rack"))

    def test_replaced_provider(self) -> None:
        """Nodes that a service was making when it was replaced are still counted."""
        self.bring(CONFIG.replace("boot-delay: 1,", "boot-delay: 20,"))
        self.add_request("cloudy")
        self.wait(5)
        self.bring(CONFIG.replace("max-servers: 5", "max-servers: 6"))
        self.assertEqual(len(self.reloader.retiring()), 1)
        self.assertEqual(self.scrape().get("nodepool_launching_nodes", provider="cloud"), 1)
        self.wait(30)
        self.assertEqual(self.scrape().get("nodepool_launching_nodes", provider="cloud"), 0)

    def test_process(self) -> None:
        """The version, the session, the loops, and the process itself."""
        self.wait(61)
        seen = self.scrape()
        self.assertEqual(seen.get("nodepool_build_info", version="1.0"), 1)
        self.assertEqual(seen.get("nodepool_store_current"), 1)
        self.assertEqual(seen.get("nodepool_zookeeper_state", state="connected"), 1)
        self.assertEqual(seen.get("nodepool_zookeeper_state", state="suspended"), 0)
        loop = {"loop": "full look at provider rack"}
        self.assertEqual(seen.get("nodepool_loop_interval_seconds", **loop), 60)
        age = seen.get("nodepool_loop_last_success_age_seconds", **loop)
        self.assertLess(age if age is not None else 99, 20)
        self.assertIn("process_resident_memory_bytes", seen.names())
        self.assertEqual(seen.get("nodepool_event_streams"), 0)
        self.assertEqual([name for name in seen.names() if name.endswith("_created")], [])

    def test_looks_at_no_node(self) -> None:
        """However many nodes and requests there are, none of them is looked at to tell of them."""
        statsd = Statsd(self.sources, lambda *lines: None, 5.0)
        statsd.startService()

        def refuse(table: object) -> NoReturn:
            raise AssertionError("this takes longer with more nodes")

        for table in (NodeTable, RequestTable):
            self.patch(table, "__iter__", refuse)
        self.patch(NodeTable, "__len__", refuse)
        self.patch(NodeTable, "of_provider", refuse)
        self.scrape()
        self.wait(6)
        self.done(statsd.stopService())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_out_of_touch(self) -> None:
        """That the launcher knows nothing at the moment can be seen."""
        self.inspector.suspend(self.client)
        self.wait(1)
        seen = self.scrape()
        self.assertEqual(seen.get("nodepool_store_current"), 0)
        self.assertEqual(seen.get("nodepool_zookeeper_state", state="connected"), 0)
        self.inspector.resume(self.client)
        self.wait(5)
