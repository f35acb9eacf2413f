"""The checker of ZooKeeper's history, with what it has to know about a farm."""

from __future__ import annotations

from nodepool_tx.txzookeeper.client import ZookeeperClient
from proof.chaos.farm import ChaosFarm
from proof.chaos.verdict import Verdict

__all__ = ["Eyes"]


class Eyes:
    """Sees every step that is made in ZooKeeper.

    :ivar transactions: how many were checked.
    """

    def __init__(self, farm: ChaosFarm, verdict: Verdict) -> None:
        self._farm = farm
        self._verdict = verdict
        self.transactions = 0

    def open(self) -> None:
        """Begin to look, once the farm has started."""

    def meet(self, client: ZookeeperClient) -> None:
        """Whose session that is: a client's."""

    def look(self) -> None:
        """At what is new."""
