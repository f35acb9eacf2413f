"""Pools that are not heard, as they look from outside."""

from __future__ import annotations

import math
from typing import Any

import attrs

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, StaticProvider
from nodepool_tx.explain.judging import judge_pool
from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.pools.explaining import Effect, PoolExplanation
from tests.out_of_service import provider_record, take_out
from tests.pools.harness import ZookeeperTestCase
from tests.providers.cloud.world import cloud_provider
from tests.providers.static.values import static_node, static_pool, static_provider


class JudgingTests(ZookeeperTestCase):
    """Pool ``main`` of provider ``rack``, with label a, of somebody else."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.make_store()
        self.component = self.add_pool("a", provider="rack")
        self.settle()

    def config(self, max_servers: float = math.inf, **tenants: float) -> Config:
        """The provider makes nodes."""
        provider = cloud_provider("a", name="rack", pool_max_servers=max_servers)
        return self.with_tenants(Config(providers=FrozenMapping({"rack": provider})), **tenants)

    def static_config(self, **tenants: float) -> Config:
        provider: StaticProvider = static_provider(
            static_pool(static_node("h1", labels=("a",)), provider="rack"), name="rack"
        )
        return self.with_tenants(Config(providers=FrozenMapping({"rack": provider})), **tenants)

    def with_tenants(self, config: Config, **tenants: float) -> Config:
        limits = {name: FrozenMapping({"instances": limit}) for name, limit in tenants.items()}
        return attrs.evolve(config, tenant_resource_limits=FrozenMapping(limits))

    def judged(self, config: Config | None = None, *labels: str, **fields: Any) -> PoolExplanation:
        request_id = self.add_request(*labels or ("a",), **fields)
        self.settle()
        request = self.store.requests.get(request_id)
        assert request is not None
        (component,) = self.store.components.pools()
        return judge_pool(component, request, self.store, config)

    def waits(self, found: PoolExplanation) -> list[str]:
        return [rule.name for rule in found.rules if rule.effect is not Effect.PASSED]

    def test_a_pool_that_makes_nodes(self) -> None:
        """Nothing is in the way that can be seen; it is said that it was not heard."""
        found = self.judged(self.config())
        self.assertEqual(self.waits(found), ["unheard"])
        self.assertEqual((found.id, found.launcher), (self.component.id, "elsewhere"))
        self.assertFalse(found.answered)

    def test_without_a_configuration(self) -> None:
        """It may make nodes; what can be seen are those there are."""
        self.add_node("a", state=NodeState.HOLD)
        found = self.judged()
        self.assertEqual(self.waits(found), ["nodes", "unheard"])
        self.assertTrue(
            found.verdict.startswith("no free node with label a at provider rack: 1 held")
        )
        self.add_node("a")
        self.assertEqual(self.waits(self.judged()), ["unheard"])

    def test_a_static_pool(self) -> None:
        """What there is is all there is."""
        self.add_node("a", state=NodeState.HOLD)
        found = self.judged(self.static_config())
        self.assertEqual(self.waits(found), ["nodes", "unheard"])
        self.assertTrue(found.verdict.endswith("at provider rack: 1 held"))
        self.add_node("a")
        found = self.judged(self.static_config())
        self.assertEqual(self.waits(found), ["unheard"])
        self.assertTrue(found.nodes[0].usable)

    def test_limits_of_instances(self) -> None:
        """Those of the pool and of the tenant."""
        self.add_node("a", state=NodeState.IN_USE, tenant_name="t")
        found = self.judged(self.config(max_servers=1, t=1.0), tenant_name="t")
        self.assertEqual(self.waits(found), ["max-servers", "tenant-limit", "unheard"])
        found = self.judged(self.static_config(t=1.0), tenant_name="t")
        self.assertEqual(self.waits(found), ["tenant-limit", "nodes", "unheard"])

    def test_a_disabled_pool(self) -> None:
        """As configured."""
        self.assertEqual(self.waits(self.judged(self.config(max_servers=0)))[0], "enabled")

    def test_a_paused_pool(self) -> None:
        """It shows that it has no room."""
        self.change_pool(self.component, paused=True)
        self.assertEqual(self.waits(self.judged(self.config())), ["paused", "unheard"])

    def test_labels(self) -> None:
        """Of those it has none."""
        self.assertEqual(self.waits(self.judged(None, "b"))[0], "labels")

    def test_new_nodes(self) -> None:
        """A static pool makes none; the stock of others does not do."""
        found = self.judged(self.static_config(), reuse=False)
        self.assertEqual(self.waits(found)[0], "reuse")
        self.add_node("a")
        found = self.judged(self.config(), reuse=False)
        self.assertFalse(found.nodes[0].usable)

    def test_out_of_service(self) -> None:
        """The table is everybody's."""
        take_out(self.inspector, provider_record("rack"))
        self.assertEqual(self.waits(self.judged()), ["maintenance", "unheard"])

    def test_a_locked_request(self) -> None:
        """Somebody has it."""
        request_id = self.add_request("a")
        self.lock_request(request_id)
        self.settle()
        request = self.store.requests.get(request_id)
        assert request is not None
        found = judge_pool(self.component, request, self.store, self.config())
        self.assertEqual(self.waits(found), ["lock", "unheard"])

    def test_requests_that_do_not_wait_for_a_pool(self) -> None:
        """There is nothing to judge."""
        found = self.judged(None, state=RequestState.PENDING)
        self.assertEqual((self.waits(found), found.nodes), (["state"], ()))
        found = self.judged(None, state=RequestState.FULFILLED)
        self.assertEqual(self.waits(found), [])
