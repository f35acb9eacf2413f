"""As much of a Keystone as keystoneauth needs, in a thread of this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Keystone", "keystone"]

PROJECT = "0123456789abcdef0123456789abcdef"


class Keystone:
    """What the server answers, and what it was asked.

    :ivar catalog: service types with a list of endpoints: interface, region, address.
    :ivar status: of the answer to a log-in; 201 is success.
    :ivar logins: what clients said of themselves.
    """

    def __init__(self) -> None:
        self.url = ""
        self.catalog: dict[str, list[tuple[str, str, str]]] = {}
        self.status = 201
        self.lifetime = timedelta(hours=1)
        self.logins: list[dict[str, Any]] = []

    def token(self) -> dict[str, Any]:
        """The answer to a log-in, as Keystone writes it."""
        # Another clock than ours.
        now = datetime.now(timezone.utc) - timedelta(days=3)
        stamp = "%Y-%m-%dT%H:%M:%S.%fZ"
        catalog = [
            {
                "id": kind,
                "type": kind,
                "name": kind,
                "endpoints": [
                    {"id": url, "interface": interface, "region": region, "region_id": region}
                    | {"url": url}
                    for interface, region, url in endpoints
                ],
            }
            for kind, endpoints in self.catalog.items()
        ]
        return {
            "token": {
                "methods": ["password"],
                "issued_at": now.strftime(stamp),
                "expires_at": (now + self.lifetime).strftime(stamp),
                "project": {"id": PROJECT, "name": "ci", "domain": {"id": "default"}},
                "user": {"id": "user-id", "name": "ci", "domain": {"id": "default"}},
                "catalog": catalog,
            }
        }


@contextmanager
def keystone() -> Iterator[Keystone]:
    """A server that listens on loopback for the ``with`` block."""
    state = Keystone()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            links = [{"rel": "self", "href": f"{state.url}/v3"}]
            version = {"id": "v3.14", "status": "stable", "links": links}
            if self.path.startswith("/v3"):
                self.answer(200, {"version": version})
            else:
                self.answer(404, {"error": {"message": "not here"}})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.logins.append(json.loads(body)["auth"])
            if state.status == 201:
                self.answer(201, state.token())
            else:
                self.answer(state.status, {"error": {"message": "not today"}})

        def answer(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Subject-Token", f"token-{len(state.logins)}")
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
