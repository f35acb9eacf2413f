"""Counts that are kept as things change are what a look at everything would find."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nodepool_tx.metrics.ages import SLACK, Ages
from nodepool_tx.metrics.counts import Counts, LabelKey, PoolKey
from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.store import Store
from tests.pools.harness import ZookeeperTestCase

STATES = st.sampled_from([NodeState.READY, NodeState.IN_USE, NodeState.USED, NodeState.DELETING])
LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)
PLACES = st.sampled_from([("rack", "main"), ("rack", "other"), ("cloud", "main"), (None, None)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), PLACES, LABELS, STATES),
        st.tuples(st.just("change"), st.integers(0, 9), PLACES, STATES),
        st.tuples(st.just("lock"), st.integers(0, 9)),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("ask"), LABELS, st.one_of(st.none(), st.integers(0, 500))),
        st.tuples(st.just("answer"), st.integers(0, 9), st.sampled_from(list(RequestState))),
        st.tuples(st.just("forget"), st.integers(0, 9)),
        st.tuples(st.just("spoil"), st.integers(0, 9)),
        st.tuples(st.just("expire")),
    ),
    max_size=40,
)


def recount(store: Store) -> tuple[Counter[Any], ...]:
    """Everything, counted at once."""
    pools: Counter[Any] = Counter()
    labels: Counter[Any] = Counter()
    requests: Counter[Any] = Counter()
    for node in store.nodes:
        where = (node.provider or "", node.pool or "")
        pools[PoolKey(*where, node.state.value)] += 1
        for label in node.type:
            labels[LabelKey(*where, label, node.state.value)] += 1
    for request in store.requests:
        requests[request.state.value] += 1
    return pools, labels, requests


class HistoryTests(ZookeeperTestCase):
    """Any history of nodes and requests."""

    def setUp(self) -> None:
        """Each example sets up for itself."""

    @given(STEPS)
    @settings(max_examples=60, deadline=None)
    def test_same_as_a_recount(self, steps: list[tuple[Any, ...]]) -> None:
        """After whatever has happened the counts are those of a full look."""
        super().setUp()
        client = self.connected()
        store = self.make_store(client)
        counts = Counts(store)
        counts.start()
        for number, (what, *how) in enumerate(steps):
            nodes = sorted(node.id for node in store.nodes)
            requests = sorted(request.id for request in store.requests)
            self._do(what, how, nodes, requests, client)
            self.clock.advance(7)
            if number % 3:
                self.settle()
        self.settle()
        self.assertTrue(store.current)
        pools, labels, by_state = recount(store)
        self.assertEqual(dict(counts.pools()), dict(pools))
        self.assertEqual(dict(counts.labels()), dict(labels))
        self.assertEqual(dict(counts.requests()), dict(by_state))
        now = self.clock.seconds()
        for state in RequestState:
            made = [
                request.state_time if request.created_time is None else request.created_time
                for request in store.requests
                if request.state is state
            ]
            ages = counts.ages.get(state.value, Ages())
            self.assertEqual(len(ages), len(made))
            self.assertEqual(ages.oldest(now), now - min(made, default=now))
            self.assertLess(abs(ages.total(now) - sum(now - each for each in made)), 0.01)
        within = sum(1 for r in store.requests if set(r.node_types) <= {"a", "b"})
        self.assertEqual(counts.requests_within(frozenset("ab")), within)
        counts.stop()
        self.done(store.stopService())

    def _do(
        self, what: str, how: list[Any], nodes: list[str], requests: list[str], client: Any
    ) -> None:
        if what == "add":
            (provider, pool), labels, state = how
            self.add_node(*labels, provider=provider, pool=pool, state=state)
        elif what == "ask":
            labels, age = how
            created = None if age is None else self.clock.seconds() - age
            self.add_request(*labels, created_time=created)
        elif what == "expire":
            self.inspector.expire(client)
        elif what in ("answer", "forget"):
            if requests:
                request_id = requests[how[0] % len(requests)]
                if what == "forget":
                    self._gone(paths.request(request_id))
                elif self.inspector.stat(paths.request(request_id)) is not None:
                    self.change_request(request_id, state=how[1])
        elif nodes:
            node_id = nodes[how[0] % len(nodes)]
            path = paths.node(node_id)
            if self.inspector.stat(path) is None:
                return
            if what == "change":
                (provider, pool), state = how[1:]
                if self.inspector.dump(path)[path] != b"spoilt":
                    self.change_node(node_id, provider=provider, pool=pool, state=state)
            elif what == "lock":
                self.lock_node(node_id)
            elif what == "spoil":
                self.inspector.set(path, b"spoilt")
            else:
                self._gone(path)

    def _gone(self, path: str) -> None:
        if self.inspector.stat(path) is not None:
            self.delete(path)


def test_ages_of_nothing() -> None:
    """Where there is nothing, nothing is old."""
    ages = Ages()
    assert (len(ages), ages.oldest(9.0), ages.total(9.0)) == (0, 0.0, 0.0)
    assert ages.quantiles((0.5,), 9.0) == {}


@given(st.lists(st.integers(0, 10_000), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles(made: list[int], quantile: float) -> None:
    """At least so many are as young as the quantile says, to half a step."""
    ages = Ages()
    for each in made:
        ages.add(float(each))
    (age,) = ages.quantiles((quantile,), 20_000.0).values()
    younger = sum(1 for each in made if 20_000.0 - each <= age + 5.0)
    assert younger >= quantile * len(made)
    oldest_of_them = sorted(20_000.0 - each for each in made)[:younger][-1]
    assert abs(oldest_of_them - age) <= 5.0


def test_old_one_stays() -> None:
    """One thing that stays for ever keeps no memory of all that came and went."""
    ages = Ages()
    ages.add(0.0)
    for number in range(1, 10_000):
        ages.add(float(number))
        ages.remove(float(number))
    assert ages.oldest(10.0) == 10.0
    assert len(ages._heap) <= SLACK + 4
