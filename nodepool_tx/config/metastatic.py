"""The section of a provider that divides up the nodes of other providers."""

from __future__ import annotations

import attrs

from nodepool_tx.config.cloud import CloudLabel, CloudPool, CloudProvider
from nodepool_tx.config.cloud_section import (
    LAUNCH_KEYS,
    RepeatedNames,
    integer_from,
    launch_fields,
    number,
    read_label_name,
)
from nodepool_tx.config.document import printable
from nodepool_tx.config.drivers import (
    POOL_KEYS,
    PROVIDER_KEYS,
    ReadContext,
    common_pool_fields,
    common_provider_fields,
)
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.section import Cursor, Section

__all__ = ["MetastaticLabel", "MetastaticPool", "MetastaticProvider", "MetastaticSection"]

_KEYS = PROVIDER_KEYS | LAUNCH_KEYS | {"rate"}
_POOL_KEYS = POOL_KEYS | {"labels", "host-key-checking"}
_LABEL_KEYS = frozenset(
    {
        "name",
        "backing-label",
        "max-parallel-jobs",
        "grace-time",
        "min-retention-time",
        "max-age",
        "host-key-checking",
    }
)
_BACKING = "the backing node brings it along"
_MISNOMERS = {
    "labels": "it belongs to a pool",
    "host-key-checking": "it belongs to a pool",
    "node-attributes": "it belongs to a pool",
    "max-servers": "it belongs to a pool",
    "cloud-images": _BACKING,
    "diskimages": _BACKING,
}
_POOL_MISNOMERS = {
    "backing-label": "it belongs to a label",
    "backing-node-attributes": f"{_BACKING}; node-attributes override it",
}
_LABEL_MISNOMERS = {
    "label": "did you mean backing-label?",
    "min-ready": "it belongs to the label at the top",
    "max-ready-age": "it belongs to the label at the top",
    "node-attributes": "it belongs to the pool",
    "backing-node-attributes": f"{_BACKING}; node-attributes of the pool override it",
    "cloud-image": _BACKING,
    "diskimage": _BACKING,
    "username": _BACKING,
    "python-path": _BACKING,
    "connection-type": _BACKING,
    "connection-port": _BACKING,
}


@attrs.frozen
class MetastaticLabel(CloudLabel):
    """A kind of node that several of fit on one backing node.

    :ivar backing_label: of the nodes to divide up.
    :ivar max_parallel_jobs: how many nodes fit on one: its slots.
    :ivar grace_time: seconds a backing node is kept after its last node went.
    :ivar min_retention_time: seconds a backing node is kept in any case,
        counted from its launch.
    :ivar max_age: seconds after its launch at which a backing node gets no more
        nodes; None for never.
    """

    host_key_checking: bool = False
    backing_label: str = ""
    max_parallel_jobs: int = 1
    grace_time: int = 60
    min_retention_time: int = 0
    max_age: int | None = None

    @property
    def backing(self) -> tuple[str, int, int, int, int | None]:
        """All that has to be the same for all labels with one backing label."""
        return (
            self.backing_label,
            self.max_parallel_jobs,
            self.grace_time,
            self.min_retention_time,
            self.max_age,
        )


@attrs.frozen
class MetastaticPool(CloudPool):
    """A group of such labels with a limit of its own.

    :ivar cloud_labels: :class:`MetastaticLabel` by name.
    """

    cloud_labels: FrozenMapping[str, MetastaticLabel] = attrs.field(factory=FrozenMapping)
    host_key_checking: bool = False


@attrs.frozen
class MetastaticProvider(CloudProvider):
    """Nodes that are parts of nodes of other providers.

    Its calls go to ZooKeeper, so there is no ``rate`` to keep to.
    """

    pools: tuple[MetastaticPool, ...] = attrs.field(default=(), eq=frozenset)
    rate: float = 0.0
    boot_timeout: float = 120.0


