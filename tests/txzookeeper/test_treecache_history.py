"""The tree cache through random histories: in the end it is the tree."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nodepool_tx.testing.zookeeper import MemoryClient, MemoryZookeeper
from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.treecache import CacheChange, ChangeKind, TreeCache


def not_locks(path: str) -> bool:
    return "/lock" not in path


PATHS = ("/r", "/r/a", "/r/b", "/r/a/x", "/r/a/lock", "/r/a/lock/1", "/r/b/lock", "/r/b/lock/1")

actions = st.one_of(
    st.tuples(st.sampled_from(["create", "set", "delete", "delete_tree"]), st.sampled_from(PATHS)),
    st.tuples(st.sampled_from(["own create", "own set", "own delete"]), st.sampled_from(PATHS)),
    st.tuples(st.sampled_from(["expected set", "mistaken set"]), st.sampled_from(PATHS)),
    st.tuples(st.just("expected create"), st.sampled_from(["/r", "/r/a", "/r/b", "/r/a/x"])),
    st.tuples(st.sampled_from(["cut", "suspend"]), st.integers(0, 4)),
    st.tuples(st.sampled_from(["resume", "expire", "expire suspended", "barrier"]), st.none()),
    st.tuples(st.just("pass"), st.integers(1, 8)),
    st.tuples(st.just("settle"), st.none()),
)


class Mirror:
    """What a subscriber makes of what it is told; minds every inconsistency."""

    def __init__(self, cache: TreeCache) -> None:
        self.data: dict[str, bytes | None] = {}
        self.current = False
        #: What went wrong where nobody would see it.
        self.failures: list[Failure] = []
        cache.subscribe(self._told)

    def _told(self, change: CacheChange) -> None:
        try:
            self(change)
        except Exception:
            self.failures.append(Failure())

    def __call__(self, change: CacheChange) -> None:
        if change.kind is ChangeKind.CURRENT:
            assert not self.current
            self.current = True
        elif change.kind is ChangeKind.STALE:
            assert self.current
            self.current = False
        else:
            assert change.znode is not None
            assert (change.path in self.data) == (change.kind is not ChangeKind.ADDED)
            if change.kind is ChangeKind.REMOVED:
                del self.data[change.path]
            else:
                self.data[change.path] = change.znode.data


def act(
    zookeeper: MemoryZookeeper,
    client: MemoryClient,
    cache: TreeCache,
    mirror: Mirror,
    action: Any,
    mark: bytes,
) -> None:
    """Do one thing; what is impossible just now fails and does nothing."""
    kind, argument = action
    inspector = zookeeper.inspector
    exists = isinstance(argument, str) and inspector.stat(argument) is not None
    if kind == "create" and not exists:
        inspector.create(argument, mark)
    elif kind == "set" and exists:
        inspector.set(argument, mark)
    elif kind == "delete" and exists:
        stat = inspector.stat(argument)
        if stat is not None and not stat.numChildren:
            inspector.delete(argument)
    elif kind == "delete_tree":
        inspector.delete_tree(argument)
    elif kind == "own create":
        client.create(argument, mark).addErrback(lambda _: None)
    elif kind == "own set":
        client.set(argument, mark).addCallbacks(
            lambda stat: cache.offer(argument, mark, stat), lambda _: None
        )
    elif kind in ("expected set", "mistaken set"):
        cache.expect(argument)
        client.set(argument, mark, -1 if kind == "expected set" else 1000).addCallbacks(
            lambda stat: cache.offer(argument, mark, stat), lambda _: None
        ).addBoth(lambda _: cache.settle(argument))
    elif kind == "expected create":
        cache.expect_creation()
        client.create(argument, mark).addCallbacks(
            lambda path: cache.offer_created(path, mark), lambda _: None
        ).addBoth(lambda _: cache.settle_creation())
    elif kind == "own delete":
        client.delete(argument).addErrback(lambda _: None)
    elif kind == "cut":
        inspector.cut(client, executes=argument)
    elif kind == "suspend":
        inspector.suspend(client, executes=argument)
    elif kind == "resume":
        inspector.resume(client)
    elif kind == "expire":
        inspector.expire(client)
    elif kind == "expire suspended":
        inspector.suspend(client)
        inspector.expire(client)
    elif kind == "barrier":
        check_barrier(zookeeper, cache).addErrback(mirror.failures.append)


def check_barrier(zookeeper: MemoryZookeeper, cache: TreeCache) -> Deferred[None]:
    """Nothing that was there, untouched since, is missing when a barrier is passed."""
    inspector = zookeeper.inspector
    before = inspector.dump("/r")
    stats = {path: inspector.stat(path) for path in before}

    def passed(_: None) -> None:
        assert cache.current
        for path, stat in stats.items():
            if inspector.stat(path) == stat:
                known = cache.get(path)
                assert known is not None, path
                assert known.data == (before[path] if not_locks(path) else None), path

    return cache.barrier().addCallback(passed)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PATHS), max_size=4),
    st.booleans(),
    st.lists(actions, min_size=10, max_size=60),
)
@example([], True, [("create", "/r"), ("barrier", None), ("expected create", "/r")])
def test_settled_cache_equals_the_tree(
    existing: list[str], settled: bool, history: list[Any]
) -> None:
    """After any changes, cuts and expiries the settled cache is the tree, and so is its story."""
    clock = Clock()
    zookeeper = MemoryZookeeper(clock, latency=0.008)
    inspector = zookeeper.inspector
    client = zookeeper.client(session_timeout=1000)
    cache = TreeCache(client, "/r", wants_data=not_locks)
    mirror = Mirror(cache)
    for path in existing:
        if inspector.stat(path) is None:
            inspector.create(path, b"first")
    client.connect()
    cache.start().addErrback(mirror.failures.append)
    if settled:
        inspector.settle(clock)
    for number, action in enumerate(history):
        if action[0] == "pass":
            clock.pump([0.002] * action[1])
        elif action[0] == "settle":
            inspector.settle(clock)
        else:
            act(zookeeper, client, cache, mirror, action, b"%d" % number)
    inspector.resume(client)
    inspector.settle(clock)
    assert client.state is SessionState.CONNECTED
    assert mirror.failures == []
    assert cache.current
    assert mirror.current
    expected = {
        path: data if not_locks(path) else None for path, data in inspector.dump("/r").items()
    }
    assert {path: cache.get(path).data for path in cache.paths()} == expected  # type: ignore[union-attr]
    assert mirror.data == expected
    for path in expected:
        stat, known = inspector.stat(path), cache.get(path)
        assert stat is not None
        assert known is not None
        # An own creation is shown before anybody has said when it was.
        if known.stat is not None and (known.stat.mzxid or stat.version):
            assert (known.stat.mzxid, known.stat.version) == (stat.mzxid, stat.version)
        assert cache.children(path) == {
            name.rpartition("/")[2] for name in expected if name.rpartition("/")[0] == path
        }
