"""Putting the pieces of one cloud provider together."""

from __future__ import annotations

from random import Random

import attrs

from nodepool_tx.config.cloud import CloudProvider
from nodepool_tx.nodescan.interface import Scanner
from nodepool_tx.pools.interface import PoolSettings
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.breaker import Breakers
from nodepool_tx.providers.cloud.deletion import Deletions
from nodepool_tx.providers.cloud.interface import CloudAdapter
from nodepool_tx.providers.cloud.offers import Offers
from nodepool_tx.providers.cloud.pacing import Calls, Pacer
from nodepool_tx.providers.cloud.polling import Poller
from nodepool_tx.providers.cloud.quota import ProviderQuota
from nodepool_tx.providers.interface import ProviderContext
from nodepool_tx.providers.pooling import settings_of

__all__ = ["open_account", "pool_settings"]


def pool_settings(config: CloudProvider) -> tuple[PoolSettings, ...]:
    """What the pools of a provider need to be told."""
    return tuple(
        attrs.evolve(
            settings_of(config, pool),
            limits=pool.limits,
            ignore_provider_quota=pool.ignore_provider_quota,
        )
        for pool in config.pools
    )


def open_account(
    config: CloudProvider,
    context: ProviderContext,
    adapter: CloudAdapter,
    scanner: Scanner,
    random: Random,
    paced: bool,
) -> Account:
    """Everything about one cloud; nothing is asked of it yet.

    :param paced: calls are no more frequent than the configured rate.
    """
    clock, name, chance = context.clock, config.name, random.random
    nodes = context.store.nodes
    pacer = Pacer(clock, config.rate if paced else 0.0)
    calls = Calls(clock, pacer, name, events=context.events)
    poller = Poller(
        clock,
        lambda: calls.call("list_instances", adapter.list_instances, first=True),
        adapter.poll_interval,
        name,
    )

    def identifier(pool: str | None) -> str:
        """The pool's id, as registered; another's of the provider where it has none."""
        for each in (pool, *(pool.name for pool in config.pools)):
            shown = context.registry.get(name, each) if each is not None else None
            if shown is not None:
                return shown.id
        return f"nodepool-tx {name}"

    return Account(
        config=config,
        clock=clock,
        store=context.store,
        scanner=scanner,
        adapter=adapter,
        calls=calls,
        poller=poller,
        breakers=Breakers(clock, name, chance),
        deletions=Deletions(clock, adapter, calls, poller, name, chance, context.events),
        offers=Offers(clock, config, adapter, calls, context.intervals.image_check, chance),
        quota=ProviderQuota(
            clock,
            name,
            lambda: calls.call("quota", adapter.quota),
            poller.next_listing,
            lambda node_id: nodes.get(node_id) is not None,
            chance=chance,
        ),
        identifier=identifier,
        events=context.events,
        random=random,
    )
