"""``request``: ask for nodes, watch them come, use them, give them back.

The request is ephemeral and the nodes are locked by this session, so nothing
is left behind however this process ends.
"""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall

from nodepool_tx.cli.gathering import to_the_end
from nodepool_tx.cli.lease import Lease, take
from nodepool_tx.cli.options import Verbs, positive_seconds
from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.cli.ssh import KnownHosts
from nodepool_tx.cli.told import Told
from nodepool_tx.cli.using import Use
from nodepool_tx.cli.visit import BROKEN, Visit
from nodepool_tx.cli.waiting import Scene, explain, pools_for
from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_request
from nodepool_tx.txzookeeper.interface import SessionState

__all__ = ["add_verbs"]

#: Seconds between two explanations of why a request waits, at least.
_EXPLAIN_INTERVAL = 0.25


def add_verbs(verbs: Verbs) -> None:
    request = verbs.add(
        "request",
        "ask for nodes, use them and give them back",
        request_nodes,
        example="request debian-12 -- 'uname -a'",
        check=_check,
        takes_command=True,
    )
    request.usage = "nodepool request [options] LABEL [LABEL ...] [-- COMMAND ...]"
    request.description = (
        "Ask for nodes, use them and give them back.\n\n"
        "Without a command it shows how to log in and waits for Enter.  A command of one\n"
        "word is a line for the remote shell, several words arrive as they are."
    )
    request.add_argument("labels", nargs="+", metavar="LABEL", help="one node of each")
    request.add_argument(
        "--keep", action="store_true", help="hold the nodes and leave them, instead of waiting"
    )
    request.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive_seconds,
        help="give up when there are no nodes by then",
    )
    request.add_argument("--tenant", metavar="NAME", help="in whose name, for tenants' limits")
    request.add_argument(
        "--priority",
        metavar="N",
        type=_priority,
        default=100,
        help="smaller goes first; Zuul has 100, 200 and 300 for pipelines of high, normal "
        "and low precedence [100]",
    )
    request.add_argument(
        "--identity",
        metavar="FILE",
        default=verbs.environ.get("NODEPOOL_IDENTITY") or None,
        help="the private key for ssh, as ssh -i takes it",
    )


