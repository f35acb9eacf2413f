"""Nodes lent over HTTP by running launchers, to people who have no more than a URL."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import pathlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from kazoo.client import KazooClient

from nodepool_tx.leases.description import PATHS
from nodepool_tx.model import Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import decode_node, encode_node, encode_request
from nodepool_tx.store.leases import Lease, decode_lease, encode_lease, requestor_for
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.settings import at_zookeeper, configuration, host, provider
from tests.functional.zk_clients import fresh_root, kazoo
from tests.servers.certificates import Authority
from tests.servers.slapd import BASE, Slapd, group
from tests.servers.zookeeper import shared_server

TOKEN = "a-token-of-the-tests"

RACK = provider("rack", host("fake-1", "small", jobs=2), host("fake-2", "large"))


@attrs.frozen
class Reply:
    status: int
    headers: Any
    body: Any


@attrs.define
class Farm:
    """Launchers on one ZooKeeper, and somebody who talks to them."""

    directory: pathlib.Path
    zk: KazooClient
    config: dict[str, Any]
    launchers: list[LauncherProcess] = attrs.field(factory=list)
    ports: dict[LauncherProcess, int] = attrs.field(factory=dict)

    def start(self, launcher: LauncherProcess | None = None) -> LauncherProcess:
        """A launcher that serves HTTP and sees all nodes."""
        if launcher is None:
            launcher = LauncherProcess(self.directory / f"launcher-{len(self.launchers)}")
            launcher.write(self.config)
            self.launchers.append(launcher)
        launcher.start()

        def listening() -> bool:
            found = re.search(r"serving HTTP on \S+ port (\d+)", launcher.log)
            if found:
                self.ports[launcher] = int(found[1])
            return found is not None

        self.until(listening)
        self.until(lambda: self.ask(launcher, "GET", "/health/ready").status == 200)
        return launcher

    def until(self, there: Callable[[], Any], patience: float = 20.0) -> Any:
        """Wait for something, and give it."""
        deadline = time.monotonic() + patience
        while not (found := there()):
            assert time.monotonic() < deadline, self.launchers[-1].log[-3000:]
            time.sleep(0.02)
        return found

    def ask(
        self,
        launcher: LauncherProcess,
        method: str,
        path: str,
        body: Any = None,
        credentials: str | None = f"Bearer {TOKEN}",
    ) -> Reply:
        """One request, as curl would send it."""
        headers = {"Authorization": credentials} if credentials else {}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        url = f"http://127.0.0.1:{self.ports[launcher]}{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=70) as answer:
                return Reply(answer.status, answer.headers, json.load(answer))
        except urllib.error.HTTPError as e:
            with e:
                return Reply(e.code, e.headers, json.load(e))

    def lease(self, launcher: LauncherProcess, *labels: str, **more: Any) -> dict[str, Any]:
        """A new lease, when it has its nodes."""
        made = self.ask(launcher, "POST", "/api/requests", {"labels": labels, **more})
        assert made.status == 201, made
        return self.ready(launcher, made.body["id"])

    def ready(self, launcher: LauncherProcess, lease_id: str) -> dict[str, Any]:
        reply = self.ask(launcher, "GET", f"/api/leases/{lease_id}?wait=20")
        assert (reply.status, reply.body["state"]) == (200, "ready"), reply
        return dict(reply.body)

    def nodes(self) -> dict[str, Node]:
        found = {}
        for node_id in self.zk.get_children(paths.NODES):
            with contextlib.suppress(Exception):
                found[node_id] = decode_node(node_id, self.zk.get(paths.node(node_id))[0])
        return found

    def all_free(self) -> bool:
        nodes = self.nodes().values()
        states = [(node.state, node.allocated_to) for node in nodes]
        return states == [(NodeState.READY, None)] * 3 and not self.zk.get_children(paths.REQUESTS)

    def held(self) -> list[str]:
        return sorted(n.id for n in self.nodes().values() if n.state is NodeState.HOLD)


@pytest.fixture(scope="module")
def directory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    where: pathlib.Path = tmp_path_factory.mktemp("slapd")
    authority = Authority(where)
    certificate, key = authority.issue("slapd")
    (where / "cert.pem").write_bytes(certificate)
    (where / "key.pem").write_bytes(key)
    with Slapd(where, where / "cert.pem", where / "key.pem", authority.ca) as server:
        yield server


@pytest.fixture
def farm(tmp_path: pathlib.Path, directory_server: Slapd) -> Iterator[Farm]:
    root = fresh_root()
    with contextlib.ExitStack() as stack:
        steward = kazoo(shared_server())
        steward.ensure_path(root)
        steward.stop()
        steward.close()
        zk = kazoo(shared_server(), root)
        stack.callback(zk.close)
        stack.callback(zk.stop)
        config = at_zookeeper(configuration(RACK), shared_server().port, chroot=root, timeout=3)
        config["nodepool-tx"] = {
            "audit-log": str(tmp_path / "audit.log"),
            "ldap": {
                "url": directory_server.url,
                "ca": str(directory_server.ca),
                "group": group("ops"),
                "user-dn": f"uid={{user}},ou=people,{BASE}",
                "timeout": 3,
            },
            "leases": {
                "tokens": [
                    {"name": "ci", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest()},
                ],
                "ldap": True,
                "requests-per-minute": 600,
            },
        }
        farm = Farm(tmp_path, zk, config)
        try:
            yield farm
        finally:
            for launcher in farm.launchers:
                log = launcher.log_of_all_lives
                launcher.leave_nothing()
                assert "Traceback" not in log, log[-5000:]
                assert TOKEN not in log


def test_whole_life(farm: Farm, tmp_path: pathlib.Path) -> None:
    """From a wish to the next one who gets the nodes, with all that is written down of it."""
    launcher = farm.start()
    farm.until(farm.all_free)
    began = time.monotonic()
    lease = farm.lease(launcher, "small", "large", ttl=120, comment="trying out")
    assert time.monotonic() - began < 2
    assert [node["label"] for node in lease["nodes"]] == ["small", "large"]
    assert [node["hostname"] for node in lease["nodes"]] == ["fake-1", "fake-2"]
    assert {(node["username"], node["port"]) for node in lease["nodes"]} == {("zuul", 22)}
    listed = launcher.nodepool("list", "--detail").stdout
    assert f"lease {lease['id']} of ci" in listed
    assert " hold " in listed
    # Somebody else waits for the node, and hears of it when it comes back.
    other = farm.ask(launcher, "POST", "/api/requests", {"labels": ["large"]}).body
    farm.until(
        lambda: "large" in farm.ask(launcher, "GET", f"/api/leases/{other['id']}").body["reason"]
    )
    renewed = farm.ask(launcher, "POST", f"/api/leases/{lease['id']}/renew", {"ttl": 300})
    assert (renewed.status, renewed.body["ttl"]) == (200, 300)
    assert renewed.body["expires"] > lease["expires"]
    assert farm.ask(launcher, "DELETE", f"/api/leases/{lease['id']}").body["state"] == "ended"
    assert farm.ready(launcher, other["id"])["nodes"][0]["hostname"] == "fake-2"
    farm.ask(launcher, "DELETE", f"/api/leases/{other['id']}")
    farm.until(farm.all_free)
    # Nobody renews this one.
    lost = farm.lease(launcher, "small", ttl=1)
    reply = farm.ask(launcher, "GET", f"/api/leases/{lost['id']}?wait=20&state=ready")
    assert reply.body["reason"] == "nobody renewed it in time"
    farm.until(farm.all_free)
    # An operator takes this one away.
    taken = farm.lease(launcher, "small")
    assert launcher.nodepool("delete", taken["nodes"][0]["id"]).returncode == 0
    reply = farm.ask(launcher, "GET", f"/api/leases/{taken['id']}?wait=20&state=ready")
    assert (reply.body["state"], reply.body["nodes"]) == ("failed", [])
    assert taken["nodes"][0]["id"] in reply.body["reason"]
    farm.until(farm.all_free)
    audit = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    done = [each["what"].split()[0] for each in audit if each["outcome"] == "ok"]
    assert done == ["ask", "ask", "renew", "give", "give", "ask", "ask"]
    assert {each["who"] for each in audit} == {"ci"}


def test_directory(farm: Farm, tmp_path: pathlib.Path) -> None:
    """Somebody in the directory's group borrows with a password; others do not."""
    launcher = farm.start()
    farm.until(farm.all_free)

    def as_user(user: str, password: str) -> str:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    alice = as_user("alice", "alice-pw")
    made = farm.ask(launcher, "POST", "/api/requests", {"labels": ["small"]}, alice)
    assert (made.status, made.body["user"]) == (201, "alice")
    path = f"/api/leases/{made.body['id']}"
    ready = farm.ask(launcher, "GET", f"{path}?wait=20", None, alice)
    assert ready.body["state"] == "ready"
    assert farm.ask(launcher, "GET", path).status == 404
    wrong = farm.ask(launcher, "DELETE", path, None, as_user("alice", "wrong"))
    assert wrong.status == 401
    assert "Basic" in wrong.headers["WWW-Authenticate"]
    outside = farm.ask(launcher, "GET", path, None, as_user("bob", "bob-pw"))
    assert outside.status == 403
    assert farm.ask(launcher, "DELETE", path, None, alice).body["state"] == "ended"
    farm.until(farm.all_free)
    audit = (tmp_path / "audit.log").read_text()
    for secret in ("alice-pw", "bob-pw", alice.split()[1]):
        assert secret not in audit + launcher.log


