"""The one history of an ensemble, put together from the logs of its servers.

Design note: what is committed
------------------------------
An entry that a majority has written is committed.  But a server that was away may be sent the
whole tree instead of what it missed, and then never has those entries in its log; so an entry
may be committed that one log alone has.  It is, when the same log goes on from it without a
gap to one that is: a server's log is what it believes has happened.  A gap is where the count
in the zxid leaves one out: there the server was sent the tree, and what was written before it
may be what a leader that was killed wrote for itself.

Where the next entry is committed and one in between is not to be seen, it is waited for a
while: logs are not read all at the same moment.  If it does not turn up, :attr:`missing` says
so: from then on the history has a hole, and is no proof of anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from proof.history.follower import LogFollower, Raw
from proof.history.records import decode
from proof.history.transactions import Entry

__all__ = ["CommittedLog", "LogFollower"]

#: Seconds for which it is looked again for an entry that must be somewhere.
PATIENCE = 2.0
#: Entries of each server read at once.
_AT_ONCE = 10_000
#: The lower half of a zxid counts, the upper one says who led.
_COUNT = (1 << 32) - 1


@attrs.define
class _Server:
    """What one server has written and nobody has been told of.

    :ivar pending: in order, each with the number of the gapless run it belongs to.
    """

    log: LogFollower
    pending: list[tuple[Raw, int]] = attrs.field(factory=list)
    last: int = 0
    run: int = 0

    def read(self, told: int) -> int:
        """How many entries were read."""
        appended = self.log.appended(_AT_ONCE)
        if appended.cut is not None:
            cut = appended.cut
            self.pending = [each for each in self.pending if each[0].zxid <= cut]
            self.last = cut
        for raw in appended.entries:
            if not follows(self.last, raw.zxid):
                self.run += 1
            self.last = raw.zxid
            if raw.zxid > told:
                self.pending.append((raw, self.run))
        return len(appended.entries)


def follows(one: int, other: int) -> bool:
    """There is no entry between these two, as far as their zxids tell."""
    if one >> 32 == other >> 32:
        return other == one + 1
    return other > one and other & _COUNT == 1


class CommittedLog:
    """What the servers with these data directories have agreed on.

    :param directories: of all servers of the ensemble, or of the only one.
    :param patience: seconds to wait for what is not to be seen yet; none for logs of the past.
    :ivar missing: ``(zxid, zxid)`` between which entries are that were not to be found.
    """

    def __init__(self, directories: Sequence[Path], patience: float = PATIENCE) -> None:
        self._servers = [_Server(LogFollower(Path(each))) for each in directories]
        self._majority = len(self._servers) // 2 + 1
        self._told = 0
        self._began: int | None = None
        self._patience = patience
        #: Some server has more to read right now.
        self._more = False
        #: For what may lie between these two, and since when.
        self._waiting: tuple[tuple[int, int], float] | None = None
        self.missing: list[tuple[int, int]] = []

    @property
    def whole(self) -> bool:
        """It began where a leader's count begins: nothing was purged before it was read."""
        return self._began is None or self._began & _COUNT == 1

    def read(self) -> list[Entry]:
        """What was committed since the last call, in order."""
        found: list[Entry] = []
        while entries := self.read_some():
            found += entries
        return found

    def read_some(self) -> list[Entry]:
        """As :meth:`read`, but not too much at once; none if there is nothing left."""
        while raws := self.read_raw():
            decoded = (decode(raw.payload) for raw in raws)
            if entries := [entry for entry in decoded if entry is not None]:
                return entries
        return []

    def read_raw(self) -> list[Raw]:
        """As :meth:`read_some`, undecoded, with what was refused."""
        while True:
            news = [server.read(self._told) for server in self._servers]
            self._more = max(news, default=0) == _AT_ONCE
            due = self._due()
            if due or not any(news):
                return due

    def _due(self) -> list[Raw]:
        committed = self._committed()
        due = self._in_sequence(sorted(committed))
        for zxid in due:
            if self._began is None:
                self._began = zxid
            elif not follows(self._told, zxid):
                self.missing.append((self._told, zxid))
            self._told = zxid
        if due:
            for server in self._servers:
                server.pending = [each for each in server.pending if each[0].zxid > self._told]
        return [committed[zxid] for zxid in due]

    def _committed(self) -> dict[int, Raw]:
        """By zxid: what a majority has, and what leads up to that."""
        counts: dict[int, int] = {}
        for server in self._servers:
            for raw, _ in server.pending:
                counts[raw.zxid] = counts.get(raw.zxid, 0) + 1
        found: dict[int, Raw] = {}
        changed = any(count >= self._majority for count in counts.values())
        known = {zxid for zxid, count in counts.items() if count >= self._majority}
        while changed:
            changed = False
            for server in self._servers:
                run = None
                for raw, its_run in reversed(server.pending):
                    if raw.zxid in known:
                        run = its_run
                        found.setdefault(raw.zxid, raw)
                    elif its_run == run:
                        known.add(raw.zxid)
                        found[raw.zxid] = raw
                        changed = True
        return found

    def _in_sequence(self, zxids: list[int]) -> list[int]:
        """Those of them that can be told now: all before them was, or was waited for."""
        last = self._told
        for place, zxid in enumerate(zxids):
            if not self._joins(last, zxid) and self._worth_waiting((last, zxid)):
                return zxids[:place]
            last = zxid
        return zxids

    def _worth_waiting(self, gap: tuple[int, int]) -> bool:
        if self._more:
            return True
        now = time.monotonic()
        if self._waiting is None or self._waiting[0] != gap:
            self._waiting = (gap, now)
        return now - self._waiting[1] < self._patience

    def _joins(self, last: int, zxid: int) -> bool:
        """Nothing that may have been committed lies between."""
        if self._began is None and last == 0:
            return zxid & _COUNT == 1
        if not follows(last, zxid):
            return False
        if last >> 32 == zxid >> 32:
            return True
        # Another leads: what the one before wrote last may have been taken over.
        undecided = (server.pending[-1][0].zxid for server in self._servers if server.pending)
        return not any(last < each < zxid for each in undecided)
