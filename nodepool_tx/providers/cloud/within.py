"""Putting a bound on what somebody waits for."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

__all__ = ["TooLate", "within"]

T = TypeVar("T")


class TooLate(Exception):
    """It took longer than allowed, and was cancelled."""


async def within(clock: IReactorTime, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` comes to, if that is within so many seconds.

    :raises TooLate: it was not.
    """
    if seconds <= 0:
        work.close()
        raise TooLate
    try:
        return await Deferred.fromCoroutine(work).addTimeout(seconds, clock)
    except TimeoutError:
        raise TooLate from None
