"""Lock, election and tree cache on real servers, against kazoo's in both directions."""

from __future__ import annotations

import threading
from random import Random
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, LockTimeout, NoNodeError
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.caughtup import caught_up
from nodepool_tx.txzookeeper.client import ZookeeperClient
from nodepool_tx.txzookeeper.election import Election
from nodepool_tx.txzookeeper.interface import SessionState, TransactionFailed, ZookeeperAPI
from nodepool_tx.txzookeeper.link import Pauses
from nodepool_tx.txzookeeper.lock import Lock, contenders
from nodepool_tx.txzookeeper.retry import retry_reads
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache
from tests.contract.zookeeper import asynchronous, reached
from tests.functional.zk_clients import RealServerSteps, fresh_root
from tests.servers.zookeeper import shared_ensemble

LOCK = "/n/lock"

#: Comes back fast, so that a test can lose its connection many times.
EAGER = Pauses(0.005, 0.02)


async def queued(client: ZookeeperAPI, count: int, path: str = LOCK) -> None:
    """Wait until the lock has as many contenders."""
    while True:
        listing, changed = client.get_children_and_watch(path)
        if len(await listing) == count:
            return
        await changed


class LockInteropTests(RealServerSteps, TestCase):
    """One lock, taken by our client and by kazoo's."""

    async def both(self) -> tuple[ZookeeperClient, KazooClient]:
        ours = await self.connected()
        await ours.create("/n")
        return ours, await deferToThread(self.kazoo)

    @asynchronous
    async def test_kazoo_holds(self) -> None:
        """We do not get what kazoo holds, wait for it and have it when kazoo lets go."""
        ours, kazoo = await self.both()
        theirs = kazoo.Lock(LOCK, "theirs")
        self.assertTrue(await deferToThread(theirs.acquire))
        lock = Lock(ours, LOCK, "ours")
        self.assertIsNone(await lock.try_acquire("/n"))
        self.assertEqual(len(await ours.get_children(LOCK)), 1)
        waiting = lock.acquire()
        await queued(ours, 2)
        self.assertFalse(waiting.called)
        self.assertEqual(await deferToThread(theirs.contenders), ["theirs", "ours"])
        await deferToThread(theirs.release)
        await waiting
        self.assertTrue(lock.held)
        await lock.release()
        self.assertEqual(await ours.get_children(LOCK), [])

    @asynchronous
    async def test_we_hold(self) -> None:
        """Kazoo does not get what we hold, waits for it and has it when we let go."""
        ours, kazoo = await self.both()
        lock = Lock(ours, LOCK, "ours")
        self.assertIsNotNone(await lock.try_acquire("/n"))
        theirs = kazoo.Lock(LOCK, "theirs")
        self.assertFalse(await deferToThread(theirs.acquire, blocking=False))
        with self.assertRaises(LockTimeout):
            await deferToThread(theirs.acquire, timeout=0.1)
        waiting = deferToThread(theirs.acquire, timeout=20)
        await queued(ours, 2)
        found = await contenders(ours, LOCK)
        self.assertEqual([one.identifier for one in found], ["ours", "theirs"])
        self.assertEqual(found[1].session, kazoo.client_id[0])
        self.assertFalse(waiting.called)
        await lock.release()
        self.assertTrue(await waiting)
        self.assertIsNone(await lock.try_acquire())
        await deferToThread(theirs.release)

    @asynchronous
    async def test_mixed_queue(self) -> None:
        """Contenders of both kinds get the lock in the order in which they came."""
        ours, kazoo = await self.both()
        order: list[int] = []
        locks: list[Any] = []
        waiting = []
        for number in range(6):
            lock = Lock(ours, LOCK) if number % 2 else kazoo.Lock(LOCK)
            acquiring = deferToThread(lock.acquire) if number % 2 == 0 else lock.acquire()
            waiting.append(acquiring.addCallback(lambda _, number=number: order.append(number)))
            locks.append(lock)
            await queued(ours, number + 1) if number else await waiting[0]
        for number, lock in enumerate(locks):
            await waiting[number]
            self.assertEqual(order, list(range(number + 1)))
            await (lock.release() if number % 2 else deferToThread(lock.release))

    @asynchronous
    async def test_shared_locks(self) -> None:
        """Kazoo's readers and writers respect our lock."""
        ours, kazoo = await self.both()
        lock = Lock(ours, LOCK)
        await lock.acquire()
        for theirs in (kazoo.ReadLock(LOCK), kazoo.WriteLock(LOCK)):
            self.assertFalse(await deferToThread(theirs.acquire, blocking=False))
        await lock.release()
        writer = kazoo.WriteLock(LOCK)
        self.assertTrue(await deferToThread(writer.acquire, blocking=False))
        self.assertIsNone(await lock.try_acquire())

    @asynchronous
    async def test_kazoo_is_gone(self) -> None:
        """The end of kazoo's session hands its lock on to us."""
        ours, kazoo = await self.both()
        await deferToThread(kazoo.Lock(LOCK).acquire)
        lock = Lock(ours, LOCK)
        waiting = lock.acquire()
        await queued(ours, 2)
        await deferToThread(kazoo.stop)
        await waiting
        self.assertEqual(len(await ours.get_children(LOCK)), 1)

    @asynchronous
    async def test_we_expire(self) -> None:
        """The end of our session hands our lock on to kazoo, and is told; writes are fenced."""
        ours, kazoo = await self.both()
        lock = Lock(ours, LOCK)
        await lock.try_acquire()
        theirs = kazoo.Lock(LOCK)
        waiting = deferToThread(theirs.acquire, timeout=20)
        await queued(ours, 2)
        lost: Deferred[None] = Deferred()
        lock.on_lost(lambda: lost.callback(None))
        back = reached(ours, SessionState.CONNECTED)
        await self.expire(ours)
        await lost
        self.assertFalse(lock.held)
        self.assertTrue(await waiting)
        await back
        txn = ours.transaction()
        lock.check_in(txn)
        txn.set("/n", b"late")
        with self.assertRaises(TransactionFailed):
            await txn.commit()
        self.assertEqual((await ours.get("/n"))[0], b"")

    @asynchronous
    async def test_vanished(self) -> None:
        """A lock on what is gone is refused without a trace, as kazoo's is not."""
        ours, _ = await self.both()
        await ours.delete("/n")
        with self.assertRaises(NoNodeError):
            await Lock(ours, LOCK).try_acquire()
        self.assertIsNone(await ours.exists("/n"))

    @asynchronous
    async def test_guarded(self) -> None:
        """A guarded lock hears of its contender's removal by kazoo."""
        ours, kazoo = await self.both()
        lock = Lock(ours, LOCK, guard=True)
        await lock.acquire()
        lost: Deferred[None] = Deferred()
        lock.on_lost(lambda: lost.callback(None))
        await ours.sync()
        await deferToThread(kazoo.delete, lock.contender)
        await lost
        self.assertFalse(lock.held)

    @asynchronous
    async def test_connections_break(self) -> None:
        """However often the connection breaks, each lock is taken once and leaves no orphan."""
        ours = await self.connected(pauses=EAGER)
        other = await self.connected()
        await ours.create("/n", b"thing")
        random = Random(11)
        for _ in range(25):
            lock = Lock(ours, LOCK)
            attempt = lock.try_acquire("/n") if random.random() < 0.5 else lock.acquire()
            reactor.callLater(random.random() * 0.004, self.cut, ours)  # type: ignore[attr-defined]
            try:
                acquired = await attempt
            except ConnectionLoss:
                # It was cut by the timer of the round before, before it began.
                await retry_reads(ours, ours.sync)
                continue
            if acquired is not None:
                self.assertEqual(acquired.reads[0][0], b"thing")
            self.assertTrue(lock.held)
            await other.sync()
            self.assertEqual(
                [f"{LOCK}/{name}" for name in await other.get_children(LOCK)], [lock.contender]
            )
            releasing = lock.release()
            if random.random() < 0.5:
                self.cut(ours)
            await releasing
            await other.sync()
            self.assertEqual(await other.get_children(LOCK), [])

    @asynchronous
    async def test_one_counter(self) -> None:
        """Clients of both kinds that count under the lock lose no count."""
        ours, kazoo = await self.both()

        def count_theirs() -> None:
            lock = kazoo.Lock(LOCK)
            for _ in range(15):
                with lock:
                    kazoo.set("/n", b"%d" % (int(kazoo.get("/n")[0]) + 1))

        async def count_ours() -> None:
            lock = Lock(ours, LOCK)
            for _ in range(15):
                await lock.acquire()
                number = int((await ours.get("/n"))[0])
                txn = ours.transaction()
                txn.set("/n", b"%d" % (number + 1))
                lock.release_in(txn)
                await txn.commit()
                lock.released()

        await ours.set("/n", b"0")
        await gatherResults(
            [
                deferToThread(count_theirs),
                *(Deferred.fromCoroutine(count_ours()) for _ in range(2)),
            ]
        )
        self.assertEqual((await ours.get("/n"))[0], b"45")


