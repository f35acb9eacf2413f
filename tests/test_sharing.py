"""Work that several wait for."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.sharing import Shared


class SharedTests(SynchronousTestCase):
    def test_the_first_to_be_told_cancels_another(self) -> None:
        """Who is cancelled by one that was told before is told so, and the rest are told."""
        shared: Shared[str, int] = Shared()
        task: Deferred[int] = Deferred()
        first, second, third = (shared.join("work", lambda: task) for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        task.callback(7)
        self.assertIsNone(self.successResultOf(first))
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third), 7)
