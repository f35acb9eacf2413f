"""What people are shown of a cloud provider: frozen values, in words where they are for people."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from nodepool_tx.providers.cloud import account as cloud
from nodepool_tx.providers.cloud.breaker import OpenBreaker
from nodepool_tx.providers.cloud.leaks import Leaks
from nodepool_tx.providers.cloud.pacing import CallCount
from nodepool_tx.providers.cloud.quota import QuotaStatus
from nodepool_tx.providers.cloud.removals import Removals
from nodepool_tx.store.usage import Account

__all__ = ["CloudStatus", "StuckDeletion", "describe", "troubles_of"]


@attrs.frozen
class StuckDeletion:
    """A server that does not go.

    :ivar node_id: the node it was made for, if that is known.
    :ivar since: when its deletion was begun (the clock's seconds).
    """

    external_id: str
    node_id: str | None
    since: float
    tries: int
    reason: str


@attrs.frozen(kw_only=True)
class CloudStatus:
    """How a provider and its cloud are doing.

    :ivar launching: nodes being made by this process.
    :ivar deleting: nodes being removed by this process, and those in line.
    :ivar used: what the provider's nodes use together, as their records say.
    :ivar waiting_calls: calls that wait for their turn.
    """

    launching: int
    deleting: int
    in_line: int
    quota: QuotaStatus
    used: Mapping[str, float]
    breakers: tuple[OpenBreaker, ...]
    stuck: tuple[StuckDeletion, ...]
    leaks_removed: Mapping[str, int]
    poller_trouble: str | None
    listings: int
    calls: Mapping[str, CallCount]
    waiting_calls: int
    impossible: Mapping[str, str]


def describe(
    account: cloud.Account, launching: int, removals: Removals, leaks: Leaks
) -> CloudStatus:
    """How things are now."""
    return CloudStatus(
        launching=launching,
        deleting=len(removals),
        in_line=removals.waiting,
        quota=account.quota.describe(),
        used=account.store.nodes.usage.used(Account.of_provider(account.name)),
        breakers=account.breakers.describe(),
        stuck=tuple(
            StuckDeletion(
                each.external_id,
                removals.node_of(each.external_id),
                each.since,
                each.tries,
                each.trouble,
            )
            for each in account.deletions.under_way()
            if each.trouble is not None
        ),
        leaks_removed=dict(leaks.removed),
        poller_trouble=account.poller.trouble,
        listings=account.poller.listings,
        calls=account.calls.counts,
        waiting_calls=account.calls.pacer.waiting,
        impossible={
            f"{pool.name}/{name}": why
            for pool in account.config.pools
            for name, label in pool.cloud_labels.items()
            if (why := account.impossible(pool.name, label)) is not None
        },
    )


def troubles_of(status: CloudStatus, leaks: Leaks) -> tuple[str, ...]:
    """What keeps nodes from being made or removed, a line each."""
    lines = [status.poller_trouble, status.quota.trouble, status.quota.refusal, leaks.trouble]
    lines += [
        f"{_name(each)} is left alone after {each.failures} failures, the last: {each.reason}"
        for each in status.breakers
    ]
    lines += [
        f"server {each.external_id}{f' of node {each.node_id}' if each.node_id else ''} "
        f"is not deleted after {each.tries} tries: {each.reason}"
        for each in status.stuck
    ]
    lines += [f"label {key} cannot be made: {why}" for key, why in status.impossible.items()]
    return tuple(line for line in lines if line)


def _name(breaker: OpenBreaker) -> str:
    if breaker.label is None:
        return "the whole provider"
    where = f" in zone {breaker.zone}" if breaker.zone else ""
    return f"label {breaker.label}{where}"
