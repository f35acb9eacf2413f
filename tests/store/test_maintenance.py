"""What is out of service, as the store shows it and changes it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import attrs
from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.model import Maintenance
from nodepool_tx.store import paths
from nodepool_tx.store.change import Moved, Uncertain, Vanished
from nodepool_tx.store.codec import Unreadable
from nodepool_tx.store.maintenance import (
    age_in_words,
    decode_maintenance,
    encode_maintenance,
    in_words,
)
from tests.out_of_service import host_record, provider_record
from tests.store.harness import StoreTestCase


class TableTestCase(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.table = self.store.maintenance
        self.told = 0
        self.table.subscribe(self.tell)

    def tell(self) -> None:
        self.told += 1

    def put(self, record: Maintenance) -> Maintenance:
        return self.run_until_done(self.table.put(record))


class ReadingTests(TableTestCase):
    def test_what_is_put_is_seen(self) -> None:
        """By everyone, with all that was said."""
        host, provider = host_record(until=5000.0), provider_record()
        self.put(host)
        self.put(provider)
        self.assertEqual(self.table.all(), (host, provider))
        self.assertEqual(self.table.of_host("h1"), host)
        self.assertEqual(self.table.of_provider("rack"), provider)
        self.assertIsNone(self.table.of_host("rack"))
        self.assertIsNone(self.table.of_provider("h1"))
        self.assertEqual(self.told, 2)

    def test_names_may_hold_anything(self) -> None:
        """Slashes, dots and letters of any script."""
        for name in ("a/b", "..", "10.0.0.1", "größe", "a b%2F", "host-provider-x"):
            self.put(host_record(name))
            found = self.table.of_host(name)
            assert found is not None
            self.assertEqual(found.host, name)

    def test_it_is_current_with_the_store(self) -> None:
        """Who starts knows all of it before anything is decided."""
        self.put(host_record())
        self.inspector.suspend(self.client)
        self.inspector.delete(paths.maintenance_of_host("h1"))
        self.settle()
        self.assertIsNotNone(self.table.of_host("h1"))
        self.assertFalse(self.store.current)
        self.inspector.resume(self.client)
        self.settle()
        self.assertTrue(self.store.current)
        self.assertIsNone(self.table.of_host("h1"))

    def test_an_observer_that_fails_hurts_nobody(self) -> None:
        """The others hear of it all the same."""

        def fail() -> None:
            raise ValueError("observer")

        remove = self.table.subscribe(fail)
        self.put(host_record())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        remove()
        self.put(host_record("h2"))
        self.assertEqual(self.told, 2)


class UnreadableTests(TableTestCase):
    """A record that makes no sense keeps out of service what its name says."""

    def test_what_its_name_says_stays_out_of_service(self) -> None:
        """With that as the reason, and no end, until it is removed."""
        for data in (b"", b"\xff", b"[]", b"{}", b'{"mode": "drain", "host": "h2"}'):
            self.inspector.create(paths.maintenance_of_host("h1"), data)
            self.settle()
            record = self.table.of_host("h1")
            assert record is not None
            self.assertIn("unreadable", record.reason)
            self.assertIsNone(record.until)
            self.assertEqual(list(self.table.unreadable), [paths.maintenance_of_host("h1")])
            self.assertTrue(self.run_until_done(self.table.remove(record)))
            self.assertEqual((self.table.all(), self.table.unreadable), ((), {}))

    def test_a_name_that_says_nothing_counts_for_nothing(self) -> None:
        """It is only noted."""
        for name in ("host", "host-", "pool-a", "host-a b", "provider-%zz"):
            self.inspector.create(f"{paths.MAINTENANCE}/{name}", encode_maintenance(host_record()))
        self.settle()
        self.assertEqual(self.table.all(), ())
        self.assertEqual(len(self.table.unreadable), 5)

    def test_it_may_become_readable(self) -> None:
        """When somebody writes it again."""
        self.inspector.create(paths.maintenance_of_host("h1"), b"?")
        self.settle()
        record = self.table.of_host("h1")
        assert record is not None
        self.put(attrs.evolve(record, reason="new disk"))
        self.assertEqual(self.table.unreadable, {})
        found = self.table.of_host("h1")
        assert found is not None
        self.assertEqual(found.reason, "new disk")

    def test_what_lies_below_a_record_is_nothing(self) -> None:
        """Whoever put it there."""
        self.put(host_record())
        self.inspector.create(paths.maintenance_of_host("h1") + "/host-x", b"?")
        self.settle()
        self.assertEqual((len(self.table.all()), self.table.unreadable), (1, {}))


class UntilTests(TableTestCase):
    def test_it_is_over_by_itself(self) -> None:
        """At the time, and observers are told then."""
        record = host_record(until=self.clock.seconds() + 10_000)
        self.put(record)
        self.clock.advance(9_999)
        self.assertEqual((self.table.all(), self.told), ((record,), 1))
        self.clock.advance(1)
        self.assertEqual((self.table.all(), self.told), ((), 2))
        self.assertIsNone(self.table.of_host("h1"))
        self.assertEqual(self.table.over(), (record,))

    def test_it_was_over_before(self) -> None:
        """Who starts later never takes it for being in force."""
        self.put(host_record(until=999.0))
        self.assertEqual((self.table.all(), len(self.table.over())), ((), 1))

    def test_it_is_put_off(self) -> None:
        """Then the new time counts."""
        self.put(host_record(until=1100.0))
        found = self.table.of_host("h1")
        assert found is not None
        self.put(attrs.evolve(found, until=1300.0))
        self.clock.advance(200)
        self.assertEqual(len(self.table.all()), 1)
        self.clock.advance(100)
        self.assertEqual(self.table.all(), ())

    def test_one_after_the_other(self) -> None:
        """Each at its own time."""
        self.put(host_record("a", until=1200.0))
        self.put(host_record("b", until=1100.0))
        self.clock.advance(100)
        self.assertEqual([record.host for record in self.table.all()], ["a"])
        self.clock.advance(100)
        self.assertEqual(self.table.all(), ())

    def test_nothing_is_told_after_a_stop(self) -> None:
        """And no timer is left."""
        self.put(host_record(until=1200.0))
        self.store.stopService()
        self.clock.advance(300)
        self.assertEqual(self.told, 1)


class ChangingTests(TableTestCase):
    def test_two_at_once(self) -> None:
        """The second new record for a target is refused."""
        self.put(host_record())
        self.failure_of(self.table.put(host_record(reason="other")), Moved)
        self.assertEqual(self.table.all()[0].reason, "new disk")

    def test_a_change_needs_what_was_read(self) -> None:
        """Otherwise it is refused, and so is a removal."""
        first = self.put(host_record())
        second = self.put(attrs.evolve(first, reason="other"))
        self.failure_of(self.table.put(attrs.evolve(first, reason="third")), Moved)
        self.failure_of(self.table.remove(first), Moved)
        self.assertTrue(self.run_until_done(self.table.remove(second)))
        self.failure_of(self.table.put(second), Vanished)
        self.assertFalse(self.run_until_done(self.table.remove(second)))

    def test_without_a_connection(self) -> None:
        """It is said that nobody knows."""
        record = self.put(host_record())
        self.inspector.suspend(self.client)
        self.failure_of(self.table.put(host_record("h2")), Uncertain)
        self.failure_of(self.table.remove(record), Uncertain)
        self.inspector.resume(self.client)
        self.settle()

    def test_the_tree_was_wiped(self) -> None:
        """A record can be put all the same."""
        self.inspector.delete_tree(paths.ROOT)
        self.put(host_record())
        self.assertEqual(len(self.table.all()), 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(["mode", "host", "provider", "reason", "since", "until", "by"])


@given(st.binary(max_size=20) | st.dictionaries(KEYS, JSON | st.sampled_from(["drain", "h"])))
def test_garbage_is_unreadable_at_worst(content: Any) -> None:
    """Nothing else comes of it, and what is read can be shown to people."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        record = decode_maintenance("h", None, data)
    except Unreadable:
        return
    assert "host h is " in in_words(record, 1e9)
    assert decode_maintenance("h", None, encode_maintenance(record)) == record


