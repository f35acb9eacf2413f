"""What waits in a pool, and for what."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.pools.accounts import Shortage
from nodepool_tx.pools.backlog import Backlog
from nodepool_tx.store.usage import Account

RACK = Account.of_provider("rack")
SHORT = Shortage(account=RACK, resource="instances", limit=1, used=1, needed=1)


class BacklogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.backlog = Backlog(lambda: None)

    def wait_for_room(self, request_id: str, **fields: object) -> None:
        """Put a request, and find that there is no room for it."""
        request = NodeRequest(
            id=request_id,
            state=RequestState.REQUESTED,
            state_time=0.0,
            node_types=("a",),
            **fields,  # type: ignore[arg-type]
        )
        self.backlog.put(request)
        group = self.backlog.queue.group_of(request_id)
        assert group is not None
        self.backlog.short_of(group, [SHORT])

    def test_declined_elsewhere(self) -> None:
        """Nobody waits for room any more when the one who did was declined by others, and left."""
        self.wait_for_room("100-1")
        self.wait_for_room("100-1", declined_by=("other",))
        self.assertTrue(self.backlog.is_short([RACK]))
        self.backlog.discard("100-1")
        self.assertFalse(self.backlog.is_short([RACK]))

    def test_one_of_two_is_declined_elsewhere(self) -> None:
        """Who is left of a group goes on waiting."""
        self.wait_for_room("100-1")
        self.wait_for_room("100-2")
        self.wait_for_room("100-1", declined_by=("other",))
        self.backlog.discard("100-1")
        self.assertTrue(self.backlog.is_short([RACK]))
        self.backlog.discard("100-2")
        self.assertFalse(self.backlog.is_short([RACK]))
