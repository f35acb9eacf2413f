"""What can be shown, and how it looks as ``--format`` and ``--color`` say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from nodepool_tx.cli.colours import paint_for
from nodepool_tx.cli.visit import Visit
from nodepool_tx.reports.report import Paint
from nodepool_tx.reports.table import spelled_out

__all__ = ["Listing", "View", "rendered"]


class Listing(Protocol):
    """What can be shown in every format; a report, or several."""

    def as_table(self, *, paint: Paint | None = None) -> str:
        """For people, without a line break at the end."""

    def as_value(self) -> Any:
        """For JSON."""

    def as_json(self) -> str:
        """The value, indented."""

    def as_csv(self) -> str:
        """RFC 4180, with the end of the last line."""

    @property
    def size(self) -> int:
        """How many rows there are."""

    def head(self, count: int) -> Listing:
        """So many rows at most, of each of its parts."""

    def lasting(self) -> Any:
        """Equal as long as nothing but the time has changed."""


#: Looks at what there is now; may be called again and again.
#:
#: :raises Complaint: there is nothing to show, as for an id that is not there.
View = Callable[[Visit], Awaitable[Listing]]


def rendered(visit: Visit, listing: Listing) -> str:
    """As ``--format`` and ``--color`` say, without a line break at the end."""
    if visit.options.format == "json":
        return listing.as_json()
    if visit.options.format == "csv":
        text = listing.as_csv().removesuffix("\n")
        # Programs get texts as they are; a terminal would act upon some.
        return spelled_out(text, "\r\n") if visit.terminal.is_screen else text
    paint = paint_for(visit.options.color, visit.world.environ, visit.terminal.is_screen)
    return listing.as_table(paint=paint)