class MetastaticSection:
    """Reads providers whose driver is ``metastatic``."""

    name = "metastatic"

    def read(self, place: Cursor, context: ReadContext) -> MetastaticProvider | None:
        section = place.section("a metastatic provider", _KEYS, _MISNOMERS)
        if section is None:
            return None
        named = section.required("name")
        name = (named.text() if named is not None else None) or ""
        common = common_provider_fields(section)
        launching = launch_fields(section, boot_timeout=120)
        _ignore_rate(section)
        section.required("pools")
        names = UniqueNames("pool")
        labels = _LabelReader(context)
        pools: list[MetastaticPool] = []
        for item in section.items("pools"):
            pool = item.section("a metastatic pool", _POOL_KEYS, _POOL_MISNOMERS)
            if pool is None:
                continue
            fields = common_pool_fields(pool)
            pool_name = names.read(pool)
            pool.required("labels")
            checking = pool.boolean("host-key-checking", False)
            found = labels.read(pool, checking)
            if pool_name is not None:
                pools.append(
                    MetastaticPool(
                        name=pool_name,
                        provider_name=name,
                        provider_priority=common["priority"],
                        host_key_checking=checking,
                        labels=frozenset(found),
                        cloud_labels=FrozenMapping(found),
                        **fields,
                    )
                )
        if not name:
            return None
        return MetastaticProvider(
            name=name, driver=self.name, pools=tuple(pools), **common, **launching
        )


def _ignore_rate(section: Section) -> None:
    """Nodepool 11 reads it and makes nothing of it."""
    place = section.at("rate")
    if place is not None and number(place) is not None:
        place.warning("has no effect, as no cloud is asked", "remove it")


class _LabelReader:
    """Reads the labels of one provider, which share backing nodes."""

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        self._backing: dict[str, tuple[MetastaticLabel, Cursor]] = {}

    def read(self, pool: Section, checking: bool) -> dict[str, MetastaticLabel]:
        names = RepeatedNames("label")
        labels: dict[str, MetastaticLabel] = {}
        for place in pool.items("labels"):
            section = place.section("a label of a metastatic pool", _LABEL_KEYS, _LABEL_MISNOMERS)
            if section is None:
                continue
            # Nodepool's own validator lets one pass that is not at the top.
            name = read_label_name(section, self._context, names, fatal=False)
            label = self._label(name or "", section, checking)
            if label.backing_label:
                self._share(label, place)
            if name is not None:
                labels[name] = label
        return labels

    def _label(self, name: str, section: Section, checking: bool) -> MetastaticLabel:
        label = MetastaticLabel(
            name=name,
            backing_label=self._backing_label(name, section),
            max_parallel_jobs=integer_from(section, "max-parallel-jobs", 1, 1),
            grace_time=integer_from(section, "grace-time", 60, 0),
            min_retention_time=integer_from(section, "min-retention-time", 0, 0),
            max_age=section.integer("max-age", 0, minimum=0, hint="0 stands for no limit") or None,
            host_key_checking=section.boolean("host-key-checking", checking),
        )
        if label.max_age is not None and label.max_age < label.min_retention_time:
            place = section.at("max-age") or section.cursor
            place.error(
                f"must not be less than min-retention-time, which is {label.min_retention_time}"
            )
        return label

    def _backing_label(self, name: str, section: Section) -> str:
        place = section.required("backing-label")
        backing = None if place is None else place.text()
        if place is None or backing is None:
            return ""
        self._context.check_label(place, backing, fatal=False)
        if backing == name:
            place.warning("the label is backed by itself", "name a label of another provider")
        return backing

    def _share(self, label: MetastaticLabel, place: Cursor) -> None:
        """Labels that share backing nodes have to agree on how to use them."""
        first, where = self._backing.setdefault(label.backing_label, (label, place))
        if label.backing == first.backing:
            return
        place.error(
            f"differs from the label {printable(first.name)} in line {where.line},"
            f" which has the same backing-label",
            "max-parallel-jobs, grace-time, min-retention-time and max-age must be the same",
        )