def test_killed(farm: Farm) -> None:
    """A lease outlives the launchers that made it, and the next one goes on with it."""
    first, second = farm.start(), farm.start()
    farm.until(farm.all_free)
    lease = farm.lease(first, "large", ttl=60)
    assert farm.ask(second, "GET", f"/api/leases/{lease['id']}").body == lease
    # Killed at some moment or other while it serves: the wish is heard or not, but never half.
    for milliseconds in (0, 12):
        body = {"labels": ["small"], "key": f"k{milliseconds}", "ttl": 60}
        made = farm.ask(first, "POST", "/api/requests", body)
        assert made.status == 201
        time.sleep(milliseconds / 1000)
        first.kill()
        again = farm.ask(second, "POST", "/api/requests", body)
        assert (again.status, again.body["id"]) == (200, made.body["id"])
        farm.ready(second, made.body["id"])
        farm.ask(second, "DELETE", f"/api/leases/{made.body['id']}")
        first, second = second, farm.start(first)
    assert farm.held() == [lease["nodes"][0]["id"]]
    renewed = farm.ask(second, "POST", f"/api/leases/{lease['id']}/renew", {"ttl": 3})
    assert renewed.status == 200
    first.kill()
    second.kill()
    assert farm.held() == [lease["nodes"][0]["id"]]
    time.sleep(3)
    # Overdue when it starts: it ends at once.
    farm.start(first)
    farm.until(lambda: not farm.held())
    assert farm.ask(first, "GET", f"/api/leases/{lease['id']}").body["state"] == "ended"
    farm.until(farm.all_free)


