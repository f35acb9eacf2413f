"""Keeping a component of ours registered, whatever happens to the session."""

from __future__ import annotations

from kazoo import exceptions as zke
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from nodepool_tx.model import Component
from nodepool_tx.store import paths
from nodepool_tx.store.change import connection_errors
from nodepool_tx.store.codec import encode_component
from nodepool_tx.txzookeeper.interface import SessionState, ZookeeperAPI
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache
from nodepool_tx.work import SingleFlight

__all__ = ["Registration"]


class Registration:
    """One ephemeral znode under ``/nodepool/components``.

    It is made anew on each session, and when somebody removes it, and written
    again when its content changes; otherwise the path stays the same for as
    long as the session lives, so a pool keeps its registration while its
    configuration is reloaded.

    :param cache: of the components there are.
    """

    _log = Logger()

    def __init__(self, client: ZookeeperAPI, component: Component, cache: TreeCache) -> None:
        self._client = client
        self._cache = cache
        self._wanted: Component | None = component
        self._prefix = paths.component(component.kind, component.hostname)
        self._written: bytes | None = None
        #: What may be registered in this session without our knowing.
        self._attempted: set[bytes] = set()
        self._epoch = -1
        self.path = ""
        self._flight = SingleFlight(self._converge)
        self._unobserve = client.observe(self._on_state)
        self._unsubscribe = cache.subscribe(self._on_change)
        self._flight.wake()

    @property
    def component(self) -> Component | None:
        """What is registered, or will be; None after :meth:`remove`."""
        return self._wanted

    @property
    def registered(self) -> bool:
        """Others can see it, as far as we know."""
        return bool(self.path) and self._epoch == self._client.session_epoch

    def update(self, component: Component) -> None:
        """Show something else from now on; what is the same is not written."""
        if self._wanted is not None and component != self._wanted:
            self._wanted = component
            self._flight.wake()

    def remove(self) -> Deferred[None]:
        """Take it off; fires when it is gone.

        Without a connection it fires at once: it is then taken off as soon as
        there is one, or goes with the session.
        """
        self._wanted = None
        self._flight.wake()
        return self._flight.idle()

    def _on_state(self, state: SessionState) -> None:
        if state is SessionState.CONNECTED:
            self._flight.wake()

    def _on_change(self, change: CacheChange) -> None:
        if change.kind is ChangeKind.CURRENT:
            if self._in_doubt:
                self._flight.wake()
        elif (
            change.kind is ChangeKind.REMOVED
            and change.path == self.path
            and self._wanted is not None
        ):
            self._log.warn("{path} was removed by somebody else", path=self.path)
            self._lost()

    @property
    def _in_doubt(self) -> bool:
        """It may have been removed before the cache, whose events we hear, showed it."""
        return bool(self.path) and self._cache.current and self.path not in self._cache

    def _lost(self) -> None:
        """Nothing of ours is there any more."""
        self.path, self._written = "", None
        self._attempted.clear()
        self._flight.wake()

    async def _converge(self) -> None:
        if self._client.state is not SessionState.CONNECTED:
            return
        if self._epoch != self._client.session_epoch:
            self.path, self._written, self._attempted = "", None, set()
            self._epoch = self._client.session_epoch
        try:
            if not self.path:
                await self._find()
            if self._wanted is None:
                if self.path:
                    await self._client.delete_tree(self.path)
                    self.path = ""
                self._unobserve()
                self._unsubscribe()
                return
            if self._in_doubt and await self._client.exists(self.path) is None:
                raise zke.NoNodeError(self.path)
            data = encode_component(self._wanted)
            if not self.path:
                await self._create(data)
            elif data != self._written:
                await self._client.set(self.path, data)
                self._written = data
        except zke.NoNodeError:
            # Somebody removes it, or all there is, at this moment.
            self._lost()
        except connection_errors as e:
            # What happened is unknown; the next CONNECTED looks again.
            self._written = None
            self._log.info("registration waits for ZooKeeper: {reason}", reason=str(e))

    async def _find(self) -> None:
        """Look for our znode of this session, if its making may have gone unheard of."""
        if not self._attempted:
            return
        parent, _, name = self._prefix.rpartition("/")
        for child in await self._client.get_children(parent):
            if not child.startswith(name):
                continue
            path = f"{parent}/{child}"
            stat = await self._client.exists(path)
            if stat is None or stat.ephemeralOwner != self._client.session_id:
                continue
            found, _ = await self._client.get(path)
            if found in self._attempted:
                self.path, self._written = path, found
                return
        self._attempted.clear()

    async def _create(self, data: bytes) -> None:
        await self._client.ensure_path(self._prefix.rpartition("/")[0])
        self._attempted.add(data)
        # The cache shows it from the answer on, so that we hear of whoever removes it.
        self._cache.expect_creation()
        try:
            self.path = await self._client.create(self._prefix, data, ephemeral=True, sequence=True)
            self._cache.offer_created(self.path, data)
        finally:
            self._cache.settle_creation()
        self._written = data
        self._log.info("registered {path}", path=self.path)
        if self._in_doubt:
            self._flight.wake()
