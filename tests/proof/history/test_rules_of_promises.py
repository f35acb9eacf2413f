"""Nodes and the requests that they are promised to."""

from __future__ import annotations

from typing import Any

from nodepool_tx.model import MIN_READY_REQUESTOR
from proof.history.cast import Role
from proof.history.transactions import Operation
from tests.proof.history.play import (
    ASKED,
    ASKED_ID,
    ASKED_LOCK,
    ASKED_TOO,
    ASKED_TOO_ID,
    ASKED_TOO_LOCK,
    NODE,
    NODE_LOCK,
    OTHER,
    OTHER_LOCK,
    Play,
    a_request,
    contender,
    create,
    free_proof,
    remove,
    static_node,
    write,
)

ONE, TWO = "0000000001", "0000000002"


class Farm(Play):
    """Two nodes, two requests, a launcher and a client."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = self.launcher("rack")
        self.client = self.session()
        for node, lock, slot in ((NODE, NODE_LOCK, 0), (OTHER, OTHER_LOCK, 1)):
            self.good(self.ours, create(node, static_node(slot=slot)))
            self.good(self.ours, create(lock))
        self.good(self.client, create(ASKED, a_request()))
        self.good(self.client, create(ASKED_TOO, a_request()))


def node_is(**changes: Any) -> tuple[Operation, ...]:
    return (*free_proof(NODE_LOCK), write(NODE, static_node(**changes)))


def other_is(**changes: Any) -> tuple[Operation, ...]:
    return (*free_proof(OTHER_LOCK), write(OTHER, static_node(slot=1, **changes)))


def asked_is(**changes: Any) -> tuple[Operation, ...]:
    return (create(ASKED_LOCK), remove(ASKED_LOCK), write(ASKED, a_request(**changes)))


def asked_too_is(**changes: Any) -> tuple[Operation, ...]:
    proof = (create(ASKED_TOO_LOCK), remove(ASKED_TOO_LOCK))
    return (*proof, write(ASKED_TOO, a_request(**changes)))


def handed_out() -> tuple[Operation, ...]:
    return (*node_is(allocated_to=ASKED_ID), *asked_is(state="fulfilled", nodes=[ONE]))


def test_a_node_goes_from_hand_to_hand() -> None:
    """Promised, used, returned, made anew, promised again."""
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    lock = contender(NODE_LOCK)
    farm.good(farm.client, create(lock, ephemeral=True))
    farm.good(farm.client, write(NODE, static_node(allocated_to=ASKED_ID, state="in-use")))
    farm.good(farm.client, write(NODE, static_node(allocated_to=ASKED_ID, state="used")))
    farm.good(farm.client, remove(lock))
    third = "/nodepool/nodes/0000000003"
    fresh = create(third, static_node(slot=0))
    farm.good(farm.ours, remove(NODE_LOCK), remove(NODE), fresh)
    farm.good(
        farm.ours,
        create(f"{third}/lock"),
        write(third, static_node(slot=0, allocated_to=ASKED_TOO_ID)),
        *asked_too_is(state="fulfilled", nodes=["0000000003"]),
    )
    farm.good(farm.client, remove(ASKED))


def test_a_node_promised_to_two_requests_is_found() -> None:
    """Whichever record says so."""
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    found = farm.do(farm.ours, *asked_too_is(state="fulfilled", nodes=[ONE]))
    assert {each.rule for each in found} == {"promise", "fulfilled"}
    assert any("promised to" in each.words and ASKED in each.paths for each in found)


def test_a_node_taken_for_another_request_is_found() -> None:
    """As long as the first lives; when it is gone, anybody may have it."""
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    farm.bad("promise", farm.ours, *node_is(allocated_to=ASKED_TOO_ID))
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    farm.good(farm.client, remove(ASKED))
    farm.good(farm.ours, *node_is(allocated_to=ASKED_TOO_ID))


def test_a_promise_taken_back_is_found() -> None:
    """Unless the request goes in the same step."""
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    farm.bad("promise", farm.ours, *node_is())
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    farm.good(farm.client, remove(ASKED))
    farm.good(farm.ours, *node_is())


def test_a_promised_node_deleted_by_a_launcher_is_found() -> None:
    """An operator may delete it."""
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    farm.good(farm.session(), *node_is(allocated_to=ASKED_ID, state="deleting"))
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    farm.bad("promise", farm.ours, *node_is(allocated_to=ASKED_ID, state="deleting"))
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    farm.bad("promise", farm.ours, remove(NODE_LOCK), remove(NODE))


def test_what_a_pending_request_was_taken_with_is_its_holder_s() -> None:
    """Others take it away only when it is open again."""
    farm = Farm()
    other = farm.session(Role.LAUNCHER)
    farm.good(farm.ours, create(contender(ASKED_LOCK), ephemeral=True))
    taken = write(ASKED, a_request(state="pending"))
    farm.good(farm.ours, *node_is(allocated_to=ASKED_ID), taken)
    farm.bad("promise", other, *node_is())
    farm.good(farm.ours, *node_is(allocated_to=ASKED_ID), taken)
    farm.good(farm.ours, *node_is())
    farm.good(farm.ours, *node_is(allocated_to=ASKED_ID), taken)
    farm.close(farm.ours)
    farm.good(other, *node_is(), *asked_is())


def test_a_request_for_the_stock_keeps_no_node() -> None:
    """What it is fulfilled with is anybody's at once."""
    farm = Farm()
    ours = farm.ours
    stock = "/nodepool/requests/900-0000000007"
    wish = a_request(requestor=MIN_READY_REQUESTOR)
    farm.good(ours, create(stock, wish, ephemeral=True))
    lock = "/nodepool/requests-lock/900-0000000007"
    farm.good(ours, create(contender(lock), ephemeral=True))
    farm.good(
        ours, *node_is(allocated_to="900-0000000007"), write(stock, wish | {"state": "pending"})
    )
    done = wish | {"state": "fulfilled", "nodes": [ONE]}
    farm.good(ours, *node_is(), write(stock, done), remove(contender(lock)))
    farm.good(ours, *handed_out())


