"""Hosts that are only pretended, so that a configuration can be tried without them."""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred, succeed

from nodepool_tx.nodescan.interface import Address, AddressFamily, Scanner

__all__ = ["SIMULATED_KEY", "SimulatedHosts"]

#: The key every pretended host has; it is no valid SSH key.
SIMULATED_KEY = "ssh-rsa FAKEKEY"


class SimulatedHosts:
    """A scanner for which matching hosts are always up; the rest is really asked.

    A pretended host is never contacted, nor is its name looked up: it has the
    one key :data:`SIMULATED_KEY`, takes connections on every port, and its
    address is of the family SIMULATED.  Whoever sets this up says so in the
    log; nothing here does.

    :param scanner: asked about all other hosts.
    :param pattern: searched for in the host as it is written in the
        configuration; anchor it to be exact.
    """

    def __init__(self, scanner: Scanner, pattern: str | re.Pattern[str]) -> None:
        self._scanner = scanner
        self._pattern = re.compile(pattern)

    def simulates(self, host: str) -> bool:
        """Whether ``host`` is only pretended."""
        return self._pattern.search(host) is not None

    def scan_keys(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[tuple[str, ...]]:
        """See :meth:`Scanner.scan_keys`."""
        if self.simulates(host):
            return succeed((SIMULATED_KEY,))
        return self._scanner.scan_keys(host, port, timeout, wait=wait)

    def probe(
        self, host: str, port: int, timeout: float, *, wait: bool = False
    ) -> Deferred[Address]:
        """See :meth:`Scanner.probe`."""
        if self.simulates(host):
            return succeed(Address(AddressFamily.SIMULATED, host, port))
        return self._scanner.probe(host, port, timeout, wait=wait)

    def resolve(self, host: str, port: int) -> Deferred[Address]:
        """See :meth:`Scanner.resolve`."""
        if self.simulates(host):
            return succeed(Address(AddressFamily.SIMULATED, host, port))
        return self._scanner.resolve(host, port)
