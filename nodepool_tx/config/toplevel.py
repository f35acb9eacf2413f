"""The keys at the top of the configuration and of the secure file."""

from __future__ import annotations

import ipaddress
import math

from nodepool_tx.config.document import printable
from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.schema import Label, Server, Webapp, ZookeeperTls
from nodepool_tx.config.section import Cursor, Section, suggest
from nodepool_tx.config.tree import type_name

__all__ = [
    "read_labels",
    "read_max_hold_age",
    "read_tenant_limits",
    "read_webapp",
    "read_zookeeper_servers",
    "read_zookeeper_tls",
]

_LABEL_KEYS = frozenset({"name", "min-ready", "max-ready-age"})
_SERVER_KEYS = frozenset({"host", "port", "chroot"})
_TLS_KEYS = ("cert", "key", "ca")
_WEBAPP_KEYS = frozenset({"port", "listen_address"})

#: Keys of a tenant's limits and the resources they stand for.
_TENANT_LIMITS = {
    "max-cores": "cores",
    "max-servers": "instances",
    "max-ram": "ram",
    "max-volumes": "volumes",
    "max-volume-gb": "volume-gb",
}


def read_labels(places: list[Cursor]) -> dict[str, Label]:
    """Labels by name."""
    names = UniqueNames("label")
    labels: dict[str, Label] = {}
    for place in places:
        section = place.section("a label", _LABEL_KEYS)
        if section is None:
            continue
        name = names.read(section)
        label = Label(
            name=name or "",
            min_ready=section.integer("min-ready", 0, minimum=-1, hint="-1 disables the label"),
            max_ready_age=section.integer(
                "max-ready-age", 0, minimum=0, hint="0 stands for no limit"
            ),
        )
        if name is None:
            continue
        if len(name.split()) > 1 or name != name.strip():
            here = section.at("name") or place
            here.error(
                f"the label {printable(name)!r} must not contain spaces",
                "nodes list several labels that way",
            )
        labels.setdefault(name, label)
    return labels


def read_webapp(section: Section) -> Webapp:
    """Where to serve HTTP."""
    place = section.at("webapp")
    below = None if place is None else place.section("the web server", _WEBAPP_KEYS)
    if below is None:
        return Webapp()
    return Webapp(
        port=below.integer("port", 8005, minimum=0, maximum=65535),
        listen_address=below.text("listen_address", "0.0.0.0"),
    )


def read_max_hold_age(section: Section) -> float:
    """Seconds; absent, zero or less is no limit."""
    value = section.integer("max-hold-age", 0)
    return value if value > 0 else math.inf


def read_zookeeper_tls(section: Section) -> ZookeeperTls | None:
    """The three files TLS needs, or none of them."""
    place = section.at("zookeeper-tls")
    below = None if place is None else place.section("zookeeper-tls", _TLS_KEYS)
    if below is None or place is None:
        return None
    if not below.node.entries:
        return None
    paths = []
    for key in _TLS_KEYS:
        named = below.required(key)
        path = None if named is None else named.text("the path of a file")
        paths.append(path or "")
    return ZookeeperTls(*paths)


def read_zookeeper_servers(places: list[Cursor]) -> tuple[Server, ...]:
    """The ensemble, one chroot for all of it.

    A chroot that only some of the servers name is meant for all, as in a
    connection string, where it is written once at the end.
    """
    servers: list[Server] = []
    first: Cursor | None = None
    chroot = ""
    for place in places:
        section = place.section("a ZooKeeper server", _SERVER_KEYS)
        if section is None:
            continue
        named = section.required("host")
        host = None if named is None else _host(named)
        port = section.integer("port", 2281, minimum=1, maximum=65535)
        root_place = section.at("chroot")
        root = "" if root_place is None else _chroot(root_place)
        if root and root_place is not None:
            if first is None:
                chroot, first = root, root_place
            elif root != chroot:
                root_place.error(f"differs from that of the server in line {first.line}")
        if named is None or host is None:
            continue
        server = Server(host, port)
        if server in servers:
            named.warning("this server is listed twice")
        else:
            servers.append(server)
    return tuple(Server(server.host, server.port, chroot) for server in servers)


def _host(place: Cursor) -> str | None:
    text = place.word("a host name or an address")
    if text is None:
        return None
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        try:
            return str(ipaddress.IPv6Address(bare))
        except ValueError:
            place.error("is not a host name or an address", "the port has a key of its own: port")
            return None
    return bare


def _chroot(place: Cursor) -> str:
    text = place.word("a path in ZooKeeper")
    if text is None:
        return ""
    parts = [part for part in text.split("/") if part]
    if any(part in {".", ".."} for part in parts):
        place.error("is not a path in ZooKeeper")
        return ""
    return "".join(f"/{part}" for part in parts)


def read_tenant_limits(places: list[Cursor]) -> FrozenMapping[str, FrozenMapping[str, float]]:
    """Limits by tenant and resource."""
    names = UniqueNames("tenant", "tenant-name")
    tenants: dict[str, FrozenMapping[str, float]] = {}
    for place in places:
        section = place.section("a tenant's limits", None)
        if section is None:
            continue
        name = names.read(section)
        limits = _limits(section)
        if name is not None:
            tenants.setdefault(name, limits)
    return FrozenMapping(tenants)


def _limits(section: Section) -> FrozenMapping[str, float]:
    limits: dict[str, float] = {"cores": math.inf, "instances": math.inf, "ram": math.inf}
    for filed, (key, _) in section.node.entries.items():
        if filed == "tenant-name":
            continue
        place = section.cursor.child(key.text, key)
        if not isinstance(filed, str):
            place.error(f"must be the name of a resource, not {type_name(key.value)}")
            continue
        if filed not in _TENANT_LIMITS and filed.startswith(("max-", "max_")):
            place.warning(
                "is taken for the name of a driver's resource", suggest(filed, _TENANT_LIMITS)
            )
        value = section.integer(filed, None, minimum=0)
        if value is not None:
            limits[_TENANT_LIMITS.get(filed, filed)] = value
    return FrozenMapping(limits)
