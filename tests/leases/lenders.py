"""Several launchers that lend the same nodes, and what happens to them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

import attrs
from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import Deferred

from nodepool_tx.config.operations import Leases
from nodepool_tx.leases.desk import Busy, Desk, Over, TooMany, Unsure, Wish
from nodepool_tx.leases.service import LeaseService
from nodepool_tx.model import NodeState
from nodepool_tx.store import paths
from nodepool_tx.store.leases import Lease, LeaseState, decode_lease, lease_of
from nodepool_tx.store.store import Store
from tests.leases.stage import LeaseTestCase
from tests.property.farm import ProcessClock

__all__ = ["OWNER", "Lender", "LenderTestCase"]

OWNER = ("ci", "token")


class Lender:
    """The part of a launcher that lends nodes, with a session and a store of its own."""

    def __init__(self, world: LenderTestCase) -> None:
        self.world = world
        self.clock = clock = ProcessClock(world.clock)
        self.client = world.zookeeper.client()
        self.store = Store(self.client, cast(Any, clock))
        self.service = LeaseService(cast(Any, clock), self.store)
        self.desk = Desk(
            cast(Any, clock), self.store, lambda: world.config, self.service.requests_of
        )
        self.store.startService()
        self.service.startService()
        self.client.connect()

    def stop(self) -> Deferred[Any]:
        async def stop() -> None:
            await self.service.stopService()
            await self.store.stopService()
            await self.client.close()

        return Deferred.fromCoroutine(stop())


@attrs.define
class Told:
    """What somebody's requests came to.

    :ivar leases: those that they know of, as they were last told.
    """

    leases: dict[str, Lease] = attrs.field(factory=dict)


class LenderTestCase(LeaseTestCase):
    """Nodes of a launcher that itself lends none, and lenders beside it.

    What must hold at every moment is checked after every request to ZooKeeper.
    """

    def setUp(self) -> None:
        super().setUp()
        self.done(self.service.stopService())
        self.lent = Leases(ttl=60.0)
        self.lenders: list[Lender] = []
        self.dead: list[Lender] = []
        self.told = Told()
        self.broken: list[str] = []
        #: Nodes that somebody else has taken from leases.
        self.taken: set[str] = set()
        self.addCleanup(self.inspector.after("*", self._on_request, times=None))

    def stop(self) -> None:
        for lender in (*self.lenders, *self.dead):
            lender.clock.revive()
            self.inspector.resume(lender.client)
            stopped = lender.stop()
            self.wait(30)
            self.assertTrue(stopped.called)
            lender.clock.bury()
        self.lenders, self.dead = [], []
        self.service.startService()
        super().stop()

    def start(self) -> Lender:
        lender = Lender(self)
        self.lenders.append(lender)
        self.settle()
        return lender

    def kill(self, lender: Lender) -> None:
        """kill -9."""
        if lender in self.lenders:
            self.lenders.remove(lender)
            self.dead.append(lender)
            lender.clock.die()
            self.inspector.suspend(lender.client)

    def kill_at(self, lender: Lender, request: int, executed: bool) -> Callable[[], None]:
        """Kill it with its so manieth request to ZooKeeper from now on."""
        left = request

        def hook(_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                call_off()
                self.kill(lender)
                if not executed:
                    raise ConnectionLoss

        when = self.inspector.after if executed else self.inspector.before
        call_off = when("*", hook, client=lender.client, times=None)
        return call_off

    # -- users

    def attempt(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have something done; None if there is no answer, or it cannot be done."""
        doing = Deferred.fromCoroutine(work)
        self.settle()
        found: list[Any] = []
        doing.addCallbacks(
            found.append, lambda failure: failure.trap(Busy, Unsure, Over, TooMany) and None
        )
        return found[0] if found else None

    def wish(self, lender: Lender, *labels: str, key: str = "") -> Lease | None:
        answer = self.attempt(lender.desk.ask(OWNER, Wish(labels, key=key), self.lent, None))
        if answer is None:
            return None
        lease: Lease = answer[0]
        self.told.leases[lease.id] = lease
        return lease

    def renew(self, lender: Lender, lease_id: str) -> Lease | None:
        async def work() -> Lease | None:
            lease = await lender.desk.find(lease_id, OWNER)
            return None if lease is None else await lender.desk.renew(lease, None, self.lent)

        renewed: Lease | None = self.attempt(work())
        if renewed is not None:
            self.told.leases[lease_id] = renewed
        return renewed

    def give_back(self, lender: Lender, lease_id: str) -> Lease | None:
        async def work() -> Lease | None:
            lease = await lender.desk.find(lease_id, OWNER)
            return None if lease is None else await lender.desk.give_back(lease, "returned")

        over: Lease | None = self.attempt(work())
        if over is not None:
            self.told.leases[lease_id] = over
        return over

    # -- what must hold

    def leases(self) -> dict[str, Lease]:
        below = self.inspector.dump(paths.LEASES + "/")
        return {
            (lease_id := path.rpartition("/")[2]): decode_lease(lease_id, data)
            for path, data in below.items()
        }

    def _on_request(self, call: Any) -> None:
        if call.op in ("transaction", "set", "delete", "create") and not self.broken:
            try:
                self.check()
            except AssertionError as e:
                self.broken.append(f"after {call.op} of {call.paths}: {e}")

    def check(self) -> None:
        """What holds at every moment."""
        nodes, leases = self.nodes(), self.leases()
        given: dict[str, str] = {}
        for lease in leases.values():
            if lease.state is not LeaseState.READY:
                continue
            for node_id in lease.nodes:
                assert given.setdefault(node_id, lease.id) == lease.id, f"{node_id} is lent twice"
                if node_id in self.taken:
                    continue
                assert node_id in nodes, f"{node_id} of {lease.id} is gone"
                node = nodes[node_id]
                held = (NodeState.HOLD, lease.request)
                assert (node.state, node.allocated_to) == held, f"{node_id} is {node.state}"
        for node in nodes.values():
            if node.state is NodeState.HOLD:
                assert node.id in given, f"{node.id} is held for no lease"
        for request_id in self.requests_there():
            lease_id = lease_of(self.request(request_id))
            assert lease_id is None or lease_id in leases, f"{request_id} is for no lease"

    def check_settled(self) -> None:
        """What holds when every lender has had time."""
        self.assertEqual(self.broken, [])
        self.check()
        wanted = {lease_of(self.request(each)) for each in self.requests_there()}
        for lease in self.leases().values():
            waits = lease.state is LeaseState.WAITING
            self.assertEqual(lease.id in wanted, waits, lease)
            if not lease.over:
                self.assertGreater(lease.expires, self.clock.seconds())
        promised = {node.allocated_to for node in self.nodes().values()} - {None}
        known = {lease.request for lease in self.leases().values()} | set(self.requests_there())
        self.assertLessEqual(promised, known)

    def check_all_over(self) -> None:
        """When nobody renews anything, all nodes come back and nothing is left."""
        # One that waits may be served just before its time is over.
        self.wait(150)
        self.check_settled()
        self.assertEqual({lease.over for lease in self.leases().values()} - {True}, set())
        self.assert_all_free()
        self.wait(700, 5)
        self.assertEqual(self.leases(), {})
