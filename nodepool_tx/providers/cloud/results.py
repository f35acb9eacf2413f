"""The names under which the ends of launches are counted.

They are those of Nodepool 11's statistics, what follows ``error.`` there.
"""

from __future__ import annotations

from nodepool_tx.providers.cloud.attempt import BootFailed, NoAddress, NotActiveInTime
from nodepool_tx.providers.cloud.errors import CloudError, NoCapacity, OverQuota
from nodepool_tx.providers.cloud.images import NoImage
from nodepool_tx.providers.cloud.interface import Instance, InstanceState

__all__ = ["READY", "SESSION_LOST", "result_of"]

READY = "ready"
SESSION_LOST = "zksession"
UNKNOWN = "unknown"

#: The first that an error is one of.
_NAMES: tuple[tuple[type[CloudError], str], ...] = (
    (OverQuota, "quota"),
    (NoCapacity, "capacity"),
    (NotActiveInTime, "servercreatetimeout"),
    (NoAddress, "network"),
    (BootFailed, "keyscan"),
    (NoImage, "nodepool"),
)


def result_of(error: CloudError, seen: Instance | None) -> str:
    """What an attempt that ended with an error counts as.

    :param seen: its server, as it was listed last.
    """
    for kind, name in _NAMES:
        if isinstance(error, kind):
            return name
    if seen is not None and seen.state is InstanceState.FAILED:
        return "status"
    return UNKNOWN
