"""A warning for operators whose users would send secrets in the clear."""

from __future__ import annotations

import ipaddress

from twisted.logger import Logger

from nodepool_tx.config.schema import Config

__all__ = ["PlainHTTP"]


class PlainHTTP:
    """Tells, once for each address, that leases are lent beyond this machine."""

    _log = Logger()

    def __init__(self) -> None:
        self._told: str | None = None

    def look(self, config: Config) -> None:
        """See what is configured now."""
        address = config.webapp.listen_address
        exposed = config.operations.leases is not None and not _is_loopback(address)
        if exposed and address != self._told:
            self._log.warn(
                "leases are lent over plain HTTP at {address}: tokens and passwords are sent as "
                "they are, put something that speaks TLS in front and listen at 127.0.0.1",
                address=address,
            )
        self._told = address if exposed else None


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"
