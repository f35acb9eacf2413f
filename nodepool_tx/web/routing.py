"""From routes to a resource, by way of klein; and what is answered where there is no route."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any, cast

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from werkzeug.exceptions import BadHost, HTTPException, MethodNotAllowed

from nodepool_tx.web.answers import SECURITY_HEADERS, NotToBeHad, send_error

__all__ = ["Front", "Route"]

_log = Logger()


@attrs.frozen
class Route:
    """One path, whose parts in angle brackets are given to the answer by name.

    :ivar answer: takes the request; returns a body, a Deferred of one (None for
        one that was written), or a resource.
    :ivar methods: HEAD goes with GET.
    :ivar branch: everything below the path is meant, too.
    """

    path: str
    answer: Callable[..., Any]
    methods: tuple[str, ...] = ("GET",)
    branch: bool = False


class Front(Resource):
    """What every request comes through."""

    isLeaf = True

    def __init__(self, routes: Iterable[Route]) -> None:
        super().__init__()
        self._routes = _resource_of(routes)

    def render(self, request: Request) -> Any:
        """Put the headers on that every answer has, and pass the request on."""
        for name, value in SECURITY_HEADERS:
            request.setHeader(name, value)
        try:
            if not (request.getHeader(b"host") or b"").isascii():
                raise BadHost
            b"/".join(request.postpath or ()).decode("utf-8")
            return self._routes.render(request)
        except UnicodeDecodeError:
            return send_error(request, NotToBeHad(400, "bad path", "it is not UTF-8"))
        except BadHost:
            return send_error(request, NotToBeHad(400, "bad request", "the Host is no name"))


def _resource_of(routes: Iterable[Route]) -> IResource:
    # Importing klein installs a reactor, so it must not happen before it is
    # decided which one.
    from klein import Klein

    app = Klein()
    app.url_map.merge_slashes = False
    for route in routes:
        # klein calls what it routes to after the function, unless told otherwise.
        name = f"{' '.join(route.methods)} {route.path}"
        if route.branch:
            app.route(route.path, branch=True, endpoint=name)(_plain(route.answer))
        else:
            app.route(route.path, methods=list(route.methods), endpoint=name)(_plain(route.answer))
    app.handle_errors(NotToBeHad)(_not_to_be_had)
    app.handle_errors(MethodNotAllowed)(_wrong_method)
    app.handle_errors(HTTPException)(_unknown)
    app.handle_errors(Exception)(_failed)
    return app.resource()


def _plain(answer: Callable[..., Any]) -> Callable[..., Any]:
    """A function, whatever callable ``answer`` is: klein wants its attributes."""

    def answered(request: IRequest, **parts: str) -> Any:
        return answer(request, **parts)

    return answered


def _not_to_be_had(request: IRequest, failure: Failure) -> bytes:
    error = failure.value
    assert isinstance(error, NotToBeHad)
    return send_error(cast(Request, request), error)


def _wrong_method(request: IRequest, failure: Failure) -> bytes:
    """Say what is allowed; OPTIONS asks for just that."""
    error, plain = failure.value, cast(Request, request)
    assert isinstance(error, MethodNotAllowed)
    allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
    if plain.method == b"OPTIONS":
        plain.setResponseCode(204)
        plain.setHeader("Allow", allowed)
        return b""
    method = plain.method.decode("ascii", "replace")
    return send_error(plain, NotToBeHad(405, "method not allowed", method, [("Allow", allowed)]))


def _unknown(request: IRequest, failure: Failure) -> bytes:
    plain = cast(Request, request)
    path = (plain.path or b"").decode("utf-8", "replace")
    return send_error(plain, NotToBeHad(404, "not found", f"there is nothing at {path}"))


def _failed(request: IRequest, failure: Failure) -> bytes:
    """A fault of ours: the log has all of it, the client a reference to that."""
    plain, reference = cast(Request, request), uuid.uuid4().hex[:12]
    _log.failure(
        "answering {method} {path} failed, reference {reference}",
        failure=failure,
        method=plain.method.decode("ascii", "replace"),
        path=(plain.path or b"").decode("utf-8", "replace"),
        reference=reference,
    )
    return send_error(plain, NotToBeHad(500, "internal error", {"reference": reference}))
