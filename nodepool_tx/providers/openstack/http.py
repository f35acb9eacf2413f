"""HTTP to a real cloud: on the reactor, over connections that are kept.

Note: what is repeated
----------------------
A request that is refused with a 401 is repeated once with a new token.  A GET
or DELETE without a body whose kept connection turns out to be closed is
repeated once on a new one, by Twisted's connection pool.  Nothing else is: the
engine knows what to do about a POST that may or may not have had its effect.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Cooperator
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.openstack.bodies import BIG, Upload, parsed, received
from nodepool_tx.providers.openstack.credentials import Access, Offload
from nodepool_tx.providers.openstack.keystone import CloudSettings
from nodepool_tx.providers.openstack.links import address_of
from nodepool_tx.providers.openstack.tls import TLSPolicy
from nodepool_tx.providers.openstack.transport import Answer
from nodepool_tx.providers.openstack.trouble import explain, was_given_up

__all__ = ["HttpTransport", "LogIn"]

#: Connections to one host and port at a time; more requests wait their turn.
_CONNECTIONS = 20
#: Seconds until a connection must stand.
_CONNECT_TIMEOUT = 20.0
#: Seconds that a connection is kept without use: firewalls forget them without a word.
_KEPT = 60


class LogIn(Protocol):
    """Where tokens and endpoints come from.

    :class:`nodepool_tx.providers.openstack.credentials.Credentials` is one,
    and says what each may raise.
    """

    cloud: str | None

    @property
    def region(self) -> str | None: ...

    async def settings(self) -> CloudSettings: ...

    async def access(self) -> Access: ...

    def refuse(self, access: Access) -> None: ...

    async def endpoint(self, service: str) -> str: ...


@attrs.frozen(kw_only=True)
class _Request:
    service: str
    method: str
    url: str
    body: bytes | None
    file: Path | None
    headers: Mapping[str, str] = attrs.field(repr=False)
    timeout: float

    @property
    def host(self) -> str:
        url = urlsplit(self.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        return f"{url.hostname}:{port}"


class HttpTransport:
    """A :class:`nodepool_tx.providers.openstack.transport.Transport` to a real cloud.

    :param reactor: a real one, or one with the same TCP interface.
    :param offload: runs a function in a thread; for large answers only.
    :param connections: how many to one host and port at a time.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        credentials: LogIn,
        offload: Offload,
        *,
        connections: int = _CONNECTIONS,
    ) -> None:
        self._reactor = reactor
        self._credentials = credentials
        self._offload = offload
        self._connections = connections
        self._client: HTTPClient | None = None
        self._pool: HTTPConnectionPool | None = None
        self._settings: CloudSettings | None = None
        self._turns: dict[str, DeferredSemaphore] = {}
        self._in_flight: set[Deferred[Any]] = set()
        self._stopped = False
        self._cooperator = Cooperator(scheduler=lambda call: reactor.callLater(0, call))

    @property
    def cloud(self) -> str | None:
        return self._credentials.cloud

    @property
    def region(self) -> str | None:
        return self._credentials.region

    def start(self) -> None:
        """Make ready; nothing is contacted before the first request."""
        self._stopped = False

    async def stop(self) -> None:
        """Give up what is in flight, and close all connections."""
        self._stopped = True
        for flight in list(self._in_flight):
            flight.cancel()
        pool, self._pool, self._client = self._pool, None, None
        if pool is not None:
            await pool.closeCachedConnections()

    async def request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        version: str | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        """As in the interface.

        The addresses of next pages may be given as the services write them,
        with or without a host: only what follows the version in them is used,
        below the endpoint that we know.
        """
        sent = {"accept": "application/json", "user-agent": "nodepool-tx"}
        if json is not None:
            sent["content-type"] = "application/json"
        elif file is not None:
            sent["content-type"] = "application/octet-stream"
        if version is not None:
            sent.update(_version_headers(service, version))
        sent.update({name.lower(): value for name, value in (headers or {}).items()})
        request = _Request(
            service=service,
            method=method,
            url=address_of(await self._credentials.endpoint(service), path, query),
            body=None if json is None else jsonlib.dumps(json).encode(),
            file=file,
            headers=sent,
            timeout=timeout,
        )
        access = await self._credentials.access()
        answer = await self._in_turn(request, access)
        if answer.status != 401:
            return answer
        self._log.info(
            "cloud {cloud}: {host} does not accept the token; getting a new one",
            cloud=self.cloud,
            host=request.host,
        )
        self._credentials.refuse(access)
        return await self._in_turn(request, await self._credentials.access())

    async def _in_turn(self, request: _Request, access: Access) -> Answer:
        """Ask when there is a connection to be had; waiting for one has no timeout here."""
        client = await self._connected()
        turn = self._turns.setdefault(request.host, DeferredSemaphore(self._connections))
        await self._watched(turn.acquire())
        try:
            if self._stopped:
                raise self._given_up()
            return await self._ask(client, request, access)
        finally:
            turn.release()

    async def _ask(self, client: HTTPClient, request: _Request, access: Access) -> Answer:
        """One request, one answer.

        :raises CloudError: there was none; says where, and what to do about it.
        """
        begun = self._reactor.seconds()
        body: bytes | Upload | None = request.body
        watchdog = _Watchdog(self._reactor, request.timeout)
        try:
            if request.file is not None:
                body = Upload(request.file, self._cooperator, watchdog.progress)
            headers = Headers()
            for name, value in (*request.headers.items(), *access.token.headers.items()):
                headers.setRawHeaders(name, [value])
            response = await self._watched(
                watchdog.over(
                    client.request(
                        request.method,
                        request.url,
                        headers=headers,
                        data=body,
                        allow_redirects=False,
                        unbuffered=True,
                        reactor=self._reactor,
                    )
                )
            )
            whole = await self._watched(watchdog.over(received(response, watchdog.progress)))
        except Exception as error:
            raise self._told(request, error, watchdog) from error
        finally:
            watchdog.stop()
            if isinstance(body, Upload):
                body.close()
        answer = await self._read(request, response, whole)
        self._log.debug(
            "cloud {cloud}: {method} {url}: {status} after {seconds:.2f} s ({id})",
            cloud=self.cloud,
            method=request.method,
            url=request.url,
            status=answer.status,
            seconds=self._reactor.seconds() - begun,
            id=answer.headers.get("x-openstack-request-id", "no id"),
        )
        return answer

    async def _read(self, request: _Request, response: IResponse, whole: bytes) -> Answer:
        headers = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        body = None
        if whole and "json" in headers.get("content-type", "json"):
            try:
                if len(whole) > BIG:
                    body = await self._watched(self._offload(lambda: parsed(whole)))
                else:
                    body = parsed(whole)
            except ValueError as error:
                if response.code < 400:
                    raise CloudError(
                        f"{request.service} at {request.host} answered {response.code}"
                        " with something that is not JSON"
                    ) from error
        return Answer(response.code, headers, body)

    def _told(self, request: _Request, error: Exception, watchdog: _Watchdog) -> Exception:
        """What to raise for what Twisted has raised."""
        given_up = watchdog.called_off or was_given_up(error)
        if given_up and not (watchdog.bitten or self._stopped):
            return CancelledError()
        where = f"{request.service} of cloud {self.cloud} at {request.host}"
        if watchdog.bitten:
            return CloudError(f"{where}: nothing moved for {request.timeout:.0f} seconds")
        if self._stopped:
            return self._given_up()
        return explain(where, error)

    async def _watched(self, deferred: Deferred[Any]) -> Any:
        """Wait for something that :meth:`stop` gives up."""
        self._in_flight.add(deferred)
        try:
            return await deferred
        except CancelledError as error:
            if self._stopped:
                raise self._given_up() from error
            raise
        finally:
            self._in_flight.discard(deferred)

    def _given_up(self) -> CloudError:
        return CloudError(f"given up, as this launcher has stopped using the cloud {self.cloud}")

    async def _connected(self) -> HTTPClient:
        settings = await self._credentials.settings()
        if self._client is not None and settings == self._settings:
            return self._client
        pool = HTTPConnectionPool(self._reactor)
        pool.maxPersistentPerHost = self._connections
        pool.cachedConnectionTimeout = _KEPT
        agent = Agent(
            self._reactor,
            contextFactory=TLSPolicy(settings.tls),
            connectTimeout=_CONNECT_TIMEOUT,
            pool=pool,
        )
        former, self._pool = self._pool, pool
        self._settings = settings
        client = self._client = HTTPClient(agent)
        if former is not None:
            # The certificates to trust may be others: no connection is used again.
            await former.closeCachedConnections()
        return client


