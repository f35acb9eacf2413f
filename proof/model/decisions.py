"""What the launcher asks ZooKeeper for when its tables show a tree.

Each function names the code whose decision it is, and calls it.  They are
memorised by the tree, as a decision depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial

from twisted.internet.task import Clock

from nodepool_tx.config.schema import Config
from nodepool_tx.janitor import Janitor
from nodepool_tx.model import Node, NodeState, RequestState
from nodepool_tx.pools.selection import choose
from nodepool_tx.pools.transactions import fulfil
from nodepool_tx.providers.static.desired import Desired, DesiredNode, SlotKey
from nodepool_tx.providers.static.observed import HostFacts, HostState
from nodepool_tx.providers.static.plan import Mode, Probe, Wait, fresh_node, plan
from nodepool_tx.providers.static.slots import SlotIndex
from nodepool_tx.providers.static.steps import StepRunner, Work
from nodepool_tx.store import paths
from proof.model.seen import (
    NO_RESERVATION,
    Begin,
    Operations,
    all_asked_by,
    asked_by,
    nodes_in,
    request_in,
    reservations,
    shown_in,
)
from proof.model.tables import shown
from proof.model.zookeeper import Tree

__all__ = [
    "PROVIDER",
    "Fulfilment",
    "desired_hosts",
    "free_static_node",
    "fulfilments",
    "janitor_changes",
    "slot_changes",
    "wholly_new",
]

PROVIDER, POOL = "rack", "main"

#: The machine was looked at, later than anything happened.
LOOKED_AT = HostFacts(state=HostState.UP, checked=1_000_000)

#: The nodes that a decision is about, and what is asked for.
Fulfilment = tuple[tuple[str, ...], Operations]


def desired_hosts(names: Iterable[str], labels: tuple[str, ...] = ("x",)) -> Desired:
    """Machines with one slot each, whose keys nobody looks at."""
    hosts = [
        DesiredNode(PROVIDER, POOL, name, "zuul", 22, labels=labels, host_key_checking=False)
        for name in names
    ]
    return Desired({host.identity: host for host in hosts})


def free_static_node(name: str, labels: tuple[str, ...] = ("x",)) -> Node:
    """The record of a machine in service."""
    (host,) = desired_hosts([name], labels).hosts.values()
    return fresh_node(host, 0, LOOKED_AT, 0.0)


# -- pools -------------------------------------------------------------------


@lru_cache(maxsize=200_000)
def fulfilments(
    tree: Tree, request_id: str, hidden: frozenset[str], reserved: frozenset[str]
) -> tuple[Fulfilment, ...]:
    """``pools.transactions.fulfil`` for the nodes that ``pools.selection.choose`` may give.

    Which of several nodes that would do is given depends on how long each has
    been free; here every order is tried.
    """
    request = request_in(tree, request_id)
    if request is None or request.state is not RequestState.REQUESTED or request_id in hidden:
        return ()
    shown = shown_in(tree, hidden, reserved)

    def candidates(backwards: bool) -> Callable[[str, int], Sequence[Node]]:
        def ask(label: str, at_most: int) -> Sequence[Node]:
            free = shown.nodes.free_nodes(PROVIDER, POOL, label, 1000)
            return (free[::-1] if backwards else free)[:at_most]

        return ask

    found: dict[tuple[str, ...], Operations] = {}
    for backwards in (False, True):
        chosen = choose(request.node_types, candidates(backwards))
        nodes = [node for node in chosen if node is not None]
        if len(nodes) < len(request.node_types):
            continue
        ids = tuple(node.id for node in nodes)
        if ids not in found:
            found[ids] = asked_by(
                partial(fulfil, shown.store, reservations, NO_RESERVATION, request, nodes)
            )
    return tuple(found.items())


# -- the static provider -----------------------------------------------------


@lru_cache(maxsize=200_000)
def slot_changes(
    tree: Tree, desired: tuple[DesiredNode, ...], reserved: frozenset[str]
) -> tuple[tuple[SlotKey, tuple[str, ...], Operations], ...]:
    """``static.plan.plan`` for every slot, and what ``static.steps.StepRunner`` asks for.

    The machines are up and were looked at.  The proof that this launcher is still
    the owner (``Ownership.prove``) is left out, and is for the model to add.
    """
    wanted = Desired({host.identity: host for host in desired})
    shown = shown_in(tree, reserved=reserved)
    slots = SlotIndex(PROVIDER, wanted, shown.nodes)
    slots.load(1)
    runner = StepRunner(shown.store, lambda: True, lambda change: None)
    found = []
    for key in dict.fromkeys([*slots.keys(), *wanted.slot_keys()]):
        observed = slots.observe(key, lambda _: False)
        steps = plan(wanted.at(key), observed, LOOKED_AT, Mode.ACTIVE, 0.0)
        writes = tuple(step for step in steps if not isinstance(step, (Wait, Probe)))
        if writes:
            work = Work(key, writes)
            ids = tuple(node.id for node in work.nodes)
            asks = asked_by(partial(runner.run, [work]))
            assert asks, "the runner asks for what it has to do"
            found.append((key, ids, asks))
    return tuple(found)


# -- the janitor -------------------------------------------------------------


@lru_cache(maxsize=200_000)
def janitor_changes(
    tree: Tree, hidden: frozenset[str] = frozenset(), reserved: frozenset[str] = frozenset()
) -> tuple[Operations, ...]:
    """``Janitor._reset_lost``, ``_free_promised`` and ``_free_kept``, after a barrier.

    What the last of them does only to what two sweeps have seen, it does here
    to what one has.
    """
    shown = shown_in(tree, hidden, reserved)
    janitor = Janitor(
        Clock(), shown.store, lambda: Config(), lambda: (), interval=60.0, lock_age=3600.0
    )
    kept = {node.id: node.allocated_to for node in shown.nodes if node.allocated_to}

    async def free_kept() -> None:
        janitor._kept = dict(kept)
        await janitor._free_kept()

    duties: list[Begin] = [free_kept]
    duties += [partial(janitor._reset_lost, request.id) for request in shown.requests]
    duties += [
        partial(janitor._free_promised, request_id)
        for request_id in shown.nodes.promised_to()
        if not shown.requests.exists(request_id)
    ]
    return tuple(dict.fromkeys(asks for duty in duties for asks in all_asked_by(duty)))


@lru_cache(maxsize=200_000)
def returned(tree: Tree) -> bool:
    """Every node is free again, in nobody's hands."""
    return all(
        node.state is NodeState.READY
        and not node.allocated_to
        and not tree.contenders(paths.node_lock(node.id))
        for node in nodes_in(tree)
    )


def wholly_new(tree: Tree, wanted: tuple[DesiredNode, ...]) -> bool:
    """There is what a configuration says and nothing else, and it is free."""
    return (
        len(nodes_in(tree)) == len(wanted)
        and not slot_changes(shown(tree), wanted, frozenset())
        and all(node.state is NodeState.READY and not node.allocated_to for node in nodes_in(tree))
    )
