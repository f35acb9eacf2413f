"""The simulated OpenStack behind real HTTP, for launchers that are processes of their own.

What :mod:`nodepool_tx.providers.fake` simulates is served on loopback, with as
much of a Keystone as it takes to log in.  It runs on the reactor of the test and
outlives every launcher.  Its controls act on calls to come:

* :meth:`OpenStackServer.behave` changes delays, failures, quota and capacity;
* :attr:`OpenStackServer.troubles` lets calls go wrong;
* :meth:`OpenStackServer.hang` lets everything hang, Keystone too,
  :meth:`OpenStackServer.lose_answers` does what is asked and does not answer, and
  :meth:`OpenStackServer.heal` ends both by breaking the connections that hung;
* :meth:`OpenStackServer.expire_tokens` makes every token there is useless.
"""

from __future__ import annotations

import json
import pathlib
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import yaml
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from nodepool_tx.config.fake import FakeFlavor, FakeSimulation
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.cloud.interface import NODE_ID
from nodepool_tx.providers.fake.api import ENDPOINTS
from nodepool_tx.providers.fake.cloud import SimulatedOpenStack
from nodepool_tx.providers.fake.rules import PROJECT, USER
from nodepool_tx.providers.fake.servers import Server, ServerOrder
from nodepool_tx.providers.fake.transport import SimulatedTransport
from nodepool_tx.providers.fake.troubles import Troubles
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["OpenStackServer", "write_clouds_yaml"]

_KINDS = {
    "compute": "compute",
    "networking": "network",
    "image": "image",
    "volume": "block-storage",
}
_SIMULATED = "http://simulated.invalid"
#: Longer than any test lasts: who asks decides how long to wait.
_FOR_EVER = 10_000.0
_TOKEN_LIFETIME = timedelta(hours=1)

#: Room for what the tests ask for.
ROOMY = FakeSimulation(
    max_instances=1000,
    max_cores=10_000,
    boot_delay=0.2,
    flavors=(FakeFlavor("small", vcpus=1, ram=1024), FakeFlavor("large", vcpus=4, ram=8192)),
    images=("debian",),
)


@attrs.frozen
class Made:
    """A server that was asked for and made."""

    server_id: str
    node_id: str | None


