"""The verbs that only look."""

from __future__ import annotations

from collections.abc import Iterable

from nodepool_tx.cli.options import Verbs
from nodepool_tx.cli.outcome import Complaint
from nodepool_tx.cli.showing import show
from nodepool_tx.cli.visit import Visit
from nodepool_tx.model import Node
from nodepool_tx.reports.lists import (
    image_report,
    label_report,
    node_report,
    provider_node_report,
    request_report,
)
from nodepool_tx.reports.report import Report, Sections
from nodepool_tx.store.image_erasing import ProviderImages

__all__ = ["add_verbs", "show_nodes"]


def add_verbs(verbs: Verbs) -> None:
    nodes = verbs.add_list("list", "list nodes", list_nodes, example="list --detail")
    nodes.add_argument("--detail", action="store_true", help="show more columns")
    nodes.add_argument("id", nargs="?", metavar="ID", help="only this node")
    verbs.add_list(
        "request-list",
        "list node requests in the order of the queue",
        list_requests,
        example="request-list --watch",
    )
    verbs.add_list(
        "label-list",
        "list the labels that pools online offer",
        list_labels,
        example="label-list --format json",
    )
    info = verbs.add_list(
        "info", "show what ZooKeeper holds of a provider", show_info, example="info rack1"
    )
    info.add_argument("provider", metavar="PROVIDER")


async def list_nodes(visit: Visit) -> Report:
    """``list``, of all nodes or of one."""
    nodes, wanted, detail = visit.store.nodes, visit.options.id, visit.options.detail
    if wanted is None:
        return _nodes(visit, nodes, detail=detail)
    node = nodes.get(wanted)
    if node is None:
        reason = nodes.unreadable.get(wanted)
        raise Complaint(
            f"node {wanted} is unreadable: {reason}"
            if reason
            else f"there is no node {wanted}; nodepool list shows all"
        )
    return _nodes(visit, [node], detail=detail)


def _nodes(visit: Visit, nodes: Iterable[Node], *, detail: bool = False) -> Report:
    return node_report(nodes, visit.store.nodes.is_locked, visit.clock.seconds(), detail=detail)


def show_nodes(visit: Visit, nodes: Iterable[Node]) -> int:
    """Print these nodes as ``list`` does."""
    return show(visit, _nodes(visit, nodes))


async def list_requests(visit: Visit) -> Report:
    """``request-list``."""
    return request_report(visit.store.requests)


async def list_labels(visit: Visit) -> Report:
    """``label-list``."""
    return label_report(visit.store.components.pools())


async def show_info(visit: Visit) -> Sections:
    """``info``: the images and nodes of one provider."""
    provider = visit.options.provider
    builds = await ProviderImages(visit.client, provider).builds()
    images = image_report({(build.image, build.build_id): build.uploads for build in builds})
    nodes = provider_node_report(visit.store.nodes.of_provider(provider))
    return Sections(
        f"ZooKeeper data for provider {provider}",
        {"provider": provider},
        (("images", "Image data", images), ("nodes", "Nodes", nodes)),
    )