def test_killed_between_fulfilled_and_hold(farm: Farm) -> None:
    """What a launcher leaves that dies before it hands the nodes over is handed over."""
    launcher = farm.start()
    farm.until(farm.all_free)
    launcher.kill()
    now = time.time()
    lease = Lease(
        id="0" * 32,
        user="ci",
        how="token",
        labels=("large",),
        created=now,
        since=now,
        expires=now + 60,
        ttl=60.0,
    )
    (node,) = [each for each in farm.nodes().values() if each.type == ("large",)]
    request = NodeRequest(
        state=RequestState.FULFILLED,
        state_time=now,
        created_time=now,
        node_types=("large",),
        nodes=(node.id,),
        requestor=requestor_for(lease.id),
    )
    made = farm.zk.create(f"{paths.REQUESTS}/100-", encode_request(request), sequence=True)
    promised = attrs.evolve(node, allocated_to=made.rpartition("/")[2])
    farm.zk.set(paths.node(node.id), encode_node(promised))
    farm.zk.create(paths.lease(lease.id), encode_lease(lease))
    farm.start(launcher)
    shown = farm.ready(launcher, lease.id)
    assert shown["nodes"][0]["id"] == node.id
    assert farm.held() == [node.id]
    assert farm.zk.get_children(paths.REQUESTS) == []
    assert decode_lease(lease.id, farm.zk.get(paths.lease(lease.id))[0]).nodes == (node.id,)
    farm.ask(launcher, "DELETE", f"/api/leases/{lease.id}")
    farm.until(farm.all_free)


def test_described(farm: Farm) -> None:
    """The paths are in the description, refuse those who are nobody, and go and come."""
    launcher = farm.start()
    described = farm.ask(launcher, "GET", "/api/openapi.json", None, None).body
    for path, operations in PATHS.items():
        for method, operation in operations.items():
            assert described["paths"][path][method] == operation
            where = path.replace("{lease_id}", "0" * 32)
            body = {"labels": ["small"]} if method == "post" and "renew" not in path else None
            reply = farm.ask(launcher, method.upper(), where, body, None)
            assert reply.status == 401, (path, method)
    assert farm.zk.get_children(paths.LEASES) == []

    # Taken out of the configuration, and put back.
    launcher.write({key: value for key, value in farm.config.items() if key != "nodepool-tx"})
    farm.until(lambda: farm.ask(launcher, "GET", "/api/leases").status == 404)
    reply = farm.ask(launcher, "POST", "/api/requests", {"labels": ["small"]})
    assert (reply.status, reply.body["error"]) == (404, "leases are not configured")
    launcher.write(farm.config)
    farm.until(lambda: farm.ask(launcher, "GET", "/api/leases").status == 200)
