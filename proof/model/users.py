"""Jobs that use one node each, without a request: enough to be in the way of a reload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import attrs

from nodepool_tx.model import NodeState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node
from proof.model.clients import joining, own_contender
from proof.model.seen import Operations, node_in, nodes_in
from proof.model.zookeeper import Refused, Tree, delete, write

__all__ = ["User", "user_steps"]


class User(NamedTuple):
    """One job: ``stage`` is what it does next."""

    session: int
    stage: str = "promise"
    node: str = ""


def user_steps(tree: Tree, user: User) -> Iterator[tuple[str, Tree, User]]:
    """A node is promised (``pools.transactions.fulfil``), locked, used, and let go."""
    asks: Operations
    if user.stage == "promise":
        for node in nodes_in(tree):
            free = node.state is NodeState.READY and not node.allocated_to
            if free and not tree.contenders(paths.node_lock(node.id)):
                promised = attrs.evolve(node, allocated_to=f"100-{user.session:010d}")
                asks = (write(paths.node(node.id), encode_node(promised), node.version),)
                after = user._replace(stage="lock", node=node.id)
                yield f"is promised node {node.id}", tree.after(asks, user.session), after
        return
    if user.stage == "done":
        return
    lock = paths.node_lock(user.node)
    if user.stage == "lock":
        asks = joining(tree, lock, user.session)
        after, words = user._replace(stage="in-use"), "locks"
    elif user.stage == "unlock":
        contender = own_contender(tree, lock, user.session)
        asks = (delete(contender),) if contender else ()
        after, words = User(0, "done"), "unlocks"
    else:
        used = node_in(tree, user.node)
        if used is None:
            return
        state = NodeState(user.stage)
        asks = (write(paths.node(used.id), encode_node(used.in_state(state, 0.0))),)
        after = user._replace(stage="used" if user.stage == "in-use" else "unlock")
        words = f"makes {user.stage}"
    try:
        yield f"{words} node {user.node}", tree.after(asks, user.session), after
    except Refused:
        return
