"""The table of nodes: indexes that answer without asking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from nodepool_tx.model import Node, NodeState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import Unreadable, decode_node, encode_node
from nodepool_tx.store.nodes import NodeChange
from nodepool_tx.store.store import Store
from nodepool_tx.store.usage import LEAVING, Account, resources_of
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from tests.store.harness import StoreTestCase, ready_node


class FreeTests(StoreTestCase):
    """Which nodes could be handed out."""

    def free(self, label: str = "small", at_most: int = 99) -> list[str]:
        return [node.id for node in self.nodes.free_nodes("rack", "main", label, at_most)]

    def test_the_least_versatile_comes_first(self) -> None:
        """Nodes with many labels are kept for requests that nothing else can serve."""
        many = self.put_node(ready_node("small", "large", "huge"))
        few = self.put_node(ready_node("small"))
        some = self.put_node(ready_node("small", "large"))
        self.assertEqual(self.free(), [few.id, some.id, many.id])
        self.assertEqual(self.free("large"), [some.id, many.id])
        self.assertEqual(self.free("none"), [])

    def test_then_the_one_that_has_been_free_longest(self) -> None:
        """So that all are used in turn."""
        ids = [self.put_node(ready_node()).id for _ in range(3)]
        self.nodes.reserve([ids[0]])
        self.nodes.unreserve([ids[0]])
        self.assertEqual(self.free(), [ids[1], ids[2], ids[0]])
        self.assertEqual(self.free(at_most=2), ids[1:])
        self.assertEqual(self.nodes.count_free("rack", "main", "small"), 3)

    def test_a_label_twice_is_one_label(self) -> None:
        """Records may say so."""
        node = self.put_node(ready_node("small", "small"))
        self.assertEqual(self.free(), [node.id])

    def test_what_makes_a_node_unfree(self) -> None:
        """State, promise, lock, reservation; each is undone again."""
        node = self.put_node(ready_node())
        path = paths.node(node.id)
        for changed in (
            attrs.evolve(node, state=NodeState.USED),
            attrs.evolve(node, allocated_to="200-1"),
        ):
            self.inspector.set(path, encode_node(changed))
            self.settle()
            self.assertEqual((self.free(), self.nodes.is_free(node.id)), ([], False))
            self.inspector.set(path, encode_node(node))
            self.settle()
            self.assertEqual((self.free(), self.nodes.is_free(node.id)), ([node.id], True))
        contender = self.lock_node(node.id)
        self.settle()
        self.assertEqual((self.free(), self.nodes.is_locked(node.id)), ([], True))
        self.inspector.delete(contender)
        self.settle()
        self.assertEqual((self.free(), self.nodes.is_locked(node.id)), ([node.id], False))
        self.assertTrue(self.nodes.has_lock_directory(node.id))
        self.nodes.reserve([node.id])
        self.assertEqual((self.free(), self.nodes.is_reserved(node.id)), ([], True))
        self.nodes.unreserve([node.id])
        self.assertEqual((self.free(), self.nodes.is_reserved(node.id)), ([node.id], False))

    def test_reserving_twice_is_a_bug(self) -> None:
        """Two tasks must not think that they have the same node."""
        node = self.put_node(ready_node())
        self.nodes.reserve([node.id])
        with self.assertRaises(AssertionError):
            self.nodes.reserve([node.id])

    def test_a_node_that_goes_while_it_is_reserved(self) -> None:
        """The reservation is taken back without complaint, and nothing is left."""
        node = self.put_node(ready_node())
        self.nodes.reserve([node.id])
        self.inspector.delete(paths.node(node.id))
        self.settle()
        self.assertIsNone(self.nodes.get(node.id))
        self.nodes.unreserve([node.id])
        self.assertFalse(self.nodes.is_reserved(node.id))
        self.assertEqual(len(self.nodes), 0)


class TellingTests(StoreTestCase):
    """What observers hear."""

    def setUp(self) -> None:
        super().setUp()
        self.heard: list[NodeChange] = []
        self.unsubscribe = self.nodes.subscribe(self.heard.append)

    def test_a_life(self) -> None:
        """Made, locked, written, unlocked, reserved and gone: each once, in order."""
        node = self.put_node(ready_node())
        contender = self.lock_node(node.id)
        self.settle()
        used = attrs.evolve(node, state=NodeState.USED)
        self.inspector.set(paths.node(node.id), encode_node(used))
        self.settle()
        self.inspector.delete(contender)
        self.settle()
        self.nodes.reserve([node.id])
        self.nodes.unreserve([node.id])
        self.inspector.delete_tree(paths.node(node.id))
        self.settle()
        told = [(c.before, c.after, c.locked_before, c.locked_after) for c in self.heard]
        self.assertEqual(
            told,
            [
                (None, node, False, False),
                (node, node, False, True),
                (node, used, True, True),
                (used, used, True, False),
                (used, used, False, False),
                (used, None, False, False),
            ],
        )
        self.assertEqual({c.node_id for c in self.heard}, {node.id})

    def test_a_second_contender_is_no_news(self) -> None:
        """Locked is locked."""
        node = self.put_node(ready_node())
        self.lock_node(node.id)
        self.settle()
        self.heard.clear()
        self.lock_node(node.id)
        self.settle()
        self.assertEqual(self.heard, [])

    def test_the_indexes_show_it_first(self) -> None:
        """An observer may ask the table about what it is told."""
        answers: list[bool] = []
        self.nodes.subscribe(lambda change: answers.append(self.nodes.is_free(change.node_id)))
        self.put_node(ready_node())
        self.assertEqual(answers, [True])

    def test_whom_it_concerns(self) -> None:
        """The provider it was with, and the one it is with."""
        node = self.put_node(ready_node())
        self.inspector.set(paths.node(node.id), encode_node(attrs.evolve(node, provider="other")))
        self.settle()
        self.assertEqual([c.concerns for c in self.heard], [{"rack"}, {"rack", "other"}])

    def test_an_observer_that_fails_hurts_nobody(self) -> None:
        """Not the table, and not the observers after it."""

        def broken(change: NodeChange) -> None:
            raise ZeroDivisionError

        self.unsubscribe()
        self.nodes.subscribe(broken)
        self.nodes.subscribe(self.heard.append)
        node = self.put_node(ready_node())
        self.assertEqual(len(self.heard), 1)
        self.assertTrue(self.nodes.is_free(node.id))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nothing_is_heard_after_unsubscribing(self) -> None:
        self.unsubscribe()
        self.put_node(ready_node())
        self.assertEqual(self.heard, [])


class OddTests(StoreTestCase):
    """What should not be there."""

    def test_unreadable_nodes_are_noted_and_left_out(self) -> None:
        """Until they make sense, or are gone."""
        self.inspector.create(paths.node("0000000050"), b"rubbish")
        self.settle()
        self.assertEqual(list(self.nodes.unreadable), ["0000000050"])
        self.assertIsNone(self.nodes.get("0000000050"))
        self.assertEqual(len(self.nodes), 0)
        self.inspector.set(paths.node("0000000050"), encode_node(ready_node()))
        self.settle()
        self.assertEqual((self.nodes.unreadable, len(self.nodes)), ({}, 1))
        self.inspector.set(paths.node("0000000050"), b"")
        self.settle()
        self.assertEqual((list(self.nodes.unreadable), len(self.nodes)), (["0000000050"], 0))
        self.inspector.delete(paths.node("0000000050"))
        self.settle()
        self.assertEqual(self.nodes.unreadable, {})

    def test_an_unreadable_node_is_not_free(self) -> None:
        """Also when it was a moment ago."""
        node = self.put_node(ready_node())
        self.inspector.set(paths.node(node.id), b"[]")
        self.settle()
        self.assertEqual(self.nodes.count_free("rack", "main", "small"), 0)
        self.assertEqual(self.nodes.of_provider("rack"), [])

    def test_foreign_znodes_below_a_node(self) -> None:
        """They are nobody's lock."""
        node = self.put_node(ready_node())
        for below in ("other", "other/deep", "lock/a/deep"):
            self.inspector.create(f"{paths.node(node.id)}/{below}", b"x")
        self.settle()
        self.assertTrue(self.nodes.is_locked(node.id))
        self.inspector.delete_tree(paths.node_lock(node.id))
        self.settle()
        self.assertTrue(self.nodes.is_free(node.id))

    def test_empty_nodes_are_removed_on_request_only(self) -> None:
        """With their lock, unless somebody holds that or has written meanwhile."""
        for name in ("0000000051", "0000000052", "0000000053"):
            self.inspector.create(f"{paths.node(name)}/lock")
        self.settle()
        self.lock_node("0000000052")
        self.inspector.set(paths.node("0000000053"), encode_node(ready_node()))
        self.settle()
        for name in ("0000000051", "0000000052", "0000000053", "0000000054"):
            self.run_until_done(self.store.remove_unreadable_node(name))
        there = [self.exists(paths.node(f"000000005{n}")) for n in (1, 2, 3)]
        self.assertEqual(there, [False, True, True])


