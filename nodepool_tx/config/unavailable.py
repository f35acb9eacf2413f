"""Sections of drivers that Nodepool 11 has and this version does not.

Only what all of them share is looked at: names, priorities and limits.  A label
that is not defined at the top harms nobody here, since nothing is handed out,
and Nodepool's own validator lets it pass.
"""

from __future__ import annotations

from nodepool_tx.config.drivers import ReadContext, common_pool_fields, common_provider_fields
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.schema import PoolConfig, UnavailableProvider
from nodepool_tx.config.section import Cursor, Section
from nodepool_tx.config.tree import ScalarNode

__all__ = ["UnavailableSection"]


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
            text = name.word()
            if text is not None:
                context.check_label(name, text, fatal=False)
                found.add(text)
        return frozenset(found)
