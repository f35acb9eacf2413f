"""A client of a ZooKeeper kept in memory: the whole of ZookeeperAPI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import (
    BadArgumentsError,
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    SessionExpiredError,
)
from twisted.internet.defer import Deferred, FirstError, fail, gatherResults, succeed

from nodepool_tx.testing.zk_link import Link
from nodepool_tx.testing.zk_server import MemoryServer
from nodepool_tx.testing.zk_tree import TreeWrite, valid_path
from nodepool_tx.testing.zk_watches import Registration, WatchMode
from nodepool_tx.txzookeeper.interface import (
    SessionState,
    StateObserver,
    TransactionFailed,
    WatchEvent,
    ZnodeStat,
)

if TYPE_CHECKING:
    from nodepool_tx.txzookeeper.interface import Transaction, Watch, ZookeeperAPI

__all__ = ["MemoryClient", "MemoryTransaction", "MemoryWatch"]

_Operation = tuple[str, str, Callable[[TreeWrite], Any]]


class MemoryClient:
    """One session with a :class:`~nodepool_tx.testing.zookeeper.MemoryZookeeper`.

    Made by :meth:`MemoryZookeeper.client`; what each method promises is said in
    :class:`~nodepool_tx.txzookeeper.interface.ZookeeperAPI`.
    """

    def __init__(self, server: MemoryServer, link: Link, chroot: str) -> None:
        self._server = server
        self._link = link
        self._chroot = chroot

    # -- the session -----------------------------------------------------

    @property
    def state(self) -> SessionState:
        return self._link.state

    @property
    def session_id(self) -> int:
        return self._link.session_id

    @property
    def session_epoch(self) -> int:
        return self._link.epoch

    @property
    def session_timeout(self) -> float:
        return self._link.timeout

    def connect(self) -> Deferred[None]:
        return self._link.start()

    def close(self) -> Deferred[None]:
        return self._link.close()

    def observe(self, observer: StateObserver) -> Callable[[], None]:
        return self._link.observe(observer)

    # -- reading ---------------------------------------------------------

    def get(self, path: str) -> Deferred[tuple[bytes, ZnodeStat]]:
        return self._request("get", path, self._get)

    def get_and_watch(
        self, path: str
    ) -> tuple[Deferred[tuple[bytes, ZnodeStat]], Deferred[WatchEvent]]:
        return self._watched("get", path, self._get, WatchMode.DATA)

    def exists(self, path: str) -> Deferred[ZnodeStat | None]:
        return self._request("exists", path, self._exists)

    def exists_and_watch(
        self, path: str
    ) -> tuple[Deferred[ZnodeStat | None], Deferred[WatchEvent]]:
        return self._watched("exists", path, self._exists, WatchMode.DATA)

    def get_children(self, path: str) -> Deferred[list[str]]:
        return self._request("get_children", path, self._server.tree.children)

    def get_children_and_watch(self, path: str) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        return self._watched("get_children", path, self._server.tree.children, WatchMode.CHILDREN)

    def sync(self, path: str = "/") -> Deferred[None]:
        return self._request("sync", path, lambda full: None)

    # -- writing ---------------------------------------------------------

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        makepath: bool = False,
    ) -> Deferred[str]:
        if makepath:
            return Deferred.fromCoroutine(self._make(path, data, ephemeral, sequence))
        change = self._creation(self._full(path), data, ephemeral, sequence)
        name = path + "0" if sequence else path
        return self._request("create", path, lambda _: self._server.write(change), name, len(data))

    def set(self, path: str, data: bytes, version: int = -1) -> Deferred[ZnodeStat]:
        check_data(data)
        return self._request(
            "set",
            path,
            lambda full: self._server.write(lambda w: w.set(full, data, version)),
            size=len(data),
        )

    def delete(self, path: str, version: int = -1) -> Deferred[None]:
        return self._request(
            "delete", path, lambda full: self._server.write(lambda w: w.delete(full, version))
        )

    def delete_tree(self, path: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._delete_tree(path))

    def ensure_path(self, path: str) -> Deferred[None]:
        if not valid_path(path):
            return fail(BadArgumentsError())
        return Deferred.fromCoroutine(self._ensure(self._full(path)))

    def transaction(self) -> MemoryTransaction:
        return MemoryTransaction(self)

    def soon(self, call: Callable[[], None]) -> None:
        self._link.soon(call)

    # -- persistent watches ----------------------------------------------

    def watch(
        self, path: str, callback: Callable[[WatchEvent], None], *, recursive: bool = False
    ) -> Deferred[Watch]:
        mode = WatchMode.RECURSIVE if recursive else WatchMode.PERSISTENT
        registration = Registration(self._link, mode, self._full(path), len(self._chroot), callback)
        if not valid_path(path):
            return fail(BadArgumentsError())
        return self._link.request(
            "watch",
            (registration.path,),
            lambda: self._server.watches.add(registration),
            registration=registration,
        ).addCallback(lambda _: MemoryWatch(self._server, self._link, registration))

    # -- how -------------------------------------------------------------

    def _full(self, path: str) -> str:
        return (self._chroot or "/") if path == "/" else self._chroot + path

    def _get(self, full: str) -> tuple[bytes, ZnodeStat]:
        znode = self._server.tree.find(full)
        return znode.data, znode.stat()

    def _exists(self, full: str) -> ZnodeStat | None:
        znode = self._server.tree.znodes.get(full)
        return None if znode is None else znode.stat()

    def _request(
        self,
        op: str,
        path: str,
        run: Callable[[str], Any],
        name: str | None = None,
        size: int = 0,
    ) -> Deferred[Any]:
        """:param name: what must be a valid path, if not ``path`` itself."""
        if not valid_path(name or path):
            return fail(BadArgumentsError())
        full = self._full(path)
        return self._link.request(op, (full,), lambda: run(full), size=size)

    def _watched(
        self, op: str, path: str, read: Callable[[str], Any], mode: WatchMode
    ) -> tuple[Deferred[Any], Deferred[WatchEvent]]:
        link, full = self._link, self._full(path)
        fired: Deferred[WatchEvent] = Deferred(lambda _: link.forget(registration))
        registration = Registration(link, mode, full, len(self._chroot), fired.callback)
        if not valid_path(path):
            return fail(BadArgumentsError()), fired

        def run() -> Any:
            result = read(full)
            if result is None:
                registration.mode = WatchMode.EXISTENCE
            self._server.watches.add(registration)
            return result

        return link.request(op, (full,), run, registration=registration), fired

    def _creation(
        self, full: str, data: bytes, ephemeral: bool, sequence: bool
    ) -> Callable[[TreeWrite], str]:
        check_data(data)

        def create(write: TreeWrite) -> str:
            owner = self._link.session_id if ephemeral else 0
            made = write.create(full, data, owner=owner, sequence=sequence)
            return made[len(self._chroot) :]

        return create

    async def _make(self, path: str, data: bytes, ephemeral: bool, sequence: bool) -> str:
        while True:
            try:
                return await self.create(path, data, ephemeral=ephemeral, sequence=sequence)
            except NoNodeError:
                await self._ensure(self._full(path).rpartition("/")[0])

    async def _ensure(self, full: str) -> None:
        """Make what is missing down to ``full``, above the client's own root too."""

        def create(path: str) -> Deferred[Any]:
            change: Callable[[TreeWrite], str] = lambda w: w.create(path, b"")  # noqa: E731
            return self._link.request("create", (path,), lambda: self._server.write(change))

        names = full.split("/")[1:]
        paths = ["/" + "/".join(names[: depth + 1]) for depth in range(len(names))]
        while await self._link.request("exists", (full,), lambda: self._exists(full)) is None:
            await _all([create(path).addErrback(_ignore_race) for path in paths])

    async def _delete_tree(self, path: str) -> None:
        while True:
            try:
                names = await self.get_children(path)
            except NoNodeError:
                return
            above = "" if path == "/" else path
            await _all([self.delete_tree(f"{above}/{name}") for name in names])
            try:
                await self.delete(path)
            except NotEmptyError:
                continue
            except NoNodeError:
                pass
            return

    def commit(self, operations: list[_Operation], size: int) -> Deferred[list[Any]]:
        """Carry out a transaction's operations together, or none of them."""
        if not operations:
            return succeed([])

        def change(write: TreeWrite) -> list[Any]:
            results = []
            for index, (name, _, operate) in enumerate(operations):
                try:
                    results.append(operate(write))
                except Exception as e:
                    raise TransactionFailed(index, name, e) from e
            return results

        return self._link.request(
            "transaction",
            tuple(path for _, path, _ in operations),
            lambda: self._server.write(change),
            size=size,
        )


