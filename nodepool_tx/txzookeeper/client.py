"""The ZooKeeper client: one session with a real ensemble, on the reactor.

The parts: :mod:`.link` keeps a :mod:`.connection` open, :mod:`.session` knows
where we stand, :mod:`.watches` who waits for what.  This module turns
:class:`~.interface.ZookeeperAPI` calls into requests for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from kazoo.exceptions import (
    BadArgumentsError,
    ConnectionLoss,
    NoWatcherError,
    SessionExpiredError,
)
from kazoo.protocol.serialization import (
    Create,
    Delete,
    SetData,
    Sync,
)
from kazoo.protocol.states import ZnodeStat
from kazoo.security import ACL, OPEN_ACL_UNSAFE
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.txzookeeper.connection import Connection
from nodepool_tx.txzookeeper.counters import Counters
from nodepool_tx.txzookeeper.endpoints import Dialer, parse_servers
from nodepool_tx.txzookeeper.interface import (
    SessionState,
    StateObserver,
    Transaction,
    Watch,
    WatchEvent,
    ZookeeperAPI,
)
from nodepool_tx.txzookeeper.link import Link, Pauses
from nodepool_tx.txzookeeper.session import Session
from nodepool_tx.txzookeeper.tls import TLSFiles
from nodepool_tx.txzookeeper.transaction import MultiTransaction, creation_flags
from nodepool_tx.txzookeeper.trees import create_path, delete_tree, ensure_path
from nodepool_tx.txzookeeper.watches import PersistentEntry, WatchRegistry
from nodepool_tx.txzookeeper.wire import (
    MAX_REQUEST,
    AddWatch,
    AddWatchMode,
    Decoder,
    Exists,
    GetChildren,
    GetData,
    Record,
    RemoveWatches,
    packed_acl,
    read_children,
    read_data,
    read_nothing,
    read_path,
    read_stat,
)

__all__ = ["TLSFiles", "ZookeeperClient"]


class ZookeeperClient:
    """A :class:`~.interface.ZookeeperAPI` over TCP or TLS.

    Calls of several requests (``ensure_path``, ``delete_tree``, ``create``
    with ``makepath`` whose parents are missing) keep their place in the order
    of requests with their first request only.

    :param reactor: connects, resolves names, tells the time.
    :param servers: ``host:port,host:port/chroot``; see
        :func:`~.endpoints.parse_servers`.
    :param session_timeout: to ask for, in seconds; the server decides.
    :param tls: certificates; None speaks plain TCP, for trusted networks.
    :param auth: ``(scheme, credential)`` pairs, such as
        ``("digest", "user:password")``.
    :param acl: of everything this client creates.
    :param random: orders servers and spreads pauses.
    :param pauses: between fruitless rounds of dialling.
    :param close_timeout: how long :meth:`close` may take, in seconds.
    :param max_request: the servers' ``jute.maxbuffer`` in bytes.
    :raises ValueError: ``servers`` cannot be read.
    :raises TLSFilesError: a certificate or key cannot be used.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        servers: str,
        *,
        session_timeout: float = 10.0,
        tls: TLSFiles | None = None,
        auth: Sequence[tuple[str, str]] = (),
        acl: Sequence[ACL] = tuple(OPEN_ACL_UNSAFE),
        random: Random | None = None,
        pauses: Pauses | None = None,
        close_timeout: float = 5.0,
        max_request: int = MAX_REQUEST,
    ) -> None:
        where = parse_servers(servers)
        random = random or Random()
        self._chroot = where.chroot
        self._acl = tuple(acl)
        self._packed_acl = packed_acl(self._acl)
        self._close_timeout = close_timeout
        self._counters = Counters()
        self._session = Session(session_timeout)
        self._watches = WatchRegistry()
        self._dialer = Dialer(reactor, where, tls, random, max(1.0, session_timeout / 3))
        self._link = Link(
            reactor,
            self._dialer,
            self._session,
            self._counters,
            auth=tuple(auth),
            on_event=self._on_event if self._chroot else self._watches.dispatch,
            on_connected=self._on_connected,
            on_session_lost=self._watches.session_lost,
            random=random,
            pauses=pauses or Pauses(),
            max_request=max_request,
        )

    # -- the session

    @property
    def state(self) -> SessionState:
        return self._session.state

    @property
    def session_id(self) -> int:
        return self._session.session_id

    @property
    def session_password(self) -> bytes:
        """With the id, what lets a connection take this session over."""
        return self._session.password

    @property
    def session_epoch(self) -> int:
        return self._session.epoch

    @property
    def session_timeout(self) -> float:
        return self._session.timeout

    @property
    def server(self) -> str:
        """The server we talk to; empty while there is none."""
        connection = self._link.connection
        return connection.name if connection is not None else ""

    @property
    def last_failure(self) -> str:
        """Why no server would have us, as of the last round; empty when connected."""
        return self._link.last_failure

    @property
    def counters(self) -> Counters:
        self._counters.watches = len(self._watches)
        return self._counters

    def use_servers(self, servers: str) -> None:
        """Take the next connection from these servers; the present one stays.

        :raises ValueError: it is no connection string, or has another chroot.
        """
        where = parse_servers(servers)
        if where.chroot != self._chroot:
            raise ValueError(f"the chroot cannot change from {self._chroot!r} to {where.chroot!r}")
        self._dialer.use(where)

    def connect(self) -> Deferred[None]:
        return self._link.start()

    def close(self) -> Deferred[None]:
        return self._link.stop(self._close_timeout)

    def observe(self, observer: StateObserver) -> Callable[[], None]:
        return self._session.observe(observer)

    def drop_connection(self, why: str = "dropped by its owner") -> None:
        """Break the present connection; the session goes on over another one."""
        self._link.drop(why)

    # -- reading

    def get(self, path: str) -> Deferred[tuple[bytes, ZnodeStat]]:
        return self._ask_about(path, read_data, GetData, False)

    def exists(self, path: str) -> Deferred[ZnodeStat | None]:
        return self._ask_about(path, read_stat, Exists, False)

    def get_children(self, path: str) -> Deferred[list[str]]:
        return self._ask_about(path, read_children, GetChildren, False)

    def get_and_watch(
        self, path: str
    ) -> tuple[Deferred[tuple[bytes, ZnodeStat]], Deferred[WatchEvent]]:
        def arm(result: tuple[bytes, ZnodeStat]) -> tuple[bytes, ZnodeStat]:
            self._watches.arm_data(path, watch)
            return result

        watch = self._watches.new(path)
        covered = self._watches.covers(path)
        return self._ask_about(path, read_data, GetData, not covered).addCallback(arm), watch

    def exists_and_watch(
        self, path: str
    ) -> tuple[Deferred[ZnodeStat | None], Deferred[WatchEvent]]:
        def arm(stat: ZnodeStat | None) -> ZnodeStat | None:
            if stat is None:
                self._watches.arm_exist(path, watch)
            else:
                self._watches.arm_data(path, watch)
            return stat

        watch = self._watches.new(path)
        covered = self._watches.covers(path)
        return self._ask_about(path, read_stat, Exists, not covered).addCallback(arm), watch

    def get_children_and_watch(self, path: str) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        def arm(names: list[str]) -> list[str]:
            self._watches.arm_child(path, watch)
            return names

        watch = self._watches.new(path)
        covered = self._watches.covers(path)
        listing = self._ask_about(path, read_children, GetChildren, not covered)
        return listing.addCallback(arm), watch

    def sync(self, path: str = "/") -> Deferred[None]:
        return self._ask_about(path, read_nothing, Sync)

    # -- writing

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        makepath: bool = False,
    ) -> Deferred[str]:
        full = self._absolute(path, sequence)
        if full is None:
            return fail(BadArgumentsError(path))
        creation = Create(full, data, self._acl, creation_flags(ephemeral, sequence))
        if makepath:
            created = Deferred.fromCoroutine(create_path(self._ask, creation, self._acl))
        else:
            created = self._ask(creation, read_path)
        return created.addCallback(self._relative) if self._chroot else created

    def set(self, path: str, data: bytes, version: int = -1) -> Deferred[ZnodeStat]:
        return self._ask_about(path, read_stat, SetData, data, version)

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        return self._ask_about(path, read_nothing, Delete, version)

    def delete_tree(self, path: str) -> Deferred[None]:
        full = self._absolute(path)
        if full is None:
            return fail(BadArgumentsError(path))
        return Deferred.fromCoroutine(delete_tree(self._ask, full))

    def ensure_path(self, path: str) -> Deferred[None]:
        full = self._absolute(path)
        if full is None:
            return fail(BadArgumentsError(path))
        return Deferred.fromCoroutine(ensure_path(self._ask, full, self._acl))

    def transaction(self) -> Transaction:
        return MultiTransaction(self._ask, self._absolute, self._relative, self._packed_acl)

    # -- persistent watches

    def watch(
        self, path: str, callback: Callable[[WatchEvent], None], *, recursive: bool = False
    ) -> Deferred[Watch]:
        def rooted(_: None) -> Watch:
            self._watches.server_has(path, mode)
            return PersistentWatch(self, entry)

        def failed(failure: Failure) -> Failure:
            self._watches.discard(entry)
            return failure

        if self._absolute(path) is None:
            return fail(BadArgumentsError(path))
        if self._link.connection is None:
            return fail(self._session.refusal())
        entry = self._watches.add(path, callback, recursive)
        mode = self._watches.mode(path)
        assert mode is not None
        return self._add_watch(path, mode).addCallbacks(rooted, failed)

    def unwatch(self, entry: PersistentEntry) -> Deferred[None]:
        """Deliver nothing more to ``entry`` and let the server know if it matters."""
        path = entry.path
        was = self._watches.mode(path)
        self._watches.discard(entry)
        mode = self._watches.mode(path)
        connection = self._link.connection
        done: Deferred[None]
        if mode is was or connection is None:
            done = Deferred()
            done.callback(None)
        elif mode is not None:
            done = self._add_watch(path, mode)
            done.addCallback(lambda _: self._watches.server_has(path, mode))
        else:
            zxid = connection.last_zxid
            done = self._ask_about(path, read_nothing, RemoveWatches)
            done.addErrback(lambda failure: failure.trap(NoWatcherError) and None)
            done.addCallback(lambda _: self._removed(path, zxid))
        return done.addErrback(lambda failure: failure.trap(ConnectionLoss) and None)

    def _add_watch(self, path: str, mode: AddWatchMode) -> Deferred[None]:
        return self._ask_about(path, read_nothing, AddWatch, mode)

    def _removed(self, path: str, zxid: int) -> None:
        """The server has dropped all watches on ``path``: set the others again."""
        self._watches.server_has(path, None)
        for renewal in self._watches.renewals_of(path, zxid, self._rooted):
            self._ask(renewal, read_nothing).addErrback(self._not_renewed)

    def soon(self, call: Callable[[], None]) -> None:
        connection = self._link.connection
        if connection is None:
            call()
        else:
            connection.soon(call)

    # -- the link's reports

    def _on_connected(self, connection: Connection) -> None:
        self._watches.reconnected()
        for renewal in self._watches.renewals(connection.last_zxid, self._rooted):
            connection.ask(renewal, read_nothing).addErrback(self._not_renewed)

    def _not_renewed(self, failure: Failure) -> None:
        if failure.check(ConnectionLoss):
            return
        if failure.check(SessionExpiredError) is None:
            self._log.failure("The server would not set watches again", failure)
        # If the session has come to its end meanwhile, it is the next connection that learns it.
        self.drop_connection("it would not set watches again")

    def _on_event(self, number: int, path: str) -> None:
        self._watches.dispatch(number, self._relative(path))

    # -- requests and paths

    def _ask(self, record: Record, decode: Decoder) -> Deferred[Any]:
        connection = self._link.connection
        if connection is None:
            return fail(self._session.refusal())
        return connection.ask(record, decode)

    def _ask_about(
        self, path: str, decode: Decoder, record: Callable[..., Record], *fields: Any
    ) -> Deferred[Any]:
        connection = self._link.connection
        if connection is None:
            return fail(self._session.refusal())
        full = self._absolute(path)
        if full is None:
            return fail(BadArgumentsError(path))
        return connection.ask(record(full, *fields), decode)

    def _absolute(self, path: str, sequence: bool = False) -> str | None:
        """The server's name for ``path``; None for what cannot be a path."""
        if path == "/" and not sequence:
            return self._chroot or path
        if path[:1] != "/" or "//" in path or (path[-1] == "/" and not sequence):
            return None
        return self._chroot + path

    def _rooted(self, path: str) -> str:
        return (self._chroot + path if path != "/" else self._chroot) or "/"

    def _relative(self, path: str) -> str:
        return path[len(self._chroot) :] or "/"


class PersistentWatch:
    """What :meth:`ZookeeperClient.watch` hands out."""

    def __init__(self, client: ZookeeperClient, entry: PersistentEntry) -> None:
        self._client = client
        self._entry = entry

    def stop(self) -> Deferred[None]:
        return self._client.unwatch(self._entry)


_promise: Callable[..., ZookeeperAPI] = ZookeeperClient
