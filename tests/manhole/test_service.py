"""The console's service: where it listens, and for how many."""

from __future__ import annotations

import pathlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from nodepool_tx.audit import Audit
from nodepool_tx.auth.attempts import Attempts
from nodepool_tx.auth.interface import Principal
from nodepool_tx.auth.log_ins import LogIns
from nodepool_tx.config.operations import Manhole, Operations
from nodepool_tx.manhole.scene import Scene
from nodepool_tx.manhole.service import MOST_SESSIONS, RETRY, ManholeService
from nodepool_tx.status.farm import Farm
from nodepool_tx.status.tally import Tally
from nodepool_tx.work import Tracker
from tests.auth.test_log_ins import MemoryDirectory
from tests.manhole.test_sessions import FakeTransport
from tests.manhole.test_tools import Watcher
from tests.metrics.stage import FarmTestCase


class Reactor(MemoryReactorClock):
    """Ports can be taken by somebody else."""

    taken = False

    def listenTCP(self, *args: Any, **more: Any) -> Any:
        if self.taken:
            raise CannotListenError("127.0.0.1", 2222, OSError("in use"))
        return super().listenTCP(*args, **more)


class ServiceTests(FarmTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.bring()
        self.reactor = Reactor()
        farm = Farm(
            clock=self.clock,
            store=self.store,
            tally=Tally(self.store),
            reloader=self.reloader,
            launcher=self.process,
            hostname="host.example",
            version="1.0",
            started=self.clock.seconds(),
        )
        scene = Scene(farm=farm, watcher=Watcher(), levels=None, consoles=Tracker(self.clock))
        self.operations = Operations(manhole=Manhole(port=2222, passwords=True, ldap_group="cn=g"))
        self.directory = MemoryDirectory()
        self.audit_file = pathlib.Path(self.mktemp())
        audit = Audit(self.reactor, str(self.audit_file))
        log_ins = LogIns(self.reactor, self.directory, Attempts(self.reactor), audit)
        self.state = self.mktemp()
        self.service = ManholeService(
            self.reactor, lambda: self.operations, scene, log_ins, audit, self.state
        )
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def stop(self) -> None:
        if self.service.running:
            self.service.stopService()
            self.reactor.pump([0.1] * 30)
        super().stop()

    def log(self) -> str:
        return "\n".join(formatEvent(event) for event in self.logged)

    def test_off_unless_configured(self) -> None:
        """Nothing listens, and no key is made."""
        self.operations = Operations()
        self.service.startService()
        self.assertEqual(self.reactor.tcpServers, [])
        self.assertFalse(pathlib.Path(self.state).exists())

    def test_loopback(self) -> None:
        """It listens there unless something else is said, which is warned about."""
        self.service.startService()
        self.assertEqual(self.reactor.tcpServers[0][0], 2222)
        self.assertEqual(self.reactor.tcpServers[0][3], "127.0.0.1")
        self.assertNotIn("can reach it", self.log())
        for address in ("0.0.0.0", "::", "192.0.2.1"):
            self.logged.clear()
            self.operations = Operations(manhole=Manhole(port=1, listen_address=address))
            self.service.reconfigure()
            self.reactor.pump([0.1] * 20)
            self.assertEqual(self.reactor.tcpServers[-1][3], address)
            self.assertIn("can reach it", self.log())
        self.operations = Operations()
        self.service.reconfigure()
        self.assertIsNone(self.service.listening_on)

    def test_a_port_that_is_taken(self) -> None:
        """It is said; the next configuration is tried all the same."""
        self.reactor.taken = True
        self.service.startService()
        self.assertIn("there is no console", self.log())
        self.reactor.taken = False
        self.operations = Operations(manhole=Manhole(port=3333))
        self.service.reconfigure()
        self.assertEqual(self.reactor.tcpServers[-1][0], 3333)

    def test_a_port_that_becomes_free(self) -> None:
        """It is tried again, also when the configuration stays as it is."""
        self.reactor.taken = True
        self.service.startService()
        self.reactor.advance(RETRY)
        self.assertEqual(self.log().count("there is no console"), 2)
        self.reactor.taken = False
        self.reactor.advance(RETRY)
        self.assertEqual(self.reactor.tcpServers[-1][0], 2222)
        self.reactor.advance(RETRY)
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopping_without_a_port(self) -> None:
        """Nothing is tried any more."""
        self.reactor.taken = True
        self.service.startService()
        self.service.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_so_many_sessions(self) -> None:
        """One more is refused, until somebody leaves; stopping ends them all."""
        self.service.startService()
        wires: list[Any] = [FakeTransport() for _ in range(MOST_SESSIONS + 1)]
        eve = Principal("eve", "key")
        met = [self.service.come_in(wire, eve) for wire in wires]
        self.assertEqual([service is None for service in met], [False] * 10 + [True])
        self.assertIn("too many sessions", self.audit_file.read_text())
        first = met[0]
        assert first is not None
        first.transport = wires[0]
        first.serviceStopped()
        self.assertIsNotNone(self.service.come_in(wires[-1], eve))
        self.service.stopService()
        self.assertEqual([wire.ended for wire in wires[1:]], [["the console is closed"]] * 10)
        self.assertIsNone(self.service.come_in(FakeTransport(), eve))  # type: ignore[arg-type]

    def test_passwords(self) -> None:
        """They are checked for the group of the console."""
        self.service.startService()
        self.assertTrue(self.service.passwords())
        log_in = Deferred.fromCoroutine(self.service.log_in("ann", "ann-pw", "::1"))  # type: ignore[arg-type]
        self.assertEqual(self.successResultOf(log_in).name, "ann")
        self.assertEqual(self.directory.asked, [("ann", "cn=g")])
        self.assertIn("console ::1", self.audit_file.read_text())
        self.assertIsNone(self.service.key_user(b"anything"))
