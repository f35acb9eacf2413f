"""What is counted as the tables change is what is there."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from nodepool_tx.minready.stock import Stock
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node, encode_request
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryZookeeper

LABELS = ("a", "b")
REQUESTS = tuple(f"900-{n:010}" for n in range(3))

Counts = tuple[dict[str, int], dict[str, list[str]], dict[str, list[str]]]


def counts(stock: Stock) -> Counts:
    return (
        {label: stock.ready(label) for label in LABELS},
        {label: sorted(node.id for node in stock.building(label)) for label in LABELS},
        {label: [request.id for request in stock.requests(label)] for label in LABELS},
    )


def there(store: Store) -> Counts:
    """The same by the plain rule, from everything there is."""
    ready = dict.fromkeys(LABELS, 0)
    building: dict[str, list[str]] = {label: [] for label in LABELS}
    requests: dict[str, list[str]] = {label: [] for label in LABELS}
    for request in sorted(store.requests, key=lambda request: request.id):
        for label in set(request.node_types):
            if request.is_min_ready:
                requests[label].append(request.id)
    for node in sorted(store.nodes, key=lambda node: node.id):
        promised = store.requests.get(node.allocated_to) if node.allocated_to else None
        unreadable = node.allocated_to in store.requests.unreadable
        free = promised is None and not unreadable
        if node.state in (NodeState.INIT, NodeState.BUILDING, NodeState.TESTING) and free:
            for label in set(node.type):
                building[label].append(node.id)
        if node.state is not NodeState.READY:
            continue
        taken = bool(node.allocated_to) and store.nodes.is_locked(node.id)
        done = (
            promised is not None
            and promised.is_min_ready
            and promised.state is RequestState.FULFILLED
        )
        if done or (free and not taken):
            for label in set(node.type):
                ready[label] += 1
    return ready, building, requests


steps = st.one_of(
    st.tuples(
        st.just("node"),
        st.integers(0, 3),
        st.sampled_from([*NodeState]),
        st.sampled_from([("a",), ("a", "b"), ("b", "b")]),
        st.sampled_from([None, *REQUESTS]),
    ),
    st.tuples(
        st.just("request"),
        st.sampled_from(REQUESTS),
        st.sampled_from([*RequestState, None]),
        st.sampled_from([("a",), ("a", "b"), ("b",)]),
        st.sampled_from(["NodePool:min-ready", "NodePool:min-ready", "zuul"]),
    ),
    st.tuples(
        st.sampled_from(["lock", "unlock", "remove", "junk"]),
        st.integers(0, 3),
        st.none(),
        st.none(),
        st.none(),
    ),
    st.tuples(
        st.sampled_from(["drop", "settle", "cut"]),
        st.sampled_from(REQUESTS),
        st.none(),
        st.none(),
        st.none(),
    ),
)


@given(st.lists(steps, max_size=40))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_counting(schedule: list[tuple[str, object, object, object, object]]) -> None:
    """Whatever happens to nodes, requests and locks, in whatever order it is seen."""
    clock = Clock()
    zookeeper = MemoryZookeeper(clock)
    inspector, client = zookeeper.inspector, zookeeper.client()
    store = Store(client, clock)
    store.startService()
    client.connect()
    inspector.settle(clock)
    told: set[str] = set()

    def changed(labels: Iterable[str]) -> None:
        told.update(labels)

    stock = Stock(store, changed)
    stock.start()
    before = counts(stock)

    def compare() -> None:
        nonlocal before
        inspector.settle(clock)
        now = counts(stock)
        assert now == there(store)
        for label in LABELS:
            different = any(old[label] != new[label] for old, new in zip(before, now, strict=True))
            assert label in told or not different
        told.clear()
        before = now

    def put(path: str, data: bytes) -> None:
        inspector.set(path, data) if inspector.stat(path) else inspector.create(path, data)

    for kind, which, state, labels, other in schedule:
        if kind in ("request", "drop"):
            path = paths.request(str(which))
            if not isinstance(state, RequestState):
                put(path, b"junk") if kind == "request" else inspector.delete_tree(path)
            elif isinstance(labels, tuple) and isinstance(other, str):
                request = NodeRequest(state=state, node_types=labels, requestor=other)
                put(path, encode_request(request))
            continue
        path = paths.node(f"000000000{which}")
        lock = f"{path}/lock/x__lock__0000000001"
        if isinstance(state, NodeState) and isinstance(labels, tuple):
            node = Node(state=state, type=labels, provider="sky", allocated_to=other)  # type: ignore[arg-type]
            put(path, encode_node(node))
        elif kind == "lock" and inspector.stat(path) and not inspector.stat(lock):
            inspector.create(lock)
        elif kind == "unlock" and inspector.stat(lock):
            inspector.delete(lock)
        elif kind == "remove":
            inspector.delete_tree(path)
        elif kind == "junk":
            put(path, b"junk")
        elif kind == "cut":
            inspector.cut(client)
        elif kind == "settle":
            compare()
    compare()
    fresh = Stock(store, changed)
    fresh.start()
    assert counts(fresh) == counts(stock)
    fresh.stop()
    stock.stop()
    assert counts(stock) == (
        dict.fromkeys(LABELS, 0),
        {label: [] for label in LABELS},
        {label: [] for label in LABELS},
    )
    store.stopService()
    client.close()
    inspector.settle(clock)
