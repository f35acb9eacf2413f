"""What one pass has to look at, in the order of the queue."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from nodepool_tx.model import SortKey
from nodepool_tx.pools.queue import Group

__all__ = ["Agenda"]


class Agenda:
    """Groups of requests, taken in the order of their first ones."""

    def __init__(self) -> None:
        self._heap: list[tuple[SortKey, int, Group]] = []
        self._seen: set[Group] = set()
        self._entries = 0

    def __len__(self) -> int:
        """How many groups were added so far."""
        return len(self._seen)

    def add(self, groups: Iterable[Group]) -> bool:
        """Enter the groups that were not added before; False if there were none."""
        before = len(self._seen)
        for group in groups:
            if group not in self._seen and group.first() is not None:
                self._seen.add(group)
                self.again(group)
        return len(self._seen) > before

    def again(self, group: Group) -> None:
        """Enter a group once more, for the request that is its first now."""
        first = group.first()
        if first is not None:
            self._entries += 1
            heapq.heappush(self._heap, (first[0], self._entries, group))

    def next(self) -> Group | None:
        """Take the group whose first request comes first."""
        return heapq.heappop(self._heap)[2] if self._heap else None

    def rest(self) -> set[Group]:
        """All that was not taken."""
        return {group for _, _, group in self._heap}
