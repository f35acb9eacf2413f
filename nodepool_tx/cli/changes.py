"""The verbs that change one node: ``delete`` and ``hold``."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from nodepool_tx.cli.lists import show_nodes
from nodepool_tx.cli.options import Verbs, positive_seconds
from nodepool_tx.cli.outcome import Complaint
from nodepool_tx.cli.visit import Visit
from nodepool_tx.config import StaticProvider
from nodepool_tx.model import IllegalTransition, Node, NodeState
from nodepool_tx.store.change import Locked, Moved, Vanished

__all__ = ["add_verbs"]

#: Seconds to wait for a node to be gone, and for its lock to hold it.
_DELETE_PATIENCE = 60.0
_HOLD_PATIENCE = 5.0


def add_verbs(verbs: Verbs) -> None:
    delete = verbs.add(
        "delete",
        "have a node deleted by its launcher",
        delete_node,
        example="delete --now 0000000042",
    )
    delete.add_argument("id", metavar="ID")
    delete.add_argument(
        "--now",
        action="store_true",
        help="wait until it is gone, and a static node until it is back in service",
    )
    hold = verbs.add(
        "hold",
        "hold a node, so that nobody is given it",
        hold_node,
        example="hold 0000000042 --comment 'disk errors, see the log'",
    )
    hold.add_argument("id", metavar="ID")
    hold.add_argument("--comment", metavar="TEXT", help="why, shown by list --detail")
    for verb, patience in ((delete, _DELETE_PATIENCE), (hold, _HOLD_PATIENCE)):
        verb.add_argument(
            "--timeout",
            metavar="SECONDS",
            type=positive_seconds,
            default=patience,
            help="how long to wait, for a lock or with --now [%(default)g]",
        )


async def hold_node(visit: Visit) -> int:
    """``hold``: nobody is given the node until somebody deletes it."""
    comment = visit.options.comment

    def held(node: Node) -> Node:
        now = visit.clock.seconds()
        return node.in_state(NodeState.HOLD, now, comment=comment or node.comment)

    patience = _Patience(visit, visit.options.timeout)
    return show_nodes(visit, [await _change(visit, held, patience)])


async def delete_node(visit: Visit) -> int:
    """``delete``: the launcher deletes the node, or puts a static one back into service."""

    def deleting(node: Node) -> Node:
        if node.state in (NodeState.DELETING, NodeState.DELETED):
            return node
        return node.in_state(NodeState.DELETING, visit.clock.seconds())

    patience = _Patience(visit, visit.options.timeout)
    node = await _change(visit, deleting, patience)
    if not visit.options.now:
        return show_nodes(visit, [node])
    nodes = visit.store.nodes
    visit.terminal.progress(f"node {node.id} is being deleted")
    await patience.until(
        lambda: nodes.get(node.id) is None,
        lambda: (
            f"node {node.id} is still there: does a launcher with provider {node.provider} run?"
        ),
    )
    visit.terminal.note(f"node {node.id} is gone")
    if not _comes_back(visit, node):
        visit.terminal.settle()
        return 0
    visit.terminal.progress(f"waiting for {node.hostname} to be back in service")
    await patience.until(
        lambda: _successor(visit, node) is not None,
        lambda: f"{node.hostname} has not come back: can the launcher reach it?",
    )
    successor = _successor(visit, node)
    assert successor is not None
    visit.terminal.note(f"{node.hostname} is back in service as node {successor.id}")
    return show_nodes(visit, [successor])


def _comes_back(visit: Visit, node: Node) -> bool:
    """The configuration lists the machine, so it returns under a new id."""
    provider = visit.config.providers.get(node.provider or "") if visit.config else None
    return isinstance(provider, StaticProvider) and any(
        listed.identity == node.identity and (node.slot or 0) < listed.max_parallel_jobs
        for pool in provider.pools
        for listed in pool.nodes
    )


def _successor(visit: Visit, node: Node) -> Node | None:
    for other in visit.store.nodes.of_provider(node.provider or ""):
        if (
            other.id != node.id
            and other.identity == node.identity
            and other.slot == node.slot
            and other.state is NodeState.READY
        ):
            return other
    return None


@attrs.define
class _Patience:
    """One deadline for all that a command waits for."""

    _visit: Visit
    _seconds: float
    _since: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._since = self._visit.clock.seconds()

    async def until(self, condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
        """Wait until the nodes fulfil a condition.

        :raises Complaint: they did not in time, with the text of ``otherwise``.
        """
        clock, fulfilled = self._visit.clock, Deferred[None]()

        def look() -> None:
            if condition() and not fulfilled.called:
                fulfilled.callback(None)

        forget = self._visit.store.nodes.subscribe(lambda change: look())
        try:
            look()
            left = self._since + self._seconds - clock.seconds()
            await fulfilled.addTimeout(max(0.0, left), clock)
        except TimeoutError:
            raise Complaint(f"{otherwise()} (waited {self._seconds:g} s)") from None
        finally:
            forget()


async def _change(visit: Visit, change: Callable[[Node], Node], patience: _Patience) -> Node:
    """Change a node that nobody else holds; what it is then.

    :raises Complaint: there is no such node, or it stays locked, or its state
        does not allow it.
    """
    store, node_id = visit.store, visit.options.id
    while True:
        node = store.nodes.get(node_id)
        if node is None:
            raise Complaint(f"there is no node {node_id}; nodepool list shows all")
        try:
            after = change(node)
            guarded = store.change()
            guarded.update_node(node, after)
            await guarded.commit()
            return after
        except IllegalTransition as e:
            raise Complaint(str(e)) from None
        except (Moved, Vanished):
            await store.barrier()
        except Locked:
            await store.barrier()
            visit.terminal.progress(f"node {node_id} is {node.state.value} and locked, waiting")
            await patience.until(
                lambda: not store.nodes.is_locked(node_id),
                lambda: f"node {node_id} is in somebody's hands: {_whose(visit, node_id)}",
            )


def _whose(visit: Visit, node_id: str) -> str:
    node = visit.store.nodes.get(node_id)
    if node is None:
        return "it is gone"
    user = f", for {node.requestor}" if node.requestor else ""
    return f"it is locked and {node.state.value}{user}"
