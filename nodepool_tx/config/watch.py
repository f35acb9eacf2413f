"""Notices that the configuration's files changed, and reads them.

A file is looked at by its modification time, size and inode.  Two looks in a
row have to agree before a changed file is read, because an editor that writes
in place leaves half a configuration behind for a moment, and half of one may
well be valid and mean that the other half was removed.  A look that was asked
for (:meth:`ConfigWatcher.check_now`) does not wait.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.config.drivers import DriverRegistry
from nodepool_tx.config.errors import ConfigError, ConfigErrors
from nodepool_tx.config.load import default_drivers, parse_sources
from nodepool_tx.config.schema import Config
from nodepool_tx.config.source import Sources, read_sources

__all__ = ["CheckResult", "ConfigWatcher", "Offload"]

#: Runs a pure function somewhere else, such as in a thread.
Offload = Callable[[Callable[[], Config]], "Deferred[Config]"]

#: Modification time, size and inode of each file; None for one that is away.
_Look = tuple[tuple[int, int, int] | None, ...]


class CheckResult(enum.Enum):
    """What a look at the files came to."""

    #: The content is what was reported last.
    UNCHANGED = "unchanged"
    #: The files change right now; the next look will tell more.
    UNSETTLED = "unsettled"
    #: A new configuration was handed on.
    LOADED = "loaded"
    #: The errors of a new configuration were handed on.
    FAILED = "failed"


class ConfigWatcher(Service):
    """Hands on each new configuration, or its errors, once.

    :param interval: seconds between two looks.
    :param on_config: told of each configuration that can be used.
    :param on_errors: told of each one that cannot; the last good one stays
        current.
    :param offload: where files above ``inline_bytes`` are parsed, so that the
        reactor is not kept from its work.
    :param initial: what was loaded from these files before, and is not handed
        on again.  Without it the first look is a part of the start.
    :ivar current: the last configuration that could be used.
    :ivar last_error: why the files cannot be used now; None when they can.
    :ivar last_checked: when the files were last looked at, by the clock.
    :ivar last_loaded: when ``current`` was loaded, by the clock.
    """

    _log: ClassVar[Logger] = Logger()

    #: About 50 ms worth of parsing.
    DEFAULT_INLINE_BYTES: ClassVar[int] = 128 * 1024

    def __init__(
        self,
        path: str,
        secure_path: str | None = None,
        *,
        clock: IReactorTime,
        interval: float,
        on_config: Callable[[Config], None],
        on_errors: Callable[[ConfigErrors], None],
        offload: Offload,
        env: Mapping[str, str] = os.environ,
        drivers: DriverRegistry | None = None,
        initial: Config | None = None,
        inline_bytes: int = DEFAULT_INLINE_BYTES,
    ) -> None:
        self.current = initial
        self.last_error: ConfigErrors | None = None
        self.last_checked: float | None = None
        self.last_loaded: float | None = None if initial is None else clock.seconds()
        self._path = path
        self._secure_path = secure_path
        self._clock = clock
        self._interval = interval
        self._on_config = on_config
        self._on_errors = on_errors
        self._offload = offload
        self._env = dict(env)
        self._drivers = default_drivers() if drivers is None else drivers
        self._inline_bytes = inline_bytes
        self._reported = None if initial is None else initial.digest
        self._handled: _Look | None = None
        self._previous: _Look | None = None
        self._loop: LoopingCall | None = None
        self._busy = DeferredLock()

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        if self.current is None:
            self.check_now()
        self._loop = LoopingCall(self._round)
        self._loop.clock = self._clock
        self._loop.start(self._interval, now=False)

    def stopService(self) -> Deferred[None]:
        """Look no more; fires when nothing will be handed on any more."""
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        self._loop = None
        return self._busy.run(lambda: None)

    def check_now(self) -> Deferred[CheckResult]:
        """Look at once and take what is there, such as on SIGHUP.

        Errors that were reported before are reported again, since somebody
        asked.  Never fails.
        """
        return self._busy.run(self._guarded, asked=True)

    def _round(self) -> Deferred[CheckResult]:
        if self._busy.locked:
            return succeed(CheckResult.UNSETTLED)
        return self._busy.run(self._guarded, asked=False)

    def _guarded(self, asked: bool) -> Deferred[CheckResult]:
        """A round that fails is logged, and the next one comes."""
        done = Deferred.fromCoroutine(self._check(asked))
        return done.addErrback(self._failed)

    def _failed(self, failure: Failure) -> CheckResult:
        self._log.failure("config_check_failed: {path}", failure, path=self._path)
        return CheckResult.UNSETTLED

    def _look(self) -> _Look:
        paths = [self._path] if self._secure_path is None else [self._path, self._secure_path]
        looks: list[tuple[int, int, int] | None] = []
        for path in paths:
            try:
                found = os.stat(path)
            except (OSError, ValueError):
                looks.append(None)
            else:
                looks.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return tuple(looks)

    async def _check(self, asked: bool) -> CheckResult:
        look = self._look()
        self.last_checked = self._clock.seconds()
        previous, self._previous = self._previous, look
        if not asked:
            if look == self._handled:
                return CheckResult.UNCHANGED
            if look != previous:
                return CheckResult.UNSETTLED
        sources = read_sources(self._path, self._secure_path)
        after = self._look()
        if after != look:
            self._previous = after
            return CheckResult.UNSETTLED
        # A file written twice within one tick of its clock looks the same
        # both times, so what was not seen at rest is read once more.
        self._handled = None if asked else look
        if sources.digest == self._reported and not (asked and self.last_error):
            return CheckResult.UNCHANGED
        return await self._load(sources)

    async def _load(self, sources: Sources) -> CheckResult:
        parse = partial(parse_sources, sources, self._env, drivers=self._drivers)
        config: Config | None = None
        errors: ConfigErrors | None = None
        try:
            config = parse() if sources.size <= self._inline_bytes else await self._offload(parse)
        except ConfigErrors as found:
            errors = found
        except Exception as found:
            self._log.failure("config_parser_failed: {path}", path=self._path)
            message = f"reading it failed: {type(found).__name__}"
            errors = ConfigErrors([ConfigError(self._path, 0, 0, "", message)])
        if not self.running:
            return CheckResult.UNCHANGED
        self._reported = sources.digest
        self.last_error = errors
        if config is not None:
            self.current = config
            self.last_loaded = self._clock.seconds()
            self._tell(self._on_config, config)
            return CheckResult.LOADED
        if errors is not None:
            self._tell(self._on_errors, errors)
        return CheckResult.FAILED

    def _tell(self, receiver: Callable[..., None], what: Config | ConfigErrors) -> None:
        try:
            receiver(what)
        except Exception:
            self._log.failure("config_receiver_failed: {receiver}", receiver=receiver)