# -- compared with counting ----------------------------------------------------

LABELS = ("a", "b", "c")

records = st.builds(
    lambda **fields: Node(**fields),
    state=st.sampled_from(
        [NodeState.READY, NodeState.READY, NodeState.IN_USE, NodeState.USED, NodeState.HOLD]
    ),
    provider=st.sampled_from(["rack", "rack", "other", None]),
    pool=st.sampled_from(["main", "second", None]),
    type=st.lists(st.sampled_from(LABELS), max_size=3).map(tuple),
    allocated_to=st.sampled_from([None, None, "200-1", "200-2"]),
    tenant_name=st.sampled_from([None, "t1", "t2"]),
    resources=st.sampled_from([None, {"instances": 1, "cores": 2}, {"cores": 0.5, "ram": 512}]),
)

ids = st.integers(0, 5).map(lambda n: f"{n:010}")

steps = st.one_of(
    st.tuples(st.just("write"), ids, records),
    st.tuples(st.just("write"), ids, records),
    st.tuples(st.just("rubbish"), ids, st.sampled_from([b"", b"{}", b"no"])),
    st.tuples(st.just("remove"), ids, st.none()),
    st.tuples(st.just("lock"), ids, st.none()),
    st.tuples(st.just("unlock"), ids, st.none()),
    st.tuples(st.just("reserve"), ids, st.none()),
    st.tuples(st.just("unreserve"), ids, st.none()),
    st.tuples(st.just("settle"), ids, st.none()),
    st.tuples(st.just("cut"), ids, st.none()),
    st.tuples(st.just("expire"), ids, st.none()),
)


