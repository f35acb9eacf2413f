"""A lease from its wish to its end."""

from __future__ import annotations

import json
from datetime import datetime

import attrs

from nodepool_tx.model import NodeState, RequestState
from nodepool_tx.reports.lists import node_report
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_request
from tests.leases.stage import LeaseTestCase
from tests.metrics.stage import CONFIG as CLOUD


class LifeTests(LeaseTestCase):
    """What users get."""

    def test_whole_life(self) -> None:
        """Asked for, given, renewed, given back: and the nodes are in service again."""
        answer = self.call("POST", "/api/requests", {"labels": ["small", "large"], "ttl": 60})
        self.assertEqual(answer.status, 201)
        lease = answer.json
        self.assertEqual(answer.headers["location"], f"/api/leases/{lease['id']}")
        self.assertEqual((lease["state"], lease["ttl"], lease["user"]), ("waiting", 60, "ci"))
        self.assertTrue(lease["request"].startswith("100-"))
        self.wait(1)
        lease = self.look(lease["id"])
        self.assertEqual(lease["state"], "ready")
        self.assertEqual([node["label"] for node in lease["nodes"]], ["small", "large"])
        first = lease["nodes"][0]
        self.assertEqual(
            (first["hostname"], first["username"], first["port"]), ("web1", "zuul", 22)
        )
        self.assertEqual(first["connection_type"], "ssh")
        self.assertTrue(first["host_keys"])
        self.assertEqual(len(self.held()), 2)
        self.assertEqual(self.requests_there(), [])
        before = lease["expires"]
        self.wait(30)
        answer = self.call("POST", f"/api/leases/{lease['id']}/renew", {"ttl": 120})
        self.assertEqual((answer.status, answer.json["ttl"]), (200, 120))
        self.assertEqual(answer.json["expires"], self.clock.seconds() + 120)
        self.assertGreater(answer.json["expires"], before)
        self.wait(100)
        self.assertEqual(self.look(lease["id"])["state"], "ready")
        over = self.call("DELETE", f"/api/leases/{lease['id']}")
        self.assertEqual((over.status, over.json["state"], over.json["nodes"]), (200, "ended", []))
        self.wait(10)
        self.assert_all_free()
        self.assertEqual(self.look(lease["id"])["reason"], "its user gave it back")
        self.wait(601)
        self.assertEqual(self.call("GET", f"/api/leases/{lease['id']}").status, 404)
        self.assertIsNone(self.lease(lease["id"]))

    def test_held(self) -> None:
        """Leased nodes are held, as Nodepool's own list shows with a comment."""
        lease = self.ready("small", ttl=90.5)
        (node,) = self.held()
        comment = f"lease {lease['id']} of ci"
        self.assertEqual(
            (node.comment, node.hold_job, node.hold_expiration, node.allocated_to),
            (comment, f"lease {lease['id']}", 151, lease["request"]),
        )
        self.assertEqual(node.state_time, lease["since"])
        report = node_report([node], lambda _: False, self.clock.seconds(), detail=True)
        shown = report.as_table()
        self.assertIn("| hold ", shown)
        self.assertIn(comment, shown)

    def test_never_renewed(self) -> None:
        """A lease that nobody renews ends by itself, and its nodes come back."""
        lease = self.ready("small", "large", ttl=60)
        self.wait(58)
        self.assertEqual(self.look(lease["id"])["state"], "ready")
        self.wait(12)
        self.assertEqual(self.look(lease["id"])["state"], "ended")
        self.assertEqual(self.look(lease["id"])["reason"], "nobody renewed it in time")
        self.assert_all_free()

    def test_never_served(self) -> None:
        """One that waits ends too, and so does its request."""
        self.ready("small", "small")
        waiting = self.ask("small", ttl=30)
        self.wait(2)
        waiting = self.look(waiting["id"])
        self.assertEqual(waiting["state"], "waiting")
        self.assertIn("small", waiting["reason"])
        self.assertEqual(self.requests_there(), [waiting["request"]])
        self.wait(30)
        self.assertEqual(self.look(waiting["id"])["state"], "ended")
        self.assertEqual(self.requests_there(), [])

    def test_waiting_is_renewed(self) -> None:
        """Who waits for long renews meanwhile."""
        busy = self.ready("large")
        waiting = self.ask("large", ttl=30)
        self.wait(20)
        answer = self.call("POST", f"/api/leases/{waiting['id']}/renew")
        self.assertEqual((answer.status, answer.json["state"]), (200, "waiting"))
        self.wait(20)
        self.call("DELETE", f"/api/leases/{busy['id']}")
        self.wait(5)
        self.assertEqual(self.look(waiting["id"])["state"], "ready")

    def test_called_off(self) -> None:
        """Giving back what is not there yet takes the request out of the queue."""
        self.ready("large")
        waiting = self.ask("large")
        self.wait(1)
        self.assertEqual(self.call("DELETE", f"/api/leases/{waiting['id']}").json["state"], "ended")
        self.assertEqual(self.requests_there(), [])

    def test_called_off_while_a_launcher_works_on_it(self) -> None:
        """A request whose lock is held goes all the same."""
        self.ready("large")
        waiting = self.ask("large")
        self.wait(1)
        lock = self.lock(paths.request_lock(waiting["request"]))
        self.settle()
        self.assertEqual(self.call("DELETE", f"/api/leases/{waiting['id']}").json["state"], "ended")
        self.wait(3)
        self.assertEqual(self.requests_there(), [])
        self.delete(lock)

    def test_twice(self) -> None:
        """Giving back again changes nothing; renewing what is over is refused."""
        lease = self.ready("small")
        for _ in range(2):
            answer = self.call("DELETE", f"/api/leases/{lease['id']}")
            self.assertEqual((answer.status, answer.json["state"]), (200, "ended"))
        answer = self.call("POST", f"/api/leases/{lease['id']}/renew")
        self.assertEqual((answer.status, answer.json["error"]), (409, "the lease is over"))
        self.assertEqual(answer.json["detail"]["reason"], "its user gave it back")

    def test_deleted_by_an_operator(self) -> None:
        """``nodepool delete`` of a leased node ends the lease, which says so; the rest is free."""
        lease = self.ready("small", "large")
        lost = lease["nodes"][0]["id"]
        self.change_node(lost, state=NodeState.DELETING)
        self.wait(10)
        lease = self.look(lease["id"])
        self.assertEqual((lease["state"], lease["nodes"]), ("failed", []))
        self.assertIn(lost, lease["reason"])
        self.wait(10)
        self.assert_all_free()

    def test_deleted_at_once(self) -> None:
        """A leased node whose znode disappears is told of as well."""
        lease = self.ready("large")
        self.delete(paths.node(lease["nodes"][0]["id"]))
        self.wait(5)
        self.assertIn("is gone", self.look(lease["id"])["reason"])

    def test_request_removed(self) -> None:
        """A request that somebody removes takes its lease with it."""
        self.ready("large")
        waiting = self.ask("large")
        self.delete(paths.request(waiting["request"]))
        self.wait(1)
        self.assertEqual(self.look(waiting["id"])["state"], "failed")

    def test_declined(self) -> None:
        """What every pool declines fails, with the reason; nothing is left of it."""
        busy = self.ready("large")
        waiting = self.ask("large")
        request = self.request(waiting["request"])
        failed = request.in_state(RequestState.FAILED, 1.0, declined_by=("host-rack-main",))
        self.inspector.set(paths.request(request.id), encode_request(failed))
        self.wait(3)
        lease = self.look(waiting["id"])
        self.assertEqual(lease["state"], "failed", lease)
        self.assertIn("declined by host-rack-main", lease["reason"])
        self.call("DELETE", f"/api/leases/{busy['id']}")
        self.wait(5)
        self.assert_all_free()

    def test_node_gone_before_it_was_handed_over(self) -> None:
        """A fulfilled request whose node disappears fails the lease; its other nodes are free."""
        self.done(self.service.stopService())
        lease = self.ask("small", "large")
        self.wait(2)
        request = self.request(lease["request"])
        self.assertEqual(request.state, RequestState.FULFILLED)
        self.change_node(request.nodes[1], state=NodeState.DELETING)
        self.service.startService()
        self.wait(10)
        self.assertEqual(self.look(lease["id"])["state"], "failed")
        self.assert_all_free()

    def test_max_hold_age(self) -> None:
        """No more is granted than nodes may be held, and the answer says so."""
        self.config = attrs.evolve(self.config, max_hold_age=45.0)
        lease = self.ready("small", ttl=3600)
        self.assertEqual(lease["ttl"], 45)
        self.wait(40)
        renewed = self.call("POST", f"/api/leases/{lease['id']}/renew", {"ttl": 3600}).json
        self.assertEqual(renewed["ttl"], 45)
        self.wait(40)
        self.assertEqual(self.look(lease["id"])["state"], "ready")
        self.wait(70)
        self.assertEqual(self.look(lease["id"])["state"], "ended")
        self.assert_all_free()

    def test_max_ttl(self) -> None:
        """No more is granted than is configured."""
        assert self.settings is not None
        self.settings = attrs.evolve(self.settings, ttl=20.0, max_ttl=30.0)
        self.assertEqual(self.ask("small")["ttl"], 20)
        self.assertEqual(self.ask("small", ttl=31)["ttl"], 30)

    def test_without_launchers_of_ours(self) -> None:
        """When nobody is left to end a lease, its hold expires for whoever looks after nodes."""
        self.ready("small", ttl=60)
        self.done(self.service.stopService())
        self.wait(110)
        self.assertEqual(len(self.held()), 1)
        self.wait(80)
        self.assert_all_free()
        self.service.startService()

    def test_unreadable(self) -> None:
        """A lease that makes no sense is left alone, and so is its request."""
        self.ready("large")
        waiting = self.ask("large")
        path = paths.lease(waiting["id"])
        for data in (b"", b"{", b"[]", b'{"state": "odd"}', b'{"state": "ready"}', b"[" * 99999):
            self.inspector.set(path, data)
            self.wait(2)
            self.assertIn(waiting["id"], self.store.leases.unreadable)
            self.assertEqual(self.call("GET", f"/api/leases/{waiting['id']}").status, 404)
            self.assertEqual(self.inspector.dump(path)[path], data)
        self.assertEqual(self.requests_there(), [waiting["request"]])
        self.delete(path)
        self.wait(2)
        self.assertEqual(self.requests_there(), [])
        self.assertEqual(self.store.leases.unreadable, {})

    def test_cloud(self) -> None:
        """A cloud node is made for a lease, and deleted when it is returned."""
        self.bring(CLOUD)
        lease_id = self.ask("cloudy")["id"]
        self.wait(30)
        lease = self.look(lease_id)
        self.assertEqual(lease["state"], "ready", lease)
        (shown,) = lease["nodes"]
        self.assertEqual((shown["provider"], shown["label"]), ("cloud", "cloudy"))
        self.assertTrue(shown["address"])
        self.call("DELETE", f"/api/leases/{lease_id}")
        self.wait(60)
        self.assertNotIn(shown["id"], self.nodes())
        self.assertEqual(self.requests_there(), [])

    def test_records(self) -> None:
        """Nodepool's records keep what we know nothing of, and every key that it writes."""
        self.done(self.service.stopService())
        lease = self.ask("large")
        self.wait(2)
        (node_id,) = self.request(lease["request"]).nodes
        path = paths.node(node_id)
        before = {**json.loads(self.inspector.dump(path)[path]), "of_the_future": [1]}
        self.inspector.set(path, json.dumps(before).encode())
        self.service.startService()
        self.wait(2)
        self.call("POST", f"/api/leases/{lease['id']}/renew", {"ttl": 99})
        held = json.loads(self.inspector.dump(path)[path])
        changed = {key for key in before.keys() | held.keys() if before.get(key) != held.get(key)}
        self.assertEqual(changed, {"state", "state_time", "hold_expiration", "hold_job", "comment"})
        self.assertEqual(held.keys(), before.keys())
        self.assertEqual((held["state"], held["hold_expiration"]), ("hold", 159))

    def test_mixed_order(self) -> None:
        """Nodes come in the order of their labels."""
        lease = self.ready("large", "small", "small")
        names = [(node["label"], node["hostname"]) for node in lease["nodes"]]
        self.assertEqual(names, [("large", "web2"), ("small", "web1"), ("small", "web1")])
        self.assertEqual(len({node["id"] for node in lease["nodes"]}), 3)

    def test_times(self) -> None:
        """Times are seconds since the epoch."""
        lease = self.ask("small")
        self.assertEqual(datetime.fromtimestamp(lease["created"]).year, 2023)
        self.assertEqual(lease["expires"] - lease["created"], lease["ttl"])


