"""The rule of leases: what is lent is nobody else's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nodepool_tx.store import paths
from proof.history.acts import Act
from proof.history.cast import Role
from proof.history.rules import Violation

__all__ = ["LeaseRule"]


class LeaseRule:
    """A lease that is ready has nodes that are held for it, and nobody else is promised them.

    They may be taken from it all the same: by operators, or as their hold expires.  When it
    ends, none of them stays held.
    """

    name = "lease"

    def __init__(self) -> None:
        #: Node -> the leases that are ready with it, and by which request each came to it.
        self._lent: dict[str, dict[str, Any]] = {}

    def see(self, act: Act) -> Iterator[Violation]:
        judged = act.author.role is not Role.CHAOS
        leases = act.layout.root + paths.LEASES
        for path, (before, after) in act.step.changes.items():
            if path.rpartition("/")[0] != leases:
                continue
            was = before.record if before is not None else None
            is_ = after.record if after is not None else None
            yield from self._changed(act, path, was or {}, is_ or {}, judged)
        if judged:
            yield from self._promised(act)

    def _changed(
        self, act: Act, path: str, was: Mapping[str, Any], is_: Mapping[str, Any], judged: bool
    ) -> Iterator[Violation]:
        """Follow a lease, and look at what it has when it has become ready."""
        for node_id in _nodes(was):
            having = self._lent.get(node_id, {})
            having.pop(path, None)
            if not having:
                self._lent.pop(node_id, None)
            if judged and node_id not in _nodes(is_) and _is_held(act, node_id, was):
                words = f"ended a lease and left node {node_id} held for it"
                yield self._violation(act, words, node_id, path)
        request = is_.get("request")
        for node_id in dict.fromkeys(_nodes(is_)):
            having = self._lent.setdefault(node_id, {})
            having[path] = request
            if not judged or _nodes(was):
                continue
            if not _is_held(act, node_id, is_):
                words = f"lent node {node_id}, which is not held for it"
                yield self._violation(act, words, node_id, path)
            for other in having:
                if other != path:
                    words = f"lent node {node_id}, which {other} has"
                    yield self._violation(act, words, node_id, path, other)

    def _promised(self, act: Act) -> Iterator[Violation]:
        """To whom nodes were promised in this step that are lent."""
        promised = [(node.id, node.is_.get("allocated_to")) for node in act.nodes]
        for request in act.requests:
            if request.is_.get("state") == "fulfilled" != request.was.get("state"):
                listed = request.is_.get("nodes")
                if isinstance(listed, list):
                    promised += [(str(node_id), request.id) for node_id in listed]
        for node_id, whom in promised:
            for path, request_id in self._lent.get(node_id, {}).items():
                if whom and whom != request_id:
                    words = f"promised node {node_id} to {whom}, while it is lent"
                    yield self._violation(act, words, node_id, path)

    def _violation(self, act: Act, words: str, node_id: str, *leases: str) -> Violation:
        where = (act.layout.node(node_id), *leases)
        return Violation(self.name, act.entry.zxid, f"{act.author.name} {words}", where)


def _is_held(act: Act, node_id: str, lease: Mapping[str, Any]) -> bool:
    """A node is held for a lease after this step."""
    node = act.node(node_id) or {}
    return (node.get("state"), node.get("allocated_to")) == ("hold", lease.get("request"))


def _nodes(lease: Mapping[str, Any]) -> list[str]:
    """What a lease has that is ready."""
    nodes = lease.get("nodes")
    if lease.get("state") != "ready" or not isinstance(nodes, list):
        return []
    return [str(node_id) for node_id in nodes]