def _version_headers(service: str, version: str) -> dict[str, str]:
    named = "volume" if service == "block-storage" else service
    headers = {"openstack-api-version": f"{named} {version}"}
    if service == "compute":
        # All that clouds older than 2.27 understand.
        headers["x-openstack-nova-api-version"] = version
    return headers


class _Watchdog:
    """Cancels what makes no progress, and knows who else has cancelled it.

    What Twisted makes of that is not to be told from other trouble: cancelled while
    a name is looked up, a connection fails as if there were no such name.

    :ivar bitten: it has.
    :ivar called_off: what it watches over was cancelled, by whomever.
    """

    def __init__(self, reactor: Any, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._call: IDelayedCall = reactor.callLater(timeout, self._bite)
        self._over: Deferred[Any] | None = None
        self.bitten = False
        self.called_off = False

    def over(self, deferred: Deferred[Any]) -> Deferred[Any]:
        """Watch over this from now on."""

        def call_off(_: object) -> None:
            self.called_off = True
            deferred.cancel()

        def pass_on(result: object) -> None:
            if not watched.called:
                watched.callback(result)

        watched = self._over = Deferred(call_off)
        deferred.addBoth(pass_on)
        self.progress()
        return watched

    def progress(self) -> None:
        if self._call.active():
            self._call.reset(self._timeout)

    def stop(self) -> None:
        if self._call.active():
            self._call.cancel()

    def _bite(self) -> None:
        self.bitten = True
        if self._over is not None:
            self._over.cancel()
