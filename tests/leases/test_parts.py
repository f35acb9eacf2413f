"""The small parts by themselves."""

from __future__ import annotations

import math
from random import Random

import attrs
import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.operations import Leases, Operations
from nodepool_tx.config.schema import Config, Webapp
from nodepool_tx.leases.notice import PlainHTTP
from nodepool_tx.leases.plan import (
    KEPT,
    End,
    Forget,
    Grant,
    Tidy,
    due,
    granted_ttl,
    hold_seconds,
    plan,
)
from nodepool_tx.leases.rates import REMEMBERED, Rates
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store.codec import Unreadable
from nodepool_tx.store.leases import (
    Lease,
    LeaseState,
    decode_lease,
    encode_lease,
    lease_of,
    requestor_for,
)
from tests.leases.stage import LeaseTestCase

LEASE = Lease(
    id="l", user="ci", how="token", labels=("a",), created=0.0, since=0.0, expires=60.0, ttl=60.0
)
REQUEST = NodeRequest(id="100-1", state=RequestState.REQUESTED, requestor=requestor_for("l"))
FULFILLED = attrs.evolve(REQUEST, state=RequestState.FULFILLED, nodes=("n",))
NODE = Node(id="n", state=NodeState.READY, allocated_to="100-1")
READY = attrs.evolve(LEASE, state=LeaseState.READY, request="100-1", nodes=("n",))
HELD = attrs.evolve(NODE, state=NodeState.HOLD)


class TestPlan:
    """What is to be done."""

    def test_waiting(self) -> None:
        """While its request waits there is nothing to do, until its time is over."""
        for state in (RequestState.REQUESTED, RequestState.PENDING):
            request = attrs.evolve(REQUEST, state=state)
            assert plan(LEASE, [request], {}.get, 59.9) is None
            step = plan(LEASE, [request], {}.get, 60)
            assert step == End(LeaseState.ENDED, "nobody renewed it in time", request=request)

    def test_fulfilled(self) -> None:
        """Its nodes are held for it, in their order, unless one is not there."""
        assert plan(LEASE, [FULFILLED], {"n": NODE}.get, 1) == Grant(FULFILLED, (NODE,))
        for nodes in (
            {},
            {"n": attrs.evolve(NODE, allocated_to="100-2")},
            {"n": attrs.evolve(NODE, state=NodeState.DELETING)},
        ):
            step = plan(LEASE, [FULFILLED], nodes.get, 1)
            assert isinstance(step, End)
            assert (step.state, step.request) == (LeaseState.FAILED, FULFILLED)

    def test_odd_number_of_nodes(self) -> None:
        """A request that got fewer or more nodes than were asked for is of no use."""
        for nodes in ((), ("n", "n")):
            odd = attrs.evolve(FULFILLED, nodes=nodes)
            assert isinstance(plan(LEASE, [odd], {"n": NODE}.get, 1), End)

    def test_ready(self) -> None:
        """There is nothing to do while its nodes are held for it."""
        assert plan(READY, [], {"n": HELD}.get, 59.9) is None
        assert plan(READY, [], {"n": HELD}.get, 60) == End(
            LeaseState.ENDED, "nobody renewed it in time", (HELD,)
        )
        for node, words in (
            (None, "node n is gone"),
            (attrs.evolve(HELD, state=NodeState.DELETING), "node n is deleting"),
            # The same machine, in service again, and held for somebody else.
            (attrs.evolve(HELD, allocated_to="100-7"), "node n is gone"),
        ):
            step = plan(READY, [], lambda _, node=node: node, 1)  # type: ignore[misc]
            assert isinstance(step, End)
            assert (step.state, step.nodes) == (LeaseState.FAILED, ())
            assert words in step.reason

    def test_over(self) -> None:
        """It loses its requests, and is forgotten in the end."""
        over = attrs.evolve(LEASE, state=LeaseState.ENDED, since=100.0)
        assert due(over) == 100 + KEPT
        assert plan(over, [REQUEST], {}.get, 1e6) == Tidy(("100-1",))
        assert plan(over, [], {}.get, 99 + KEPT) is None
        assert plan(over, [], {}.get, 100 + KEPT) == Forget()

    def test_how_long(self) -> None:
        """The least of what is asked for and allowed, and never nothing."""
        assert granted_ttl(100, 60, math.inf) == 60
        assert granted_ttl(100, 600, 30) == 30
        assert granted_ttl(100, 600, 0.1) == 1
        assert granted_ttl(math.inf, math.inf, math.inf) == 1e9
        assert hold_seconds(60.2) == 121


