"""The service that keeps an embedded ZooKeeper running."""

from __future__ import annotations

import os
import random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodepool_tx.embedded.layout import HOST, Layout, Lock, pick_port, port_is_free
from nodepool_tx.embedded.location import Location
from nodepool_tx.embedded.probe import serves
from nodepool_tx.embedded.proc import OtherProcesses, ProcFs
from nodepool_tx.embedded.process import Child, command_line, end_orphans, spawn
from nodepool_tx.embedded.runtime import Runtime

__all__ = ["EmbeddedZookeeper"]

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0
#: Seconds of service after which a server counts as healthy again.
_SETTLED = 60.0
_ASK_EVERY = 0.05
_PORT_PATIENCE = 2.0


class EmbeddedZookeeper(Service):
    """A real ZooKeeper on loopback, with its data below a state directory.

    It is there from :meth:`startService` to :meth:`stopService`: started when
    it ends, after a pause that grows while it does not come up.  The port is
    chosen once and stays, over restarts of the service too, so that clients
    find it again; it changes only if something else has taken it meanwhile.

    Starting raises nothing; what makes running impossible (the state directory
    is another service's, or cannot be written) fails :meth:`when_ready`.

    Stop it last: everything else that stops in order needs it.

    :param runtime: see :func:`nodepool_tx.embedded.runtime.find_runtime`.
    :param heap_mb: the most memory the server may use for data, in megabytes.
    :param stop_timeout: seconds to end in order before it is killed.
    :param start_timeout: seconds to come up before it is killed.
    :ivar restarts: how often it had to be started again.
    :ivar trouble: why there is no server just now, or None.
    """

    name = "embedded-zookeeper"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        state_dir: str | os.PathLike[str],
        runtime: Runtime,
        *,
        heap_mb: int = 256,
        stop_timeout: float = 10.0,
        start_timeout: float = 60.0,
        processes: OtherProcesses | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.restarts = 0
        self.trouble: str | None = "not started"
        self._reactor = reactor
        self._layout = Layout(state_dir)
        self._runtime = runtime
        self._heap_mb = heap_mb
        self._stop_timeout = stop_timeout
        self._start_timeout = start_timeout
        self._processes = processes or ProcFs()
        self._rng = rng or random.Random()
        self._lock: Lock | None = None
        self._child: Child | None = None
        self._address: str | None = None
        self._port = 0
        self._waiting: list[Deferred[str]] = []
        self._failure: Failure | None = None
        self._work: Deferred[None] | None = None

    @property
    def address(self) -> str | None:
        """Where it listens, ``host:port``; None until it was up for the first time."""
        return self._address

    @property
    def pid(self) -> int | None:
        """The server's process; None while there is none."""
        child = self._child
        return child.pid if child is not None and child.ending is None else None

    def when_ready(self) -> Deferred[str]:
        """Fires with :attr:`address` when the server is up for the first time.

        :raises nodepool_tx.embedded.layout.StateDirBusy: another service uses
            the state directory.
        :raises OSError: the state directory cannot be used.
        :raises twisted.internet.defer.CancelledError: stopped before that.
        """
        ready: Deferred[str] = Deferred(self._waiting.remove)
        if self._address is not None:
            ready.callback(self._address)
        elif self._failure is not None:
            ready.errback(self._failure)
        else:
            self._waiting.append(ready)
        return ready

    def startService(self) -> None:
        """Begin; see :meth:`when_ready` for the end of that."""
        super().startService()
        self._failure = None
        self._address = None
        self._work = Deferred.fromCoroutine(self._supervise()).addErrback(self._given_up)

    def stopService(self) -> Deferred[None]:
        """End the server in order; fires when nothing of it runs or listens.

        Takes at most ``stop_timeout`` seconds and what the kernel needs.
        """
        super().stopService()
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
        return Deferred.fromCoroutine(self._end())

    async def _supervise(self) -> None:
        self._layout.create()
        self._lock = Lock(self._layout)
        self._layout.location_file.unlink(missing_ok=True)
        orphans = await end_orphans(
            self._reactor, self._processes, self._layout, self._stop_timeout
        )
        if orphans:
            self._log.warn(
                "Ended the ZooKeeper of a service that was killed; its data is taken over"
                " (processes {pids})",
                pids=orphans,
            )
        self._port = await self._choose_port()
        pause = _FIRST_PAUSE
        while True:
            up_for = await self._live_and_survive()
            pause = _FIRST_PAUSE if up_for >= _SETTLED else pause
            await deferLater(self._reactor, pause * self._rng.uniform(0.75, 1.25))
            pause = min(pause * 2, _LONGEST_PAUSE)
            self.restarts += 1
            if self._address is None:
                # Nobody was told the port yet: another may have more luck.
                self._port = await self._choose_port()

    async def _choose_port(self) -> int:
        """The port used before if it is free, or else another."""
        port = self._layout.remembered_port()
        deadline = self._reactor.seconds() + _PORT_PATIENCE
        while port is not None:
            if port_is_free(port):
                return port
            if self._reactor.seconds() >= deadline:
                self._log.warn("Something else uses port {port}; choosing another", port=port)
                break
            # A server that was killed just now may still be holding it.
            await deferLater(self._reactor, 0.1)
        port = pick_port(self._rng)
        self._layout.remember_port(port)
        return port

    async def _live_and_survive(self) -> float:
        """As :meth:`_live`, when the disk is full or there are too many processes, too."""
        try:
            return await self._live()
        except OSError as error:
            self.trouble = str(error)
            self._log.error("The embedded ZooKeeper cannot be started: {reason}", reason=str(error))
            if self._child is not None and self._child.ending is None:
                # Never two servers on the same data.
                await self._child.stop(self._reactor, self._stop_timeout)
            return 0.0

    async def _live(self) -> float:
        """One life of the server; returns the seconds it was of use."""
        self._layout.write_config(self._port)
        command = command_line(self._runtime, self._layout, self._heap_mb)
        began = self._reactor.seconds()
        child = self._child = spawn(self._reactor, command, self._layout.directory)
        self.trouble = "starting"
        ready = await self._comes_up(child)
        took = self._reactor.seconds() - began
        if ready:
            self._announce(child, took)
            if not self.running:
                # Stopped by one of those who were told: we were not waiting
                # for anything then, so that cancelling could not reach us.
                raise CancelledError
        await child.when_ended()
        self._layout.location_file.unlink(missing_ok=True)
        self.trouble = f"ended with {child.ending}"
        lines = [*self._layout.log_tail(), *child.last_words]
        self._log.error(
            "The embedded ZooKeeper {what} ({ending}) and is started again. It last said:\n{tail}",
            what="ended" if ready else "did not come up",
            ending=child.ending,
            pid=child.pid,
            tail="\n".join(f"    {line}" for line in lines),
        )
        return self._reactor.seconds() - began - took if ready else 0.0

    async def _comes_up(self, child: Child) -> bool:
        """Whether it serves; if not it has ended, or was made to."""
        deadline = self._reactor.seconds() + self._start_timeout
        while child.ending is None:
            if await serves(self._reactor, self._port, self._layout):
                return True
            if self._reactor.seconds() >= deadline:
                child.send("KILL")
                return False
            await deferLater(self._reactor, _ASK_EVERY)
        return False

    def _announce(self, child: Child, took: float) -> None:
        location = Location(HOST, self._port, child.pid, self._reactor.seconds())
        location.write(self._layout)
        self._address = location.address
        self.trouble = None
        self._log.info(
            "Embedded ZooKeeper is up at {address} after {took:.1f} s (process {pid},"
            " data in {data_dir})",
            address=location.address,
            took=took,
            pid=child.pid,
            data_dir=str(self._layout.data_dir),
        )
        self._tell(location.address)

    def _given_up(self, failure: Failure) -> None:
        """Supervision has ended: on request, or because it is impossible."""
        if failure.check(CancelledError) is None:
            self.trouble = failure.getErrorMessage()
            self._failure = failure
            self._log.critical("The embedded ZooKeeper cannot run: {reason}", reason=self.trouble)
        self._tell(failure)

    def _tell(self, result: str | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for ready in waiting:
            if isinstance(result, Failure):
                ready.errback(result)
            else:
                ready.callback(result)

    async def _end(self) -> None:
        child = self._child
        if child is not None and child.ending is None:
            if await child.stop(self._reactor, self._stop_timeout):
                self._log.info("Embedded ZooKeeper stopped", pid=child.pid)
            else:
                self._log.warn(
                    "The embedded ZooKeeper did not end within {seconds} s and was killed",
                    seconds=self._stop_timeout,
                    pid=child.pid,
                )
        self._child = None
        self.trouble = "stopped"
        if self._lock is not None:
            self._layout.location_file.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None
