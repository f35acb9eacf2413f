"""Where Nodepool 11 keeps what in ZooKeeper, and the way back from a path.

These are ours: ``OWNERS``, the lock that says which launcher looks after
the nodes of a provider, ``DRAINING``, the providers being emptied, ``TENANTS``,
the fences of tenants with limits, ``MAINTENANCE``, what an operator took out of
service, ``LEASES``, nodes lent over HTTP, and ``QUESTIONS``, what somebody asks
all launchers.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote

ROOT = "/nodepool"
NODES = f"{ROOT}/nodes"
REQUESTS = f"{ROOT}/requests"
REQUEST_LOCKS = f"{ROOT}/requests-lock"
COMPONENTS = f"{ROOT}/components"
ELECTIONS = f"{ROOT}/elections"
IMAGES = f"{ROOT}/images"
OWNERS = f"{ROOT}/owners"
DRAINING = f"{ROOT}/draining"
TENANTS = f"{ROOT}/tenants"
MAINTENANCE = f"{ROOT}/maintenance"
LEASES = f"{ROOT}/leases"
QUESTIONS = f"{ROOT}/questions"

#: What must exist before anything is watched.
SKELETON = (
    NODES,
    REQUESTS,
    REQUEST_LOCKS,
    COMPONENTS,
    ELECTIONS,
    OWNERS,
    DRAINING,
    TENANTS,
    MAINTENANCE,
    LEASES,
    QUESTIONS,
)


def node(node_id: str) -> str:
    return f"{NODES}/{node_id}"


def node_lock(node_id: str) -> str:
    return f"{NODES}/{node_id}/lock"


def request(request_id: str) -> str:
    return f"{REQUESTS}/{request_id}"


def request_lock(request_id: str) -> str:
    return f"{REQUEST_LOCKS}/{request_id}"


def component(kind: str, hostname: str) -> str:
    """The prefix of a component's znode; the server appends a sequence."""
    return f"{COMPONENTS}/{kind}/{hostname}"


def owner_lock(provider: str) -> str:
    return f"{OWNERS}/{provider}"


def below(root: str, path: str) -> tuple[str, ...]:
    """The parts of ``path`` under ``root``; none for the root itself."""
    return tuple(path[len(root) + 1 :].split("/")) if len(path) > len(root) else ()


def draining(provider: str) -> str:
    return f"{DRAINING}/{provider}"


def image_build(image: str, build_id: str) -> str:
    return f"{IMAGES}/{image}/builds/{build_id}"


def image_upload(image: str, build_id: str, provider: str, upload_id: str) -> str:
    """The path of an upload; without an id it is what the server appends one to."""
    return f"{IMAGES}/{image}/builds/{build_id}/providers/{provider}/images/{upload_id}"


def tenant(name: str) -> str:
    """The fence of a tenant, whose name may hold anything."""
    return f"{TENANTS}/{quote(name, safe='').replace('.', '%2E')}"


@lru_cache(maxsize=10_000)
def maintenance_of_host(name: str) -> str:
    """Asked for whenever it matters whether a host is in service, which a job does often."""
    return f"{MAINTENANCE}/host-{quote(name, safe='')}"


@lru_cache(maxsize=10_000)
def maintenance_of_provider(name: str) -> str:
    """Asked for as often as that of a host."""
    return f"{MAINTENANCE}/provider-{quote(name, safe='')}"


def maintained(name: str) -> tuple[str | None, str | None] | None:
    """Which host or which provider a znode below ``MAINTENANCE`` is about, from its name."""
    kind, _, quoted = name.partition("-")
    target = unquote(quoted)
    if not target or kind not in ("host", "provider") or quote(target, safe="") != quoted:
        return None
    return (target, None) if kind == "host" else (None, target)


def lease(lease_id: str) -> str:
    return f"{LEASES}/{lease_id}"


def min_ready_election(label: str) -> str:
    """Where it is decided who keeps a label in stock; Nodepool 11 looks at none of these."""
    return f"{ELECTIONS}/min-ready-{quote(label, safe='')}"
