"""What launchers ask for about nodes that are made: by the launcher's own functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import cast

import attrs

from nodepool_tx.config.cloud import CloudPool
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.pools.accounts import Charge
from nodepool_tx.pools.following import Taken
from nodepool_tx.pools.interface import NodeMaker
from nodepool_tx.pools.planning import Plan
from nodepool_tx.pools.provision import Provision
from nodepool_tx.pools.selection import choose
from nodepool_tx.pools.transactions import finish, give_back, release_nodes, take
from nodepool_tx.providers.cloud.fate import Fate, Situation, fate_of
from nodepool_tx.providers.cloud.records import planned, ready
from proof.model.decisions import POOL, PROVIDER
from proof.model.seen import (
    NO_RESERVATION,
    Fence,
    Operations,
    asked_by,
    node_in,
    nodes_in,
    request_in,
    reservations,
    shown_in,
)
from proof.model.zookeeper import Tree

__all__ = ["Next", "fate", "made_node", "next_of_taken", "take_of", "under_lock"]

_POOL = CloudPool(name=POOL, provider_name=PROVIDER, labels=frozenset("x"))


def made_node() -> Node:
    """The record of a server that is in stock."""
    return Node(state=NodeState.READY, provider=PROVIDER, pool=POOL, type=("x",), launcher="old")


class _Maker:
    """What a pool asks of a provider that makes nodes.

    :param locks: the contenders under which this launcher makes nodes.
    """

    def __init__(self, pool_id: str, locks: dict[str, str]) -> None:
        self._pool_id = pool_id
        self._locks = {node_id: Fence.of(path) for node_id, path in locks.items()}

    def draft(self, pool: str, label: str, request: NodeRequest, zone: str | None) -> Node:
        return planned(
            _POOL, label, request, now=0.0, launcher=self._pool_id, resources=None, zone=None
        )

    def lock_of(self, node_id: str) -> object:
        return self._locks.get(node_id)

    def why_failed(self, node_id: str) -> str:
        return ""


def _maker(pool_id: str, locks: tuple[tuple[str, str], ...]) -> NodeMaker:
    return cast(NodeMaker, _Maker(pool_id, dict(locks)))


@lru_cache(maxsize=200_000)
def take_of(
    tree: Tree, request_id: str, pool_id: str, contender: str, reserved: frozenset[str], most: int
) -> Operations:
    """``pools.transactions.take`` with what is in stock, and what has to be made for the rest.

    Nothing is asked for if the request is not wanted any more, or there is no
    room: ``most`` is how many nodes there may be.
    """
    request = request_in(tree, request_id)
    if request is None or request.state is not RequestState.REQUESTED:
        return ()
    shown = shown_in(tree, reserved=reserved)
    chosen = choose(
        request.node_types, lambda label, n: shown.nodes.free_nodes(PROVIDER, POOL, label, n)
    )
    missing = chosen.count(None)
    if not missing or missing + len(nodes_in(tree)) > most:
        return ()
    charge = Charge((), {"instances": 1})
    plan = Plan(request.node_types, chosen, None, (charge,) * len(chosen))
    return asked_by(
        partial(
            take,
            shown.store,
            reservations,
            NO_RESERVATION,
            _maker(pool_id, ()),
            POOL,
            request,
            plan,
            Fence.of(contender),
        )
    )


@attrs.frozen
class Next:
    """What a launcher does about a request that it has taken; nothing if it waits.

    :ivar over: nothing has to be done, and it gives its lock up.
    :ivar releases: the lock is given up in the same step.
    """

    words: str = ""
    operations: Operations = ()
    over: bool = False
    releases: bool = True


@lru_cache(maxsize=200_000)
def next_of_taken(
    tree: Tree,
    request_id: str,
    node_ids: tuple[str, ...],
    contender: str,
    pool_id: str,
    locks: tuple[tuple[str, str], ...],
    pools: tuple[str, ...],
) -> Next:
    """``pools.taking.Taking._step``: give it its nodes, give it back, or let it go.

    :param locks: of the nodes that this launcher is making.
    :param pools: those that are registered.
    """
    shown = shown_in(tree, pools=pools)
    store, maker, lock = shown.store, _maker(pool_id, locks), Fence.of(contender)
    request = request_in(tree, request_id)
    nodes = [node for node_id in node_ids if (node := node_in(tree, node_id)) is not None]
    if request is None or request.state is not RequestState.PENDING:
        kept = request.nodes if request is not None else ()

        async def let_go() -> None:
            change = shown.change()
            ours = [node for node in nodes if node.id not in kept]
            release_nodes(change, store, maker, request_id, ours)
            await change.commit()

        asks = asked_by(let_go)
        return Next("let its nodes go", asks, over=not asks, releases=False)
    taken = SimpleNamespace(node_ids=list(node_ids), request=request)
    if Provision.trouble(cast(Provision, SimpleNamespace(_maker=maker)), cast(Taken, taken), nodes):
        back = partial(give_back, store, maker, request, nodes, lock, pool_id)
        return Next(f"decline {request_id}", asked_by(back))
    if any(node.state is not NodeState.READY for node in nodes):
        return Next()
    return Next(f"fulfil {request_id}", asked_by(partial(finish, store, request, nodes, lock)))


def fate(node: Node, request: NodeRequest | None, pool_id: str, online: Sequence[str]) -> Fate:
    """``providers.cloud.housekeeping.Housekeeping.judge``, of a record that has settled."""
    situation = Situation(
        configured=True,
        launcher_online=node.launcher in online,
        launcher_is_us=node.launcher == pool_id,
        wanted=request is not None and request.state is RequestState.PENDING,
        settled=True,
    )
    return fate_of(node, situation).fate


@lru_cache(maxsize=200_000)
def under_lock(tree: Tree, node_id: str, contender: str, job: str) -> Operations:
    """The next write of ``providers.cloud.launch.Launch`` or ``removals.Removals`` on a node.

    Nothing if the node is gone, or not to be written in this way any more.

    :param job: ``make``, ``fail`` or ``remove``.
    """
    node = node_in(tree, node_id)
    if node is None:
        return ()
    shown, lock = shown_in(tree), Fence.of(contender)

    async def write() -> None:
        change = shown.change()
        if job == "remove" and node.state in (NodeState.DELETING, NodeState.DELETED):
            change.remove_node(node, lock)
        elif job == "remove":
            change.update_node(node, node.in_state(NodeState.DELETING, 0.0), lock)
        elif node.state is NodeState.INIT:
            change.update_node(node, node.in_state(NodeState.BUILDING, 0.0), lock)
        elif node.state is not NodeState.BUILDING:
            return
        elif job == "fail":
            change.update_node(node, node.in_state(NodeState.FAILED, 0.0), lock, release=True)
        else:
            change.update_node(node, ready(node, 0.0, None), lock, release=True)
        await change.commit()

    return asked_by(write)
