"""A launcher in memory that lends nodes over HTTP, and its users."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, globalLogPublisher

from nodepool_tx.audit import Audit
from nodepool_tx.auth.attempts import Attempts
from nodepool_tx.auth.interface import Denied, DirectoryTrouble, NotAMember, Principal
from nodepool_tx.auth.log_ins import LogIns
from nodepool_tx.config.operations import Leases, Token
from nodepool_tx.config.schema import Config
from nodepool_tx.janitor import Janitor
from nodepool_tx.leases.desk import Desk
from nodepool_tx.leases.entry import Entry
from nodepool_tx.leases.http import LeasesOverHTTP
from nodepool_tx.leases.polls import Polls
from nodepool_tx.leases.service import LeaseService
from nodepool_tx.model import Node, NodeState
from nodepool_tx.status.requests import Reasons
from nodepool_tx.store import paths
from nodepool_tx.store.leases import Lease, decode_lease, encode_lease
from tests.web.stage import Answer, Visitor, WebTestCase

__all__ = ["TOKENS", "LeaseTestCase", "basic", "bearer"]

#: The tokens, by the name of their user.
TOKENS = {"ci": "s3cret-of-ci", "alice": "s3cret-of-alice"}

#: Two hosts with three slots, and one of another label.
CONFIG = """
labels: [{name: small}, {name: large}]
providers:
  - name: rack
    driver: static
    pools:
      - name: main
        nodes:
          - {name: web1, labels: small, username: zuul, max-parallel-jobs: 2}
          - {name: web2, labels: large, username: zuul}
"""


def bearer(user: str = "ci") -> dict[str, str]:
    """Headers of somebody with a token."""
    return {"Authorization": f"Bearer {TOKENS.get(user, user)}"}


def basic(user: str, password: str) -> dict[str, str]:
    """Headers of somebody with a password."""
    both = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {both}"}


class People:
    """A directory in memory: everybody's password is their name and ``-pw``."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[tuple[str, str | None]] = []

    def log_in(self, user: str, password: str, group: str | None = None) -> Deferred[Principal]:
        self.asked.append((user, group))
        if self.away:
            return fail(DirectoryTrouble("it is away"))
        if user not in ("alice", "bob", "ci") or password != f"{user}-pw":
            return fail(Denied(f"no such {user}"))
        if user == "bob":
            return fail(NotAMember("bob is not in the group"))
        return succeed(Principal(user, "password", (group or "",)))


class LeaseTestCase(WebTestCase):
    """A launcher that lends the nodes of :data:`CONFIG`; nodes are there from the beginning."""

    most_connections = 400

    def setUp(self) -> None:
        super().setUp()
        self.settings: Leases | None = Leases(
            tokens=tuple(
                Token(name, hashlib.sha256(token.encode()).hexdigest())
                for name, token in TOKENS.items()
            ),
            ldap=True,
            ldap_group="cn=lenders",
        )
        self.people = People()
        self.audit_path = self.mktemp()
        self.audit = Audit(self.clock, self.audit_path)
        self.addCleanup(self.audit.close)
        self.attempts = Attempts(self.clock)
        self.config = Config()
        self.service = LeaseService(self.clock, self.store)
        self.polls = Polls(self.clock, self.store.leases)
        self.desk = Desk(self.clock, self.store, lambda: self.config, self.service.requests_of)
        over_http = LeasesOverHTTP(
            self.clock,
            self.desk,
            self.polls,
            Entry(
                self.clock,
                self.attempts,
                LogIns(self.clock, self.people, self.attempts, self.audit),
            ),
            self.audit,
            lambda: self.settings,
            lambda request: Reasons(self.farm).of(request),
        )
        self.serve(leases=over_http.extension())
        self.janitor = Janitor(
            self.clock,
            self.store,
            lambda: self.config,
            self.reloader.services,
            interval=60.0,
            lock_age=600.0,
        )
        self.events_logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events_logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events_logged.append)
        self.service.startService()
        self.polls.startService()
        self.janitor.startService()
        self.bring(CONFIG)

    def stop(self) -> None:
        self.polls.stopService()
        self.done(Deferred.fromCoroutine(self._stop()))
        super().stop()

    async def _stop(self) -> None:
        await self.service.stopService()
        await self.janitor.stopService()

    # -- users

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        user: str | None = "ci",
        data: bytes | None = None,
    ) -> Visitor:
        """A visitor who has asked, with the token of ``user``, and waits for the answer."""
        if data is None:
            data = b"" if body is None else json.dumps(body).encode()
        fields = {"Host": "x", **(bearer(user) if user else {})}
        if data:
            fields |= {"Content-Type": "application/json"}
        fields |= {"Content-Length": str(len(data)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        visitor = self.visit()
        visitor.say(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        self.settle()
        return visitor

    def call(self, method: str, path: str, body: object = None, **more: Any) -> Answer:
        """The answer to that, when it comes at once."""
        visitor = self.send(method, path, body, **more)
        answer = visitor.answer(method)
        visitor.leave()
        return answer

    def ask(self, *labels: str, user: str = "ci", **more: Any) -> dict[str, Any]:
        """A new lease."""
        answer = self.call("POST", "/api/requests", {"labels": labels, **more}, user=user)
        self.assertEqual(answer.status, 201, answer.text)
        return dict(answer.json)

    def look(self, lease_id: str, user: str = "ci") -> dict[str, Any]:
        answer = self.call("GET", f"/api/leases/{lease_id}", user=user)
        self.assertEqual(answer.status, 200, answer.text)
        return dict(answer.json)

    def ready(self, *labels: str, **more: Any) -> dict[str, Any]:
        """A lease that has its nodes."""
        lease_id = self.ask(*labels, **more)["id"]
        self.wait(1)
        lease = self.look(lease_id, user=more.get("user", "ci"))
        self.assertEqual(lease["state"], "ready", lease)
        return lease

    # -- what ZooKeeper holds

    def lease(self, lease_id: str) -> Lease | None:
        path = paths.lease(lease_id)
        data = self.inspector.dump(path).get(path)
        return None if data is None else decode_lease(lease_id, data)

    def put_lease(self, lease_id: str, **changes: Any) -> None:
        """Write over a lease as another launcher might."""
        lease = self.lease(lease_id)
        assert lease is not None
        self.inspector.set(paths.lease(lease_id), encode_lease(attrs.evolve(lease, **changes)))

    def requests_there(self) -> list[str]:
        below = self.inspector.dump(paths.REQUESTS + "/")
        return [path.rpartition("/")[2] for path in below]

    def held(self) -> list[Node]:
        return [node for node in self.nodes().values() if node.state is NodeState.HOLD]

    def assert_all_free(self) -> None:
        """Every slot is in service, and nothing is left of any request."""
        nodes = list(self.nodes().values())
        self.assertEqual(
            sorted((node.type, node.state.value, node.allocated_to) for node in nodes),
            [
                (("large",), "ready", None),
                (("small",), "ready", None),
                (("small",), "ready", None),
            ],
        )
        self.assertEqual(self.requests_there(), [])

    def audited(self) -> list[dict[str, Any]]:
        with open(self.audit_path) as lines:
            return [json.loads(line) for line in lines]
