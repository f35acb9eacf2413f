"""The server side of a ZooKeeper kept in memory: sessions, changes, staged faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import attrs
from kazoo.exceptions import NoNodeError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodepool_tx.testing.zk_tree import TreeWrite, ZnodeTree
from nodepool_tx.testing.zk_watches import Connection, Registration, WatchMode, WatchTable
from nodepool_tx.txzookeeper.interface import WatchKind

__all__ = ["Fault", "MemoryServer", "ServerCall", "Session"]

T = TypeVar("T")


class ServerCall(Protocol):
    """A request as the server sees it, given to hooks.

    :ivar op: ``create``, ``get``, ``exists``, ``get_children``, ``set``,
        ``delete``, ``sync``, ``transaction``, ``watch``, ``unwatch`` or ``close``.
    :ivar paths: what it is about, chroots included; several for a transaction.
    """

    @property
    def op(self) -> str: ...

    @property
    def paths(self) -> tuple[str, ...]: ...

    @property
    def connection(self) -> Connection: ...


@attrs.define(eq=False)
class Fault:
    """Something staged for the requests that match.

    :ivar act: called with the request; what it raises is the answer.
    :ivar times: how often it still acts; None for ever.
    """

    op: str
    matches: Callable[[str], bool]
    connection: Connection | None
    act: Callable[[ServerCall], None]
    times: int | None = 1

    def concerns(self, call: ServerCall) -> bool:
        return (
            self.op in ("*", call.op)
            and (self.connection is None or self.connection is call.connection)
            and any(map(self.matches, call.paths))
        )


@attrs.define(eq=False)
class Session:
    id: int
    timeout: float
    connection: Connection | None = None
    #: Ends the session unless its client comes back in time.
    expiry: IDelayedCall | None = None


class MemoryServer:
    """Tree, watches and sessions, and what happens to requests.

    :ivar requests: how many of each kind were carried out.
    :ivar budget: how many more requests may be carried out before it is taken
        for a loop without end; None for any number.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.tree = ZnodeTree()
        self.watches = WatchTable()
        self.zxid = 0
        self.sessions: dict[int, Session] = {}
        self.before: list[Fault] = []
        self.after: list[Fault] = []
        self.requests: Counter[str] = Counter()
        self.budget: int | None = None
        self._next_session = 0x1000_0000_0001
        for path in ("/zookeeper", "/zookeeper/config", "/zookeeper/quota"):
            self.create(path)

    # -- changes ---------------------------------------------------------

    def write(self, change: Callable[[TreeWrite], T]) -> T:
        """Make one change under a new zxid and tell the watches.

        What ``change`` raises is raised, and nothing has happened then.
        """
        self.zxid += 1
        write = TreeWrite(self.tree, self.zxid, int(self._clock.seconds() * 1000))
        try:
            result = change(write)
        except BaseException:
            write.take_back()
            raise
        for kind, path in write.events:
            self.watches.trigger(kind, path)
        return result

    def create(self, path: str) -> None:
        """Make an empty znode."""
        self.write(lambda write: write.create(path, b""))

    # -- sessions --------------------------------------------------------

    def open_session(self, timeout: float) -> Session:
        self.zxid += 1
        session = Session(self._next_session, timeout)
        self._next_session += 1
        self.sessions[session.id] = session
        return session

    def attach(
        self,
        session_id: int,
        connection: Connection,
        watches: Iterable[Registration],
        last_zxid: int,
    ) -> bool:
        """Take a connection in; False if its session is gone.

        The client's watches are set again; a one-shot watch whose event came
        after ``last_zxid``, while there was no connection, fires now.
        """
        session = self.sessions.get(session_id)
        if session is None:
            return False
        if session.expiry is not None:
            session.expiry.cancel()
            session.expiry = None
        session.connection = connection
        for registration in tuple(watches):
            missed = self._missed(registration, last_zxid)
            if missed is None:
                self.watches.add(registration)
            else:
                connection.event(registration, missed, registration.path)
        return True

    def detach(self, session_id: int, connection: Connection) -> None:
        """The connection is gone; the session lives on for its timeout."""
        self.watches.drop(connection)
        session = self.sessions.get(session_id)
        if session is not None and session.connection is connection:
            session.connection = None
            session.expiry = self._clock.callLater(session.timeout, self.end_session, session_id)

    def end_session(self, session_id: int) -> None:
        """Forget a session and remove its ephemerals, in one change."""
        session = self.sessions.pop(session_id, None)
        if session is None:
            return
        if session.expiry is not None and session.expiry.active():
            session.expiry.cancel()
        paths = tuple(self.tree.ephemerals.get(session_id, ()))

        def remove(write: TreeWrite) -> None:
            for path in paths:
                write.delete(path)

        self.write(remove)

    def _missed(self, registration: Registration, last_zxid: int) -> WatchKind | None:
        mode = registration.mode
        if not registration.one_shot:
            return None
        try:
            znode = self.tree.find(registration.path)
        except NoNodeError:
            return None if mode is WatchMode.EXISTENCE else WatchKind.DELETED
        if mode is WatchMode.EXISTENCE:
            return WatchKind.CREATED
        if mode is WatchMode.DATA:
            return WatchKind.CHANGED if znode.mzxid > last_zxid else None
        return WatchKind.CHILDREN if znode.pzxid > last_zxid else None

    # -- requests --------------------------------------------------------

    def spend(self) -> None:
        """:raises RuntimeError: the budget is used up."""
        if self.budget is not None:
            if self.budget == 0:
                raise RuntimeError("requests go on without end")
            self.budget -= 1

    def execute(self, call: ServerCall) -> None:
        """Count a request and let what was staged for it act first.

        :raises Exception: what was staged as its answer.
        """
        if self.before:
            self._act(self.before, call)
        self.requests[call.op] += 1

    def executed(self, call: ServerCall) -> None:
        """Let what was staged for after the request act; its answer is on the way."""
        if self.after:
            self._act(self.after, call)

    @staticmethod
    def _act(faults: list[Fault], call: ServerCall) -> None:
        for fault in tuple(faults):
            if fault not in faults or not fault.concerns(call):
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    faults.remove(fault)
            fault.act(call)
