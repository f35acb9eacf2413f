"""All nodes, kept in memory as ZooKeeper last showed them, and indexed.

The table follows a tree cache and answers without asking the server: which
nodes a provider has, which are free for a label, which belong to a request,
what an account uses.  Each change costs the same however many nodes there are.

A node is *free* when it is ready, promised to nobody, locked by nobody and not
reserved.  A reservation is this process's own note that somebody here is about
to change the node; it keeps two of our tasks from trying the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import attrs
from twisted.logger import Logger

from nodepool_tx.model import Node, NodeState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_node
from nodepool_tx.store.usage import Usage
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache

__all__ = ["NodeChange", "NodeTable"]


class NodeChange(NamedTuple):
    """What became of one node: its record, or who locks it, or both.

    A tuple, as a job makes half a dozen.
    """

    node_id: str
    before: Node | None
    after: Node | None
    locked_before: bool
    locked_after: bool

    @property
    def concerns(self) -> set[str]:
        """The providers this is about."""
        return {
            node.provider
            for node in (self.before, self.after)
            if node is not None and node.provider
        }

    def is_about(self, provider: str) -> bool:
        """The node belongs to a provider, or did."""
        before, after = self.before, self.after
        return (after is not None and after.provider == provider) or (
            before is not None and before.provider == provider
        )


#: Provider, pool, label.
_FreeKey = tuple[str, str, str]


@attrs.define(slots=True)
class _Entry:
    node: Node | None = None
    lock_dir: bool = False
    contenders: frozenset[str] = frozenset()
    reserved: bool = False
    #: Under which keys of the free index this node stands now.
    free_keys: tuple[_FreeKey, ...] = ()
    free_rank: int = 0

    @property
    def free(self) -> bool:
        node = self.node
        return (
            node is not None
            and node.state is NodeState.READY
            and not node.allocated_to
            and not self.contenders
            and not self.reserved
        )


class NodeTable:
    """The nodes in ZooKeeper.

    :ivar usage: what they add up to, for each account.
    :ivar unreadable: id and reason of each node znode that makes no sense.
    """

    _log = Logger()

    def __init__(self, cache: TreeCache) -> None:
        self._cache = cache
        self._entries: dict[str, _Entry] = {}
        self._by_provider: dict[str, set[str]] = {}
        self._by_request: dict[str, set[str]] = {}
        #: Number of labels -> ids, longest free first.
        self._free: dict[_FreeKey, dict[int, dict[str, None]]] = {}
        self.usage = Usage()
        self._observers: list[Callable[[NodeChange], None]] = []
        self.unreadable: dict[str, str] = {}
        cache.subscribe(self._on_change)

    # -- reading ---------------------------------------------------------

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Node]:
        for entry in self._entries.values():
            if entry.node is not None:
                yield entry.node

    def get(self, node_id: str) -> Node | None:
        entry = self._entries.get(node_id)
        return entry.node if entry else None

    def exists(self, node_id: str) -> bool:
        """There is a node of that id, readable or not."""
        return self.get(node_id) is not None or node_id in self.unreadable

    def is_locked(self, node_id: str) -> bool:
        """Somebody holds the node's lock, or waits for it."""
        entry = self._entries.get(node_id)
        return bool(entry and entry.contenders)

    def contenders(self, node_id: str) -> frozenset[str]:
        """Names of those who hold the node's lock or wait for it."""
        entry = self._entries.get(node_id)
        return entry.contenders if entry else frozenset()

    def is_free(self, node_id: str) -> bool:
        entry = self._entries.get(node_id)
        return entry is not None and entry.free

    def is_reserved(self, node_id: str) -> bool:
        entry = self._entries.get(node_id)
        return entry is not None and entry.reserved

    def is_in_hands(self, node_id: str) -> bool:
        """It is locked, or reserved."""
        entry = self._entries.get(node_id)
        return entry is not None and (entry.reserved or bool(entry.contenders))

    def has_lock_directory(self, node_id: str) -> bool:
        entry = self._entries.get(node_id)
        return bool(entry and entry.lock_dir)

    def of_provider(self, provider: str) -> list[Node]:
        """Every node of one provider, in no order."""
        ids = self._by_provider.get(provider, ())
        return [node for node_id in ids if (node := self._entries[node_id].node)]

    def in_hands(self, provider: str) -> Iterator[tuple[Node, bool, bool]]:
        """Every node of one provider, whether it is locked, and whether it is reserved."""
        for node_id in self._by_provider.get(provider, ()):
            entry = self._entries[node_id]
            if entry.node is not None:
                yield entry.node, bool(entry.contenders), entry.reserved

    def providers(self) -> tuple[str, ...]:
        """Those that have nodes, configured anywhere or not."""
        return tuple(self._by_provider)

    def of_request(self, request_id: str) -> list[Node]:
        """The nodes that are promised to a request."""
        ids = self._by_request.get(request_id, ())
        return [node for node_id in ids if (node := self._entries[node_id].node)]

    def promised_to(self) -> tuple[str, ...]:
        """The requests that any node is promised to."""
        return tuple(self._by_request)

    def free_nodes(self, provider: str, pool: str, label: str, at_most: int) -> list[Node]:
        """Nodes that could serve ``label`` now.

        Those with the fewest labels come first, so that the versatile ones
        stay for requests that nothing else can serve; then those that have
        been free longest.
        """
        found: list[Node] = []
        ranks = self._free.get((provider, pool, label))
        if ranks:
            for rank in sorted(ranks):
                for node_id in ranks[rank]:
                    if len(found) == at_most:
                        return found
                    node = self._entries[node_id].node
                    assert node is not None
                    found.append(node)
        return found

    def count_free(self, provider: str, pool: str, label: str) -> int:
        return sum(len(ids) for ids in self._free.get((provider, pool, label), {}).values())

    # -- reservations ----------------------------------------------------

    def reserve(self, node_ids: Iterable[str]) -> None:
        """Note that a task here is about to change these nodes."""
        for node_id in node_ids:
            entry = self._entries[node_id]
            assert not entry.reserved, f"node {node_id} is reserved twice"
            entry.reserved = True
            self._index_free(node_id, entry)

    def unreserve(self, node_ids: Iterable[str]) -> None:
        """Take the note back; observers hear of each node that is still there."""
        for node_id in node_ids:
            entry = self._entries.get(node_id)
            if entry is None or not entry.reserved:
                continue
            entry.reserved = False
            self._index_free(node_id, entry)
            self._drop_if_empty(node_id, entry)
            if entry.node is not None:
                locked = bool(entry.contenders)
                self._tell(NodeChange(node_id, entry.node, entry.node, locked, locked))

    # -- following -------------------------------------------------------

    def subscribe(self, observer: Callable[[NodeChange], None]) -> Callable[[], None]:
        """Hear of every change, after the indexes show it; returns its removal."""
        self._observers.append(observer)
        return lambda: self._observers.remove(observer)

    def _tell(self, change: NodeChange) -> None:
        for observer in tuple(self._observers):
            try:
                observer(change)
            except Exception:
                self._log.failure("observer of nodes failed on {node_id}", node_id=change.node_id)

    def _on_change(self, change: CacheChange) -> None:
        kind = change.kind
        if kind is ChangeKind.CURRENT or kind is ChangeKind.STALE:
            return
        parts = paths.below(paths.NODES, change.path)
        depth = len(parts)
        if not 1 <= depth <= 3 or (depth > 1 and parts[1] != "lock"):
            return
        node_id = parts[0]
        entry = self._entries.get(node_id)
        if entry is None:
            entry = self._entries[node_id] = _Entry()
        present = kind is not ChangeKind.REMOVED
        if depth == 2:
            entry.lock_dir = present
            if not present:
                self._drop_if_empty(node_id, entry)
            return
        before, locked_before = entry.node, bool(entry.contenders)
        if depth == 1:
            entry.node = self._decode(node_id, change) if present else None
        elif present:
            entry.contenders |= {parts[2]}
        else:
            entry.contenders -= {parts[2]}
        if before is not entry.node:
            self._reindex(node_id, before, entry.node)
        self._index_free(node_id, entry)
        self._drop_if_empty(node_id, entry)
        locked_after = bool(entry.contenders)
        if before is not entry.node or locked_before != locked_after:
            self._tell(NodeChange(node_id, before, entry.node, locked_before, locked_after))

    def _decode(self, node_id: str, change: CacheChange) -> Node | None:
        znode = change.znode
        assert znode is not None
        stat = znode.stat
        assert stat is not None
        try:
            if isinstance(znode.source, Node):
                node = znode.source.as_written(node_id, stat.version, stat.mzxid)
            else:
                node = decode_node(
                    node_id, znode.data or b"", version=stat.version, mzxid=stat.mzxid
                )
        except Unreadable as e:
            self.unreadable[node_id] = str(e)
            self._log.warn(
                "{path} is unreadable and is left alone: {reason}",
                path=change.path,
                node_id=node_id,
                reason=str(e),
            )
            return None
        self.unreadable.pop(node_id, None)
        return node

    def _drop_if_empty(self, node_id: str, entry: _Entry) -> None:
        if (
            entry.node is None
            and not entry.lock_dir
            and not entry.contenders
            and not entry.reserved
            and self._cache.get(paths.node(node_id)) is None
        ):
            self._entries.pop(node_id, None)
            self.unreadable.pop(node_id, None)

    def _reindex(self, node_id: str, before: Node | None, after: Node | None) -> None:
        _move(
            self._by_provider,
            node_id,
            before.provider if before else None,
            after.provider if after else None,
        )
        _move(
            self._by_request,
            node_id,
            before.allocated_to if before else None,
            after.allocated_to if after else None,
        )
        self.usage.change(before, after)

    def _index_free(self, node_id: str, entry: _Entry) -> None:
        node = entry.node
        keys: tuple[_FreeKey, ...] = ()
        if node is not None and entry.free and node.provider and node.pool:
            keys = _free_keys(node.provider, node.pool, node.type)
        if keys == entry.free_keys:
            return
        for key in entry.free_keys:
            ranks = self._free[key]
            del ranks[entry.free_rank][node_id]
            if not ranks[entry.free_rank]:
                del ranks[entry.free_rank]
                if not ranks:
                    del self._free[key]
        entry.free_keys, entry.free_rank = keys, len(keys)
        for key in keys:
            self._free.setdefault(key, {}).setdefault(len(keys), {})[node_id] = None


@lru_cache(maxsize=1000)
def _free_keys(provider: str, pool: str, labels: tuple[str, ...]) -> tuple[_FreeKey, ...]:
    """The same object for all nodes that are alike."""
    return tuple((provider, pool, label) for label in dict.fromkeys(labels))


def _move(index: dict[str, set[str]], member: str, old: str | None, new: str | None) -> None:
    """Take ``member`` from one set of an index to another, leaving no empty set."""
    if old == new:
        return
    if old:
        members = index[old]
        members.discard(member)
        if not members:
            del index[old]
    if new:
        index.setdefault(new, set()).add(member)
