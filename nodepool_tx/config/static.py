"""The section of a static provider."""

from __future__ import annotations

from nodepool_tx.config.document import printable
from nodepool_tx.config.drivers import (
    POOL_KEYS,
    PROVIDER_KEYS,
    ReadContext,
    common_pool_fields,
    common_provider_fields,
)
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.schema import StaticNode, StaticPool, StaticProvider
from nodepool_tx.config.section import Cursor, Section
from nodepool_tx.config.tree import SequenceNode

__all__ = ["StaticSection"]

_POOL_KEYS = POOL_KEYS | {"nodes"}
_NODE_KEYS = frozenset(
    {
        "name",
        "labels",
        "host-key",
        "host-key-checking",
        "timeout",
        "connection-port",
        "ssh-port",
        "connection-type",
        "shell-type",
        "username",
        "max-parallel-jobs",
        "python-path",
    }
)
_POOL_MISNOMERS = {"labels": "a static pool has the labels of its nodes"}
_NODE_MISNOMERS = {
    "hostname": "did you mean name?",
    "host": "did you mean name?",
    "host-keys": "did you mean host-key? It takes a list too",
    "port": "did you mean connection-port?",
    "node-attributes": "they belong to the pool",
}

_Identities = dict[tuple[str, str, int], Cursor]


class StaticSection:
    """Reads providers whose driver is ``static``."""

    name = "static"

    def read(self, place: Cursor, context: ReadContext) -> StaticProvider | None:
        section = place.section("a static provider", PROVIDER_KEYS)
        if section is None:
            return None
        named = section.required("name")
        name = (named.text() if named is not None else None) or ""
        common = common_provider_fields(section)
        names = UniqueNames("pool")
        identities: _Identities = {}
        pools: list[StaticPool] = []
        for item in section.items("pools"):
            pool = item.section("a static pool", _POOL_KEYS, _POOL_MISNOMERS)
            if pool is None:
                continue
            fields = common_pool_fields(pool)
            pool_name = names.read(pool)
            nodes = self._nodes(pool, context, identities)
            if pool_name is not None:
                pools.append(
                    StaticPool(
                        name=pool_name,
                        provider_name=name,
                        provider_priority=common["priority"],
                        labels=frozenset(label for node in nodes for label in node.labels),
                        nodes=nodes,
                        **fields,
                    )
                )
        if not name:
            return None
        return StaticProvider(name=name, driver=self.name, pools=tuple(pools), **common)

    def _nodes(
        self, pool: Section, context: ReadContext, identities: _Identities
    ) -> tuple[StaticNode, ...]:
        nodes: list[StaticNode] = []
        labels = _LabelReader(context)
        for item in pool.items("nodes"):
            section = item.section("a static node", _NODE_KEYS, _NODE_MISNOMERS)
            if section is None:
                continue
            node, identified = _read_node(section, labels)
            nodes.append(node)
            if identified:
                self._claim(node, section, context, identities)
        return tuple(nodes)

    def _claim(
        self, node: StaticNode, section: Section, context: ReadContext, identities: _Identities
    ) -> None:
        """Two nodes of one identity are one machine handed out twice."""
        here = section.cursor
        first = identities.setdefault(node.identity, here)
        elsewhere = context.first_use(("static node", node.identity), here)
        place = section.at("name") or here
        message = "has the host name, user name and port of the node in line"
        if first is not here:
            place.error(
                f"{message} {first.line} ({first.path})",
                "use max-parallel-jobs for several jobs on one machine",
            )
        elif elsewhere is not here:
            place.warning(
                f"{message} {elsewhere.line} ({elsewhere.path})",
                "both providers will hand it out",
            )


def _read_node(section: Section, labels: _LabelReader) -> tuple[StaticNode, bool]:
    """A node, and whether all that identifies it could be read."""
    problems = section.cursor.document.problems
    before = problems.count
    named = section.required("name")
    name = (None if named is None else named.word()) or ""
    username = section.text("username", "zuul")
    connection_type = section.text("connection-type", "ssh")
    port = _port(section, connection_type)
    identified = problems.count == before
    node = StaticNode(
        name=name,
        labels=labels.read(section),
        host_keys=_host_keys(section),
        host_key_checking=section.boolean("host-key-checking", True),
        timeout=section.integer("timeout", 5, minimum=1),
        connection_port=port,
        connection_type=connection_type,
        shell_type=section.text("shell-type", None),
        username=username,
        max_parallel_jobs=section.integer("max-parallel-jobs", 1, minimum=0),
        python_path=section.text("python-path", "auto"),
    )
    if node.max_parallel_jobs == 0:
        place = section.at("max-parallel-jobs") or section.cursor
        place.warning("0 takes the node out of service")
    return node, identified


def _port(section: Section, connection_type: str) -> int:
    """``connection-port``, or ``ssh-port`` as files from long ago have it."""
    legacy = section.integer("ssh-port", None, minimum=1, maximum=65535)
    port = section.integer("connection-port", legacy, minimum=1, maximum=65535)
    if port is not None:
        if legacy is not None and port != legacy:
            place = section.at("ssh-port") or section.cursor
            place.warning("is not used", "connection-port says something else")
        return port
    if connection_type == "winrm":
        place = section.at("connection-type") or section.cursor
        place.warning(
            "winrm without connection-port uses port 22, as Nodepool 11 does",
            "winrm over HTTPS has the port 5986",
        )
    return 22


def _host_keys(section: Section) -> tuple[str, ...]:
    """Keys in the order of the file; a text of several lines is several keys."""
    keys: list[str] = []
    for place in section.texts("host-key"):
        text = place.text("a host key or a list of them")
        if text is not None:
            keys.extend(line.strip() for line in text.splitlines() if line.strip())
    return tuple(keys)


class _LabelReader:
    """Reads the labels of nodes; like lists become one tuple.

    A text is split at white space, alone and in a list alike: ``a b`` means
    the labels a and b wherever it stands.
    """

    def __init__(self, context: ReadContext) -> None:
        self._context = context
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def read(self, section: Section) -> tuple[str, ...]:
        """The labels of one node; at least one is required."""
        place = section.required("labels")
        if place is None:
            return ()
        found: list[str] = []
        texts = section.texts("labels")
        for item in texts:
            for label in (item.text("a label or a list of labels") or "").split():
                self._context.check_label(item, label)
                if label in found:
                    item.warning(f"the label {printable(label)} is given twice")
                else:
                    found.append(label)
        if not texts and isinstance(place.node, SequenceNode):
            place.error("a static node needs at least one label")
        labels = tuple(found)
        return self._shared.setdefault(labels, labels)
