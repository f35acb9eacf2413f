"""Requests being served while the static provider that serves them is replaced.

Two launchers, one of which owns the provider, hand its nodes out; both are given
a new configuration, at any moments, each by a reload that idles its old service,
waits for what that has in flight and begins the successor
(``reload.Reloader._install``).  Clients ask, cancel, lock, use and return
meanwhile, and the session of one of them all ends.  What is written is decided
by the launcher's own code, as in :mod:`proof.model.handing_out` and
:mod:`proof.model.reloading`, of which this is the product.

Design note: where it begins
----------------------------
Both launchers run with the old configuration, all that it says is there, and the
first one is the owner.  How they come to that is in :mod:`proof.model.reloading`.
A launcher that has the new configuration from the start is one that was reloaded
before anything else happened.

Design note: what is done in one step, and why nothing is lost
--------------------------------------------------------------
Nobody here *has* to do anything: whatever may happen may as well happen later.
So a stretch in which a launcher only waits can be left out, as the others may do
what they do in it just before or after.

- A reload *is given*, *idles* and, when nothing is in flight any more, *begins
  the successor*: in between the service does nothing but end what it had begun.
  So it is told of the configuration when it begins to idle, and the successor
  begins when the last thing in flight has ended.
- A session *ends*, the process *hears* of it, has the next one and *queues* for
  the owner lock: between the first two it can write nothing.  One session ends
  at the most, so whoever queues last never becomes the owner, and it is the same
  when it does so.
- Who is first in the queue *hears* that it is the owner and *passes a barrier*:
  before that it touches no machine.
- *Handing out* is decided and done at once, and what the janitor does, too.  Its
  transactions check the versions of all that they were decided from, so one that
  succeeds could have been decided when it arrived; if its service was idled
  meanwhile, that could have been later (``late_gives`` does without this).
- *Doomed transactions* and *versions*: as in :mod:`proof.model.handing_out`.  A
  refusal that arrives later only keeps a slot busy, and a reload waiting.
- *Late tables*: as in :mod:`proof.model.tables`, about machines.  What is handed
  out from old records is doomed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, ProviderConfig
from nodepool_tx.reload_plan import plan_reload
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node
from proof.model.clients import Client, client_steps, contender_of
from proof.model.configurations import SERVED, machines_of
from proof.model.decisions import (
    PROVIDER,
    free_static_node,
    fulfilments,
    janitor_changes,
    returned,
    slot_changes,
    wholly_new,
)
from proof.model.explore import Step
from proof.model.handing_out import doomed, put
from proof.model.reloading import OWNER
from proof.model.rules import wrong_records, wrong_write
from proof.model.seen import Operations, asked_again, node_in
from proof.model.tables import Shows, Table, aged, machine_in, merged, without
from proof.model.zookeeper import EMPTY, Refused, Tree, check, create, versionless

__all__ = ["Flight", "Launcher", "Service", "Serving", "State"]


class Flight(NamedTuple):
    """A transaction on its way.

    :ivar subject: the machine, or the request.
    :ivar nodes: those that its launcher has reserved meanwhile.
    :ivar fence: the contender that proves who is the owner; "" for hand-outs.
    """

    subject: str
    operations: Operations
    nodes: tuple[str, ...] = ()
    fence: str = ""


class Service(NamedTuple):
    """As in :mod:`proof.model.reloading`."""

    config: int
    working: bool = True
    caught_up: bool = False
    flights: tuple[Flight, ...] = ()
    unsettled: tuple[tuple[str, str], ...] = ()


class Launcher(NamedTuple):
    """:ivar services: the one that decides, and after it what is left of an older one."""

    number: int
    session: int
    table: Table
    services: tuple[Service, ...]


class State(NamedTuple):
    """:ivar losses: sessions that may still end."""

    tree: Tree
    launchers: tuple[Launcher, ...]
    clients: tuple[Client, ...]
    losses: int


CLIENTS = 10

#: Words, what a launcher is then, and the tree.
_Turn = tuple[str, Launcher, Tree]

#: In these a client has locks, or wants them.
_LOCKING = ("locking", "accepting", "in-use", "used", "unlocking", "giving up")


class Serving:
    """The model.

    :param change: which configurations, by its name in
        :data:`proof.model.configurations.SERVED`.
    :param wants: for each client, how many nodes it wants.
    :param losses: sessions, of launchers or clients, that may end.
    :param patient: clients never cancel, so every request has to be served.
    :param late_gives: any time may pass between deciding to hand out and doing so.
    :param waits_for_idle: false: the successor begins at once.
    :param knows_new: false: a successor hands out what its old service knew.
    :param mutation: changes what is sent about machines.
    """

    def __init__(
        self,
        change: str = "a label added",
        launchers: int = 2,
        wants: tuple[int, ...] = (1, 1),
        *,
        losses: int = 1,
        patient: bool = False,
        late_gives: bool = False,
        waits_for_idle: bool = True,
        knows_new: bool = True,
        mutation: Callable[[Operations], Operations] = lambda operations: operations,
        name: str = "",
    ) -> None:
        self.name = name or f"serving: {change}"
        self._configs = SERVED[change]
        self._desired = tuple(machines_of(config) for config in self._configs)
        self._known = tuple(frozenset(h.hostname for h in wanted) for wanted in self._desired)
        self._hosts = sorted(self._known[0] | self._known[1])
        self._current = (Shows.NOW,) * len(self._hosts)
        self._launchers = launchers
        self._wants = wants
        self._losses = losses
        self._patient = patient
        self._late_gives = late_gives
        self._waits_for_idle = waits_for_idle
        self._knows_new = knows_new
        self._mutation = mutation
        self._trees: dict[Tree, Tree] = {}

    # -- what may happen -------------------------------------------------

    def initial(self) -> Iterable[State]:
        launchers = tuple(
            Launcher(number, number + 1, self._current, (Service(0, caught_up=not number),))
            for number in range(self._launchers)
        )
        clients = tuple(
            Client(number, want, CLIENTS + number) for number, want in enumerate(self._wants)
        )
        tree = EMPTY
        for session in (*(one.session for one in launchers), *(one.session for one in clients)):
            tree = tree.with_session(session)
        for host in self._desired[0]:
            record = encode_node(free_static_node(host.hostname, host.labels))
            tree = tree.after((create(f"{paths.NODES}/", record, sequence=True),), 1)
        tree = tree.after((create(OWNER),), 1)
        for one in launchers:
            tree = tree.after((contender_of(OWNER, one.session),), one.session)
        yield State(tree, launchers, clients, self._losses)

    def steps(self, state: State) -> Iterator[Step[State]]:
        for client in state.clients:
            yield from self._of_client(state, client)
        given: set[Tree] = set()
        for launcher in state.launchers:
            who = f"launcher {launcher.number}"
            for words, then, tree in self._of_launcher(state, launcher):
                yield self._after(f"{who} {words}", state, launcher.session, then, tree)
            if state.losses:
                yield self._after_loss(state, launcher)
            for words, tree in self._at_once(state, launcher):
                if tree not in given:
                    given.add(tree)
                    yield self._after(f"{who} {words}", state, launcher.session, launcher, tree)

    def _of_client(self, state: State, client: Client) -> Iterator[Step[State]]:
        for step in client_steps(state.tree, client):
            if self._patient and step.words.startswith("cancels"):
                continue
            tree, after = state.tree, step.after
            try:
                tree = tree.after(step.operations, client.session) if step.operations else tree
            except Refused:
                after = step.refused
            wrong = wrong_write(state.tree, tree, client.session, client.request)
            clients = put(state.clients, client.number, after)
            words = f"client {client.number} {step.words}"
            yield self._step(words, state, wrong, tree=tree, clients=clients)
        if state.losses and client.phase in _LOCKING:
            session = client.session + 10
            tree = state.tree.without_session(client.session).with_session(session)
            lost = client._replace(session=session, phase="lost", at=0)
            yield self._step(
                f"the session of client {client.number} ends",
                state,
                tree=tree,
                clients=put(state.clients, client.number, lost),
                losses=state.losses - 1,
            )

    def _after_loss(self, state: State, launcher: Launcher) -> Step[State]:
        """A session ends, and what was sent with it; the next one queues for the owner lock."""
        session = launcher.session + 100
        tree = state.tree.without_session(launcher.session).with_session(session)
        tree = tree.after((contender_of(OWNER, session),), session)
        services = tuple(
            service._replace(caught_up=False, flights=(), unsettled=())
            for service in launcher.services
        )
        after = self._goes_on(
            launcher._replace(session=session, table=self._current, services=services)
        )
        return self._step(
            f"the session of launcher {launcher.number} ends",
            state,
            tree=tree,
            launchers=put(state.launchers, launcher.number, after),
            losses=state.losses - 1,
        )

    # -- a launcher ------------------------------------------------------

    def _of_launcher(self, state: State, launcher: Launcher) -> Iterator[_Turn]:
        tree = state.tree
        for place, host in enumerate(self._hosts):
            if launcher.table[place] is not Shows.NOW:
                table = put(launcher.table, place, Shows.NOW)
                yield f"sees {host} as it is", self._settled(launcher, table), tree
            if launcher.table[place] is Shows.GONE and machine_in(tree, host):
                table = put(launcher.table, place, Shows.NOTHING)
                yield f"sees nothing on {host}", launcher._replace(table=table), tree
        service = launcher.services[0]
        if service.working:
            is_owner = tree.holder(OWNER) == launcher.session
            if is_owner and (service.unsettled or not service.caught_up):
                caught_up = service._replace(caught_up=True, unsettled=())
                after = _with(launcher, service, caught_up)._replace(table=self._current)
                yield "passes a barrier", after, tree
            if is_owner and service.caught_up:
                for flight in self._about_machines(tree, launcher, service):
                    after = _with(launcher, service, _sending(service, flight))
                    yield f"decides about {flight.subject}", after, tree
            if self._late_gives:
                for flight in self._hand_outs(tree, launcher, service):
                    after = _with(launcher, service, _sending(service, flight))
                    yield f"decides to serve {flight.subject}", after, tree
            if service.config == 0:
                yield "begins its reload", self._reloads(launcher, service), tree
        for service in launcher.services:
            for flight in service.flights:
                yield from self._lands(tree, launcher, service, flight)

    def _reloads(self, launcher: Launcher, service: Service) -> Launcher:
        running: dict[str, ProviderConfig] = {PROVIDER: self._configs[0]}
        new = Config(providers=FrozenMapping({PROVIDER: self._configs[1]}))
        if PROVIDER not in plan_reload(running, new).replaced:
            return _with(launcher, service, service._replace(config=1))
        return self._goes_on(_with(launcher, service, service._replace(working=False)))

    def _goes_on(self, launcher: Launcher) -> Launcher:
        """The successor begins when its old service has nothing in flight any more."""
        old, *_ = launcher.services
        if old.working or (self._waits_for_idle and old.flights):
            kept = (old, *(s for s in launcher.services[1:] if s.flights))
            return launcher._replace(services=kept)
        left = (old,) if old.flights else ()
        return launcher._replace(services=(Service(1), *left))

    def _about_machines(self, tree: Tree, launcher: Launcher, service: Service) -> Iterator[Flight]:
        """What the reconciler begins, from what the table shows."""
        busy = {flight.subject for flight in service.flights}
        busy |= {host for host, _ in service.unsettled}
        busy |= {h for h, s in zip(self._hosts, launcher.table, strict=True) if s >= Shows.OLD}
        empty = frozenset(
            h for h, s in zip(self._hosts, launcher.table, strict=True) if s is Shows.NOTHING
        )
        fence = f"{OWNER}/{tree.contenders(OWNER)[0]}"
        seen, wanted = without(tree, empty), self._desired[service.config]
        handed = frozenset(n for f in _flights(launcher) if not f.fence for n in f.nodes)
        for key, ids, asks in slot_changes(seen, wanted, handed):
            host = str(key.identity[0])
            if host not in busy and asks:
                yield Flight(host, asks, ids, fence)

    def _hand_outs(self, tree: Tree, launcher: Launcher, service: Service) -> Iterator[Flight]:
        """What the pool may give, of the machines that the service knows (``HandOut.check``)."""
        busy = {flight.subject for flight in service.flights}
        reserved = frozenset(node_id for f in _flights(launcher) for node_id in f.nodes)
        known = self._known[service.config if self._knows_new else 0]
        for request_id in tree.below(paths.REQUESTS):
            if request_id in busy:
                continue
            for ids, asks in fulfilments(tree, request_id, frozenset(), reserved):
                nodes = [node for node_id in ids if (node := node_in(tree, node_id))]
                if asks and all(node.hostname in known for node in nodes):
                    yield Flight(request_id, asks, ids)

    def _at_once(self, state: State, launcher: Launcher) -> Iterator[tuple[str, Tree]]:
        """What is decided and done in one step."""
        service = launcher.services[0]
        if service.working and not self._late_gives:
            for flight in self._hand_outs(state.tree, launcher, service):
                tree = self._landed(state.tree, launcher, flight)
                if tree is not None:
                    yield f"gives {', '.join(flight.nodes)} to {flight.subject}", tree
        reserved = frozenset(node_id for f in _flights(launcher) for node_id in f.nodes)
        for asks in janitor_changes(state.tree, frozenset(), reserved):
            tree = self._landed(state.tree, launcher, Flight("", asks))
            if tree is not None:
                yield "puts right what it finds", tree

    def _lands(
        self, tree: Tree, launcher: Launcher, service: Service, flight: Flight
    ) -> Iterator[_Turn]:
        """What was sent arrives; what can only be refused is not sent any more."""
        left = tuple(each for each in service.flights if each is not flight)
        ended = service._replace(flights=left)
        landed = self._landed(tree, launcher, flight)
        if landed is None:
            after = self._goes_on(_with(launcher, service, ended))
            yield f"is refused about {flight.subject}", after, tree
            return
        if flight.fence:
            created = set(landed.node_ids()) - set(tree.node_ids())
            expected = tuple((flight.subject, node_id) for node_id in created)
            ended = ended._replace(unsettled=merged(ended.unsettled, expected))
        older = service is not launcher.services[0]
        words = "changed by an old service" if older else "changed"
        after = self._goes_on(_with(launcher, service, ended))
        yield f"has {words} {flight.subject}", after, landed

    def _landed(self, tree: Tree, launcher: Launcher, flight: Flight) -> Tree | None:
        asks = flight.operations
        proof = (check(flight.fence),) if flight.fence else ()
        while asks:
            try:
                return tree.after((*self._sent(flight, asks), *proof), launcher.session)
            except Refused as refused:
                if refused.index == len(asks):
                    return None
                asks = asked_again(asks, refused)
        return None

    def _sent(self, flight: Flight, asks: Operations) -> Operations:
        return self._mutation(asks) if flight.fence else asks

    # -- states ----------------------------------------------------------

    def _settled(self, launcher: Launcher, table: Table) -> Launcher:
        """Of a machine that the table shows as it is, all is settled."""
        now = {h for h, s in zip(self._hosts, table, strict=True) if s is Shows.NOW}
        services = tuple(
            service._replace(
                unsettled=tuple(each for each in service.unsettled if each[0] not in now)
            )
            if service.unsettled
            else service
            for service in launcher.services
        )
        return launcher._replace(table=table, services=services)

    def _after(
        self, words: str, state: State, session: int, then: Launcher, tree: Tree
    ) -> Step[State]:
        wrong = wrong_write(state.tree, tree, session)
        if tree is not state.tree and "by an old service" in words:
            wrong = f"{words}, whose successor has begun"
        launchers = put(state.launchers, then.number, then)
        return self._step(words, state, wrong, tree=tree, launchers=launchers)

    def _step(self, words: str, state: State, wrong: str = "", **changes: Any) -> Step[State]:
        after = state._replace(**changes)
        tree, launchers, clients = after.tree, after.launchers, after.clients
        if tree is not state.tree:
            launchers = tuple(
                self._tidied(
                    one._replace(table=aged(one.table, self._hosts, state.tree, tree)), tree
                )
                for one in launchers
            )
            tree = versionless(tree)
            tree = self._trees.setdefault(tree, tree)
        launchers = tuple(
            one if one.services[0].caught_up else one._replace(table=self._current)
            for one in launchers
        )
        if clients is not state.clients:
            clients = tuple(
                Client(c.number, c.labels, 0, "done") if c.phase == "done" else c for c in clients
            )
        return Step(words, after._replace(tree=tree, launchers=launchers, clients=clients), wrong)

    def _tidied(self, launcher: Launcher, tree: Tree) -> Launcher:
        """Without what can only be refused."""
        if not any(service.flights for service in launcher.services):
            return launcher
        services = tuple(
            service._replace(
                flights=tuple(
                    f for f in service.flights if not doomed(self._sent(f, f.operations), tree)
                )
            )
            for service in launcher.services
        )
        return self._goes_on(launcher._replace(services=services))

    # -- what is right ---------------------------------------------------

    def wrong(self, state: State) -> str:
        return wrong_records(state.tree)

    def is_good_end(self, state: State) -> bool:
        """Every request is over, and there is what the new configuration says."""
        return (
            all(client.phase == "done" for client in state.clients)
            and all(
                len(one.services) == 1
                and one.services[0].config == 1
                and not one.services[0].flights
                for one in state.launchers
            )
            and not state.tree.below(paths.REQUESTS)
            and returned(state.tree)
            and wholly_new(state.tree, self._desired[1])
        )


def _flights(launcher: Launcher) -> Iterator[Flight]:
    return (flight for service in launcher.services for flight in service.flights)


def _sending(service: Service, flight: Flight) -> Service:
    return service._replace(flights=tuple(sorted((*service.flights, flight))))


def _with(launcher: Launcher, service: Service, after: Service) -> Launcher:
    services = tuple(after if each is service else each for each in launcher.services)
    return launcher._replace(services=services)
