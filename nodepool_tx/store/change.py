"""Changing nodes and requests: one transaction that proves nobody held the lock.

Design note: locked for the length of a transaction
---------------------------------------------------
Everyone who works on Nodepool's ZooKeeper changes a node or a request only
while holding its lock.  Taking a lock, changing and letting go again are three
round trips, and a crash in between leaves a half-done change.  Where nothing
has to be done *between* reading and writing, both costs can be avoided: the
transaction that makes the change also removes the lock's directory, and puts
it back.  ZooKeeper refuses to remove a directory with anything in it, so the
transaction succeeds only if nobody held the lock or waited for it at that very
moment, which is what holding it would have proved.  Nobody ever sees the
directory missing, as removal and return are one step.  Together with the
version of each record that is written, such a change is atomic and fenced, and
a crash leaves nothing behind.

The lock of a request lies beside it and would outlive it.  What answers a
request for good therefore does not put the directory back, and removes it
together with a lock that is given up, unless somebody else is in it.

Whether the directory exists at all comes from the tables, which may lag; a
refusal that says so is tried again with what it taught.

Work that takes time under a lock (a client using a node, a launch) uses a real
lock; the change is then tied to it by a check of the lock's contender znode.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import attrs
from kazoo import exceptions as zke
from kazoo.protocol.states import ZnodeStat

from nodepool_tx.model import NODE_TRANSITIONS, IllegalTransition, Node, NodeRequest
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node, encode_request
from nodepool_tx.txzookeeper.interface import Transaction, TransactionFailed, ZookeeperAPI
from nodepool_tx.txzookeeper.lock import Lock

__all__ = ["Change", "Conflict", "Locked", "Moved", "Uncertain", "Vanished", "connection_errors"]

#: What ZooKeeper's client raises when the outcome of a request is unknown, or
#: nothing can be asked now.
connection_errors: tuple[type[Exception], ...] = (
    zke.ConnectionLoss,
    zke.ConnectionClosedError,
    zke.SessionExpiredError,
    zke.OperationTimeoutError,
)


class Conflict(Exception):
    """Somebody else was faster; nothing of the change happened.

    :ivar what: ``node``, ``request`` or ``tenant``.
    :ivar id: which one.
    """

    reason = "changed"

    def __init__(self, what: str, id: str) -> None:
        super().__init__(f"{what} {id} {self.reason}")
        self.what = what
        self.id = id


class Locked(Conflict):
    """Somebody holds the lock, or waits for it."""

    reason = "is locked by somebody else"


class Moved(Conflict):
    """The record was written since it was read."""

    reason = "was changed by somebody else"


class Vanished(Conflict):
    """The record is gone."""

    reason = "is gone"


class Uncertain(Exception):
    """The connection broke: the change happened as a whole, or not at all.

    Look again once the store is current.
    """


class _Role(enum.Enum):
    REMOVE_DIRECTORY = enum.auto()
    CREATE_DIRECTORY = enum.auto()
    FENCE = enum.auto()
    DATA = enum.auto()
    #: Removing a record, which an unexpected lock directory would prevent.
    REMOVE_DATA = enum.auto()
    #: Nothing is written, it must only be what it was.
    CHECK = enum.auto()
    #: Whatever the caller has to do in the same step.
    COMPANION = enum.auto()


class Follower(Protocol):
    """What follows the written znodes: a :class:`~nodepool_tx.txzookeeper.treecache.TreeCache`."""

    def expect(self, path: str) -> None: ...

    def offer(self, path: str, data: bytes, stat: ZnodeStat, source: object = None) -> None: ...

    def settle(self, path: str) -> None: ...

    def expect_creation(self) -> None: ...

    def offer_created(self, path: str, data: bytes, source: object = None) -> None: ...

    def settle_creation(self) -> None: ...


@attrs.define
class _Item:
    what: str
    id: str
    path: str
    lock_path: str
    #: None removes the record.
    data: bytes | None
    version: int
    lock: Lock | None
    lock_dir: bool
    #: The lock is given up in the same step.
    release: bool = False
    #: The lock's directory goes: nobody has a reason to lock this any more.
    ends: bool = False
    #: Only see that it is unchanged; its lock does not matter.
    check_only: bool = False
    #: What is written.
    record: Node | NodeRequest | None = None


@attrs.frozen(eq=False)
class _Created:
    """A node to be added."""

    record: Node
    data: bytes


@attrs.frozen(eq=False)
class _Companion:
    """An operation of the caller's; ``settled`` is called with its result."""

    what: str
    id: str
    add: Callable[[Transaction], None]
    settled: Callable[[Any], None]


class _Operation(NamedTuple):
    item: _Item | _Companion | _Created
    role: _Role


