"""Where is listened, and what happens when that cannot be."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from nodepool_tx.config.schema import Webapp
from nodepool_tx.web.hub import Hub
from nodepool_tx.web.server import FIRST_RETRY, LONGEST_RETRY, WebServer
from nodepool_tx.web.site import LimitedSite
from tests.web.stage import Visitor


@attrs.frozen
class Address:
    host: str
    port: int


@attrs.define
class Listening:
    """A port that is listened on."""

    reactor: PortReactor
    address: Address
    factory: Any

    def getHost(self) -> Address:
        return self.address

    def stopListening(self) -> Deferred[None]:
        self.reactor.ports.remove(self)
        return succeed(None)


class PortReactor(Clock):
    """Ports in memory, some of which somebody else has."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Listening] = []
        self.taken: set[int] = set()
        self.tries = 0

    def listenTCP(self, port: int, factory: Any, interface: str = "") -> Listening:
        self.tries += 1
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        listening = Listening(self, Address(interface, port or 40000), factory)
        self.ports.append(listening)
        return listening

    @property
    def open(self) -> list[tuple[str, int]]:
        return [(each.address.host, each.address.port) for each in self.ports]


class ServerTests(SynchronousTestCase):
    """The service."""

    def setUp(self) -> None:
        self.reactor = PortReactor()
        self.wanted = Webapp(8005, "127.0.0.1")
        clock: Any = self.reactor
        self.site = LimitedSite(Resource(), clock)
        self.server = WebServer(self.reactor, self.site, Hub(clock, ()), lambda: self.wanted)
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def said(self, word: str) -> list[LogEvent]:
        return [event for event in self.logged if word in str(event.get("log_format"))]

    def test_listens(self) -> None:
        """It listens while it runs, and says where."""
        self.wanted = Webapp(0, "::1")
        self.server.startService()
        self.assertEqual(self.server.bound, ("::1", 40000))
        (event,) = self.said("serving HTTP")
        self.assertEqual((event["address"], event["port"]), ("::1", 40000))
        self.successResultOf(self.server.stopService())
        self.assertEqual((self.reactor.open, self.server.bound), ([], None))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_port_in_use(self) -> None:
        """A port in use is said, and tried again ever more rarely, until it can be had."""
        self.reactor.taken = {8005}
        self.server.startService()
        (event,) = self.said("cannot be served")
        self.assertIn("in use", event["reason"])
        delay = FIRST_RETRY
        for tries in range(2, 9):
            self.reactor.advance(delay)
            self.assertEqual(self.reactor.tries, tries)
            delay = min(2 * delay, LONGEST_RETRY)
        self.reactor.taken = set()
        self.reactor.advance(LONGEST_RETRY)
        self.assertEqual(self.reactor.open, [("127.0.0.1", 8005)])

    def test_stops_trying(self) -> None:
        """After a stop nothing is tried any more."""
        self.reactor.taken = {8005}
        self.server.startService()
        self.successResultOf(self.server.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_same_place(self) -> None:
        """A configuration that names the same place changes nothing; connections go on."""
        self.server.startService()
        port = self.reactor.ports[0]
        visitor = Visitor(self.site)
        self.wanted = Webapp(8005, "127.0.0.1")
        self.server.reconfigure()
        self.assertEqual(self.reactor.ports, [port])
        self.assertFalse(visitor.wire.ended)
        visitor.leave()

    def test_moves(self) -> None:
        """Another place is moved to, and what came in by the old one ends."""
        self.server.startService()
        visitor = Visitor(self.site)
        self.wanted = Webapp(9000, "127.0.0.2")
        self.server.reconfigure()
        self.assertEqual(self.reactor.open, [("127.0.0.2", 9000)])
        self.assertTrue(visitor.wire.ended)
        self.successResultOf(self.server.stopService())

    def test_moves_from_a_port_it_never_had(self) -> None:
        """A port that could not be had is forgotten when another one is wanted."""
        self.reactor.taken = {8005}
        self.server.startService()
        self.wanted = Webapp(9000, "127.0.0.1")
        self.server.reconfigure()
        self.assertEqual(self.reactor.open, [("127.0.0.1", 9000)])
        self.reactor.advance(LONGEST_RETRY)
        self.assertEqual(self.reactor.open, [("127.0.0.1", 9000)])

    def test_before_the_start(self) -> None:
        """A configuration that comes before the start waits for it."""
        self.server.reconfigure()
        self.assertEqual(self.reactor.tries, 0)
