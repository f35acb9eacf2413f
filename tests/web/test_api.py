"""What the JSON API answers."""

from __future__ import annotations

import json
import math
from typing import Any

from nodepool_tx.model import Maintenance, MaintenanceMode, NodeState
from nodepool_tx.store.change import Uncertain
from nodepool_tx.web.app import Extension
from nodepool_tx.web.explanations import MOST_A_SECOND
from nodepool_tx.web.routing import Route
from tests.metrics.stage import CONFIG
from tests.web.stage import WebTestCase, dechunked


class ApiTests(WebTestCase):
    """With a farm that is up."""

    def setUp(self) -> None:
        super().setUp()
        self.bring()

    def test_status(self) -> None:
        """The status has the process, its ZooKeeper and the counts."""
        answer = self.get("/api/status")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "application/json")
        found = answer.json
        self.assertEqual((found["version"], found["hostname"]), ("1.0", "host.example"))
        self.assertEqual(found["counts"]["nodes"], {"ready": 3})
        self.assertTrue(found["zookeeper"]["current"])
        self.assertEqual(found["reload"]["last"]["added"], ["cloud", "rack"])

    def test_pages(self) -> None:
        """Pages of nodes follow one another by id, and the last one says so."""
        first = self.get("/api/nodes?limit=2").json
        second = self.get(f"/api/nodes?limit=2&after={first['next']}").json
        ids = [node["id"] for node in first["nodes"] + second["nodes"]]
        self.assertEqual(ids, sorted(self.nodes()))
        self.assertIsNone(second["next"])

    def test_filters(self) -> None:
        """Nodes are chosen by provider, pool, label and state."""
        everything = len(self.nodes())
        for query, count in (
            ("provider=rack", everything),
            ("provider=nowhere", 0),
            ("pool=main", everything),
            ("label=static-1.0", everything),
            ("label=static-1.0&state=hold", 0),
            ("state=ready", everything),
        ):
            self.assertEqual(len(self.get(f"/api/nodes?{query}").json["nodes"]), count, query)

    def test_node(self) -> None:
        """One node is had by its id, and another is not there."""
        node_id = sorted(self.nodes())[0]
        self.assertEqual(self.get(f"/api/nodes/{node_id}").json["id"], node_id)
        missing = self.get("/api/nodes/none")
        self.assertEqual((missing.status, missing.json["error"]), (404, "not found"))

    def test_secret_ports(self) -> None:
        """Connection data in place of a port is not shown."""
        node_id = self.add_node(
            provider="k8s", connection_port={"token": "secret"}, state=NodeState.READY
        )
        self.settle()
        answer = self.get(f"/api/nodes/{node_id}")
        self.assertIsNone(answer.json["port"])
        self.assertNotIn("secret", answer.text)

    def test_requests(self) -> None:
        """Requests come in the order of the queue, with why they wait."""
        labels = ["static-1.0"] * 4
        late = self.add_request(*labels, precedence=300)
        soon = self.add_request(*labels, precedence=100)
        self.settle()
        found = self.get("/api/requests").json["requests"]
        self.assertEqual([each["id"] for each in found], [soon, late])
        self.assertEqual([each["reason"] != "" for each in found], [True, True])
        self.assertEqual(self.get(f"/api/requests/{soon}").json["labels"], labels)
        self.assertEqual(self.get("/api/requests/100-none").status, 404)
        page = self.get("/api/requests?limit=1").json
        self.assertEqual(page["next"], soon)
        rest = self.get(f"/api/requests?limit=1&after={soon}").json
        self.assertEqual([each["id"] for each in rest["requests"]], [late])
        self.assertEqual(self.get("/api/requests?after=gone").status, 404)

    def test_reason(self) -> None:
        """A request for more than there is waits for nodes, and says which."""
        request_id = self.add_request("static-1.0", "static-1.0", "static-1.0", "static-1.0")
        self.settle()
        reason = self.get(f"/api/requests/{request_id}").json["reason"]
        self.assertIn("rack/main: ", reason)
        self.assertIn("3 of 4 free", reason)

    def test_nobody_offers_it(self) -> None:
        """A request for a label that nobody has fails, and that is its reason."""
        request_id = self.add_request("nothing-like-it")
        self.wait(1)
        found = self.get(f"/api/requests/{request_id}").json
        self.assertEqual((found["state"], found["reason"]), ("failed", "declined by every pool"))

    def test_providers(self) -> None:
        """A provider shows its pools, its hosts and what is out of service."""
        record = Maintenance(
            mode=MaintenanceMode.MAINTAIN, host="web1", reason="fan", since=1.0, by="ann"
        )
        self.done(self.store.maintenance.put(record))
        self.wait(1)
        providers = {each["name"]: each for each in self.get("/api/providers").json["providers"]}
        self.assertEqual(sorted(providers), ["cloud", "rack"])
        hosts = {each["hostname"]: each for each in providers["rack"]["hosts"]}
        self.assertEqual(hosts["web1"]["maintenance"]["reason"], "fan")
        self.assertIsNone(hosts["web2"]["maintenance"])
        self.assertEqual(hosts["web1"]["slots"], 2)
        self.assertEqual(providers["rack"]["pools"][0]["labels"], ["static-1.0"])
        self.assertEqual(providers["cloud"]["pools"][0]["max_servers"], 5)
        self.assertTrue(providers["cloud"]["quota"])
        shown = self.get("/api/maintenance").json["maintenance"]
        self.assertEqual([(each["host"], each["mode"]) for each in shown], [("web1", "maintain")])

    def test_history_and_reloads(self) -> None:
        """What happened is counted by minute, and reloads are listed, newest first."""
        self.exercise()
        found = self.get("/api/history?minutes=5").json
        self.assertEqual(found["bucket_seconds"], 60)
        self.assertEqual(sum(each["ready"] for each in found["launches"]["cloud"]), 1)
        self.assertEqual(sum(each["fulfilled"] for each in found["requests"]), 2)
        self.bring(CONFIG.replace("max-servers: 5", "max-servers: 4"))
        reloads = self.get("/api/reloads").json
        self.assertEqual([each["replaced"] for each in reloads["reloads"]], [["cloud"], []])
        self.assertEqual(reloads["errors"], [])

    def test_bad_parameters(self) -> None:
        """A parameter that cannot be used is named."""
        for path, name in (
            ("/api/nodes?limit=0", "limit"),
            ("/api/nodes?limit=ten", "limit"),
            ("/api/nodes?limit=%D9%A3", "limit"),
            ("/api/nodes?limit=1&limit=2", "limit"),
            ("/api/nodes?state=sleepy", "state"),
            ("/api/nodes?label=%FF", "label"),
            ("/api/history?minutes=100000", "minutes"),
            ("/api/events?topics=nodes,gossip", "topics"),
        ):
            answer = self.get(path)
            self.assertEqual(answer.status, 400, path)
            self.assertTrue(answer.json["detail"].startswith(f"{name}: "), answer.json)

    def test_long_answers(self) -> None:
        """A long list is whole, and waits for a client that does not read."""
        for number in range(250):
            self.add_node(provider="other", comment=f"number {number}")
        self.settle()
        visitor = self.visit()
        visitor.ask("/api/nodes")
        visitor.wire.fill()
        begun = visitor.hear()
        self.clock.advance(1)
        self.assertEqual(visitor.hear(), b"")
        visitor.wire.drain()
        self.settle()
        visitor.wire.write(b"")
        found = json.loads(dechunked(begun + visitor.hear()))
        self.assertEqual(len(found["nodes"]), 253)

    def test_a_client_that_never_reads(self) -> None:
        """A client that reads nothing for a minute is cut off."""
        for _ in range(250):
            self.add_node(provider="other")
        self.settle()
        visitor = self.visit()
        visitor.ask("/api/nodes")
        visitor.wire.fill()
        self.clock.advance(61)
        self.assertTrue(visitor.wire.aborted)


