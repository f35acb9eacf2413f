"""What a pool needs to be told, and what it asks of its provider."""

from __future__ import annotations

import math
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from nodepool_tx.model import Node

__all__ = ["NodeSource", "PoolSettings"]


@attrs.frozen
class PoolSettings:
    """The part of a pool's configuration that assigning requests depends on."""

    provider: str
    name: str
    labels: frozenset[str]
    priority: int = 100
    max_servers: float = math.inf


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