class TestRecord:
    """JSON of leases."""

    def test_round_trip(self) -> None:
        """What is written is read."""
        full = attrs.evolve(
            READY, tenant="t", comment="ü", key="k", reason="r", priority=7, expires=12.5
        )
        for lease in (LEASE, full):
            assert decode_lease("l", encode_lease(lease)) == lease

    @pytest.mark.parametrize(
        "change",
        [
            b'"state":"gone"',
            b'"labels":"a"',
            b'"labels":[1]',
            b'"user":null',
            b'"expires":"1"',
            b'"expires":NaN',
            b'"expires":1e400',
            b'"expires":true',
            b'"priority":Infinity',
            b'"request":7',
            b'"nodes":null',
        ],
    )
    def test_unreadable(self, change: bytes) -> None:
        """Anything else is unreadable, and not a fault."""
        with pytest.raises(Unreadable):
            decode_lease("l", encode_lease(LEASE)[:-1] + b"," + change + b"}")

    def test_requestors(self) -> None:
        """Only requests made for leases name one."""
        assert lease_of(REQUEST) == "l"
        for requestor in (None, "", "zuul", "nodepool_tx-lease:", "x nodepool_tx-lease:l"):
            assert lease_of(attrs.evolve(REQUEST, requestor=requestor)) is None


class NoticeTests(SynchronousTestCase):
    """Warning of secrets in the clear."""

    def test_once(self) -> None:
        """It is said once for each address beyond loopback, and only where nodes are lent."""
        said: list[str] = []

        def hear(event: dict[str, object]) -> None:
            if event.get("log_namespace") == "nodepool_tx.leases.notice.PlainHTTP":
                said.append(str(event["address"]))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        notice, lends = PlainHTTP(), Operations(leases=Leases())

        def at(address: str, operations: Operations = lends) -> Config:
            return Config(webapp=Webapp(listen_address=address), operations=operations)

        for address in ("127.0.0.1", "::1", "[::1]", "localhost", "127.9.9.9"):
            notice.look(at(address))
        notice.look(at("0.0.0.0", Operations()))
        self.assertEqual(said, [])
        for address in ("0.0.0.0", "0.0.0.0", "::", "host.example", "127.0.0.1", "0.0.0.0"):
            notice.look(at(address))
        self.assertEqual(said, ["0.0.0.0", "::", "host.example", "0.0.0.0"])


class RateTests(SynchronousTestCase):
    """Counting requests."""

    def test_bounded(self) -> None:
        """Users without end take no memory without end."""
        rates = Rates(Clock())
        for number in range(REMEMBERED + 10):
            rates.take((str(number), "token"), 60)
        self.assertEqual(len(rates._buckets), REMEMBERED)


class AlarmTests(LeaseTestCase):
    """The times at which leases are looked at."""

    def test_bounded(self) -> None:
        """Renewals without end leave nothing behind."""
        lease = self.ready("small", ttl=60)
        found = self.store.leases.get(lease["id"])
        assert found is not None
        assert self.settings is not None
        random = Random(1)
        for _ in range(500):
            ttl = random.randrange(100, 10_000)
            found = self.done(self.desk.renew(found, float(ttl), self.settings))
            found = self.store.leases.get(lease["id"])
            assert found is not None
        self.assertLess(len(self.service._alarms), 100)
        self.done(self.desk.renew(found, 5.0, self.settings))
        self.wait(6)
        self.assertEqual(self.look(lease["id"])["state"], "ended")

    def test_clock_put_right(self) -> None:
        """A lease ends in time although the clock was put forward meanwhile."""
        lease = self.ready("small", ttl=86400)
        self.clock.rightNow += 80_000
        self.wait(6300, 60)
        self.assertEqual(self.look(lease["id"])["state"], "ready")
        self.wait(180, 60)
        self.assertEqual(self.look(lease["id"])["state"], "ended")
