"""``log``: the level of this process's log, and its lines as they are written."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    InvalidLogLevelError,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
)
from zope.interface import implementer

from nodepool_tx.logs import format_line, make_levels

__all__ = ["LogView"]

_NAMES = ", ".join(level.name for level in LogLevel.iterconstants())


class LogView:
    """The launcher's log.

    ``log('debug')`` has more written to it from now on, until the launcher
    ends or another level is set; ``log.follow('info')`` shows lines here as
    they come, until Ctrl-C.

    :param levels: decides what is written; None where the log is not ours.
    """

    def __init__(self, levels: LogLevelFilterPredicate | None, show: Callable[[str], None]) -> None:
        self._levels = levels
        self._show = show

    def __repr__(self) -> str:
        return f"<log at level {self.level}>"

    @property
    def level(self) -> str:
        """From which level on events are written."""
        if self._levels is None:
            return "unknown"
        return str(self._levels.logLevelForNamespace("").name)

    def __call__(self, level: str | None = None) -> str:
        """Set the level; without one nothing changes."""
        if level is not None:
            if self._levels is None:
                raise RuntimeError("the log goes to syslog, which has its own rules")
            self._levels.setLogLevelForNamespace("", _level(level))
        return self.level

    async def follow(self, level: str = "info") -> None:
        """Show every event from a level up, until Ctrl-C."""
        _level(level)
        observer = FilteringLogObserver(_Lines(self._show), [make_levels(level)])
        globalLogPublisher.addObserver(observer)
        try:
            await Deferred()
        finally:
            globalLogPublisher.removeObserver(observer)


@implementer(ILogObserver)
class _Lines:
    """Shows each event as the launcher's log has it."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show

    def __call__(self, event: LogEvent) -> None:
        self._show(format_line(event))


def _level(name: str) -> LogLevel:
    try:
        found: LogLevel = LogLevel.levelWithName(name)
    except InvalidLogLevelError:
        raise ValueError(f"there is no level {name!r}; there are {_NAMES}") from None
    return found
