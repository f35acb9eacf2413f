"""Asking a service: an answer that is not what was wanted becomes an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.openstack.faults import error_for
from nodepool_tx.providers.openstack.transport import Answer, Transport

__all__ = ["Calls"]


class Calls:
    """A transport whose answers have been looked at."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def ask(
        self,
        doing: str,
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
    ) -> Any:
        """The body of a successful answer.

        :param doing: what this is for, in words that follow "could not".
        :raises CloudError: and its kin, for every other answer.
        """
        answer = await self.transport.request(
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
        return checked(doing, answer)

    async def get(
        self,
        doing: str,
        service: str,
        path: str,
        key: str,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """What is under ``key`` in the answer to a GET.

        :raises CloudError: also where there is no such key.
        """
        body = await self.ask(doing, service, "GET", path, query=query)
        return part(doing, body, key)


def checked(doing: str, answer: Answer) -> Any:
    """The body of an answer, if it is one of success."""
    if 200 <= answer.status < 300:
        return answer.body
    raise error_for(doing, answer)


def part(doing: str, body: Any, key: str) -> Any:
    """What an answer holds under a key.

    :raises CloudError: it makes no sense.
    """
    if not isinstance(body, Mapping) or key not in body:
        raise CloudError(f"could not {doing}: the answer has no {key}")
    return body[key]