class Change:
    """Several changes of nodes and requests, made together or not at all.

    Each record that is changed must be unlocked, or locked by the given lock.
    Get one from :meth:`nodepool_tx.store.store.Store.change`.
    """

    def __init__(
        self,
        client: ZookeeperAPI,
        node_has_lock_dir: Callable[[str], bool],
        request_has_lock_dir: Callable[[str], bool],
        nodes: Follower,
        requests: Follower,
        fences: Follower,
    ) -> None:
        self._client = client
        self._node_has_lock_dir = node_has_lock_dir
        self._request_has_lock_dir = request_has_lock_dir
        self._followers = {"node": nodes, "request": requests, "tenant": fences}
        self._items: list[_Item] = []
        self._created: list[_Created] = []
        self._fences: list[_Item] = []
        self._companions: list[_Companion] = []

    def update_node(
        self, before: Node, after: Node, lock: Lock | None = None, *, release: bool = False
    ) -> None:
        """Write ``after`` if the node is still what it was in ``before``.

        :param release: give ``lock`` up in the same step.
        :raises IllegalTransition: its state does not lead there.
        """
        if after.state is not before.state and after.state not in NODE_TRANSITIONS[before.state]:
            raise IllegalTransition(before.id, before.state, after.state)
        self._node(before, after, lock, release)

    def require_node(self, node: Node) -> None:
        """Let the change fail if the node was written since, whoever holds its lock."""
        item = _Item("node", node.id, paths.node(node.id), "", None, node.version, None, False)
        item.check_only = True
        self._items.append(item)

    def remove_node(self, node: Node, lock: Lock | None = None) -> None:
        """Remove the node's znode, and its lock with it."""
        self._node(node, None, lock)

    def create_node(self, node: Node) -> None:
        """Add a node; the server chooses its id."""
        self._created.append(_Created(node, encode_node(node)))

    def update_request(
        self,
        before: NodeRequest,
        after: NodeRequest,
        lock: Lock | None = None,
        *,
        release: bool = False,
    ) -> None:
        """Write ``after`` if the request is still what it was in ``before``.

        A request that is answered for good keeps no directory for its lock,
        unless ``lock`` is kept or others wait for it.

        :param release: give ``lock`` up in the same step.
        """
        self._items.append(
            _Item(
                "request",
                before.id,
                paths.request(before.id),
                paths.request_lock(before.id),
                encode_request(after),
                before.version,
                lock,
                self._request_has_lock_dir(before.id),
                release,
                ends=after.is_answered and (lock is None or release),
                record=after,
            )
        )

    def remove_request(self, request: NodeRequest) -> None:
        """Remove the request's znode, and its lock's directory with it."""
        self._items.append(
            _Item(
                "request",
                request.id,
                paths.request(request.id),
                paths.request_lock(request.id),
                None,
                request.version,
                None,
                self._request_has_lock_dir(request.id),
            )
        )

    def pass_fence(self, tenant: str, version: int) -> None:
        """Let the change fail if the tenant's fence was passed since ``version``.

        See :mod:`nodepool_tx.store.fences`.
        """
        path = paths.tenant(tenant)
        self._fences.append(_Item("tenant", tenant, path, "", b"", version, None, False))

    def also(
        self,
        what: str,
        id: str,
        add: Callable[[Transaction], None],
        settled: Callable[[Any], None] = lambda _: None,
    ) -> None:
        """Make one operation of the caller's a part of the change, after those on records.

        If it is refused, the change fails with :class:`Vanished` when there is
        no such znode, and else with :class:`Moved`.

        :param what: what it is about, for messages, and ``id`` which one.
        :param add: adds the operation to a transaction; may be called again.
        :param settled: called with its result.
        """
        self._companions.append(_Companion(what, id, add, settled))

    def _node(
        self, node: Node, after: Node | None, lock: Lock | None, release: bool = False
    ) -> None:
        self._items.append(
            _Item(
                "node",
                node.id,
                paths.node(node.id),
                paths.node_lock(node.id),
                None if after is None else encode_node(after),
                node.version,
                lock,
                self._node_has_lock_dir(node.id),
                release,
                record=after,
            )
        )

    async def commit(self) -> tuple[str, ...]:
        """Make the changes; returns the ids of the nodes created, in order.

        :raises Conflict: a record is locked, moved or gone (its subclasses).
        :raises Uncertain: the connection broke before the answer.
        """
        attempts_left = 2 + 2 * len(self._items)
        while True:
            txn = self._client.transaction()
            operations = self._assemble(txn)
            written = [item for item in (*self._items, *self._fences) if item.data is not None]
            for item in written:
                self._followers[item.what].expect(item.path)
            if self._created:
                self._followers["node"].expect_creation()
            try:
                results = await txn.commit()
            except TransactionFailed as failure:
                # Its frames refer to it and to all that was to be written: garbage that only the
                # collector finds, for every race that is lost.
                failure.with_traceback(None)
                attempts_left -= 1
                self._learn(operations[failure.index], failure, attempts_left)
            except connection_errors as e:
                raise Uncertain(str(e) or type(e).__name__) from e
            else:
                return self._settle(operations, results)
            finally:
                for item in written:
                    self._followers[item.what].settle(item.path)
                if self._created:
                    self._followers["node"].settle_creation()

    def _assemble(self, txn: Transaction) -> list[_Operation]:
        operations: list[_Operation] = []

        def add(item: _Item | _Companion | _Created, role: _Role) -> None:
            operations.append(_Operation(item, role))

        for item in self._items:
            if item.check_only:
                txn.check(item.path, item.version)
                add(item, _Role.CHECK)
                continue
            removal = item.data is None
            if item.lock is not None:
                if removal or item.release:
                    item.lock.release_in(txn)
                else:
                    item.lock.check_in(txn)
                add(item, _Role.FENCE)
                if removal or item.ends:
                    txn.delete(item.lock_path)
                    add(item, _Role.REMOVE_DIRECTORY)
            elif item.lock_dir:
                txn.delete(item.lock_path)
                add(item, _Role.REMOVE_DIRECTORY)
                if not (removal or item.ends):
                    txn.create(item.lock_path)
                    add(item, _Role.CREATE_DIRECTORY)
            elif not removal or item.what == "request":
                txn.create(item.lock_path)
                add(item, _Role.CREATE_DIRECTORY)
                if item.what == "request":
                    # A request's lock outlives it: leave none where none was.
                    txn.delete(item.lock_path)
                    add(item, _Role.REMOVE_DIRECTORY)
            if item.data is None:
                txn.delete(item.path, item.version)
                add(item, _Role.REMOVE_DATA)
            else:
                txn.set(item.path, item.data, item.version)
                add(item, _Role.DATA)
        for companion in self._companions:
            companion.add(txn)
            add(companion, _Role.COMPANION)
        for node in self._created:
            txn.create(paths.NODES + "/", node.data, sequence=True)
            add(node, _Role.DATA)
        # Last, so that whoever sees it passed was told of all else before.
        for fence in self._fences:
            assert fence.data is not None
            txn.set(fence.path, fence.data, fence.version)
            add(fence, _Role.DATA)
        return operations

    def _learn(self, operation: _Operation, failure: TransactionFailed, attempts_left: int) -> None:
        """Correct what we believed of a lock directory, or give up for a reason."""
        item, error = operation.item, failure.error
        if isinstance(item, _Created):
            if isinstance(error, zke.NoNodeError):
                raise Vanished("directory", paths.NODES) from failure
            raise failure
        if isinstance(error, zke.BadVersionError):
            raise Moved(item.what, item.id) from failure
        if isinstance(item, _Companion):
            gone = isinstance(error, zke.NoNodeError)
            raise (Vanished if gone else Moved)(item.what, item.id) from failure
        if operation.role is _Role.FENCE:
            raise Locked(item.what, item.id) from failure
        if operation.role is _Role.REMOVE_DIRECTORY and isinstance(error, zke.NotEmptyError):
            if item.ends and item.lock is not None:
                # Somebody waits for the lock that is given up here, and only needs its directory.
                item.ends = False
                return
            raise Locked(item.what, item.id) from failure
        if operation.role in (_Role.DATA, _Role.CHECK) or (
            operation.role in (_Role.CREATE_DIRECTORY, _Role.REMOVE_DATA)
            and isinstance(error, zke.NoNodeError)
        ):
            raise Vanished(item.what, item.id) from failure
        if attempts_left <= 0 or item.lock is not None:
            raise Moved(item.what, item.id) from failure
        item.lock_dir = operation.role is not _Role.REMOVE_DIRECTORY

    def _settle(self, operations: list[_Operation], results: list[Any]) -> tuple[str, ...]:
        created: list[str] = []
        for operation, result in zip(operations, results, strict=True):
            item = operation.item
            if isinstance(item, _Created):
                created.append(result.rpartition("/")[2])
                self._followers["node"].offer_created(result, item.data, item.record)
            elif isinstance(item, _Companion):
                item.settled(result)
            elif operation.role is _Role.DATA:
                assert item.data is not None
                self._followers[item.what].offer(item.path, item.data, result, item.record)
                if item.release and item.lock is not None:
                    item.lock.released()
            elif operation.role is _Role.REMOVE_DATA and item.lock is not None:
                item.lock.released()
        return tuple(created)
