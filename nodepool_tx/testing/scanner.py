"""Hosts kept in memory, and a scanner that looks at them.

Tests hold a :class:`MemoryHosts` in one hand and a Clock in the other; the
code under test gets the :class:`MemoryScanner` only::

    clock = Clock()
    hosts = MemoryHosts()
    hosts.add("rack1", keys=("ssh-ed25519 AAAA",))
    scanner = MemoryScanner(clock, hosts)

Like the real one it never answers in the same turn: ``clock.advance(0)``
brings the answer of a host without latency.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.nodescan.interface import (
    Address,
    AddressFamily,
    ConnectFailed,
    ConnectFailure,
    NotSSH,
    ScanError,
    Scanner,
    ScanTimeout,
)

__all__ = ["Look", "MemoryHosts", "MemoryScanner"]

T = TypeVar("T")


class _Condition(enum.Enum):
    UP = "up"
    DOWN = "down"
    #: Packets vanish.
    DEAD = "dead"
    #: Takes connections and says nothing.
    SILENT = "silent"


@attrs.define(eq=False)
class _Host:
    address: Address
    keys: tuple[str, ...]
    latency: float
    condition: _Condition = _Condition.UP
    reason: ConnectFailure = ConnectFailure.REFUSED
    held: bool = False


@attrs.frozen
class Look:
    """One call of the scanner, as the test sees it."""

    kind: Literal["scan_keys", "probe", "resolve"]
    host: str
    port: int
    timeout: float
    wait: bool


class MemoryHosts:
    """The world that a :class:`MemoryScanner` looks at, and what a test does to it.

    Every change is seen at once by looks under way.

    :ivar looks: all calls so far, in order.
    """

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self._hosts: dict[tuple[str, int], _Host] = {}
        self._pending: list[_Pending[Any]] = []

    @property
    def pending(self) -> list[Look]:
        """The calls that have no answer yet, oldest first."""
        return [pending.look for pending in self._pending]

    def add(
        self,
        host: str,
        port: int = 22,
        *,
        keys: Sequence[str] = ("ssh-ed25519 AAAA",),
        address: str = "192.0.2.1",
        latency: float = 0.0,
    ) -> None:
        """A host that is up; ``latency`` is the seconds any answer takes."""
        family = AddressFamily.IPV6 if ":" in address else AddressFamily.IPV4
        self._hosts[host, port] = _Host(Address(family, address, port), tuple(keys), latency)
        self._changed()

    def change_keys(self, host: str, keys: Sequence[str], port: int = 22) -> None:
        """The host shows other keys from now on."""
        self._hosts[host, port].keys = tuple(keys)

    def take_down(
        self, host: str, port: int = 22, reason: ConnectFailure = ConnectFailure.REFUSED
    ) -> None:
        """Connections fail at once from now on."""
        self._set(host, port, _Condition.DOWN)
        self._hosts[host, port].reason = reason

    def kill(self, host: str, port: int = 22) -> None:
        """Nothing comes back from now on: looks time out."""
        self._set(host, port, _Condition.DEAD)

    def silence(self, host: str, port: int = 22) -> None:
        """The port takes connections but says nothing from now on."""
        self._set(host, port, _Condition.SILENT)

    def bring_up(self, host: str, port: int = 22) -> None:
        """The host answers again."""
        self._set(host, port, _Condition.UP)

    def hold(self, host: str, port: int = 22) -> None:
        """Answers of any kind wait for :meth:`release` (or the timeout)."""
        self._hosts[host, port].held = True

    def release(self, host: str, port: int = 22) -> None:
        """Let the answers held back go, now."""
        self._hosts[host, port].held = False
        self._changed()

    def find(self, host: str, port: int) -> _Host | None:
        return self._hosts.get((host, port))

    def track(self, pending: _Pending[Any]) -> None:
        self.looks.append(pending.look)
        self._pending.append(pending)

    def forget(self, pending: _Pending[Any]) -> None:
        self._pending.remove(pending)

    def _set(self, host: str, port: int, condition: _Condition) -> None:
        self._hosts[host, port].condition = condition
        self._changed()

    def _changed(self) -> None:
        for pending in tuple(self._pending):
            pending.consider()


class _Pending(Generic[T]):
    """One call under way."""

    def __init__(self, clock: IReactorTime, hosts: MemoryHosts, look: Look) -> None:
        self.look = look
        self.done: Deferred[T] = Deferred(lambda _: self._end())
        self._hosts = hosts
        self._ripe = False
        found = hosts.find(look.host, look.port)
        hosts.track(self)
        self._timers = [
            clock.callLater(found.latency if found else 0.0, self._ripen),
            clock.callLater(look.timeout, self._overdue),
        ]

    def consider(self) -> None:
        """Answer if there is an answer."""
        host = self._hosts.find(self.look.host, self.look.port)
        if not self._ripe or (host is not None and host.held):
            return
        outcome = self._outcome(host)
        if isinstance(outcome, ScanError):
            waited_for = self.look.wait and host is not None
            if not waited_for:
                self._end()
                self.done.errback(outcome)
        elif outcome is not None:
            self._end()
            self.done.callback(outcome)

    def _ripen(self) -> None:
        self._ripe = True
        self.consider()

    def _overdue(self) -> None:
        host = self._hosts.find(self.look.host, self.look.port)
        error = self._outcome(host) if self._ripe and not (host and host.held) else None
        if host is not None and host.condition is _Condition.SILENT:
            error = NotSSH(self.look.host, self.look.port, "the port says nothing")
        if not isinstance(error, ScanError):
            error = ScanTimeout(self.look.host, self.look.port, "no answer")
        self._end()
        self.done.errback(error)

    def _outcome(self, host: _Host | None) -> Any:
        """The answer, an error, or None for silence."""
        name, port, kind = self.look.host, self.look.port, self.look.kind
        if host is None:
            return ConnectFailed(name, port, "unknown name", ConnectFailure.NAME_UNKNOWN)
        if kind == "resolve":
            return host.address
        if host.condition is _Condition.DOWN:
            return ConnectFailed(name, port, host.reason.value, host.reason)
        if host.condition is _Condition.DEAD:
            return None
        if kind == "probe":
            return host.address
        return host.keys if host.condition is _Condition.UP else None

    def _end(self) -> None:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._hosts.forget(self)


class MemoryScanner:
    """A :class:`~nodepool_tx.nodescan.interface.Scanner` of hosts in memory."""

    #: Seconds until a look-up that is held back fails.
    RESOLVE_TIMEOUT = 10.0

    def __init__(self, clock: IReactorTime, hosts: MemoryHosts) -> None:
        self._clock = clock
        self._hosts = hosts

    def scan_keys(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """See :meth:`Scanner.scan_keys`."""
        look = Look("scan_keys", host, port, timeout, wait)
        return _Pending[tuple[str, ...]](self._clock, self._hosts, look).done

    def probe(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[Address]:
        """See :meth:`Scanner.probe`."""
        look = Look("probe", host, port, timeout, wait)
        return _Pending[Address](self._clock, self._hosts, look).done

    def resolve(self, host: str, port: int) -> Deferred[Address]:
        """See :meth:`Scanner.resolve`."""
        look = Look("resolve", host, port, self.RESOLVE_TIMEOUT, False)
        return _Pending[Address](self._clock, self._hosts, look).done


if TYPE_CHECKING:
    from nodepool_tx.nodescan.scanner import ReactorScanner
    from nodepool_tx.nodescan.simulated import SimulatedHosts

    def _all_are_scanners(
        memory: MemoryScanner, real: ReactorScanner, simulated: SimulatedHosts
    ) -> tuple[Scanner, ...]:
        return memory, real, simulated
