"""Times that people type."""

from __future__ import annotations

import re
from datetime import datetime

from nodepool_tx.cli.outcome import Complaint, ExitCode
from nodepool_tx.store.maintenance import LATEST

__all__ = ["parse_when"]

_LENGTH = re.compile(r"\+(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_SECONDS = (86400, 3600, 60, 1)


def parse_when(text: str, now: float) -> float:
    """Seconds since the epoch of ``+1d12h``, or of an ISO 8601 time.

    A time without a zone is meant in the local one.

    :raises Complaint: it is neither, or not in the future.
    """
    length = _LENGTH.fullmatch(text.strip())
    try:
        if length is not None:
            moment = now + sum(
                int(count) * seconds
                for count, seconds in zip(length.groups(), _SECONDS, strict=True)
                if count
            )
        else:
            moment = _iso(text.strip()).timestamp()
        if not moment <= LATEST:
            raise ValueError("beyond all calendars")
    except (ValueError, OverflowError, OSError):
        raise Complaint(
            f"{text!r} is no time: such as +30m, +2h, +1d12h or 2030-01-31T18:00", ExitCode.USAGE
        ) from None
    if moment <= now:
        raise Complaint(f"{text!r} is not in the future", ExitCode.USAGE)
    return moment


def _iso(text: str) -> datetime:
    # Before Python 3.11 a Z is not understood.
    zoned = text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text
    return datetime.fromisoformat(zoned)
