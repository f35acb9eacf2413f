"""Which watches a client keeps, and who is told of an event.

Note: one path, several watches
-------------------------------
A server keeps at most one watch mode per connection and path: setting a
one-shot watch where a persistent one is turns that into a one-shot
(ZOOKEEPER-4466), and setting one persistent mode replaces the other.  So:

* a one-shot watch on a path that has a persistent one of ours is not sent;
  the persistent watch's events serve it (:meth:`WatchRegistry.covers`);
* with both persistent modes on a path the server is asked for the recursive
  one, and what it does not report, the list of children, is derived from the
  coming and going of children;
* taking the last persistent watch off a path takes all watches off it, so the
  one-shots there are set again, from before the removal
  (:meth:`WatchRegistry.renewals`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from nodepool_tx.txzookeeper.interface import WatchEvent, WatchKind
from nodepool_tx.txzookeeper.wire import AddWatchMode, SetWatches2

__all__ = ["Callback", "PersistentEntry", "WatchRegistry"]

Callback = Callable[[WatchEvent], None]

#: ZooKeeper's numbers for events; others are not about znodes.
_KINDS = {
    1: WatchKind.CREATED,
    2: WatchKind.DELETED,
    3: WatchKind.CHANGED,
    4: WatchKind.CHILDREN,
}

#: How many bytes of paths go into one request to set watches again; Java's
#: client sends as much.
_RENEWAL_BYTES = 128 * 1024

#: For how many places at most it is noted who hears of events there.
_PLACES = 10_000


class PersistentEntry:
    """One persistent watch of the client's owner."""

    __slots__ = ("active", "callback", "path", "recursive")

    def __init__(self, path: str, callback: Callback, recursive: bool) -> None:
        self.path = path
        self.callback = callback
        self.recursive = recursive
        self.active = True


OneShots = dict[str, list["Deferred[WatchEvent]"]]


