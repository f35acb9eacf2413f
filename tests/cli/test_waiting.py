"""Why a request waits, case by case."""

from collections.abc import Sequence
from typing import Any

import attrs

from nodepool_tx.cli.waiting import Scene, explain, pools_for
from nodepool_tx.model import Node, NodeRequest, NodeState, PoolComponent, RequestState


def pool(*labels: str, provider: str = "dc", name: str = "rack", **more: Any) -> PoolComponent:
    return PoolComponent(
        id=f"{provider}-{name}",
        name=name,
        provider_name=provider,
        hostname="h",
        supported_labels=frozenset(labels),
        **more,
    )


def node(id: str, state: str, *labels: str, pool: str = "rack", **more: Any) -> Node:
    return Node(
        id=id, state=NodeState(state), provider="dc", pool=pool, type=labels or ("debian",), **more
    )


def request(*labels: str, id: str = "100-5", **more: Any) -> NodeRequest:
    fields: dict[str, Any] = {"state": RequestState.REQUESTED, "node_types": labels or ("debian",)}
    return NodeRequest(id=id, **{**fields, **more})


def told(
    wanted: NodeRequest,
    nodes: Sequence[Node] = (),
    *,
    pools: Sequence[PoolComponent] = (pool("debian", "fedora"),),
    locked: Sequence[str] = (),
    others: Sequence[NodeRequest] = (),
    **more: Any,
) -> str:
    return explain(wanted, Scene(nodes, locked.__contains__, [wanted, *others], pools, **more))


def test_all_nodes_in_use_with_a_queue() -> None:
    """Who uses the nodes and how many come first is what one wants to know."""
    nodes = [node("1", "in-use"), node("2", "in-use")]
    others = [request(id=f"100-{number}") for number in (1, 2, 3, 9)]
    assert told(request(), nodes, locked=("1", "2"), others=others) == (
        "2 nodes have label debian, both in use; 3 requests ahead"
    )


def test_one_node() -> None:
    """One is spoken of as one."""
    assert told(request(), [node("1", "hold")]) == "1 node has label debian, held"


def test_different_states_are_counted() -> None:
    """The most frequent first."""
    nodes = [
        node("1", "in-use"),
        node("2", "hold"),
        node("3", "in-use"),
        node("4", "used"),
        node("5", "building"),
        node("6", "ready", allocated_to="100-1"),
    ]
    assert told(request(), nodes, locked=("1", "3")) == (
        "6 nodes have label debian: 2 in use, 1 held, 1 on the way back, 1 being prepared, "
        "1 promised to others"
    )


def test_nodes_of_other_labels_and_pools_do_not_count() -> None:
    """Only what could serve the request is of interest."""
    nodes = [node("1", "in-use", "fedora"), node("2", "in-use", pool="elsewhere")]
    assert told(request(), nodes) == "no node has label debian at the moment"


def test_a_free_node_is_said_to_be_free() -> None:
    """Then it is the launcher's turn."""
    assert told(request(), [node("1", "ready")]) == "1 node has label debian, free"


def test_more_asked_for_than_there_are() -> None:
    """A static pool can never serve that, so the numbers are shown."""
    assert told(request("debian", "debian"), [node("1", "ready")]) == (
        "1 node has label debian, free, and 2 are asked for"
    )


def test_only_the_label_that_is_short_is_spoken_of() -> None:
    """What there is enough of is not what it waits for."""
    nodes = [node("1", "ready"), node("2", "in-use", "fedora")]
    assert told(request("debian", "fedora"), nodes, locked=("2",)) == (
        "1 node has label fedora, in use"
    )


def test_a_misspelled_label_is_recognised() -> None:
    """The nearest label on offer is named."""
    assert told(request("debain")) == (
        "no pool online offers the label 'debain' (did you mean debian?)"
    )


def test_a_label_like_no_other() -> None:
    """Nothing is suggested where nothing is similar."""
    assert told(request("windows-2022")) == "no pool online offers the label 'windows-2022'"


def test_nobody_is_online() -> None:
    """A missing launcher comes before anything else."""
    assert told(request(), pools=()) == (
        "no pool is online: is a launcher running on this ZooKeeper?"
    )


def test_labels_of_different_pools_cannot_be_had_together() -> None:
    """A rule that surprises is explained."""
    pools = (pool("debian"), pool("fedora", name="other"))
    assert told(request("debian", "fedora"), pools=pools) == (
        "no single pool offers all of debian, fedora, and the nodes of one request come from "
        "one pool"
    )


def test_the_only_pool_declined() -> None:
    """Pools are named as provider/pool."""
    assert told(request(declined_by=("dc-rack",)), pools=(pool("debian"), pool("x", name="b"))) == (
        "pool dc/rack declined it, and no other pool online offers it"
    )


def test_a_pool_at_quota() -> None:
    """A paused pool says so in the registry."""
    assert told(
        request(), [node("1", "in-use")], locked=("1",), pools=(pool("debian", paused=True),)
    ) == ("1 node has label debian, in use; pool dc/rack is at quota")


def test_a_launcher_works_on_it() -> None:
    """Pending is an answer in the making."""
    assert told(request(state=RequestState.PENDING)) == "a launcher is preparing the nodes"


def test_a_failed_request_tells_why_it_was_hopeless() -> None:
    """The cause as it shows now."""
    assert told(request("debain", state=RequestState.FAILED)) == (
        "every pool online has declined it; "
        "no pool online offers the label 'debain' (did you mean debian?)"
    )


def test_a_tenant_at_its_limit() -> None:
    """Free nodes do not help a tenant that has had enough."""
    nodes = [node("1", "in-use", tenant_name="t"), node("2", "ready")]
    assert told(request(tenant_name="t"), nodes, locked=("1",), limits={"instances": 1}) == (
        "tenant t uses 1 of its 1 instances"
    )


def test_pools_of_better_priority_serve_first() -> None:
    """Only those that would take the request now are named."""
    better, worse = pool("debian", name="a", priority=1), pool("debian", name="b", priority=2)
    assert pools_for(request(), (better, worse)) == (better,)
    paused = attrs.evolve(better, paused=True)
    assert pools_for(request(), (paused, worse)) == (paused, worse)
    assert pools_for(request(declined_by=(better.id,)), (better, worse)) == (worse,)


def test_providers_that_are_out_of_service() -> None:
    """It is said why, unless somebody else serves it."""
    out = {"dc": "provider dc is drained"}
    assert told(request(), out_of_service=out) == "provider dc is drained"
    others = (pool("debian"), pool("debian", provider="spare"))
    assert told(request(), pools=others, out_of_service=out).startswith("no node has label debian")
    assert pools_for(request(), others, out) == others[1:]
