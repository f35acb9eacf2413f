"""The web API under what schemathesis makes of its description, on a launcher with real data."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from nodepool_tx.leases.description import PATHS as LEASE_PATHS
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node, encode_request
from nodepool_tx.web.openapi import PATHS
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.settings import at_zookeeper, configuration, host, provider
from tests.functional.zk_clients import fresh_root, kazoo
from tests.servers.zookeeper import shared_server

#: Streams have no end, so they are tried apart.
STREAM = "/api/events"

TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

CONFIG = configuration(
    provider(
        "rack",
        host("fake-1", "small", jobs=3),
        host("fake-2", "large"),
        host("127.0.0.9", "x"),
    )
)
CONFIG["nodepool-tx"] = {
    "leases": {
        "tokens": [{"name": "fuzz", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}],
        "max-leases": 60,
        "requests-per-minute": 100_000,
    }
}


class Server:
    """A launcher that serves a farm with something of everything."""

    def __init__(self, launcher: LauncherProcess, port: int) -> None:
        self.launcher = launcher
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def json(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)


def fill(zk: Any) -> None:
    """What no configuration brings: odd nodes, requests that wait, rubbish."""
    for fields in (
        {"state": NodeState.HOLD, "comment": "it's ünusual\n", "hold_job": "a b c"},
        {"state": NodeState.IN_USE, "connection_port": {"token": "secret"}, "az": "zone/1"},
        {"state": NodeState.DELETING, "external_id": {"id": [1, None]}, "type": ("a", "b")},
    ):
        zk.create(f"{paths.NODES}/", encode_node(Node(provider="other", **fields)), sequence=True)
    for labels in (("small",) * 9, ("large", "x"), ("nothing",)):
        request = NodeRequest(
            state=RequestState.REQUESTED,
            state_time=time.time(),
            created_time=time.time(),
            node_types=labels,
            requestor="fuzz",
            tenant_name="tenant",
        )
        zk.create(f"{paths.REQUESTS}/100-", encode_request(request), sequence=True)
    zk.create(f"{paths.NODES}/rubbish", b"\xff{", makepath=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = fresh_root()
    launcher = LauncherProcess(tmp_path_factory.mktemp("fuzz"))
    with contextlib.ExitStack() as stack:
        steward = kazoo(shared_server())
        steward.ensure_path(root)
        steward.stop()
        steward.close()
        zk = kazoo(shared_server(), root)
        stack.callback(zk.close)
        stack.callback(zk.stop)
        stack.callback(launcher.leave_nothing)
        where = at_zookeeper(CONFIG, shared_server().port, chroot=root, timeout=4)
        launcher.write({**where, "webapp": {"port": 0, "listen_address": "127.0.0.1"}})
        launcher.start()
        deadline = time.monotonic() + 30
        while not (found := re.search(r"serving HTTP on \S+ port (\d+)", launcher.log)):
            assert time.monotonic() < deadline, launcher.log
            time.sleep(0.05)
        server = Server(launcher, int(found[1]))
        while server.json("/api/status")["counts"]["nodes"].get("ready", 0) < 4:
            assert time.monotonic() < deadline, launcher.log
            time.sleep(0.05)
        fill(zk)
        time.sleep(0.5)
        yield server
        log = launcher.log_of_all_lives
        assert "Traceback" not in log, log[-5000:]


def lend(server: Server) -> str:
    """A lease that waits for ever; its id."""
    body = json.dumps({"labels": ["x"], "ttl": 9999}).encode()
    headers = {**BEARER, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/api/requests", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        lease_id: str = json.load(answer)["id"]
    return lease_id


@pytest.fixture(scope="module")
def schema(server: Server) -> Any:
    """The description, with ids that there are beside those that there are not."""
    described = server.json("/api/openapi.json")
    ids = {
        "node_id": [node["id"] for node in server.json("/api/nodes")["nodes"]],
        "request_id": [each["id"] for each in server.json("/api/requests")["requests"]],
    }
    assert all(ids.values())
    del described["paths"][STREAM]
    for path in PATHS.keys() - {STREAM}:
        for parameter in described["paths"][path]["get"].get("parameters", ()):
            if parameter["name"] in ids:
                kinds = [{"enum": ids[parameter["name"]]}, parameter["schema"]]
                parameter["schema"] = {"type": "string", "anyOf": kinds}
    for path, operations in LEASE_PATHS.items():
        for method in operations:
            for parameter in described["paths"][path][method].get("parameters", ()):
                if parameter["name"] == "lease_id":
                    parameter["schema"] = {"type": "string", "enum": ["mine", "nobody-has-it"]}
    body = described["paths"]["/api/requests"]["post"]["requestBody"]
    wish = body["content"]["application/json"]["schema"]["properties"]
    wish["labels"]["items"] = {"type": "string", "enum": ["small", "large", "x"]}
    wish["comment"]["pattern"] = wish["key"]["pattern"] = "^[ -~]*$"
    loaded = schemathesis.openapi.from_dict(described)
    loaded.config.update(base_url=server.url)
    return loaded


#: Whatever is asked of the others is right, if it can be sent at all.
CAN_BE_WRONG = ("/api/history", "/api/nodes", "/api/requests", "/node-list")


def ask(schema: Any, path: str, mode: GenerationMode) -> None:
    """Ask one path as schemathesis likes."""

    @seed(4)
    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path]["GET"].as_strategy(generation_mode=mode))
    def asked(case: schemathesis.Case) -> None:
        case.call_and_validate()

    asked()


@pytest.mark.parametrize("path", sorted(PATHS.keys() - {STREAM}))
def test_everything_described(schema: Any, path: str) -> None:
    """Whatever is asked is answered as described, and never with a fault of the server's."""
    ask(schema, path, GenerationMode.POSITIVE)


