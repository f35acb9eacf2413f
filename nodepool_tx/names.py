"""Looking host names up, so that a name server that is out of reach harms only who needs it.

The system's resolver can only be called in a thread, cannot be called off, and
may take half a minute to find out that nobody answers.  Twisted's own look-ups
run in the reactor's thread pool: ten names of a dead zone fill that, everybody
else's names wait behind them, and so does the end of the process.

Here each look-up has a thread of its own that the end of the process does not
wait for.  A name is looked up once however many ask for it.  A look-up that
has not answered for a while counts no longer among those that run at a time,
and names that had an answer the last time go first.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.logger import Logger
from zope.interface import implementer

__all__ = ["AT_ONCE", "MOST", "PROMPT", "NameResolver", "install"]

#: Look-ups at a time, of those begun less than :data:`PROMPT` seconds ago.
AT_ONCE = 20
PROMPT = 1.0

#: Look-ups at a time, however long they take; some places are left for names
#: that had an answer the last time.
MOST = 400

#: What the system's resolver answers, as far as it is used: where a name leads.
Found = Sequence[tuple[Any, ...]]


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="name look-up", daemon=True).start()


@implementer(IHostResolution)
@attrs.frozen
class _Resolution:
    name: str

    def cancel(self) -> None:
        """Nothing to do: a look-up cannot be taken back."""


@attrs.define(eq=False)
class _LookUp:
    """One name, and who wants to know."""

    name: str
    family: int
    receivers: list[Callable[[Found], None]] = attrs.field(factory=list)
    #: Until it counts as slow; None when it does, or has not begun.
    timer: IDelayedCall | None = None


@implementer(IHostnameResolver)
class NameResolver:
    """The look-ups of a process.

    :param reactor: tells the time and takes answers from threads.
    :param getaddrinfo: the system's resolver.
    :param spawn: runs it somewhere else.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        getaddrinfo: Callable[..., Found] = socket.getaddrinfo,
        spawn: Callable[[Callable[[], None]], None] = _in_a_thread,
    ) -> None:
        self._reactor = reactor
        self._getaddrinfo = getaddrinfo
        self._spawn = spawn
        #: Those that wait or run, by name and address family.
        self._wanted: dict[tuple[str, int], _LookUp] = {}
        self._line: deque[_LookUp] = deque()
        #: Names that had an answer the last time, and those of them in line.
        self._good: set[str] = set()
        self._good_line: deque[_LookUp] = deque()
        self._prompt = 0
        self._running = 0

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See :class:`twisted.internet.interfaces.IHostnameResolver`."""
        resolution: IHostResolution = _Resolution(hostName)
        protocol: Any = transportSemantics
        resolutionReceiver.resolutionBegan(resolution)

        def receive(found: Found) -> None:
            for family, _, _, _, where in found:
                kind = IPv6Address if family == socket.AF_INET6 else IPv4Address
                address = kind(protocol, where[0], portNumber, *where[2:])
                resolutionReceiver.addressResolved(address)
            resolutionReceiver.resolutionComplete()

        self._look_up(hostName, _family(addressTypes)).receivers.append(receive)
        self._pump()
        return resolution

    def _look_up(self, name: str, family: int) -> _LookUp:
        key = (name, family)
        if key not in self._wanted:
            self._wanted[key] = _LookUp(name, family)
            line = self._good_line if name in self._good else self._line
            line.append(self._wanted[key])
        return self._wanted[key]

    def _pump(self) -> None:
        while self._prompt < AT_ONCE:
            if self._good_line and self._running < MOST:
                self._begin(self._good_line.popleft())
            elif self._line and self._running < MOST - AT_ONCE:
                self._begin(self._line.popleft())
            else:
                return

    def _begin(self, look_up: _LookUp) -> None:
        self._prompt += 1
        self._running += 1
        look_up.timer = self._reactor.callLater(PROMPT, self._is_slow, look_up)
        try:
            self._spawn(lambda: self._work(look_up))
        except RuntimeError as e:
            self._log.warn("no thread to look {name} up: {reason}", name=look_up.name, reason=e)
            self._reactor.callLater(0, self._done, look_up, ())

    def _work(self, look_up: _LookUp) -> None:
        """In a thread of its own."""
        try:
            found = self._getaddrinfo(look_up.name, 0, look_up.family, socket.SOCK_STREAM)
        except Exception:
            # Whatever it is: the name leads nowhere now.
            found = ()
        self._reactor.callFromThread(self._done, look_up, found)

    def _is_slow(self, look_up: _LookUp) -> None:
        look_up.timer = None
        self._prompt -= 1
        self._pump()

    def _done(self, look_up: _LookUp, found: Found) -> None:
        self._running -= 1
        if look_up.timer is not None:
            look_up.timer.cancel()
            self._prompt -= 1
        del self._wanted[look_up.name, look_up.family]
        (self._good.add if found else self._good.discard)(look_up.name)
        self._pump()
        for receive in look_up.receivers:
            try:
                receive(found)
            except Exception:
                self._log.failure("the answer for {name} was not taken", name=look_up.name)


def install(reactor: Any) -> None:
    """Look names up like this in all that the reactor does."""
    reactor.installNameResolver(NameResolver(reactor))


def _family(types: Sequence[type[IAddress]] | None) -> int:
    wanted = set(types or ())
    if wanted == {IPv4Address}:
        return socket.AF_INET
    if wanted == {IPv6Address}:
        return socket.AF_INET6
    return socket.AF_UNSPEC
