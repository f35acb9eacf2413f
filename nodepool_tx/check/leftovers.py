"""What makes no sense, and notes that have had their time."""

from __future__ import annotations

import json
from collections.abc import Iterator

from nodepool_tx.check.farm import Farm
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.repairs import Remove
from nodepool_tx.maintenance import not_configured
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.codec import EMPTY, Unreadable, decode_component
from nodepool_tx.store.image_tree import Znode
from nodepool_tx.store.leases import decode_lease

__all__ = ["drains_done", "maintenance_of_nothing", "questions_left", "rubbish"]

_LOOK = "look at what is there, and remove it when you know that nobody needs it"


def rubbish(farm: Farm) -> Iterator[Finding]:
    """Znodes whose content makes no sense; keys that are not known are fine."""
    for node_id, what in farm.unreadable_nodes.items():
        if what.reason != EMPTY:
            yield _rubbish(f"node {node_id}", what.path, what.reason, what.mzxid)
    for request_id, reason in farm.unreadable_requests.items():
        yield _rubbish(f"request {request_id}", paths.request(request_id), reason)
    for path, reason in farm.unreadable_images.items():
        if reason != EMPTY:
            place = image_paths.place_of(path)
            kind = "build" if place is None or place.upload_id is None else "upload"
            yield _rubbish(kind, path, reason)
    for path, reason in farm.unreadable_maintenance.items():
        yield _rubbish("maintenance", path, reason)
    yield from _rubbish_components(farm)
    for path, znode in farm.children(paths.DRAINING):
        if _driver_of(znode) is None:
            yield _rubbish("draining", path, "it names no driver", znode.stat.mzxid)
    for path, znode in farm.children(paths.LEASES):
        try:
            decode_lease(path.rpartition("/")[2], znode.data)
        except Unreadable as e:
            yield _rubbish("lease", path, str(e), znode.stat.mzxid)


def _rubbish_components(farm: Farm) -> Iterator[Finding]:
    for kind, _ in farm.children(paths.COMPONENTS):
        for path, znode in farm.children(kind):
            try:
                decode_component(kind.rpartition("/")[2], znode.data, path=path)
            except Unreadable as e:
                yield _rubbish("component", path, str(e), znode.stat.mzxid)


def _rubbish(what: str, path: str, reason: str, mzxid: int = 0) -> Finding:
    return Finding(
        code="unreadable", what=what, path=path, words=reason, left=_LOOK, evidence=(reason, mzxid)
    )


def _driver_of(znode: Znode) -> str | None:
    try:
        return str(json.loads(znode.data)["driver"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


# -- notes ---------------------------------------------------------------------


def drains_done(farm: Farm) -> Iterator[Finding]:
    """Providers that are noted as being emptied, and are not."""
    busy = {node.provider for node in farm.nodes.values()}
    # A node that makes no sense may be of any provider.
    unknown = any(node.reason != EMPTY for node in farm.unreadable_nodes.values())
    online = {pool.provider_name for pool in farm.pools}
    for path, znode in farm.children(paths.DRAINING):
        name = path.rpartition("/")[2]
        if _driver_of(znode) is None:
            continue
        if farm.config is not None and name in farm.config.providers and name in online:
            words = "it is noted as being emptied, and is configured again"
        elif name not in busy and not unknown:
            words = "it is noted as being emptied, and has no nodes"
        else:
            continue
        yield Finding(
            code="draining-done",
            what=f"provider {name}",
            path=path,
            provider=name,
            words=words,
            repair=Remove(((path, znode.stat.version),)),
            evidence=znode.stat.mzxid,
        )


def questions_left(farm: Farm) -> Iterator[Finding]:
    """Questions to the launchers that nobody waits for any more."""
    for path, znode in farm.children(paths.QUESTIONS):
        age = farm.age(znode.stat.ctime / 1000)
        if age > farm.ages.swept:
            answers = tuple((below, each.stat.version) for below, each in farm.children(path))
            yield Finding(
                code="question-left-over",
                what=f"question {path.rpartition('/')[2]}",
                path=path,
                words=f"nobody has waited for its answers for {age:.0f} s",
                repair=Remove((*answers, (path, znode.stat.version))),
                evidence=tuple(below for below, _ in answers),
            )


def maintenance_of_nothing(farm: Farm) -> Iterator[Finding]:
    """Records of hosts and providers that are not configured."""
    if farm.config is None:
        return
    for record in not_configured(farm.maintenance, farm.config):
        path = (
            paths.maintenance_of_host(record.host)
            if record.host is not None
            else paths.maintenance_of_provider(record.provider or "")
        )
        if path in farm.unreadable_maintenance:
            continue
        yield Finding(
            code="maintenance-not-configured",
            what=record.target,
            path=path,
            provider=record.provider,
            words="it is out of service, and the configuration does not have it",
            left="another launcher may have it, or it comes back; if not: nodepool return "
            f"{record.host or record.provider}",
            evidence=record.version,
        )
