"""What is done with the nodes that a request could use: pure, node by node."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter

import attrs

from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.explaining import NodeExplanation
from nodepool_tx.store.maintenance import age_in_words
from nodepool_tx.store.nodes import NodeTable

__all__ = ["AT_MOST", "Stock", "Use", "in_words", "look_at_nodes", "use_of"]

#: Nodes that are shown one by one.
AT_MOST = 50

#: What is done with a node, the most telling first.
FREE = "free"
OURS = "promised to it"
MADE = "being made"
BACK = "on the way back"
KEPT = "kept for another"
NOT_NEW = "not new"
TAKEN = "being checked"
PROMISED = "promised to another"
LOCKED = "locked"
IN_USE = "in use"
HELD = "held"
_ORDER = (FREE, OURS, MADE, BACK, KEPT, NOT_NEW, TAKEN, PROMISED, LOCKED, IN_USE, HELD)
_HOLD, _READY = NodeState.HOLD, NodeState.READY
_COMING = frozenset({NodeState.INIT, NodeState.BUILDING, NodeState.TESTING})

Use = str


@attrs.frozen
class Stock:
    """What there is for a request.

    :ivar uses: how many of all nodes are used for what.
    :ivar nodes: the most telling first, :data:`AT_MOST` of them.
    """

    uses: Counter[Use]
    nodes: tuple[NodeExplanation, ...] = ()
    more: int = 0

    def with_vacancies(self, vacancies: Iterable[NodeExplanation]) -> Stock:
        """And the places where there is none."""
        vacancies = tuple(vacancies)
        if not vacancies:
            return self
        shown = (*self.nodes, *vacancies)
        more = self.more + len(shown) - min(len(shown), AT_MOST)
        uses = self.uses + Counter(each.use for each in vacancies)
        if len(shown) > AT_MOST:
            # What is wrong tells more than the last of many in use.
            room = max(AT_MOST - len(vacancies), AT_MOST // 2)
            shown = (*self.nodes[:room], *vacancies)[:AT_MOST]
        return Stock(uses, shown, more)


def use_of(
    node: Node,
    request_id: str,
    locked: bool,
    reserved: bool,
    kept_for: str | None = None,
    new_only: bool = False,
) -> Use:
    """What is done with a node, as seen from a request.

    :param locked: somebody holds its lock.
    :param reserved: a task of this process has it in hand.
    :param kept_for: the request that the pool keeps it for.
    :param new_only: the request asks for nodes that nobody has used before.
    """
    state = node.state
    if state is _HOLD:
        return HELD
    if state is not _READY:
        if state in _COMING:
            return OURS if node.allocated_to == request_id else MADE
        return IN_USE if locked else BACK
    if node.allocated_to:
        return OURS if node.allocated_to == request_id else PROMISED
    if locked:
        return LOCKED
    if reserved:
        return TAKEN
    if new_only:
        return NOT_NEW
    return KEPT if kept_for else FREE


def explain_node(node: Node, use: Use, now: float, kept_for: str | None, more: str) -> str:
    """A node and what is done with it, in words."""
    age = age_in_words(now - node.state_time) if node.state_time else ""
    words = _WORDS[use](node, f" for {age}" if age else "", kept_for or "")
    return f"{words}; {more}" if more else words


def _ours(node: Node, age: str, kept_for: str) -> str:
    if node.state is NodeState.READY:
        return "ready, and promised to this request"
    return f"{node.state.value}{age}, for this request"


def _made(node: Node, age: str, kept_for: str) -> str:
    whom = f"for request {node.allocated_to}" if node.allocated_to else "for nobody yet"
    return f"{node.state.value}{age}, {whom}"


def _in_use(node: Node, age: str, kept_for: str) -> str:
    words = f"{node.state.value}{age}"
    if node.allocated_to:
        words += f" for request {node.allocated_to}"
    return words + (f" of tenant {node.tenant_name}" if node.tenant_name else "")


def _held(node: Node, age: str, kept_for: str) -> str:
    words = f"held{age}"
    if node.hold_job:
        words += f" by job {node.hold_job}"
    return words + (f": {node.comment}" if node.comment else "")


_WORDS: Mapping[Use, Callable[[Node, str, str], str]] = {
    FREE: lambda node, age, kept_for: f"free{age}",
    OURS: _ours,
    MADE: _made,
    BACK: lambda node, age, kept_for: f"{node.state.value}{age}, on the way back",
    KEPT: lambda node, age, kept_for: f"free, and kept for request {kept_for}, which waits longer",
    NOT_NEW: lambda node, age, kept_for: f"free{age}, but a new node is asked for",
    TAKEN: lambda node, age, kept_for: "free, but its launcher is checking or changing it",
    PROMISED: lambda node, age, kept_for: f"promised to request {node.allocated_to}{age}",
    LOCKED: lambda node, age, kept_for: "free, but somebody holds its lock",
    IN_USE: _in_use,
    HELD: _held,
}


def look_at_nodes(
    table: NodeTable,
    place: tuple[str, str],
    labels: Collection[str],
    request_id: str,
    now: float,
    *,
    kept: Mapping[str, str] | None = None,
    new_only: bool = False,
    about: Callable[[Node], str] = lambda node: "",
    vacancies: Iterable[NodeExplanation] = (),
) -> Stock:
    """All nodes of a pool with any of these labels.

    :param place: the provider and the pool.
    :param kept: for whom nodes are kept, by node.
    :param about: asked for more about those that are shown.
    """
    provider, pool = place
    wanted, kept = frozenset(labels), kept or {}
    found: dict[Use, list[Node]] = {use: [] for use in _ORDER}
    for node, locked, reserved in table.in_hands(provider):
        if node.pool == pool and not wanted.isdisjoint(node.type):
            kept_for = kept.get(node.id) if kept else None
            use = use_of(node, request_id, locked, reserved, kept_for, new_only)
            found[use].append(node)
    shown: list[tuple[Node, Use]] = []
    for use, of_use in found.items():
        some = heapq.nsmallest(AT_MOST - len(shown), of_use, key=attrgetter("id"))
        shown += [(node, use) for node in some]
    nodes = tuple(
        NodeExplanation(
            node_id=node.id,
            labels=node.type,
            state=node.state.value,
            usable=use == FREE or (use == OURS and node.state is NodeState.READY),
            words=explain_node(node, use, now, kept.get(node.id), about(node)),
            use=use,
            host=node.hostname,
        )
        for node, use in shown
    )
    uses = Counter({use: len(of_use) for use, of_use in found.items() if of_use})
    return Stock(uses, nodes, uses.total() - len(nodes)).with_vacancies(vacancies)


def in_words(uses: Counter[Use]) -> str:
    """Such as ``3 in use, 1 down``; the most frequent first."""
    found = sorted(uses.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {use}" for use, count in found) or "there are none"