def test_fulfilling_with_what_is_not_there_is_found() -> None:
    """Gone, not ready, of another label, promised to nobody, too few, or the same twice."""
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"allocated_to": ASKED_ID}, ["0000000099"]),
        ({"allocated_to": ASKED_ID, "state": "used"}, [ONE]),
        ({"allocated_to": ASKED_ID, "type": ["large"]}, [ONE]),
        ({}, [ONE]),
        ({"allocated_to": ASKED_ID}, []),
        ({"allocated_to": ASKED_ID}, [ONE, TWO]),
    ]
    for changes, nodes in cases:
        farm = Farm()
        answer = asked_is(state="fulfilled", nodes=nodes)
        farm.bad("fulfilled", farm.ours, *node_is(**changes), *answer)


def test_one_request_is_fulfilled_from_one_pool_in_the_order_of_its_labels() -> None:
    """Two nodes of two pools are found, and two in the wrong order."""
    both = {"node_types": ["small", "large"], "state": "fulfilled"}
    for pool, order, good in (
        ("main", [ONE, TWO], True),
        ("main", [TWO, ONE], False),
        ("annex", [ONE, TWO], False),
    ):
        farm = Farm()
        deed = (
            *node_is(allocated_to=ASKED_ID),
            *other_is(allocated_to=ASKED_ID, type=["large"], pool=pool),
            *asked_is(nodes=order, **both),
        )
        if good:
            farm.good(farm.ours, *deed)
        else:
            farm.bad("fulfilled", farm.ours, *deed)
    farm = Farm()
    twice = asked_is(state="fulfilled", node_types=["small", "small"], nodes=[ONE, ONE])
    farm.bad("fulfilled", farm.ours, *node_is(allocated_to=ASKED_ID), *twice)


def test_nodepool_11_promises_no_node_twice_either() -> None:
    """It is held to what it tells requests."""
    farm = Farm()
    farm.good(farm.ours, *handed_out())
    old = farm.session(Role.NODEPOOL_11)
    found = farm.do(old, write(ASKED_TOO, a_request(state="fulfilled", nodes=[ONE])))
    assert {each.rule for each in found} == {"promise", "fulfilled"}