class ExtrasTests(WebTestCase):
    """What other parts of the program bring."""

    def test_without(self) -> None:
        """What is not configured is not found, and says so."""
        self.bring()
        for path, method in (
            ("/metrics", "GET"),
            ("/api/requests", "POST"),
            ("/api/leases", "GET"),
            ("/api/leases/x/renewal", "POST"),
            ("/api/requests/x/explanation", "GET"),
        ):
            answer = self.get(path, method)
            self.assertEqual((answer.status, answer.json["error"]), (404, "not configured"), path)

    def test_leases(self) -> None:
        """Another part serves paths beside ours, and describes them."""

        def make(request: Any) -> bytes:
            return b"made"

        def release(request: Any, lease_id: str) -> bytes:
            return lease_id.encode()

        self.serve(
            leases=Extension(
                routes=(
                    Route("/api/requests", make, methods=("POST",)),
                    Route("/api/leases/<lease_id>", release, methods=("DELETE",)),
                ),
                paths={
                    "/api/requests": {"post": {"responses": {}}},
                    "/api/leases/{lease_id}": {"delete": {"responses": {}}},
                },
            )
        )
        self.bring()
        self.assertEqual(self.get("/api/requests", "POST").body, b"made")
        self.assertEqual(self.get("/api/leases/7", "DELETE").body, b"7")
        self.assertEqual(self.get("/api/requests").json["requests"], [])
        paths = self.get("/api/openapi.json").json["paths"]
        self.assertEqual(set(paths["/api/requests"]), {"get", "post"})
        self.assertIn("/api/leases/{lease_id}", paths)

    def test_explanations(self) -> None:
        """Who asks the same within a second gets the same explanation; nobody asks too much."""
        asked: list[str] = []

        async def explain(request_id: str) -> Any:
            asked.append(request_id)
            if request_id == "away":
                raise Uncertain("lost")
            return {"summary": request_id} if request_id != "none" else None

        self.serve(explain=explain)
        self.bring()
        for _ in range(3):
            self.assertEqual(self.get("/api/requests/a/explanation").json, {"summary": "a"})
        self.assertEqual(asked, ["a"])
        self.clock.advance(1.1)
        self.get("/api/requests/a/explanation")
        self.assertEqual(asked, ["a", "a"])
        self.assertEqual(self.get("/api/requests/none/explanation").status, 404)
        away = self.get("/api/requests/away/explanation")
        self.assertEqual((away.status, away.headers["retry-after"]), (503, "1"))

    def test_too_many_explanations(self) -> None:
        """However quickly they are made, only so many are begun in a second."""

        async def explain(request_id: str) -> Any:
            return {"summary": request_id}

        self.serve(explain=explain)
        self.bring()
        for _ in range(2):
            paths = [f"/api/requests/{number}/explanation" for number in range(2 * MOST_A_SECOND)]
            told = [self.get(path).status for path in paths]
            self.assertEqual(told, [200] * MOST_A_SECOND + [503] * MOST_A_SECOND)
            self.assertEqual(self.get(paths[0]).status, 200)
            self.clock.advance(1.1)


class FaultTests(WebTestCase):
    """When something is wrong in here."""

    def test_no_traceback(self) -> None:
        """A fault is told by a reference, which the log explains."""

        def fail(request: Any) -> bytes:
            raise RuntimeError("the inside of it")

        self.serve(leases=Extension(routes=(Route("/api/broken", fail),)))
        answer = self.get("/api/broken")
        self.assertEqual(answer.status, 500)
        self.assertNotIn("inside", answer.text)
        self.assertEqual(set(answer.json["detail"]), {"reference"})
        (logged,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn("the inside of it", str(logged.value))

    def test_a_node_beyond_reason(self) -> None:
        """Whatever stands in a record can be shown."""
        self.bring()
        odd = {"a": [1, math.inf, {"b": math.nan}]}
        node_id = self.add_node(provider="odd", comment="\ud800 \x00 <b>", external_id=odd)
        self.settle()
        answer = self.get(f"/api/nodes/{node_id}")
        self.assertNotIn("NaN", answer.text)
        found = answer.json
        self.assertEqual(found["external_id"], {"a": [1, None, {"b": None}]})
        self.assertIn("<b>", found["comment"])
