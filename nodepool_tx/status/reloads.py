"""What people are shown of reloads."""

from __future__ import annotations

from typing import Any

from nodepool_tx.history import History
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.process import config_errors

__all__ = ["reload_statuses"]


def reload_statuses(farm: Farm, history: History) -> dict[str, Any]:
    """The last hundred reloads, newest first, and why the newest files were refused, if so."""
    return {
        "reloads": [
            {
                "at": past.at,
                "seconds": round(past.event.seconds, 3),
                "kept": list(past.event.kept),
                "replaced": list(past.event.replaced),
                "added": list(past.event.added),
                "removed": list(past.event.removed),
                "rolled_back": list(past.event.rolled_back),
            }
            for past in reversed(history.reloads())
        ],
        "errors": config_errors(farm.launcher.last_errors),
    }
