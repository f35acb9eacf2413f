"""Our configuration of clouds in the shape that ``reference_config`` prints Nodepool's in."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from nodepool_tx.config import (
    Config,
    DiskImage,
    PoolConfig,
    ProviderConfig,
    Server,
    StaticNode,
    StaticPool,
    thaw,
)
from nodepool_tx.config.metastatic import MetastaticPool, MetastaticProvider
from nodepool_tx.config.openstack import OpenStackImage, OpenStackPool, OpenStackProvider
from tests.functional import reference_config as theirs

__all__ = ["cloud_values", "comparable", "whole"]


def whole(config: Config) -> dict[str, Any]:
    """What every configuration has; of providers only what all drivers have in common."""
    tls = config.zookeeper_tls
    return {
        **_fields(config, theirs.TOP),
        "zookeeper": sorted(_server(server) for server in config.zookeeper_servers),
        "tls": [None, None, None] if tls is None else [tls.cert, tls.key, tls.ca],
        "webapp": _fields(config.webapp, "port listen_address"),
        "tenants": {
            tenant: {resource: theirs.finite(limit) for resource, limit in limits.items()}
            for tenant, limits in config.tenant_resource_limits.items()
        },
        "diskimages": {name: _diskimage(image) for name, image in config.diskimages.items()},
        "labels": {
            name: _fields(label, "min_ready max_ready_age") for name, label in config.labels.items()
        },
        "providers": {
            name: {
                "driver": provider.driver,
                **_fields(provider, theirs.EVERY_PROVIDER),
                "pools": {pool.name: _any_pool(pool) for pool in provider.pools},
            }
            for name, provider in config.providers.items()
        },
    }


def _server(server: Server) -> str:
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"{host}:{server.port}{server.chroot}"


def _diskimage(image: DiskImage) -> dict[str, Any]:
    return {
        **_fields(image, theirs.DISKIMAGE),
        "elements": " ".join(image.elements),
        "formats": sorted(image.formats),
        "keep_formats": sorted(image.keep_formats),
        "meta": thaw(image.metadata),
    }


def _any_pool(pool: PoolConfig) -> dict[str, Any]:
    nodes = [_node(node) for node in pool.nodes] if isinstance(pool, StaticPool) else []
    return {
        **_fields(pool, theirs.EVERY_POOL),
        "labels": sorted(pool.labels),
        "nodes": sorted(nodes, key=repr),
    }


def _node(node: StaticNode) -> list[Any]:
    names = theirs.NODE.replace("host-key ", "host-keys ").replace("-", "_")
    return [thaw(getattr(node, name)) for name in names.split()]


def cloud_values(
    config: Config, there: dict[str, dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ours and Nodepool 11's values of all providers that have much to be said about them.

    There, a disk image that a provider does not list has no values; it gets ours.
    """
    values = {name: comparable(provider) for name, provider in config.providers.items()}
    ours: dict[str, Any] = json.loads(
        json.dumps({name: value for name, value in values.items() if value is not None})
    )
    filled_in: dict[str, Any] = copy.deepcopy(there)
    for provider, below in filled_in.items():
        for pool, of_pool in below["pools"].items():
            for name, label in of_pool["labels"].items():
                if "image" in label and label["image"] is None:
                    label["image"] = ours[provider]["pools"][pool]["labels"][name]["image"]
    return ours, filled_in


def comparable(provider: ProviderConfig) -> dict[str, Any] | None:
    """The values of a provider; None when it is of another driver."""
    if isinstance(provider, OpenStackProvider):
        found = _fields(provider, f"{theirs.PROVIDER} {theirs.CLOUD}")
        found["rate"] = round(1 / provider.rate, 9) if provider.rate else 0
        found["clean_floating_ips"] = provider.clean_floating_ips
        found["pools"] = {pool.name: _pool(pool) for pool in provider.pools}
        return found
    if isinstance(provider, MetastaticProvider):
        found = _fields(provider, theirs.PROVIDER)
        found["pools"] = {pool.name: _pool(pool) for pool in provider.pools}
        return found
    return None


def _fields(thing: object, names: str) -> dict[str, Any]:
    values = {name: thaw(getattr(thing, name)) for name in names.split()}
    return {name: None if value == math.inf else value for name, value in values.items()}


def _pool(pool: PoolConfig) -> dict[str, Any]:
    if isinstance(pool, MetastaticPool):
        labels = {n: _fields(label, theirs.META) for n, label in pool.cloud_labels.items()}
        return {**_fields(pool, theirs.POOL), "labels": labels}
    assert isinstance(pool, OpenStackPool)
    found = _fields(pool, f"{theirs.POOL} {theirs.CLOUD_POOL}")
    found["zones"] = list(pool.zones)
    found["labels"] = {}
    for name, label in pool.cloud_labels.items():
        assert isinstance(label.image, OpenStackImage)
        found["labels"][name] = {**_fields(label, theirs.LABEL), "image": _image(label.image)}
    return found


def _image(image: OpenStackImage) -> dict[str, Any]:
    if image.diskimage:
        return _fields(image, f"{theirs.IMAGE} meta pause")
    return {**_fields(image, theirs.IMAGE), "external": image.external_name}
