"""Those who want nodes, as Zuul behaves: ask, lock, delete the request, use, return, unlock.

Every step is one request to ZooKeeper, but for joining the queue of a lock: the
directory is made, if it is missing, in the same step as the contender.  Between
the two a launcher could only remove the directory and put it back in one
transaction, which nobody notices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import attrs

from nodepool_tx.model import NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node, encode_request
from proof.model.seen import Operations, node_in, request_in
from proof.model.zookeeper import Operation, Tree, create, delete, write

__all__ = ["CLIENT_STEPS", "Client", "client_steps", "request_id", "request_path"]


class Client(NamedTuple):
    """One client with one request, which is over when its phase is ``done``.

    :ivar number: which client, and so which request.
    :ivar labels: how many nodes it wants.
    :ivar at: how many nodes of the present phase are done.
    :ivar nodes: what it was given.
    :ivar revisions: how often it may still change its priority.
    :ivar revising: it holds the request's lock, or waits for it.
    """

    number: int
    labels: int
    session: int
    phase: str = "new"
    at: int = 0
    nodes: tuple[str, ...] = ()
    revisions: int = 0
    revising: str = ""

    @property
    def request(self) -> str:
        return request_id(self.number)


def request_id(number: int) -> str:
    return f"100-{number:010d}"


def request_path(client: Client) -> str:
    return paths.request(client.request)


@lru_cache
def _asking(labels: int) -> bytes:
    request = NodeRequest(
        state=RequestState.REQUESTED, node_types=("x",) * labels, requestor="zuul"
    )
    return encode_request(request)


class ClientStep(NamedTuple):
    """What a client does: what it asks for, and what it is when that has happened."""

    words: str
    operations: Operations
    after: Client
    #: What it is when the server refuses.
    refused: Client


def contender_of(directory: str, session: int) -> Operation:
    return create(f"{directory}/{session:03d}__lock__", ephemeral=True, sequence=True)


def joining(tree: Tree, directory: str, session: int) -> Operations:
    """Join the queue of a lock."""
    made = () if directory in tree else (create(directory),)
    return (*made, contender_of(directory, session))


def own_contender(tree: Tree, directory: str, session: int) -> str | None:
    """The path of a session's contender."""
    prefix = f"{session:03d}__lock__"
    for name in tree.below(directory):
        if name.startswith(prefix):
            return f"{directory}/{name}"
    return None


def holds(tree: Tree, directory: str, session: int) -> bool:
    return tree.holder(directory) == session


def client_steps(tree: Tree, client: Client) -> Iterator[ClientStep]:
    """What a client may do next."""
    yield from CLIENT_STEPS[client.phase](tree, client)


def _new(tree: Tree, client: Client) -> Iterator[ClientStep]:
    waits = client._replace(phase="waits")
    asking = (create(request_path(client), _asking(client.labels)),)
    yield ClientStep("asks for its nodes", asking, waits, client)


def _waits(tree: Tree, client: Client) -> Iterator[ClientStep]:
    request = request_in(tree, client.request)
    done = client._replace(phase="done")
    if client.revising:
        yield from _revises(tree, client)
        return
    # It changes its mind.
    yield ClientStep("cancels its request", (delete(request_path(client)),), done, done)
    if request is None:
        return
    if client.revisions and request.state is RequestState.REQUESTED:
        lock = paths.request_lock(client.request)
        queues = client._replace(revising="queues", revisions=client.revisions - 1)
        yield ClientStep(
            "joins the queue for its request's lock",
            joining(tree, lock, client.session),
            queues,
            client,
        )
    if request.state is RequestState.FULFILLED:
        locking = client._replace(phase="locking", at=0, nodes=request.nodes)
        yield ClientStep("sees its request fulfilled", (), locking, locking)
    if request.state is RequestState.FAILED:
        yield ClientStep("sees its request failed", (delete(request_path(client)),), done, done)


