"""What is in a slot, as the engine sees a server."""

from __future__ import annotations

import attrs

from nodepool_tx.model import Node
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import Instance, InstanceState, Login
from nodepool_tx.providers.metastatic.backing import Backing, Slot

__all__ = ["NEEDS", "instances_of"]

#: A slot has no size that anybody knows.
NEEDS = {"instances": 1}


def instances_of(backing: Backing, node: Node | None) -> tuple[Instance, ...]:
    """Everything that was carved out of a backing node.

    :param node: the backing node, where there is one.
    """
    return tuple(_instance(backing, number, slot, node) for number, slot in backing.held())


def _instance(backing: Backing, number: int, slot: Slot, node: Node | None) -> Instance:
    metadata = dict(slot.metadata)
    shown = Instance(
        external_id=slot.node_id,
        state=InstanceState.BUILDING,
        metadata=metadata,
        resources=NEEDS,
        slot=number,
    )
    if backing.trouble is not None:
        return attrs.evolve(shown, state=InstanceState.FAILED, fault=CloudError(backing.trouble))
    if node is None:
        return shown
    return attrs.evolve(
        shown,
        state=InstanceState.ACTIVE,
        interface_ip=node.interface_ip,
        public_ipv4=node.public_ipv4,
        public_ipv6=node.public_ipv6,
        private_ipv4=node.private_ipv4,
        zone=node.az,
        region=node.region,
        cloud=node.cloud,
        login=Login(
            username=node.username,
            python_path=node.python_path,
            shell_type=node.shell_type,
            connection_type=node.connection_type,
            connection_port=node.connection_port,
            host_keys=node.host_keys,
        ),
        attributes=dict(node.attributes) if node.attributes is not None else None,
        driver_data={
            "metadata": metadata,
            "backing_node": node.id,
            "slot": number,
            "node": slot.node_id,
        },
    )
