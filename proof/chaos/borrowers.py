"""One who borrows machines over HTTP, of whichever launcher answers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from nodepool_tx.work import shielded

__all__ = ["SETTINGS", "Borrower", "Lender"]

_TOKEN = "chaos-borrows"

#: What launchers are configured with for it.
SETTINGS: Mapping[str, Any] = {
    "leases": {
        "tokens": [{"name": "chaos", "sha256": hashlib.sha256(_TOKEN.encode()).hexdigest()}],
        "requests-per-minute": 6000,
        "max-leases": 100,
    }
}

#: Seconds that a launcher may take to answer, until another is asked, and between two tries.
_ANSWERS, _PAUSE = 4.0, 0.3

#: Seconds for which a launcher is to hold back its answer, at most.
_WAIT = 2

#: What is answered where nothing is to be had by asking again: no, there is none, it is over.
_FINAL = frozenset({400, 404, 409, 422})


class Lender(Protocol):
    """A launcher."""

    @property
    def http_port(self) -> int | None:
        """Where it serves HTTP; None if it does not."""


class Borrower:
    """Asks, waits, renews, gives back or does not, and finds another launcher when one is gone.

    A launcher whose clock is wrong may end a lease at any time: that is no complaint.

    :ivar ends: what became of the leases.
    """

    def __init__(
        self, reactor: Any, lenders: Sequence[Lender], wishes: Sequence[Sequence[str]], rng: Random
    ) -> None:
        self._reactor = reactor
        self._lenders = lenders
        self._wishes = wishes
        self._rng = rng
        self._agent = Agent(reactor)
        self.ends: Counter[str] = Counter()

    async def borrow(self) -> None:
        """One lease, from beginning to end."""
        rng = self._rng
        wish = {
            "labels": rng.choice(self._wishes),
            "ttl": rng.choice([2, 10, 25]),
            "key": f"{rng.getrandbits(64):x}",
        }
        lease = await self._insist("POST", "/api/requests", wish)
        path = f"/api/leases/{lease.get('id')}"
        while lease.get("state") == "waiting" and rng.random() > 0.05:
            lease = await self._insist("GET", f"{path}?wait={_WAIT}")
        while lease.get("state") == "ready" and rng.random() < 0.5:
            await deferLater(self._reactor, rng.uniform(0.0, 2.0))
            lease = await self._insist("POST", f"{path}/renew")
        ready = lease.get("state") == "ready"
        if ready and rng.random() < 0.2:
            # Nobody renews it, so it comes back by itself.
            self.ends["left"] += 1
            return
        over = await self._insist("DELETE", path)
        end = str(over.get("state", "unknown"))
        self.ends["served" if ready and end == "ended" else end] += 1

    async def _insist(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer of the first launcher that knows one; empty if it is no lease."""
        while True:
            port = self._rng.choice(self._lenders).http_port
            if port is not None:
                # Whoever cancels us is not to be mistaken for a launcher that is away.
                asking = Deferred.fromCoroutine(self._ask(port, method, path, body))
                status, answer = await shielded(asking)
                if status in (200, 201):
                    return dict(json.loads(answer))
                if status in _FINAL:
                    return {}
            await deferLater(self._reactor, _PAUSE)

    async def _ask(self, port: int, method: str, path: str, body: Any) -> tuple[int, bytes]:
        """What one launcher answers; 0 if it does not."""
        headers = Headers({"Authorization": [f"Bearer {_TOKEN}"]})
        producer = None
        if body is not None:
            headers.addRawHeader("Content-Type", "application/json")
            producer = FileBodyProducer(BytesIO(json.dumps(body).encode()))
        url = f"http://127.0.0.1:{port}{path}".encode()
        try:
            asking = self._agent.request(method.encode(), url, headers, producer)
            response = await asking.addTimeout(_ANSWERS, self._reactor)
            content = await readBody(response).addTimeout(_ANSWERS, self._reactor)
        except Exception:
            return 0, b""
        return response.code, content
