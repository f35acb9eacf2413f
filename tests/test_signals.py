"""What signals do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from nodepool_tx.signals import MOST_LINES, SignalHandler
from tests.out_of_service import host_record, provider_record
from tests.reload_stage import ReloadTestCase, provider

SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


class Reactor:
    """Notes what it is asked to do, and does it when the test says so."""

    def __init__(self) -> None:
        self.work: list[Callable[[], object]] = []
        self.when_running: list[Callable[[], object]] = []
        self.stopped = 0

    def callFromThread(self, work: Callable[[], object], /) -> None:
        self.work.append(work)

    def callWhenRunning(self, work: Callable[[], object], /) -> None:
        self.when_running.append(work)

    def stop(self) -> None:
        self.stopped += 1

    def run(self) -> None:
        """A turn of the reactor, which has put its own handlers in place at its start."""
        for work in self.when_running:
            work()
        self.when_running = []
        while self.work:
            self.work.pop(0)()


class Watcher:
    def __init__(self) -> None:
        self.looks = 0

    def check_now(self) -> None:
        self.looks += 1


class SignalTests(ReloadTestCase):
    def setUp(self) -> None:
        super().setUp()
        for number in SIGNALS:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.caught: list[int] = []
        for number in SIGNALS:
            signal.signal(number, self.catch)
        self.reactor, self.watcher = Reactor(), Watcher()
        self.logs_begun: list[None] = []
        self.handler = self.make_handler(self.reactor)
        self.handler.startService()
        self.reactor.run()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def make_handler(self, reactor: Reactor) -> SignalHandler:
        return SignalHandler(
            reactor,
            self.watcher,
            self.reloader,
            self.store,
            begin_log=lambda: self.logs_begun.append(None),
        )

    def catch(self, number: int, frame: FrameType | None) -> None:
        """What handled the signals before."""
        self.caught.append(number)

    def send(self, number: int) -> None:
        os.kill(os.getpid(), number)

    def said(self) -> list[dict[str, Any]]:
        return [e for e in self.events if str(e.get("log_format")).startswith("SIG")]

    def test_reload(self) -> None:
        """SIGHUP looks at the configuration, in a turn of the reactor's own."""
        self.send(signal.SIGHUP)
        self.assertEqual(self.watcher.looks, 0)
        self.reactor.run()
        self.assertEqual(self.watcher.looks, 1)

    def test_stop(self) -> None:
        """SIGTERM and SIGINT stop the reactor once, however often they come."""
        self.send(signal.SIGTERM)
        self.assertEqual(self.reactor.stopped, 0)
        self.reactor.run()
        self.assertEqual(self.reactor.stopped, 1)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.send(number)
            self.reactor.run()
        self.assertEqual(self.reactor.stopped, 1)
        self.handler.stopService()
        self.send(signal.SIGTERM)
        self.reactor.run()
        self.assertEqual((self.reactor.stopped, self.caught), (1, []))

    def test_what_goes_on(self) -> None:
        """SIGUSR2 tells of ZooKeeper, the reload, and each provider."""
        self.apply(provider("a"), provider("b"))
        self.service("a").tasks = (("checking node 7", 0.0), ("serving request 1", 0.0))
        self.send(signal.SIGUSR2)
        self.reactor.run()
        first, a, b = self.said()
        self.assertEqual(
            (first["state"], first["nodes"], first["requests"], first["reload"]),
            ("connected", 0, 0, "not under way"),
        )
        self.assertEqual(
            (a["provider"], a["phase"], a["owner"], a["tasks"]),
            ("a", "active", "yes", "checking node 7; serving request 1"),
        )
        self.assertEqual((b["provider"], b["tasks"]), ("b", "nothing"))

    def test_why_something_waits(self) -> None:
        """SIGUSR2 tells what waits and what is wrong with a provider; of too much the first."""
        self.apply(provider("a"))
        waiting = tuple(f"main: 1 for label-{n}, first 100-{n}: no node" for n in range(30))
        self.service("a").waiting = waiting
        self.service("a").troubles = ("main: web1 is down: no route",)
        self.send(signal.SIGUSR2)
        self.reactor.run()
        told = [str(e["log_format"]).format(**e) for e in self.said()[2:]]
        self.assertEqual(told[0], f"SIGUSR2: a: {waiting[0]}")
        self.assertEqual(len(told), MOST_LINES + 2)
        self.assertEqual(
            told[-2:],
            [
                f"SIGUSR2: a: ... and {30 - MOST_LINES} more",
                "SIGUSR2: a: main: web1 is down: no route",
            ],
        )

    def test_new_log(self) -> None:
        """SIGUSR1 begins a new log file, and does not end the process."""
        self.send(signal.SIGUSR1)
        self.assertEqual(self.logs_begun, [])
        self.reactor.run()
        self.assertEqual(self.logs_begun, [None])

    def test_what_is_out_of_service_and_not_configured(self) -> None:
        """SIGUSR2 tells of it, as no provider does."""
        self.apply(provider("a"))
        Deferred.fromCoroutine(self.store.maintenance.put(host_record("lost")))
        Deferred.fromCoroutine(self.store.maintenance.put(provider_record("a")))
        self.settle()
        self.send(signal.SIGUSR2)
        self.reactor.run()
        said = [event for event in self.said() if "not configured here" in event["log_format"]]
        (line,) = [event["what"] for event in said]
        self.assertIn("host lost is in maintenance since", line)

    def test_a_provider_that_cannot_tell(self) -> None:
        """A provider that fails over the question does not keep others from telling."""
        self.apply(provider("a"), provider("b"))
        self.patch(self.service("a"), "status", lambda: 1 / 0)
        self.send(signal.SIGUSR2)
        self.reactor.run()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.said()[-1]["provider"], "b")

    def test_handlers_before(self) -> None:
        """After the stop those are in place again that were there before."""
        self.handler.stopService()
        for number in SIGNALS:
            self.send(number)
        self.assertEqual(self.caught, list(SIGNALS))
        self.assertEqual(self.reactor.work, [])

    def test_stopped_before_the_reactor_runs(self) -> None:
        """A launcher that is stopped before it ever ran leaves the handlers alone."""
        self.handler.stopService()
        reactor = Reactor()
        handler = self.make_handler(reactor)
        handler.startService()
        handler.stopService()
        reactor.run()
        self.assertEqual(signal.getsignal(signal.SIGTERM), self.catch)

    def test_ignored_interrupt(self) -> None:
        """SIGINT that whoever started us had us ignore stays ignored."""
        self.handler.stopService()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.handler.startService()
        self.reactor.run()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        self.handler.stopService()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
