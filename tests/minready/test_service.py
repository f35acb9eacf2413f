"""Keeping stock, event by event."""

from __future__ import annotations

import itertools
import json
from typing import Any

import attrs
from kazoo.exceptions import ConnectionLoss
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config.frozen import FrozenMapping
from nodepool_tx.config.schema import (
    Config,
    Label,
    StaticNode,
    StaticPool,
    StaticProvider,
    UnavailableProvider,
)
from nodepool_tx.minready.desired import desired
from nodepool_tx.model import ImageState, ImageUpload, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_image_upload
from tests.minready.world import Process, World, cloud_pool, config_of
from tests.out_of_service import host_record, provider_record, put_back, take_out


class WorldTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.finish)

    def finish(self) -> None:
        self.world.check()
        self.world.close()
        for process in self.world.processes:
            stopped: Deferred[Any] = process.stop()
            stopped.addErrback(lambda failure: failure.trap(ConnectionLoss))
            self.world.settle()
            self.world.inspector.expire(process.client)
            self.world.settle()
            self.successResultOf(stopped)

    def states(self, label: str = "small") -> list[str]:
        return sorted(request.state.value for request in self.world.asked(label))


class AskingTests(WorldTestCase):
    def test_the_request(self) -> None:
        """It is written as Nodepool 11 writes it, and is ephemeral."""
        process = self.world.start(config_of({"small": 1}))
        (request,) = self.world.asked()
        self.assertTrue(request.id.startswith("900-"))
        path = paths.request(request.id)
        written = json.loads(self.world.inspector.dump()[path])
        self.assertEqual(len(written.pop("event_id")), 32)
        self.assertEqual(
            written,
            {
                "state": "requested",
                "state_time": self.world.clock.seconds(),
                "declined_by": [],
                "node_types": ["small"],
                "nodes": [],
                "reuse": False,
                "requestor": "NodePool:min-ready",
                "requestor_data": None,
                "provider": None,
                "relative_priority": 0,
                "created_time": None,
                "tenant_name": None,
            },
        )
        self.assertIn(path, self.world.inspector.ephemerals(process.client))

    def test_one_request_for_each_node(self) -> None:
        """So that several providers may share them; they are there at once."""
        self.world.start(config_of({"small": 3, "large": 2, "none": 0, "off": -1}))
        self.assertEqual(self.states("small"), ["requested"] * 3)
        self.assertEqual(self.states("large"), ["requested"] * 2)
        self.assertEqual(len(self.world.requests()), 5)
        self.assertEqual({r.node_types for r in self.world.asked()}, {("small",)})

    def test_what_is_made_becomes_stock(self) -> None:
        """The node is nobody's, its request gone and its lock too, all in one step."""
        self.world.start(config_of({"small": 2}))
        self.world.wait(120.0)
        stock = self.world.stock()
        self.assertEqual(len(stock), 2)
        self.assertEqual({node.requestor for node in stock}, {"NodePool:min-ready"})
        self.assertEqual(self.world.requests(), {})
        self.assertEqual(self.world.inspector.dump(f"{paths.REQUEST_LOCKS}/"), {})
        self.assertEqual((self.world.launches, len(self.world.written)), (2, 2))

    def test_what_is_there_is_not_asked_for(self) -> None:
        """In stock anywhere, on its way to nobody, or asked for by whomever."""
        self.world.put("small", provider="elsewhere")
        self.world.put("large", "small")
        self.world.put("small", state=NodeState.BUILDING)
        self.world.ask("small")
        self.world.ask("small", state=RequestState.PENDING)
        self.world.start(config_of({"small": 7, "large": 2}))
        self.assertEqual(len(self.world.asked()), 2 + 2)
        self.assertEqual(len(self.world.asked("large")), 1)

    def test_what_does_not_count(self) -> None:
        """Nodes of other labels, promised, in use, held or going; requests that failed."""
        self.world.put("large")
        other = self.world.ask("small", requestor="zuul")
        self.world.put("small", allocated_to=other)
        for state in (NodeState.IN_USE, NodeState.HOLD, NodeState.USED, NodeState.DELETING):
            self.world.put("small", state=state)
        self.world.ask("small", state=RequestState.FAILED)
        self.world.start(config_of({"small": 1}))
        states = [r.state for r in self.world.asked()]
        self.assertCountEqual(states, [RequestState.FAILED, RequestState.REQUESTED])

    def test_a_node_is_taken(self) -> None:
        """Another is asked for at once, without anybody looking around."""
        self.world.start(config_of({"small": 2}))
        self.world.wait(120.0)
        self.assertTrue(self.world.use("small", 300.0))
        self.world.settle()
        self.assertEqual(self.states(), ["requested"])
        self.world.wait(600.0)
        self.assertEqual((len(self.world.stock()), self.world.launches), (2, 3))

    def test_a_node_comes_back(self) -> None:
        """What was asked for in its place, and nobody works on, is taken back."""
        self.world.start(config_of({"small": 2}))
        self.world.wait(120.0)
        node = self.world.stock()[0]
        request_id = self.world.ask("small", requestor="zuul")
        self.world.write(attrs.evolve(node, allocated_to=request_id))
        self.world.settle()
        self.assertEqual(len(self.world.asked()), 1)
        self.world.inspector.delete(paths.request(request_id))
        self.world.settle()
        self.assertEqual(self.world.asked(), [])
        self.assertEqual(len(self.world.stock()), 2)

    def test_nobody_online_has_it(self) -> None:
        """It is asked for when somebody comes who has."""
        process = self.world.start(config_of({"small": 1}))
        process.min_ready.stopService()
        self.world.settle()
        process.cloud.online = False
        self.world.inspector.delete(process.cloud.path)
        for request in self.world.asked():
            self.world.inspector.delete(paths.request(request.id))
        self.world.settle()
        process.min_ready.startService()
        self.world.wait(300.0)
        self.assertEqual(self.world.asked(), [])
        process.cloud.show()
        self.world.settle()
        self.assertEqual(self.states(), ["requested"])

    def test_whoever_has_it_is_out_of_service(self) -> None:
        """It is asked for when that returns, or when another comes who has it."""
        record = take_out(self.world.inspector, provider_record("sky"))
        self.world.start(config_of({"small": 1}))
        self.world.wait(300.0)
        self.assertEqual(self.world.asked(), [])
        put_back(self.world.inspector, record)
        self.world.settle()
        self.assertEqual(self.states(), ["requested"])

    def test_it_returns_after_requests_have_failed(self) -> None:
        """What was learned from those is forgotten; a host is none of its business."""
        process = self.world.start(config_of({"small": 1}), capacity=0)
        self.world.wait(1200.0)
        (keeper,) = process.min_ready.keepers()
        self.assertGreater(keeper.rest.failures, 1)
        take_out(self.world.inspector, host_record("sky"))
        self.world.settle()
        self.assertGreater(keeper.rest.failures, 1)
        record = take_out(self.world.inspector, provider_record("sky"))
        self.world.settle()
        process.cloud.capacity = 10
        put_back(self.world.inspector, record)
        self.world.settle()
        self.assertEqual((keeper.rest.failures, len(self.world.asked())), (0, 1))

    def test_an_image_is_missing(self) -> None:
        """It is asked for at the moment at which there is one to make it from."""
        self.world.start(config_of({"small": 1, "large": 1}, images={"small": "debian"}))
        self.assertEqual((self.world.asked("small"), len(self.world.asked("large"))), ([], 1))
        upload = ImageUpload(state=ImageState.UPLOADING)
        path = paths.image_upload("debian", "b1", "sky", "0000000001")
        self.world.inspector.create(path, encode_image_upload(upload))
        self.world.settle()
        self.assertEqual(self.world.asked("small"), [])
        ready = attrs.evolve(upload, state=ImageState.READY)
        self.world.inspector.set(path, encode_image_upload(ready))
        self.world.settle()
        self.assertEqual(self.states("small"), ["requested"])

    def test_only_another_launcher_has_an_image(self) -> None:
        """What is made elsewhere is known there: it is asked for."""
        images: dict[str, str | None] = {"small": "debian"}
        self.world.start(config_of({"small": 1}, images=images))
        self.assertEqual(self.world.asked(), [])
        self.world.start(config_of({"small": 1}, providers=("sea",)), "sea")
        self.assertEqual(self.states(), ["requested"])

    def test_a_node_that_is_given_away_is_not_stock(self) -> None:
        """A client's node counts for nothing between its request's removal and its use."""
        self.world.start(config_of({"small": 1}))
        self.world.wait(120.0)
        (node,) = self.world.stock()
        request_id = self.world.ask("small", requestor="zuul")
        self.world.write(attrs.evolve(node, allocated_to=request_id))
        lock = f"{paths.node_lock(node.id)}/{'1' * 32}__lock__"
        self.world.inspector.create(lock, owner=self.world.user, sequence=True)
        self.world.inspector.delete(paths.request(request_id))
        self.world.settle()
        self.assertEqual(self.states(), ["requested"])

    def test_odd_labels(self) -> None:
        """A label may have a name that is no path."""
        for label in ("a/b", "..", "zürich"):
            self.world.start(config_of({label: 1}))
            self.assertEqual(len(self.world.asked(label)), 1, label)


