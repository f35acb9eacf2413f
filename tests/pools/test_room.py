"""Which nodes in stock make room."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from nodepool_tx.model import Node, NodeState
from nodepool_tx.pools.room import to_remove
from nodepool_tx.store.usage import Account

RACK = Account.of_provider("rack")
MAIN = Account.of_pool("rack", "main")


def node(node_id: str, pool: str = "main", **resources: float) -> Node:
    return Node(
        id=node_id,
        state=NodeState.READY,
        state_time=float(node_id),
        provider="rack",
        pool=pool,
        resources=resources or {"instances": 1},
    )


def test_nothing_is_lacking() -> None:
    """Where nothing is lacking, or enough leaves already, nothing goes."""
    assert to_remove({}, [node("1")]) == ()
    assert to_remove({(RACK, "cores"): -2}, [node("1", cores=4)]) == ()


def test_longest_in_stock() -> None:
    """Of equal nodes those go that are longest in stock, and no more than needed."""
    stock = [node("3"), node("1"), node("2")]
    assert [n.id for n in to_remove({(RACK, "instances"): 2}, stock)] == ["1", "2"]


def test_one_large_instead_of_many_small() -> None:
    """As few go as can be told at once."""
    stock = [node("1", cores=1), node("2", cores=1), node("3", cores=8)]
    assert [n.id for n in to_remove({(RACK, "cores"): 2}, stock)] == ["3"]


def test_not_enough() -> None:
    """Nothing goes for nothing."""
    stock = [node("1", cores=4), node("2", cores=4)]
    assert to_remove({(RACK, "cores"): 9}, stock) == ()
    assert to_remove({(RACK, "cores"): 4, (RACK, "ram"): 1}, stock) == ()
    assert to_remove({(Account.of_tenant("t"), "cores"): 1}, stock) == ()


def test_another_pool() -> None:
    """A node makes room in its own pool only."""
    stock = [node("1", pool="other"), node("2")]
    assert [n.id for n in to_remove({(MAIN, "instances"): 1}, stock)] == ["2"]


amounts = st.dictionaries(
    st.sampled_from(["instances", "cores", "ram"]), st.integers(0, 9), min_size=1
)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from([RACK, MAIN]), st.sampled_from(["instances", "cores", "ram"])),
        st.integers(-3, 20),
    ),
    st.lists(st.tuples(st.sampled_from(["main", "other"]), amounts), max_size=7),
)
def test_minimal(
    lacking: dict[tuple[Account, str], int], stock: list[tuple[str, dict[str, int]]]
) -> None:
    """What goes is enough, none of it could stay, and it is found whenever there is any."""
    nodes = [node(str(i), pool, **resources) for i, (pool, resources) in enumerate(stock)]

    def enough(chosen: tuple[Node, ...]) -> bool:
        return all(
            sum(
                (n.resources or {}).get(resource, 0)
                for n in chosen
                if account == RACK or n.pool == account.name
            )
            >= amount
            for (account, resource), amount in lacking.items()
        )

    chosen = to_remove(lacking, nodes)
    if enough(()) or not enough(tuple(nodes)):
        assert chosen == ()
        return
    assert enough(chosen)
    assert len({n.id for n in chosen}) == len(chosen)
    for fewer in combinations(chosen, len(chosen) - 1):
        assert not enough(fewer)
