"""Configurations of a static provider, and from which to which a reload goes."""

from __future__ import annotations

from functools import lru_cache

from nodepool_tx.config.schema import StaticNode, StaticPool, StaticProvider
from nodepool_tx.providers.static.desired import DesiredNode, desired_of
from proof.model.decisions import PROVIDER

__all__ = ["CHANGES", "SERVED", "config_of", "machines_of"]


def config_of(**hosts: str) -> StaticProvider:
    """A provider's configuration: the labels of each machine."""
    nodes = tuple(
        StaticNode(name=name, labels=tuple(labels), host_key_checking=False)
        for name, labels in hosts.items()
    )
    labels = frozenset(label for node in nodes for label in node.labels)
    pool = StaticPool(name="main", provider_name=PROVIDER, labels=labels, nodes=nodes)
    return StaticProvider(name=PROVIDER, driver="static", pools=(pool,))


@lru_cache
def machines_of(config: StaticProvider) -> tuple[DesiredNode, ...]:
    return tuple(desired_of(config).hosts.values())


#: From which configuration to which.
CHANGES = {
    "a node changed": (config_of(a="x", b="x"), config_of(a="x", b="y")),
    "a node removed": (config_of(a="x", b="x"), config_of(a="x")),
    "a node added": (config_of(a="x"), config_of(a="x", b="x")),
    "nothing changed": (config_of(a="x", b="x"), config_of(b="x", a="x")),
}

#: The same for a provider that serves requests for ``x`` meanwhile.
SERVED = {
    "a label added": (config_of(a="x", b="x"), config_of(a="x", b="xy")),
    **{name: CHANGES[name] for name in ("a node changed", "a node removed", "a node added")},
}
