"""What a pool needs to be told, and what it asks of its provider."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from nodepool_tx.model import Node, NodeRequest
from nodepool_tx.resources import Amounts
from nodepool_tx.txzookeeper.lock import Lock

__all__ = ["NodeMaker", "NodeSource", "Objection", "PoolSettings"]


@attrs.frozen
class PoolSettings:
    """The part of a pool's configuration that assigning requests depends on.

    :ivar limits: of what its nodes may use together; ``max_servers`` is the
        limit of instances among them.
    :ivar ignore_provider_quota: what the provider allows is not looked at.
    """

    provider: str
    name: str
    labels: frozenset[str]
    priority: int = 100
    max_servers: float = math.inf
    limits: Amounts = attrs.field(factory=dict)
    ignore_provider_quota: bool = False


class NodeSource(Protocol):
    """What a pool asks of the provider it belongs to when it hands out nodes."""

    def check(self, node: Node) -> Deferred[bool]:
        """See that a node is fit to be handed out.

        Called with the node reserved (:meth:`NodeTable.reserve`), which it
        still is afterwards.  Fires with False when the node is not fit; the
        provider has then seen to it that nobody tries it again at once.  It
        never fails and takes no longer than the node's own timeout.
        Cancelling it gives the look up; what it fires with then means nothing.
        """


@attrs.frozen
class Objection:
    """Why nodes cannot be made now, in words for people.

    :ivar lasting: nothing that can be waited for will change it; the request
        is to be declined.  Else others may have it, and if there are none it
        waits.
    :ivar rule: what objects, for programs.
    :ivar since: when it began (seconds since the epoch), if that is known.
    """

    reason: str
    lasting: bool
    rule: str = attrs.field(default="objection", eq=False)
    since: float | None = attrs.field(default=None, eq=False)


class NodeMaker(Protocol):
    """What a pool asks of a provider that makes nodes.

    Everything here is answered from memory, at once.  The pool decides and
    writes the records of nodes to be made, in state ``init`` and promised to
    their request, in the transaction that takes the request; the maker turns
    each into a server and its record into ``ready``, ``failed`` (after the
    last attempt) or ``aborted`` (the cloud's quota did not allow it; to be
    replaced when there is room).  The pool learns of that from the node table
    alone.
    """

    def objection(self, pool: str, labels: Sequence[str]) -> Objection | None:
        """Why nodes for these labels cannot be made here now, if they cannot.

        An image that is missing, a label the cloud cannot make, a breaker that
        is open.  Limits and quotas are the pool's to judge.
        """

    def needs(self, pool: str, label: str) -> Amounts | None:
        """What a node of a label will use; None if that is not known yet."""

    def quota(self) -> Amounts | None:
        """What the provider's nodes may use together; None if not known yet.

        That is the cloud's quota less what is used there by others.
        """

    def zone_for(self, pool: str, labels: Sequence[str]) -> str | None:
        """An availability zone for new nodes of one request."""

    def draft(self, pool: str, label: str, request: NodeRequest, zone: str | None) -> Node:
        """The record of a node to be made, promised to the request."""

    def unclaimed(self, pool: str, label: str) -> Sequence[Node]:
        """Nodes being made here that are promised to nobody, the furthest first."""

    def lock_of(self, node_id: str) -> Lock | None:
        """The lock under which we make a node; None if we do not hold it."""

    def make(self, node_id: str, request: NodeRequest) -> None:
        """Make the node whose record was just written."""

    def why_failed(self, node_id: str) -> str:
        """Why the last attempt to make a node came to nothing; "" if that is not known."""

    def make_room(self, nodes: Sequence[Node]) -> None:
        """Delete these ready nodes, which are in stock, to make room."""

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear whenever answers here may have changed; returns its removal."""
