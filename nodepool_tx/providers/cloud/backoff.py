"""How long to wait after a failure: longer each time, and never all at once."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]

#: Up to this part of a pause is left off by chance.
_JITTER = 0.2


class Backoff:
    """Pauses that double from ``first`` to ``longest`` seconds.

    Each is up to a fifth shorter than that by chance, so that what failed
    together does not come back together.

    :param chance: from 0 to 1; 0 for pauses of full length.
    """

    def __init__(
        self, first: float, longest: float, chance: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self._full = first

    def next(self) -> float:
        """Seconds to wait now; the next answer will be longer."""
        full = min(self._full, self._longest)
        self._full = min(full * 2, self._longest)
        return full * (1.0 - _JITTER * self._chance())

    def reset(self) -> None:
        """It works again: begin anew."""
        self._full = self._first
