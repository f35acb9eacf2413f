"""Clouds that operators take out of service and return."""

from __future__ import annotations

from typing import Any

import pytest

from nodepool_tx.model import Maintenance, Node, NodeState, RequestState
from nodepool_tx.providers.cloud.fate import Fate, Situation, fate_of
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_request
from tests.out_of_service import host_record, provider_record, put_back, take_out
from tests.providers.cloud.test_housekeeping import HousekeepingTestCase

WHY = "provider cloud is drained"


def fate(state: NodeState, allocated_to: str | None = None, **situation: Any) -> Fate:
    now = Situation(**{"configured": True, "withdrawn": WHY, **situation})
    verdict = fate_of(Node(id="1", state=state, allocated_to=allocated_to), now)
    if verdict.fate is Fate.DELETE and now.configured:
        assert verdict.reason == WHY
    return verdict.fate


@pytest.mark.parametrize("state", [NodeState.READY, NodeState.BUILDING])
def test_stock(state: NodeState) -> None:
    """What is in stock or would be goes; what is promised is gone on with."""
    assert fate(state) is Fate.DELETE
    assert fate(state, "100-1") is (Fate.KEEP if state is NodeState.READY else Fate.ADOPT)
    assert fate(state, configured=False) is Fate.DELETE


def test_others() -> None:
    """What is held is kept, and what was promised and never begun is made."""
    assert fate(NodeState.HOLD) is Fate.KEEP
    assert fate(NodeState.INIT, "100-1") is Fate.KEEP
    assert fate(NodeState.INIT, "100-1", settled=True, launcher_is_us=True) is Fate.MAKE


