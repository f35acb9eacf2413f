"""The checker of ZooKeeper's history, with what it has to know about a farm."""

from __future__ import annotations

from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.interface import SessionState
from proof.chaos.farm import ChaosFarm
from proof.chaos.verdict import Verdict
from proof.history.cast import Cast, Role
from proof.history.checker import Checker
from proof.history.logs import CommittedLog

__all__ = ["Eyes"]


class Eyes:
    """Sees every step that is made in ZooKeeper, and says what is wrong with it."""

    def __init__(self, farm: ChaosFarm, verdict: Verdict) -> None:
        self._farm = farm
        self._verdict = verdict
        self._cast = Cast()
        self._checker: Checker | None = None

    @property
    def transactions(self) -> int:
        """How many were checked."""
        return 0 if self._checker is None else self._checker.transactions

    def open(self) -> None:
        """Begin to look, once the farm has started."""
        log = CommittedLog([server.data for server in self._farm.ensemble.servers])
        checker = self._checker = Checker(log, self._cast)
        self._farm.on_taint = checker.taint
        self._farm.on_untaint = checker.untaint
        self._follow(self._farm.client, Role.CHAOS, "chaos")

    def meet(self, client: ZookeeperClient, name: str) -> None:
        """That is a client's session, and so are those that it has later."""
        self._follow(client, Role.CLIENT, name)

    def _follow(self, client: ZookeeperClient, role: Role, name: str) -> None:
        def tell(state: SessionState) -> None:
            if state is SessionState.CONNECTED:
                self._cast.name(client.session_id, role, name)

        client.observe(tell)
        tell(client.state)

    def look(self) -> None:
        """At what is new."""
        if self._checker is None:
            return
        for violation in self._checker.step():
            words = f"{violation.words} ({', '.join(violation.paths)}; zxid {violation.zxid:x})"
            self._verdict.add(violation.rule, words, self._checker.trail(violation))
