"""Rules of records: their states, slots, and what must be written before a server is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nodepool_tx.model import NODE_TRANSITIONS, NodeState, RequestState
from proof.history.acts import Act, Touched
from proof.history.cast import Role
from proof.history.locking import STATIC
from proof.history.rules import Violation

__all__ = ["IntentRule", "SlotRule", "StateRule"]

_R = RequestState
#: From which state of a request a launcher may bring it to which; staying is allowed.
REQUEST_TRANSITIONS: Mapping[RequestState, frozenset[RequestState]] = {
    _R.REQUESTED: frozenset({_R.PENDING, _R.FULFILLED, _R.FAILED}),
    _R.PENDING: frozenset({_R.REQUESTED, _R.FULFILLED, _R.FAILED}),
    _R.FULFILLED: frozenset(),
    _R.FAILED: frozenset(),
}
#: No static node is ever that.
_NEVER_STATIC = frozenset({NodeState.INIT, NodeState.TESTING})


class StateRule:
    """States move as the tables allow, and records can be read.

    Those of nodes by anybody's hand but Nodepool 11's, those of requests by launchers'.
    """

    name = "state"

    def see(self, act: Act) -> Iterator[Violation]:
        if not act.deliberate or act.author.role in (Role.CHAOS, Role.NODEPOOL_11):
            return
        for node in act.nodes:
            yield from self._node(act, node)
        if act.author.role is Role.LAUNCHER:
            for request in act.requests:
                yield from self._request(act, request)

    def _node(self, act: Act, node: Touched) -> Iterator[Violation]:
        if node.after is None:
            return
        after = node_state(node.is_)
        if after is None:
            # Whoever locks a node that is gone may leave an empty one behind; not we.
            ours = act.author.role is Role.LAUNCHER
            if ours or node.after.data:
                yield self._violation(act, f"left node {node.id} unreadable", node)
            return
        before = node_state(node.was)
        if before is not None and after is not before and after not in NODE_TRANSITIONS[before]:
            words = f"brought node {node.id} from {before.value} to {after.value}"
            yield self._violation(act, words, node)

    def _request(self, act: Act, request: Touched) -> Iterator[Violation]:
        if request.after is None:
            return
        after = request_state(request.is_)
        if after is None:
            yield self._violation(act, f"left request {request.id} unreadable", request)
            return
        before = request_state(request.was)
        if before is not None and after is not before and after not in REQUEST_TRANSITIONS[before]:
            words = f"brought request {request.id} from {before.value} to {after.value}"
            yield self._violation(act, words, request)

    def _violation(self, act: Act, words: str, touched: Touched) -> Violation:
        words = f"{act.author.name} {words}"
        return Violation(self.name, act.entry.zxid, words, (touched.path,))


class SlotRule:
    """A launcher puts a static node only into a slot of its machine that has none."""

    name = "slot"

    def __init__(self) -> None:
        self._at: dict[tuple[str, ...], dict[str, None]] = {}

    def see(self, act: Act) -> Iterator[Violation]:
        came: list[tuple[Touched, tuple[str, ...]]] = []
        for node in act.nodes:
            before, after = _slot(node.was), _slot(node.is_)
            if before == after:
                continue
            if before is not None:
                self._leave(before, node.id)
            if after is not None:
                self._at.setdefault(after, {})[node.id] = None
                came.append((node, after))
        if act.author.role is not Role.LAUNCHER:
            return
        for node, slot in came:
            others = [other for other in self._at[slot] if other != node.id]
            for other in others:
                znode = act.step.after(act.layout.node(other))
                strange = (Role.CHAOS, Role.NODEPOOL_11)
                if znode is None or act.cast.role(znode.creator) in strange:
                    continue
                words = (
                    f"{act.author.name} put node {node.id} into slot {slot[-1]} of {slot[1]} "
                    f"of {slot[0]}, where node {other} was"
                )
                yield Violation(
                    self.name, act.entry.zxid, words, (node.path, act.layout.node(other))
                )

    def _leave(self, slot: tuple[str, ...], node_id: str) -> None:
        here = self._at.get(slot)
        if here is not None:
            here.pop(node_id, None)
            if not here:
                del self._at[slot]


class IntentRule:
    """The record of a cloud node is there, and says that it is being made, before its server is."""

    name = "intent"

    def see(self, act: Act) -> Iterator[Violation]:
        if not act.deliberate or act.author.role is not Role.LAUNCHER:
            return
        for node in act.nodes:
            record = node.is_
            if not record or record.get("launcher") == STATIC:
                continue
            state, server = record.get("state"), record.get("external_id")
            if node.before is None:
                if server is not None or state not in ("init", "building"):
                    words = f"made node {node.id} as {state}, with the server {server}"
                    yield self._violation(act, words, node)
            elif node.was and node.was.get("external_id") is None and server is not None:
                before = node.was.get("state")
                if before not in ("building", "testing"):
                    words = f"gave node {node.id} the server {server} while it was {before}"
                    yield self._violation(act, words, node)

    def _violation(self, act: Act, words: str, node: Touched) -> Violation:
        words = f"{act.author.name} {words}"
        return Violation(self.name, act.entry.zxid, words, (node.path,))


def node_state(record: Mapping[str, Any]) -> NodeState | None:
    """The state of a node; None if it has none that there is."""
    try:
        return NodeState(record.get("state"))
    except ValueError:
        return None


def request_state(record: Mapping[str, Any]) -> RequestState | None:
    """The state of a request; None if it has none that there is."""
    try:
        return RequestState(record.get("state"))
    except ValueError:
        return None


def _slot(record: Mapping[str, Any]) -> tuple[str, ...] | None:
    if record.get("launcher") != STATIC or record.get("slot") is None:
        return None
    if node_state(record) in _NEVER_STATIC:
        return None
    keys = ("provider", "hostname", "username", "connection_port", "slot")
    return tuple(str(record.get(key)) for key in keys)
