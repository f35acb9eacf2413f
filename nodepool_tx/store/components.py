"""Who is online: launchers, builders and the pools that answer requests.

Format and paths: Nodepool 11.0.0, ``nodepool/zk/components.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from nodepool_tx.model import Component, PoolComponent
from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_component
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache

__all__ = ["ComponentTable"]


class ComponentTable:
    """The components registered in ZooKeeper."""

    _log = Logger()

    def __init__(self, cache: TreeCache) -> None:
        self._components: dict[str, Component] = {}
        self._observers: list[Callable[[], None]] = []
        self._pools: tuple[PoolComponent, ...] | None = None
        cache.subscribe(self._on_change)

    def all(self) -> tuple[Component, ...]:
        return tuple(self._components.values())

    def pools(self) -> tuple[PoolComponent, ...]:
        """Every pool that is online, ours and other launchers'."""
        if self._pools is None:
            self._pools = tuple(
                c for _, c in sorted(self._components.items()) if isinstance(c, PoolComponent)
            )
        return self._pools

    def subscribe(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Hear that something changed; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _on_change(self, change: CacheChange) -> None:
        if change.kind in (ChangeKind.CURRENT, ChangeKind.STALE):
            return
        parts = paths.below(paths.COMPONENTS, change.path)
        if len(parts) != 2:
            return
        before = self._components.pop(change.path, None)
        if change.kind is not ChangeKind.REMOVED:
            znode = change.znode
            assert znode is not None
            try:
                self._components[change.path] = decode_component(
                    parts[0], znode.data or b"", path=change.path
                )
            except Unreadable as e:
                self._log.warn(
                    "{path} is unreadable and is left alone: {reason}",
                    path=change.path,
                    reason=str(e),
                )
        if before == self._components.get(change.path):
            return
        self._pools = None
        for observer in tuple(self._observers):
            try:
                observer()
            except Exception:
                self._log.failure("observer of components failed on {path}", path=change.path)
