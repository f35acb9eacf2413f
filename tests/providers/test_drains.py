from __future__ import annotations

from nodepool_tx.providers.drains import DrainLedger
from nodepool_tx.store import paths
from nodepool_tx.store.change import Uncertain
from tests.store.harness import StoreTestCase


class OpenTests(StoreTestCase):
    """What is being emptied, read while others write."""

    def setUp(self) -> None:
        super().setUp()
        self.ledger = DrainLedger(self.client)
        for name in ("bench", "rack"):
            self.run_until_done(self.ledger.note(name, "static"))

    def test_all_that_are_noted(self) -> None:
        """Each provider comes with its driver."""
        found = self.run_until_done(self.ledger.open())
        self.assertEqual(found, {"bench": "static", "rack": "static"})

    def test_one_that_is_struck_meanwhile(self) -> None:
        """It is left out, and the others do not wait for another connection because of it."""
        path = paths.draining("rack")
        self.inspector.before(
            "get", lambda call: self.inspector.delete(path), client=self.client, path=path
        )
        self.assertEqual(self.run_until_done(self.ledger.open()), {"bench": "static"})

    def test_garbage(self) -> None:
        """What cannot be read is left out, however deep it is."""
        for name, data in (("deep", b"[" * 100_000), ("list", b"[]"), ("half", b'{"dri')):
            self.inspector.create(paths.draining(name), data)
        found = self.run_until_done(self.ledger.open())
        self.assertEqual(found, {"bench": "static", "rack": "static"})

    def test_a_connection_that_breaks(self) -> None:
        """That is said in a line."""
        self.inspector.before(
            "get", lambda call: self.inspector.cut(self.client), client=self.client
        )
        error = self.failure_of(self.ledger.open(), Uncertain)
        self.assertRegex(str(error), "^[^#\n]+$")