class WatchRegistry:
    """All watches of one client, by the paths its owner uses (without chroot)."""

    _log = Logger()

    def __init__(self) -> None:
        self._data: OneShots = {}
        self._exist: OneShots = {}
        self._child: OneShots = {}
        self._plain: dict[str, list[PersistentEntry]] = {}
        self._recursive: dict[str, list[PersistentEntry]] = {}
        #: Which of these hear of all children of a path, as far as that was looked up.
        self._above: dict[str, tuple[PersistentEntry, ...]] = {}
        #: What the server has, as far as it has answered.
        self._modes: dict[str, AddWatchMode] = {}

    def __len__(self) -> int:
        shots = (self._data, self._exist, self._child)
        persistent = (self._plain, self._recursive)
        return sum(len(some) for table in shots for some in table.values()) + sum(
            len(some) for table in persistent for some in table.values()
        )

    # -- one-shot watches

    def new(self, path: str) -> Deferred[WatchEvent]:
        """A watch that is told nothing before it is armed; cancelling forgets it."""
        return Deferred(lambda watch: self._forget(path, watch))

    def arm_data(self, path: str, watch: Deferred[WatchEvent]) -> None:
        self._arm(self._data, path, watch)

    def arm_exist(self, path: str, watch: Deferred[WatchEvent]) -> None:
        self._arm(self._exist, path, watch)

    def arm_child(self, path: str, watch: Deferred[WatchEvent]) -> None:
        self._arm(self._child, path, watch)

    @staticmethod
    def _arm(table: OneShots, path: str, watch: Deferred[WatchEvent]) -> None:
        if not watch.called:
            table.setdefault(path, []).append(watch)

    def _forget(self, path: str, watch: Deferred[WatchEvent]) -> None:
        for table in (self._data, self._exist, self._child):
            watches = table.get(path, [])
            if watch in watches:
                watches.remove(watch)
                if not watches:
                    del table[path]

    def session_lost(self) -> None:
        """Tell every one-shot watch that it will see nothing any more."""
        tables = (self._data, self._exist, self._child)
        lost = [(path, watches) for table in tables for path, watches in table.items()]
        for table in tables:
            table.clear()
        self._modes.clear()
        for path, watches in lost:
            _fire(watches, WatchEvent(WatchKind.SESSION_LOST, path))

    # -- persistent watches

    def covers(self, path: str) -> bool:
        """Whether a persistent watch's events serve a one-shot one on ``path``."""
        return path in self._plain or path in self._recursive

    def mode(self, path: str) -> AddWatchMode | None:
        """The mode the server should have for ``path``."""
        if path in self._recursive:
            return AddWatchMode.RECURSIVE
        if path in self._plain:
            return AddWatchMode.PERSISTENT
        return None

    def add(self, path: str, callback: Callback, recursive: bool) -> PersistentEntry:
        """Note a persistent watch that is about to be set."""
        entry = PersistentEntry(path, callback, recursive)
        self._table(entry).setdefault(path, []).append(entry)
        self._above.clear()
        return entry

    def discard(self, entry: PersistentEntry) -> None:
        """Deliver nothing more to ``entry``."""
        if entry.active:
            entry.active = False
            entries = self._table(entry)[entry.path]
            entries.remove(entry)
            self._above.clear()
            if not entries:
                del self._table(entry)[entry.path]

    def server_has(self, path: str, mode: AddWatchMode | None) -> None:
        """Note what the server has answered."""
        if mode is None:
            self._modes.pop(path, None)
        else:
            self._modes[path] = mode

    def _table(self, entry: PersistentEntry) -> dict[str, list[PersistentEntry]]:
        return self._recursive if entry.recursive else self._plain

    # -- setting watches again

    def reconnected(self) -> None:
        """A new connection: the server has what the renewals will set."""
        self._modes = dict.fromkeys(self._plain, AddWatchMode.PERSISTENT)
        self._modes.update((path, AddWatchMode.RECURSIVE) for path in self._recursive)

    def renewals(self, zxid: int, rooted: Callable[[str], str]) -> Iterator[SetWatches2]:
        """Requests that set every watch again, in the order they must be sent."""
        plain = [path for path in self._plain if path not in self._recursive]
        yield from _batches(
            zxid,
            rooted,
            data=self._data,
            exist=self._exist,
            child=self._child,
            persistent=plain,
            recursive=self._recursive,
        )

    def renewals_of(
        self, path: str, zxid: int, rooted: Callable[[str], str]
    ) -> Iterator[SetWatches2]:
        """Requests that set the watches of one path again, if it has one-shots."""
        tables = {"data": self._data, "exist": self._exist, "child": self._child}
        kinds = {kind: [path] for kind, table in tables.items() if path in table}
        if kinds:
            mode = self.mode(path)
            if mode is not None:
                kinds["recursive" if mode is AddWatchMode.RECURSIVE else "persistent"] = [path]
            yield from _batches(zxid, rooted, **kinds)

    # -- events

    def dispatch(self, number: int, path: str) -> None:
        """Tell whoever watches of a server's event."""
        kind = _KINDS.get(number)
        if kind is None:
            return
        if kind is WatchKind.CHILDREN:
            if self._modes.get(path) is not AddWatchMode.RECURSIVE:
                self._tell_children(path)
            return
        event = WatchEvent(kind, path)
        # Nearly always nobody waits: asking that is cheaper than making an empty list.
        waiting = path in self._data or path in self._exist or path in self._child
        shots = self._due(kind, path) if waiting else ()
        self._call(self._persistent(path), event)
        if shots:
            _fire(shots, event)
        if kind is not WatchKind.CHANGED and (self._child or self._plain) and path != "/":
            parent = path.rpartition("/")[0] or "/"
            if self._modes.get(parent) is AddWatchMode.RECURSIVE:
                self._tell_children(parent)

    def _due(self, kind: WatchKind, path: str) -> list[Deferred[WatchEvent]]:
        """The one-shot watches that an event ends, taken out of their tables."""
        shots = self._data.pop(path, []) + self._exist.pop(path, [])
        if kind is WatchKind.DELETED:
            shots += self._child.pop(path, [])
        return shots

    def _persistent(self, path: str) -> tuple[PersistentEntry, ...]:
        """The persistent watches that hear of a change of a znode, the innermost first."""
        parent = path[: path.rfind("/")] or "/"
        heard = self._above.get(parent)
        if heard is None:
            heard = self._look_above(parent)
        if path in self._recursive and path != "/":
            heard = (*self._recursive[path], *heard)
        if path in self._plain:
            heard = (*self._plain[path], *heard)
        return heard

    def _look_above(self, path: str) -> tuple[PersistentEntry, ...]:
        """The recursive watches at ``path`` and above, noted for the next event there."""
        above = path
        heard = list(self._recursive.get(above, ()))
        while above != "/":
            above = above[: above.rfind("/")] or "/"
            known = self._above.get(above)
            if known is not None:
                heard += known
                break
            heard += self._recursive.get(above, ())
        if len(self._above) >= _PLACES:
            self._above.clear()
        self._above[path] = tuple(heard)
        return self._above[path]

    def _tell_children(self, path: str) -> None:
        shots, plain = self._child.pop(path, ()), self._plain.get(path, ())
        if not shots and not plain:
            return
        event = WatchEvent(WatchKind.CHILDREN, path)
        self._call(tuple(plain), event)
        _fire(shots, event)

    def _call(self, entries: tuple[PersistentEntry, ...], event: WatchEvent) -> None:
        for entry in entries:
            if not entry.active:
                continue
            try:
                entry.callback(event)
            except Exception:
                self._log.failure(
                    "A watch of {path} raised on {event}", path=event.path, event=event
                )


def _fire(watches: Iterable[Deferred[WatchEvent]], event: WatchEvent) -> None:
    for watch in watches:
        if not watch.called:
            watch.callback(event)


def _batches(
    zxid: int, rooted: Callable[[str], str], **kinds: Iterable[str]
) -> Iterator[SetWatches2]:
    """Split by size, one-shots first: a mode set later replaces an earlier one."""
    batch: dict[str, list[str]] = {}
    size = 0
    for kind, paths in kinds.items():
        for path in paths:
            full = rooted(path)
            batch.setdefault(kind, []).append(full)
            size += 4 + len(full.encode())
            if size >= _RENEWAL_BYTES:
                yield SetWatches2(zxid, **batch)
                batch, size = {}, 0
    if batch:
        yield SetWatches2(zxid, **batch)
