"""Locks and registrations that nobody will ever give up, and places of what is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nodepool_tx.check.farm import CONTENDER, Farm, Holder
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.repairs import Remove
from nodepool_tx.store import paths
from nodepool_tx.store.codec import EMPTY

__all__ = ["locks_ownerless", "locks_without_owner_record"]


def locks_ownerless(farm: Farm) -> Iterator[Finding]:
    """Locks that go with no session, and so would be held for ever; registrations likewise."""
    for node_id, holders in farm.node_locks.items():
        if node_id not in farm.unreadable_nodes:
            yield from _ownerless(f"lock of node {node_id}", holders)
    for request_id, holders in farm.request_locks.items():
        # That of a request that is gone goes with its directory.
        if farm.is_request(request_id) or not all(holder.ownerless for holder in holders):
            yield from _ownerless(f"lock of request {request_id}", holders)
    for root, what in (
        (paths.OWNERS, "ownership of provider"),
        (paths.ELECTIONS, "election"),
    ):
        for directory, _ in farm.children(root):
            name = directory.rpartition("/")[2]
            yield from _ownerless(f"{what} {name}", farm.holders_in(directory))
    for path in farm.trees:
        directory, _, name = path.rpartition("/")
        if CONTENDER in name and directory.startswith(paths.IMAGES + "/"):
            (holder,) = (each for each in farm.holders_in(directory) if each.path == path)
            yield from _ownerless(f"lock {directory}", (holder,))
    for kind, _ in farm.children(paths.COMPONENTS):
        for path, znode in farm.children(kind):
            if not znode.stat.ephemeralOwner:
                yield Finding(
                    code="component-ownerless",
                    what=f"{kind.rpartition('/')[2]} {path.rpartition('/')[2]}",
                    path=path,
                    words="it is registered without a session, and would be taken to be online "
                    "for ever",
                    repair=Remove(((path, znode.stat.version),)),
                    evidence=znode.stat.czxid,
                )


def _ownerless(what: str, holders: Iterable[Holder]) -> Iterator[Finding]:
    for holder in holders:
        if holder.ownerless:
            who = f" ({holder.identifier})" if holder.identifier else ""
            yield Finding(
                code="lock-ownerless",
                what=what,
                path=holder.path,
                words=f"somebody{who} stands in line without a session, and will do so for ever",
                repair=Remove(((holder.path, holder.version),)),
            )


def locks_without_owner_record(farm: Farm) -> Iterator[Finding]:
    """Locks of requests that are gone, and nodes of which nothing but a place is left."""
    for request_id, holders in farm.request_locks.items():
        if not farm.is_request(request_id) and request_id in farm.lock_stats:
            yield from _orphaned(request_id, holders, farm)
    for node_id, rubbish in farm.unreadable_nodes.items():
        if rubbish.reason == EMPTY:
            yield from _empty_node(node_id, farm)


def _orphaned(request_id: str, holders: tuple[Holder, ...], farm: Farm) -> Iterator[Finding]:
    path, (since, version) = paths.request_lock(request_id), farm.lock_stats[request_id]
    what = f"lock of request {request_id}"
    owned = [holder for holder in holders if not holder.ownerless]
    if owned:
        if farm.age(min(holder.since for holder in owned)) > farm.ages.overdue:
            yield Finding(
                code="lock-orphaned",
                what=what,
                path=path,
                words="the request is gone, and somebody goes on holding its lock",
                left=f"who holds it: {_whose(owned)}",
                evidence=tuple(holder.path for holder in owned),
            )
        return
    if not holders and farm.age(since) <= farm.ages.locks:
        return
    yield Finding(
        code="lock-ownerless" if holders else "lock-orphaned",
        what=what,
        path=path,
        words="the request is gone, and its lock "
        + ("is held for ever by nobody" if holders else f"is left for {farm.age(since):.0f} s"),
        repair=Remove((*_all(holders), (path, version))),
        evidence=tuple(holder.path for holder in holders),
    )


def _empty_node(node_id: str, farm: Farm) -> Iterator[Finding]:
    rubbish = farm.unreadable_nodes[node_id]
    holders = farm.node_locks.get(node_id, ())
    owned = [holder for holder in holders if not holder.ownerless]
    age = farm.age(rubbish.since)
    if age <= (farm.ages.overdue if owned else farm.ages.swept) and (owned or not holders):
        return
    lock_dir = ((paths.node_lock(node_id), -1),) if node_id in farm.lock_dirs else ()
    yield Finding(
        code="lock-ownerless" if holders and not owned else "node-empty",
        what=f"node {node_id}",
        path=rubbish.path,
        words="nothing is left of it but its place"
        + (", and its lock is held" if holders else f", for {age:.0f} s"),
        repair=None
        if owned
        else Remove((*_all(holders), *lock_dir, (rubbish.path, rubbish.version))),
        left=f"who holds its lock: {_whose(owned)}" if owned else "",
        evidence=(rubbish.mzxid, tuple(holder.path for holder in holders)),
    )


def _all(holders: Iterable[Holder]) -> tuple[tuple[str, int], ...]:
    return tuple((holder.path, holder.version) for holder in holders)


def _whose(holders: list[Holder]) -> str:
    return ", ".join(
        f"{holder.identifier or 'somebody'} (session {holder.session:#x})" for holder in holders
    )
