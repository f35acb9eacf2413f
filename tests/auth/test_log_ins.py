"""Logging in with a password."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.audit import Audit
from nodepool_tx.auth.attempts import Attempts
from nodepool_tx.auth.interface import (
    Denied,
    Directory,
    DirectoryTrouble,
    LockedOut,
    Principal,
)
from nodepool_tx.auth.log_ins import LogIns


class MemoryDirectory:
    """Everybody's password is their name and ``-pw``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.trouble: Exception | None = None
        self.hanging: Deferred[Principal] | None = None

    def log_in(self, user: str, password: str, group: str | None = None) -> Deferred[Principal]:
        self.asked.append((user, group))
        if self.hanging is not None:
            return self.hanging
        if self.trouble is not None:
            return fail(self.trouble)
        if password != f"{user}-pw":
            return fail(Denied("wrong password"))
        return succeed(Principal(user, "password"))


_directory: type[Directory] = MemoryDirectory


class LogInTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.directory = MemoryDirectory()
        self.path = pathlib.Path(self.mktemp())
        self.log_ins = LogIns(
            self.clock, self.directory, Attempts(self.clock), Audit(self.clock, str(self.path))
        )
        self.logged: list[Any] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def log_in(self, user: str, password: str, address: str = "10.0.0.1") -> Deferred[Principal]:
        return Deferred.fromCoroutine(
            self.log_ins.log_in(user, password, way_in="console", address=address, group="cn=g")
        )

    def audited(self) -> list[tuple[str, str]]:
        lines = self.path.read_text().splitlines()
        return [(e["who"], e["outcome"]) for e in map(json.loads, lines)]

    def test_granted(self) -> None:
        """At once, and written down."""
        principal = self.successResultOf(self.log_in("alice", "alice-pw"))
        self.assertEqual(principal, Principal("alice", "password"))
        self.assertEqual(self.directory.asked, [("alice", "cn=g")])
        self.assertEqual(self.audited(), [("alice", "ok")])

    def test_denied(self) -> None:
        """After a while that grows; logged and audited at once, without the password."""
        for delay in (1, 2, 4):
            answer = self.log_in("alice", "hunter2")
            self.clock.advance(delay - 0.1)
            self.assertNoResult(answer)
            self.clock.advance(0.2)
            self.failureResultOf(answer, Denied)
        self.assertEqual(self.audited(), [("alice", "refused: wrong password")] * 3)
        self.assertNotIn("hunter2", self.path.read_text() + repr(self.logged))

    def test_how_long_the_directory_took(self) -> None:
        """The answer to a failure does not tell: it comes when it would have come anyway."""
        for delay, taken, due in ((1.0, 0.3, 1.0), (2.0, 1.9, 2.0), (4.0, 5.0, 8.0)):
            self.directory.hanging = hanging = Deferred()
            began = self.clock.seconds()
            answer = self.log_in("alice", "wrong")
            self.clock.advance(taken)
            hanging.errback(Denied("there is no such user"))
            self.clock.advance(due - taken - 0.01)
            self.assertNoResult(answer)
            self.clock.advance(0.02)
            self.failureResultOf(answer, Denied)
            self.assertLess(self.clock.seconds() - began, due + delay)

    def test_locked_out(self) -> None:
        """After ten failures nobody is asked any more, not even with the right password."""
        for _ in range(10):
            answer = self.log_in("alice", "wrong")
            self.clock.advance(30)
            self.failureResultOf(answer, Denied)
        asked = len(self.directory.asked)
        self.failureResultOf(self.log_in("alice", "alice-pw", "10.0.0.9"), LockedOut)
        self.assertEqual(len(self.directory.asked), asked)
        self.assertIn("locked", self.audited()[-1][1])
        self.clock.advance(600)
        self.successResultOf(self.log_in("alice", "alice-pw"))

    def test_trouble_is_nobodys_failure(self) -> None:
        """However often the directory does not answer, nobody is locked out."""
        self.directory.trouble = DirectoryTrouble("it is down")
        for _ in range(20):
            self.failureResultOf(self.log_in("alice", "alice-pw"), DirectoryTrouble)
        self.directory.trouble = None
        self.successResultOf(self.log_in("alice", "alice-pw"))
        self.assertIn(("alice", "cannot be checked: it is down"), self.audited())

    def test_who_goes_away_is_no_failure(self) -> None:
        """What was under way is let go."""
        for _ in range(20):
            self.directory.hanging = Deferred()
            answer = self.log_in("alice", "alice-pw")
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        self.directory.hanging = None
        self.successResultOf(self.log_in("alice", "alice-pw"))

    def test_long_names_are_cut(self) -> None:
        """A log is not filled with what strangers send."""
        answer = self.log_in("x" * 100_000, "y")
        self.clock.advance(1)
        self.failureResultOf(answer, Denied)
        self.assertLess(len(self.path.read_text()), 1000)
