"""People at the console: who they are, how long they have been silent, what they typed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodepool_tx import __version__
from nodepool_tx.audit import LONGEST, Audit
from nodepool_tx.auth.interface import Principal
from nodepool_tx.manhole.command import Command
from nodepool_tx.manhole.evaluating import Interpreter
from nodepool_tx.manhole.history import History
from nodepool_tx.manhole.scene import Scene
from nodepool_tx.manhole.screen import Screen
from nodepool_tx.manhole.shell import Shell, StillRunning
from nodepool_tx.manhole.ssh import Channel, Connection, Transport, Visit
from nodepool_tx.manhole.tools import known_names, tools

__all__ = ["Session"]

#: Seconds without a key after which a session ends.
IDLE_LIMIT = 3600.0


class Session:
    """One log-in, with all its terminals and commands.

    :param number: tells it from others in the audit log.
    :param ended: called when it is over.
    """

    def __init__(
        self,
        clock: IReactorTime,
        scene: Scene,
        audit: Audit,
        transport: Transport,
        principal: Principal,
        number: int,
        histories: str,
        ended: Callable[[Session], None],
    ) -> None:
        self._clock = clock
        self._scene = scene
        self._audit = audit
        self._transport = transport
        self._histories = histories
        self._on_end = ended
        self.principal = principal
        self.number = number
        connection: Any = transport.transport
        peer = connection.getPeer()
        self.address = str(peer.host)
        self.port = peer.port
        self._visits: list[Terminal | Command] = []
        self._idle: IDelayedCall | None = None
        self._over = False
        self._touch()

    def connection(self) -> Connection:
        """What the visitor meets after the log-in."""
        return Connection(self._begin, self._ended)

    def record(self, what: str, outcome: str = "", **more: Any) -> None:
        """Write into the audit log what this user did."""
        self._audit.record(
            self.principal.name,
            f"console {self.address}",
            what,
            outcome,
            session=self.number,
            port=self.port,
            **more,
        )

    def begins(self, source: str, **more: Any) -> None:
        """Write down what was typed, all of it, before it is run."""
        pieces = [source[at : at + LONGEST] for at in range(0, len(source), LONGEST)] or [""]
        for number, piece in enumerate(pieces, 1):
            part = {} if len(pieces) == 1 else {"part": number, "parts": len(pieces)}
            self.record(piece, "begins", **part, **more)

    def later(self, work: Callable[[], None]) -> None:
        """Call something in another turn of the reactor."""
        self._clock.callLater(0, work)

    def end(self, words: str) -> None:
        """Close it from our side, with a word to whoever is there."""
        for visit in tuple(self._visits):
            visit.end(words)
        self._transport.end(words)

    def _touch(self) -> None:
        if self._idle is not None and self._idle.active():
            self._idle.reset(IDLE_LIMIT)
        elif not self._over:
            self._idle = self._clock.callLater(IDLE_LIMIT, self._silent)

    def _silent(self) -> None:
        self.record("idle", "ended")
        self.end("nothing was typed for a long time: goodbye")

    def _ended(self) -> None:
        if self._over:
            return
        self._over = True
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self.record("disconnect")
        self._on_end(self)

    # -- channels --------------------------------------------------------

    def _begin(self, channel: Channel, command: str | None, size: tuple[int, int] | None) -> Visit:
        visit: Terminal | Command

        def say(text: str) -> None:
            visit.say(text)

        names = tools(self._scene, self.principal.name, say, self._run)
        interpreter = Interpreter(names)
        if command is None:
            visit = Terminal(self, channel, interpreter, size)
            self._visits.append(visit)
            visit.begin()
        else:
            self.begins(command, how="command")
            visit = Command(
                channel,
                command,
                interpreter,
                size,
                self._run,
                self.later,
                self._answered,
                lambda: self._visits.remove(visit),
            )
            self._visits.append(visit)
            visit.begin()
        return visit

    def _run(self, what: str, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Start something for the user, where ``tasks()`` shows it until it has ended."""

        def cancel(outcome: Deferred[Any]) -> None:
            task.cancel()
            if not outcome.called:
                outcome.errback(StillRunning())

        outcome: Deferred[Any] = Deferred(cancel)

        async def watched() -> None:
            try:
                result = await work
            except BaseException as e:
                if isinstance(e, GeneratorExit):
                    raise
                if not outcome.called:
                    outcome.errback(e)
            else:
                if not outcome.called:
                    outcome.callback(result)

        shown = " ".join(what.split())[:200]
        task = self._scene.consoles.run(f"{self.principal.name}: {shown}", watched())
        return outcome

    def _answered(self, what: str, outcome: str) -> None:
        self.record(what, outcome[:500])


class Terminal:
    """A shell in a channel; see :class:`nodepool_tx.manhole.ssh.Visit`."""

    def __init__(
        self,
        session: Session,
        channel: Channel,
        interpreter: Interpreter,
        size: tuple[int, int] | None,
    ) -> None:
        self._session = session
        self._channel = channel
        width, height = size or (80, 24)
        self._shell = Shell(
            Screen(channel.send, width, height),
            interpreter,
            History(session._histories, session.principal.name),
            lambda: known_names(session._scene.farm),
            session.begins,
            session._answered,
            session._run,
            self._leave,
            session.later,
        )

    def begin(self) -> None:
        """Greet the user."""
        farm = self._session._scene.farm
        self._shell.begin(
            f"nodepool_tx {__version__} on {farm.hostname}, "
            f"ZooKeeper {farm.store.client.state.value}; help shows what there is"
        )

    def say(self, text: str) -> None:
        """Write a line in between."""
        self._shell.tell(text)

    def _leave(self) -> None:
        self._shell.end()
        self._channel.finish(0)

    # -- Visit -----------------------------------------------------------

    def received(self, data: bytes) -> None:
        self._session._touch()
        self._shell.received(data)

    def resized(self, width: int, height: int) -> None:
        self._shell.resized(width, height)

    def interrupt(self) -> None:
        self._shell.interrupt()

    def ended_input(self) -> None:
        self._leave()

    def drained(self) -> None:
        """What was thrown away meanwhile stays so."""

    def gone(self) -> None:
        self._shell.gone()
        if self in self._session._visits:
            self._session._visits.remove(self)

    def end(self, words: str) -> None:
        """The console is closed."""
        self._shell.end(words)
        self._channel.finish(0)
