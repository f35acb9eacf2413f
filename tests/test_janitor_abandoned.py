"""Nodes of providers that nobody has any more."""

from __future__ import annotations

from twisted.logger import LogEvent, globalLogPublisher

from tests.janitor_stage import JanitorTestCase


class AbandonedTests(JanitorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def told(self) -> list[tuple[str, int]]:
        warnings = [e for e in self.events if "nodes stay: see nodepool check" in e["log_format"]]
        return [(event["provider"], event["count"]) for event in warnings]

    def test_taken_out_while_nobody_ran(self) -> None:
        """They stay, as somebody may come back for them, and that is said once."""
        nodes = [self.add_node("a", provider="gone") for _ in range(3)]
        self.sweep()
        self.assertEqual(self.told(), [])
        self.sweep(5)
        self.assertEqual(self.told(), [("gone", 3)])
        self.assertEqual(set(self.nodes()), set(nodes))

    def test_somebody_has_it(self) -> None:
        """Of what is here, or another launcher's, nothing is said."""
        self.add_node("a", provider="rack")
        self.add_node("a", provider="elsewhere")
        self.add_pool("a", provider="elsewhere")
        self.sweep(5)
        self.assertEqual(self.told(), [])

    def test_away_for_a_moment(self) -> None:
        """Nor of one whose launcher was away for one sweep."""
        self.add_node("a", provider="elsewhere")
        self.sweep()
        pool = self.add_pool("a", provider="elsewhere")
        self.sweep(3)
        self.assertEqual(self.told(), [])
        self.delete(pool.path)
        self.sweep(2)
        self.assertEqual(self.told(), [("elsewhere", 1)])
