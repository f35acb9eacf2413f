"""From files to a :class:`~nodepool_tx.config.schema.Config`, or all errors.

Everything here is a function of the files' bytes and the environment; it may
run in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from nodepool_tx.config.cloud import CloudPool
from nodepool_tx.config.diskimages import DiskImages, read_diskimages, read_env_vars
from nodepool_tx.config.document import Document, printable
from nodepool_tx.config.drivers import DriverRegistry, DriverSection, ReadContext, driver_of
from nodepool_tx.config.errors import Problems
from nodepool_tx.config.fake import FakeSection
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.metastatic import MetastaticSection
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.openstack import OpenStackSection
from nodepool_tx.config.operations_section import read_operations
from nodepool_tx.config.schema import Config, DiskImage, Label, ProviderConfig
from nodepool_tx.config.section import Cursor, Section, suggest
from nodepool_tx.config.source import Sources, read_sources
from nodepool_tx.config.static import StaticSection
from nodepool_tx.config.toplevel import (
    read_labels,
    read_max_hold_age,
    read_tenant_limits,
    read_webapp,
    read_zookeeper_servers,
    read_zookeeper_tls,
)
from nodepool_tx.config.tree import MappingNode, SequenceNode
from nodepool_tx.config.unavailable import UnavailableSection

__all__ = ["BUILT_IN", "default_drivers", "load_config", "parse_sources"]

#: The readers of the drivers that this package brings.
BUILT_IN: tuple[DriverSection, ...] = (
    StaticSection(),
    OpenStackSection(),
    FakeSection(),
    MetastaticSection(),
)

_KEYS = frozenset(
    {
        "webapp",
        "elements-dir",
        "images-dir",
        "build-log-dir",
        "build-log-retention",
        "zookeeper-servers",
        "zookeeper-tls",
        "zookeeper-timeout",
        "providers",
        "labels",
        "diskimages",
        "max-hold-age",
        "tenant-resource-limits",
        "nodepool-tx",
    }
)
_SECURE_KEYS = frozenset({"zookeeper-servers", "zookeeper-tls", "diskimages", "nodepool-tx"})
_SECURE_IMAGE_KEYS = frozenset({"name", "env-vars"})


def default_drivers() -> DriverRegistry:
    """The drivers built in, and those that installed packages bring."""
    return DriverRegistry.with_installed(BUILT_IN)


def load_config(
    path: str,
    secure_path: str | None = None,
    env: Mapping[str, str] = os.environ,
    *,
    drivers: DriverRegistry | None = None,
) -> Config:
    """Read and check the configuration.

    :param env: where ``%(NODEPOOL_...)`` is looked up.
    :raises ConfigErrors: with everything that is wrong, also when a file
        cannot be read.
    """
    return parse_sources(read_sources(path, secure_path), env, drivers=drivers)


def parse_sources(
    sources: Sources,
    env: Mapping[str, str] = os.environ,
    *,
    drivers: DriverRegistry | None = None,
) -> Config:
    """Like :func:`load_config`, of files that were read already.

    :raises ConfigErrors: with everything that is wrong.
    """
    problems = Problems(file.path for file in sources.files)
    registry = default_drivers() if drivers is None else drivers
    main = Document(sources.config, env, problems)
    secure = None if sources.secure is None else Document(sources.secure, env, problems)
    fields: dict[str, Any] = {}
    images: DiskImages | None = None
    top: Section | None = None
    secure_top: Section | None = None
    if main.readable:
        if main.root is None:
            main.error(None, "", "is empty", "at least labels and providers belong here")
        else:
            top = Cursor(main, main.root).section("the configuration", _KEYS)
            if top is not None:
                images = read_diskimages(top.items("diskimages"))
                fields = _read_top(top, images, registry)
    if secure is not None and secure.root is not None:
        secure_top = Cursor(secure, secure.root).section("the secure file", _SECURE_KEYS)
        if secure_top is not None:
            fields |= _read_secure(secure_top, fields, images)
    fields["operations"] = read_operations(top, secure_top)
    if problems.count:
        raise problems.exception()
    return Config(**fields, warnings=problems.warnings, digest=sources.digest)


def _read_top(top: Section, images: DiskImages, registry: DriverRegistry) -> dict[str, Any]:
    labels = read_labels(top.items("labels"))
    context = ReadContext(
        labels=labels if not _unreadable_list(top, "labels") else None,
        diskimages=images.names if not _unreadable_list(top, "diskimages") else None,
        images=images.images,
    )
    return {
        "zookeeper_servers": read_zookeeper_servers(top.items("zookeeper-servers")),
        "zookeeper_tls": read_zookeeper_tls(top),
        "zookeeper_timeout": top.seconds("zookeeper-timeout", 10.0),
        "labels": FrozenMapping(labels),
        "diskimages": FrozenMapping(images.images),
        "providers": _without_disabled(
            _read_providers(top.items("providers"), context, registry), labels
        ),
        "elements_dir": top.text("elements-dir", None),
        "images_dir": top.text("images-dir", None),
        "build_log_dir": top.text("build-log-dir", None),
        "build_log_retention": top.integer(
            "build-log-retention", 7, minimum=-1, hint="-1 keeps all logs"
        ),
        "max_hold_age": read_max_hold_age(top),
        "webapp": read_webapp(top),
        "tenant_resource_limits": read_tenant_limits(top.items("tenant-resource-limits")),
    }


def _unreadable_list(top: Section, key: str) -> bool:
    """Its names are not known, so nothing can be said to be missing from it."""
    place = top.at(key)
    return place is not None and not isinstance(place.node, SequenceNode)


def _read_providers(
    places: list[Cursor], context: ReadContext, registry: DriverRegistry
) -> FrozenMapping[str, ProviderConfig]:
    names = UniqueNames("provider", slashes=False)
    providers: dict[str, ProviderConfig] = {}
    for place in places:
        section = place.section("a provider", None)
        driver = None if section is None else driver_of(section)
        if section is None or driver is None:
            continue
        provider = _read_provider(section, driver, context, registry)
        named = section.at("name")
        if provider is not None and named is not None:
            names.claim(provider.name, named)
            providers.setdefault(provider.name, provider)
    return FrozenMapping(providers)


def _without_disabled(
    providers: FrozenMapping[str, ProviderConfig], labels: dict[str, Label]
) -> FrozenMapping[str, ProviderConfig]:
    """Let no pool that makes nodes offer a label with a min-ready of -1."""
    disabled = {name for name, label in labels.items() if label.disabled}

    def reduced(provider: ProviderConfig) -> ProviderConfig:
        pools = tuple(
            attrs.evolve(pool, labels=pool.labels - disabled)
            if isinstance(pool, CloudPool)
            else pool
            for pool in provider.pools
        )
        return attrs.evolve(provider, pools=pools)

    if not disabled:
        return providers
    return FrozenMapping({name: reduced(provider) for name, provider in providers.items()})


def _read_provider(
    section: Section, driver: str, context: ReadContext, registry: DriverRegistry
) -> ProviderConfig | None:
    place = section.cursor
    at_driver = section.at("driver") or place
    try:
        reader: DriverSection | None = registry.find(driver)
    except Exception as error:  # whatever an installed package does wrong
        at_driver.error(f"the driver {printable(driver)} cannot be loaded: {_brief(error)}")
        return None
    if not section.has("driver"):
        _warn_forgotten_driver(section, driver)
    if reader is None:
        if driver not in registry.known:
            hint = suggest(driver, registry.known)
            at_driver.error(f"there is no driver {printable(driver)}", hint)
        reader = UnavailableSection(driver)
    try:
        return reader.read(place, context)
    except Exception as error:  # whatever an installed package does wrong
        place.error(f"the driver {printable(driver)} failed to read this: {_brief(error)}")
        return None


def _brief(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}", 200)


def _warn_forgotten_driver(section: Section, driver: str) -> None:
    """Nodes are listed where no driver but static looks for them."""
    pools = section.at("pools")
    listed = pools.node.items if pools and isinstance(pools.node, SequenceNode) else []
    if any(isinstance(pool, MappingNode) and "nodes" in pool.entries for pool in listed):
        section.cursor.warning(
            f"has no driver and is taken for {driver}, but lists nodes", "add driver: static"
        )


def _read_secure(top: Section, fields: dict[str, Any], images: DiskImages | None) -> dict[str, Any]:
    """What the secure file puts in the place of the main file's values."""
    changed: dict[str, Any] = {}
    servers = read_zookeeper_servers(top.items("zookeeper-servers"))
    if servers:
        changed["zookeeper_servers"] = servers
    tls = read_zookeeper_tls(top)
    if tls is not None:
        changed["zookeeper_tls"] = tls
    updated: dict[str, DiskImage] = dict(fields.get("diskimages", {}))
    names = UniqueNames("diskimage")
    for place in top.items("diskimages"):
        section = place.section("a disk image of the secure file", _SECURE_IMAGE_KEYS)
        if section is None:
            continue
        name = names.read(section)
        env_vars = read_env_vars(section) if section.required("env-vars") else None
        if name is None or images is None:
            continue
        image = updated.get(name)
        if image is not None:
            merged = dict(image.env_vars) | (env_vars or {})
            updated[name] = attrs.evolve(image, env_vars=FrozenMapping(merged))
        elif (named := section.at("name")) is not None:
            abstract = name in images.names
            named.error(
                f"the diskimage {printable(name)} is {'abstract' if abstract else 'not defined'}",
                None if abstract else suggest(name, images.images),
            )
    changed["diskimages"] = FrozenMapping(updated)
    return changed
