"""What signals do.

Twisted's own handlers of SIGTERM and SIGINT let the process die of the signal
after it has stopped in order, which looks like a kill to whoever waits for it,
and take a second one for a mistake.  Ours end with status 0.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from twisted.application.service import Service
from twisted.logger import Logger

from nodepool_tx.maintenance import not_configured
from nodepool_tx.reload import Reloader
from nodepool_tx.store.maintenance import in_words
from nodepool_tx.store.store import Store

__all__ = ["MOST_LINES", "SignalHandler"]

#: Of each kind, when there is a lot to tell.
MOST_LINES = 20


class Checks(Protocol):
    """Something that can be told to look at the configuration now."""

    def check_now(self) -> object: ...


class Reactor(Protocol):
    """What this module needs of one."""

    def callFromThread(self, work: Callable[[], object], /) -> object: ...

    def callWhenRunning(self, work: Callable[[], object], /) -> object: ...

    def stop(self) -> object: ...


class SignalHandler(Service):
    """SIGTERM and SIGINT stop, SIGHUP looks at the configuration, SIGUSR2 tells what goes on.

    SIGUSR1 begins a new log file, as with every daemon of twistd's.

    :param begin_log: begins a new log file; where there is none it does nothing.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Reactor,
        watcher: Checks,
        reloader: Reloader,
        store: Store,
        begin_log: Callable[[], object],
    ) -> None:
        self.setName("signals")
        self._reactor = reactor
        self._watcher = watcher
        self._reloader = reloader
        self._store = store
        self._previous: dict[int, object] = {}
        self._does: dict[int, Callable[[], object]] = {
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: begin_log,
            signal.SIGUSR2: self._tell_what_goes_on,
            signal.SIGTERM: lambda: self._stop("SIGTERM"),
            signal.SIGINT: lambda: self._stop("SIGINT"),
        }
        self._stopping = False

    def startService(self) -> None:
        super().startService()
        self._handle(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        # A reactor that begins to run puts its own in place of these.
        self._reactor.callWhenRunning(self._handle_stops)

    def stopService(self) -> None:
        super().stopService()
        for number, previous in self._previous.items():
            if not (self._stopping and number in (signal.SIGTERM, signal.SIGINT)):
                # None stands for a handler that was not set from Python.
                signal.signal(number, previous or signal.SIG_DFL)  # type: ignore[arg-type]
        self._previous = {}

    def _handle(self, *numbers: int) -> None:
        for number in numbers:
            self._previous[number] = signal.signal(number, self._received)

    def _handle_stops(self) -> None:
        if self.running:
            self._handle(signal.SIGTERM)
            # A shell without job control lets what it starts in the background ignore it.
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                self._handle(signal.SIGINT)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        # Anything may be interrupted by a signal; the work is done in turn.
        self._reactor.callFromThread(self._does[number])

    def _stop(self, name: str) -> None:
        if self._stopping:
            self._log.info("{signal}: still stopping", signal=name)
            return
        self._log.info("{signal}: stopping", signal=name)
        self._stopping = True
        self._reactor.stop()

    def _reload(self) -> None:
        self._log.info("SIGHUP: looking at the configuration")
        self._watcher.check_now()

    def _tell_what_goes_on(self) -> None:
        self._log.info(
            "SIGUSR2: ZooKeeper {state}, {nodes} nodes, {requests} requests, reload {reload}",
            state=self._store.client.state.value,
            nodes=len(self._store.nodes),
            requests=len(self._store.requests),
            reload="under way" if self._reloader.running else "not under way",
        )
        for service in (*self._reloader.services().values(), *self._reloader.retiring()):
            name = service.name
            try:
                status = service.status()
            except Exception:
                self._log.failure("SIGUSR2: provider {provider} cannot tell", provider=name)
                continue
            self._log.info(
                "SIGUSR2: provider {provider} ({driver}) is {phase}, owner: {owner}, "
                "in flight: {tasks}",
                provider=name,
                driver=status.driver,
                phase=status.phase.value,
                owner="yes" if status.owner else "no",
                tasks=_listed([what for what, _ in status.tasks]) or "nothing",
            )
            for what in (*_first(status.waiting), *_first(status.troubles)):
                self._log.info("SIGUSR2: {provider}: {what}", provider=name, what=what)
        self._tell_what_is_out_of_service()

    def _tell_what_is_out_of_service(self) -> None:
        """What providers do not tell: what is out of service and not configured here."""
        config = self._reloader.config
        if config is None:
            return
        now = self._store.clock.seconds()
        records = not_configured(self._store.maintenance.all(), config)
        for what in _first([in_words(record, now) for record in records]):
            self._log.info("SIGUSR2: not configured here: {what}", what=what)


def _first(lines: Sequence[str]) -> list[str]:
    """So many that a log stays readable, and how many there are beyond."""
    more = [f"... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [*lines[:MOST_LINES], *more]


def _listed(words: Sequence[str]) -> str:
    return "; ".join(_first(words))
