"""``--watch``: show rows again whenever they change, until the person has seen enough.

Nothing is polled: what changes in ZooKeeper wakes us.  On a terminal a table
is also drawn anew as its ages go by, from what is in memory.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater

from nodepool_tx.cli.listing import Listing, View, rendered
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.cli.visit import BROKEN, Visit

__all__ = ["watch"]

#: Seconds between looks whether somebody still reads what is written.
_READER = 1.0

_LOST = "no connection to ZooKeeper, trying again"


async def watch(visit: Visit, view: View, seconds: float) -> int:
    """Show what ``view`` finds, now and after changes, until cancelled; the exit code.

    Being cancelled is the usual end.  The other one is that nobody reads the
    output any more.

    :param seconds: the least time between two looks.
    :raises Complaint: there is nothing (any more) to show.
    """
    watching = _Watching(visit, view, seconds)
    endings = (
        visit.store.when_changed(watching.wake),
        visit.store.when_current(lambda current: watching.wake()),
    )
    try:
        await watching.go_on()
    except CancelledError:
        pass
    finally:
        for end in endings:
            end()
    return ExitCode.OK


class _Watching:
    def __init__(self, visit: Visit, view: View, seconds: float) -> None:
        self._visit = visit
        self._view = view
        self._seconds = seconds
        self._clock = visit.clock
        #: Something happened since the last look.
        self._changed = False
        self._woken: Deferred[None] | None = None
        self._text = ""
        #: Rows that are not in the text, as they would not fit.
        self._more = 0
        self._shown: Any = None
        #: Since when there is no connection.
        self._lost: float | None = None

    @property
    def _redraws(self) -> bool:
        return self._visit.terminal.is_screen and self._visit.options.format == "table"

    def wake(self) -> None:
        """Something changed."""
        self._changed = True
        if self._woken is not None and not self._woken.called:
            self._woken.callback(None)

    async def go_on(self) -> None:
        """Look, and look again, while there is a reader."""
        while True:
            looked = self._clock.seconds()
            self._changed = False
            await self._look()
            if self._visit.terminal.unread:
                return
            if not await self._change():
                return
            # Never in the middle of what woke us.
            left = looked + self._seconds - self._clock.seconds()
            await deferLater(self._clock, max(0.0, left))

    async def _change(self) -> bool:
        """Wait for the next change; False if the reader has gone away instead.

        Where ages are drawn, they change by themselves.
        """
        while not self._changed:
            if self._visit.terminal.unread:
                return False
            self._woken = Deferred()
            patience = self._seconds if self._redraws else _READER
            self._woken.addTimeout(patience, self._clock)
            with contextlib.suppress(TimeoutError):
                await self._woken
            if self._redraws:
                return True
        return True

    async def _look(self) -> None:
        if not self._visit.store.current:
            self._is_lost()
            return
        try:
            listing = await self._view(self._visit)
        except BROKEN:
            self._changed = True
            self._is_lost()
        else:
            self._found(listing)

    def _is_lost(self) -> None:
        if self._lost is None:
            self._lost = self._clock.seconds()
            if not self._redraws:
                self._visit.terminal.note(f"nodepool: {_LOST}")
        if self._redraws:
            self._redraw()

    def _found(self, listing: Listing) -> None:
        if self._lost is not None and not self._redraws:
            self._visit.terminal.note("nodepool: connected to ZooKeeper again")
        self._lost = None
        if self._redraws:
            fitting = listing.head(self._visit.terminal.room)
            self._text = rendered(self._visit, fitting)
            self._more = listing.size - fitting.size
            self._redraw()
            return
        lasting = listing.lasting()
        if lasting != self._shown:
            self._print(listing)
            self._shown = lasting

    def _redraw(self) -> None:
        what = f"nodepool {self._visit.options.verb}"
        if self._lost is None:
            state = f"{_time(self._clock.seconds())}, Ctrl-C ends"
        else:
            state = f"{_LOST}; as of {_time(self._lost)}:"
        self._visit.terminal.redraw(f"{what}: {state}\n\n{self._text}", self._more)

    def _print(self, listing: Listing) -> None:
        """One more document: a line of JSON, or a table or CSV set off by an empty line."""
        if self._visit.options.format == "json":
            self._visit.terminal.result(json.dumps(listing.as_value()))
            return
        if self._shown is not None:
            self._visit.terminal.result("")
        self._visit.terminal.result(rendered(self._visit, listing))


def _time(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
