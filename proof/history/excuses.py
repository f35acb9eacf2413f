"""What the rules are not asked about: what chaos itself has done, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Iterable

import attrs

from proof.history.acts import Act
from proof.history.cast import Role

__all__ = ["Excuses"]

#: Milliseconds for which a lock is excused that somebody was removed from the line for.
DISTURBED = 10_000
#: The same as long as whoever was removed has neither ended nor come back: it may be frozen.
UNAWARE = 120_000


@attrs.define
class _Disturbance:
    """Somebody was removed from the line for a lock.

    :ivar milliseconds: when.
    :ivar unaware: the sessions that may not know yet.
    """

    milliseconds: int
    unaware: set[int] = attrs.field(factory=set)

    def lasts(self, now: int) -> bool:
        return now < self.milliseconds + (UNAWARE if self.unaware else DISTURBED)


class Excuses:
    """Znodes that chaos has touched, until they are gone, and locks it has taken away."""

    def __init__(self) -> None:
        #: Path -> seen to exist since it was tainted.
        self._tainted: dict[str, bool] = {}
        #: Path -> the moment (milliseconds since 1970) from which it counts again.
        self._put_right: dict[str, int] = {}
        self._disturbed: dict[str, _Disturbance] = {}

    def taint(self, path: str) -> None:
        """Excuse a znode and what is below it until it is gone."""
        self._tainted[path] = False
        self._put_right.pop(path, None)

    def untaint(self, path: str) -> None:
        """It counts again from now on: not what happened before, and is read later."""
        if path in self._tainted:
            self._put_right[path] = int(time.time() * 1000)

    def before(self, act: Act) -> None:
        """Learn from a step that is to be judged."""
        now = act.entry.milliseconds
        for path in [path for path, since in self._put_right.items() if since < now]:
            del self._put_right[path]
            self._tainted.pop(path, None)
        if not act.deliberate or act.author.role not in (Role.CHAOS, Role.NODEPOOL_11):
            return
        for lock, before, after in act.contenders():
            if before is not None and after is None and before.owner != act.session:
                since = self._disturbed.setdefault(lock, _Disturbance(now))
                since.milliseconds = now
                since.unaware.add(before.owner)
        if act.author.role is Role.CHAOS:
            for touched in (*act.nodes, *act.requests):
                if touched.after is not None:
                    self._tainted[touched.path] = True

    def excuse(self, paths: Iterable[str], milliseconds: int) -> bool:
        """One of these is tainted, or a lock that somebody was just removed from."""
        return any(
            (path in self._disturbed and self._disturbed[path].lasts(milliseconds))
            or any(path == each or path.startswith(each + "/") for each in self._tainted)
            for path in paths
        )

    def after(self, act: Act) -> None:
        """Forget what has gone."""
        if self._tainted:
            for path, seen in tuple(self._tainted.items()):
                znode = act.step.after(path)
                if znode is not None:
                    self._tainted[path] = True
                elif seen or act.step.before(path) is not None:
                    del self._tainted[path]
        if self._disturbed:
            self._calm(act)

    def _calm(self, act: Act) -> None:
        if not act.deliberate:
            for disturbance in self._disturbed.values():
                disturbance.unaware.discard(act.session)
        for lock, _, after in act.contenders():
            if after is not None and lock in self._disturbed:
                self._disturbed[lock].unaware.discard(after.owner)
        now = act.entry.milliseconds
        over = [lock for lock, each in self._disturbed.items() if not each.lasts(now)]
        for lock in over:
            del self._disturbed[lock]