@pytest.mark.parametrize("path", CAN_BE_WRONG)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
def test_wrong_parameters(schema: Any, path: str) -> None:
    """What is described as wrong is refused."""
    ask(schema, path, GenerationMode.NEGATIVE)


#: Left out: asking without or with wrong credentials is answered late, which is tried apart;
#: and what is right by itself is refused where a lease is over, or there are too many.
LEFT_OUT = [ignored_auth, positive_data_acceptance]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(
    ("path", "method"),
    [(path, method.upper()) for path, each in sorted(LEASE_PATHS.items()) for method in each],
)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
def test_leases(server: Server, schema: Any, path: str, method: str, mode: GenerationMode) -> None:
    """Somebody with a token may send what they like: it is answered as described."""
    lease_id, statuses = lend(server), set()
    if mode is GenerationMode.NEGATIVE and (path, method) == ("/api/leases", "GET"):
        # There is nothing about it that could be wrong.
        mode = GenerationMode.POSITIVE

    @seed(4)
    @settings(
        max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def asked(case: schemathesis.Case) -> None:
        if isinstance(case.query, dict) and case.query.get("wait"):
            case.query["wait"] = 0 if isinstance(case.query["wait"], int) else case.query["wait"]
        if case.path_parameters.get("lease_id") == "mine":
            case.path_parameters["lease_id"] = lease_id
        answer = case.call_and_validate(headers=BEARER, excluded_checks=LEFT_OUT)
        statuses.add(answer.status_code)

    asked()
    if mode is GenerationMode.POSITIVE:
        assert statuses & {200, 201}, "it was never right"


@seed(4)
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    topics=st.one_of(
        st.lists(st.sampled_from(["status", "nodes", "requests", "providers"]), max_size=5).map(
            ",".join
        ),
        st.text(st.characters(codec="utf-8"), max_size=20),
    ),
    last=st.none() | st.from_regex(r"[ -~]{0,20}", fullmatch=True),
)
def test_streams(server: Server, topics: str, last: str | None) -> None:
    """A stream begins for topics that there are, whatever came before, and for no others."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        query = urllib.parse.urlencode({"topics": topics})
        headers = {} if last is None else {"Last-Event-ID": last}
        connection.request("GET", f"{STREAM}?{query}", headers=headers)
        answer = connection.getresponse()
        known = set(topics.split(",")) <= {"status", "nodes", "requests", "providers"}
        assert answer.status == (200 if known else 400)
        if known:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert answer.readline() == b"retry: 3000\n"
        else:
            assert json.load(answer)["error"] == "bad parameter"
    finally:
        connection.close()


@seed(4)
@settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    method=st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"BREW", b"\xff"]),
    path=st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")),
    head=st.lists(st.binary(max_size=40), max_size=4),
    body=st.binary(max_size=100),
)
def test_bytes(server: Server, method: bytes, path: bytes, head: list[bytes], body: bytes) -> None:
    """Bytes that are hardly HTTP are refused or answered, and do no harm."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        lines = [method + b" /" + path + b" HTTP/1.1", b"Host: x", b"Connection: close", *head]
        length = b"Content-Length: %d" % len(body)
        connection.sendall(b"\r\n".join([*lines, length, b"", body]))
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.match(rb"HTTP/1\.1 [234]\d\d ", answer) or not answer, answer[:200]
