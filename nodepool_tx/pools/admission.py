"""How many requests a provider works on at a time: ``max-concurrency``."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Admission"]


class Admission:
    """Counts the requests being worked on in all pools of a provider.

    A limit below 0 is none; 0 closes the provider to all requests.
    """

    def __init__(self, limit: int = -1) -> None:
        self.limit = limit
        self.active = 0
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def closed(self) -> bool:
        return self.limit == 0

    def enter(self, when_free: Callable[[], None]) -> bool:
        """Take a place; False if there is none, and ``when_free`` is called once."""
        if self.limit >= 0 and self.active >= self.limit:
            self._waiting[when_free] = None
            return False
        self.active += 1
        return True

    def leave(self) -> None:
        self.active -= 1
        waiting, self._waiting = self._waiting, {}
        for when_free in waiting:
            when_free()
