"""The election on a ZooKeeper kept in memory."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import ConnectionLoss, NoAuthError, NoNodeError
from twisted.internet.defer import Deferred

from nodepool_tx.testing.zookeeper import MemoryClient
from nodepool_tx.txzookeeper.election import Election, Leadership
from nodepool_tx.txzookeeper.interface import SessionState, TransactionFailed
from tests.testing.zk_steps import MemoryZookeeperTestCase


class ElectionTests(MemoryZookeeperTestCase):
    """Candidates with names, and the story of who led."""

    def setUp(self) -> None:
        super().setUp()
        self.story: list[str] = []
        self.leaderships: list[Leadership] = []

    def candidate(self, name: str, client: MemoryClient | None = None) -> Election:
        election = Election(client or self.connected(), "/elections/e", name)

        def elected(leadership: Leadership) -> None:
            self.leaderships.append(leadership)
            self.story.append(f"{name} leads")

        def lost(leadership: Leadership) -> None:
            self.assertIs(leadership, self.leaderships[-1])
            self.story.append(f"{name} lost")

        election.volunteer(elected, lost)
        self.settle()
        return election

    def queue(self) -> list[bytes]:
        dump = self.inspector.dump("/elections/e")
        return [dump[path] for path in sorted(dump, key=lambda path: path[-10:]) if "__" in path]

    def test_elected(self) -> None:
        """A lone candidate leads, with a contender as kazoo's."""
        election = self.candidate("a")
        self.assertEqual(self.story, ["a leads"])
        self.assertIs(election.leadership, self.leaderships[0])
        self.assertTrue(self.leaderships[0].certain)
        self.assertEqual(self.queue(), [b"a"])
        [contender] = self.done(election.contenders())
        self.assertRegex(contender.path, r"^/elections/e/[0-9a-f]{32}__lock__[0-9]{10}$")

    def test_one_leads(self) -> None:
        """The others wait in the order in which they came."""
        first, second, third = (self.candidate(name) for name in "abc")
        self.assertEqual(self.story, ["a leads"])
        self.assertIsNone(second.leadership)
        found = self.done(third.contenders())
        self.assertEqual([one.identifier for one in found], ["a", "b", "c"])
        self.done(first.resign())
        self.assertEqual(self.story, ["a leads", "a lost", "b leads"])
        self.done(second.resign())
        self.done(third.resign())
        self.assertEqual(self.story[3:], ["b lost", "c leads", "c lost"])
        self.assertEqual(self.queue(), [])

    def test_resign_while_waiting(self) -> None:
        """A candidate that resigns before it was elected is told nothing."""
        self.candidate("a")
        waiting = self.candidate("b")
        self.done(waiting.resign())
        self.assertEqual(self.queue(), [b"a"])
        self.assertEqual(self.story, ["a leads"])

    def test_told_before_it_is_over(self) -> None:
        """Who resigns is told before its contender is gone."""
        client = self.connected()
        election = Election(client, "/elections/e")
        left: list[int] = []
        election.volunteer(lambda _: None, lambda _: left.append(len(self.queue())))
        self.settle()
        resigning = election.resign()
        self.assertEqual(left, [1])
        self.assertIsNone(election.leadership)
        self.done(resigning)
        self.assertEqual(self.queue(), [])

    def test_session_lost_while_leading(self) -> None:
        """The lead is lost with the session, before the next begins; then it is stood for again."""
        client = self.connected()
        self.candidate("a", client)
        self.candidate("b")
        client.observe(lambda state: self.story.append(state.value))
        self.inspector.expire(client)
        self.settle()
        self.assertEqual(
            self.story, ["a leads", "suspended", "a lost", "expired", "connected", "b leads"]
        )
        self.assertFalse(self.leaderships[0].certain)
        self.assertEqual(self.queue(), [b"b", b"a"])

    def test_session_lost_alone(self) -> None:
        """A lone candidate leads again in its next session."""
        client = self.connected()
        election = self.candidate("a", client)
        for _ in range(3):
            self.inspector.expire(client)
            self.settle()
        self.assertEqual(self.story, ["a leads", *["a lost", "a leads"] * 3])
        self.assertIs(election.leadership, self.leaderships[-1])
        self.assertEqual(self.queue(), [b"a"])

    def test_session_lost_while_waiting(self) -> None:
        """A candidate whose session was lost is back in the queue."""
        first = self.candidate("a")
        client = self.connected()
        self.candidate("b", client)
        self.inspector.expire(client)
        self.settle()
        self.assertEqual(self.queue(), [b"a", b"b"])
        self.done(first.resign())
        self.assertEqual(self.story, ["a leads", "a lost", "b leads"])

    def test_suspended(self) -> None:
        """Without connection the lead is not certain; with the same session it is again."""
        client = self.connected()
        election = self.candidate("a", client)
        self.inspector.suspend(client)
        [leadership] = self.leaderships
        self.assertFalse(leadership.certain)
        self.assertIs(election.leadership, leadership)
        self.inspector.resume(client)
        self.settle()
        self.assertTrue(leadership.certain)
        self.assertEqual(self.story, ["a leads"])

    def test_contender_removed(self) -> None:
        """A leader whose contender somebody removes has lost the lead, and stands again."""
        election = self.candidate("a")
        waiting = self.candidate("b")
        self.inspector.delete(self.done(election.contenders())[0].path)
        self.settle()
        self.assertEqual(self.story, ["a leads", "a lost", "b leads"])
        self.assertEqual(self.queue(), [b"b", b"a"])
        self.assertIsNotNone(waiting.leadership)

    def test_fenced(self) -> None:
        """What is written under a lost lead does not land."""
        client = self.connected()
        self.candidate("a", client)
        self.inspector.create("/x", b"0")

        def write(data: bytes) -> Deferred[list[Any]]:
            txn = client.transaction()
            self.leaderships[0].check_in(txn)
            txn.set("/x", data)
            return txn.commit()

        self.done(write(b"1"))
        self.inspector.expire(client)
        self.settle()
        failed = self.fails(write(b"2"), TransactionFailed)
        self.assertIsInstance(failed.error, NoNodeError)
        self.assertEqual(self.inspector.dump()["/x"], b"1")

    def test_volunteers_before_there_is_a_connection(self) -> None:
        """Standing begins with the connection."""
        client = self.zookeeper.client()
        self.candidate("a", client)
        self.assertEqual(self.story, [])
        self.done(client.connect())
        self.assertEqual(self.story, ["a leads"])

    def test_volunteers_twice(self) -> None:
        """Standing twice at a time is a mistake; standing again is not."""
        election = self.candidate("a")
        with self.assertRaises(RuntimeError):
            election.volunteer(lambda _: None, lambda _: None)
        self.done(election.resign())
        election.volunteer(lambda _: self.story.append("again"), lambda _: None)
        self.settle()
        self.assertEqual(self.story, ["a leads", "a lost", "again"])
        self.assertEqual(self.queue(), [b"a"])

    def test_resigns_at_once(self) -> None:
        """A candidate may resign in answer to being elected."""
        election = Election(self.connected(), "/elections/e")
        resigned: list[Deferred[None]] = []
        election.volunteer(
            lambda _: resigned.append(election.resign()), lambda _: self.story.append("lost")
        )
        self.settle()
        self.successResultOf(resigned[0])
        self.assertEqual(self.story, ["lost"])
        self.assertEqual(self.queue(), [])

    def test_resigns_before_it_is_in_the_queue(self) -> None:
        """A candidate may resign while its contender is being made."""
        for steps in range(8):
            with self.subTest(steps=steps):
                client = self.connected()
                election = Election(client, "/elections/e")
                election.volunteer(self.leaderships.append, lambda _: None)
                for _ in range(steps):
                    if self.clock.calls:
                        call = self.clock.calls.pop(0)
                        call.func(*call.args, **call.kw)
                resigning = election.resign()
                self.done(resigning)
                self.assertEqual(self.queue(), [])

    def test_resigns_without_standing(self) -> None:
        """Resigning without standing is fine."""
        self.successResultOf(Election(self.connected(), "/e").resign())

    def test_resigns_while_suspended(self) -> None:
        """A resignation without connection is carried out when there is one."""
        client = self.connected()
        election = self.candidate("a", client)
        self.inspector.suspend(client)
        resigning = election.resign()
        self.assertEqual(self.story, ["a leads", "a lost"])
        self.assertNoResult(resigning)
        self.inspector.resume(client)
        self.done(resigning)
        self.assertEqual(self.queue(), [])

    def test_broken_connection(self) -> None:
        """A connection that breaks while standing costs nothing."""
        client = self.connected()
        self.inspector.lose_reply_next("create", path=lambda path: "__lock__" in path)
        self.inspector.fail_next("exists", ConnectionLoss())
        self.candidate("a", client)
        self.assertEqual(self.story, ["a leads"])
        self.assertEqual(self.queue(), [b"a"])

    def test_failing_callbacks(self) -> None:
        """What callbacks raise is logged, and the election goes on."""
        client = self.connected()

        def raises(_: Leadership) -> None:
            raise ValueError("by intent")

        election = Election(client, "/elections/e")
        election.volunteer(raises, raises)
        self.settle()
        self.assertIsNotNone(election.leadership)
        self.inspector.expire(client)
        self.settle()
        self.assertIsNotNone(election.leadership)
        self.done(election.resign())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 4)

    def test_refused(self) -> None:
        """A candidate that may not stand says so and tries with the next connection."""
        client = self.connected()
        self.inspector.create("/elections/e")
        self.inspector.fail_next("create", NoAuthError(), path=lambda path: "__lock__" in path)
        self.candidate("a", client)
        self.assertEqual(self.story, [])
        self.assertEqual(len(self.flushLoggedErrors(NoAuthError)), 1)
        self.inspector.cut(client)
        self.settle()
        self.assertEqual(self.story, ["a leads"])

    def test_refused_and_resigned(self) -> None:
        """A candidate that waits to try again may resign, or its client be closed."""
        for end in ("resign", "close"):
            with self.subTest(end):
                client = self.connected()
                self.inspector.create("/elections/e")
                self.inspector.fail_next(
                    "create", NoAuthError(), path=lambda path: "__lock__" in path
                )
                election = self.candidate("a", client)
                self.done(election.resign() if end == "resign" else client.close())
                self.assertEqual(self.inspector.observers(client), 0)
                self.assertEqual(len(self.flushLoggedErrors(NoAuthError)), 1)
                self.inspector.delete_tree("/elections")

    def test_closed(self) -> None:
        """A closed client ends the lead and the standing, quietly."""
        client = self.connected()
        election = self.candidate("a", client)
        self.done(client.close())
        self.assertIs(client.state, SessionState.CLOSED)
        self.assertEqual(self.story, ["a leads", "a lost"])
        self.assertIsNone(election.leadership)
        self.successResultOf(election.resign())