async def _all(requests: Sequence[Deferred[Any]]) -> None:
    """Wait for all of them, or for the first that fails."""
    try:
        await gatherResults(requests, consumeErrors=True)
    except FirstError as e:
        e.subFailure.raiseException()


def _ignore_race(failure: Any) -> None:
    """Somebody else made it, or took away what was above it: the next look decides."""
    failure.trap(NodeExistsError, NoNodeError)


def check_data(data: bytes) -> None:
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")


class MemoryTransaction:
    """See :class:`~nodepool_tx.txzookeeper.interface.Transaction`."""

    def __init__(self, client: MemoryClient) -> None:
        self._client = client
        self._operations: list[_Operation] = []
        self._size = 0

    def create(
        self, path: str, data: bytes = b"", *, ephemeral: bool = False, sequence: bool = False
    ) -> None:
        full = self._client._full(path)
        self._size += len(data)
        self._add("create", full, self._client._creation(full, data, ephemeral, sequence))

    def set(self, path: str, data: bytes, version: int = -1) -> None:
        check_data(data)
        full = self._client._full(path)
        self._size += len(data)
        self._add("set", full, lambda write: write.set(full, data, version))

    def delete(self, path: str, version: int = -1) -> None:
        full = self._client._full(path)
        self._add("delete", full, lambda write: write.delete(full, version))

    def check(self, path: str, version: int = -1) -> None:
        full = self._client._full(path)
        self._add("check", full, lambda write: write.check(full, version))

    def commit(self) -> Deferred[list[Any]]:
        return self._client.commit(self._operations, self._size)

    def _add(self, name: str, full: str, operate: Callable[[TreeWrite], Any]) -> None:
        self._operations.append((name, full, operate))


class MemoryWatch:
    """See :class:`~nodepool_tx.txzookeeper.interface.Watch`."""

    def __init__(self, server: MemoryServer, link: Link, registration: Registration) -> None:
        self._server = server
        self._link = link
        self._registration = registration

    def stop(self) -> Deferred[None]:
        registration = self._registration
        self._link.forget(registration)
        stopping = self._link.request(
            "unwatch", (registration.path,), lambda: self._server.watches.remove(registration)
        )
        # Without a connection there is nothing to take off.
        return stopping.addErrback(
            lambda failure: failure.trap(ConnectionLoss, SessionExpiredError) and None
        )


if TYPE_CHECKING:

    def _keeps_the_contract(
        client: MemoryClient, transaction: MemoryTransaction, watch: MemoryWatch
    ) -> tuple[ZookeeperAPI, Transaction, Watch]:
        return client, transaction, watch
