"""How the OpenStack adapter talks to a cloud: requests and answers, nothing more.

There are two behind this: HTTP to a real cloud
(:mod:`nodepool_tx.providers.openstack.http`), and the cloud simulated in this
process (:mod:`nodepool_tx.providers.fake`).  Both speak the JSON of OpenStack's
APIs, so that the adapter above is the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

__all__ = ["Answer", "Transport"]


@attrs.frozen
class Answer:
    """What a service said.

    :ivar status: of HTTP.
    :ivar headers: names in lower case.
    :ivar body: JSON, or None where there was none.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: Any = None


class Transport(Protocol):
    """An authenticated session with one cloud and region."""

    @property
    def cloud(self) -> str | None:
        """The name of the cloud in the client configuration."""

    @property
    def region(self) -> str | None: ...

    def start(self) -> None: ...

    async def stop(self) -> None: ...

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
        """Ask a service; returns its answer whatever the status.

        A token that has run out is replaced and the request repeated once.

        :param service: its type in the catalog: ``compute``, ``network``,
            ``image``, ``block-storage``.
        :param path: below the endpoint of the service's version in use (v2.1,
            v2.0, v2, v3), or the absolute address of a next page.
        :param file: the body, for an upload; read bit by bit.
        :param version: the micro-version to ask for.
        :param timeout: seconds without any progress.
        :raises Gone: the catalog has no such service.
        :raises InvalidConfiguration: the credentials are refused, or there is
            no such cloud in the client configuration.
        :raises CloudError: no answer; the request may have had its effect.
        """
