"""The table of one provider's backing nodes, as ZooKeeper last showed it.

Design note: the table's fence
------------------------------
A record is written at the version at which it was read, so no slot is given
twice.  That does not keep two launchers from adding a record each for the same
lack, or for the same node.  So whoever adds one also writes the table's own
znode, at the version at which the table was read: of two who saw the same table
one succeeds, and the other looks again.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.providers.metastatic.backing import Backing, decode, encode, table_path
from nodepool_tx.store import paths
from nodepool_tx.store.change import Change, Uncertain, connection_errors
from nodepool_tx.store.codec import Unreadable
from nodepool_tx.txzookeeper.interface import Transaction, ZookeeperAPI
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache

__all__ = ["Table"]


class Table:
    """The records of one provider.

    :ivar unreadable: id and reason of each record that makes no sense.
    """

    _log = Logger()

    def __init__(self, client: ZookeeperAPI, provider: str) -> None:
        self._client = client
        self._path = table_path(provider)
        self._cache = TreeCache(client, self._path)
        self._backings: dict[str, Backing] = {}
        self._by_holder: dict[str, str] = {}
        self._by_node: dict[str, str] = {}
        self._observers: list[Callable[[], None]] = []
        self.unreadable: dict[str, str] = {}
        self._cache.subscribe(self._on_change)

    # -- life ------------------------------------------------------------

    def start(self) -> None:
        self._cache.start().addErrback(self._not_started)

    def stop(self) -> None:
        self._cache.stop()

    def _not_started(self, failure: Failure) -> None:
        if not failure.check(CancelledError, *connection_errors):
            self._log.failure("the table {path} cannot be followed", failure, path=self._path)

    @property
    def current(self) -> bool:
        """Nothing is missing but what is on its way."""
        return self._cache.current

    async def barrier(self) -> None:
        """Wait until all that anybody wrote before this call is shown, and so is a connection."""
        await self._cache.barrier()

    async def prepare(self) -> None:
        """See to it that there is a table to add records to.

        :raises Uncertain: the connection broke.
        """
        try:
            while self._fence() is None:
                await self._client.ensure_path(self._path)
                await self._cache.barrier()
        except connection_errors as e:
            raise Uncertain(str(e) or type(e).__name__) from e

    # -- reading ---------------------------------------------------------

    def all(self) -> tuple[Backing, ...]:
        """Every record that makes sense, the oldest first."""
        return tuple(sorted(self._backings.values(), key=lambda each: (each.created, each.id)))

    def get(self, id: str) -> Backing | None:
        return self._backings.get(id)

    def of_holder(self, node_id: str) -> Backing | None:
        """The record where a node has a slot."""
        return self._backings.get(self._by_holder.get(node_id, ""))

    def of_node(self, node_id: str) -> Backing | None:
        """The record of a backing node."""
        return self._backings.get(self._by_node.get(node_id, ""))

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear of every change; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    # -- writing ---------------------------------------------------------

    def write(self, change: Change, backing: Backing) -> None:
        """Write a record in a change, if it is still at its version."""
        path, data = f"{self._path}/{backing.id}", encode(backing)
        change.also(
            "backing",
            backing.id,
            lambda txn: txn.set(path, data, backing.version),
            lambda stat: self._cache.offer(path, data, stat),
        )

    def remove(self, change: Change, backing: Backing) -> None:
        """Remove a record in a change, if it is still at its version."""
        path = f"{self._path}/{backing.id}"
        change.also("backing", backing.id, lambda txn: txn.delete(path, backing.version))

    def add(self, change: Change, backing: Backing) -> None:
        """Add a record in a change, which has to :meth:`pass_fence`, too."""
        path, data = f"{self._path}/{backing.id}", encode(backing)

        def create(txn: Transaction) -> None:
            txn.create(path, data)

        change.also("backing", backing.id, create)

    def pass_fence(self, change: Change) -> None:
        """Let a change fail if records were added since the table was read."""
        fence = self._fence()
        assert fence is not None, "the table was not prepared"
        change.also("table", self._path, lambda txn: txn.set(self._path, b"", fence))

    def _fence(self) -> int | None:
        znode = self._cache.get(self._path)
        return None if znode is None or znode.stat is None else znode.stat.version

    # -- following -------------------------------------------------------

    def _on_change(self, change: CacheChange) -> None:
        parts = paths.below(self._path, change.path)
        if len(parts) == 1 and change.kind not in (ChangeKind.CURRENT, ChangeKind.STALE):
            self._replace(parts[0], change)
        for observer in tuple(self._observers):
            try:
                observer()
            except Exception:
                self._log.failure("observer of {path} failed", path=self._path)

    def _replace(self, id: str, change: CacheChange) -> None:
        before, after = self._backings.pop(id, None), None
        self.unreadable.pop(id, None)
        znode = change.znode
        if change.kind is not ChangeKind.REMOVED and znode is not None and znode.stat is not None:
            try:
                after = decode(id, znode.data or b"", znode.stat.version)
            except Unreadable as e:
                self.unreadable[id] = str(e)
                self._log.warn(
                    "{path} is unreadable and is left alone: {reason}",
                    path=change.path,
                    reason=str(e),
                )
        if before is not None:
            _drop(self._by_holder, [slot.node_id for _, slot in before.held()], id)
            _drop(self._by_node, [before.node] if before.node else [], id)
        if after is not None:
            self._backings[id] = after
            self._by_holder.update({slot.node_id: id for _, slot in after.held()})
            if after.node:
                self._by_node[after.node] = id


def _drop(index: dict[str, str], keys: list[str], id: str) -> None:
    """Take keys out of an index, unless they stand for another by now."""
    for key in keys:
        if index.get(key) == id:
            del index[key]
