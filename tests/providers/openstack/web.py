"""A web server on loopback in the place of a cloud's service, and a log-in to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from nodepool_tx.providers.openstack.credentials import Access
from nodepool_tx.providers.openstack.http import HttpTransport
from nodepool_tx.providers.openstack.keystone import CloudSettings, Token
from nodepool_tx.providers.openstack.tls import TLSSettings

__all__ = ["Login", "Seen", "Service", "TransportCase"]


@attrs.frozen
class Seen:
    """A request that arrived; ``client`` is the port its connection came from."""

    method: str
    uri: str
    headers: dict[str, str]
    body: bytes
    client: int


class Service(Resource):
    """Answers every request as ``answer`` says; by default with an empty object.

    :ivar seen: all requests, in the order they arrived.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.answer: Callable[[Request], bytes | int] = lambda request: b"{}"

    def render(self, request: Request) -> bytes | int:
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        body = request.content.read()
        self.seen.append(
            Seen(request.method.decode(), request.uri.decode(), headers, body, request.client.port)
        )
        request.setHeader("Content-Type", "application/json")
        return self.answer(request)

    def hang(self, request: Request) -> int:
        """Never answer; the request's end is no error."""
        request.notifyFinish().addErrback(lambda failure: None)
        return NOT_DONE_YET


class Login:
    """Tokens without a Keystone: ``token-1``, and the next one after each refusal."""

    cloud: str | None = "loopback"
    region: str | None = "here"

    def __init__(self, endpoint: str, tls: TLSSettings | None = None) -> None:
        self.endpoints = {"compute": endpoint, "image": endpoint}
        self._settings = CloudSettings("loopback", "here", tls or TLSSettings("loopback"))
        self.number = 1
        self._access = self._made()

    def _made(self) -> Access:
        return Access(Token({"X-Auth-Token": f"token-{self.number}"}), None, None)

    async def settings(self) -> CloudSettings:
        return self._settings

    async def access(self) -> Access:
        return self._access

    def refuse(self, access: Access) -> None:
        if access is self._access:
            self.number += 1
            self._access = self._made()

    async def endpoint(self, service: str) -> str:
        return self.endpoints[service]


class TransportCase(TestCase):
    """A transport and a service, both stopped after each test."""

    timeout = 20

    def setUp(self) -> None:
        self.service = Service()
        self.offloaded: list[Callable[[], Any]] = []

    def offload(self, work: Callable[[], Any]) -> Deferred[Any]:
        self.offloaded.append(work)
        return succeed(work())

    async def serve(
        self, factory: Any = None, tls: CertificateOptions | None = None, host: str = "127.0.0.1"
    ) -> int:
        """Listen until the end of the test; answers with the port."""
        wrapped = WrappingFactory(factory or Site(self.service))
        wrapped.noisy = False
        if tls is None:
            port: IListeningPort = reactor.listenTCP(0, wrapped, interface=host)
        else:
            port = reactor.listenSSL(0, wrapped, tls, interface=host)

        async def stop() -> None:
            await port.stopListening()
            while wrapped.protocols:
                for protocol in list(wrapped.protocols):
                    protocol.abortConnection()
                await deferLater(reactor, 0)

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        number: int = port.getHost().port
        return number

    def transport(self, login: Login, **settings: Any) -> HttpTransport:
        transport = HttpTransport(reactor, login, self.offload, **settings)
        transport.start()

        async def stop() -> None:
            await transport.stop()
            await deferLater(reactor, 0)

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return transport

    async def connected(self, **settings: Any) -> HttpTransport:
        """A transport to the service of this test."""
        port = await self.serve()
        self.login = Login(f"http://127.0.0.1:{port}/v2.1")
        return self.transport(self.login, **settings)
