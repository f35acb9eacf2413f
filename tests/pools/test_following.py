"""Whoever waits for a node hears of it, whoever has waited for it before."""

from __future__ import annotations

from nodepool_tx.pools.following import Following
from nodepool_tx.txzookeeper.lock import Lock
from tests.pools.harness import PoolTestCase
from tests.pools.maker import ScriptedMaker


class FollowingTests(PoolTestCase):
    def test_a_node_that_was_handed_on(self) -> None:
        """Its former request may let go of it after the next one has begun to wait for it."""
        following = Following(
            self.clock, self.store, self.launcher.reservations, ScriptedMaker(self.store)
        )
        node_id = self.add_node("a")
        first, second = (
            following.follow(request_id, Lock(self.client, f"/{request_id}"))
            for request_id in ("200-1", "200-2")
        )
        first.follow([node_id])
        second.follow([node_id])
        news = second.news()
        first.stop()
        self.change_node(node_id, comment="changed")
        self.settle()
        self.assertTrue(news.called)
        news = second.news()
        second.stop()
        self.change_node(node_id, comment="changed again")
        self.settle()
        self.assertFalse(news.called)

    def test_the_sooner_time(self) -> None:
        """Of several times at which to look again the first counts, in whatever order."""
        following = Following(
            self.clock, self.store, self.launcher.reservations, ScriptedMaker(self.store)
        )
        for times in ((60.0, 1.0), (1.0, 60.0)):
            followed = following.follow("200-1", Lock(self.client, "/200-1"))
            news = followed.news()
            for seconds in times:
                followed.wake_in(seconds)
            self.clock.advance(0.5)
            self.assertFalse(news.called)
            self.clock.advance(0.5)
            self.assertTrue(news.called, times)
            followed.stop()