def _revises(tree: Tree, client: Client) -> Iterator[ClientStep]:
    """Set the priority under the request's lock."""
    lock = paths.request_lock(client.request)
    contender = own_contender(tree, lock, client.session)
    out = client._replace(revising="")
    if contender is None:
        yield ClientStep("finds that its lock is lost", (), out, out)
        return
    letting_go = (delete(contender),)
    request = request_in(tree, client.request)
    if client.revising == "queues" and request is not None and holds(tree, lock, client.session):
        first = attrs.evolve(request, relative_priority=0.0)
        written = client._replace(revising="written")
        yield ClientStep(
            "changes its priority under the lock",
            (write(request_path(client), encode_request(first), request.version),),
            written,
            written,
        )
        return
    if client.revising == "written" or request is None:
        yield ClientStep("gives its request's lock up", letting_go, out, out)


def _locking(tree: Tree, client: Client) -> Iterator[ClientStep]:
    """Lock the nodes, one after the other; who has to wait too long gives up."""
    node_id = client.nodes[client.at]
    lock = paths.node_lock(node_id)
    giving_up = client._replace(phase="giving up", at=0)
    if own_contender(tree, lock, client.session) is None:
        if paths.node(node_id) not in tree:
            yield ClientStep(f"finds node {node_id} gone", (), giving_up, giving_up)
            return
        yield ClientStep(
            f"joins the queue for node {node_id}",
            joining(tree, lock, client.session),
            client,
            client,
        )
    elif holds(tree, lock, client.session):
        last = client.at + 1 == len(client.nodes)
        after = client._replace(phase="accepting" if last else "locking", at=client.at + 1)
        yield ClientStep(f"has the lock of node {node_id}", (), after, after)
    else:
        yield ClientStep(f"does not get node {node_id} in time", (), giving_up, giving_up)


def _accepting(tree: Tree, client: Client) -> Iterator[ClientStep]:
    after = client._replace(phase="in-use", at=0)
    yield ClientStep("deletes its request", (delete(request_path(client)),), after, after)


def _writing(
    state: NodeState, then: str, words: str
) -> Callable[[Tree, Client], Iterator[ClientStep]]:
    def steps(tree: Tree, client: Client) -> Iterator[ClientStep]:
        """Write the state of a node under its lock."""
        node = node_in(tree, client.nodes[client.at])
        if node is None:
            gone = client._replace(phase="giving up", at=0)
            yield ClientStep("finds a node gone that it uses", (), gone, gone)
            return
        written = encode_node(node.in_state(state, 0.0))
        last = client.at + 1 == len(client.nodes)
        after = client._replace(
            phase=then if last else client.phase, at=0 if last else client.at + 1
        )
        yield ClientStep(
            f"{words} node {node.id}", (write(paths.node(node.id), written),), after, after
        )

    return steps


def _unlocking(then: str) -> Callable[[Tree, Client], Iterator[ClientStep]]:
    def steps(tree: Tree, client: Client) -> Iterator[ClientStep]:
        """Give the locks up, one after the other."""
        last = client.at + 1 == len(client.nodes)
        after = client._replace(phase=then if last else client.phase, at=client.at + 1)
        if last:
            after = after._replace(at=0)
        node_id = client.nodes[client.at]
        contender = own_contender(tree, paths.node_lock(node_id), client.session)
        asks = (delete(contender),) if contender else ()
        yield ClientStep(f"unlocks node {node_id}", asks, after, after)

    return steps


def _lost(tree: Tree, client: Client) -> Iterator[ClientStep]:
    """Somebody clears up after a client that has lost its session, or did not get its nodes."""
    done = client._replace(phase="done", at=0, revising="")
    yield ClientStep("deletes what is left", (delete(request_path(client)),), done, done)


def _done(tree: Tree, client: Client) -> Iterator[ClientStep]:
    return iter(())


CLIENT_STEPS: dict[str, Callable[[Tree, Client], Iterator[ClientStep]]] = {
    "new": _new,
    "waits": _waits,
    "locking": _locking,
    "accepting": _accepting,
    "in-use": _writing(NodeState.IN_USE, "used", "begins to use"),
    "used": _writing(NodeState.USED, "unlocking", "is done with"),
    "unlocking": _unlocking("done"),
    "giving up": _unlocking("lost"),
    "lost": _lost,
    "done": _done,
}
