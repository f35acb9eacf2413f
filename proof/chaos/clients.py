"""One who asks for nodes as Zuul does, and may die of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from kazoo.exceptions import (
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    LockTimeout,
    NoNodeError,
    SessionExpiredError,
)
from twisted.internet.task import deferLater

from nodepool_tx.store import paths
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.lock import Lock
from nodepool_tx.txzookeeper.retry import until_connected
from proof.chaos.books import Account, Books, End
from proof.chaos.configs import STATIC_LABELS, TENANT, WISHES
from tests.functional.launcher.requesters import Fault, Held, Requester, insist

__all__ = ["GARBAGE", "SESSION", "Died", "Surroundings", "Zuul"]

#: Sessions that are not heard of end after so many seconds.
SESSION = 8.0

_FOR_EVER = 86_400.0

#: What comes of reading what chaos has written.
GARBAGE = (ValueError, LookupError, TypeError, RecursionError)

#: Seconds until nodes are locked that were promised to us, also where a majority of ZooKeeper
#: is frozen meanwhile, and its leader then stuck.
_LOCK = 90.0

_GONE = (SessionExpiredError, ConnectionClosedError)


class Died(Exception):
    """Our session has ended, and with it all locks."""


class Surroundings(Protocol):
    """What clients need of the farm."""

    reactor: Any

    def make_client(self, session_timeout: float = ...) -> ZookeeperClient: ...

    def has_touched(self, path: str) -> bool:
        """Chaos itself has ever done something to this znode, or below it."""


class Zuul:
    """One session, and the jobs that go on in it.

    :param name: of this session; each has another.
    :param meet: what every new session is told to, with its number.
    """

    def __init__(
        self,
        farm: Surroundings,
        books: Books,
        name: str,
        rng: Random,
        meet: Callable[[ZookeeperClient, str], None],
    ) -> None:
        self._farm = farm
        self._books = books
        self.name = name
        self._rng = rng
        self._meet = meet
        self.client = farm.make_client(session_timeout=SESSION)
        self._requester = Requester(self.client, tenant=TENANT if rng.random() < 0.3 else None)
        self._mine: list[Account] = []
        self._epoch = 0
        self.dead = False

    async def connect(self) -> None:
        await self.client.connect()
        self._epoch = self.client.session_epoch
        self._meet(self.client, self.name)

    # -- its end ---------------------------------------------------------

    async def die(self, *, orderly: bool) -> Sequence[Account]:
        """End the session, at once or when the servers notice; what is left behind."""
        self.dead = True
        if not orderly:
            # Nobody listens there: it never comes back, and never says goodbye.
            self.client.use_servers("127.0.0.1:1")
            self.client.drop_connection("died")
        left = [account for account in self._mine if account.end is None]
        with contextlib.suppress(KazooException):
            await self.client.close()
        return left

    @property
    def lost(self) -> bool:
        """The session has ended, by whomever."""
        return self.dead or self.client.session_epoch != self._epoch

    # -- its work --------------------------------------------------------

    async def job(self) -> None:
        """Ask for nodes, and do with them what comes to mind.

        :raises Died: the session has ended.
        """
        labels = self._rng.choice(WISHES)
        account = self._books.begin(self.name, labels)
        self._mine.append(account)
        try:
            await self._go_through(account)
        except _GONE as e:
            raise Died from e
        if self.lost:
            raise Died
        self._mine.remove(account)

    async def _go_through(self, account: Account) -> None:
        request = account.request = await self._requester.ask(
            *account.labels,
            priority=self._rng.choice([100, 200, 300]),
            requestor_data={"zuul": self.name},
            relative_priority=self._rng.randrange(4),
        )
        if self._rng.random() < 0.06:
            await self._pause(self._rng.choice([0.05, 2.0]))
            await self._requester.withdraw(request)
            return self._end(account, End.CANCELLED)
        if self._rng.random() < 0.15:
            await self._pause(0.2)
            await self._reprioritise(request)
        try:
            body = await self._requester.answer(request, _FOR_EVER)
        except (Fault, *GARBAGE) as e:
            await self._requester.withdraw(request)
            return self._spoiled(account, f"is not answered: {e!r}", paths.request(request))
        if body["state"] == "failed":
            await self._requester.withdraw(request)
            return self._failed(account, body)
        self._books.answered(account)
        held = await self._lock_all(account, body)
        await self._requester.withdraw(request)
        if held is not None:
            await self._use(account, held)
        return None

    def _end(self, account: Account, end: End) -> None:
        if not self.lost:
            self._books.close(account, end)

    def _spoiled(self, account: Account, words: str, *concerned: str) -> None:
        """Something was taken from us, by chaos itself or against all rules."""
        if self.lost:
            raise Died
        if not any(self._farm.has_touched(path) for path in concerned):
            self._books.complain(f"{account} {words}")
        self._books.close(account, End.SPOILED)

    def _failed(self, account: Account, body: dict[str, Any]) -> None:
        tainted = self._farm.has_touched(paths.request(account.request or ""))
        if STATIC_LABELS.issuperset(account.labels) and not tainted:
            self._books.complain(f"{account} failed, though static nodes can be waited for: {body}")
        self._end(account, End.FAILED)

    # -- waiting ---------------------------------------------------------

    async def _reprioritise(self, request: str) -> None:
        """As Zuul does it when a change moves in its queue: under the request's lock."""
        lock = Lock(self.client, paths.request_lock(request), self.name, makepath=True)
        path = paths.request(request)
        await until_connected(self.client)
        try:
            acquired = await lock.try_acquire(path)
            if acquired is None:
                return
            (found,) = acquired.reads
            if found is not None:
                data, stat = found
                body = json.loads(data)
                if body["state"] in ("requested", "pending"):
                    body["relative_priority"] = self._rng.randrange(10)
                    await self.client.set(path, json.dumps(body).encode(), stat.version)
                    self._books.reprioritised += 1
        except (ConnectionLoss, NoNodeError, BadVersionError, *GARBAGE):
            pass
        finally:
            if lock.held:
                await lock.release()

    # -- having ----------------------------------------------------------

    async def _lock_all(self, account: Account, body: dict[str, Any]) -> list[Held] | None:
        """All nodes in our hands; None, and the account closed, if one is not as promised."""
        held: list[Held] = []
        nodes = body.get("nodes")
        if not isinstance(nodes, list) or len(nodes) != len(account.labels):
            self._spoiled(account, f"got {nodes}", paths.request(account.request or ""))
            return None
        for node_id in nodes:
            try:
                held.append(await self._lock(node_id, account))
            except (Fault, LockTimeout) as e:
                for one in held:
                    await one.lock.release()
                concerned = [paths.node(node_id), paths.request(account.request or "")]
                self._spoiled(account, f"was promised a node in vain: {e}", *concerned)
                return None
        return held

    async def _lock(self, node_id: str, account: Account) -> Held:
        lock = Lock(self.client, paths.node_lock(node_id), self.name, clock=self._farm.reactor)
        path = paths.node(node_id)
        await until_connected(self.client)
        try:
            await lock.acquire(_LOCK)
            data, stat = await insist(self.client, lambda: self.client.get(path))
        except NoNodeError:
            raise Fault(f"node {node_id} is gone") from None
        try:
            node = json.loads(data)
            found = (node["state"], node["allocated_to"])
        except GARBAGE:
            found, node = ("unreadable", data), {}
        if found != ("ready", account.request):
            await lock.release()
            raise Fault(f"node {node_id} is {found[0]}, and {found[1]} has it")
        return Held(node_id, node, stat.version, lock)

    async def _use(self, account: Account, held: Sequence[Held]) -> None:
        fate = self._rng.random()
        try:
            if fate >= 0.04:
                for one in held:
                    await self._write(one, state="in-use")
                await self._pause(1.5)
                if fate < 0.1:
                    await self._hold(held)
                else:
                    for one in held:
                        await self._write(one, state="used")
        except Fault as e:
            concerned = [paths.node(one.id) for one in held]
            return self._spoiled(account, f"lost a node: {e}", *concerned)
        for one in held:
            await one.lock.release()
        return self._end(account, End.SERVED)

    async def _hold(self, held: Sequence[Held]) -> None:
        """Keep them for somebody who wants to look, for a few seconds."""
        for one in held:
            await self._write(
                one,
                state="hold",
                hold_expiration=self._rng.randrange(1, 6),
                hold_job="job",
                comment="chaos looks at it",
            )
        self._books.held += len(held)

    async def _write(self, held: Held, **changes: Any) -> None:
        """Change a node, as long as the session lives under whose lock it is.

        :raises Fault: somebody else has written it.
        """
        held.data |= {**changes, "state_time": time.time()}
        body = json.dumps(held.data).encode()
        path = paths.node(held.id)
        while True:
            await until_connected(self.client)
            if self.lost:
                raise Died
            try:
                held.version = (await self.client.set(path, body, held.version)).version
                return
            except ConnectionLoss:
                if await self._written(held, body):
                    return
            except (BadVersionError, NoNodeError) as e:
                raise Fault(f"node {held.id} was written under our lock: {e!r}") from e

    async def _written(self, held: Held, body: bytes) -> bool:
        """What we wrote when the connection broke is there."""
        try:
            found, stat = await insist(self.client, lambda: self.client.get(paths.node(held.id)))
        except NoNodeError:
            return False
        if (found, stat.version) != (body, held.version + 1):
            return False
        held.version = stat.version
        return True

    async def _pause(self, longest: float) -> None:
        await deferLater(self._farm.reactor, self._rng.uniform(0.0, longest))
