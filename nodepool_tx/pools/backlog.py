"""The requests that a pool has not answered, and which of them are worth a look.

Groups are marked by events and looked at in the next pass.  What a group was
found to wait for is kept until it is looked at again, so that what comes free
marks only those that wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from nodepool_tx.model import NodeRequest
from nodepool_tx.pools.accounts import Shortage
from nodepool_tx.pools.queue import Group, WaitingRequests
from nodepool_tx.pools.shortfalls import Shortfalls
from nodepool_tx.store.usage import Account

__all__ = ["Backlog"]


class Backlog:
    """What waits in one pool.

    :param wake: called when something is marked.
    :ivar queue: the requests; change it through this object only.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.queue = WaitingRequests()
        #: Groups to look at in the next pass.
        self._marked: set[Group] = set()
        #: Those of them that may have room again, and nothing else has changed for them.
        self._for_room: set[Group] = set()
        #: Groups that are held up by max-concurrency or by too many declines.
        self._held_up: set[Group] = set()
        #: Groups that wait for room.
        self._shortfalls = Shortfalls()
        #: Groups for which nodes cannot be made now.
        self._objected: set[Group] = set()

    # -- requests --------------------------------------------------------

    def put(self, request: NodeRequest) -> None:
        """Add a request, or move it to where it belongs now."""
        before = self.queue.group_of(request.id)
        group = self.queue.put(request)
        if before is not None and not before:
            # It was the last of a group that is no more, and waits for nothing.
            self.forget_obstacles(before)
        self.mark([group])

    def discard(self, request_id: str) -> None:
        """The request does not wait any more."""
        group = self.queue.group_of(request_id)
        self.queue.discard(request_id)
        if group is not None and not group:
            self.forget_obstacles(group)

    def asks_for(self, label: str) -> bool:
        """A request that waits here wants the label."""
        return self.queue.asks_for(label)

    # -- marking ---------------------------------------------------------

    def mark(self, groups: Iterable[Group]) -> None:
        """Look at these in the next pass."""
        groups = tuple(groups)
        self._marked.update(groups)
        self._for_room.difference_update(groups)
        if self._marked:
            self._wake()

    def mark_request(self, request_id: str) -> None:
        """Look at the group of a request, if it waits here."""
        group = self.queue.group_of(request_id)
        if group is not None:
            self.mark([group])

    def mark_with_labels(self, labels: Iterable[str]) -> None:
        """Look at those that ask for any of these labels."""
        self.mark(self.queue.with_labels(labels))

    def mark_with_room(self, account: Account | None, resources: Collection[str]) -> None:
        """Look at those that wait for any of these resources of an account.

        None is all accounts: the limits of tenants have changed.
        """
        if account is None:
            self.judge_again()
        else:
            self._mark_for_room(set(self._shortfalls.short_of(account, resources)))

    def _mark_for_room(self, groups: set[Group]) -> None:
        groups = groups - self._marked
        self._marked |= groups
        self._for_room |= groups
        if groups:
            self._wake()

    def judge_again(self) -> None:
        """Ask the rules again about everything."""
        for group in self.queue:
            group.verdict = None
        self.mark(self.queue)

    @property
    def marked(self) -> bool:
        """There is something to look at."""
        return bool(self._marked)

    def take(self) -> tuple[set[Group], set[Group]]:
        """All groups marked so far, and those of them that were only for room."""
        marked, self._marked = self._marked, set()
        for_room, self._for_room = self._for_room, set()
        return marked, for_room

    def leave(self, groups: set[Group], for_room: set[Group]) -> None:
        """Look at these in the next pass instead; as :meth:`take` gave them."""
        self.mark(groups - for_room)
        self._mark_for_room(groups & for_room)

    # -- what they wait for ----------------------------------------------

    def hold_up(self, group: Group) -> None:
        """It waits for a place, see :meth:`mark_held_up`."""
        self._held_up.add(group)

    def is_held_up(self, group: Group) -> bool:
        return group in self._held_up

    def mark_held_up(self) -> None:
        """A place has come free."""
        held_up, self._held_up = self._held_up, set()
        self.mark(held_up)

    def short_of(self, group: Group, shortages: Sequence[Shortage]) -> None:
        """It waits for room."""
        self._shortfalls.put(group, shortages)

    def shortages_of(self, group: Group) -> tuple[Shortage, ...]:
        return self._shortfalls.of(group)

    def waiting_for(self, account: Account, resource: str) -> int:
        """How many requests wait for room of one kind, as far as was seen."""
        return sum(len(group) for group in self._shortfalls.short_of(account, [resource]))

    def object_to(self, group: Group) -> None:
        """Nodes cannot be made for it now."""
        self._objected.add(group)

    def forget_obstacles(self, group: Group) -> None:
        """It is looked at again, or gone."""
        self._shortfalls.discard(group)
        self._objected.discard(group)

    def is_short(self, accounts: Collection[Account]) -> bool:
        """Somebody waits for room in one of these accounts."""
        return self._shortfalls.in_accounts(accounts)

    @property
    def is_objected(self) -> bool:
        """For somebody nodes cannot be made now."""
        return bool(self._objected)
