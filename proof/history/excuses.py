"""What the rules are not asked about: what chaos itself has done, and what follows from it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from proof.history.acts import Act
from proof.history.cast import Role

__all__ = ["Excuses"]

#: Milliseconds after which everybody knows that somebody was removed from a line for a lock.
DISTURBED = 10_000


class Excuses:
    """Znodes that chaos has touched, until they are gone, and locks it has taken away."""

    def __init__(self) -> None:
        #: Path -> seen to exist since it was tainted.
        self._tainted: dict[str, bool] = {}
        #: Path -> the moment (milliseconds since 1970) from which it counts again.
        self._put_right: dict[str, int] = {}
        self._disturbed: dict[str, int] = {}

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
                self._disturbed[lock] = now + DISTURBED
        if act.author.role is Role.CHAOS:
            for touched in (*act.nodes, *act.requests):
                if touched.after is not None:
                    self._tainted[touched.path] = True

    def excuse(self, paths: Iterable[str], milliseconds: int) -> bool:
        """One of these is tainted, or a lock that somebody was just removed from."""
        return any(
            self._disturbed.get(path, 0) > milliseconds
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
            now = act.entry.milliseconds
            for lock in [lock for lock, until in self._disturbed.items() if until <= now]:
                del self._disturbed[lock]
