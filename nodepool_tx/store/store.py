"""What is in ZooKeeper, as far as a launcher is concerned.

The store follows nodes, requests, their locks, the registered components and
the images with tree caches, and offers the one way of changing them.  It is
*current* when all its caches are: nothing may be decided while it is not.
"""

from __future__ import annotations

from collections.abc import Callable

from kazoo import exceptions as zke
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.model import Component
from nodepool_tx.store import paths
from nodepool_tx.store.change import Change, Uncertain, connection_errors
from nodepool_tx.store.components import ComponentTable
from nodepool_tx.store.fences import FenceTable
from nodepool_tx.store.images import ImageTable, has_image_data
from nodepool_tx.store.leases import LeaseTable
from nodepool_tx.store.maintenance import MaintenanceTable
from nodepool_tx.store.nodes import NodeTable
from nodepool_tx.store.registration import Registration
from nodepool_tx.store.requests import RequestTable
from nodepool_tx.txzookeeper.interface import SessionState, TransactionFailed, ZookeeperAPI
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache, pass_barrier
from nodepool_tx.work import SingleFlight

__all__ = ["Store"]

#: To be asked of each znode that goes.
_SKELETON = frozenset(paths.SKELETON)


class Store(Service):
    """The caches and the changes.

    :ivar client: for recipes (owner locks, elections); records go through
        :meth:`change`.
    """

    _log = Logger()

    def __init__(self, client: ZookeeperAPI, clock: IReactorTime) -> None:
        self.client = client
        self.clock = clock
        self._node_cache = TreeCache(
            client, paths.NODES, wants_data=_is_record(paths.NODES), keeps_data=False
        )
        self._request_cache = TreeCache(client, paths.REQUESTS, keeps_data=False)
        self._lock_cache = TreeCache(client, paths.REQUEST_LOCKS, wants_data=lambda path: False)
        self._component_cache = TreeCache(client, paths.COMPONENTS)
        self._image_cache = TreeCache(client, paths.IMAGES, wants_data=has_image_data)
        self._fence_cache = TreeCache(client, paths.TENANTS)
        self._maintenance_cache = TreeCache(client, paths.MAINTENANCE)
        self._lease_cache = TreeCache(client, paths.LEASES)
        self._caches = (
            self._image_cache,
            self._maintenance_cache,
            self._lease_cache,
            self._fence_cache,
            self._component_cache,
            self._node_cache,
            self._lock_cache,
            self._request_cache,
        )
        self.nodes = NodeTable(self._node_cache)
        self.requests = RequestTable(self._request_cache, self._lock_cache)
        self.components = ComponentTable(self._component_cache)
        self.fences = FenceTable(client, self._fence_cache)
        self.images = ImageTable(self._image_cache)
        self.maintenance = MaintenanceTable(client, self._maintenance_cache, clock)
        self.leases = LeaseTable(self._lease_cache)
        self._observers: list[Callable[[bool], None]] = []
        self._on_any_change: list[Callable[[], None]] = []
        self._was_current = False
        self._started_caches = False
        self._stopping = False
        #: What must exist before anything is watched is there.
        self._prepared = False
        self._unobserve: Callable[[], None] | None = None
        self._opening = SingleFlight(self._open)
        for cache in self._caches:
            cache.subscribe(self._on_cache)

    # -- life ------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self._unobserve = self.client.observe(self._on_state)
        self._opening.wake()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._unobserve is not None:
            self._unobserve()
            self._unobserve = None
        self._stopping = True
        self._was_current = False
        for cache in self._caches:
            cache.stop()
        self._stopping = False
        self.maintenance.stop()
        return self._opening.idle()

    def _on_state(self, state: SessionState) -> None:
        if state is SessionState.EXPIRED:
            # The next session may be with an ensemble that has lost its data.
            self._prepared = False
        elif state is SessionState.CONNECTED:
            self._opening.wake()

    async def _open(self) -> None:
        """Make the skeleton, and start the caches, once there is a connection."""
        if self.client.state is not SessionState.CONNECTED or self._prepared or not self.running:
            return
        self._prepared = True
        try:
            await gatherResults(
                [self.client.ensure_path(path) for path in paths.SKELETON], consumeErrors=True
            )
        except Exception as e:
            self._prepared = False
            # Of the others it is the same, mostly.
            why = e.subFailure.value if isinstance(e, FirstError) else e
            self._log.warn(
                "cannot prepare ZooKeeper, will try again: {reason}",
                reason=str(why) or type(why).__name__,
            )
            return
        if not self.running or self._started_caches:
            return
        self._started_caches = True
        for cache in self._caches:
            cache.start().addErrback(self._not_started)

    def _not_started(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("a cache could not start", failure=failure)

    # -- being current ---------------------------------------------------

    @property
    def current(self) -> bool:
        """What the tables show is what ZooKeeper holds, but for events under way."""
        return self._was_current and self.client.state is SessionState.CONNECTED

    def lags(self) -> dict[str, tuple[int, int]]:
        """See :attr:`TreeCache.lag`, for what ``nodes``, ``requests`` and ``images`` come from."""
        return {
            "nodes": self._node_cache.lag,
            "requests": self._request_cache.lag,
            "images": self._image_cache.lag,
        }

    def when_current(self, observer: Callable[[bool], None]) -> Callable[[], None]:
        """Call ``observer`` whenever :attr:`current` changes; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def when_changed(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call ``observer`` after any change of any table; returns its removal.

        It must not raise.
        """
        self._on_any_change.append(observer)
        return lambda: self._on_any_change.remove(observer)

    def _on_cache(self, change: CacheChange) -> None:
        if self._on_any_change:
            for changed in tuple(self._on_any_change):
                changed()
        if change.kind is ChangeKind.ADDED or change.kind is ChangeKind.CHANGED:
            return
        if change.kind is ChangeKind.REMOVED:
            if change.path in _SKELETON:
                self._log.warn("{path} was removed, making it again", path=change.path)
                self._prepared = False
                self._opening.wake()
            return
        current = all(cache.current for cache in self._caches)
        if current == self._was_current:
            return
        self._was_current = current
        if current:
            self._log.info(
                "up to date with ZooKeeper: {nodes} nodes, {requests} requests",
                nodes=len(self.nodes),
                requests=len(self.requests),
            )
        else:
            self._log.warn("out of touch with ZooKeeper, nothing is decided until it is back")
        for observer in tuple(self._observers):
            try:
                observer(current)
            except Exception:
                self._log.failure("observer of the store failed")

    async def barrier(self) -> None:
        """Wait until all that anybody wrote before this call is in the tables.

        :raises Uncertain: the connection broke, or the store was stopped.
        """
        try:
            await pass_barrier(self.client, self._caches)
        except CancelledError as e:
            if self._stopping:
                raise Uncertain("the store was stopped") from e
            # By whoever waits here, who does not want to any more.
            raise
        except Exception as e:
            raise Uncertain(str(e)) from e

    # -- changing --------------------------------------------------------

    def change(self) -> Change:
        """A new set of changes, to be made together."""
        return Change(
            self.client,
            self.nodes.has_lock_directory,
            self.requests.has_lock_directory,
            self._node_cache,
            self._request_cache,
            self._fence_cache,
        )

    def register(self, component: Component) -> Registration:
        """Show a component of this process to everyone."""
        return Registration(self.client, component, self._component_cache)

    def is_request_of_this_session(self, request_id: str) -> bool:
        """It is ephemeral, and ours: it ends with the present session at the latest."""
        znode = self._request_cache.get(paths.request(request_id))
        owner = znode.stat.ephemeralOwner if znode is not None and znode.stat is not None else 0
        return bool(owner) and owner == self.client.session_id

    async def remove_request(self, request_id: str) -> None:
        """Remove a request; one that is gone already is fine.

        :raises Uncertain: the connection broke.
        """
        await self._quietly(self.client.delete(paths.request(request_id)))

    async def remove_request_lock(self, request_id: str) -> bool:
        """Remove what is left of the lock of a request that is gone.

        False if there was nothing, or somebody holds it: then it stays.

        :raises Uncertain: the connection broke.
        """
        return await self._quietly(self.client.delete(paths.request_lock(request_id)))

    async def remove_unreadable_node(self, node_id: str) -> bool:
        """Remove a node znode without data, and its lock unless that is held.

        False if it stays, or was gone already.

        :raises Uncertain: the connection broke.
        """
        path = paths.node(node_id)
        try:
            data, stat = await self.client.get(path)
            if data:
                return False
            txn = self.client.transaction()
            if self.nodes.has_lock_directory(node_id):
                txn.delete(paths.node_lock(node_id))
            txn.delete(path, stat.version)
            await txn.commit()
        except connection_errors as e:
            raise Uncertain(str(e)) from e
        except (zke.NoNodeError, TransactionFailed):
            # Gone, written to, or in somebody's hands: no longer ours to remove.
            return False
        return True

    @staticmethod
    async def _quietly(deletion: Deferred[None]) -> bool:
        try:
            await deletion
        except (zke.NoNodeError, zke.NotEmptyError):
            return False
        except connection_errors as e:
            raise Uncertain(str(e)) from e
        return True


def _is_record(root: str) -> Callable[[str], bool]:
    """Only the direct children of ``root`` hold data worth reading."""
    depth = root.count("/") + 1
    return lambda path: path.count("/") == depth
