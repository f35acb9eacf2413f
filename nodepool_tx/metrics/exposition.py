"""``/metrics``: the numbers as Prometheus reads them.

Note: why not the resource of prometheus_client
-----------------------------------------------
Its resource for Twisted runs the collectors in a thread, while the reactor
changes what they read, and brings the global reactor in when it is imported.
Here everything is read in one turn of the reactor, so that all numbers are of
one moment; only turning them into text, which takes most of the time, is done
elsewhere.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

__all__ = ["MetricsResource", "Snapshot", "read"]

#: Runs a pure function off the reactor.
Offload = Callable[[Callable[[], bytes]], Deferred[bytes]]

#: Below this many bytes compressing does not pay.
SMALL = 1000


@attrs.frozen
class Snapshot:
    """Numbers of one moment; quacks like a registry."""

    families: tuple[Metric, ...]

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self.families


def read(registry: CollectorRegistry) -> Snapshot:
    """All numbers now, without the times at which counters were made."""
    families: list[Metric] = []
    for family in registry.collect():
        samples = [each for each in family.samples if not each.name.endswith("_created")]
        family.samples = samples
        families.append(family)
    return Snapshot(tuple(families))


class MetricsResource(Resource):
    """Answers GET with all of a registry, in the format that the client prefers."""

    isLeaf = True

    _log = Logger()

    def __init__(self, registry: CollectorRegistry, offload: Offload) -> None:
        super().__init__()
        self._registry = registry
        self._offload = offload

    def render_GET(self, request: Request) -> int:
        encode, content_type = choose_encoder(_header(request, b"accept"))
        compress = "gzip" in _header(request, b"accept-encoding")
        snapshot = read(self._registry)

        def text() -> bytes:
            body: bytes = encode(snapshot)
            return gzip.compress(body, 1) if compress and len(body) > SMALL else body

        encoding = self._offload(text)
        gone: Deferred[Any] = request.notifyFinish()
        gone.addErrback(lambda _: encoding.cancel())

        def send(body: bytes) -> None:
            if body[:2] == b"\x1f\x8b":
                request.setHeader(b"Content-Encoding", b"gzip")
            request.setHeader(b"Content-Type", content_type.encode("ascii"))
            request.setHeader(b"Cache-Control", b"no-store")
            request.setHeader(b"Vary", b"Accept, Accept-Encoding")
            request.setHeader(b"Content-Length", str(len(body)).encode("ascii"))
            request.write(body)
            request.finish()

        def failed(failure: Failure) -> None:
            if failure.check(CancelledError):
                return
            self._log.failure("the metrics cannot be written", failure=failure)
            request.setResponseCode(500)
            request.finish()

        encoding.addCallbacks(send, failed)
        return NOT_DONE_YET


def _header(request: Request, name: bytes) -> str:
    return (request.getHeader(name) or b"").decode("latin-1")
