"""What a reload would do to everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import attrs

from nodepool_tx.config.schema import (
    Config,
    ProviderConfig,
    StaticProvider,
    UnavailableProvider,
    Webapp,
)
from nodepool_tx.preview.nodes import Effect, NodeEffect, cloud_effects, static_effects
from nodepool_tx.reload_plan import ReloadPlan, plan_reload
from nodepool_tx.store.store import Store

__all__ = ["Preview", "preview"]


@attrs.frozen
class Preview:
    """All that would happen.

    :ivar drivers: of the providers in the plan, by name.
    :ivar notes: what takes effect in other ways, and what to look at.
    :ivar existing: how many nodes the providers have now.
    """

    plan: ReloadPlan
    drivers: Mapping[str, str]
    nodes: tuple[NodeEffect, ...]
    notes: tuple[str, ...]
    existing: int

    @property
    def lost(self) -> int:
        """Nodes that there are now, and then are not."""
        gone = (Effect.DEREGISTERED, Effect.DELETED)
        return sum(1 for node in self.nodes if node.effect in gone)

    @property
    def lost_percent(self) -> float:
        """How much of what there is would go."""
        return 100.0 * self.lost / self.existing if self.existing else 0.0

    def count(self, effect: Effect, *, in_use: bool | None = None) -> int:
        """How many nodes this happens to."""
        return sum(
            1
            for node in self.nodes
            if node.effect is effect and (in_use is None or node.in_use == in_use)
        )


def preview(old: Config, new: Config, store: Store, now: float) -> Preview:
    """Compare two configurations and look at what ZooKeeper holds.

    :param old: the one in force.
    :param now: seconds since the epoch.
    """
    running = {
        name: provider
        for name, provider in old.providers.items()
        if not isinstance(provider, UnavailableProvider)
    }
    plan = plan_reload(running, new)
    names = (*plan.replaced, *plan.added, *plan.removed)
    # Most of those that stay the same have nothing to do; what they have, a reload does not change.
    nodes = tuple(
        effect
        for name in sorted(names)
        for effect in _effects(name, running.get(name), new.providers.get(name), store, now)
    )
    concerned = set(running) | {effect.provider for effect in nodes}
    return Preview(
        plan=plan,
        drivers={
            name: (new.providers.get(name) or running[name]).driver for name in (*names, *plan.kept)
        },
        nodes=nodes,
        notes=(*_notes(old, new, plan), *_kept_by_others(plan, store)),
        existing=sum(len(tuple(store.nodes.of_provider(name))) for name in concerned),
    )


def _effects(
    name: str, old: ProviderConfig | None, new: ProviderConfig | None, store: Store, now: float
) -> Iterator[NodeEffect]:
    if isinstance(new, UnavailableProvider):
        new = None
    if isinstance(new, StaticProvider):
        yield from static_effects(name, new, store.nodes, store.maintenance, now)
        return
    if new is None and isinstance(old, StaticProvider):
        yield from static_effects(name, None, store.nodes, store.maintenance, now)
        return
    offers = {(pool.name, label) for pool in new.pools for label in pool.labels} if new else set()
    yield from cloud_effects(name, offers, store.nodes)


def _notes(old: Config, new: Config, plan: ReloadPlan) -> Iterator[str]:
    for name in plan.unavailable:
        provider = new.providers[name]
        assert isinstance(provider, UnavailableProvider)
        yield f"provider {name} serves nothing: {provider.reason}"
    for name in plan.replaced:
        before, after = old.providers[name].driver, new.providers[name].driver
        if before != after:
            yield f"provider {name} changes its driver from {before} to {after}"
    yield from _services(old, new)
    gone = sorted(_offered(old) - _offered(new))
    if gone:
        yield f"no pool has these labels any more: {', '.join(gone)}"
    for label in sorted(new.labels.keys() & old.labels.keys()):
        stock, then = old.labels[label].min_ready, new.labels[label].min_ready
        if stock != then:
            yield f"label {label}: min-ready {stock} -> {then}"
    for warning in new.warnings:
        yield str(warning)


def _services(old: Config, new: Config) -> Iterator[str]:
    """What else changes in a launcher, and when."""
    moved = bool(old.zookeeper_servers) != bool(new.zookeeper_servers)
    before = (old.zookeeper_tls, old.zookeeper_timeout)
    if moved or before != (new.zookeeper_tls, new.zookeeper_timeout):
        yield "the ZooKeeper settings change at the next start of the launcher"
    elif old.zookeeper_servers != new.zookeeper_servers:
        yield "other ZooKeeper servers are used, which must be of the same ensemble"
    if old.webapp != new.webapp:
        yield f"HTTP moves from {_address(old.webapp)} to {_address(new.webapp)}"
    if old.operations.audit_log != new.operations.audit_log:
        yield "the audit log changes at the next start of the launcher"


def _address(webapp: Webapp) -> str:
    return f"{webapp.listen_address} port {webapp.port}"


def _kept_by_others(plan: ReloadPlan, store: Store) -> Iterator[str]:
    """Another launcher that has a provider as well goes on with its nodes."""
    for name in plan.removed:
        pools = (pool.name for pool in store.components.pools() if pool.provider_name == name)
        launchers = max(Counter(pools).values(), default=0)
        if launchers > 1:
            yield f"{launchers} launchers have provider {name}: its nodes go with the last of them"


def _offered(config: Config) -> set[str]:
    return {label for pool in config.pools for label in pool.labels}
