"""A tenant's limit holds over all launchers of ours."""

from __future__ import annotations

from kazoo.exceptions import ConnectionLoss

from nodepool_tx.store import paths
from tests.pools.harness import ScriptedSource
from tests.pools.maker import ONE, MakingTestCase, ScriptedMaker


class FenceTests(MakingTestCase):
    """Two launchers, the second with a provider of its own; tenant t may have three."""

    latency = 0.01

    def setUp(self) -> None:
        super().setUp()
        self.second = self.make_launcher()
        self.other = ScriptedMaker(self.second.store, "other")
        self.make_pool(
            self.second,
            source=ScriptedSource(),
            maker=self.other,
            provider="other",
            labels=frozenset("xyz"),
        )
        for launcher in (self.launcher, self.second):
            launcher.limits.limits = {"t": {"instances": 3}}
        self.settle()
        self.most = 0.0
        self.inspector.after("transaction", lambda _: self.count(), times=None)

    def count(self) -> None:
        used = [node for node in self.nodes().values() if node.tenant_name == "t"]
        self.most = max(self.most, len(used))

    def test_burst(self) -> None:
        """Requests that come to both at once get no more than the tenant may have."""
        for _ in range(5):
            self.add_request("a", tenant_name="t")
            self.add_request("x", tenant_name="t")
        self.settle()
        self.assertEqual(len(self.maker.asked) + len(self.other.asked), 3)
        self.assertEqual(self.most, 3)

    def test_burst_on_stock(self) -> None:
        """Nor where both have enough in stock."""
        for _ in range(5):
            self.add_node("a", resources=ONE)
            self.add_node("x", provider="other", resources=ONE)
        self.settle()
        for _ in range(5):
            self.add_request("a", tenant_name="t")
            self.add_request("x", tenant_name="t")
        self.settle()
        self.assertEqual(self.most, 3)

    def test_last_one(self) -> None:
        """Where both see room for one more, one of them gets it."""
        for _ in range(2):
            self.launched("a", tenant_name="t")
        mine, theirs = (self.add_request(label, tenant_name="t") for label in "ax")
        self.settle()
        states = {self.state(mine), self.state(theirs)}
        self.assertEqual(states, {"pending", "requested"})
        self.assertEqual(self.most, 3)

    def test_others_do_not_wait(self) -> None:
        """Requests of tenants without a limit pass no fence."""
        self.add_request("a", tenant_name="u")
        self.settle()
        self.assertEqual(len(self.maker.asked), 1)
        self.assertEqual(list(self.inspector.dump(paths.TENANTS)), [paths.TENANTS])

    def test_odd_names(self) -> None:
        """A tenant may be called anything."""
        for launcher in (self.launcher, self.second):
            launcher.limits.limits = {"../ä /t": {"instances": 1}, ".": {"instances": 1}}
        for name in ("../ä /t", "."):
            requests = [self.add_request("a", tenant_name=name) for _ in range(2)]
            self.settle()
            self.assertEqual([self.state(r) for r in requests], ["pending", "requested"])
            self.assertIsNotNone(self.inspector.stat(paths.tenant(name)))

    def test_fence_is_removed(self) -> None:
        """A fence that somebody removes is put up again."""
        self.launched("a", tenant_name="t")
        self.delete(paths.tenant("t"))
        self.settle()
        self.launched("a", tenant_name="t")
        self.assertIsNotNone(self.inspector.stat(paths.tenant("t")))

    def test_connection_breaks_at_the_fence(self) -> None:
        """A request whose decision was cut short is served later."""
        for op in ("ensure_path", "exists", "transaction"):
            self.inspector.fail_next(op, ConnectionLoss(), client=self.client)
        request_id = self.add_request("a", tenant_name="t")
        self.settle()
        self.clock.advance(5)
        self.settle()
        self.assertEqual(self.state(request_id), "pending")

    def test_cost(self) -> None:
        """Where nobody else passes it, the fence costs nothing but its write."""
        self.launched("a", tenant_name="t")
        self.launched("a", tenant_name="u")
        counts = []
        for tenant in ("u", "t"):
            self.inspector.requests.clear()
            self.launched("a", tenant_name=tenant)
            counts.append(dict(self.inspector.requests))
        self.assertEqual({**counts[0], "get": 0}, {**counts[1], "get": 0})


class RivalTests(MakingTestCase):
    """Two launchers with the same provider."""

    latency = 0.01

    def test_one_of_them_takes_it(self) -> None:
        """A request is taken by one of them, and nothing is made twice."""
        second = self.make_launcher()
        other = ScriptedMaker(second.store)
        self.make_making_pool(second, other)
        self.settle()
        requests = [self.add_request("a", "b") for _ in range(4)]
        self.settle()
        self.assertEqual(len(self.maker.asked) + len(other.asked), 8)
        for maker in (self.maker, other):
            for node_id in maker.asked:
                self.done(maker.end(node_id))
        for request_id in requests:
            self.assert_served(request_id)
