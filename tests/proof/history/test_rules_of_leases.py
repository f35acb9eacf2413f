"""Nodes that are lent."""

from __future__ import annotations

from typing import Any

from nodepool_tx.store import paths
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
    Play,
    a_request,
    create,
    free_proof,
    remove,
    static_node,
    write,
)

ONE = "0000000001"
LEASE, OTHER_LEASE = paths.lease("a" * 32), paths.lease("b" * 32)


def a_lease(**changes: Any) -> dict[str, Any]:
    return {"state": "waiting", "labels": ["small"], "nodes": [], "request": None, **changes}


def lent(request: str = ASKED_ID) -> dict[str, Any]:
    return a_lease(state="ready", nodes=[ONE], request=request)


def node_is(**changes: Any) -> tuple[Operation, ...]:
    return (*free_proof(NODE_LOCK), write(NODE, static_node(**changes)))


class Farm(Play):
    """A node that is promised to the request of a lease, and somebody else's request."""

    def __init__(self) -> None:
        super().__init__()
        self.ours = self.launcher("rack")
        self.good(self.ours, create(NODE, static_node()))
        self.good(self.ours, create(NODE_LOCK))
        self.good(self.ours, create(LEASE, a_lease()), create(ASKED, a_request()))
        self.good(self.session(), create(ASKED_TOO, a_request()))
        self.good(
            self.ours,
            *node_is(allocated_to=ASKED_ID),
            *(create(ASKED_LOCK), remove(ASKED_LOCK)),
            write(ASKED, a_request(state="fulfilled", nodes=[ONE])),
        )

    def lend(self) -> None:
        held = node_is(allocated_to=ASKED_ID, state="hold")
        self.good(self.ours, *held, remove(ASKED), write(LEASE, lent()))


def test_a_node_is_lent_and_comes_back() -> None:
    """Held for a lease, given back with it, and somebody else's afterwards."""
    farm = Farm()
    farm.lend()
    back = node_is(allocated_to=ASKED_ID, state="used")
    farm.good(farm.ours, *back, write(LEASE, a_lease(state="ended", nodes=[ONE])))
    farm.good(farm.ours, *node_is(allocated_to=ASKED_TOO_ID, state="deleting"))


def test_a_lent_node_that_is_promised_is_found() -> None:
    """Whether the node says so, or the request that is fulfilled with it."""
    farm = Farm()
    farm.lend()
    found = farm.bad("lease", farm.ours, *node_is(allocated_to=ASKED_TOO_ID, state="hold"))
    assert found.paths == (NODE, LEASE)
    farm = Farm()
    farm.lend()
    proof = (create(ASKED_TOO_LOCK), remove(ASKED_TOO_LOCK))
    fulfilled = write(ASKED_TOO, a_request(state="fulfilled", nodes=[ONE]))
    assert "lease" in {each.rule for each in farm.do(farm.ours, *proof, fulfilled)}


def test_a_lease_of_what_is_not_held_is_found() -> None:
    """What is lent is held for the lease in the same step, and for no other."""
    farm = Farm()
    farm.bad("lease", farm.ours, remove(ASKED), write(LEASE, lent()))
    farm = Farm()
    farm.lend()
    found = farm.bad("lease", farm.ours, create(OTHER_LEASE, lent()))
    assert found.paths == (NODE, OTHER_LEASE, LEASE)


def test_a_lease_that_leaves_its_node_held_is_found() -> None:
    """Nobody would give it back before its hold expires."""
    farm = Farm()
    farm.lend()
    found = farm.bad("lease", farm.ours, write(LEASE, a_lease(state="failed", nodes=[ONE])))
    assert found.paths == (NODE, LEASE)


def test_what_chaos_does_to_leases_is_no_breach() -> None:
    """A node taken from a lease by hand may be promised once the lease knows."""
    farm = Farm()
    farm.lend()
    chaos = farm.session(Role.CHAOS)
    farm.good(chaos, *node_is())
    farm.good(farm.ours, write(LEASE, a_lease(state="failed", nodes=[ONE])))
