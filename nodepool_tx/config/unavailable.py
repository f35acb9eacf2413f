"""Sections of drivers that Nodepool 11 has and this version does not.

Only what all of them share is looked at: names, priorities and limits.  That
labels and disk images exist is insisted on where Nodepool's own validator does;
elsewhere a label that does not exist harms nobody, since nothing is handed out.
"""

from __future__ import annotations

from nodepool_tx.config.drivers import ReadContext, common_pool_fields, common_provider_fields
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.schema import PoolConfig, UnavailableProvider
from nodepool_tx.config.section import Cursor, Section
from nodepool_tx.config.tree import ScalarNode

__all__ = ["UnavailableSection"]

#: Drivers whose labels and disk images have to be defined at the top.
_STRICT = frozenset({"openstack", "fake"})


class UnavailableSection:
    """Reads what can be read without the driver called ``name``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, place: Cursor, context: ReadContext) -> UnavailableProvider | None:
        section = place.section("a provider", None)
        if section is None:
            return None
        named = section.required("name")
        name = named.text() if named is not None else None
        common = common_provider_fields(section)
        if self.name in _STRICT:
            self._check_diskimages(section, context)
        names = UniqueNames("pool")
        pools: list[PoolConfig] = []
        for pool_place in section.items("pools"):
            pool = pool_place.section("a pool", None)
            if pool is None:
                continue
            pool_name = names.read(pool)
            fields = common_pool_fields(pool)
            labels = self._labels(pool, context)
            if name is not None and pool_name is not None:
                pools.append(
                    PoolConfig(
                        name=pool_name,
                        provider_name=name,
                        provider_priority=common["priority"],
                        labels=labels,
                        **fields,
                    )
                )
        raw = place.frozen_mapping(dates=True)
        if name is None:
            return None
        return UnavailableProvider(
            name=name, driver=self.name, pools=tuple(pools), raw=raw, **common
        )

    def _labels(self, pool: Section, context: ReadContext) -> frozenset[str]:
        found: set[str] = set()
        for item in pool.items("labels"):
            name = item
            if not isinstance(item.node, ScalarNode):
                label = item.section("a label of a pool", None)
                named = None if label is None else label.required("name")
                if label is None or named is None:
                    continue
                name = named
                if self.name in _STRICT:
                    self._check_diskimage(label.at("diskimage"), context)
            text = name.word()
            if text is not None:
                context.check_label(name, text, fatal=self.name in _STRICT)
                found.add(text)
        return frozenset(found)

    def _check_diskimages(self, section: Section, context: ReadContext) -> None:
        for item in section.items("diskimages"):
            image = item.section("a disk image of a provider", None)
            if image is not None:
                self._check_diskimage(image.required("name"), context)

    def _check_diskimage(self, place: Cursor | None, context: ReadContext) -> None:
        name = None if place is None else place.text()
        if place is not None and name is not None:
            context.check_diskimage(place, name)
