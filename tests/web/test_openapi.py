"""The description says what is true: every path, and what its answers look like."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs

import nodepool_tx
from nodepool_tx.assembly import web
from nodepool_tx.events import LaunchEnded, RequestEnded
from nodepool_tx.model import (
    ImageBuild,
    ImageState,
    ImageUpload,
    Maintenance,
    MaintenanceMode,
    NodeState,
)
from nodepool_tx.store import paths as places
from nodepool_tx.store.codec import encode_image_build, encode_image_upload
from nodepool_tx.web import explanations, hub, site, slices
from nodepool_tx.web.openapi import TOPICS, description
from tests.metrics.stage import CONFIG
from tests.web.stage import WebTestCase

#: Not described: files, and what Prometheus knows by itself.
NOT_DESCRIBED = {"/", "/static/{name}", "/metrics"}

UNAVAILABLE = """
  - name: moon
    driver: azure
    pools: []
"""


def checked(schema: dict[str, Any], whole: dict[str, Any]) -> Any:
    """What checks a value against one schema of the description."""
    jsonschema_rs.meta.validate(schema)
    return jsonschema_rs.Draft202012Validator({**schema, "components": whole["components"]})


class DescriptionTests(WebTestCase):
    """Of the whole."""

    def setUp(self) -> None:
        super().setUp()
        self.described = description("1.0", {}, {})

    def test_paths(self) -> None:
        """All paths but files are described, with their parameters and methods, and no others."""
        routes: dict[str, set[str]] = {}
        for route in self.app.routes():
            if not route.branch:
                path = re.sub(r"<(\w+)>", r"{\1}", route.path)
                routes.setdefault(path, set()).update(method.lower() for method in route.methods)
        described = {path: set(each) for path, each in self.described["paths"].items()}
        # Without leases making requests is only there to say so.
        routes["/api/requests"].discard("post")
        self.assertEqual({p: m for p, m in routes.items() if p not in NOT_DESCRIBED}, described)
        for path, operations in self.described["paths"].items():
            named = {each["name"] for each in operations["get"].get("parameters", ())}
            self.assertLessEqual(set(re.findall(r"{(\w+)}", path)), named)

    def test_page(self) -> None:
        """The page about HTTP names every path, topic and limit."""
        page = (Path(nodepool_tx.__file__).parents[1] / "docs" / "http-api.md").read_text()
        for path in self.described["paths"]:
            self.assertIn(f"`{path}`", page)
        for topic in (*TOPICS, "resync"):
            self.assertIn(f"`{topic}`", page)
        for number in (site.LONGEST_LINE, site.LARGEST_HEAD, site.LARGEST_BODY):
            self.assertIn(f"| {number // 1024} KiB", page)
        for number in (site.WHOLE_REQUEST, site.IDLE, slices.PATIENCE):
            self.assertIn(f"| {number:g} s", page)
        for number in (hub.MOST_STREAMS, explanations.MOST, web.SPARE_CONNECTIONS):
            self.assertIn(f"| {number:,}", page)

    def test_references(self) -> None:
        """Whatever is referred to is there, and is used."""
        text = str(self.described)
        referred = set(re.findall(r"#/components/schemas/(\w+)", text))
        self.assertEqual(referred, set(self.described["components"]["schemas"]))

    def test_topics(self) -> None:
        """The topics described are those that can be listened to."""
        self.assertEqual(self.hub.topics, TOPICS)

    def test_served(self) -> None:
        """The description is served."""
        self.assertEqual(self.get("/api/openapi.json").json, self.described)

    def test_bad_parameters(self) -> None:
        """Limits of numbers are those described."""
        self.bring()
        for path, operations in self.described["paths"].items():
            for parameter in operations["get"].get("parameters", ()):
                schema, name = parameter["schema"], parameter["name"]
                if schema.get("type") != "integer":
                    continue
                for value, status in (
                    (schema["minimum"], 200),
                    (schema["minimum"] - 1, 400),
                    (schema["maximum"], 200),
                    (schema["maximum"] + 1, 400),
                ):
                    answer = self.get(f"{path}?{name}={value}")
                    self.assertEqual(answer.status, status, (path, name, value))


class AnswerTests(WebTestCase):
    """Of a farm with something of everything."""

    def setUp(self) -> None:
        super().setUp()
        self.bring(CONFIG + UNAVAILABLE)
        self.exercise()
        record = Maintenance(
            mode=MaintenanceMode.MAINTAIN, host="web1", since=1.0, until=self.clock.seconds() + 999
        )
        self.done(self.store.maintenance.put(record))
        self.hosts.take_down("web2")
        self.node_id = self.add_node(
            provider="other", state=NodeState.HOLD, hold_job="job", resources={"cores": 2}
        )
        self.request_id = self.add_request(*["static-1.0"] * 4)
        self.add_images()
        for event in (
            LaunchEnded(
                provider="cloud", pool="p", label="l", node_id="1", result="timeout", seconds=3.0
            ),
            RequestEnded(
                request_id="1", provider="a", pool="b", labels=(), result="declined", seconds=1.0
            ),
        ):
            self.events.publish(event)
        self.wait(2)

    def add_images(self) -> None:
        build = ImageBuild(image="debian", id="1", state=ImageState.READY, formats=("raw",))
        upload = ImageUpload(
            image="debian", build_id="1", provider="cloud", id="2", state=ImageState.UPLOADING
        )
        for path, data in (
            (places.image_build("debian", "1"), encode_image_build(build)),
            (places.image_upload("debian", "1", "cloud", "2"), encode_image_upload(upload)),
        ):
            self.done(self.stranger.create(path, data, makepath=True))

    def test_answers(self) -> None:
        """Each answer is as described."""
        described = description("1.0", {}, {})
        seen = 0
        for path, operations in described["paths"].items():
            if path == "/api/events" or path.endswith("/explanation"):
                continue
            real = path.format(node_id=self.node_id, request_id=self.request_id)
            for missing in (False, True):
                if missing and real == path:
                    continue
                asked = real + "-none" if missing else real
                answer = self.get(asked, headers={"Accept": "application/json, */*;q=0.1"})
                response = operations["get"]["responses"][str(answer.status)]
                content_type = answer.headers["content-type"].partition(";")[0]
                schema = response["content"][content_type]["schema"]
                if content_type == "application/json":
                    checked(schema, described).validate(answer.json)
                    seen += 1
        self.assertGreaterEqual(seen, 20)

    def test_nothing_is_empty(self) -> None:
        """There was something of everything to describe."""
        providers = {each["name"]: each for each in self.get("/api/providers").json["providers"]}
        self.assertEqual(providers["moon"]["phase"], "unavailable")
        self.assertTrue(providers["rack"]["hosts"] and providers["rack"]["troubles"])
        self.assertTrue(providers["cloud"]["quota"] and providers["rack"]["waiting"])
        images = self.get("/api/images").json
        self.assertEqual([len(images["builds"]), len(images["uploads"])], [1, 1])
        history = self.get("/api/history").json
        self.assertTrue(history["launches"] and history["errors"] and history["requests"])
