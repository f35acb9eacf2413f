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
        #: Who was turned away and has not been let in since, longest first.
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def closed(self) -> bool:
        return self.limit == 0

    def enter(self, when_free: Callable[[], None]) -> bool:
        """Take a place; False if there is none.

        One that is turned away is told by ``when_free`` whenever a place comes
        free, until it is let in: those who wait longest hear of it first.
        """
        if self.limit >= 0 and self.active >= self.limit:
            self._waiting.setdefault(when_free)
            return False
        self._waiting.pop(when_free, None)
        self.active += 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self.active -= 1
        for when_free in tuple(self._waiting):
            when_free()