class ElectionInteropTests(RealServerSteps, TestCase):
    """One election, with candidates of both kinds."""

    @asynchronous
    async def test_kazoo_leads(self) -> None:
        """While kazoo leads we wait; when its function returns we lead."""
        ours = await self.connected()
        kazoo = await deferToThread(self.kazoo)
        leading: Deferred[None] = Deferred()
        done = threading.Event()

        def lead() -> None:
            reactor.callFromThread(leading.callback, None)  # type: ignore[attr-defined]
            done.wait(30)

        theirs = kazoo.Election("/elections/e", "theirs")
        running = deferToThread(theirs.run, lead)
        self.addCleanup(done.set)
        await leading
        elected: Deferred[Any] = Deferred()
        election = Election(ours, "/elections/e", "ours")
        election.volunteer(elected.callback, lambda _: None)
        await queued(ours, 2, "/elections/e")
        self.assertFalse(elected.called)
        self.assertEqual(await deferToThread(theirs.contenders), ["theirs", "ours"])
        done.set()
        self.assertTrue((await elected).certain)
        await running
        await election.resign()

    @asynchronous
    async def test_we_lead(self) -> None:
        """While we lead kazoo waits; when we resign it leads."""
        ours = await self.connected()
        kazoo = await deferToThread(self.kazoo)
        elected: Deferred[Any] = Deferred()
        lost: list[Any] = []
        election = Election(ours, "/elections/e", "ours")
        election.volunteer(elected.callback, lost.append)
        leadership = await elected
        theirs = kazoo.Election("/elections/e", "theirs")
        led: list[bool] = []
        running = deferToThread(theirs.run, lambda: led.append(leadership.certain))
        await queued(ours, 2, "/elections/e")
        found = await election.contenders()
        self.assertEqual([one.identifier for one in found], ["ours", "theirs"])
        self.assertEqual(led, [])
        await election.resign()
        await running
        self.assertEqual((led, lost), ([False], [leadership]))

    @asynchronous
    async def test_we_expire(self) -> None:
        """A lost session ends our lead; we stand again behind kazoo and lead after it."""
        ours = await self.connected()
        kazoo = await deferToThread(self.kazoo)
        terms: list[tuple[str, Any]] = []
        again: Deferred[None] = Deferred()
        elected: Deferred[None] = Deferred()

        def elect(leadership: Any) -> None:
            terms.append(("elected", leadership))
            (again if elected.called else elected).callback(None)

        election = Election(ours, "/elections/e", "ours")
        election.volunteer(elect, lambda leadership: terms.append(("lost", leadership)))
        await elected
        done = threading.Event()
        self.addCleanup(done.set)
        running = deferToThread(kazoo.Election("/elections/e").run, done.wait, 30)
        await queued(ours, 2, "/elections/e")
        back = reached(ours, SessionState.CONNECTED)
        await self.expire(ours)
        await back
        self.assertEqual([what for what, _ in terms], ["elected", "lost"])
        await queued(ours, 2, "/elections/e")
        self.assertEqual(len(terms), 2)
        done.set()
        await running
        await again
        self.assertTrue(terms[-1][1].certain)
        await election.resign()


