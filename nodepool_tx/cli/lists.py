"""The verbs that only look."""

from __future__ import annotations

import json
from collections.abc import Iterable

from kazoo.exceptions import NoNodeError
from twisted.internet.defer import Deferred

from nodepool_tx.cli.gathering import gathered
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.visit import Visit
from nodepool_tx.model import Node
from nodepool_tx.reports.lists import (
    Report,
    image_report,
    label_report,
    node_report,
    provider_node_report,
    request_report,
)
from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.interface import ZookeeperAPI

__all__ = ["list_labels", "list_nodes", "list_requests", "show_info", "show_nodes"]


def _show(visit: Visit, report: Report) -> int:
    json_wanted = visit.options.format == "json"
    visit.terminal.result(report.as_json() if json_wanted else report.as_table())
    return ExitCode.OK


async def list_nodes(visit: Visit) -> int:
    """``list``, of all nodes or of one."""
    nodes, wanted = visit.store.nodes, visit.options.id
    if wanted is None:
        return show_nodes(visit, nodes, detail=visit.options.detail)
    node = nodes.get(wanted)
    if node is None:
        reason = nodes.unreadable.get(wanted)
        raise Complaint(
            f"node {wanted} is unreadable: {reason}"
            if reason
            else f"there is no node {wanted}; nodepool list shows all"
        )
    return show_nodes(visit, [node], detail=visit.options.detail)


def show_nodes(visit: Visit, nodes: Iterable[Node], *, detail: bool = False) -> int:
    """Print these nodes as ``list`` does."""
    is_locked, now = visit.store.nodes.is_locked, visit.clock.seconds()
    return _show(visit, node_report(nodes, is_locked, now, detail=detail))


async def list_requests(visit: Visit) -> int:
    """``request-list``."""
    return _show(visit, request_report(visit.store.requests))


async def list_labels(visit: Visit) -> int:
    """``label-list``."""
    return _show(visit, label_report(visit.store.components.pools()))


async def show_info(visit: Visit) -> int:
    """``info``: the images and nodes of one provider."""
    provider = visit.options.provider
    images = image_report(await _uploads(visit.client, provider))
    nodes = provider_node_report(visit.store.nodes.of_provider(provider))
    if visit.options.format == "json":
        visit.terminal.result(
            json.dumps({"provider": provider, "images": images.rows, "nodes": nodes.rows}, indent=2)
        )
        return ExitCode.OK
    visit.terminal.result(
        f"ZooKeeper data for provider {provider}\n\n"
        f"Image data:\n{images.as_table()}\n\nNodes:\n{nodes.as_table()}"
    )
    return ExitCode.OK


async def _children(client: ZookeeperAPI, path: str) -> list[str]:
    try:
        return await client.get_children(path)
    except NoNodeError:
        return []


async def _uploads(client: ZookeeperAPI, provider: str) -> dict[tuple[str, str], list[str]]:
    """Ids of a provider's image uploads, by image and build."""
    found: dict[tuple[str, str], list[str]] = {}

    async def look(image: str, build: str) -> None:
        place = f"{paths.IMAGES}/{image}/builds/{build}/providers/{provider}/images"
        ids = [name for name in await _children(client, place) if name != "lock"]
        if ids:
            found[image, build] = ids

    for image in await _children(client, paths.IMAGES):
        builds = await _children(client, f"{paths.IMAGES}/{image}/builds")
        await gathered(
            [Deferred.fromCoroutine(look(image, build)) for build in builds if build != "lock"]
        )
    return found
