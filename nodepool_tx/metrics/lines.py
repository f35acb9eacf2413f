"""Statsd's own words: names, lines, and lines put together into datagrams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["MOST_BYTES", "address_of", "count", "gauge", "normal", "packed", "safe", "timing"]

#: What fits into one packet on Ethernet, with headers of whatever kind.
MOST_BYTES = 1432

_MEANS_SOMETHING = re.compile(r"[:|@#\s\x00-\x1f]")


def safe(name: str) -> str:
    """A name that can be no more than that; dots begin a further level, as they always did."""
    return _MEANS_SOMETHING.sub("_", name)


def normal(name: str) -> str:
    """A name that is one level, whatever somebody called it."""
    return safe(name).replace(".", "_")


def gauge(name: str, value: float) -> str:
    """How much there is."""
    return f"{name}:{int(value) if value == int(value) else value}|g"


def count(name: str, value: int = 1) -> str:
    """How many more there are."""
    return f"{name}:{value}|c"


def timing(name: str, seconds: float) -> str:
    """How long something took; told in milliseconds."""
    return f"{name}:{1000.0 * seconds:.3f}|ms"


def packed(lines: Iterable[str]) -> Iterator[bytes]:
    """The lines in as few datagrams as they fit into; one that is too long has its own."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        data = line.encode("utf-8", "replace")
        if batch and size + 1 + len(data) > MOST_BYTES:
            yield b"\n".join(batch)
            batch, size = [], 0
        size += len(data) + (1 if batch else 0)
        batch.append(data)
    if batch:
        yield b"\n".join(batch)


def address_of(host: str | None, port: str | None) -> tuple[str, int] | None:
    """Where the server is, from ``STATSD_HOST`` and ``STATSD_PORT``; None if neither is set.

    :raises ValueError: the port is none.
    """
    if not host and not port:
        return None
    number = int(port) if port and port.isascii() and port.isdigit() else 0 if port else 8125
    if not 0 < number < 65536:
        raise ValueError(f"STATSD_PORT: {port!r} is not the number of a port")
    return (host or "localhost", number)