def meddle(kazoo: KazooClient, random: Random, count: int) -> None:
    """Create, write and delete at random below ``/r``, one by one and in transactions."""
    for number in range(count):
        path = "/r" + "".join(
            f"/{random.choice(('a', 'b', 'lock', 'x'))}" for _ in range(random.randint(0, 3))
        )
        data = b"%d" % number
        what = random.random()
        if what < 0.45:
            kazoo.ensure_path(path)
        elif what < 0.7 and kazoo.exists(path):
            kazoo.set(path, data)
        elif what < 0.8:
            kazoo.delete(path, recursive=True) if path != "/r" else None
        elif kazoo.exists("/r"):
            txn = kazoo.transaction()
            txn.create("/r/t-", data, sequence=True)
            txn.set_data("/r", data)
            txn.commit()


def dump(kazoo: KazooClient, path: str = "/r") -> dict[str, tuple[bytes, int]]:
    """Data and mzxid of everything at and below a path."""
    if not kazoo.exists(path):
        return {}
    data, stat = kazoo.get(path)
    found = {path: (data, stat.mzxid)}
    for name in kazoo.get_children(path):
        found.update(dump(kazoo, f"{path}/{name}"))
    return found


def wanted(path: str) -> bool:
    return not path.endswith("/lock")


class TreeCacheTests(RealServerSteps, TestCase):
    """The cache of a tree that kazoo changes."""

    def watched(self, cache: TreeCache) -> dict[str, bytes | None]:
        """What a subscriber makes of what it is told."""
        seen: dict[str, bytes | None] = {}

        def told(change: CacheChange) -> None:
            if change.kind is ChangeKind.REMOVED:
                del seen[change.path]
            elif change.znode is not None:
                self.assertEqual(change.path in seen, change.kind is ChangeKind.CHANGED)
                seen[change.path] = change.znode.data

        cache.subscribe(told)
        return seen

    async def assert_same(
        self, cache: TreeCache, kazoo: KazooClient, seen: dict[str, bytes | None]
    ) -> None:
        await cache.barrier()
        tree = await deferToThread(dump, kazoo)
        self.assertEqual(sorted(cache.paths()), sorted(tree))
        for path, (data, mzxid) in tree.items():
            known = cache.get(path)
            assert known is not None
            if wanted(path):
                assert known.stat is not None
                self.assertEqual((known.data, known.stat.mzxid), (data, mzxid))
            else:
                self.assertEqual((known.data, known.stat), (None, None))
            self.assertEqual(seen[path], known.data)
        self.assertEqual(len(seen), len(tree))

    @asynchronous
    async def test_follows(self) -> None:
        """After each batch of random changes, made while it walks and follows, it is the tree."""
        ours = await self.connected(pauses=EAGER)
        kazoo = await deferToThread(self.kazoo)
        random = Random(7)
        await deferToThread(meddle, kazoo, random, 60)
        cache = TreeCache(ours, "/r", wants_data=wanted)
        seen = self.watched(cache)
        changing = deferToThread(meddle, kazoo, random, 100)
        await cache.start()
        await changing
        await self.assert_same(cache, kazoo, seen)
        for disturb in (None, self.cut, self.expire, self.cut):
            changing = deferToThread(meddle, kazoo, random, 100)
            if disturb is not None:
                await reached_after(ours, disturb)
            await changing
            await self.assert_same(cache, kazoo, seen)
        await cache.stop()
        await deferToThread(meddle, kazoo, random, 20)
        await ours.sync()
        self.assertEqual(len(cache), len(seen))

    @asynchronous
    async def test_root_comes_and_goes(self) -> None:
        """A root may be missing, appear and vanish."""
        ours = await self.connected()
        kazoo = await deferToThread(self.kazoo)
        cache = TreeCache(ours, "/r", wants_data=wanted)
        seen = self.watched(cache)
        await cache.start()
        self.assertEqual(cache.paths(), ())
        for _ in range(2):
            await deferToThread(kazoo.create, "/r/a/lock/x", b"1", makepath=True)
            await self.assert_same(cache, kazoo, seen)
            self.assertEqual(len(cache), 4)
            await deferToThread(kazoo.delete, "/r", recursive=True)
            await self.assert_same(cache, kazoo, seen)
            self.assertEqual(len(cache), 0)

    @asynchronous
    async def test_large_tree(self) -> None:
        """Two thousand znodes, more than fit into a walk's window, are all there."""
        ours = await self.connected()
        await ours.create("/r")
        await gatherResults([ours.create(f"/r/{number}", b"x") for number in range(1000)])
        await gatherResults([ours.create(f"/r/{number}/lock") for number in range(1000)])
        cache = TreeCache(ours, "/r", wants_data=wanted)
        await cache.start()
        self.assertEqual(len(cache), 2001)
        await ours.delete_tree("/r")
        await cache.barrier()
        self.assertEqual(len(cache), 0)

    @asynchronous
    async def test_own_writes(self) -> None:
        """Offered writes are shown at once and change nothing when their events come."""
        ours = await self.connected()
        await ours.create("/r", b"0")
        cache = TreeCache(ours, "/r")
        await cache.start()
        told: list[tuple[ChangeKind, bytes | None]] = []
        cache.subscribe(
            lambda change: told.append((change.kind, change.znode and change.znode.data))
        )
        for number in range(1, 20):
            data = b"%d" % number
            cache.offer("/r", data, await ours.set("/r", data))
            known = cache.get("/r")
            self.assertEqual(known and known.data, data)
        await cache.barrier()
        self.assertEqual(told, [(ChangeKind.CHANGED, b"%d" % number) for number in range(1, 20)])


