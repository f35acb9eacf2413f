"""Choosing nodes for the labels of a request.

A node may have several labels, so taking the first that fits can leave a later
label with nothing although everything could be served.  What is needed is a
maximum matching between the labels asked for and the free nodes.  It is built
along augmenting paths: a label that finds nothing free takes a node from
another label that can do without it.  A label that finds no such path never
will, and neither will the same label asked for again; so even a request for
thousands of nodes is answered in a moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from nodepool_tx.model import Node

__all__ = ["choose"]


def choose(
    labels: Sequence[str],
    candidates: Callable[[str, int], Sequence[Node]],
    excluded: Collection[str] = (),
) -> tuple[Node | None, ...]:
    """As many nodes for ``labels`` as there can be, in their order.

    ``candidates(label, n)`` gives up to ``n`` free nodes that have a label,
    the preferred ones first.  None stands where nothing was left.  More
    candidates than labels are never needed: with that many, a label cannot
    run out.
    """
    enough = len(labels) + len(excluded)
    if len(labels) == 1:
        options_of_one = candidates(labels[0], enough)
        return (next((node for node in options_of_one if node.id not in excluded), None),)
    options = {
        label: [node for node in candidates(label, enough) if node.id not in excluded]
        for label in dict.fromkeys(labels)
    }
    matching = _Matching(labels, options)
    for position, label in enumerate(labels):
        if label not in matching.hopeless:
            matching.place(position)
    return tuple(matching.chosen)


class _Matching:
    """Which node serves which position so far."""

    def __init__(self, labels: Sequence[str], options: dict[str, list[Node]]) -> None:
        self._labels = labels
        self._options = options
        #: How many of a label's options, from the first on, are taken.
        self._spent = dict.fromkeys(options, 0)
        #: Labels that found nothing, so that they need not be looked at again.
        self.hopeless: set[str] = set()
        #: Node id to the position it serves.
        self._taken: dict[str, int] = {}
        self.chosen: list[Node | None] = [None] * len(labels)

    def place(self, position: int) -> None:
        label = self._labels[position]
        node = self._next_free(label)
        if node is not None:
            self._take(node, position)
        elif not self._displace(position):
            self.hopeless.add(label)

    def _take(self, node: Node, position: int) -> None:
        self._taken[node.id] = position
        self.chosen[position] = node

    def _next_free(self, label: str) -> Node | None:
        options, at = self._options[label], self._spent[label]
        while at < len(options) and options[at].id in self._taken:
            at += 1
        # What is taken stays taken, if not for the same position.
        self._spent[label] = at
        return options[at] if at < len(options) else None

    def _displace(self, start: int) -> bool:
        """Free a node for ``start`` by giving others another one."""
        #: Node id to the position that could take it.
        wanted_by: dict[str, int] = {}
        expanded: set[str] = set()
        to_visit = deque([start])
        while to_visit:
            position = to_visit.popleft()
            label = self._labels[position]
            if label in expanded:
                continue
            expanded.add(label)
            node = self._next_free(label)
            if node is not None:
                self._hand_on(node, position, start, wanted_by)
                return True
            for option in self._options[label]:
                if option.id not in wanted_by:
                    wanted_by[option.id] = position
                    to_visit.append(self._taken[option.id])
        return False

    def _hand_on(self, node: Node, position: int, start: int, wanted_by: dict[str, int]) -> None:
        """Give a position a node, and its own to who wanted that, back to ``start``."""
        given_up = self.chosen[position]
        self._take(node, position)
        while position != start:
            assert given_up is not None
            node, position = given_up, wanted_by[given_up.id]
            given_up = self.chosen[position]
            self._take(node, position)