@given(st.text(min_size=1).filter(lambda name: name.isprintable()))
def test_names_lead_back(name: str) -> None:
    """The name of a znode says exactly what it is about."""
    prefix = paths.MAINTENANCE + "/"
    assert paths.maintained(paths.maintenance_of_host(name)[len(prefix) :]) == (name, None)
    assert paths.maintained(paths.maintenance_of_provider(name)[len(prefix) :]) == (None, name)
    assert "/" not in quote(name, safe="")


def test_words() -> None:
    """They say what, how, since when, until when, by whom and why."""
    record = host_record(since=0.0, until=90_000.0)
    assert in_words(record, 7_260.0) == (
        "host h1 is in maintenance since 1970-01-01 00:00:00 UTC (2 h 1 min) "
        "until 1970-01-02 01:00:00 UTC by anna@desk: new disk"
    )
    assert in_words(provider_record(since=0.0, reason="", by=""), -5.0) == (
        "provider rack is drained since 1970-01-01 00:00:00 UTC (0 s): no reason given"
    )
    assert in_words(host_record(reason="a\n b\x1b[2J"), 900.0).endswith(": a b?[2J")
    assert [age_in_words(s) for s in (59.9, 60, 3_600, 90_061)] == [
        "59 s",
        "1 min 0 s",
        "1 h 0 min",
        "1 d 1 h",
    ]
