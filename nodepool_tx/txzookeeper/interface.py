"""What a ZooKeeper client is to the rest of the service.

Everything above this package (recipes, store, command line) is written
against :class:`ZookeeperAPI` and never against a concrete client.  There are
two implementations: :class:`nodepool_tx.txzookeeper.client.ZookeeperClient`
speaks to a real server, and :class:`nodepool_tx.testing.zookeeper.MemoryClient`
speaks to a ZooKeeper kept in memory; both pass the same contract tests.

Guarantees every implementation keeps, because the recipes are built on them:

* **First in, first out.** Requests issued one after the other, without
  waiting, are executed by the server in that order and answered in that
  order.  "Take the lock and read what is under it" is one round trip.
* **Event before data.** A watch event is delivered before the answer of any
  request of the same client that would show the change.
* **An unknown outcome is said.** When the connection breaks, everything in
  flight fails with :class:`kazoo.exceptions.ConnectionLoss`; the caller does
  not know whether it happened.
* **Expiry is never hidden.** A session that is gone is reported as
  :attr:`SessionState.EXPIRED`, before the first request of its successor can
  be issued, and ``session_epoch`` grows.
* **Requests wait for nothing.** A request made while not connected fails at
  once with ConnectionLoss (``SessionExpiredError`` while expired,
  ``ConnectionClosedError`` after :meth:`ZookeeperAPI.close`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from kazoo.protocol.states import ZnodeStat
from twisted.internet.defer import Deferred

__all__ = [
    "SessionState",
    "StateObserver",
    "Transaction",
    "TransactionFailed",
    "Watch",
    "WatchEvent",
    "WatchKind",
    "ZnodeStat",
    "ZookeeperAPI",
]


class SessionState(enum.Enum):
    """Where a client stands with its ensemble."""

    #: Before the first session was ever established.
    CONNECTING = "connecting"
    CONNECTED = "connected"
    #: The connection is gone; the session may still live on the server.
    SUSPENDED = "suspended"
    #: The session is gone, and with it every ephemeral and lock.  A new one
    #: is being established; CONNECTED follows.
    EXPIRED = "expired"
    #: The server refused our credentials; nothing will be tried any more.
    AUTH_FAILED = "auth-failed"
    CLOSED = "closed"


class WatchKind(enum.Enum):
    """What a watch saw."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    #: The list of children changed (never seen by recursive watches).
    CHILDREN = "children"
    #: The session ended: this watch will see nothing any more.
    SESSION_LOST = "session-lost"


class WatchEvent(NamedTuple):
    """One notification; ``path`` is without the chroot.

    A tuple, as these are made a dozen times for each job.
    """

    kind: WatchKind
    path: str


StateObserver = Callable[[SessionState], None]


class TransactionFailed(Exception):
    """A transaction was refused as a whole; nothing of it happened.

    :ivar index: position of the operation that failed.
    :ivar error: why it failed, one of kazoo's exceptions.
    """

    def __init__(self, index: int, operation: str, error: Exception) -> None:
        super().__init__(f"operation {index} ({operation}) failed: {error!r}")
        self.index = index
        self.operation = operation
        self.error = error


class Transaction(Protocol):
    """Several changes that happen together or not at all."""

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
    ) -> None:
        """Add the creation of a znode; its result is the path created."""

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        """Add a write; its result is the new :class:`ZnodeStat`."""

    def delete(self, path: str, version: int = -1) -> None:
        """Add a removal; its result is None."""

    def check(self, path: str, version: int = -1) -> None:
        """Add a condition: ``path`` exists, at ``version`` unless that is -1."""

    def commit(self) -> Deferred[list[Any]]:
        """Send it.  Fires with one result per operation, in order.

        Fails with :class:`TransactionFailed` when the server refused it, and
        with kazoo's ConnectionLoss or SessionExpiredError as requests do.  An
        empty transaction fires with an empty list without asking the server.
        """


class Watch(Protocol):
    """A persistent watch, for as long as the client lives.

    It is set again after every reconnect and on every new session.  Events
    that happened while there was no connection are lost: who needs them reads
    again on each transition to CONNECTED (see the tree cache).
    """

    def stop(self) -> Deferred[None]:
        """Take the watch off; no event is delivered once this was called."""


class ZookeeperAPI(Protocol):
    """One session with a ZooKeeper ensemble, as a Twisted program sees it."""

    @property
    def state(self) -> SessionState: ...

    @property
    def session_id(self) -> int:
        """The server's id of the present session; 0 when there is none."""

    @property
    def session_epoch(self) -> int:
        """Grows by one with each session; what an ephemeral belongs to."""

    @property
    def session_timeout(self) -> float:
        """What was negotiated with the server, in seconds."""

    def connect(self) -> Deferred[None]:
        """Start; fires when the first session is established.

        :raises kazoo.exceptions.AuthFailedError: the server refuses us.
        """

    def close(self) -> Deferred[None]:
        """End the session in order, so that its ephemerals go at once."""

    def observe(self, observer: StateObserver) -> Callable[[], None]:
        """Call ``observer`` with each new state, in order; returns its removal."""

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        makepath: bool = False,
    ) -> Deferred[str]:
        """Create a znode; fires with its real path (sequence included).

        ``makepath`` creates missing parents first.  Fails with NodeExistsError,
        NoNodeError (no parent), NoChildrenForEphemeralsError.
        """

    def get(self, path: str) -> Deferred[tuple[bytes, ZnodeStat]]: ...

    def get_and_watch(
        self, path: str
    ) -> tuple[Deferred[tuple[bytes, ZnodeStat]], Deferred[WatchEvent]]:
        """Read, and be told once of the next change.

        The second Deferred fires with the event, or with SESSION_LOST when
        the session ends first; it never fails.
        """

    def exists(self, path: str) -> Deferred[ZnodeStat | None]: ...

    def exists_and_watch(
        self, path: str
    ) -> tuple[Deferred[ZnodeStat | None], Deferred[WatchEvent]]: ...

    def get_children(self, path: str) -> Deferred[list[str]]: ...

    def get_children_and_watch(
        self, path: str
    ) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]: ...

    def set(self, path: str, data: bytes, version: int = -1) -> Deferred[ZnodeStat]:
        """Write; fails with BadVersionError if ``version`` is not -1 and has moved."""

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        """Remove one znode; fails with NotEmptyError if it has children."""

    def delete_tree(self, path: str) -> Deferred[None]:
        """Remove a znode and all below it; nothing there is fine."""

    def ensure_path(self, path: str) -> Deferred[None]:
        """Create ``path`` and its parents where missing."""

    def sync(self, path: str = "/") -> Deferred[None]:
        """Wait until the server we talk to has applied all it had been sent.

        ZooKeeper's leader answers this before writes it is still collecting
        votes for (seen with 3.8.0), so a write that another server's client
        was already told of may be missing.  Who must see everything uses
        :func:`nodepool_tx.txzookeeper.caughtup.caught_up`.
        """

    def transaction(self) -> Transaction: ...

    def soon(self, call: Callable[[], None]) -> None:
        """Call this when all has been looked at that has arrived together; else at once.

        For what more of the same may call for again, such as to read a znode after an
        event.  It goes before anything else of the reactor's, and must not raise.
        """

    def watch(
        self, path: str, callback: Callable[[WatchEvent], None], *, recursive: bool = False
    ) -> Deferred[Watch]:
        """Set a persistent watch (ZooKeeper's AddWatch).

        Recursive ones report CREATED, CHANGED and DELETED of ``path`` and
        everything below it.  The callback must not raise.
        """
