"""One scan of one host: which connections to open, and what they add up to.

The first connection offers all key families and so learns two things: the
first key, and from the server's own list which others to ask for.  Those are
asked for at once, each over a connection of its own, because a server shows
one key per connection.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater

from nodepool_tx.nodescan.connect import connect, connect_failed, look_up, peer_address
from nodepool_tx.nodescan.exchange import HostKeyExchange
from nodepool_tx.nodescan.hostkeys import FAMILIES, HostKey, KeyFamily
from nodepool_tx.nodescan.interface import (
    Address,
    ConnectFailed,
    KeyExchangeFailed,
    NotSSH,
    ScanError,
    ScanTimeout,
)

__all__ = ["KeyScan"]

#: Seconds to wait before asking a server again that turned a connection away.
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)


class KeyScan:
    """Gathers the host keys of one server; good for one :meth:`run`.

    It has no timeout of its own: cancel the Deferred of :meth:`run`, then
    :meth:`overdue` knows how far it had come.
    """

    def __init__(self, reactor: Any, host: str, port: int, rng: random.Random) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._rng = rng
        self._resolved = False
        self._exchanges: list[HostKeyExchange] = []
        self._further: list[Deferred[HostKey | None]] = []

    async def run(self) -> tuple[str, ...]:
        """Open the connections and gather the keys; see :meth:`Scanner.scan_keys`."""
        addresses = await look_up(self._reactor, self._host, self._port)
        self._resolved = True
        try:
            return await self._gather(addresses)
        finally:
            self._close()

    def overdue(self, seconds: float) -> ScanError:
        """What to report if the scan was given up after ``seconds``."""
        if not self._resolved:
            what = f"no answer from the name service in {seconds:g} s"
            return ScanTimeout(self._host, self._port, what)
        connected = [exchange for exchange in self._exchanges if exchange.connected]
        if not connected:
            what = f"no connection in {seconds:g} s; is the host up, behind a firewall?"
            return ScanTimeout(self._host, self._port, what)
        if not any(exchange.speaks_ssh for exchange in connected):
            return connected[0].silence(seconds)
        what = f"the SSH server did not show all its keys in {seconds:g} s; is it overloaded?"
        return ScanTimeout(self._host, self._port, what)

    async def _gather(self, addresses: tuple[Address, ...]) -> tuple[str, ...]:
        first, announced = await self._begin(addresses)
        # Behind one name there may be several machines: stay with this one.
        address = peer_address(first)
        families = [family for family in announced if family is not first.agreed]
        self._further = [Deferred.fromCoroutine(self._ask(address, family)) for family in families]
        answers: list[Deferred[Any]] = [first.outcome, *self._further]
        try:
            found = await gatherResults(answers, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        keys: dict[KeyFamily, HostKey] = {}
        for family, key in zip([first.agreed, *families], found, strict=True):
            assert family is not None
            keys[family] = key or await self._insist(address, family)
        return tuple(keys[family].line for family in FAMILIES if family in keys)

    async def _begin(
        self, addresses: tuple[Address, ...]
    ) -> tuple[HostKeyExchange, tuple[KeyFamily, ...]]:
        """The first connection, and the key families it told us of (none if it failed)."""
        for pause in _PAUSES:
            first = await self._open(addresses, FAMILIES)
            announced = await first.announced
            if not first.turned_away:
                break
            await self._pause(pause)
        return first, announced

    async def _open(
        self, addresses: tuple[Address, ...], offer: Sequence[KeyFamily]
    ) -> HostKeyExchange:
        def build() -> HostKeyExchange:
            exchange = HostKeyExchange(self._host, self._port, offer)
            self._exchanges.append(exchange)
            return exchange

        try:
            return await connect(self._reactor, addresses, build)
        except ConnectError as error:
            raise connect_failed(self._host, self._port, error) from error

    async def _fetch(self, address: Address, family: KeyFamily) -> HostKey:
        exchange = await self._open((address,), [family])
        return await exchange.outcome

    async def _ask(self, address: Address, family: KeyFamily) -> HostKey | None:
        """Ask for one more key; None when the server takes no more connections now."""
        try:
            return await self._fetch(address, family)
        except (NotSSH, ConnectFailed):
            return None

    async def _insist(self, address: Address, family: KeyFamily) -> HostKey:
        """Ask a server again that takes few connections at a time."""
        for pause in _PAUSES:
            await self._pause(pause)
            key = await self._ask(address, family)
            if key is not None:
                return key
        raise KeyExchangeFailed(
            self._host,
            self._port,
            f"the SSH server has a {family.name} key but takes too few connections to show it;"
            " see MaxStartups and PerSourcePenalties there",
        )

    async def _pause(self, seconds: float) -> None:
        await deferLater(self._reactor, seconds * self._rng.uniform(0.75, 1.25))

    def _close(self) -> None:
        for task in self._further:
            task.addErrback(lambda _: None)
            task.cancel()
        for exchange in self._exchanges:
            exchange.close()
