"""Stands between an adapter and the services of a real cloud, and misbehaves on demand.

Every service of ``clouds.yaml`` is reached through it, by endpoint overrides;
Keystone is not.  What it does not spoil it passes on unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import treq
import yaml
from openstack.config import OpenStackConfig
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import Agent, FileBodyProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from nodepool_tx.providers.openstack.keystone import KeystoneCloud

__all__ = ["Gateway"]

#: Headers that belong to one connection.
_HOPS = {b"connection", b"transfer-encoding", b"content-length", b"host"}

#: What comes after the version in the address of a service.
_SUFFIX = {
    "compute": "/v2.1",
    "network": "/v2.0",
    "image": "/v2",
    "block-storage": "/v3/%(project_id)s",
}


class Gateway(Resource):
    """Listens on loopback.

    :ivar asked: what was asked for, as "METHOD /service/path", in order.
    :ivar spoil: what to say to a request instead of passing it on: a status and
        headers; None passes it on.
    :ivar lose: whether to pass a request on and break the connection instead
        of giving the answer.
    :ivar silent: nothing is answered.
    """

    isLeaf = True

    def __init__(self, reactor: Any, clouds_yaml: Path, cloud: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.spoil: Callable[[str], tuple[int, dict[str, str]] | None] = lambda _: None
        self.lose: Callable[[str], bool] = lambda _: False
        self.silent = False
        self._agent = Agent(reactor)
        self._in_flight: set[Deferred[Any]] = set()
        factory = Site(self)
        factory.noisy = False
        self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self._config = yaml.safe_load(clouds_yaml.read_text())["clouds"][cloud]
        self._cloud = cloud
        self._targets: dict[str, str] = {}
        self._folder = clouds_yaml.parent

    def find(self, cloud: str | None, region: str | None) -> KeystoneCloud:
        """What :class:`Credentials` looks a cloud up with; blocks."""
        direct = self._look_up(self._folder / "clouds.yaml")
        config = dict(self._config)
        for service, suffix in _SUFFIX.items():
            location = direct.locate(service)
            scheme_and_host = "/".join(location.split("/", 3)[:3])
            version = suffix.split("/")[1]
            prefix, _, _ = location[len(scheme_and_host) :].partition(f"/{version}")
            self._targets[service] = scheme_and_host + prefix
            key = f"{service.replace('-', '_')}_endpoint_override"
            config[key] = f"http://127.0.0.1:{self._port.getHost().port}/{service}{suffix}"
        path = self._folder / f"gateway-{self._port.getHost().port}.yaml"
        path.write_text(yaml.safe_dump({"clouds": {self._cloud: config}}))
        found = self._look_up(path)
        path.unlink()
        return found

    def _look_up(self, path: Path) -> KeystoneCloud:
        config = OpenStackConfig(config_files=[str(path)], load_envvars=False)
        return KeystoneCloud(self._cloud, config.get_one(cloud=self._cloud))

    async def stop(self) -> None:
        for deferred in list(self._in_flight):
            deferred.cancel()
        await self._port.stopListening()

    def heal(self) -> None:
        """Pass everything on again."""
        self.spoil = lambda _: None
        self.lose = lambda _: False
        self.silent = False

    def render(self, request: IRequest) -> int:
        what = f"{request.method.decode()} {request.path.decode()}"
        self.asked.append(what)
        if not self.silent:
            passing = Deferred.fromCoroutine(self._pass_on(what, request))
            self._in_flight.add(passing)
            passing.addErrback(lambda failure: failure.trap(CancelledError))
            passing.addBoth(lambda _: self._in_flight.discard(passing))
        request.notifyFinish().addErrback(lambda _: None)
        return NOT_DONE_YET

    async def _pass_on(self, what: str, request: Any) -> None:
        spoiled = self.spoil(what)
        if spoiled is not None:
            status, headers = spoiled
            request.setResponseCode(status)
            for name, value in headers.items():
                request.setHeader(name, value)
            request.finish()
            return
        lost = self.lose(what)
        service, _, path = request.uri.decode().lstrip("/").partition("/")
        content = request.content.read()
        headers = Headers(
            {
                name: values
                for name, values in request.requestHeaders.getAllRawHeaders()
                if name.lower() not in _HOPS
            }
        )
        answer = await self._agent.request(
            request.method,
            f"{self._targets[service]}/{path}".encode(),
            headers,
            FileBodyProducer(BytesIO(content)) if content else None,
        )
        body = await treq.content(answer)
        if lost:
            request.transport.abortConnection()
            return
        request.setResponseCode(answer.code)
        for name, values in answer.headers.getAllRawHeaders():
            if name.lower() not in _HOPS:
                request.responseHeaders.setRawHeaders(name, values)
        request.write(body)
        request.finish()
