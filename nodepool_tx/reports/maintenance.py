"""What is out of service: Nodepool 11 has no such list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from nodepool_tx.model import Maintenance
from nodepool_tx.reports.report import Column, Report, show_age

__all__ = ["maintenance_report"]


def _local(seconds: float | None) -> str:
    """A time as the clock on the wall shows it, with its zone."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def _yes_or_no(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[value]


_COLUMNS = (
    Column("host", "Host", ours=True),
    Column("provider", "Provider", ours=True),
    Column("mode", "Mode", ours=True),
    Column("since", "Since", _local, ours=True),
    Column("age", "Age", show_age, ours=True, passing=True),
    Column("until", "Until", _local, ours=True),
    Column("by", "By", ours=True),
    Column("in_use", "In use", ours=True),
    Column("configured", "Configured", _yes_or_no, ours=True),
    Column("reason", "Reason", ours=True),
)


def maintenance_report(
    records: Iterable[Maintenance],
    in_use: Callable[[Maintenance], int],
    configured: Callable[[Maintenance], bool | None],
    now: float,
) -> Report:
    """Hosts and providers that are out of service.

    :param in_use: how many nodes of it are still in somebody's hands.
    :param configured: whether the configuration has it; None if there is none.
    """
    rows: list[dict[str, Any]] = [
        {
            "host": record.host,
            "provider": record.provider,
            "mode": record.mode.value,
            "since": record.since,
            "age": int(now - record.since),
            "until": record.until,
            "by": record.by,
            "in_use": in_use(record),
            "configured": configured(record),
            "reason": record.reason,
        }
        for record in records
    ]
    return Report(_COLUMNS, tuple(rows), [column.key for column in _COLUMNS])
