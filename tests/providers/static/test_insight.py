"""What a static provider says about a request: machine by machine."""

from __future__ import annotations

import attrs

from nodepool_tx.model import NodeState
from nodepool_tx.pools.explaining import Effect, NodeExplanation, PoolExplanation
from tests.out_of_service import host_record, take_out
from tests.providers.static.stage import StageTestCase
from tests.providers.static.values import KEYS, static_node, static_pool, static_provider


class InsightTests(StageTestCase):
    """Provider ``rack`` with web1 to web3, one slot each, of the values' labels."""

    def setUp(self) -> None:
        super().setUp()
        for number in (1, 2, 3):
            self.hosts.add(f"web{number}", keys=KEYS)
        nodes = [static_node(f"web{number}", labels=("a",)) for number in (1, 2, 3)]
        self.config = static_provider(static_pool(*nodes))
        self.service = self.launcher().provide(self.config)
        self.stage.settle()

    def node_on(self, hostname: str) -> str:
        (found,) = (node.id for node in self.stage.nodes() if node.hostname == hostname)
        return found

    def occupy(self) -> None:
        """All nodes are in use."""
        for node in self.stage.nodes():
            self.stage.use(node.id)

    def explained(self, request_id: str) -> PoolExplanation:
        (found,) = self.service.explain(request_id)
        return found

    def hosts_of(self, found: PoolExplanation) -> dict[str | None, NodeExplanation]:
        return {node.host: node for node in found.nodes}

    def test_a_host_that_is_down(self) -> None:
        """Its place is shown, since when it is down, why, and when it is looked at again."""
        self.hosts.kill("web3")
        self.stage.change_node(self.node_on("web3"), state=NodeState.USED)
        self.stage.wait(20)
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.wait(1)
        found = self.explained(request_id)
        self.assertEqual(
            found.verdict,
            "waits for a free node with label a at provider rack: 2 in use, 1 down",
        )
        down = self.hosts_of(found)["web3"]
        self.assertEqual((down.node_id, down.state, down.usable), ("", "down", False))
        self.assertRegex(
            down.words,
            r"^no node at web3:22, slot 0: its host is down for \d+ s: .+; "
            r"(next look in \d+ s|being looked at now)$",
        )
        self.assertEqual(found.nodes[-1], down)

    def test_a_host_that_is_being_looked_at(self) -> None:
        """Its node is not there yet."""
        self.hosts.add("web4", keys=KEYS)
        self.hosts.hold("web4")
        pool = static_pool(static_node("web4", labels=("b",)), provider="other")
        self.service = self.launchers[0].provide(static_provider(pool, name="other"))
        self.stage.settle()
        request_id = self.stage.put_request("b")
        self.stage.settle()
        found = self.explained(request_id)
        self.assertEqual(
            found.verdict,
            "waits for a free node with label b at provider other: 1 being looked at",
        )
        self.hosts.release("web4")
        self.stage.settle()

    def test_a_host_in_maintenance(self) -> None:
        """Who took it out of service, why, and since when."""
        take_out(self.stage.inspector, host_record("web1"))
        self.stage.settle()
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        found = self.explained(request_id)
        self.assertIn("2 in use, 1 in maintenance", found.verdict)
        self.assertIn("by anna@desk: new disk", self.hosts_of(found)["web1"].words)

    def test_nodes_in_use_on_a_host_in_maintenance(self) -> None:
        """They will not come back for others."""
        self.occupy()
        take_out(self.stage.inspector, host_record("web1"))
        request_id = self.stage.put_request("a")
        self.stage.settle()
        node = self.hosts_of(self.explained(request_id))["web1"]
        self.assertEqual(node.use, "in use")
        self.assertIn("by anna@desk: new disk", node.words)

    def test_a_stranger(self) -> None:
        """A node of no configured host is told as such."""
        node = self.stage.nodes()[0]
        self.stage.put_node(attrs.evolve(node, hostname="elsewhere", state=NodeState.HOLD))
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        self.assertIn(
            "its host is not configured",
            self.hosts_of(self.explained(request_id))["elsewhere"].words,
        )

    def test_a_launcher_that_stands_by(self) -> None:
        """It knows nothing of the machines, and says whose they are."""
        self.hosts.kill("web3")
        self.stage.change_node(self.node_on("web3"), state=NodeState.USED)
        self.stage.wait(20)
        self.occupy()
        self.service = self.launcher("l2").provide(self.config)
        request_id = self.stage.put_request("a")
        self.stage.wait(1)
        words = self.hosts_of(self.explained(request_id))["web3"].words
        self.assertEqual(words, "no node at web3:22, slot 0: another launcher looks after its host")

    def test_a_node_that_was_not_fit(self) -> None:
        """A launcher that stands by passes it over for a while, and says so."""
        self.service = self.launcher("l2").provide(self.config)
        self.stage.settle()
        # Who looks after the machines hangs, and does nothing about it.
        self.stage.inspector.suspend(self.launchers[0].client)
        for number in (1, 2, 3):
            self.hosts.take_down(f"web{number}")
        request_id = self.stage.put_request("a")
        self.stage.wait(1, step=0.1)
        found = self.explained(request_id)
        self.assertEqual(len(found.nodes), 3)
        for node in found.nodes:
            self.assertRegex(
                node.words,
                r"^free, but its launcher is checking or changing it; its host is down for \d+ s: ",
            )
        self.assertFalse(any(node.usable for node in found.nodes))
        self.stage.inspector.resume(self.launchers[0].client)
        self.stage.settle()

    def test_reasons(self) -> None:
        """A line for lists from each pool in which it waits."""
        self.occupy()
        request_id = self.stage.put_request("a")
        self.stage.settle()
        (reason,) = self.service.reasons(request_id)
        self.assertEqual((reason.provider, reason.serves), ("rack", True))
        self.assertEqual(self.service.reasons("200-0000000099"), ())
        self.assertEqual(self.service.explain("200-0000000099"), ())

    def test_free_nodes_have_nothing_to_explain(self) -> None:
        """The request is fulfilled."""
        request_id = self.stage.put_request("a")
        self.stage.wait(1)
        self.assertIs(self.explained(request_id).effect, Effect.PASSED)