async def reached_after(client: ZookeeperClient, disturb: Any) -> None:
    """Disturb the client and wait until it is connected again."""
    back = reached(client, SessionState.CONNECTED)
    await (disturb(client) or back)
    await back


class EnsembleRecipeTests(TestCase):
    """Clients that talk to different servers of one ensemble."""

    timeout = 180

    async def clients(self) -> list[ZookeeperClient]:
        """One client of each server, the leader's last."""
        ensemble = shared_ensemble()
        await deferToThread(ensemble.wait_ready)
        root = fresh_root()
        leader = await deferToThread(ensemble.leader)
        servers = [*ensemble.servers[:leader], *ensemble.servers[leader + 1 :]]
        clients = [
            ZookeeperClient(reactor, server.address + root, session_timeout=10)
            for server in (*servers, ensemble.servers[leader])
        ]
        for client in clients:
            self.addCleanup(client.close)
            await client.connect()
        await clients[0].ensure_path("/n")
        await gatherResults([client.sync() for client in clients])
        return clients

    @asynchronous
    async def test_barrier(self) -> None:
        """What was written through a follower is seen through another, and through the leader."""
        writer, *readers = await self.clients()
        caches = [TreeCache(reader, "/n") for reader in readers]
        await gatherResults([cache.start() for cache in caches])
        for number in range(100):
            data = b"%d" % number
            await writer.set("/n", data)
            path = await writer.create("/n/s-", data, sequence=True)
            await gatherResults([cache.barrier() for cache in caches])
            for cache in caches:
                znodes = [cache.get("/n"), cache.get(path)]
                self.assertEqual([one and one.data for one in znodes], [data, data])

    @asynchronous
    async def test_caught_up(self) -> None:
        """A read sent right after is of what others were answered before."""
        writer, *readers = await self.clients()
        for number in range(100):
            path = await writer.create("/n/s-", b"%d" % number, sequence=True)
            looking = []
            for reader in readers:
                looking += [caught_up(reader), reader.get(path)]
            answers = await gatherResults(looking)
            self.assertEqual([data for data, _ in answers[1::2]], [b"%d" % number] * 2)

    @asynchronous
    async def test_mutual_exclusion(self) -> None:
        """Clients of different servers count under one lock, and no count is lost."""
        clients = await self.clients()
        await clients[0].set("/n", b"0")

        async def count(client: ZookeeperClient) -> None:
            for _ in range(20):
                lock = Lock(client, LOCK)
                await lock.acquire()
                # No sync: who sees the lock free sees what was written under it.
                number = int((await client.get("/n"))[0])
                txn = client.transaction()
                lock.check_in(txn)
                txn.set("/n", b"%d" % (number + 1))
                await txn.commit()
                await lock.release()

        await gatherResults([Deferred.fromCoroutine(count(client)) for client in clients])
        # Its server may not have heard of the last write, made through another one.
        await caught_up(clients[1])
        self.assertEqual((await clients[1].get("/n"))[0], b"60")
