"""What every :class:`~nodepool_tx.nodescan.interface.Scanner` must do.

:class:`ScannerContract` is mixed into a trial ``TestCase`` that knows where
hosts of each condition are; nothing in here knows whether they are real.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred

from nodepool_tx.nodescan.interface import (
    AddressFamily,
    ConnectFailed,
    ConnectFailure,
    NotSSH,
    Scanner,
    ScanTimeout,
)

__all__ = ["Place", "ScannerContract", "World", "asynchronous"]

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


def asynchronous(
    test: Callable[[Any], Coroutine[Deferred[Any], Any, None]],
) -> Callable[[Any], Deferred[None]]:
    """Let trial and pytest run an ``async def`` test on the reactor."""

    @functools.wraps(test)
    def run(self: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(test(self))

    return run


@attrs.frozen
class Place:
    """Where to look, and what is there."""

    host: str
    port: int
    keys: tuple[str, ...] = ()


class World(Protocol):
    """Hosts of all conditions."""

    def up(self) -> Place:
        """An SSH server with keys of several types."""

    def closed(self) -> Place:
        """A host on which nothing listens at the port."""

    def silent(self) -> Place:
        """A port that takes connections and says nothing."""

    def dead(self) -> Place:
        """An address from which nothing comes back."""

    def booting(self) -> Place:
        """A host that is closed now and an SSH server in less than a second."""

    def unknown(self) -> Place:
        """A name without address."""

    def settle(self, answer: Deferred[T]) -> Deferred[T]:
        """Let time pass until there is an answer."""


class ScannerContract:
    """Tests for a class that has ``scanner`` and ``world``."""

    scanner: Scanner
    world: World

    async def raised(self, kind: type[E], answer: Deferred[Any]) -> E:
        """The error that ``answer`` fails with; it must be exactly a ``kind``."""
        try:
            result = await self.world.settle(answer)
        except kind as error:
            if type(error) is not kind:
                raise
            return error
        raise AssertionError(f"no {kind.__name__} but {result!r}")

    @asynchronous
    async def test_all_keys(self) -> None:
        """A scan gathers the keys of all types, in the promised order, every time."""
        place = self.world.up()
        for _ in range(2):
            keys = await self.world.settle(self.scanner.scan_keys(place.host, place.port, 5))
            assert keys == place.keys, (keys, place.keys)
            assert len(keys) > 1

    @asynchronous
    async def test_probe(self) -> None:
        """A probe tells the address it has reached."""
        place = self.world.up()
        address = await self.world.settle(self.scanner.probe(place.host, place.port, 5))
        assert address.family is AddressFamily.IPV4
        assert address.port == place.port
        assert address.ipv4 == address.host

    @asynchronous
    async def test_resolve(self) -> None:
        """A look-up tells the address without contacting the host."""
        place = self.world.closed()
        address = await self.world.settle(self.scanner.resolve(place.host, place.port))
        assert address.ipv4 is not None
        assert address.port == place.port

    @asynchronous
    async def test_closed_port(self) -> None:
        """A closed port refuses, scanned or probed."""
        place = self.world.closed()
        for look in (self.scanner.scan_keys, self.scanner.probe):
            error = await self.raised(ConnectFailed, look(place.host, place.port, 5))
            assert error.reason is ConnectFailure.REFUSED
            assert (error.host, error.port) == (place.host, place.port)

    @asynchronous
    async def test_silent_port(self) -> None:
        """A port that says nothing is no SSH server, but it is a port."""
        place = self.world.silent()
        await self.raised(NotSSH, self.scanner.scan_keys(place.host, place.port, 0.3))
        await self.world.settle(self.scanner.probe(place.host, place.port, 5))

    @asynchronous
    async def test_dead_host(self) -> None:
        """From a dead host nothing comes but the timeout."""
        place = self.world.dead()
        for look in (self.scanner.scan_keys, self.scanner.probe):
            await self.raised(ScanTimeout, look(place.host, place.port, 0.3))

    @asynchronous
    async def test_unknown_name(self) -> None:
        """An unknown name is final, also for those who would wait."""
        place = self.world.unknown()
        for answer in (
            self.scanner.resolve(place.host, place.port),
            self.scanner.scan_keys(place.host, place.port, 60),
            self.scanner.probe(place.host, place.port, 60, wait=True),
        ):
            error = await self.raised(ConnectFailed, answer)
            assert error.reason is ConnectFailure.NAME_UNKNOWN

    @asynchronous
    async def test_wait_for_boot(self) -> None:
        """Who waits gets the keys of a host that comes up in time."""
        place = self.world.booting()
        scanning = self.scanner.scan_keys(place.host, place.port, 20, wait=True)
        assert await self.world.settle(scanning) == place.keys

    @asynchronous
    async def test_wait_in_vain(self) -> None:
        """Who waits in vain learns what was wrong last."""
        place = self.world.closed()
        answer = self.scanner.probe(place.host, place.port, 0.5, wait=True)
        error = await self.raised(ConnectFailed, answer)
        assert error.reason is ConnectFailure.REFUSED

    @asynchronous
    async def test_cancel(self) -> None:
        """A look that is cancelled ends as cancelled, whatever it was about to do."""
        for place in (self.world.dead(), self.world.silent(), self.world.closed()):
            scanning = self.scanner.scan_keys(place.host, place.port, 60, wait=True)
            scanning.cancel()
            await self.raised(CancelledError, scanning)
