"""The dashboard's files, from the package."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import attrs
from twisted.web.http import CACHED
from twisted.web.server import Request

from nodepool_tx.web.answers import NotToBeHad

__all__ = ["DashboardFiles"]

#: What is served, by ending; nothing else is.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


@attrs.frozen
class _File:
    content: bytes
    etag: str
    seen: tuple[int, int]


class DashboardFiles:
    """The files of one directory, kept in memory and read again when they change."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or Path(__file__).with_name("dashboard")
        self._files: dict[str, _File] = {}

    def send(self, request: Request, name: str) -> bytes:
        """Headers for a file; the body.

        Nobody keeps it without asking whether it has changed, so an upgrade is
        seen at once.

        :raises NotToBeHad: there is no such file.
        """
        content_type = TYPES.get(os.path.splitext(name)[1])
        file = self._find(name) if content_type is not None else None
        if content_type is None or file is None:
            raise NotToBeHad(404, "not found", f"there is no /static/{name}")
        request.setHeader("Content-Type", content_type)
        request.setHeader("Cache-Control", "no-cache")
        if request.setETag(file.etag.encode()) is CACHED:
            return b""
        request.setHeader("Content-Length", str(len(file.content)))
        return file.content

    def _find(self, name: str) -> _File | None:
        """A file of this very directory, not of one above or below."""
        if not name or os.path.basename(name) != name or name.startswith("."):
            return None
        path = self._directory / name
        try:
            found = path.stat()
            seen = (found.st_mtime_ns, found.st_size)
            known = self._files.get(name)
            if known is None or known.seen != seen:
                content = path.read_bytes()
                digest = hashlib.sha256(content).hexdigest()[:32]
                known = self._files[name] = _File(content, f'"{digest}"', seen)
        except (OSError, ValueError):
            return None
        return known