class OpenStackServer:
    """One project of one cloud, on a port of its own.

    :ivar made: every server there has ever been, in order.
    :ivar most: how many servers there were at most at the same time.
    :ivar asked: how often each "METHOD kind" was called.
    :ivar usual: how it behaved when it was opened.
    """

    _log = Logger()

    def __init__(self, reactor: Any, **simulation: Any) -> None:
        self._timers = _Timers(reactor)
        self.usual: FakeSimulation = attrs.evolve(ROOMY, **simulation)
        self.cloud = SimulatedOpenStack(self._timers, self.usual)
        self.cloud.networks.add_public("public")
        self._transport = SimulatedTransport(self.cloud)
        self.made: list[Made] = []
        self.most = 0
        self._note_what_is_made()
        self.asked: Counter[str] = Counter()
        self.tokens_given = 0
        self._tokens: set[str] = set()
        self._hangs = False
        self._unanswered: set[str] = set()
        self._open: set[Request] = set()
        self._hanging: set[Request] = set()
        self._in_flight: set[Deferred[None]] = set()
        site = Site(_Everything(self))
        site.noisy = False
        self._reactor = reactor
        self._site = WrappingFactory(site)
        self._site.noisy = False
        self._port = reactor.listenTCP(0, self._site, interface="127.0.0.1")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Break every connection and forget what is in flight."""
        self._hangs = False
        self._break_hanging()
        await self._transport.stop()
        for flight in list(self._in_flight):
            flight.cancel()
        await self._port.stopListening()
        self._timers.stop()
        while self._site.protocols:
            for connection in list(self._site.protocols):
                connection.abortConnection()
            await deferLater(self._reactor, 0.001)

    # -- controls --------------------------------------------------------

    @property
    def troubles(self) -> Troubles:
        return self._transport.troubles

    def behave(self, **changes: Any) -> None:
        """Change the simulation from now on."""
        self.cloud.configure(attrs.evolve(self.cloud.simulation, **changes))

    def hang(self) -> None:
        """Take calls, and answer none."""
        self._hangs = True

    def lose_answers(self, method: str, kind: str) -> None:
        """Do what calls such as a POST of ``servers`` ask for, and never answer them."""
        self._unanswered.add(f"{method} {kind}")

    def heal(self) -> None:
        """Answer again; what hung is broken off."""
        self._hangs = False
        self._unanswered.clear()
        self.troubles.lasting = None
        self._break_hanging()

    def _break_hanging(self) -> None:
        hanging, self._hanging = self._hanging, set()
        for request in hanging:
            request.transport.abortConnection()

    def expire_tokens(self) -> None:
        """Refuse every token given so far."""
        self._tokens.clear()

    # -- what there is ---------------------------------------------------

    @property
    def servers(self) -> dict[str, Server]:
        """The servers there are, without those that are on their way out."""
        return {
            server.id: server
            for server in self.cloud.compute.servers.values()
            if not server.leaving
        }

    def mismatches(self, nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """What is wrong between the servers here and these records of nodes, in words.

        :param nodes: of the providers of this cloud, by id.
        """
        found: list[str] = []
        servers = self.servers
        for server in servers.values():
            node_id = server.order.metadata.get(NODE_ID)
            record = nodes.get(node_id or "")
            if record is None:
                found.append(f"server {server.id} is of node {node_id}, which there is not")
            elif record.get("external_id") != server.id:
                found.append(f"server {server.id} is of node {node_id}: {record}")
        for node_id, record in nodes.items():
            external_id = record.get("external_id")
            if external_id not in servers:
                found.append(f"node {node_id} has no server: {record}")
        return found

    # -- answering -------------------------------------------------------

    def take(self, request: Request) -> None:
        """Answer a call, now or later or never."""
        self._open.add(request)
        request.notifyFinish().addBoth(lambda _: self._closed(request))
        if self._hangs:
            self._hanging.add(request)
            return
        flight = Deferred.fromCoroutine(self._serve(request))
        self._in_flight.add(flight)
        flight.addErrback(self._broken, request)
        flight.addBoth(lambda _: self._in_flight.discard(flight))

    def _closed(self, request: Request) -> None:
        self._open.discard(request)
        self._hanging.discard(request)

    def _broken(self, failure: Failure, request: Request) -> None:
        """What went wrong on the way is a connection that breaks, for those who asked."""
        if request in self._open:
            request.transport.abortConnection()
        if not failure.check(CloudError, CancelledError):
            self._log.failure("the simulated cloud failed", failure)

    async def _serve(self, request: Request) -> None:
        path = request.path.decode()
        service, _, below = path.lstrip("/").partition("/")
        content = request.content.read() if request.content is not None else b""
        body = json.loads(content) if content else None
        if service == "identity":
            answer = self._log_in(request, below)
        elif request.getHeader("x-auth-token") not in self._tokens:
            answer = Answer(401, {}, {"error": {"code": 401, "message": "no such token"}})
        elif service in _KINDS:
            answer = await self._ask(request, _KINDS[service], below, body)
        else:
            answer = Answer(404, {}, {"error": {"code": 404, "message": "no such service"}})
        if f"{request.method.decode()} {self._kind(below)}" in self._unanswered:
            self._hanging.add(request)
            return
        self._write(request, answer)

    @staticmethod
    def _kind(below: str) -> str:
        """What kind of thing it is about; the version of the API comes before it."""
        return below.partition("/")[2].partition("/")[0]

    def _log_in(self, request: Request, below: str) -> Answer:
        if request.method == b"GET":
            links = [{"rel": "self", "href": f"{self.url}/identity/v3/"}]
            return Answer(200, {}, {"version": {"id": "v3.14", "status": "stable", "links": links}})
        if below.rstrip("/") != "v3/auth/tokens":
            return Answer(404, {}, {"error": {"code": 404, "message": "not found"}})
        token = uuid.uuid4().hex
        self._tokens.add(token)
        self.tokens_given += 1
        now = datetime.now(timezone.utc)
        body = {
            "token": {
                "methods": ["password"],
                "user": {"id": USER, "name": "tests", "domain": {"id": "default", "name": "D"}},
                "project": {"id": PROJECT, "name": "t", "domain": {"id": "default", "name": "D"}},
                "issued_at": _date(now),
                "expires_at": _date(now + _TOKEN_LIFETIME),
                "roles": [{"id": "member", "name": "member"}],
                "catalog": self._catalog(),
            }
        }
        return Answer(201, {"x-subject-token": token}, body)

    def _catalog(self) -> list[dict[str, Any]]:
        return [
            {
                "type": kind,
                "id": kind,
                "name": kind,
                "endpoints": [
                    {
                        "id": kind,
                        "interface": "public",
                        "region": "RegionOne",
                        "region_id": "RegionOne",
                        "url": url.replace(_SIMULATED, self.url),
                    }
                ],
            }
            for kind, url in ENDPOINTS.items()
        ]

    async def _ask(self, request: Request, service: str, below: str, body: Any) -> Answer:
        """Ask the simulated cloud as the adapter would without HTTP."""
        version = request.getHeader("openstack-api-version")
        method = request.method.decode()
        path = below.partition("/")[2]
        self.asked[f"{method} {self._kind(below)}"] += 1
        return await self._transport.request(
            service,
            method,
            f"/{path}",
            query={
                key.decode(): values[-1].decode() for key, values in (request.args or {}).items()
            },
            json=body,
            version=version.split()[-1] if version else None,
            timeout=_FOR_EVER,
        )

    def _note_what_is_made(self) -> None:
        compute = self.cloud.compute
        create = compute.create

        def note(order: ServerOrder) -> Server:
            server = create(order)
            self.made.append(Made(server.id, order.metadata.get(NODE_ID)))
            self.most = max(self.most, len(compute.servers))
            return server

        compute.create = note  # type: ignore[method-assign]

    def _write(self, request: Request, answer: Answer) -> None:
        if request not in self._open:
            return
        request.setResponseCode(answer.status)
        for name, value in answer.headers.items():
            request.setHeader(name, value.replace(_SIMULATED, self.url))
        if answer.body is not None:
            request.setHeader("content-type", "application/json")
            text = json.dumps(answer.body).replace(_SIMULATED, self.url)
            request.write(text.encode())
        request.finish()


class _Everything(Resource):
    isLeaf = True

    def __init__(self, server: OpenStackServer) -> None:
        super().__init__()
        self._server = server

    def render(self, request: Request) -> int:
        self._server.take(request)
        return NOT_DONE_YET


class _Timers:
    """The reactor's clock, whose timers end when the cloud does."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timers: set[IDelayedCall] = set()

    def seconds(self) -> float:
        now: float = self._reactor.seconds()
        return now

    def callLater(self, delay: float, function: Any, *args: Any, **more: Any) -> IDelayedCall:
        self._timers = {timer for timer in self._timers if timer.active()}
        timer: IDelayedCall = self._reactor.callLater(delay, function, *args, **more)
        self._timers.add(timer)
        return timer

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return [timer for timer in self._timers if timer.active()]

    def stop(self) -> None:
        for timer in self.getDelayedCalls():
            timer.cancel()


def _date(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def write_clouds_yaml(path: pathlib.Path, clouds: Mapping[str, OpenStackServer]) -> None:
    """Write a clouds.yaml with which these clouds are reached, by their names."""
    sections = {
        name: {
            "auth_type": "v3password",
            "auth": {
                "auth_url": f"{server.url}/identity/v3",
                "username": "tests",
                "password": "secret",
                "user_domain_id": "default",
                "project_name": "tests",
                "project_domain_id": "default",
            },
            "region_name": "RegionOne",
        }
        for name, server in clouds.items()
    }
    path.write_text(yaml.safe_dump({"clouds": sections}))
