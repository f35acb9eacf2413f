"""How answers look on the wire."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.web.http import RESPONSES
from twisted.web.server import Request

__all__ = [
    "SECURITY_HEADERS",
    "NotToBeHad",
    "encode",
    "send_encoded",
    "send_error",
    "send_json",
    "send_text",
]

#: On every answer.  The dashboard needs nothing from elsewhere, and nobody may
#: show it inside a page of theirs.
SECURITY_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    # Without the versions of what we are made of.
    ("Server", "nodepool_tx"),
)


class NotToBeHad(Exception):
    """What was asked for is answered with an error.

    :ivar status: of HTTP.
    :ivar error: short, the same for all answers of this kind.
    :ivar detail: what exactly, such as the parameter's name; for programs too.
    :ivar headers: that go with it.
    """

    def __init__(
        self,
        status: int,
        error: str,
        detail: Any = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.detail = detail
        self.headers = tuple(headers)


def encode(value: Any) -> bytes:
    """JSON as we send it: compact, UTF-8; what JSON has no number for is null."""
    try:
        text = _dumps(value)
    except ValueError:
        # Somebody's record holds an infinity, as Python's own JSON may.
        text = _dumps(_finite(value))
    return text.encode("utf-8", "backslashreplace")


def _dumps(value: Any) -> str:
    return json.dumps(
        value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value


def send_json(request: Request, value: Any, status: int = 200) -> bytes:
    """Headers for JSON that is not to be kept; the body."""
    return send_encoded(request, encode(value), status)


def send_encoded(request: Request, body: bytes, status: int = 200) -> bytes:
    """The same for JSON that is encoded already."""
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    if not request.responseHeaders.hasHeader("Cache-Control"):
        request.setHeader("Cache-Control", "no-store")
    return _sized(request, body)


def send_text(request: Request, text: str, status: int = 200) -> bytes:
    """Headers for plain text; the body."""
    request.setResponseCode(status)
    request.setHeader("Content-Type", "text/plain; charset=utf-8")
    return _sized(request, text.encode())


def send_error(request: Request, error: NotToBeHad) -> bytes:
    """Headers for an error; the body."""
    for name, value in error.headers:
        request.setHeader(name, value)
    words = error.error or RESPONSES.get(error.status, b"").decode()
    return send_json(request, {"error": words, "detail": error.detail}, error.status)


def _sized(request: Request, body: bytes) -> bytes:
    # For HEAD too, where the body itself is left out on the way.
    request.setHeader("Content-Length", str(len(body)))
    return body
