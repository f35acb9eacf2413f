"""The page about leases, and the description for programs, say what is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import jsonschema_rs

import nodepool_tx
from nodepool_tx.config.operations import Leases
from nodepool_tx.leases import bodies, plan, polls
from nodepool_tx.leases.description import COMPONENTS, PATHS
from nodepool_tx.store.leases import REQUESTOR
from nodepool_tx.web.openapi import description
from nodepool_tx.web.site import LARGEST_BODY
from tests.leases.stage import LeaseTestCase

PAGE = (Path(nodepool_tx.__file__).parents[1] / "docs" / "leases.md").read_text()


def properties(name: str) -> list[str]:
    """The keys of an object that is described."""
    return list(COMPONENTS["schemas"][name]["properties"])


def test_paths() -> None:
    """The page has every operation."""
    for path, operations in PATHS.items():
        for method in operations:
            assert f"`{method.upper()} {path}`" in PAGE


def test_keys() -> None:
    """It has every key of what is sent and answered, and of the configuration."""
    wish = PATHS["/api/requests"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    for key in (*wish["properties"], *properties("Lease"), *properties("LeasedNode")):
        assert f"`{key}`" in PAGE, key
    for field in attrs.fields(Leases):
        assert re.search(rf"^    {field.name.replace('_', '-')}:", PAGE, re.M), field.name


def test_numbers() -> None:
    """It has the limits."""
    for text in (
        f"1 to {bodies.MOST_LABELS}; all nodes",
        f"{bodies.PRIORITIES[0]} to {bodies.PRIORITIES[1]}, smaller",
        f"at most {bodies.LONGEST_COMMENT} characters, for",
        f"at most {bodies.LONGEST_KEY} characters",
        f"seconds, at most {polls.LONGEST_WAIT})",
        f"At most {polls.MOST_WAITING} requests wait",
        f"more than {LARGEST_BODY // 1024} KiB",
        f"`{REQUESTOR}ID`",
    ):
        assert text in PAGE, text
    assert (plan.KEPT, plan.GRACE) == (600, 60), "the page says ten minutes, and a minute"


def test_statuses() -> None:
    """It explains every status that is described."""
    explained = set(re.findall(r"\b[2345]\d\d\b", PAGE))
    described = {
        status
        for operations in PATHS.values()
        for operation in operations.values()
        for status in operation["responses"]
    }
    assert described <= explained


class AnswerTests(LeaseTestCase):
    """What is answered is what is described."""

    def check(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        """The answer to a request, compared with its description."""
        whole = description("1.0", PATHS, COMPONENTS)
        answer = self.call(method, path, body, **more)
        for described, operations in PATHS.items():
            pattern = described.replace("{lease_id}", "[^/]+")
            if re.fullmatch(pattern, path.partition("?")[0]):
                response = operations[method.lower()]["responses"][str(answer.status)]
        schema = response["content"]["application/json"]["schema"]
        checker = jsonschema_rs.Draft202012Validator({**schema, "components": whole["components"]})
        checker.validate(answer.json)
        self.assertLessEqual(
            {name.lower() for name in response.get("headers", ())}, set(answer.headers)
        )
        return answer.json

    def test_described(self) -> None:
        """In every state, and with every error."""
        ready = self.ready("small", "large", comment="ünusual")
        waiting = self.ask("large")
        self.check("POST", "/api/requests", {"labels": ["small"], "key": "k"})
        self.check("POST", "/api/requests", {"labels": ["small"], "key": "k"})
        self.check("POST", "/api/requests", {"labels": ["large"], "key": "k"})
        self.check("POST", "/api/requests", {"labels": ["none"]})
        self.check("POST", "/api/requests", {})
        self.check("GET", "/api/leases", user=None)
        for lease in (ready, waiting):
            self.check("GET", f"/api/leases/{lease['id']}")
            self.check("POST", f"/api/leases/{lease['id']}/renew")
        self.check("GET", "/api/leases")
        for lease in (ready, waiting):
            self.check("DELETE", f"/api/leases/{lease['id']}")
            self.check("GET", f"/api/leases/{lease['id']}")
            self.check("POST", f"/api/leases/{lease['id']}/renew")
        self.check("GET", "/api/leases/none")
        self.settings = None
        self.check("GET", "/api/leases")

    def test_served(self) -> None:
        """The description is served with the rest, and refers to nothing that is not there."""
        served = self.get("/api/openapi.json").json
        self.assertEqual(set(served["paths"]["/api/requests"]), {"get", "post"})
        referred = set(re.findall(r"#/components/schemas/(\w+)", str(served)))
        self.assertEqual(referred, set(served["components"]["schemas"]))