class DrainTests(HousekeepingTestCase):
    def drain(self, **changes: Any) -> Maintenance:
        since = self.world.clock.seconds()
        record = provider_record("cloud", since=since, **changes)
        take_out(self.world.inspector, record)
        self.world.settle()
        return record

    def put_back(self, record: Maintenance) -> None:
        put_back(self.world.inspector, record)
        self.world.settle()

    def ask(self) -> str:
        return self.world.request("small", state=RequestState.REQUESTED).id

    def state(self, request_id: str) -> RequestState:
        path = paths.request(request_id)
        return decode_request(request_id, self.world.inspector.dump(path)[path]).state

    def test_the_stock_is_deleted(self) -> None:
        """What is promised, locked, held or in use is not."""
        service = self.provide()
        stock = [self.put(NodeState.READY) for _ in range(3)]
        promised = self.put(NodeState.READY, allocated_to=self.world.request().id)
        held = self.put(NodeState.HOLD)
        used = self.put(NodeState.READY)
        self.world.use(used)
        locked = self.put(NodeState.READY)
        self.world.lock(locked)
        self.world.wait(5)
        self.drain()
        self.world.wait(60)
        self.assertEqual(sorted(self.world.nodes()), sorted([promised, held, used, locked]))
        self.assertEqual(len(self.world.cloud.servers), 4)
        self.assertTrue(self.world.said(f"deleting node {stock[0]} of cloud: provider cloud is"))
        self.world.give_back(used)
        self.world.unlock(locked)
        self.world.wait(60)
        self.assertEqual(sorted(self.world.nodes()), sorted([promised, held]))
        self.assertEqual(service.status().details["maintenance"]["reason"], "moving house")
        self.assertIn("(2 min 0 s) by anna@desk: moving house", service.status().troubles[0])

    def test_requests_wait_until_it_returns(self) -> None:
        """Nothing is launched for them meanwhile."""
        service = self.provide()
        record = self.drain()
        request_id = self.ask()
        self.world.wait(200, step=5)
        self.assertIs(self.state(request_id), RequestState.REQUESTED)
        self.assertEqual(self.world.nodes(), {})
        self.assertIn("provider cloud is drained", service.status().waiting[0])
        self.put_back(record)
        self.world.wait(60)
        self.assertIs(self.state(request_id), RequestState.FULFILLED)
        self.assertIsNone(service.status().details["maintenance"])
        self.assertEqual(service.status().troubles, ())

    def test_what_was_taken_is_finished(self) -> None:
        """The request gets its node, which is deleted when it comes back."""
        self.provide()
        request_id = self.ask()
        self.world.wait(5)
        (node_id,) = self.world.nodes()
        self.drain()
        self.world.wait(60)
        self.assertIs(self.state(request_id), RequestState.FULFILLED)
        self.assertEqual(self.world.node(node_id).allocated_to, request_id)
        self.world.use(node_id)
        self.world.inspector.delete_tree(paths.request(request_id))
        self.world.give_back(node_id)
        self.world.wait(60)
        self.assert_all_gone()

    def test_a_request_that_is_gone(self) -> None:
        """Its nodes do not become stock."""
        self.provide()
        request_id = self.ask()
        self.world.wait(5)
        self.drain()
        self.world.inspector.delete_tree(paths.request(request_id))
        self.world.wait(120)
        self.assert_all_gone()

    def test_it_returns_while_its_stock_is_still_being_deleted(self) -> None:
        """What was not begun with is kept, and what was begun with goes, with its server."""
        self.provide()
        ids = [self.put(NodeState.READY) for _ in range(200)]
        self.world.wait(5)
        record = provider_record("cloud")
        self.world.inspector.before(
            "transaction",
            lambda _: put_back(self.world.inspector, record),
            path=lambda path: path.startswith(paths.NODES),
        )
        take_out(self.world.inspector, record)
        self.world.settle()
        self.world.wait(100, step=5)
        left = self.world.nodes()
        self.assertTrue(0 < len(left) < len(ids), len(left))
        self.assertEqual({node.state for node in left.values()}, {NodeState.READY})
        self.assertEqual(len(self.world.cloud.servers), len(left))

    def test_it_returns_by_itself(self) -> None:
        """Requests that waited are served then."""
        self.provide()
        self.drain(until=self.world.clock.seconds() + 50)
        request_id = self.ask()
        self.world.wait(49)
        self.assertEqual(self.world.nodes(), {})
        self.world.wait(40)
        self.assertIs(self.state(request_id), RequestState.FULFILLED)

    def test_a_launcher_that_starts_meanwhile(self) -> None:
        """It launches nothing and deletes what stock there is; it goes on with what is promised."""
        stock = self.put(NodeState.READY)
        building = self.put(NodeState.BUILDING)
        promised = self.put(NodeState.BUILDING, allocated_to=self.world.request().id)
        self.drain()
        self.provide()
        self.world.wait(90)
        self.assertNotIn(stock, self.world.nodes())
        self.assertNotIn(building, self.world.nodes())
        self.assertIs(self.world.node(promised).state, NodeState.READY)

    def test_its_launcher_is_killed(self) -> None:
        """The next one deletes the rest."""
        self.provide()
        for _ in range(3):
            self.put(NodeState.READY)
        self.world.wait(5)
        self.drain()
        killed = self.world.launchers[0]
        self.world.kill(killed)
        killed.root.stopService()
        self.provide(name="l2")
        self.world.wait(120)
        self.assert_all_gone()

    def test_two_launchers(self) -> None:
        """Neither takes anything, and what is in stock is deleted once."""
        self.provide()
        self.provide(name="l2")
        for _ in range(3):
            self.put(NodeState.READY)
        self.world.wait(5)
        self.drain()
        request_id = self.ask()
        self.world.wait(100)
        self.assertIs(self.state(request_id), RequestState.REQUESTED)
        self.assert_all_gone()

    def test_zookeeper_is_lost_meanwhile(self) -> None:
        """What was decided there counts as soon as it is back."""
        self.provide()
        stock = self.put(NodeState.READY)
        self.world.wait(5)
        client = self.world.launchers[0].client
        self.world.inspector.suspend(client)
        self.drain()
        self.world.wait(3)
        self.assertIn(stock, self.world.nodes())
        self.world.inspector.resume(client)
        self.world.wait(60)
        self.assert_all_gone()

    def test_a_node_that_is_promised_at_that_moment(self) -> None:
        """The job gets it whole: it is left alone."""
        self.provide()
        node_id = self.put(NodeState.READY)
        self.world.wait(5)
        request = self.world.request()
        self.world.inspector.before(
            "create",
            lambda _: self.world.change_node(node_id, allocated_to=request.id),
            path=lambda path: path.startswith(paths.node_lock(node_id) + "/"),
        )
        self.drain()
        self.world.wait(60)
        self.assertEqual(self.world.node(node_id).allocated_to, request.id)
        self.assertFalse(self.world.locked(node_id))

    def test_hosts_are_none_of_its_business(self) -> None:
        """A record of a host changes nothing here, whatever its name."""
        self.provide()
        stock = self.put(NodeState.READY)
        self.world.wait(5)
        take_out(self.world.inspector, host_record("cloud"))
        self.world.wait(60)
        self.assertIn(stock, self.world.nodes())