def _priority(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 999:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 999")
    return value


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.command and options.keep:
        parser.error("--keep leaves the nodes to you: run commands on them afterwards")
    if options.command and options.format != "table":
        parser.error(f"--format {options.format} has no place for a command's output")


def who() -> str:
    """The person at this terminal, as ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


async def request_nodes(visit: Visit) -> int:
    """The whole verb; its exit code."""
    started = visit.clock.seconds()
    request = await _Asking(visit).answer()
    lease = await take(visit.store, visit.clock, request)
    visit.terminal.settle()
    known_hosts = KnownHosts(lease.nodes, visit.world.environ.get("XDG_RUNTIME_DIR"))
    use = Use(visit, request, lease, known_hosts.path, visit.clock.seconds() - started)
    if visit.options.keep:
        use.show()
        since = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(visit.clock.seconds()))
        await lease.keep(f"kept by {who()} since {since}")
        use.tell_kept()
        return ExitCode.OK
    try:
        code = await use.until_done()
    finally:
        known_hosts.remove()
        await to_the_end(_give_back(visit, lease))
    return code


async def _give_back(visit: Visit, lease: Lease) -> None:
    if lease.lost.called:
        return
    try:
        await lease.give_back()
    except BROKEN as e:
        reason = str(e) or type(e).__name__
        visit.terminal.note(f"no connection to give the nodes back over ({reason});")
        visit.terminal.note("they go back by themselves when the session ends")
    else:
        nodes = ", ".join(node.id for node in lease.nodes)
        visit.terminal.note(f"gave back {nodes}")


class _Asking:
    """A request from its making to its answer."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._store = visit.store
        self._clock = visit.clock
        self._since = visit.clock.seconds()
        self._answered: Deferred[NodeRequest] = Deferred()
        self._id = ""
        self._seen = False
        self._next: IDelayedCall | None = None
        self._told: Told | None = None

    async def answer(self) -> NodeRequest:
        """Make the request; its final record when it is fulfilled.

        :raises Complaint: it failed, or took too long, or somebody removed it.
        """
        options, now = self._visit.options, self._clock.seconds()
        wanted = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=now,
            node_types=tuple(options.labels),
            requestor=f"cli:{who()}",
            event_id=uuid.uuid4().hex,
            created_time=now,
            tenant_name=options.tenant,
        )
        path = await self._store.client.create(
            f"{paths.REQUESTS}/{options.priority:03d}-",
            encode_request(wanted),
            ephemeral=True,
            sequence=True,
        )
        self._id = path.rpartition("/")[2]
        self._announce(wanted)
        endings = self._follow()
        self._told = Told(self._visit, self._id, self._look)
        try:
            self._look()
            if options.timeout is not None:
                self._answered.addTimeout(options.timeout, self._clock)
            return await self._answered
        except TimeoutError:
            raise Complaint(
                f"no nodes within {options.timeout:g} s: {self._why()}", ExitCode.TIMED_OUT
            ) from None
        finally:
            for end in endings:
                end()
            if self._next is not None:
                self._next.cancel()
                self._next = None
            await self._told.stop()

    def _announce(self, wanted: NodeRequest) -> None:
        store = self._store
        pools = pools_for(wanted, store.components.pools(), store.maintenance.providers_in_words())
        names = ", ".join(sorted({f"{pool.provider_name}/{pool.name}" for pool in pools}))
        self._visit.terminal.note(
            f"request {self._id} for {', '.join(wanted.node_types)}"
            + (f", which {names} may serve" if names else "")
        )

    def _follow(self) -> list[Callable[[], None]]:
        store = self._store
        return [
            store.requests.subscribe(lambda change: self._look()),
            store.nodes.subscribe(lambda change: self._look()),
            store.components.subscribe(self._look),
            store.when_current(lambda current: self._look()),
            store.client.observe(self._on_state),
        ]

    def _on_state(self, state: SessionState) -> None:
        if state is SessionState.EXPIRED:
            self._fail(
                Complaint("the ZooKeeper session ended and the request with it", ExitCode.LOST)
            )

    def _fail(self, complaint: Complaint) -> None:
        if not self._answered.called:
            self._answered.errback(complaint)

    def _look(self) -> None:
        """See whether there is an answer; if not, say before long why not."""
        if self._answered.called:
            return
        request = self._store.requests.get(self._id)
        if request is None:
            if self._seen and self._store.current:
                self._fail(Complaint(f"request {self._id} was removed by somebody else"))
            return
        self._seen = True
        if request.state is RequestState.FULFILLED:
            self._answered.callback(request)
        elif request.state is RequestState.FAILED:
            self._fail(Complaint(f"request {self._id} failed: {self._why()}"))
        elif self._next is None:
            self._next = self._clock.callLater(_EXPLAIN_INTERVAL, self._explain)

    def _explain(self) -> None:
        self._next = None
        self._visit.terminal.progress(self._why(), self._since)

    def _why(self) -> str:
        store, tenant = self._store, self._visit.options.tenant
        request = store.requests.get(self._id)
        if not store.current or request is None:
            return "no connection to ZooKeeper, trying again"
        if self._told is not None and (told := self._told.why(request)):
            return told
        config = self._visit.config
        limits: Mapping[str, float] = {}
        if config and tenant:
            limits = config.tenant_resource_limits.get(tenant, limits)
        return explain(
            request,
            Scene(
                store.nodes,
                store.nodes.is_locked,
                store.requests,
                store.components.pools(),
                limits,
                store.maintenance.providers_in_words(),
            ),
        )
