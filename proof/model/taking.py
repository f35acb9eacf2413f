"""Nodes that are made: requests taken under a lock, launches, and what a lost session leaves.

A launcher locks a request, takes it (``pools.transactions.take``), makes what
is missing under each node's own lock, and answers it (``finish``) or gives it
back (``give_back``).  It writes from what its tables showed when it decided;
any time may pass before that arrives.

Design note: what is left out, and why nothing is lost
------------------------------------------------------
- *Late tables* and *doomed transactions*: as in :mod:`proof.model.handing_out`.
  A fence that is gone dooms a transaction, too, as a contender's name is never
  used again by a session that has lost it and by its successors.
- *The queue of a lock.*  Whoever is first when it joins is first until its
  contender goes, so it need not look; only one who is not does so later.
- *Lost locks.*  A task whose lock is gone, and which has sent nothing that
  could still arrive, does nothing any more.  It ends at once.
- *A session that ends* takes the locks and leaves everything else: a process
  that has not heard of it goes on, and what it then sends, it sends with the
  session that comes next.  So what was decided before may arrive after.
- *Handing out and the janitor* decide and do in one step, as in
  :mod:`proof.model.serving`, and so does who writes a node under its lock: all
  that such a write was decided from is the node, whose version it checks, as it
  checks that the lock is still held.
- *Two launchers alike*: see :mod:`proof.model.mirror`.  The numbers of launchers
  in a trace may be exchanged from one step to the next.
- *Servers.*  The cloud makes what it is asked for, or fails, once; that there
  is a server is the business of other instruments.
- *Who looks after the provider* is not asked for when nodes are adopted or
  removed: any launcher may, which allows more than the owner lock does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.providers.cloud.fate import Fate
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node
from proof.model.clients import Client, client_steps, holds, joining, own_contender
from proof.model.cloud import fate, made_node, next_of_taken, take_of, under_lock
from proof.model.decisions import fulfilments, janitor_changes, returned
from proof.model.explore import Step
from proof.model.handing_out import Mutation, as_it_is, doomed, put
from proof.model.mirror import mirrored
from proof.model.rules import wrong_records, wrong_write
from proof.model.seen import Operations, asked_again, node_in, nodes_in, request_in
from proof.model.tasks import Job, Launcher, State, place, renamed
from proof.model.zookeeper import EMPTY, Refused, SessionGone, Tree, create, delete, versionless

__all__ = ["Taking"]


CLIENTS = 10


class Taking:
    """The model.

    :param stock: nodes that there are at the beginning, and ``most`` how many
        there may be at a time.
    :param failures: launches that may fail.
    :param silences: answers that may be lost.
    :param revisions: how often each client may change its priority.
    :param mutation: changes what launchers send.
    :param joins_late: a launcher may join the queue of a request that its
        tables do not show as locked yet.
    :param looks: whether a launcher looks who is first in the queue of a lock.
    :param releases_first: it gives a request's lock up before it answers.
    :param reduced: false: versions are kept, launchers told apart, and any time may
        pass between every decision and its deed, which must find the same.
    """

    def __init__(
        self,
        stock: int = 1,
        most: int = 2,
        launchers: int = 2,
        wants: tuple[int, ...] = (1, 2),
        *,
        losses: int = 1,
        crashes: int = 0,
        failures: int = 0,
        silences: int = 0,
        revisions: int = 0,
        mutation: Mutation = as_it_is,
        looks: bool = True,
        joins_late: bool = False,
        releases_first: bool = False,
        reduced: bool = True,
        name: str = "taking",
    ) -> None:
        self.name = name
        self._stock = stock
        self._most = most
        self._launchers = launchers
        self._wants = wants
        self._revisions = revisions
        self._budget = (losses, crashes, failures, silences)
        self._mutation = mutation
        self._looks = looks
        self._joins_late = joins_late
        self._releases_first = releases_first
        self._reduced = reduced
        self._trees: dict[Tree, Tree] = {}

    # -- what may happen -------------------------------------------------

    def initial(self) -> Iterable[State]:
        tree = EMPTY
        launchers = tuple(
            Launcher(number, number + 1, f"pool-{number}") for number in range(self._launchers)
        )
        clients = tuple(
            Client(number, want, CLIENTS + number, revisions=self._revisions)
            for number, want in enumerate(self._wants)
        )
        for session in (*(one.session for one in launchers), *(one.session for one in clients)):
            tree = tree.with_session(session)
        for _ in range(self._stock):
            made = create(f"{paths.NODES}/", encode_node(made_node()), sequence=True)
            tree = tree.after((made,), launchers[0].session)
        yield State(tree, launchers, clients, *self._budget)

    def steps(self, state: State) -> Iterator[Step[State]]:
        for number, client in enumerate(state.clients):
            for step in client_steps(state.tree, client):
                tree, after = self._asked(state.tree, step.operations, client.session), step.after
                if tree is None:
                    tree, after = state.tree, step.refused
                changes = {"tree": tree, "clients": put(state.clients, number, after)}
                yield self._step(f"client {number} {step.words}", state, **changes)
        for launcher in state.launchers:
            yield from self._of_launcher(state, launcher)

    def _of_launcher(self, state: State, launcher: Launcher) -> Iterator[Step[State]]:
        number, session = launcher.number, launcher.session

        def become(words: str, after: Launcher, **changes: Any) -> Step[State]:
            launchers = put(state.launchers, number, after)
            return self._step(f"launcher {number} {words}", state, launchers=launchers, **changes)

        def goes_on(words: str, job: Job, after: Job | None, **changes: Any) -> Step[State]:
            jobs = tuple(each for each in launcher.jobs if each is not job)
            return become(
                words, launcher._replace(jobs=(*jobs, after) if after else jobs), **changes
            )

        alive = session in state.tree.sessions
        if not alive:
            # The successor of a session that has ended; the processes know no other.
            new = launcher._replace(session=session + 100, up=True)
            if not launcher.up:
                new = new._replace(pool=f"{launcher.pool}'", jobs=())
            yield become("has a new session", new, tree=state.tree.with_session(new.session))
            return
        if not launcher.up:
            yield become("'s session ends", launcher, tree=state.tree.without_session(session))
            return
        if state.losses and own_any(state.tree, session):
            yield become(
                "'s session ends",
                launcher,
                tree=state.tree.without_session(session),
                losses=state.losses - 1,
            )
        if state.crashes:
            crashed = launcher._replace(up=False, jobs=())
            yield become("crashes", crashed, crashes=state.crashes - 1)
        for job in launcher.jobs:
            for words, after, changes in self._of_job(state, launcher, job):
                yield goes_on(words, job, after, **changes)
        for words, begun, tree in self._begins(state, launcher):
            jobs = (*launcher.jobs, begun) if begun else launcher.jobs
            yield become(words, launcher._replace(jobs=jobs), tree=tree)

    def _begins(self, state: State, launcher: Launcher) -> Iterator[tuple[str, Job | None, Tree]]:
        """What it may begin; one thing about each request and each node at a time."""
        tree = state.tree
        busy = {job.subject for job in launcher.jobs}
        reserved = frozenset(
            node_id
            for job in launcher.jobs
            for node_id in (job.nodes if job.phase == "once" else ())
        )
        for request_id in tree.below(paths.REQUESTS):
            request = request_in(tree, request_id)
            if request_id in busy or request is None or launcher.pool in request.declined_by:
                continue
            for ids, asks in fulfilments(tree, request_id, frozenset(), reserved):
                job = Job("give", request_id, "once", nodes=ids, flight=asks, over=True)
                yield from self._at_once(
                    f"give {', '.join(ids)} to {request_id}", state, launcher, job
                )
            lock = paths.request_lock(request_id)
            if tree.contenders(lock) and not self._joins_late:
                continue
            if take_of(tree, request_id, launcher.pool, "", reserved, self._most):
                yield from self._queues(state, launcher, Job("take", request_id, "queued", lock))
        for node in nodes_in(tree):
            lock = paths.node_lock(node.id)
            if node.id in busy or tree.contenders(lock):
                continue
            request = request_in(tree, node.allocated_to or "")
            verdict = fate(node, request, launcher.pool, self._online(state))
            if verdict is Fate.DELETE:
                yield from self._queues(state, launcher, Job("remove", node.id, "queued", lock))
            elif verdict in (Fate.ADOPT, Fate.MAKE):
                yield from self._queues(state, launcher, Job("make", node.id, "queued", lock))
        if "janitor" not in busy:
            for asks in janitor_changes(tree, frozenset(), reserved):
                written = ", ".join(o.path for o in asks if o.kind == "set")
                job = Job("janitor", "janitor", "once", flight=asks, over=True)
                yield from self._at_once(f"put right {written}", state, launcher, job)

    def _at_once(
        self, words: str, state: State, launcher: Launcher, job: Job
    ) -> Iterator[tuple[str, Job | None, Tree]]:
        """One transaction, which could have been decided when it arrives; see the design note."""
        if not self._reduced:
            yield f"decides: {words}", job, state.tree
            return
        tree = self._landed(state.tree, launcher, job)
        if tree is not None:
            yield f"decides and has done: {words}", None, tree

    def _queues(
        self, state: State, launcher: Launcher, job: Job
    ) -> Iterator[tuple[str, Job, Tree]]:
        tree = self._asked(
            state.tree, joining(state.tree, job.lock, launcher.session), launcher.session
        )
        if tree is not None:
            contender = own_contender(tree, job.lock, launcher.session) or ""
            first = holds(tree, job.lock, launcher.session)
            job = job._replace(contender=contender, phase="held" if first else "queued")
            yield f"joins the queue to {job.words}", job, tree

    def _of_job(
        self, state: State, launcher: Launcher, job: Job
    ) -> Iterator[tuple[str, Job | None, dict[str, Any]]]:
        """What may become of a job: words, what it is then, and what else is changed."""
        tree = state.tree
        if job.flight:
            yield from self._flies(state, launcher, job)
            return
        if job.phase == "queued":
            first = not self._looks or holds(tree, job.lock, launcher.session)
            after = job._replace(phase="held" if first else "leaving")
            yield f"looks who is first to {job.words}", after, {}
        elif job.phase == "leaving":
            gone = self._asked(tree, (delete(job.contender),), launcher.session)
            yield f"gives up its lock to {job.words}", None, {"tree": gone}
        elif job.kind == "take" and job.phase == "held":
            asks = take_of(tree, job.subject, launcher.pool, job.contender, frozenset(), self._most)
            after = job._replace(flight=asks) if asks else job._replace(phase="leaving")
            yield f"decides: {job.words}" if asks else f"does not {job.words}", after, {}
        elif job.kind == "take":
            yield from self._sees_through(state, launcher, job)
        else:
            yield from self._writes(state, launcher, job)

    def _sees_through(
        self, state: State, launcher: Launcher, job: Job
    ) -> Iterator[tuple[str, Job | None, dict[str, Any]]]:
        """A taken request: ``Taking._step``."""
        locks = tuple(
            (each.subject, each.contender)
            for each in launcher.jobs
            if each.kind in ("make", "fail") and each.phase == "held"
        )
        then = next_of_taken(
            state.tree,
            job.subject,
            job.nodes,
            job.contender,
            launcher.pool,
            locks,
            self._online(state),
        )
        if then.operations:
            after = job._replace(flight=then.operations, over=then.releases)
            if self._releases_first:
                gone = self._asked(state.tree, (delete(job.contender),), launcher.session)
                yield f"gives its lock up, then decides: {then.words}", after, {"tree": gone}
            else:
                yield f"decides: {then.words}", after, {}
        elif then.over:
            yield f"has nothing left to do for {job.subject}", job._replace(phase="leaving"), {}

    def _writes(
        self, state: State, launcher: Launcher, job: Job
    ) -> Iterator[tuple[str, Job | None, dict[str, Any]]]:
        """A node under its lock: ``Hold.write`` and ``Hold.remove``."""
        asks = under_lock(state.tree, job.subject, job.contender, job.kind)
        if not asks:
            yield f"does not {job.words}", job._replace(phase="leaving"), {}
            return
        releases = any(o.kind == "delete" and o.path == job.contender for o in asks)
        sending = job._replace(flight=asks, over=releases)
        if self._reduced:
            yield from self._flies(state, launcher, sending)
        else:
            yield f"decides: {job.words}", sending, {}
        node = node_in(state.tree, job.subject)
        if job.kind == "make" and state.failures and node and node.state is NodeState.BUILDING:
            failing = job._replace(kind="fail")
            yield f"cannot {job.words}", failing, {"failures": state.failures - 1}

    def _flies(
        self, state: State, launcher: Launcher, job: Job
    ) -> Iterator[tuple[str, Job | None, dict[str, Any]]]:
        """What was sent arrives, or is refused, or nobody hears what became of it."""
        tree = self._landed(state.tree, launcher, job)
        waiting = job._replace(flight=(), over=False)
        if job.phase == "once":
            if tree is not None:
                yield f"has done it: {job.words}", None, {"tree": tree}
            yield f"comes to nothing with: {job.words}", None, {}
            return
        if tree is None:
            # Looked at again; a request that could not be taken is let go.
            after = job._replace(phase="leaving", flight=()) if job.phase == "held" else waiting
            if job.kind != "take":
                after = waiting
            yield f"is refused: {job.words}", after, {}
            return
        if job.kind == "take" and job.phase == "held":
            taken = self._taken(state.tree, tree, job)
            yield f"has done it: {job.words}", taken, {"tree": tree}
            unsure = waiting._replace(phase="leaving")
        else:
            done = None if job.over else waiting
            yield f"has done it: {job.words}", done, {"tree": tree}
            unsure = waiting
        if state.silences:
            changes = {"tree": tree, "silences": state.silences - 1}
            yield f"has done it and does not hear: {job.words}", unsure, changes
            lost = {"silences": state.silences - 1}
            yield f"comes to nothing with: {job.words}", unsure, lost

    def _taken(self, before: Tree, after: Tree, job: Job) -> Job:
        """A request that is taken, with the nodes of this taking, in the order of its labels.

        Others may be promised to it still, by a launcher that had it before: the
        janitor frees them.
        """
        ours = [
            node.id
            for node in nodes_in(after)
            if node.allocated_to == job.subject
            and ((was := node_in(before, node.id)) is None or was.allocated_to != job.subject)
        ]
        return job._replace(phase="taken", flight=(), nodes=tuple(ours), over=False)

    # -- states ----------------------------------------------------------

    def _online(self, state: State) -> tuple[str, ...]:
        """The pools that are registered."""
        return tuple(one.pool for one in state.launchers if one.session in state.tree.sessions)

    def _asked(self, tree: Tree, asks: Operations, session: int) -> Tree | None:
        if not asks:
            return tree
        try:
            return tree.after(asks, session)
        except (Refused, SessionGone):
            return None

    def _landed(self, tree: Tree, launcher: Launcher, job: Job) -> Tree | None:
        asks = job.flight
        while asks:
            try:
                return tree.after(self._mutation(job.words, asks), launcher.session)
            except Refused as refused:
                asks = asked_again(asks, refused)
        return None

    def _step(self, words: str, state: State, **changes: Any) -> Step[State]:
        after = state._replace(**changes)
        tree, launchers, clients = after.tree, after.launchers, after.clients
        wrong = self._wrong_write(state, words, tree)
        moved = tree is not state.tree
        if moved or launchers is not state.launchers:
            launchers = tuple(
                one._replace(jobs=self._tidied(one.jobs, tree, moved)) if one.jobs else one
                for one in launchers
            )
        if clients is not state.clients:
            clients = tuple(
                Client(c.number, c.labels, 0, "done") if c.phase == "done" else c for c in clients
            )
        if moved and self._reduced:
            tree = versionless(tree)
        if (
            self._reduced
            and len(launchers) == 2
            and place(launchers[0], tree) > place(launchers[1], tree)
        ):
            tree, launchers = mirrored(tree), (renamed(launchers[1]), renamed(launchers[0]))
        tree = self._trees.setdefault(tree, tree)
        return Step(words, after._replace(tree=tree, launchers=launchers, clients=clients), wrong)

    def _tidied(self, jobs: tuple[Job, ...], tree: Tree, moved: bool) -> tuple[Job, ...]:
        tidied = (self._tidy(job, tree, moved) for job in jobs)
        return tuple(sorted(job for job in tidied if job is not None))

    def _tidy(self, job: Job, tree: Tree, moved: bool) -> Job | None:
        """Drop what can only be refused, or has lost its lock; see the design note."""
        if not job.flight and job.contender and job.contender not in tree:
            return None
        if not job.flight or not moved:
            return job
        if not doomed(self._mutation(job.words, job.flight), tree):
            return job
        if job.phase == "once" or job.contender not in tree:
            return None
        if job.kind == "take" and job.phase == "held":
            return job._replace(flight=(), phase="leaving", over=False)
        return job._replace(flight=(), over=False)

    # -- what is right ---------------------------------------------------

    def wrong(self, state: State) -> str:
        return wrong_records(state.tree)

    def _wrong_write(self, before: State, words: str, after: Tree) -> str:
        if before.tree is after:
            return ""
        kind, number = words.split()[:2]
        if "session" in words and kind == "launcher":
            return ""
        if kind == "client":
            client = before.clients[int(number)]
            return wrong_write(before.tree, after, client.session, client.request)
        return wrong_write(before.tree, after, before.launchers[int(number)].session)

    def is_good_end(self, state: State) -> bool:
        """All requests are over, what there is is free, and nothing is under way."""
        tree = state.tree
        return (
            all(client.phase == "done" for client in state.clients)
            and all(one.up and not one.jobs for one in state.launchers)
            and not tree.below(paths.REQUESTS)
            and returned(tree)
            and not any(
                request.state is RequestState.PENDING
                for request_id in tree.below(paths.REQUESTS)
                if (request := request_in(tree, request_id)) is not None
            )
        )


def own_any(tree: Tree, session: int) -> bool:
    """A session has something that would go with it."""
    return any(znode.owner == session for znode in tree.znodes.values())
