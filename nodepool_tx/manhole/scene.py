"""What there is to be seen and worked on at a console."""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import LogLevelFilterPredicate

from nodepool_tx.config.watch import CheckResult
from nodepool_tx.status.farm import Farm
from nodepool_tx.work import Tracker

__all__ = ["Checks", "Scene"]


class Checks(Protocol):
    """Something that can be told to look at the configuration now."""

    def check_now(self) -> Deferred[CheckResult]: ...


@attrs.frozen(kw_only=True)
class Scene:
    """What consoles look at and work on.

    :ivar watcher: of the configuration's files.
    :ivar levels: of the launcher's log; None where it is not ours.
    :ivar consoles: what people at consoles wait for.
    """

    farm: Farm
    watcher: Checks
    levels: LogLevelFilterPredicate | None
    consoles: Tracker