class FailureTests(WorldTestCase):
    def gaps(self, seconds: float, step: float = 1.0) -> list[float]:
        """How long it took from each new request to the next."""
        times: list[float] = []
        end = self.world.clock.seconds() + seconds
        known = len(self.world.written)
        while self.world.clock.seconds() < end:
            self.world.wait(step, step)
            if len(self.world.written) > known:
                times.append(self.world.clock.seconds())
                known = len(self.world.written)
        return [later - sooner for sooner, later in itertools.pairwise(times)]

    def test_it_is_tried_less_and_less_often(self) -> None:
        """One request at a time, up to ten minutes apart; the failed ones are removed."""
        self.world.start(config_of({"small": 5}), capacity=0)
        gaps = self.gaps(6000.0)
        self.assertEqual(len(self.world.written), 5 + len(gaps) + 1)
        self.assertEqual(gaps[0] // 20, 26.25 // 20)
        self.assertTrue(all(a <= b + 1 for a, b in itertools.pairwise(gaps)), gaps)
        self.assertTrue(450 <= gaps[-1] <= 610, gaps)
        self.assertLessEqual(len(self.world.asked()), 1)
        self.assertEqual(self.world.launches, 0)

    def test_success_ends_it(self) -> None:
        """After a request that is fulfilled, all that is missing is asked for."""
        process = self.world.start(config_of({"small": 5}), capacity=0)
        self.world.wait(1200.0)
        process.cloud.capacity = 10
        self.world.wait(1000.0)
        self.assertEqual((len(self.world.stock()), self.world.launches), (5, 5))
        (keeper,) = process.min_ready.keepers()
        self.assertEqual(keeper.rest.failures, 0)

    def test_a_new_configuration_ends_it(self) -> None:
        """Whoever changes something wants to see what comes of it."""
        process = self.world.start(config_of({"small": 2}), capacity=0)
        self.world.wait(1200.0)
        written = len(self.world.written)
        process.reload(config_of({"small": 2}))
        self.assertEqual(len(self.world.written), written)
        process.reload(config_of({"small": 2, "large": 0}))
        self.assertEqual(len(self.world.written), written + 2)

    def test_nodes_that_do_not_come_up(self) -> None:
        """A cloud that makes nothing but failures is not asked all the time."""
        process = self.world.start(config_of({"small": 3}))
        process.cloud.refuses = True
        self.world.wait(3600.0)
        self.assertLessEqual(self.world.launches, 3 + 10)
        process.cloud.refuses = False
        self.world.wait(1500.0)
        self.assertEqual(len(self.world.stock()), 3)
        self.assertEqual(len(self.world.nodes()), 3)

    def test_somebody_elses_failed_request(self) -> None:
        """It is theirs to remove, and tells us nothing."""
        process = self.world.start(config_of({"small": 1}))
        theirs = self.world.ask("small", state=RequestState.FAILED)
        self.world.wait(300.0)
        self.assertIn(theirs, self.world.requests())
        (keeper,) = process.min_ready.keepers()
        self.assertEqual(keeper.rest.failures, 0)

    def test_somebody_elses_fulfilled_request(self) -> None:
        """Its node counts, and stays theirs to set free."""
        theirs = self.world.ask("small", state=RequestState.FULFILLED)
        node_id = self.world.put("small", allocated_to=theirs)
        self.world.start(config_of({"small": 1}))
        self.world.wait(300.0)
        self.assertEqual((self.world.launches, len(self.world.written)), (0, 0))
        self.assertEqual(self.world.nodes()[node_id].allocated_to, theirs)

    def test_a_fulfilled_request_that_is_locked(self) -> None:
        """Nodepool 11 lets go of it a moment after; then it is taken in."""
        self.world.start(config_of({"small": 1}))
        (request,) = self.world.asked()
        node_id = self.world.put("small", allocated_to=request.id)
        locks = [
            self.world.inspector.create(f"{path}/x__lock__", owner=self.world.user, sequence=True)
            for path in (paths.request_lock(request.id), paths.node_lock(node_id))
        ]
        done = request.in_state(RequestState.FULFILLED, 0.0, nodes=(node_id,))
        self.world.write_request(done)
        self.world.settle()
        for lock in locks:
            self.assertEqual(self.world.requests(), {request.id: done})
            self.world.inspector.delete(lock)
            self.world.settle()
        self.assertEqual(self.world.requests(), {})
        self.assertEqual([node.id for node in self.world.stock()], [node_id])

    def test_a_node_is_lost_before_it_is_taken_in(self) -> None:
        """Deleted by an operator at the worst moment: another is asked for (defect 9).

        Whoever deletes it holds its lock for a while; that is not waited for.
        """
        self.world.start(config_of({"small": 2}))
        first, second = self.world.asked()
        done = first.in_state(RequestState.FULFILLED, 0.0, nodes=("0000000099",))
        self.world.write_request(done)
        node_id = self.world.put("small", allocated_to=second.id, state=NodeState.DELETING)
        lock = f"{paths.node_lock(node_id)}/{'1' * 32}__lock__"
        self.world.inspector.create(lock, owner=self.world.user, sequence=True)
        self.world.write_request(second.in_state(RequestState.FULFILLED, 0.0, nodes=(node_id,)))
        self.world.settle()
        self.assertEqual(self.states(), ["requested", "requested"])
        self.assertEqual(self.world.nodes()[node_id].state, NodeState.DELETING)

    def test_the_connection_breaks(self) -> None:
        """At each request that is made of ZooKeeper, its answer lost: nothing is doubled."""
        process = self.world.start(config_of({"small": 2}))
        for round in range(12):
            self.world.inspector.lose_reply_next("transaction", client=process.client)
            self.world.wait(70.0)
            self.world.use("small", 100.0)
            self.assertLessEqual(self.world.most["small"], 2, round)
        self.world.wait(400.0)
        self.assertEqual(len(self.world.stock()), 2)
        self.assertEqual(self.world.asked(), [])


class ConfigurationTests(WorldTestCase):
    def test_more(self) -> None:
        """A larger number is kept at once."""
        process = self.world.start(config_of({"small": 1}))
        self.world.wait(120.0)
        process.reload(config_of({"small": 3}))
        self.assertEqual(self.states(), ["requested"] * 2)

    def test_less(self) -> None:
        """What nobody works on is taken back; what is there stays."""
        process = self.world.start(config_of({"small": 1}))
        self.world.wait(120.0)
        process.reload(config_of({"small": 4}))
        self.assertEqual(self.states(), ["requested"] * 3)
        process.reload(config_of({"small": 2}))
        self.assertEqual(self.states(), ["requested"])
        process.reload(config_of({"small": 0}))
        self.assertEqual(self.states(), [])
        self.assertEqual(len(self.world.stock()), 1)
        self.world.wait(300.0)
        self.assertEqual((len(self.world.stock()), self.world.launches), (1, 1))

    def test_disabled(self) -> None:
        """As in Nodepool 11: nothing is asked for, and what is in stock may be used up."""
        process = self.world.start(config_of({"small": 1}))
        self.world.wait(120.0)
        process.reload(config_of({"small": -1}))
        self.world.wait(3600.0)
        self.assertEqual((len(self.world.stock()), self.world.launches), (1, 1))
        self.assertTrue(self.world.use("small", 60.0))
        self.world.wait(3600.0)
        self.assertEqual((self.world.nodes(), self.world.launches), ({}, 1))
        process.reload(config_of({"small": 1}))
        self.assertEqual(self.states(), ["requested"])

    def test_given_up_while_a_node_is_made(self) -> None:
        """Its request is waited for and taken in; then the label is forgotten."""
        process = self.world.start(config_of({"small": 1}))
        self.world.wait(30.0)
        self.assertEqual(self.states(), ["pending"])
        process.reload(config_of({"small": 0}))
        self.assertEqual(self.states(), ["pending"])
        self.assertEqual(process.leads(), [])
        self.world.wait(200.0)
        self.assertEqual((self.states(), len(self.world.stock())), ([], 1))
        self.assertEqual(process.min_ready.keepers(), ())

    def test_a_request_that_nobody_knows_any_more(self) -> None:
        """One whose writing was uncertain when its label was given up is taken back."""
        process = self.world.start(config_of({"small": 1}))
        self.world.wait(240.0)
        process.reload(config_of({"small": 0}))
        self.world.wait(120.0)
        self.assertTrue(self.world.use("small", 60.0))
        self.assertEqual(process.min_ready.keepers(), ())
        theirs = self.world.ask("small")
        data = self.world.inspector.dump()[paths.request(theirs)]
        path = self.world.inspector.create(
            f"{paths.REQUESTS}/900-", data, owner=process.client, sequence=True
        )
        self.world.settle()
        self.assertIsNone(self.world.inspector.stat(path))
        self.assertEqual([request.id for request in self.world.asked()], [theirs])
        self.world.wait(120.0)
        self.assertEqual(process.min_ready.keepers(), ())

    def test_what_is_desired(self) -> None:
        """Labels to keep that a provider here can make: no static ones, none that are closed."""
        labels = [Label("a", 2), Label("b", 1), Label("c", 1), Label("d", -1), Label("e", 1)]
        static = StaticProvider(
            name="rack",
            driver="static",
            pools=(
                StaticPool(
                    name="main",
                    provider_name="rack",
                    labels=frozenset({"a", "b"}),
                    nodes=(StaticNode("host", ("a", "b")),),
                ),
            ),
        )
        absent = UnavailableProvider(
            name="gone", driver="azure", pools=(cloud_pool("gone", {"b": None}),)
        )
        sky = config_of({"a": 1}, images={"a": "debian", "d": None}).providers["sky"]
        closed = attrs.evolve(
            sky, name="shut", pools=(cloud_pool("shut", {"c": None}, max_servers=0),)
        )
        config = Config(
            labels=FrozenMapping({label.name: label for label in labels}),
            providers=FrozenMapping({p.name: p for p in (static, absent, sky, closed)}),
        )
        found = desired(config)
        self.assertEqual(list(found), ["a"])
        self.assertEqual((found["a"].count, found["a"].images), (2, {"sky": {"debian"}}))


class LeadTests(WorldTestCase):
    def two(self, wanted: int = 2, other: int | None = None) -> tuple[Process, Process]:
        first = self.world.start(config_of({"small": wanted}))
        second = self.world.start(config_of({"small": wanted if other is None else other}))
        self.assertEqual(self.world.leaders(), [first])
        return first, second

    def test_many_launchers_ask_for_no_more_than_one(self) -> None:
        """One leads (defect 33)."""
        for _ in range(4):
            self.world.start(config_of({"small": 3}))
        self.world.wait(300.0)
        self.assertEqual((self.world.launches, len(self.world.stock())), (3, 3))
        self.assertEqual(len(self.world.written), 3)

    def test_the_leader_dies(self) -> None:
        """Its requests go with it; nodes that were being made for them become stock."""
        first, second = self.two()
        self.world.wait(20.0)
        self.assertEqual(self.world.launches, 2)
        first.kill()
        self.world.wait(200.0)
        self.assertEqual(self.world.leaders(), [second])
        self.assertEqual((len(self.world.stock()), self.world.launches), (2, 2))

    def test_the_leader_stops(self) -> None:
        """The next one counts what it leaves, and asks again for what it takes along."""
        first, second = self.two()
        stopped = first.stop()
        self.world.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.world.leaders(), [second])
        self.assertEqual(self.states(), ["requested", "requested"])
        self.assertEqual(self.world.most["small"], 2)
        self.world.wait(200.0)
        self.assertEqual((len(self.world.stock()), self.world.launches), (2, 2))

    def depose(self) -> None:
        """Somebody removes whoever leads, who stands again at the end of the line."""
        below = self.world.inspector.dump(f"{paths.min_ready_election('small')}/")
        self.world.inspector.delete(min(below, key=lambda path: path[-10:]))

    def test_the_leader_is_removed(self) -> None:
        """Its requests stay its own to take in, and count for the next."""
        _, second = self.two()
        self.depose()
        self.world.settle()
        self.assertEqual(self.world.leaders(), [second])
        self.world.wait(200.0)
        self.assertEqual((len(self.world.stock()), self.world.launches), (2, 2))
        self.assertEqual(len(self.world.written), 2)
        self.assertTrue(self.world.use("small", 60.0))
        self.world.wait(200.0)
        self.assertEqual((len(self.world.stock()), self.world.launches), (2, 3))

    def test_a_leader_that_does_not_know_yet(self) -> None:
        """Whoever was elected meanwhile has counted without what it writes: it is refused."""
        first, second = self.two(1)
        self.world.wait(120.0)
        asked: list[str] = []

        def overtake(call: object) -> None:
            self.depose()
            asked.append(self.world.ask("small"))

        self.world.inspector.before(
            "transaction",
            overtake,
            client=first.client,
            path=lambda path: "/requests/900-" in path,
        )
        self.world.use("small", 60.0)
        self.world.settle()
        self.assertEqual(self.world.leaders(), [second])
        self.assertEqual([request.id for request in self.world.asked()], asked)
        self.assertEqual(self.world.written, {"900-0000000000"})

    def test_a_label_that_only_one_has(self) -> None:
        """Whoever has no number for a label does not stand for it."""
        first, second = self.two(2, other=0)
        first.kill()
        self.world.wait(60.0)
        self.assertEqual(self.world.leaders(), [])
        self.assertEqual(second.min_ready.keepers(), ())

    def test_numbers_differ(self) -> None:
        """The leader's own counts."""
        first, second = self.two(1, other=3)
        self.world.wait(120.0)
        self.assertEqual(len(self.world.stock()), 1)
        first.reload(config_of({"small": 0}))
        self.assertEqual(self.world.leaders(), [second])
        self.world.wait(120.0)
        self.assertEqual(len(self.world.stock()), 3)

    def test_a_node_of_a_launcher_that_is_gone(self) -> None:
        """One that nobody goes on making counts for ten minutes, and then no more."""
        self.world.put("small", state=NodeState.BUILDING, provider="sea")
        self.world.start(config_of({"small": 1}))
        self.world.wait(500.0)
        self.assertEqual(len(self.world.written), 0)
        self.world.wait(300.0)
        self.assertEqual(len(self.world.stock()), 1)

    def test_out_of_touch(self) -> None:
        """Without a connection nothing is asked for; with the next one it goes on."""
        process = self.world.start(config_of({"small": 1}))
        self.world.wait(120.0)
        self.world.inspector.suspend(process.client)
        self.world.use("small", 60.0)
        self.world.wait(5.0)
        self.assertEqual(process.leads(), [])
        self.assertEqual(self.world.asked(), [])
        self.world.inspector.resume(process.client)
        self.world.wait(5.0)
        self.assertEqual(len(self.world.asked()), 1)

    def test_stopping(self) -> None:
        """Nothing happens after the stop, which waits for what is in flight."""
        process = self.world.start(config_of({"small": 1}))
        self.world.wait(120.0)
        self.world.use("small", 60.0)
        stopped = process.min_ready.stopService()
        self.assertNoResult(stopped)
        self.world.settle()
        self.successResultOf(stopped)
        written = set(self.world.written)
        self.world.use("small", 60.0)
        self.world.wait(600.0)
        self.assertEqual(self.world.written, written)
        self.assertEqual(self.world.inspector.dump(paths.min_ready_election("small") + "/"), {})

    def test_stopping_with_more_to_do(self) -> None:
        """What was noticed during a wait for ZooKeeper is not waited for either."""
        process = self.world.start(config_of({"small": 1}))
        self.world.wait(120.0)
        (keeper,) = process.min_ready.keepers()
        done: list[bool] = []

        def away(_: object) -> None:
            keeper.look()
            done.append(keeper.done)
            self.world.inspector.suspend(process.client)

        self.world.inspector.before("transaction", away, path="/", client=process.client)
        self.world.use("small", 60.0)
        self.world.settle()
        self.assertEqual(done, [False])
        self.successResultOf(process.min_ready.stopService())

    def test_stopping_without_a_connection(self) -> None:
        """It is not waited for, whatever was about to be done."""
        for idle in (True, False):
            process = self.world.start(config_of({"small": 1}))
            self.world.wait(120.0)
            if not idle:
                self.world.use("small", 60.0)
                self.world.clock.advance(0)
            self.world.inspector.suspend(process.client)
            self.world.settle()
            self.successResultOf(process.min_ready.stopService())
