"""Waiting for several things at once."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

__all__ = ["first_of", "gathered", "to_the_end"]


def gathered(deferreds: Iterable[Deferred[Any]]) -> Deferred[list[Any]]:
    """All results, in order; fails as the first of them that fails does."""

    def plain(failure: Failure) -> Failure:
        error = failure.value
        return error.subFailure if isinstance(error, FirstError) else failure

    return gatherResults(list(deferreds), consumeErrors=True).addErrback(plain)


def first_of(*deferreds: Deferred[Any]) -> Deferred[None]:
    """Fires when any of them has; cancelling it leaves them alone."""
    first: Deferred[None] = Deferred()

    def fired(result: Any) -> Any:
        if not first.called:
            first.callback(None)
        return result

    for deferred in deferreds:
        deferred.addBoth(fired)
    return first


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do something that must not be left half done.

    :raises CancelledError: we were cancelled meanwhile; now it is done.
    """
    working = Deferred.fromCoroutine(work)
    cancelled = False
    while not working.called:
        try:
            await first_of(working)
        except CancelledError:
            cancelled = True
    await working
    if cancelled:
        raise CancelledError()
