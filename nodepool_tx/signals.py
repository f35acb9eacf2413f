"""Signals beyond those that stop the process, which Twisted handles."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger

from nodepool_tx.reload import Reloader
from nodepool_tx.store.store import Store

__all__ = ["SignalHandler"]


class Checks(Protocol):
    """Something that can be told to look at the configuration now."""

    def check_now(self) -> object: ...


class SignalHandler(Service):
    """SIGHUP looks at the configuration, SIGUSR2 logs what is going on."""

    _log = Logger()

    def __init__(
        self, reactor: IReactorFromThreads, watcher: Checks, reloader: Reloader, store: Store
    ) -> None:
        self.setName("signals")
        self._reactor = reactor
        self._watcher = watcher
        self._reloader = reloader
        self._store = store
        self._previous: dict[int, object] = {}

    def startService(self) -> None:
        super().startService()
        for number in (signal.SIGHUP, signal.SIGUSR2):
            self._previous[number] = signal.signal(number, self._received)

    def stopService(self) -> None:
        super().stopService()
        for number, previous in self._previous.items():
            signal.signal(number, previous)  # type: ignore[arg-type]
        self._previous = {}

    def _received(self, number: int, _frame: FrameType | None) -> None:
        # Anything may be interrupted by a signal; the work is done in turn.
        self._reactor.callFromThread(
            self._reload if number == signal.SIGHUP else self._tell_what_goes_on
        )

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
        for name, service in self._reloader.services().items():
            status = service.status()
            self._log.info(
                "SIGUSR2: provider {provider} ({driver}) is {phase}, owner: {owner}, "
                "in flight: {tasks}",
                provider=name,
                driver=status.driver,
                phase=status.phase.value,
                owner=status.owner,
                tasks="; ".join(what for what, _ in status.tasks) or "nothing",
            )
