"""Servers nobody knows of, and nodes without one."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from nodepool_tx.check.farm import CloudView, Farm
from nodepool_tx.check.findings import Finding
from nodepool_tx.check.repairs import Delete, Reclaim
from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.interface import NODE_ID, PROVIDER_NAME, Resource
from nodepool_tx.providers.cloud.leaks import INSTANCE, Known, why_leaked
from nodepool_tx.store import image_paths, paths

__all__ = ["clouds_wrong", "recorded_servers"]

#: A node in one of these should have a server all the time.
_WITH_SERVER = (NodeState.READY, NodeState.IN_USE, NodeState.HOLD)


def recorded_servers(farm: Farm, provider: str) -> dict[str, str]:
    """The servers that a provider's nodes should have, by node."""
    return {
        node.id: str(node.external_id)
        for node in farm.nodes.values()
        if node.provider == provider and node.external_id is not None and node.state in _WITH_SERVER
    }


def clouds_wrong(farm: Farm) -> Iterator[Finding]:
    """What the clouds show that does not go with the nodes, and the other way round."""
    seen: set[tuple[str, str]] = set()
    for provider in sorted(farm.clouds):
        view = farm.clouds[provider]
        if view.trouble is not None:
            yield Finding(
                code="cloud-not-asked",
                what=f"provider {provider}",
                path=provider,
                provider=provider,
                words=f"its cloud does not tell what there is: {view.trouble}",
                left="check again when it does, or with --no-clouds",
            )
            continue
        for finding in (*_leaked(provider, view, farm), *_lost(provider, view, farm)):
            # Providers may share an account.
            thing = (finding.code, finding.path)
            if thing not in seen:
                seen.add(thing)
                yield finding


@attrs.frozen
class _Recorded:
    """What a farm knows to be in use, as the sweep for leaks asks for it."""

    farm: Farm
    provider: str
    uploads: frozenset[tuple[str, str]]

    @property
    def current(self) -> bool:
        return True

    def node(self, node_id: str) -> Node | None:
        """One that makes no sense may have any server."""
        if node_id in self.farm.unreadable_nodes:
            return Node(id=node_id, state=NodeState.BUILDING, provider=self.provider)
        return self.farm.nodes.get(node_id)

    def has_upload(self, build_id: str, upload_id: str) -> bool:
        return (build_id, upload_id) in self.uploads


def _is_known(recorded: _Recorded) -> Known:
    return recorded


def _recorded(farm: Farm, provider: str) -> Known:
    unreadable = (image_paths.place_of(path) for path in farm.unreadable_images)
    uploads = {
        *((each.build_id, each.id) for each in farm.uploads if each.provider == provider),
        *(
            (place.build_id or "", place.upload_id)
            for place in unreadable
            if place is not None and place.upload_id is not None and place.provider == provider
        ),
    }
    return _Recorded(farm, provider, frozenset(uploads))


def _leaked(provider: str, view: CloudView, farm: Farm) -> Iterator[Finding]:
    known = _recorded(farm, provider)
    for resource in view.resources:
        why = why_leaked(resource, provider, known)
        if why is None:
            continue
        yield Finding(
            code="cloud-second-server" if _is_second(resource, farm) else "cloud-leaked",
            what=f"{resource.kind} {resource.external_id}",
            path=resource.external_id,
            provider=provider,
            words=f"{why}, and it is in the cloud"
            + (f" as {provider}'s" if PROVIDER_NAME in resource.metadata else ""),
            repair=Reclaim(provider, resource),
            evidence=why,
        )


def _is_second(resource: Resource, farm: Farm) -> bool:
    node = farm.nodes.get(resource.metadata.get(NODE_ID, ""))
    return resource.kind == INSTANCE and node is not None and node.external_id is not None


def _lost(provider: str, view: CloudView, farm: Farm) -> Iterator[Finding]:
    there = {each.external_id for each in view.resources if each.kind == INSTANCE}
    now = recorded_servers(farm, provider)
    for node_id, server in view.before.items():
        if server in there or now.get(node_id) != server:
            continue
        node = farm.nodes[node_id]
        in_stock = (
            node.state is NodeState.READY and not node.allocated_to and not farm.is_locked(node_id)
        )
        yield Finding(
            code="cloud-lost",
            what=f"node {node_id}",
            path=paths.node(node_id),
            provider=provider,
            words=f"its server {server} is not in the cloud",
            repair=Delete(node) if in_stock else None,
            left="" if in_stock else f"somebody has it ({node.state.value}), and will find out",
            evidence=(node.mzxid, server),
        )