def without_nothing(amounts: Mapping[str, float]) -> dict[str, float]:
    return {resource: amount for resource, amount in amounts.items() if amount}


def added_up(nodes: Iterable[Node]) -> dict[str, float]:
    """What nodes use, counted anew."""
    usage: Counter[str] = Counter()
    for node in nodes:
        usage.update(resources_of(node))  # type: ignore[arg-type]
    return without_nothing(usage)


class Bench:
    """A store, and the plain truth to compare it with."""

    def __init__(self) -> None:
        self.clock = Clock()
        zookeeper = MemoryZookeeper(self.clock)
        self.inspector = zookeeper.inspector
        self.client = zookeeper.client()
        self.store = Store(self.client, self.clock)
        self.store.startService()
        self.client.connect()
        self.reserved: set[str] = set()
        self.settle()

    def settle(self) -> None:
        self.inspector.settle(self.clock, limit=50_000)

    def take(self, step: tuple[str, str, Any]) -> None:
        kind, node_id, value = step
        path = paths.node(node_id)
        there = self.inspector.stat(path) is not None
        contenders = [
            p for p in self.inspector.dump(path) if p.startswith(paths.node_lock(node_id) + "/")
        ]
        if kind in ("write", "rubbish"):
            data = value if kind == "rubbish" else encode_node(value)
            self.inspector.set(path, data) if there else self.inspector.create(path, data)
        elif kind == "remove":
            self.inspector.delete_tree(path)
        elif kind == "lock" and there:
            self.inspector.create(f"{paths.node_lock(node_id)}/c-", sequence=True)
        elif kind == "unlock" and contenders:
            self.inspector.delete(contenders[0])
        elif kind == "reserve":
            if self.store.nodes.get(node_id) is not None and node_id not in self.reserved:
                self.store.nodes.reserve([node_id])
                self.reserved.add(node_id)
        elif kind == "unreserve":
            self.store.nodes.unreserve([node_id])
            self.reserved.discard(node_id)
        elif kind == "settle":
            self.settle()
        elif kind == "cut":
            self.inspector.cut(self.client)
        elif kind == "expire":
            self.inspector.expire(self.client)

    def truth(self) -> dict[str, tuple[Node, bool]]:
        """Every readable node and whether it is locked."""
        found = {}
        dump = self.inspector.dump(paths.NODES)
        for path, data in dump.items():
            parts = paths.below(paths.NODES, path)
            if len(parts) == 1:
                try:
                    node = decode_node(parts[0], data)
                except Unreadable:
                    continue
                lock = paths.node_lock(parts[0]) + "/"
                found[parts[0]] = (node, any(p.startswith(lock) for p in dump))
        return found

    def compare(self) -> None:
        """Everything the table answers, counted anew."""
        table, truth = self.store.nodes, self.truth()
        nodes = {node_id: node for node_id, (node, _) in truth.items()}
        assert {node.id: node for node in table} == nodes
        assert len(table) == len(nodes)
        for node_id, (_, locked) in truth.items():
            assert table.is_locked(node_id) == locked
        for provider in ("rack", "other"):
            expected = {n.id for n in nodes.values() if n.provider == provider}
            assert {n.id for n in table.of_provider(provider)} == expected
        promised = {n.allocated_to for n in nodes.values() if n.allocated_to}
        assert set(table.promised_to()) == promised
        for request in ("200-1", "200-2"):
            expected = {n.id for n in nodes.values() if n.allocated_to == request}
            assert {n.id for n in table.of_request(request)} == expected
        accounts = {
            Account.of_tenant("t1"): lambda node: node.tenant_name == "t1",
            Account.of_tenant("t2"): lambda node: node.tenant_name == "t2",
            Account.of_provider("rack"): lambda node: node.provider == "rack",
            Account.of_pool("rack", "main"): lambda node: (
                (node.provider, node.pool) == ("rack", "main")
            ),
        }
        for account, counts in accounts.items():
            mine = [node for node in nodes.values() if counts(node)]
            leaving = [node for node in mine if node.state in LEAVING]
            held = [node for node in mine if node.state is NodeState.HOLD]
            assert without_nothing(table.usage.used(account)) == added_up(mine)
            assert without_nothing(table.usage.leaving(account)) == added_up(leaving)
            assert without_nothing(table.usage.held(account)) == added_up(held)
        self.compare_free(truth)

    def compare_free(self, truth: dict[str, tuple[Node, bool]]) -> None:
        table = self.store.nodes
        free = {
            node_id
            for node_id, (node, locked) in truth.items()
            if node.state is NodeState.READY
            and not node.allocated_to
            and not locked
            and node_id not in self.reserved
        }
        assert {i for i in truth if table.is_free(i)} == free
        for provider in ("rack", "other"):
            for pool in ("main", "second"):
                for label in LABELS:
                    matching = [
                        node
                        for i in free
                        if (node := truth[i][0]).provider == provider
                        and node.pool == pool
                        and label in node.type
                    ]
                    found = table.free_nodes(provider, pool, label, 99)
                    assert {n.id for n in found} == {n.id for n in matching}
                    ranks = [len(set(n.type)) for n in found]
                    assert ranks == sorted(ranks)
                    assert table.count_free(provider, pool, label) == len(matching)
                    assert table.free_nodes(provider, pool, label, 1) == found[:1]

    def close(self) -> None:
        self.store.stopService()
        self.client.close()
        self.settle()


@given(st.lists(steps, max_size=40))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_indexes_agree_with_counting(schedule: list[tuple[str, str, Any]]) -> None:
    """Whatever happens, in whatever order, with the connection breaking in between."""
    bench = Bench()
    heard: dict[str, NodeChange] = {}
    bench.store.nodes.subscribe(lambda change: heard.update({change.node_id: change}))
    try:
        for step in schedule:
            bench.take(step)
            if step[0] == "settle":
                bench.compare()
        bench.settle()
        bench.compare()
        # What was told last of each node is what there is.
        truth = bench.truth()
        for node_id, change in heard.items():
            assert change.after == truth.get(node_id, (None, False))[0]
            if node_id in truth:
                assert change.locked_after == truth[node_id][1]
    finally:
        bench.close()
