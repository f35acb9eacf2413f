"""Slows down whoever guesses passwords, and stops them for a while.

Design note: what counts
------------------------
Failures are counted for each user name and for each address, whichever way
somebody came in.  An attempt counts from its begin, as a failure to come, so
that many at once gain nothing.  Who guesses for others can lock them out for
some minutes; keys and tokens, which cannot be guessed, work all the same.

This machine's own address stands for everybody who comes through a proxy or a
tunnel: it makes failures there slower, and is never locked.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections import OrderedDict, deque

import attrs
from twisted.internet.interfaces import IReactorTime

from nodepool_tx.auth.interface import LockedOut

__all__ = ["Attempt", "Attempts", "source_of"]

#: The answer to a failure is held back for so long, twice as long each time, up to ...
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
#: So many failures within the window lock for as long as ...
MOST_FAILURES, WINDOW, LOCKED_FOR = 10, 600.0, 600.0
#: Names and addresses that are remembered at a time.
REMEMBERED = 10_000


def source_of(address: str) -> str:
    """What stands for whoever is at an address: of IPv6 everybody has a whole network."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        if ip.is_loopback:
            return str(ip)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def folded(user: str) -> str:
    """A name as directories compare it: without regard to case and spacing."""
    return " ".join(unicodedata.normalize("NFKC", user).casefold().split())[:256]


def _is_shared(kind: str, name: str) -> bool:
    """Whether it stands for everybody."""
    try:
        return kind == "address" and ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@attrs.define
class _Record:
    failures: deque[float] = attrs.field(factory=lambda: deque(maxlen=MOST_FAILURES))
    under_way: int = 0
    locked_until: float = 0.0


@attrs.frozen(eq=False)
class Attempt:
    """One log-in that was begun, to be ended by one of its methods."""

    _attempts: Attempts
    _keys: tuple[tuple[str, str], ...]

    def failed(self) -> float:
        """It was refused; returns how long to hold the answer back, in seconds."""
        return self._attempts._ended(self._keys, failed=True)

    def succeeded(self) -> None:
        """It was granted: the failures of the user before it are forgotten."""
        self._attempts._ended(self._keys, failed=False)
        self._attempts._forget(self._keys[0])

    def abandoned(self) -> None:
        """It was neither, as when the directory does not answer."""
        self._attempts._ended(self._keys, failed=False)


class Attempts:
    """What is remembered of failed log-ins, for all ways in."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()

    def begin(self, user: str, address: str) -> Attempt:
        """Somebody tries; what it came to is to be told to the result.

        :raises LockedOut: this name or address has failed too often.
        """
        keys = (("user", folded(user)), ("address", source_of(address)))
        now = self._clock.seconds()
        records = [self._record(key, now) for key in keys]
        for (kind, name), record in zip(keys, records, strict=True):
            if _is_shared(kind, name):
                continue
            if record.locked_until > now:
                raise LockedOut(f"{kind} {name!r}", record.locked_until - now)
            if len(record.failures) + record.under_way >= MOST_FAILURES:
                raise LockedOut(f"{kind} {name!r}", LONGEST_DELAY)
        for record in records:
            record.under_way += 1
        return Attempt(self, keys)

    def _record(self, key: tuple[str, str], now: float) -> _Record:
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
            while len(self._records) > REMEMBERED:
                self._drop_one()
        self._records.move_to_end(key)
        while record.failures and record.failures[0] <= now - WINDOW:
            record.failures.popleft()
        return record

    def _drop_one(self) -> None:
        """The one not seen for longest, a locked one only if there is no other."""
        for key, record in self._records.items():
            if not record.under_way and record.locked_until <= self._clock.seconds():
                del self._records[key]
                return
        self._records.popitem(last=False)

    def _ended(self, keys: tuple[tuple[str, str], ...], *, failed: bool) -> float:
        now = self._clock.seconds()
        delay = 0.0
        for key in keys:
            record = self._record(key, now)
            record.under_way = max(0, record.under_way - 1)
            if failed:
                record.failures.append(now)
                times = len(record.failures)
                delay = max(delay, min(FIRST_DELAY * 2 ** (times - 1), LONGEST_DELAY))
                if times >= MOST_FAILURES and not _is_shared(*key):
                    record.failures.clear()
                    record.locked_until = now + LOCKED_FOR
        return delay

    def _forget(self, key: tuple[str, str]) -> None:
        record = self._records.get(key)
        if record is not None:
            record.failures.clear()