class WaitingTests(LeaseTestCase):
    """Long polls."""

    def test_answered_when_it_is_ready(self) -> None:
        """Who waits hears of the nodes the moment they are there."""
        busy = self.ready("large")
        waiting = self.ask("large")
        visitor = self.send("GET", f"/api/leases/{waiting['id']}?wait=60")
        self.wait(5)
        self.assertEqual(visitor.wire.value(), b"")
        self.call("DELETE", f"/api/leases/{busy['id']}")
        self.wait(5)
        self.assertEqual(visitor.answer().json["state"], "ready")

    def test_answered_after_the_time(self) -> None:
        """Who waits for nothing hears that, in time."""
        self.ready("large")
        waiting = self.ask("large")
        visitor = self.send("GET", f"/api/leases/{waiting['id']}?wait=7")
        self.wait(6)
        self.assertEqual(visitor.wire.value(), b"")
        self.wait(2)
        self.assertEqual(visitor.answer().json["state"], "waiting")
        self.assertEqual(len(self.polls), 0)

    def test_waiting_for_the_end(self) -> None:
        """Who has nodes can wait to hear that they are taken away."""
        lease = self.ready("large")
        self.assertEqual(
            self.call("GET", f"/api/leases/{lease['id']}?wait=60").json["state"], "ready"
        )
        visitor = self.send("GET", f"/api/leases/{lease['id']}?wait=60&state=ready")
        self.wait(5)
        self.assertEqual(visitor.wire.value(), b"")
        self.change_node(lease["nodes"][0]["id"], state=NodeState.DELETING)
        self.wait(1)
        self.assertEqual(visitor.answer().json["state"], "failed")

    def test_one_waits(self) -> None:
        """Who asks anew takes the place of who asked before."""
        self.ready("large")
        waiting = self.ask("large")
        path = f"/api/leases/{waiting['id']}?wait=60"
        first, second = self.send("GET", path), self.send("GET", path)
        self.settle()
        self.assertEqual(first.answer().json["state"], "waiting")
        self.assertEqual(second.wire.value(), b"")
        self.assertEqual(len(self.polls), 1)
        second.leave()
        self.settle()
        self.assertEqual(len(self.polls), 0)

    def test_stopping(self) -> None:
        """Everybody is answered when the launcher stops."""
        self.ready("large")
        waiting = self.ask("large")
        visitor = self.send("GET", f"/api/leases/{waiting['id']}?wait=60")
        self.polls.stopService()
        self.settle()
        self.assertEqual(visitor.answer().json["state"], "waiting")
        self.polls.startService()
