"""Looking after the nodes of a provider that nobody holds.

Events mark nodes; one pass per turn of the reactor looks at those that are
marked, so many at a time, and starts what follows from what it sees.  A sweep
marks all of them, in case an event was missed.  Which nodes are to be adopted
or deleted is for one launcher to say, the provider's owner; a node that we
ourselves have promised to make is for us alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from nodepool_tx.model import Node, NodeState, RequestState
from nodepool_tx.pools.registry import PoolRegistry
from nodepool_tx.providers.cloud.account import Account
from nodepool_tx.providers.cloud.fate import Fate, Situation, Verdict, fate_of
from nodepool_tx.providers.cloud.launches import Launches
from nodepool_tx.providers.cloud.removals import Removals
from nodepool_tx.store.nodes import NodeChange

__all__ = ["Housekeeping"]

#: Nodes looked at in one turn of the reactor.
NODES_PER_TURN = 500

#: Seconds for which a node is left alone that we have made a mistake with.
SHUNNED_FOR = 60.0

#: Seconds after which what was written together with a node is known here.
SETTLED_AFTER = 30.0


class Housekeeping:
    """Adopts, begins and removes nodes.

    :param may_decide: whether anything may be begun now.
    :param owner: whether the nodes of others may be adopted and removed.
    :param gives_up: whether the provider is being given up.
    :param withdrawn: why an operator took it out of service; "" if nobody did.
    """

    _log = Logger()

    def __init__(
        self,
        account: Account,
        registry: PoolRegistry,
        launches: Launches,
        removals: Removals,
        may_decide: Callable[[], bool],
        owner: Callable[[], bool],
        gives_up: Callable[[], bool],
        withdrawn: Callable[[], str],
    ) -> None:
        self._account = account
        self._registry = registry
        self._launches = launches
        self._removals = removals
        self._may_decide = may_decide
        self._owner = owner
        self._gives_up = gives_up
        self._withdrawn = withdrawn
        self._marked: dict[str, None] = {}
        #: What we have failed at by a mistake of ours, and when to try it again.
        self._shunned: dict[str, float] = {}
        self._next: IDelayedCall | None = None

    # -- what wakes it ---------------------------------------------------

    def follow(self, change: NodeChange) -> None:
        """Look at a node that was changed or let go."""
        if change.after is None:
            self._marked.pop(change.node_id, None)
            self._shunned.pop(change.node_id, None)
        elif (
            not change.locked_after
            and change.after.provider == self._account.name
            and change.after.state is not NodeState.HOLD
        ):
            self.mark(change.node_id)

    def mark(self, node_id: str) -> None:
        """Look at a node soon."""
        self._marked[node_id] = None
        self._wake()

    def shun(self, node_id: str) -> None:
        """Leave a node alone for a while, so that a mistake is not made again at once."""
        self._shunned[node_id] = self._account.clock.seconds() + SHUNNED_FOR

    def mark_all(self) -> None:
        """Look at every node soon."""
        nodes = self._account.store.nodes
        for node in nodes.of_provider(self._account.name):
            if not nodes.is_locked(node.id):
                self._marked[node.id] = None
        self._wake()

    def close(self) -> None:
        """Look at nothing more."""
        self._marked = {}
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _wake(self) -> None:
        if self._marked and self._next is None and self._may_decide():
            self._next = self._account.clock.callLater(0, self._pass)

    # -- a pass ----------------------------------------------------------

    def _pass(self) -> None:
        self._next = None
        if not self._may_decide():
            # Whoever may again begins with all nodes.
            self._marked = {}
            return
        for _ in range(min(NODES_PER_TURN, len(self._marked))):
            node_id = next(iter(self._marked))
            del self._marked[node_id]
            try:
                self._look_at(node_id)
            except Exception:
                self._log.failure("cannot look after node {node_id}", node_id=node_id)
        self._wake()

    def _look_at(self, node_id: str) -> None:
        nodes = self._account.store.nodes
        node = nodes.get(node_id)
        if node is None or nodes.is_locked(node_id) or nodes.is_reserved(node_id):
            return
        if node_id in self._launches or node_id in self._removals:
            return
        if self._shunned.get(node_id, 0.0) > self._account.clock.seconds():
            return
        self._shunned.pop(node_id, None)
        verdict = self.judge(node)
        if verdict.fate is Fate.DELETE and self._owner():
            self._removals.put(node, self._still_to_go)
        elif (verdict.fate is Fate.ADOPT and self._owner()) or verdict.fate is Fate.MAKE:
            request = self._account.store.requests.get(node.allocated_to or "")
            self._launches.start(node_id, node.pool, request, fit=self._still_to_make)

    def judge(self, node: Node) -> Verdict:
        """What is to become of a node that nobody holds."""
        account = self._account
        configured = (
            not self._gives_up()
            and bool(node.type)
            and all(account.label(node.pool, label) is not None for label in node.type)
        )
        situation = Situation(configured=configured, withdrawn=self._withdrawn())
        if node.state is NodeState.INIT:
            age = account.clock.seconds() - node.state_time
            request = account.store.requests.get(node.allocated_to or "")
            ours = node.launcher in self._registry.ids()
            situation = Situation(
                configured=configured,
                launcher_online=ours or self._online(node.launcher),
                launcher_is_us=ours,
                wanted=request is not None and request.state is RequestState.PENDING,
                settled=age >= SETTLED_AFTER,
            )
        return fate_of(node, situation)

    def _online(self, launcher: str | None) -> bool:
        return any(pool.id == launcher for pool in self._account.store.components.pools())

    def _still_to_go(self, node: Node) -> str | None:
        verdict = self.judge(node)
        return verdict.reason if verdict.fate is Fate.DELETE else None

    def _still_to_make(self, node: Node) -> bool:
        return self.judge(node).fate in (Fate.ADOPT, Fate.MAKE)

    # -- asked for -------------------------------------------------------

    def make_room(self, nodes: Sequence[Node]) -> None:
        """Remove these nodes, as long as they are ready and nobody's."""
        for node in nodes:
            self._removals.put(node, _in_stock, free=True)


def _in_stock(node: Node) -> str | None:
    if node.state is NodeState.READY and not node.allocated_to:
        return "its room is needed"
    return None
