"""What can be told of pools that were not heard: from ZooKeeper and the configuration.

Nodepool 11's launchers answer no questions, and any launcher may be stuck.
Their rules are the same, so most of what they do can be told from outside; what
goes on in their clouds cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nodepool_tx.config.schema import Config, PoolConfig, StaticProvider
from nodepool_tx.model import Node, NodeRequest, PoolComponent, RequestState
from nodepool_tx.pools.accounts import Charge, needed_by, shortages
from nodepool_tx.pools.explaining import Effect, PoolExplanation, Rule
from nodepool_tx.pools.planning import Plan
from nodepool_tx.pools.reasons import (
    limit_rules,
    listed,
    nodes_rule,
    rule_of,
    state_rule,
    verdict_of,
)
from nodepool_tx.pools.rules import Answer, PoolView, Wish, verdicts
from nodepool_tx.pools.selection import choose
from nodepool_tx.pools.stock import in_words, look_at_nodes
from nodepool_tx.resources import Amounts
from nodepool_tx.store.nodes import NodeTable
from nodepool_tx.store.store import Store
from nodepool_tx.store.usage import Account

__all__ = ["judge_pool"]

_UNHEARD = Rule(
    "unheard",
    Effect.WAITS,
    "its launcher did not answer: this is what ZooKeeper and the configuration show",
)


def judge_pool(
    component: PoolComponent, request: NodeRequest, store: Store, config: Config | None
) -> PoolExplanation:
    """What a pool would do about a request, as far as that can be seen from outside.

    :param config: for its limits, if the pool is configured there.
    """
    now = store.clock.seconds()
    provider, pool = component.provider_name, component.name
    configured = _configured(component, config)
    makes = not _is_static(provider, config)
    stock = look_at_nodes(
        store.nodes,
        (provider, pool),
        request.node_types,
        request.id,
        now,
        new_only=makes and (request.is_min_ready or not request.reuse),
    )
    rules = [state_rule(request, store.nodes.of_request(request.id), now)]
    if request.state is RequestState.REQUESTED:
        view = PoolView(
            id=component.id,
            provider=provider,
            name=pool,
            labels=component.supported_labels,
            priority=component.priority,
            enabled=configured is None or configured.max_servers > 0,
            launches=makes,
            out_of_service=store.maintenance.providers_in_words(),
        )
        if store.requests.is_locked(request.id):
            rules.append(Rule("lock", Effect.WAITS, "somebody holds its lock"))
        found = list(verdicts(Wish.of(request), view, store.components.pools()))
        rules += [rule_of(each) for each in found]
        if component.paused:
            rules.append(Rule("paused", Effect.WAITS, "the pool shows that it has no room"))
        if all(each.answer is Answer.SERVE for each in found):
            rules += _limits(component, request, store, config, configured)
            plan = _plan(component, request, store.nodes)

            def count_free(label: str) -> int:
                return store.nodes.count_free(provider, pool, label)

            if plan.complete or (config is not None and provider in config.providers):
                rules.append(
                    nodes_rule(
                        provider,
                        request.node_types,
                        plan,
                        stock.uses,
                        count_free,
                        makes,
                        every_machine=False,
                    )
                )
            else:
                words = (
                    f"no free node with label {listed(request.node_types)} at provider "
                    f"{provider}: {in_words(stock.uses)}; whether it makes one is not known here"
                )
                rules.append(Rule("nodes", Effect.WAITS, words))
        rules.append(_UNHEARD)
    return PoolExplanation(
        launcher=component.hostname,
        provider=provider,
        pool=pool,
        verdict=verdict_of(rules),
        rules=tuple(rules),
        nodes=stock.nodes if request.state is RequestState.REQUESTED else (),
        more_nodes=stock.more if request.state is RequestState.REQUESTED else 0,
        id=component.id,
        answered=False,
    )


def _configured(component: PoolComponent, config: Config | None) -> PoolConfig | None:
    provider = config.providers.get(component.provider_name) if config else None
    if provider is None:
        return None
    return next((pool for pool in provider.pools if pool.name == component.name), None)


def _is_static(provider: str, config: Config | None) -> bool:
    return config is not None and isinstance(config.providers.get(provider), StaticProvider)


def _limits(
    component: PoolComponent,
    request: NodeRequest,
    store: Store,
    config: Config | None,
    configured: PoolConfig | None,
) -> list[Rule]:
    """Of instances alone: what else a node counts for is known to its launcher only."""
    tenant = Account.of_tenant(request.tenant_name) if request.tenant_name else None
    pool = Account.of_pool(component.provider_name, component.name)
    limits: dict[Account, Amounts] = {}
    accounts = [pool]
    static = _is_static(component.provider_name, config)
    if configured is not None and not static and configured.max_servers != math.inf:
        limits[pool] = {"instances": configured.max_servers}
    if config is not None and tenant is not None:
        accounts.append(tenant)
        limits[tenant] = config.tenant_resource_limits.get(tenant.name, {})
    charges = (Charge(tuple(accounts), {"instances": len(request.node_types)}),)
    used = store.nodes.usage.used
    short = shortages(needed_by(charges), limits, used)
    return limit_rules(charges, limits, used, short, lambda account, resource: 0)


def _plan(component: PoolComponent, request: NodeRequest, nodes: NodeTable) -> Plan:
    """What it could have of what is there."""

    def candidates(label: str, at_most: int) -> Sequence[Node]:
        return nodes.free_nodes(component.provider_name, component.name, label, at_most)

    chosen = choose(request.node_types, candidates)
    charges = tuple(Charge((), {}) for node in chosen if node is not None)
    return Plan(request.node_types, chosen, None, charges)
