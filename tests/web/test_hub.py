"""Event streams: what is told, to whom, and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nodepool_tx.events import LaunchEnded, ReloadRefused
from nodepool_tx.model import Maintenance, MaintenanceMode, NodeState
from nodepool_tx.web.feeds import PACE, SLOW_PACE
from nodepool_tx.web.hub import HEARTBEAT, MOST_BYTES, REVIEW, Hub
from nodepool_tx.web.turns import Turns
from tests.metrics.stage import CONFIG
from tests.web.stage import Visitor, WebTestCase


class StreamTests(WebTestCase):
    """With a farm that is up."""

    def setUp(self) -> None:
        super().setUp()
        self.bring()

    def told(self, visitor: Visitor, seconds: float = 1.0) -> list[tuple[str, Any]]:
        """What a visitor is told within a time."""
        self.wait(seconds, PACE / 2)
        return visitor.events()

    def test_head(self) -> None:
        """A stream says what it is; asked for its head only, it ends at once."""
        visitor = self.listen()
        head = visitor.hear().partition(b"\r\n\r\n")[0].decode().lower()
        self.assertIn("content-type: text/event-stream", head)
        self.assertIn("cache-control: no-store", head)
        self.assertEqual(self.get("/api/events", "HEAD").status, 200)
        self.assertEqual(len(self.hub), 1)

    def test_nodes(self) -> None:
        """Changed and removed nodes are told, several changes as one."""
        visitor = self.listen("nodes")
        node_id = self.add_node(provider="other")
        self.change_node(node_id, state=NodeState.HOLD, comment="mine")
        ((topic, data),) = self.told(visitor)
        self.assertEqual(topic, "nodes")
        (node,) = data["changed"]
        self.assertEqual((node["id"], node["state"], node["comment"]), (node_id, "hold", "mine"))
        self.inspector.delete_tree(f"/nodepool/nodes/{node_id}")
        self.assertEqual(self.told(visitor), [("nodes", {"changed": [], "gone": [node_id]})])

    def test_requests(self) -> None:
        """Requests are told with why they wait, and again when that changes."""
        visitor = self.listen("requests")
        request_id = self.add_request("static-1.0", "static-1.0", "static-1.0", "static-1.0")
        ((_, data),) = self.told(visitor)
        self.assertIn("3 of 4 free", data["changed"][0]["reason"])
        self.add_node("static-1.0", provider="rack", pool="main", state=NodeState.IN_USE)
        node_id = sorted(self.nodes())[0]
        self.change_node(node_id, state=NodeState.HOLD)
        events = self.told(visitor, REVIEW + 1)
        reasons = [each["reason"] for _, data in events for each in data["changed"]]
        self.assertIn("2 of 4 free", reasons[-1])
        self.inspector.delete_tree(f"/nodepool/requests/{request_id}")
        self.assertEqual(self.told(visitor)[-1][1]["gone"], [request_id])

    def test_providers(self) -> None:
        """Only providers that changed are told, and those that are gone."""
        visitor = self.listen("providers")
        self.told(visitor, REVIEW + 1)
        record = Maintenance(mode=MaintenanceMode.DRAIN, host="web1", since=1.0)
        self.done(self.store.maintenance.put(record))
        events = self.told(visitor, 2)
        names = {each["name"] for _, data in events for each in data["providers"]}
        self.assertEqual(names, {"rack"})
        self.bring(CONFIG.partition("  - name: cloud\n")[0].replace(", {name: cloudy}", ""))
        gone = [name for _, data in self.told(visitor, 10) for name in data["gone"]]
        self.assertEqual(gone, ["cloud"])

    def test_status(self) -> None:
        """The status is told when more of it has changed than the time."""
        visitor = self.listen("status")
        self.told(visitor, REVIEW + 1)
        self.assertEqual(self.told(visitor, 3 * REVIEW), [])
        self.add_node(provider="other")
        ((_, status),) = self.told(visitor)
        self.assertEqual(status["counts"]["nodes"], {"ready": 4})

    def test_reload(self) -> None:
        """Reloads are told, and refusals with them."""
        visitor = self.listen("reload")
        self.bring(CONFIG.replace("max-servers: 5", "max-servers: 4"))
        ((_, data),) = self.told(visitor)
        self.assertEqual((data["reload"]["replaced"], data["errors"]), (["cloud"], []))
        self.events.publish(ReloadRefused(errors=("broken",)))
        self.assertEqual(len(self.told(visitor)), 1)

    def test_history(self) -> None:
        """The newest minute is told when something happens in it."""
        visitor = self.listen("history")
        self.events.publish(
            LaunchEnded(
                provider="cloud", pool="p", label="l", node_id="1", result="quota", seconds=3.0
            )
        )
        ((_, data),) = self.told(visitor)
        self.assertEqual(data["errors"], {"cloud": {"quota": 1}})
        self.assertEqual(data["launches"]["cloud"]["failed"], 1)

    def test_topics(self) -> None:
        """Everybody is told what they asked for, and all in one piece."""
        everything, nodes = self.listen(), self.listen("nodes")
        self.told(everything, REVIEW + 1)
        self.told(nodes)
        self.add_node(provider="rack")
        self.assertEqual({topic for topic, _ in self.told(nodes)}, {"nodes"})
        self.assertEqual(
            {topic for topic, _ in everything.events()}, {"status", "providers", "nodes"}
        )

    def test_pace(self) -> None:
        """However much happens, there are four deliveries a second at the most."""
        visitor = self.listen("nodes")
        self.told(visitor, 1)
        node_id = self.add_node(provider="other")
        count = 0
        for _ in range(200):
            self.change_node(node_id, comment=str(self.clock.seconds()))
            self.wait(0.01, 0.01)
            count += len(visitor.events())
        self.assertLessEqual(count, 9)
        self.assertGreaterEqual(count, 7)

    def test_pace_of_providers(self) -> None:
        """Providers, which are large, are told once a second at the most."""
        visitor = self.listen("providers")
        self.told(visitor, REVIEW + 1)
        count = 0
        for number in range(50):
            self.add_node(provider="cloud", state=NodeState.HOLD, comment=str(number))
            count += len(self.told(visitor, 0.1))
        self.assertLessEqual(count, 5 / SLOW_PACE + 1)
        self.assertGreaterEqual(count, 3)

    def test_many_changes(self) -> None:
        """Of very many changes a part is told at a time, and none is forgotten."""
        visitor = self.listen("nodes")
        for _ in range(450):
            self.add_node(provider="other")
        sizes = [len(data["changed"]) for _, data in self.told(visitor, 2)]
        self.assertEqual((sum(sizes), max(sizes)), (450, 200))

    def test_resync_after_a_break(self) -> None:
        """Whoever had a stream before is told to read everything again."""
        visitor = self.listen("nodes", {"Last-Event-ID": "17"})
        self.assertEqual(visitor.events(), [("resync", {})])
        self.assertEqual(self.listen("nodes").events(), [])

    def test_slow_client(self) -> None:
        """A client that does not read is told nothing more, and later to read everything."""
        slow, quick = self.listen("nodes"), self.listen("nodes")
        slow.events()
        slow.wire.fill()
        for _ in range(20):
            self.add_node(provider="other")
            self.wait(0.5)
        self.wait(0.5)
        self.assertEqual(slow.hear(), b"")
        self.assertEqual(len(quick.events()), 20)
        self.assertEqual((self.hub.behind, self.hub.skipped, self.hub.delivered), (1, 20, 20))
        slow.wire.drain()
        self.assertEqual(slow.events(), [("resync", {})])
        self.add_node(provider="other")
        self.assertEqual([topic for topic, _ in self.told(slow)], ["nodes"])
        self.assertEqual(self.hub.behind, 0)

    def test_a_pause_without_loss(self) -> None:
        """A client that was slow while nothing happened has missed nothing."""
        visitor = self.listen("nodes")
        visitor.events()
        visitor.wire.fill()
        self.wait(2 * HEARTBEAT)
        visitor.wire.drain()
        self.assertEqual(visitor.events(), [])

    def test_heartbeat(self) -> None:
        """A stream on which nothing is told gets a comment now and then."""
        visitor = self.listen("nodes")
        visitor.events()
        self.wait(HEARTBEAT + 1)
        self.assertIn(b":\n\n", visitor.hear())

    def test_too_many(self) -> None:
        """There is a limit to streams, and room again when one ends."""
        visitors = [self.listen() for _ in range(self.most_streams)]
        answer = self.get("/api/events")
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "30"))
        self.assertEqual((len(self.hub), self.hub.refused), (self.most_streams, 1))
        visitors[0].leave()
        self.assertEqual(len(self.hub), self.most_streams - 1)
        self.listen()
        self.assertEqual(len(self.hub), self.most_streams)

    def test_nothing_is_followed_for_nobody(self) -> None:
        """Without streams no change costs anything, and no timer runs."""
        before = len(self.clock.getDelayedCalls())
        visitors = [self.listen(), self.listen("nodes")]
        self.wait(1)
        for visitor in visitors:
            visitor.leave()
        self.add_node(provider="other")
        self.wait(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), before)
        self.assertEqual(self.hub.delivered, 0)
        fresh = self.listen("nodes")
        self.assertEqual(self.told(fresh), [])

    def test_the_end(self) -> None:
        """When the service stops, streams end in order."""
        visitor = self.listen()
        self.hub.close()
        self.assertTrue(visitor.hear().endswith(b"0\r\n\r\n"))
        self.assertEqual(len(self.hub), 0)

    def test_a_feed_that_fails(self) -> None:
        """What cannot be told of one topic keeps no other from being told."""
        visitor = self.listen("nodes,status")
        self.told(visitor, REVIEW + 1)

        def fail() -> dict[str, int]:
            raise RuntimeError("no numbers")

        self.patch(self.farm.tally, "nodes", fail)
        self.add_node(provider="other")
        self.assertEqual([topic for topic, _ in self.told(visitor)], ["nodes"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class SlowFeed:
    """Always has something to tell, and takes its time over it."""

    topic = "slow"
    pace = PACE
    dirty = True

    def __init__(self, spend: Callable[[], dict[str, Any]]) -> None:
        self._spend = spend
        self.collected = 0

    def watch(self, wake: Callable[[], None]) -> None:
        wake()

    def stop(self) -> None:
        self.dirty = False

    def review(self) -> None:
        pass

    async def collect(self, turns: Turns) -> dict[str, Any] | None:
        self.collected += 1
        return self._spend()


class RestraintTests(WebTestCase):
    """When telling is expensive."""

    def test_restraint(self) -> None:
        """A delivery that takes long is followed by a pause nineteen times as long."""

        # Time that passes while somebody works, which the clock alone cannot show.
        def spend() -> dict[str, Any]:
            self.clock.rightNow += 0.1
            return {}

        feed = SlowFeed(spend)
        self.hub = Hub(self.clock, [feed])
        self.serve()
        self.listen("slow")
        for _ in range(200):
            self.clock.advance(0.1)
        self.assertGreaterEqual(feed.collected, 10)
        self.assertLessEqual(feed.collected, 12)

    def test_bytes(self) -> None:
        """Large events to many streams are told so rarely that the network has room."""
        size = int(MOST_BYTES / 10)
        feed = SlowFeed(lambda: {"much": "x" * size})
        self.hub = Hub(self.clock, [feed])
        self.serve()
        for _ in range(10):
            self.listen("slow")
        for _ in range(200):
            self.clock.advance(0.1)
        # A second each: ten streams get a tenth of what a second has room for.
        self.assertGreaterEqual(feed.collected, 17)
        self.assertLessEqual(feed.collected, 20)
