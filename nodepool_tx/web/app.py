"""Which path is answered by what; the answers are made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource
from twisted.web.server import Request

from nodepool_tx.history import History
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.health import Health, all_started
from nodepool_tx.status.images import image_statuses
from nodepool_tx.status.maintenance import all_maintenance
from nodepool_tx.status.process import process_status
from nodepool_tx.status.reloads import reload_statuses
from nodepool_tx.web import api
from nodepool_tx.web.answers import NotToBeHad, encode, send_encoded, send_json, send_text
from nodepool_tx.web.explanations import Explain, Explanations
from nodepool_tx.web.files import DashboardFiles
from nodepool_tx.web.hub import Hub
from nodepool_tx.web.lists import LISTS, Lists
from nodepool_tx.web.openapi import description
from nodepool_tx.web.routing import Route

__all__ = ["Extension", "WebApp"]


@attrs.frozen
class Extension:
    """More paths, from another part of the program.

    :ivar paths: their description, as in OpenAPI's ``paths``.
    :ivar components: what that refers to, such as ``{"schemas": {…}}``.
    """

    routes: tuple[Route, ...]
    paths: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    components: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)


class WebApp:
    """All that is served.

    :param explain: tells why a request waits.
    :param metrics: answers ``/metrics``.
    :param leases: answers ``POST /api/requests`` and everything below ``/api/leases``.
    """

    def __init__(
        self,
        farm: Farm,
        history: History,
        hub: Hub,
        *,
        files: DashboardFiles | None = None,
        explain: Explain | None = None,
        metrics: IResource | None = None,
        leases: Extension | None = None,
    ) -> None:
        self._farm = farm
        self._history = history
        self._hub = hub
        self._health = Health(farm)
        self._lists = Lists(farm)
        self._files = files or DashboardFiles()
        self._explanations = Explanations(farm.clock, explain) if explain is not None else None
        self._metrics = metrics
        self._leases = leases
        #: It never changes, and takes long to encode.
        self._description = b""

    def routes(self) -> tuple[Route, ...]:
        """Every path."""
        return (
            Route("/", self._dashboard),
            Route("/static/<name>", self._static),
            *(Route(path, partial(self._list, path=path)) for path in LISTS),
            Route("/ready", self._ready),
            Route("/health/live", self._live),
            Route("/health/ready", self._health_ready),
            Route("/metrics", self._metrics_or_not),
            Route("/api/openapi.json", self._openapi),
            Route("/api/status", self._status),
            Route("/api/nodes", self._nodes),
            Route("/api/nodes/<node_id>", self._node),
            Route("/api/requests", self._requests),
            Route("/api/requests/<request_id>", self._request),
            Route("/api/requests/<request_id>/explanation", self._explanation),
            Route("/api/providers", self._providers),
            Route("/api/maintenance", self._maintenance),
            Route("/api/images", self._images),
            Route("/api/reloads", self._reloads),
            Route("/api/history", self._past),
            Route("/api/events", self._events),
            *(self._leases.routes if self._leases is not None else _WITHOUT_LEASES),
        )

    # -- the dashboard

    def _dashboard(self, request: Request) -> bytes:
        return self._files.send(request, "index.html")

    def _static(self, request: Request, name: str) -> bytes:
        return self._files.send(request, name)

    # -- as Nodepool 11

    def _list(self, request: Request, path: str) -> Deferred[bytes | None]:
        return Deferred.fromCoroutine(self._lists.send(request, path))

    def _ready(self, request: Request) -> bytes:
        if not all_started(self._farm):
            return send_text(request, "not ready\n", 503)
        return send_text(request, "OK")

    # -- probes

    def _live(self, request: Request) -> bytes:
        return send_json(request, {"live": True})

    def _health_ready(self, request: Request) -> bytes:
        found = self._health.ready()
        return send_json(request, found, 200 if found["ready"] else 503)

    def _metrics_or_not(self, request: Request) -> IResource:
        if self._metrics is None:
            raise _not_configured("metrics")
        return self._metrics

    # -- the API

    def _openapi(self, request: Request) -> bytes:
        if not self._description:
            leases = self._leases or Extension(())
            told = description(self._farm.version, leases.paths, leases.components)
            self._description = encode(told)
        return send_encoded(request, self._description)

    def _status(self, request: Request) -> bytes:
        return send_json(request, process_status(self._farm))

    def _nodes(self, request: Request) -> Deferred[None]:
        return api.send_nodes(request, self._farm)

    def _node(self, request: Request, node_id: str) -> bytes:
        return api.send_node(request, self._farm, node_id)

    def _requests(self, request: Request) -> Deferred[None]:
        return api.send_requests(request, self._farm)

    def _request(self, request: Request, request_id: str) -> bytes:
        return api.send_request(request, self._farm, request_id)

    def _explanation(self, request: Request, request_id: str) -> Deferred[bytes]:
        return Deferred.fromCoroutine(api.send_explanation(request, self._explanations, request_id))

    def _providers(self, request: Request) -> Deferred[bytes | None]:
        return Deferred.fromCoroutine(api.send_providers(request, self._farm))

    def _maintenance(self, request: Request) -> bytes:
        return send_json(request, {"maintenance": all_maintenance(self._farm)})

    def _images(self, request: Request) -> bytes:
        return send_json(request, image_statuses(self._farm))

    def _reloads(self, request: Request) -> bytes:
        return send_json(request, reload_statuses(self._farm, self._history))

    def _past(self, request: Request) -> bytes:
        return api.send_history(request, self._history)

    def _events(self, request: Request) -> Deferred[None] | bytes:
        return api.send_events(request, self._hub)


def _not_configured(what: str) -> NotToBeHad:
    return NotToBeHad(404, "not configured", f"{what}: this launcher offers none")


def _no_leases(request: Request) -> None:
    raise _not_configured("leases")


_WITHOUT_LEASES = (
    Route("/api/requests", _no_leases, methods=("POST",)),
    Route("/api/leases", _no_leases, branch=True),
)
