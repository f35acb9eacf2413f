"""What is written about a node while it is made: pure functions of its record.

The fields and when they are written are those of Nodepool 11.0.0
(``nodepool/driver/statemachine.py``, ``nodepool/driver/__init__.py``).
"""

from __future__ import annotations

from typing import Any

from nodepool_tx.config.cloud import CloudPool
from nodepool_tx.config.frozen import thaw
from nodepool_tx.model import Node, NodeRequest, NodeState
from nodepool_tx.providers.cloud.images import ChosenImage
from nodepool_tx.providers.cloud.interface import (
    NODE_ID,
    POOL_NAME,
    PROVIDER_NAME,
    Instance,
    Login,
)
from nodepool_tx.resources import Amounts

__all__ = ["begun", "host_name", "metadata_of", "planned", "ready", "with_instance"]

_LOGIN_FIELDS = (
    "username",
    "python_path",
    "shell_type",
    "connection_type",
    "connection_port",
    "host_keys",
)


def host_name(node_id: str) -> str:
    """What a node's server is called."""
    return f"np{node_id}"


def metadata_of(node: Node) -> dict[str, str]:
    """What a node's server carries, by which it is found again."""
    return {
        NODE_ID: node.id,
        POOL_NAME: node.pool or "",
        PROVIDER_NAME: node.provider or "",
    }


def planned(
    pool: CloudPool,
    label: str,
    request: NodeRequest,
    *,
    now: float,
    launcher: str,
    resources: Amounts | None,
    zone: str | None,
) -> Node:
    """The record of a node to be made for a request."""
    attributes: Any = None
    if pool.node_attributes is not None:
        attributes = thaw(pool.node_attributes)
    return Node(
        state=NodeState.INIT,
        state_time=now,
        created_time=now,
        provider=pool.provider_name,
        pool=pool.name,
        type=(label,),
        allocated_to=request.id,
        tenant_name=request.tenant_name,
        requestor=request.requestor,
        launcher=launcher,
        attributes=attributes,
        resources=dict(resources) if resources is not None else None,
        az=zone,
    )


def begun(
    node: Node, now: float, image: ChosenImage, needs: Amounts | None, zone: str | None
) -> Node:
    """The node as an attempt begins that makes it from ``image`` in ``zone``.

    Written before the cloud is asked.
    """
    if node.state is not NodeState.BUILDING:
        node = node.in_state(NodeState.BUILDING, now)
    known: dict[str, Any] = {"resources": dict(needs)} if needs is not None else {}
    return _reached_by(node, image.login).changed(
        image_id=image.image_id,
        hostname=host_name(node.id),
        az=zone,
        **known,
    )


def with_instance(node: Node, instance: Instance, pool: CloudPool) -> Node:
    """The node with all that its finished server tells."""
    address = instance.interface_ip
    if pool.use_internal_ip:
        address = instance.private_ipv4 or instance.private_ipv6 or address
    known: dict[str, Any] = {}
    if instance.resources is not None:
        known["resources"] = dict(instance.resources)
    if instance.attributes is not None:
        # What the pool says goes before what the cloud says.
        known["attributes"] = {**instance.attributes, **(node.attributes or {})}
    if instance.login is not None:
        node = _reached_by(node, instance.login)
    return node.changed(
        external_id=instance.external_id,
        interface_ip=address,
        public_ipv4=instance.public_ipv4,
        private_ipv4=instance.private_ipv4,
        public_ipv6=instance.public_ipv6,
        host_id=instance.host_id,
        cloud=instance.cloud,
        region=instance.region,
        az=instance.zone or node.az,
        driver_data=instance.driver_data,
        slot=instance.slot,
        node_properties=dict(instance.node_properties),
        **known,
    )


def ready(node: Node, now: float, host_keys: tuple[str, ...] | None) -> Node:
    """The node when it can be used; ``host_keys`` None leaves those it has."""
    changes: dict[str, Any] = {} if host_keys is None else {"host_keys": host_keys}
    return node.in_state(NodeState.READY, now, **changes)


def _reached_by(node: Node, login: Login) -> Node:
    known = {
        field: value for field in _LOGIN_FIELDS if (value := getattr(login, field)) is not None
    }
    return node.changed(**known)
