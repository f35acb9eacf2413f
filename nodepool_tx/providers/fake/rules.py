"""What the parts of the simulated cloud have in common: refusals, names, addresses, dates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from functools import lru_cache
from hashlib import sha224
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

__all__ = ["PROJECT", "USER", "Addresses", "Identities", "Refused", "date", "lasting", "text"]

#: Below which the ids are made that are the same in every process.
_LASTING = uuid5(NAMESPACE_DNS, "simulated.nodepool-tx.invalid")


class Refused(Exception):
    """The cloud does not do it; each service says so in its own form.

    :ivar status: of HTTP.
    :ivar kind: the name of the error, where the service has one for it.
    """

    def __init__(self, status: int, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind


def lasting(kind: str, name: str) -> str:
    """The id of something that is there from the start; the same in every process."""
    return str(uuid5(_LASTING, f"{kind}/{name}"))


#: Who everything belongs to.
PROJECT = lasting("project", "project").replace("-", "")
USER = lasting("user", "user").replace("-", "")


class Identities:
    """New ids that are never used twice, from a source of chance."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def uuid(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def mac(self) -> str:
        """A hardware address out of the range that OpenStack uses."""
        rest = self._random.getrandbits(24)
        return f"fa:16:3e:{rest >> 16:02x}:{rest >> 8 & 255:02x}:{rest & 255:02x}"

    @staticmethod
    @lru_cache(maxsize=4096)
    def host(name: str) -> str:
        """What a project is told instead of the name of a host."""
        return sha224(f"{PROJECT}{name}".encode()).hexdigest()


class Addresses:
    """Gives addresses of a range out, each to one user at a time.

    One that was given back is used again only after all others.

    :param start: which to begin with, so that two clouds differ.
    """

    def __init__(self, cidr: str, start: int) -> None:
        self.cidr = cidr
        network = ip_network(cidr)
        self.version = network.version
        self._kind = type(network.network_address)
        self._first = int(network.network_address) + 1
        # The last address of an IPv4 network is its broadcast.
        self._size = min(network.num_addresses - 2, 1 << 32)
        self._next = start % self._size
        self._used: set[int] = set()
        self.first, self.last = (str(network[place]) for place in (1, -2))

    def take(self) -> str:
        """One that nobody has.

        :raises Refused: there is none left.
        """
        if len(self._used) >= self._size:
            raise Refused(409, f"no address is left in {self.cidr}", "IpAddressGenerationFailure")
        while self._next in self._used:
            self._next = (self._next + 1) % self._size
        self._used.add(self._next)
        taken = self._kind(self._first + self._next)
        self._next = (self._next + 1) % self._size
        return str(taken)

    def give_back(self, address: str) -> None:
        self._used.discard(int(ip_address(address)) - self._first)


def date(seconds: float) -> str:
    """A moment, as OpenStack writes it."""
    return _date(int(seconds))


@lru_cache(maxsize=1024)
def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def text(body: Mapping[str, Any], key: str, default: str = "") -> str:
    """A string out of a request; anything else there is refused."""
    value = body.get(key, default)
    if not isinstance(value, str):
        raise Refused(400, f"{key} is {value!r}, which is no string")
    return value
