"""Whether something that really happened is a path of a model.

What is compared is a *view* of ZooKeeper: the nodes by machine, with their
state, whose they are and how many want their lock, and the requests by what
they want.  Ids, versions and times differ, and do not count.  Every change of
the view that was recorded must be one step of the model, between which the
model may take any steps that do not change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from nodepool_tx.model import Node
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_node, decode_request
from proof.model.explore import Model
from proof.model.zookeeper import Tree

__all__ = ["View", "first_strange", "reached", "view_of", "view_of_tree"]

S = TypeVar("S")

#: Nodes and requests.
View = tuple[frozenset[Any], frozenset[Any]]


def view_of(znodes: Mapping[str, bytes]) -> View:
    """What is compared of a ZooKeeper."""
    parts = {path: path.split("/") for path in znodes}
    requests = {
        at[3]: decode_request(at[3], znodes[path])
        for path, at in parts.items()
        if len(at) == 4 and at[2] == "requests"
    }
    nodes = {
        at[3]: decode_node(at[3], znodes[path])
        for path, at in parts.items()
        if len(at) == 4 and at[2] == "nodes"
    }

    def machine(node: Node) -> str | None:
        """Where a node is, if that is known before it is made."""
        return None if node.slot is None else node.hostname

    def whose(request_id: str | None) -> object:
        if not request_id:
            return None
        request = requests.get(request_id)
        return "somebody gone" if request is None else len(request.node_types)

    seen = frozenset(
        (
            machine(node),
            node.type,
            node.state,
            whose(node.allocated_to),
            sum(path.startswith(f"{paths.node_lock(node_id)}/") for path in znodes),
        )
        for node_id, node in nodes.items()
    )
    asked = frozenset(
        (
            len(request.node_types),
            request.state,
            tuple(machine(nodes[node_id]) for node_id in request.nodes if node_id in nodes),
        )
        for request in requests.values()
    )
    return seen, asked


def view_of_tree(tree: Tree) -> View:
    """What is compared of a state of the model."""
    known = _views.get(tree)
    if known is None:
        known = _views[tree] = view_of({path: znode.data for path, znode in tree.znodes.items()})
    return known


_views: dict[Tree, View] = {}


def first_strange(
    model: Model[Any], tree_of: Callable[[Any], Tree], recorded: Sequence[View]
) -> int | None:
    """Which recorded view no step of the model leads to; None if all are a path of it.

    The first may be anywhere in the model.
    """
    everything = reached(model, model.initial())
    now = {state for state in everything if view_of_tree(tree_of(state)) == recorded[0]}
    if not now:
        return 0
    for number, view in enumerate(recorded[1:], 1):
        before = recorded[number - 1]
        if view == before:
            continue
        still = reached(model, now, _looks_like(before, tree_of))
        now = {
            step.after
            for state in still
            for step in model.steps(state)
            if view_of_tree(tree_of(step.after)) == view
        }
        if not now:
            return number
    return None


def _looks_like(view: View, tree_of: Callable[[Any], Tree]) -> Callable[[Any], bool]:
    return lambda state: view_of_tree(tree_of(state)) == view


def reached(
    model: Model[S], start: Iterable[S], within: Callable[[S], bool] = lambda state: True
) -> set[S]:
    """What can be reached without leaving what is allowed."""
    found = set(start)
    pending = list(found)
    while pending:
        for step in model.steps(pending.pop()):
            if step.after not in found and within(step.after):
                found.add(step.after)
                pending.append(step.after)
    return found
