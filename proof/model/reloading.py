"""A static provider through reloads: one owner at a time, one service at a time.

Two launchers have the provider.  The one that holds its owner lock registers,
updates and removes nodes; both are given a new configuration, at any moments.
A reload idles the old service, waits for what it has in flight, and starts the
successor, which may fail: then the old one is resumed (``reload.Reloader``).
Meanwhile nodes are promised, used and returned, a session ends, a process
crashes or is stopped, answers are lost.

Each launcher has tables that may be late, a machine at a time
(``txzookeeper.treecache``), from which ``static.plan.plan`` decides; what it
decided arrives later (``static.steps.StepRunner``).  Registering a node checks
nothing that is there, so all depends on who may act, and from which tables:
``providers.tenure`` and the reconciler's *unsettled* slots.

Design note: what is left out, and why nothing is lost
------------------------------------------------------
- *Machines* are up, and were looked at: a look only delays a step.
- *Batches.*  Steps of several slots share a transaction in the launcher; here
  each has its own, and two of them may arrive one right after the other.
- *A session that ends* takes what was sent with it.  What outlives the owner
  lock otherwise, as somebody may remove its contender, is stopped by the proof
  that each change carries (``Ownership.prove``).
- *Doomed transactions*: as in :mod:`proof.model.handing_out`, but that their
  slot stays busy until the refusal is there.
- *Late tables*: see :mod:`proof.model.tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import Config, ProviderConfig
from nodepool_tx.reload_plan import plan_reload
from nodepool_tx.store import paths
from proof.model.clients import contender_of, own_contender
from proof.model.configurations import CHANGES, machines_of
from proof.model.decisions import PROVIDER, slot_changes, wholly_new
from proof.model.explore import Step
from proof.model.handing_out import put
from proof.model.rules import wrong_records, wrong_write
from proof.model.seen import Operations, asked_again
from proof.model.tables import Shows, Table, aged, machine_in, merged, shown, without
from proof.model.users import User, user_steps
from proof.model.zookeeper import EMPTY, Refused, Tree, check, create, delete

__all__ = ["OWNER", "Launcher", "Reloading", "Service", "State"]

OWNER = paths.owner_lock(PROVIDER)


class Flight(NamedTuple):
    """The steps of one slot, on their way.

    :ivar fence: the contender that proves who is the owner.
    """

    host: str
    operations: Operations
    fence: str = ""


class Service(NamedTuple):
    """One object of the provider in one process; at the end of its life it is gone.

    :ivar config: 0 for the old configuration, 1 for the new.
    :ivar working: it is not idle.
    :ivar caught_up: ``Tenure.caught_up``.
    :ivar unsettled: machines whose nodes the table may not show, each with the
        node expected there, or "" (``Reconciler._unsettled``).
    """

    config: int
    working: bool = True
    caught_up: bool = False
    flights: tuple[Flight, ...] = ()
    unsettled: tuple[tuple[str, str], ...] = ()


class Launcher(NamedTuple):
    """:ivar table: what its node table shows.

    :ivar owner: ``Ownership.held``, as far as it knows.
    :ivar wanted: the configuration that it was given last.
    :ivar doing: ``run``, ``reload`` while it waits for the old service, ``stop``
        while it stops, ``down``.
    """

    number: int
    session: int
    table: Table
    services: tuple[Service, ...]
    owner: bool = False
    wanted: int = 0
    doing: str = "run"


class State(NamedTuple):
    tree: Tree
    launchers: tuple[Launcher, ...]
    users: tuple[User, ...]
    losses: int
    crashes: int
    stops: int
    failures: int
    silences: int
    usurpers: int


USERS = 10


class Reloading:
    """The model.

    :param change: which configurations, by its name in :data:`CHANGES`.
    :param users: jobs that come.
    :param reloads: how many of the launchers are given the new configuration
        by a reload; the others start with it.
    :param losses: sessions of launchers that may end; ``crashes``, ``stops``:
        processes that may crash, or be stopped in order; ``failures``:
        successors that may fail; ``silences``: answers that may be lost;
        ``usurpers``: how often somebody removes the owner's contender.
    :param waits_for_idle: false: the successor starts as the old one is idled.
    :param catches_up: false: an owner acts without a barrier.
    :param settles: false: a slot is planned again before its node is shown.
    :param fenced: false: what is sent does not prove who is the owner.
    :param finishes_first: false: a stop gives the owner lock up at once.
    :param mutation: changes what is sent.
    """

    def __init__(
        self,
        change: str = "a node changed",
        launchers: int = 2,
        users: int = 1,
        *,
        reloads: int = 1,
        losses: int = 1,
        crashes: int = 0,
        stops: int = 0,
        failures: int = 0,
        silences: int = 0,
        usurpers: int = 0,
        waits_for_idle: bool = True,
        catches_up: bool = True,
        settles: bool = True,
        fenced: bool = True,
        finishes_first: bool = True,
        mutation: Callable[[Operations], Operations] = lambda operations: operations,
        name: str = "",
    ) -> None:
        self.name = name or f"reloading: {change}"
        self.configs = CHANGES[change]
        self._desired = tuple(machines_of(config) for config in self.configs)
        self._size = (launchers, users, reloads)
        self._budget = (losses, crashes, stops, failures, silences, usurpers)
        self._waits_for_idle = waits_for_idle
        self._catches_up = catches_up
        self._settles = settles
        self._fenced = fenced
        self._finishes_first = finishes_first
        self._mutation = mutation
        self._trees: dict[Tree, Tree] = {}
        self._hosts = sorted({h.hostname for wanted in self._desired for h in wanted})
        self._current = (Shows.NOW,) * len(self._hosts)

    # -- what may happen -------------------------------------------------

    def initial(self) -> Iterable[State]:
        """Nothing is there yet."""
        launchers, users, reloads = self._size
        tree = EMPTY
        for session in (*range(1, launchers + 1), *range(USERS, USERS + users)):
            tree = tree.with_session(session)
        tree = tree.after((create(OWNER),), 1)
        processes = tuple(
            Launcher(
                number,
                number + 1,
                self._current,
                (Service(int(number >= reloads)),),
                wanted=int(number >= reloads),
            )
            for number in range(launchers)
        )
        jobs = tuple(User(USERS + number) for number in range(users))
        yield State(tree, processes, jobs, *self._budget)

    def steps(self, state: State) -> Iterator[Step[State]]:
        for number, user in enumerate(state.users):
            for words, tree, after in user_steps(state.tree, user):
                changes = {"tree": tree, "users": put(state.users, number, after)}
                yield self._step(f"user {number} {words}", state, **changes)
        known = {one.session for one in state.launchers}
        for session in state.tree.sessions:
            if session not in known and not USERS <= session < USERS + self._size[1]:
                gone = state.tree.without_session(session)
                yield self._step("the session of a crashed process ends", state, tree=gone)
        for launcher in state.launchers:
            for words, then, changes in self._of_launcher(state, launcher):
                launchers = put(state.launchers, launcher.number, then)
                words = f"launcher {launcher.number} {words}"
                yield self._step(words, state, launchers=launchers, **changes)

    def _of_launcher(self, state: State, launcher: Launcher) -> Iterator[_Turn]:
        tree, session = state.tree, launcher.session
        if launcher.doing == "down":
            if session in tree.sessions:
                yield "'s session ends", launcher, {"tree": tree.without_session(session)}
            yield from self._comes_back(tree, launcher)
            return
        if session not in tree.sessions:
            yield from self._hears_of_expiry(tree, launcher)
            return
        yield from self._of_ownership(tree, launcher)
        yield from self._of_reload(state, launcher)
        for place, host in enumerate(self._hosts):
            if launcher.table[place] is not Shows.NOW:
                table = put(launcher.table, place, Shows.NOW)
                yield f"'s table shows {host} as it is", self._settled(launcher, table), {}
            if launcher.table[place] is Shows.GONE and machine_in(tree, host):
                table = put(launcher.table, place, Shows.NOTHING)
                yield f"'s table shows nothing on {host}", launcher._replace(table=table), {}
        for service in launcher.services:
            yield from self._of_service(state, launcher, service)
        if state.losses and own_contender(tree, OWNER, session):
            gone = tree.without_session(session)
            yield "'s session ends", launcher, {"tree": gone, "losses": state.losses - 1}
        contender = own_contender(tree, OWNER, session)
        if state.usurpers and contender and launcher.owner:
            gone = tree.after((delete(contender),), USERS if state.users else session)
            changes = {"tree": gone, "usurpers": state.usurpers - 1}
            yield "'s contender is removed by somebody", launcher, changes
        if state.crashes:
            down = launcher._replace(doing="down", owner=False, services=())
            yield "crashes", down, {"crashes": state.crashes - 1}
        if state.stops and launcher.doing == "run":
            stopping = [service._replace(working=False) for service in launcher.services]
            after = launcher._replace(doing="stop", services=tuple(stopping))
            changes = {"stops": state.stops - 1}
            if not self._finishes_first and own_contender(tree, OWNER, session):
                changes["tree"] = _without_contender(tree, session)
            yield "is stopped", after, changes

    # -- the process and its session -------------------------------------

    def _comes_back(self, tree: Tree, launcher: Launcher) -> Iterator[_Turn]:
        """A new process, with a session of its own and the configuration it was given."""
        session = launcher.session + 100
        tree = self._kept(tree.with_session(session))
        services = (Service(launcher.wanted),)
        new = launcher._replace(
            session=session, table=self._current, services=services, doing="run", owner=False
        )
        yield "comes back", new, {"tree": tree}

    def _hears_of_expiry(self, tree: Tree, launcher: Launcher) -> Iterator[_Turn]:
        """``Ownership``, ``Tenure`` and the store begin anew with the next session."""
        session = launcher.session + 100
        tree = self._kept(tree.with_session(session))
        services = tuple(
            service._replace(caught_up=False, flights=(), unsettled=())
            for service in launcher.services
        )
        new = launcher._replace(
            session=session, table=self._current, services=services, owner=False
        )
        yield "has a new session", new, {"tree": tree}

    def _of_ownership(self, tree: Tree, launcher: Launcher) -> Iterator[_Turn]:
        """``providers.ownership.Ownership``, and the barrier of ``providers.tenure.Tenure``."""
        session = launcher.session
        if launcher.doing == "stop":
            if not any(service.flights for service in launcher.services):
                # The providers are stopped, then the lock is given up, then the session.
                gone = self._kept(tree.without_session(session))
                down = launcher._replace(doing="down", owner=False, services=())
                yield "has stopped", down, {"tree": gone}
            return
        there = own_contender(tree, OWNER, session)
        if there is None and launcher.owner:
            services = tuple(s._replace(caught_up=False) for s in launcher.services)
            after = launcher._replace(owner=False, services=services)
            yield "hears that it is the owner no more", after, {}
        elif there is None:
            asks = (contender_of(OWNER, session),)
            yield "joins the queue of owners", launcher, {"tree": self._after(tree, asks, session)}
        elif not launcher.owner and tree.holder(OWNER) == session:
            anew = tuple(
                service._replace(caught_up=not self._catches_up) for service in launcher.services
            )
            yield "hears that it is the owner", launcher._replace(owner=True, services=anew), {}
        for service in launcher.services:
            behind = launcher.owner and service.working and not service.caught_up
            if behind or service.unsettled:
                caught_up = service._replace(caught_up=service.caught_up or behind, unsettled=())
                after = _with(launcher, service, caught_up)
                yield "passes a barrier", self._settled(after, self._current), {}

    # -- the reload ------------------------------------------------------

    def _of_reload(self, state: State, launcher: Launcher) -> Iterator[_Turn]:
        """``reload.Reloader._install``, one step for each of its waits."""
        if launcher.doing == "run" and launcher.wanted == 0:
            yield "is given the new configuration", launcher._replace(wanted=1), {}
        (old, *_) = launcher.services
        if launcher.doing == "run" and launcher.wanted != old.config:
            running: dict[str, ProviderConfig] = {PROVIDER: self.configs[old.config]}
            new = Config(providers=FrozenMapping({PROVIDER: self.configs[launcher.wanted]}))
            if PROVIDER in plan_reload(running, new).replaced:
                idle = _with(launcher, old, old._replace(working=False))
                yield "idles the old service", idle._replace(doing="reload"), {}
            else:
                yield "keeps the service", _with(launcher, old, old._replace(config=1)), {}
        if launcher.doing != "reload" or (self._waits_for_idle and old.flights):
            return
        successor = Service(launcher.wanted, caught_up=launcher.owner and not self._catches_up)
        left = (old,) if old.flights else ()
        after = launcher._replace(services=(successor, *left), doing="run")
        yield "starts the successor", after, {}
        if state.failures:
            resumed = _with(launcher, old, old._replace(working=True))._replace(doing="run")
            changes = {"failures": state.failures - 1}
            yield "resumes the old service, as the successor fails", resumed, changes

    # -- deciding and writing --------------------------------------------

    def _of_service(self, state: State, launcher: Launcher, service: Service) -> Iterator[_Turn]:
        tree = state.tree
        for flight in service.flights:
            left = tuple(each for each in service.flights if each is not flight)
            ended = service._replace(flights=left)
            landed = self._landed(tree, flight, launcher.session)
            if landed is None:
                words = f"is refused about {flight.host}"
                yield words, _with(launcher, service, ended), {}
                continue
            created = set(landed.node_ids()) - set(tree.node_ids())
            expected = tuple((flight.host, node_id) for node_id in created)
            if not self._settles:
                expected = ()
            known = ended._replace(unsettled=merged(ended.unsettled, expected))
            after = _with(launcher, service, known)
            yield f"has changed {flight.host}", after, {"tree": landed}
            if state.silences:
                doubt = ended._replace(unsettled=merged(ended.unsettled, ((flight.host, ""),)))
                silent = {"silences": state.silences - 1}
                unsure = _with(launcher, service, doubt)
                yield f"does not hear of {flight.host}", unsure, {"tree": landed, **silent}
                yield f"comes to nothing about {flight.host}", unsure, silent
        if not (service.working and launcher.owner and service.caught_up):
            return
        busy = {flight.host for flight in service.flights}
        busy |= {host for host, _ in service.unsettled}
        busy |= {h for h, s in zip(self._hosts, launcher.table, strict=True) if s >= Shows.OLD}
        empty = frozenset(
            h for h, s in zip(self._hosts, launcher.table, strict=True) if s is Shows.NOTHING
        )
        for key, _, asks in slot_changes(
            without(tree, empty), self._desired[service.config], frozenset()
        ):
            host = str(key.identity[0])
            if host not in busy:
                fence = own_contender(tree, OWNER, launcher.session) or ""
                flights = tuple(sorted((*service.flights, Flight(host, asks, fence))))
                decided = service._replace(flights=flights)
                yield f"decides about {host}", _with(launcher, service, decided), {}

    def _landed(self, tree: Tree, flight: Flight, session: int) -> Tree | None:
        asks = flight.operations
        proof = (check(flight.fence),) if self._fenced else ()
        while asks:
            try:
                return self._kept(tree.after((*self._mutation(asks), *proof), session))
            except Refused as refused:
                if refused.index == len(asks):
                    return None
                asks = asked_again(asks, refused)
        return None

    # -- states ----------------------------------------------------------

    def _settled(self, launcher: Launcher, table: Table) -> Launcher:
        """The table is this one now; of a machine that it shows as it is, all is settled."""
        now = {h for h, s in zip(self._hosts, table, strict=True) if s is Shows.NOW}
        services = tuple(
            service._replace(
                unsettled=tuple(
                    (host, node_id)
                    for host, node_id in service.unsettled
                    if not node_id or host not in now
                )
            )
            if service.unsettled
            else service
            for service in launcher.services
        )
        return launcher._replace(table=table, services=services)

    def _after(self, tree: Tree, asks: Operations, session: int) -> Tree:
        return self._kept(tree.after(asks, session))

    def _kept(self, tree: Tree) -> Tree:
        return self._trees.setdefault(tree, tree)

    def _step(self, words: str, state: State, **changes: Any) -> Step[State]:
        after = state._replace(**changes)
        launchers = tuple(
            one._replace(services=tuple(s for s in one.services if _alive(s, one)))
            if len(one.services) > 1
            else one
            for one in after.launchers
        )
        if after.tree is not state.tree:
            launchers = tuple(
                one._replace(table=aged(one.table, self._hosts, state.tree, after.tree))
                for one in launchers
            )
        if self._catches_up:
            launchers = tuple(
                one if one.owner else one._replace(table=self._current) for one in launchers
            )
        wrong = self._wrong_write(state, words, after.tree)
        return Step(words, after._replace(tree=self._kept(after.tree), launchers=launchers), wrong)

    # -- what is right ---------------------------------------------------

    def wrong(self, state: State) -> str:
        for launcher in state.launchers:
            busy = [s for s in launcher.services if s.working or s.flights]
            if len(busy) > 1:
                return f"launcher {launcher.number} has two services that are not idle"
        return wrong_records(state.tree)

    def _wrong_write(self, before: State, words: str, tree: Tree) -> str:
        kind, number, *_ = words.replace("'s", " 's").split()
        if before.tree is tree or "session" in words or "stop" in words:
            return ""
        if "somebody" in words:
            return ""
        if kind == "user":
            return wrong_write(before.tree, tree, before.users[int(number)].session)
        session = before.launchers[int(number)].session
        changed = shown(before.tree) != shown(tree)
        if changed and before.tree.holder(OWNER) != session:
            return f"launcher {number} writes, and is not the owner"
        for user in before.users:
            path = paths.node(user.node)
            if user.node and before.tree.znodes.get(path) != tree.znodes.get(path):
                return f"launcher {number} writes node {user.node}, which is in use"
        return wrong_write(before.tree, tree, session)

    def is_good_end(self, state: State) -> bool:
        """There is what the new configuration says, and nothing is under way."""
        wanted = self._desired[1]
        return (
            all(user.stage == "done" for user in state.users)
            and all(one.doing == "run" and one.wanted == 1 for one in state.launchers)
            and all(
                one.services[0].config == 1 and not one.services[0].flights
                for one in state.launchers
            )
            and wholly_new(state.tree, wanted)
        )


#: Words, what a launcher is then, and what else is changed.
_Turn = tuple[str, Launcher, dict[str, Any]]


def _alive(service: Service, launcher: Launcher) -> bool:
    return service.working or bool(service.flights) or launcher.doing != "run"


def _with(launcher: Launcher, service: Service, after: Service) -> Launcher:
    services = tuple(after if each is service else each for each in launcher.services)
    return launcher._replace(services=services)


def _without_contender(tree: Tree, session: int) -> Tree:
    contender = own_contender(tree, OWNER, session)
    assert contender is not None
    return tree.after((delete(contender),), session)
