"""Asking again, with a scripted server."""

from __future__ import annotations

from typing import Any

from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, NoNodeError
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.txzookeeper.retry import retry_reads, until_connected
from tests.txzookeeper.scripted import STAT, ScriptedReactor, make_client


class RetryTests(SynchronousTestCase):
    """One client that loses its connection."""

    def setUp(self) -> None:
        self.reactor = ScriptedReactor()
        self.server = self.reactor.add()
        self.client = make_client(self.reactor)

    def connect(self) -> None:
        self.client.connect()
        self.reactor.settle()

    def drop(self) -> None:
        self.reactor.advance(4)
        self.server.requests.clear()
        self.server.drop()

    def read(self, **options: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(
            retry_reads(self.client, lambda: self.client.exists("/a"), **options)
        )

    def test_until_connected(self) -> None:
        """It fires on CONNECTED, at once if that is the state."""
        waiting = until_connected(self.client)
        self.assertNoResult(waiting)
        self.connect()
        self.successResultOf(waiting)
        self.successResultOf(until_connected(self.client))
        self.drop()
        self.assertNoResult(until_connected(self.client))

    def test_until_closed(self) -> None:
        """A client that is closed will not be connected any more."""
        waiting = until_connected(self.client)
        self.client.close()
        self.failureResultOf(waiting, ConnectionClosedError)
        self.failureResultOf(until_connected(self.client), ConnectionClosedError)

    def test_cancelled(self) -> None:
        """Whoever stops waiting is not told."""
        waiting = until_connected(self.client)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.connect()

    def test_read_lost_and_repeated(self) -> None:
        """A read lost with its connection is made again on the next one."""
        self.connect()
        reading = self.read()
        self.reactor.advance(0)
        for _ in range(3):
            self.drop()
            self.reactor.settle()
            self.assertEqual(self.server.opcodes(), [3])
        self.server.reply(STAT)
        self.assertEqual(self.successResultOf(reading).version, 7)

    def test_read_across_sessions(self) -> None:
        """A read survives the end of its session."""
        self.connect()
        reading = self.read()
        self.server.expired = True
        self.drop()
        self.reactor.settle()
        self.server.reply(STAT)
        self.successResultOf(reading)
        self.assertEqual(self.client.session_epoch, 2)

    def test_read_before_connected(self) -> None:
        """A read made too early waits for the first session."""
        reading = self.read()
        self.connect()
        self.server.reply(STAT)
        self.successResultOf(reading)

    def test_an_answer_is_an_answer(self) -> None:
        """A server's no is not asked again."""
        self.connect()
        reading = Deferred.fromCoroutine(retry_reads(self.client, lambda: self.client.get("/a")))
        self.reactor.advance(0)
        self.server.reply(code=-101)
        self.failureResultOf(reading, NoNodeError)

    def test_attempts_are_bounded(self) -> None:
        """After so many lost connections the last failure is passed on."""
        self.connect()
        reading = self.read(attempts=3)
        for _ in range(3):
            self.assertNoResult(reading)
            self.drop()
            self.reactor.settle()
        self.failureResultOf(reading, ConnectionLoss)
        self.failureResultOf(self.read(attempts=0), ValueError)

    def test_closed_meanwhile(self) -> None:
        """Closing the client ends the retries."""
        self.connect()
        reading = self.read()
        self.drop()
        self.client.close()
        self.failureResultOf(reading, ConnectionClosedError)
