"""Which path is answered by what; the answers are made elsewhere."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.server import Request

from nodepool_tx.status.farm import Farm
from nodepool_tx.status.process import process_status
from nodepool_tx.status.providers import provider_statuses
from nodepool_tx.web import api
from nodepool_tx.web.answers import send_json
from nodepool_tx.web.files import DashboardFiles
from nodepool_tx.web.routing import Route

__all__ = ["WebApp"]


class WebApp:
    """All that is served."""

    def __init__(self, farm: Farm, files: DashboardFiles | None = None) -> None:
        self._farm = farm
        self._files = files or DashboardFiles()

    def routes(self) -> tuple[Route, ...]:
        """Every path."""
        return (
            Route("/", self._dashboard),
            Route("/static/<name>", self._static),
            Route("/api/status", self._status),
            Route("/api/nodes", self._nodes),
            Route("/api/nodes/<node_id>", self._node),
            Route("/api/requests", self._requests),
            Route("/api/requests/<request_id>", self._request),
            Route("/api/providers", self._providers),
        )

    # -- the dashboard

    def _dashboard(self, request: Request) -> bytes:
        return self._files.send(request, "index.html")

    def _static(self, request: Request, name: str) -> bytes:
        return self._files.send(request, name)

    # -- the API

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

    def _providers(self, request: Request) -> bytes:
        return send_json(request, {"providers": provider_statuses(self._farm)})
