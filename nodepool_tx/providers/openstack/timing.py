"""Telling how long each request to a cloud's services took."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.interfaces import IReactorTime

from nodepool_tx.events import Events, ServiceAsked
from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.openstack.transport import Answer, Transport

__all__ = ["TimedTransport", "operation_of"]

_VERSION = re.compile(r"v\d+(\.\d+)?")


def operation_of(path: str) -> str:
    """What a request is about, without the ids in its path, as openstacksdk names it.

    ``/servers`` is ``servers``, ``/servers/<id>/action`` is ``server_action``.
    """
    return "_".join(_names(urlsplit(path).path)) or "discovery"


def _names(path: str) -> Iterator[str]:
    parts = path.strip("/").removesuffix(".json").split("/")
    # The address of a next page has the path of the endpoint in front.
    versions = [position for position, part in enumerate(parts) if _VERSION.fullmatch(part)]
    if versions:
        del parts[: versions[0] + 1]
    if parts[-1:] == ["detail"]:
        yield from parts[-2:]
        return
    for position in range(0, len(parts), 2):
        name, last = parts[position], position == len(parts) - 1
        # One of many, where an id follows.
        plural = name.endswith("s") and not name.endswith("is")
        yield name[:-1] if plural and not last else name


class TimedTransport:
    """A transport that tells of every request.

    The seconds include the wait for a connection, and for a token where there
    is none yet.
    """

    def __init__(
        self, transport: Transport, provider: str, clock: IReactorTime, events: Events
    ) -> None:
        self._transport = transport
        self._provider = provider
        self._clock = clock
        self._events = events

    @property
    def cloud(self) -> str | None:
        return self._transport.cloud

    @property
    def region(self) -> str | None:
        return self._transport.region

    def start(self) -> None:
        self._transport.start()

    async def stop(self) -> None:
        await self._transport.stop()

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
        """As in the interface."""
        began = self._clock.seconds()
        try:
            answer = await self._transport.request(
                service,
                method,
                path,
                query=query,
                json=json,
                file=file,
                headers=headers,
                version=version,
                timeout=timeout,
            )
        except CloudError:
            self._tell(service, method, path, None, began)
            raise
        self._tell(service, method, path, answer.status, began)
        return answer

    def _tell(self, service: str, method: str, path: str, status: int | None, began: float) -> None:
        self._events.publish(
            ServiceAsked(
                provider=self._provider,
                service=service,
                method=method,
                operation=operation_of(path),
                status=status,
                seconds=self._clock.seconds() - began,
            )
        )
