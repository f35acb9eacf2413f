"""Nodes in stock: handed out, used and put back, by launchers that may see old things.

Two launchers decide from what their tables show (``pools.transactions.fulfil``,
``janitor``, ``static.plan``) and send one transaction; it arrives at any later
time, or never.  Clients ask, cancel, lock, use and unlock in between.  A
session may end at any moment, a process may crash and come back, an answer may
be lost.

Design note: what is left out, and why nothing is lost
------------------------------------------------------
- *Late tables.*  A launcher decides from the tree as it is at one moment, and
  what it decided arrives at any later one, so it acts on old news.  Tables
  that are late by different amounts add nothing: whatever a transaction writes
  it also checks the version of, so one that succeeds was decided from records
  as they still are.  The one thing that is read and not checked is whether a
  request exists; so launchers may see nodes before they see requests.
- *Doomed transactions.*  One that was decided from a version that is gone can
  only be refused, as versions never come back.  It is dropped at once: being
  refused later would change nothing, and until then its nodes are reserved,
  which only keeps its launcher from doing what it may do here.  So versions can
  be forgotten, see :mod:`proof.model.zookeeper`.
- *Lost answers.*  A launcher that hears nothing asks its tables, as it does
  otherwise; here that is a transaction which arrives, or is dropped.
- *Two launchers alike.*  They differ in nothing but their names, so a state
  and the one with the two exchanged have the same future; of both only one is
  searched.  They own no znode here, so nothing else has to be renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from nodepool_tx.model import Node
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node
from proof.model.clients import Client, client_steps
from proof.model.decisions import (
    desired_hosts,
    free_static_node,
    fulfilments,
    janitor_changes,
    returned,
    slot_changes,
)
from proof.model.explore import Step
from proof.model.rules import wrong_records, wrong_write
from proof.model.seen import Operations, asked_again
from proof.model.zookeeper import EMPTY, Operation, Refused, SessionGone, Tree, create, versionless

__all__ = ["Flight", "HandingOut", "Launcher", "Mutation", "State", "as_it_is", "doomed", "put"]


class Flight(NamedTuple):
    """A transaction on its way.

    :ivar nodes: those that its launcher has reserved meanwhile.
    :ivar then: what is sent when it has arrived; only mutants do so.
    """

    words: str
    subject: str
    nodes: tuple[str, ...]
    operations: Operations
    then: Operations = ()


class Launcher(NamedTuple):
    """:ivar known: the requests that it has seen."""

    up: bool = True
    known: frozenset[str] = frozenset()
    flights: tuple[Flight, ...] = ()


class State(NamedTuple):
    """:ivar losses: sessions that may still end; ``crashes`` likewise."""

    tree: Tree
    launchers: tuple[Launcher, ...]
    clients: tuple[Client, ...]
    losses: int
    crashes: int


#: Sessions: of launchers they need not differ, as they own nothing.
LAUNCHERS = 1
CLIENTS = 10

#: What a mutant sends instead of a transaction, which it is told of in words.
Mutation = Callable[[str, Operations], Operations]
#: What a mutant makes of a decision.
Split = Callable[[Flight], Flight]


def as_it_is(words: str, operations: Operations) -> Operations:
    return operations


def _whole(flight: Flight) -> Flight:
    return flight


class HandingOut:
    """The model.

    :param wants: for each client, how many nodes it wants.
    :param revisions: how often the first client may change its priority.
    :param mutation: changes what launchers send, and ``split`` what they decide.
    :param reduced: false: doomed transactions and versions are kept, and launchers
        are told apart, which must find the same.
    :param barrier: whether the janitor waits until its tables have caught up.
    """

    def __init__(
        self,
        nodes: int = 2,
        launchers: int = 2,
        wants: tuple[int, ...] = (1, 2),
        *,
        losses: int = 1,
        crashes: int = 1,
        revisions: int = 0,
        mutation: Mutation = as_it_is,
        split: Split = _whole,
        barrier: bool = True,
        reduced: bool = True,
        name: str = "handing out",
    ) -> None:
        self.name = name
        self._nodes = nodes
        self._launchers = launchers
        self._wants = wants
        self._losses = losses
        self._crashes = crashes
        self._revisions = revisions
        self._mutation = mutation
        self._split = split
        self._barrier = barrier
        self._reduced = reduced
        hosts = [f"host-{number}" for number in range(nodes)]
        self._desired = tuple(desired_hosts(hosts).hosts.values())
        self._stock: tuple[Node, ...] = tuple(free_static_node(host) for host in hosts)
        self._trees: dict[Tree, Tree] = {}
        self._plains: dict[Tree, Tree] = {}

    # -- what may happen -------------------------------------------------

    def initial(self) -> Iterable[State]:
        clients = tuple(
            Client(number, want, CLIENTS + number, revisions=self._revisions if not number else 0)
            for number, want in enumerate(self._wants)
        )
        tree = EMPTY.with_session(LAUNCHERS)
        for client in clients:
            tree = tree.with_session(client.session)
        for node in self._stock:
            made = create(f"{paths.NODES}/", encode_node(node), sequence=True)
            tree = tree.after((made,), LAUNCHERS)
        idle = (Launcher(),) * self._launchers
        yield State(tree, idle, clients, self._losses, self._crashes)

    def steps(self, state: State) -> Iterator[Step[State]]:
        for number, client in enumerate(state.clients):
            yield from self._of_client(state, number, client)
        for number, launcher in enumerate(state.launchers):
            yield from self._of_launcher(state, number, launcher)

    def _of_client(self, state: State, number: int, client: Client) -> Iterator[Step[State]]:
        for step in client_steps(state.tree, client):
            tree, after = self._asked(state.tree, step.operations, client.session), step.after
            if tree is None:
                tree, after = state.tree, step.refused
            words = f"client {number} {step.words}"
            yield self._step(words, state, tree=tree, clients=put(state.clients, number, after))
        locking = ("locking", "accepting", "in-use", "used", "unlocking", "giving up")
        if state.losses and (client.phase in locking or client.revising):
            session = client.session + 10
            tree = state.tree.without_session(client.session).with_session(session)
            phase = "lost" if client.phase in locking else client.phase
            lost = client._replace(session=session, phase=phase, at=0)
            yield self._step(
                f"the session of client {number} ends",
                state,
                tree=tree,
                clients=put(state.clients, number, lost),
                losses=state.losses - 1,
            )

    def _of_launcher(self, state: State, number: int, launcher: Launcher) -> Iterator[Step[State]]:
        def become(words: str, after: Launcher, **changes: object) -> Step[State]:
            launchers = put(state.launchers, number, after)
            return self._step(f"a launcher {words}", state, launchers=launchers, **changes)

        if not launcher.up:
            yield become("comes back", Launcher())
            return
        for flight in launcher.flights:
            left = tuple(each for each in launcher.flights if each is not flight)
            landed = self._landed(state.tree, flight)
            if landed is not None:
                rest = left
                if flight.then:
                    rest = (*left, flight._replace(operations=flight.then, then=()))
                after = launcher._replace(flights=rest)
                yield become(f"has done it: {flight.words}", after, tree=landed)
            yield become(f"comes to nothing with: {flight.words}", launcher._replace(flights=left))
        for flight in self._decisions(state.tree, launcher):
            after = launcher._replace(flights=(*launcher.flights, self._split(flight)))
            yield become(f"decides: {flight.words}", after)
        for request_id in state.tree.below(paths.REQUESTS):
            if request_id not in launcher.known:
                after = launcher._replace(known=launcher.known | {request_id})
                yield become(f"sees request {request_id}", after)
        if state.losses and launcher.flights:
            # What it had sent and was not carried out yet never will be.
            after = launcher._replace(flights=())
            yield become("has lost its session", after, losses=state.losses - 1)
        if state.crashes:
            yield become("crashes", Launcher(up=False), crashes=state.crashes - 1)

    def _decisions(self, tree: Tree, launcher: Launcher) -> Iterator[Flight]:
        """What it may begin now: one thing about a request, a slot or a record at a time."""
        busy = {flight.subject for flight in launcher.flights}
        reserved = frozenset(node_id for flight in launcher.flights for node_id in flight.nodes)
        requests = tree.below(paths.REQUESTS)
        hidden = frozenset(requests) - launcher.known
        for request_id in requests:
            if request_id in busy:
                continue
            for ids, asks in fulfilments(tree, request_id, hidden, reserved):
                words = f"give {', '.join(ids)} to {request_id}"
                yield Flight(words, request_id, ids, asks)
        for key, ids, asks in slot_changes(tree, self._desired, reserved):
            host = str(key.identity[0])
            if host not in busy:
                yield Flight(f"put {host} back into service", host, ids, asks)
        unseen = frozenset() if self._barrier else hidden
        for asks in janitor_changes(tree, unseen, reserved):
            if "janitor" not in busy:
                written = ", ".join(o.path for o in asks if o.kind == "set")
                yield Flight(f"put right {written}", "janitor", (), asks)

    # -- states ----------------------------------------------------------

    def _asked(self, tree: Tree, asks: Operations, session: int) -> Tree | None:
        """The tree after a client's request; None if it is refused."""
        if not asks:
            return tree
        try:
            after = tree.after(asks, session)
        except (Refused, SessionGone):
            return None
        return self._trees.setdefault(after, after)

    def _landed(self, tree: Tree, flight: Flight) -> Tree | None:
        """The tree after a launcher's transaction; None if it is given up."""
        asks = flight.operations
        while asks:
            try:
                return tree.after(self._mutation(flight.words, asks), LAUNCHERS)
            except Refused as refused:
                asks = asked_again(asks, refused)
        return None

    def _step(self, words: str, state: State, **changes: object) -> Step[State]:
        after = state._replace(**changes)  # type: ignore[arg-type]
        wrong = self._wrong_write(state, words, after.tree)
        tree = self._trees.setdefault(after.tree, after.tree)
        there = frozenset(tree.below(paths.REQUESTS))
        launchers = [self._tidy(launcher, tree, there) for launcher in after.launchers]
        clients = tuple(
            Client(c.number, c.labels, 0, "done") if c.phase == "done" else c for c in after.clients
        )
        if self._reduced:
            launchers.sort()
            tree = self._plain(tree)
        after = after._replace(tree=tree, launchers=tuple(launchers), clients=clients)
        return Step(words, after, wrong)

    def _plain(self, tree: Tree) -> Tree:
        """The tree without its versions, of which nothing on its way depends any more."""
        plain = self._plains.get(tree)
        if plain is None:
            plain = versionless(tree)
            plain = self._plains[tree] = self._trees.setdefault(plain, plain)
        return plain

    def _tidy(self, launcher: Launcher, tree: Tree, there: frozenset[str]) -> Launcher:
        flights = tuple(
            sorted(f for f in launcher.flights if not (self._reduced and self._doomed(f, tree)))
        )
        return launcher._replace(known=launcher.known & there, flights=flights)

    def _doomed(self, flight: Flight, tree: Tree) -> bool:
        return doomed(self._mutation(flight.words, flight.operations), tree)

    # -- what is right ---------------------------------------------------

    def wrong(self, state: State) -> str:
        return wrong_records(state.tree)

    def _wrong_write(self, before: State, words: str, after: Tree) -> str:
        if before.tree is after or words.startswith("the session"):
            return ""
        if words.startswith("client"):
            client = before.clients[int(words.split()[1])]
            return wrong_write(before.tree, after, client.session, client.request)
        return wrong_write(before.tree, after, LAUNCHERS)

    def is_good_end(self, state: State) -> bool:
        """All requests are over, all nodes are free and nothing is on its way."""
        return (
            all(client.phase == "done" for client in state.clients)
            and not any(launcher.flights for launcher in state.launchers)
            and not state.tree.below(paths.REQUESTS)
            and len(list(state.tree.node_ids())) == self._nodes
            and returned(state.tree)
        )


def doomed(operations: Operations, tree: Tree) -> bool:
    """A transaction can only be refused, now and for ever."""
    return any(_never(operation, tree) for operation in operations)


def _never(operation: Operation, tree: Tree) -> bool:
    if operation.kind == "create" or operation.path.endswith("/lock"):
        return False
    if operation.path.rpartition("/")[0] == paths.REQUEST_LOCKS:
        return False
    znode = tree.znodes.get(operation.path)
    return znode is None or operation.version not in (-1, znode.version)


def put(things: tuple[object, ...], number: int, thing: object) -> tuple[Any, ...]:
    """The same things, but for one of them."""
    return (*things[:number], thing, *things[number + 1 :])
