"""Those who ask for nodes: Zuuls that come and go, and one who tidies up after them."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

from kazoo.exceptions import KazooException
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.client import ZookeeperClient
from proof.chaos.books import Account, Books, End
from proof.chaos.borrowers import Borrower
from proof.chaos.clients import GARBAGE, SESSION, Died, Surroundings, Zuul
from tests.functional.launcher.requesters import Requester

__all__ = ["Crowd"]


class Crowd:
    """Zuuls that are replaced when they die, and somebody who tidies up after them.

    :param count: of jobs that go on at a time.
    :param meet: is told of every session there is.
    :param borrowers: borrow one lease after the other.
    """

    def __init__(
        self,
        farm: Surroundings,
        count: int,
        rng: Random,
        meet: Callable[[ZookeeperClient, str], None] = lambda client, name: None,
        *,
        each: int = 5,
        borrowers: Sequence[Borrower] = (),
    ) -> None:
        self._farm = farm
        self._rng = rng
        self._meet = meet
        self.books = Books()
        self._numbers = itertools.count()
        self._resume: list[Deferred[None]] = []
        self._pausing = False
        self._over = False
        self._orphans: list[Account] = []
        self._tasks: set[Deferred[None]] = set()
        self._busy = 0
        for first in range(0, count, each):
            self._begin(self._house(min(each, count - first)))
        self._begin(self._tidy_up())
        for borrower in borrowers:
            self._begin(self._keep_busy(borrower.borrow))

    def _begin(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        task = Deferred.fromCoroutine(work)
        self._tasks.add(task)
        task.addErrback(self._fell_over)
        task.addBoth(lambda _: self._tasks.discard(task))
        return task

    def _fell_over(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.books.complain(f"a client fell over: {failure.getTraceback()}")

    # -- rest ------------------------------------------------------------

    def pause(self) -> None:
        """Begin nothing new."""
        self._pausing = True

    def resume(self) -> None:
        self._pausing = False
        waiting, self._resume = self._resume, []
        for each in waiting:
            each.callback(None)

    @property
    def idle(self) -> bool:
        """Everything has ended that was begun."""
        return not self._busy and not self.books.open and not self._orphans

    async def stop(self) -> None:
        """End all sessions, however things stand."""
        self._over = True
        for task in list(self._tasks):
            task.cancel()
        await DeferredList(list(self._tasks))

    # -- a Zuul after the other --------------------------------------------

    async def _house(self, members: int) -> None:
        while not self._over:
            rng = Random(self._rng.getrandbits(32))
            zuul = Zuul(self._farm, self.books, f"zuul-{next(self._numbers)}", rng, self._meet)
            try:
                await self._lifetime(zuul, rng, members)
            finally:
                orderly = rng.random() < 0.5
                left = await zuul.die(orderly=orderly)
                self._orphans += left
            if not self._over:
                self.books.deaths += 1

    async def _lifetime(self, zuul: Zuul, rng: Random, members: int) -> None:
        await zuul.connect()
        working = [Deferred.fromCoroutine(self._keep_busy(zuul.job)) for _ in range(members)]
        ends: Deferred[Any] = DeferredList(
            working, fireOnOneErrback=True, fireOnOneCallback=True, consumeErrors=True
        )
        ends.addErrback(self._of_members)
        reactor = self._farm.reactor
        death = reactor.callLater(rng.uniform(10.0, 90.0), ends.cancel)
        try:
            await ends
        except CancelledError:
            if self._over:
                raise
        finally:
            if death.active():
                death.cancel()
            for each in working:
                each.cancel()

    def _of_members(self, first: Failure) -> None:
        failure: Failure = first.value.subFailure  # type: ignore[union-attr]
        if not failure.check(Died, CancelledError):
            self.books.complain(f"a client fell over: {failure.getTraceback()}")

    async def _keep_busy(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            if self._pausing:
                waiting: Deferred[None] = Deferred(self._resume_not)
                self._resume.append(waiting)
                await waiting
            self._busy += 1
            try:
                await job()
            finally:
                self._busy -= 1

    def _resume_not(self, waiting: Deferred[None]) -> None:
        if waiting in self._resume:
            self._resume.remove(waiting)

    # -- what the dead leave ---------------------------------------------

    async def _tidy_up(self) -> None:
        """Remove requests whose owners are gone, as another scheduler of Zuul does."""
        client = self._farm.make_client()
        heir = Requester(client)
        try:
            await client.connect()
            self._meet(client, "heir")
            while True:
                await deferLater(self._farm.reactor, 0.5)
                with contextlib.suppress(KazooException):
                    await self._tidy_once(client, heir)
        finally:
            await client.close()

    async def _tidy_once(self, client: ZookeeperClient, heir: Requester) -> None:
        orphans = list(self._orphans)
        if not orphans:
            return
        # Some did not live to hear what their request is called, nor may all have arrived yet.
        settled = time.monotonic() - SESSION
        names = {account.requester for account in orphans}
        for request in await client.get_children(paths.REQUESTS):
            if await self._owner(heir, request) in names:
                await heir.withdraw(request)
        for account in orphans:
            if account.request is not None or account.began < settled:
                if account.request is not None:
                    await heir.withdraw(account.request)
                self._orphans.remove(account)
                self.books.close(account, End.ORPHANED)

    @staticmethod
    async def _owner(heir: Requester, request: str) -> str | None:
        """Who has asked; None if it does not say."""
        try:
            body = await heir.request(request)
            return None if body is None else str(body["requestor_data"]["zuul"])
        except GARBAGE:
            return None
