"""How the farm is, for Prometheus: nodes, requests, providers and limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from nodepool_tx.metrics.families import gauge, summary
from nodepool_tx.metrics.sources import Sources, limits_of
from nodepool_tx.model import RequestState
from nodepool_tx.providers.interface import Loop, Measured, Measures, ProviderService
from nodepool_tx.store.usage import Account

__all__ = ["FarmCollector", "limits_of", "measured"]

QUANTILES = (0.5, 0.9, 0.99)

Values = dict[tuple[str, ...], float]


def measured(sources: Sources) -> dict[str, tuple[ProviderService, Measures]]:
    """Every provider that runs here and can be measured, by name."""
    return {
        name: (service, service.measures())
        for name, service in sorted(sources.reloader.services().items())
        if isinstance(service, Measured)
    }


class FarmCollector:
    """Reads all this when it is asked for; see :class:`prometheus_client.registry.Collector`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Every family, with the values of this moment."""
        yield from self._nodes()
        yield from self._requests()
        yield from self._providers()
        yield from self._limits()
        yield from self._process()

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is asked for; there is no such name elsewhere."""
        return ()

    # -- nodes and requests ----------------------------------------------

    def _nodes(self) -> Iterator[Metric]:
        counts, store = self._sources.counts, self._sources.store
        yield gauge(
            "nodepool_nodes",
            "Nodes in ZooKeeper, whoever looks after them.",
            ["provider", "pool", "state"],
            {(key.provider, key.pool, key.state): n for key, n in counts.pools().items()},
        )
        yield gauge(
            "nodepool_label_nodes",
            "Nodes in ZooKeeper by label; one with several labels counts under each.",
            ["provider", "pool", "label", "state"],
            {
                (key.provider, key.pool, key.label, key.state): n
                for key, n in counts.labels().items()
            },
        )
        yield gauge(
            "nodepool_unreadable_records",
            "Records in ZooKeeper that make no sense and are left alone.",
            ["kind"],
            {
                ("node",): len(store.nodes.unreadable),
                ("request",): len(store.requests.unreadable),
            },
        )

    def _requests(self) -> Iterator[Metric]:
        counts, now = self._sources.counts, self._sources.clock.seconds()
        states = [state.value for state in RequestState]
        yield gauge(
            "nodepool_requests",
            "Requests in ZooKeeper.",
            ["state"],
            {(state,): counts.requests().get(state, 0) for state in states},
        )
        yield gauge(
            "nodepool_oldest_request_age_seconds",
            "How long ago the oldest request in each state was made; 0 if there is none.",
            ["state"],
            {
                (state,): counts.ages[state].oldest(now) if state in counts.ages else 0.0
                for state in states
            },
        )
        name = "nodepool_request_age_seconds"
        family = Metric(
            name, "How long ago the requests in each state were made, to 10 seconds.", "summary"
        )
        for state, ages in sorted(counts.ages.items()):
            quantiles = ages.quantiles(QUANTILES, now)
            summary(name, "", {"state": state}, quantiles, len(ages), ages.total(now), family)
        yield family

    # -- providers -------------------------------------------------------

    def _providers(self) -> Iterator[Metric]:
        waiting: Values = {}
        hosts: Values = {}
        launching: Values = {}
        deleting: Values = {}
        owned: Values = {}
        limits: Values = {}
        used: Values = {}
        loops: list[Loop] = list(self._sources.loops())
        usage = self._sources.store.nodes.usage
        for name, (service, measures) in measured(self._sources).items():
            loops += measures.loops
            owned[(name,)] = isinstance(service, Measured) and service.owner
            waiting.update({(name, pool): n for pool, n in measures.waiting.items()})
            hosts.update({(name, health): n for health, n in measures.hosts.items()})
            if measures.hosts:
                continue
            launching[(name,)] = measures.launching
            deleting[(name,)] = measures.deleting
            account = Account.of_provider(name)
            for resource, limit in (measures.quota or {}).items():
                if not math.isinf(limit):
                    limits[(name, resource)] = limit
                    others = measures.others.get(resource, 0.0)
                    used[(name, resource)] = usage.used_of(account, resource) + others
        for old in self._sources.reloader.retiring():
            # What it began goes on beside its successor.
            if isinstance(old, Measured) and (old.name,) in launching:
                measures = old.measures()
                launching[(old.name,)] += measures.launching
                deleting[(old.name,)] += measures.deleting
        yield gauge(
            "nodepool_provider_owned",
            "Whether this launcher looks after the nodes of the provider.",
            ["provider"],
            owned,
        )
        yield gauge(
            "nodepool_pool_requests_waiting",
            "Requests that a pool of this launcher has not answered.",
            ["provider", "pool"],
            waiting,
        )
        yield gauge(
            "nodepool_static_hosts",
            "Static hosts as this launcher knows them: up, down, unknown, or out of service.",
            ["provider", "health"],
            hosts,
        )
        yield gauge(
            "nodepool_launching_nodes",
            "Nodes that this launcher is making.",
            ["provider"],
            launching,
        )
        yield gauge(
            "nodepool_deleting_nodes",
            "Nodes that this launcher is removing, and those in line.",
            ["provider"],
            deleting,
        )
        yield gauge(
            "nodepool_quota_limit",
            "What a cloud allows, in the units of its API; ram in MiB, volume-gb in GiB.",
            ["provider", "resource"],
            limits,
        )
        yield gauge(
            "nodepool_quota_used",
            "What is used of that, by nodes and by others.",
            ["provider", "resource"],
            used,
        )
        yield gauge(
            "nodepool_loop_interval_seconds",
            "From one round of a loop to the next.",
            ["loop"],
            {(loop.name,): loop.interval for loop in loops},
        )
        now = self._sources.clock.seconds()
        yield gauge(
            "nodepool_loop_last_success_age_seconds",
            "Since a round of a loop last ended well; nothing before the first.",
            ["loop"],
            {
                (loop.name,): max(0.0, now - loop.last_success)
                for loop in loops
                if loop.last_success is not None
            },
        )

    # -- limits ----------------------------------------------------------

    def _limits(self) -> Iterator[Metric]:
        usage = self._sources.store.nodes.usage
        limits: Values = {}
        used: Values = {}
        for name, service in sorted(self._sources.reloader.services().items()):
            for pool in service.config.pools:
                account = Account.of_pool(name, pool.name)
                for resource, limit in limits_of(pool).items():
                    limits[(name, pool.name, resource)] = limit
                    used[(name, pool.name, resource)] = usage.used_of(account, resource)
        labels = ["provider", "pool", "resource"]
        yield gauge(
            "nodepool_pool_limit",
            "What the nodes of a pool may use together, by its configuration.",
            labels,
            limits,
        )
        yield gauge(
            "nodepool_pool_used", "What they use of that, as their records say.", labels, used
        )
        tenant_limits: Values = {}
        tenant_used: Values = {}
        for tenant, amounts in self._sources.tenant_limits.limits.items():
            for resource, limit in amounts.items():
                if not math.isinf(limit):
                    key = (tenant, resource)
                    tenant_limits[key] = limit
                    tenant_used[key] = usage.used_of(Account.of_tenant(tenant), resource)
        yield gauge(
            "nodepool_tenant_limit",
            "What the nodes of a tenant may use together.",
            ["tenant", "resource"],
            tenant_limits,
        )
        yield gauge(
            "nodepool_tenant_used",
            "What they use of that, as their records say.",
            ["tenant", "resource"],
            tenant_used,
        )

    # -- the process -----------------------------------------------------

    def _process(self) -> Iterator[Metric]:
        sources = self._sources
        errors = sources.launcher.last_errors
        yield gauge(
            "nodepool_build_info",
            "The version of nodepool_tx; always 1.",
            ["version"],
            {(sources.version,): 1},
        )
        yield gauge(
            "nodepool_config_errors",
            "What is wrong with the newest configuration; 0 if it was taken.",
            values={(): errors.count if errors is not None else 0},
        )
        yield gauge(
            "nodepool_store_current",
            "Whether this launcher knows all that is in ZooKeeper; it decides nothing otherwise.",
            values={(): sources.store.current},
        )
        yield gauge(
            "nodepool_event_streams",
            "Clients that follow this launcher over HTTP.",
            values={(): sources.streams() if sources.streams is not None else 0},
        )
