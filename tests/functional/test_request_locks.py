"""Kazoo's locks of a request, as Zuul and Nodepool 11 take them, while we answer it."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any, cast

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from nodepool_tx.model import NodeRequest, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.change import Conflict
from nodepool_tx.store.codec import decode_request, encode_request
from nodepool_tx.store.store import Store
from nodepool_tx.txzookeeper.interface import ZookeeperAPI
from nodepool_tx.txzookeeper.lock import Lock
from tests.contract.zookeeper import asynchronous
from tests.functional.zk_clients import RealServerSteps

#: Requests that are asked, and how many clients of kazoo's are after their locks.
REQUESTS, THEIRS = 150, 3
#: So many are being served at a time.
TOGETHER = 5


class RequestLocks(RealServerSteps, TestCase):
    async def ours(self) -> Store:
        """A store of ours that is current."""
        client = await self.connected()
        store = Store(client, reactor)
        store.startService()
        self.addCleanup(store.stopService)
        while not store.current:
            await deferLater(reactor, 0.01)
        return store

    async def asked(self, client: ZookeeperAPI) -> str:
        request = NodeRequest(state=RequestState.REQUESTED, node_types=("small",))
        prefix = f"{paths.REQUESTS}/100-"
        path = await client.create(prefix, encode_request(request), sequence=True)
        return path.rpartition("/")[2]

    async def known(self, store: Store, request_id: str) -> NodeRequest:
        await store.barrier()
        request = store.requests.get(request_id)
        assert request is not None
        return request

    async def take(self, store: Store, request_id: str) -> Lock | None:
        """Make it ours under its lock, as for nodes that are to be made; None if it is locked."""
        lock = Lock(store.client, paths.request_lock(request_id))
        try:
            if await lock.try_acquire() is None:
                return None
            request = await self.known(store, request_id)
            change = store.change()
            change.update_request(request, request.in_state(RequestState.PENDING, 1.0), lock)
            await change.commit()
        except BaseException:
            await lock.release()
            raise
        return lock

    async def answer(self, store: Store, request_id: str, lock: Lock | None = None) -> None:
        """Fulfil it, under the lock that we have, or proving that nobody has it."""
        request = await self.known(store, request_id)
        change = store.change()
        done = request.in_state(RequestState.FULFILLED, 2.0, nodes=("0000000001",))
        change.update_request(request, done, lock, release=lock is not None)
        await change.commit()

    async def directories(self, store: Store) -> list[str]:
        return list(await store.client.get_children(paths.REQUEST_LOCKS))

    @asynchronous
    async def test_answered_before_the_contender(self) -> None:
        """Who has seen the directory, and finds it gone, is told so; the next time it gets it.

        Zuul and Nodepool 11 take that for a lock that was not to be had.
        """
        store = await self.ours()
        kazoo = self.kazoo()
        for locked in (True, False):
            request_id = await self.asked(store.client)
            lock = await self.take(store, request_id) if locked else None
            theirs = kazoo.Lock(paths.request_lock(request_id))
            see = theirs._ensure_path

            def seen_and_answered(see: Any = see, lock: Any = lock, id: str = request_id) -> None:
                see()
                answer = self.answer(store, id, lock)
                blockingCallFromThread(cast(Any, reactor), Deferred.fromCoroutine, answer)

            theirs._ensure_path = seen_and_answered
            with self.assertRaises(NoNodeError):
                await deferToThread(theirs.acquire, blocking=False)
            self.assertEqual(await self.directories(store), [])
            self.assertIs((await self.known(store, request_id)).state, RequestState.FULFILLED)
            again = kazoo.Lock(paths.request_lock(request_id))
            self.assertTrue(await deferToThread(again.acquire, blocking=False))
            await deferToThread(again.release)
            await store.remove_request_lock(request_id)

    @asynchronous
    async def test_answered_while_one_waits(self) -> None:
        """Whoever waits for the lock gets it with the answer, and reads that."""
        store = await self.ours()
        request_id = await self.asked(store.client)
        lock = await self.take(store, request_id)
        kazoo = self.kazoo()
        theirs = kazoo.Lock(paths.request_lock(request_id))
        waiting = deferToThread(theirs.acquire, timeout=20)
        while len(await store.client.get_children(paths.request_lock(request_id))) < 2:
            await deferLater(reactor, 0.01)
        await self.answer(store, request_id, lock)
        self.assertTrue(await waiting)
        data, _ = await deferToThread(kazoo.get, paths.request(request_id))
        self.assertIs(decode_request(request_id, data).state, RequestState.FULFILLED)
        self.assertEqual(await self.directories(store), [request_id])
        await deferToThread(theirs.release)
        self.assertTrue(await store.remove_request_lock(request_id))

    @asynchronous
    async def test_races(self) -> None:
        """Under a held lock nobody else writes, and every request is answered."""
        store = await self.ours()
        requests = [await self.asked(store.client) for _ in range(REQUESTS)]
        open_requests = list(requests)
        crowd = [_Revising(self.kazoo(), open_requests, seed) for seed in range(THEIRS)]
        working = [deferToThread(one.run) for one in crowd]
        tries: Counter[str] = Counter()
        try:
            for start in range(0, REQUESTS, TOGETHER):
                some = requests[start : start + TOGETHER]
                await gatherResults(
                    [
                        Deferred.fromCoroutine(self.serve(store, each, open_requests, tries))
                        for each in some
                    ]
                )
        finally:
            open_requests.clear()
            await gatherResults(working)
        seen = sum((one.seen for one in crowd), Counter[str]())
        print(f"ours: {dict(tries)}; theirs: {dict(seen)}")
        self.assertEqual([fault for one in crowd for fault in one.faults], [])
        self.assertGreater(seen["revised"], 10)
        self.assertGreater(tries["somebody else was faster"], 0)
        for request_id in requests:
            self.assertIs((await self.known(store, request_id)).state, RequestState.FULFILLED)
        # Only who came after the answer, or was there with it, has left something.
        theirs = set().union(*(one.touched for one in crowd))
        self.assertLessEqual(set(await self.directories(store)), theirs)

    async def serve(
        self, store: Store, request_id: str, open_requests: list[str], tries: Counter[str]
    ) -> None:
        """Answer it in one of the two ways, again and again until that succeeds."""
        lock: Lock | None = None
        with_lock = int(request_id[-1]) % 2 == 0
        # Time for others to come, at any moment.
        chance = random.Random(request_id)
        await deferLater(reactor, chance.uniform(0.0, 0.15))
        while True:
            try:
                if with_lock and lock is None:
                    lock = await self.take(store, request_id)
                    await deferLater(reactor, chance.uniform(0.0, 0.03))
                if lock is not None or not with_lock:
                    await self.answer(store, request_id, lock)
                    tries["answered"] += 1
                    open_requests.remove(request_id)
                    return
                tries["locked"] += 1
            except (Conflict, NoNodeError):
                tries["somebody else was faster"] += 1
            await deferLater(reactor, 0.002)


class _Revising:
    """Sets priorities under the requests' locks, as Zuul does, as fast as it can.

    :ivar seen: how often what.
    :ivar touched: requests in whose directory it may have been after their answer.
    :ivar faults: what must not happen.
    """

    def __init__(self, kazoo: KazooClient, requests: list[str], seed: int) -> None:
        self._kazoo = kazoo
        self._requests = requests
        self._random = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.touched: set[str] = set()
        self.faults: list[str] = []

    def run(self) -> None:
        deadline = time.monotonic() + 120
        # The first are being served.
        while (requests := self._requests[:TOGETHER]) and time.monotonic() < deadline:
            request_id = self._random.choice(requests)
            try:
                self._revise(request_id)
            except NoNodeError:
                self.seen["told that the directory is gone"] += 1
            except Exception as e:
                self.faults.append(f"{request_id}: {type(e).__name__}: {e}")

    def _revise(self, request_id: str) -> None:
        path = paths.request(request_id)
        lock = self._kazoo.Lock(paths.request_lock(request_id), f"zuul-{id(self)}")
        blocking = self._random.random() < 0.5
        if not (lock.acquire(timeout=30) if blocking else lock.acquire(blocking=False)):
            self.seen["did not get it"] += 1
            self.touched.add(request_id)
            return
        try:
            data, stat = self._kazoo.get(path)
            request = decode_request(request_id, data)
            if request.state is RequestState.PENDING:
                self.faults.append(f"{request_id} is pending, and its lock is ours")
            if request.state is not RequestState.REQUESTED:
                self.seen["late"] += 1
                self.touched.add(request_id)
                return
            time.sleep(self._random.uniform(0.0, 0.004))
            revised = encode_request(request.in_state(RequestState.REQUESTED, time.time()))
            # Raises if anybody has written meanwhile.
            self._kazoo.set(path, revised, version=stat.version)
            self.seen["revised"] += 1
        finally:
            lock.release()
