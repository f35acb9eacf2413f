"""Our configuration of clouds in the shape that ``reference_config`` prints Nodepool's in."""

from __future__ import annotations

import math
from typing import Any

from nodepool_tx.config import PoolConfig, ProviderConfig, thaw
from nodepool_tx.config.metastatic import MetastaticPool, MetastaticProvider
from nodepool_tx.config.openstack import OpenStackImage, OpenStackPool, OpenStackProvider
from tests.functional import reference_config as theirs

__all__ = ["comparable"]


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
