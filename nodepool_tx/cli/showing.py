"""Showing rows: as a table, JSON or CSV, once or as they change."""

from __future__ import annotations

from nodepool_tx.cli.listing import Listing, View, rendered
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.cli.visit import Verb, Visit
from nodepool_tx.cli.watching import watch

__all__ = ["Listing", "View", "show", "viewing"]


def show(visit: Visit, listing: Listing) -> int:
    """Print it; the exit code."""
    visit.terminal.result(rendered(visit, listing))
    return ExitCode.OK


def viewing(view: View) -> Verb:
    """The verb that shows what ``view`` finds."""

    async def verb(visit: Visit) -> int:
        if visit.options.watch is not None:
            return await watch(visit, view, visit.options.watch)
        return show(visit, await view(visit))

    return verb
