"""Looking at real hosts over the reactor."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nodepool_tx.nodescan.connect import connect, connect_failed, literal, look_up, peer_address
from nodepool_tx.nodescan.interface import (
    Address,
    ConnectFailed,
    ConnectFailure,
    ScanError,
    ScanTimeout,
)
from nodepool_tx.nodescan.keyscan import KeyScan
from nodepool_tx.sharing import Shared

__all__ = ["ReactorScanner"]

T = TypeVar("T")

#: Host, port, timeout, wait.
_Question = tuple[str, int, float, bool]

#: With ``wait``: seconds one attempt may take; a host that boots may leave
#: connections hanging that a new attempt would not.
_ATTEMPT = 10.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 2.0


class ReactorScanner:
    """The :class:`~nodepool_tx.nodescan.interface.Scanner` for real hosts.

    At most ``max_parallel`` hosts are looked at at a time; the rest stand in
    line, first come first served, and their timeouts stand still meanwhile.
    A host waited for gives its place up between two attempts.  The same
    question asked several times at once is one look at the host.

    A full scan opens one connection per host key type of the server, the
    second and further ones in parallel.  Servers that turn some of those
    away (``MaxStartups``, ``PerSourceMaxStartups``) are asked again for about
    1.5 s, one connection at a time.

    :ivar resolve_timeout: seconds for a look-up by :meth:`resolve`.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        max_parallel: int = 100,
        resolve_timeout: float = 10.0,
        rng: random.Random | None = None,
    ) -> None:
        self.resolve_timeout = resolve_timeout
        self._reactor = reactor
        self._places = DeferredSemaphore(max_parallel)
        self._rng = rng or random.Random()
        self._scans: Shared[_Question, tuple[str, ...]] = Shared()
        self._probes: Shared[_Question, Address] = Shared()

    @property
    def active(self) -> int:
        """Hosts being looked at now."""
        return self._places.limit - self._places.tokens

    @property
    def queued(self) -> int:
        """Hosts standing in line."""
        return len(self._places.waiting)

    def scan_keys(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """See :meth:`Scanner.scan_keys`."""

        def attempt(seconds: float) -> Deferred[tuple[str, ...]]:
            scan = KeyScan(self._reactor, host, port, self._rng)
            return self._within(seconds, Deferred.fromCoroutine(scan.run()), scan.overdue)

        return self._scans.join(
            (host, port, timeout, wait),
            lambda: Deferred.fromCoroutine(self._in_turn(attempt, host, port, timeout, wait)),
        )

    def probe(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[Address]:
        """See :meth:`Scanner.probe`."""

        def attempt(seconds: float) -> Deferred[Address]:
            return self._within(
                seconds,
                Deferred.fromCoroutine(self._touch(host, port)),
                lambda spent: ScanTimeout(
                    host,
                    port,
                    f"no connection in {spent:g} s; is the host up, behind a firewall?",
                ),
            )

        return self._probes.join(
            (host, port, timeout, wait),
            lambda: Deferred.fromCoroutine(self._in_turn(attempt, host, port, timeout, wait)),
        )

    def resolve(self, host: str, port: int) -> Deferred[Address]:
        """See :meth:`Scanner.resolve`."""
        address = literal(host, port)
        if address is not None:
            return succeed(address)

        async def first() -> Address:
            return (await look_up(self._reactor, host, port))[0]

        return self._within(
            self.resolve_timeout,
            Deferred.fromCoroutine(first()),
            lambda spent: ScanTimeout(
                host, port, f"no answer from the name service in {spent:g} s"
            ),
        )

    async def _in_turn(
        self,
        attempt: Callable[[float], Awaitable[T]],
        host: str,
        port: int,
        timeout: float,
        wait: bool,
    ) -> T:
        """Run ``attempt``, with ``wait`` again and again, within ``timeout`` of work."""
        left = timeout
        pause = _FIRST_PAUSE
        while True:
            await self._places.acquire()
            began = self._reactor.seconds()
            try:
                return await attempt(min(left, _ATTEMPT) if wait else left)
            except ScanError as error:
                left -= self._reactor.seconds() - began
                delay = pause * self._rng.uniform(0.75, 1.25)
                if not wait or not _may_pass(error) or delay >= left:
                    raise
            finally:
                self._places.release()
            await deferLater(self._reactor, delay)
            left -= delay
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _within(
        self, seconds: float, work: Deferred[T], overdue: Callable[[float], ScanError]
    ) -> Deferred[T]:
        def too_late(_: object, spent: float) -> Failure:
            return Failure(overdue(spent))

        return work.addTimeout(seconds, self._reactor, onTimeoutCancel=too_late)

    async def _touch(self, host: str, port: int) -> Address:
        addresses = await look_up(self._reactor, host, port)
        try:
            touch = await connect(self._reactor, addresses, _Touch)
        except ConnectError as error:
            raise connect_failed(host, port, error) from error
        address = peer_address(touch)
        await touch.closed
        return address


class _Touch(Protocol):
    """A connection that was only meant to be possible."""

    transport: Any

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred(lambda _: self.transport.abortConnection())

    def connectionMade(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.closed.called:
            self.closed.callback(None)


def _may_pass(error: ScanError) -> bool:
    """Whether a host that boots may say this for a while."""
    return not (isinstance(error, ConnectFailed) and error.reason is ConnectFailure.NAME_UNKNOWN)
