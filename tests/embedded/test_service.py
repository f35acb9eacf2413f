"""The supervision of the embedded ZooKeeper, with processes and time in memory."""

from __future__ import annotations

import json
import pathlib
import random
import signal
import socket

from twisted.internet.defer import CancelledError
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.embedded.layout import Layout, Lock, StateDirBusy
from nodepool_tx.embedded.location import Location
from nodepool_tx.embedded.proc import MAIN_CLASS
from nodepool_tx.embedded.runtime import Runtime
from nodepool_tx.embedded.service import EmbeddedZookeeper
from tests.embedded.world import FakeProcess, MemoryProcesses, ProcessReactor

RUNTIME = Runtime("/usr/bin/java", ("/jars/a.jar", "/jars/b.jar"))


class ServiceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ProcessReactor()
        self.processes = MemoryProcesses()
        self.layout = Layout(pathlib.Path(self.mktemp()) / "state")
        self.service = self.make()
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def make(self) -> EmbeddedZookeeper:
        return EmbeddedZookeeper(
            self.reactor,
            self.layout.state_dir,
            RUNTIME,
            stop_timeout=10,
            start_timeout=30,
            processes=self.processes,
            rng=random.Random(1),
        )

    def start(self) -> FakeProcess:
        """Start the service and let its server come up."""
        self.service.startService()
        self.port = self.reactor.serve(self.layout)
        return self.reactor.started[-1]

    def stop(self) -> None:
        self.successResultOf(self.service.stopService())
        self.assertClean()

    def assertClean(self) -> None:
        """Nothing runs, waits or is published, and the directory is free."""
        self.reactor.settle()
        self.assertEqual(self.reactor.alive, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.layout.location_file.exists())
        Lock(self.layout).release()

    def logged(self, level: str) -> list[str]:
        return [event["log_format"] for event in self.log if event["log_level"].name == level]


class Starting(ServiceCase):
    def test_ready(self) -> None:
        """The service is ready when the server answers, and publishes where."""
        ready = self.service.when_ready()
        self.service.startService()
        self.reactor.wait(0.5)
        self.assertNoResult(ready)
        self.assertIsNone(Location.read(self.layout))
        self.assertEqual(self.service.trouble, "starting")
        port = self.reactor.serve(self.layout)
        self.assertEqual(self.successResultOf(ready), f"127.0.0.1:{port}")
        self.assertEqual(self.service.address, f"127.0.0.1:{port}")
        self.assertEqual(self.successResultOf(self.service.when_ready()), self.service.address)
        self.assertIsNone(self.service.trouble)
        published = json.loads(self.layout.location_file.read_text())
        self.assertEqual((published["host"], published["port"]), ("127.0.0.1", port))
        self.assertEqual(published["pid"], self.service.pid)
        self.assertEqual(self.layout.location_file.stat().st_mode & 0o777, 0o644)
        self.stop()

    def test_command(self) -> None:
        """The server is started in its own session, with little memory, on our files."""
        process = self.start()
        self.assertEqual(pathlib.Path(process.executable).name, "setsid")
        self.assertEqual(process.args[1], RUNTIME.java)
        self.assertIn("-Xmx256m", process.args)
        self.assertIn("/jars/a.jar:/jars/b.jar", process.args)
        self.assertEqual(process.args[-2:], [MAIN_CLASS, str(self.layout.config_file)])
        self.assertNotIn(0, process.child_fds)
        self.assertEqual(sorted(process.env), ["LANG", "PATH"])
        self.stop()

    def test_listening_is_not_serving(self) -> None:
        """A server that listens but has not read its data yet is not ready."""
        self.service.startService()
        port = int(self.layout.port_file.read_text())
        self.reactor.listen(port, b"This ZooKeeper instance is not currently serving requests\n")
        self.reactor.wait(1)
        self.assertIsNone(self.service.address)
        self.reactor.serve(self.layout)
        self.assertIsNotNone(self.service.address)
        self.stop()

    def test_another_server_on_the_port(self) -> None:
        """A server with other data is not taken for ours."""
        self.service.startService()
        port = int(self.layout.port_file.read_text())
        self.reactor.listen(port, b"dataDir=/somebody/else/version-2\n")
        self.reactor.wait(1)
        self.assertIsNone(self.service.address)
        self.stop()

    def test_silent_port(self) -> None:
        """A port that takes the question and never answers is asked again."""
        self.service.startService()
        port = int(self.layout.port_file.read_text())
        self.reactor.listen(port, b"")
        self.reactor.wait(3)
        self.reactor.serve(self.layout)
        self.assertIsNotNone(self.service.address)
        self.stop()

    def test_port_is_kept(self) -> None:
        """The port is the same over restarts of the service."""
        self.start()
        first = self.port
        self.stop()
        self.service = self.make()
        self.start()
        self.assertEqual(self.port, first)
        self.stop()

    def test_port_taken(self) -> None:
        """A port that something else has taken meanwhile is replaced for good."""
        self.start()
        first = self.port
        self.stop()
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.1", first))
            squatter.listen()
            self.service = self.make()
            self.start()
            self.assertNotEqual(self.port, first)
            self.stop()
        self.assertEqual(int(self.layout.port_file.read_text()), self.port)

    def test_port_taken_for_a_moment(self) -> None:
        """A port that becomes free shortly after the start is waited for."""
        self.start()
        first = self.port
        self.stop()
        squatter = socket.socket()
        squatter.bind(("127.0.0.1", first))
        squatter.listen()
        self.service = self.make()
        self.service.startService()
        self.reactor.wait(1)
        squatter.close()
        self.assertEqual(self.reactor.serve(self.layout), first)
        self.stop()

    def test_rubbish_in_the_port_file(self) -> None:
        """A port file that says nothing sensible is replaced."""
        for rubbish in ("", "no number", "99999999", "-1"):
            self.layout.create()
            self.layout.port_file.write_text(rubbish)
            self.service = self.make()
            self.start()
            self.assertEqual(int(self.layout.port_file.read_text()), self.port)
            self.stop()

    def test_never_up(self) -> None:
        """A server that does not come up in time is killed and tried again."""
        self.service.startService()
        self.reactor.wait(29)
        self.assertEqual(self.reactor.started[0].signals, [])
        self.reactor.wait(2)
        self.assertEqual(self.reactor.started[0].signals, ["KILL"])
        self.assertEqual(len(self.reactor.started), 2)
        self.stop()


class Supervising(ServiceCase):
    def test_restart(self) -> None:
        """A server that ends is started again at once, on the same port, and that is said."""
        process = self.start()
        self.reactor.hang_up()
        process.say(b"# A fatal error has been detected\nby the Java Runtime\n")
        self.layout.log_file.write_text("one\ntwo\nthree\n")
        process.end(signal=signal.SIGKILL)
        self.assertFalse(self.layout.location_file.exists())
        self.assertEqual(self.service.trouble, "ended with signal SIGKILL")
        self.assertIsNone(self.service.pid)
        self.reactor.wait(0.3)
        self.assertEqual(len(self.reactor.started), 2)
        self.assertEqual(self.reactor.serve(self.layout), self.port)
        self.assertIsNone(self.service.trouble)
        self.assertEqual(self.service.restarts, 1)
        published = Location.read(self.layout)
        assert published is not None
        self.assertEqual(published.pid, self.reactor.started[1].pid)
        (event,) = [event for event in self.log if event["log_level"].name == "error"]
        for words in ("three", "fatal error", "Java Runtime"):
            self.assertIn(words, event["tail"])
        self.assertEqual(event["ending"], "signal SIGKILL")
        self.stop()

    def test_back_off(self) -> None:
        """A server that ends at once again and again is started ever more rarely."""
        self.service.startService()
        gaps = []
        for _ in range(14):
            self.reactor.started[-1].end(status=1)
            before, count = self.reactor.seconds(), len(self.reactor.started)
            while len(self.reactor.started) == count:
                self.reactor.wait(0.05)
            gaps.append(self.reactor.seconds() - before)
        self.assertLess(gaps[0], 0.25)
        self.assertTrue(all(gap <= 30 * 1.25 + 0.1 for gap in gaps), gaps)
        self.assertTrue(all(gap >= 30 * 0.75 - 0.1 for gap in gaps[-3:]), gaps)
        self.assertGreater(gaps[5], gaps[0] * 10)
        self.stop()

    def test_back_off_is_forgotten(self) -> None:
        """After a minute of good service the next start is quick again."""
        self.service.startService()
        for _ in range(6):
            self.reactor.started[-1].end(status=1)
            self.reactor.wait(10)
        self.reactor.serve(self.layout)
        self.reactor.wait(61)
        self.reactor.started[-1].end(status=1)
        count = len(self.reactor.started)
        self.reactor.wait(0.3)
        self.assertEqual(len(self.reactor.started), count + 1)
        self.stop()

    def test_no_new_port_once_told(self) -> None:
        """Clients that know the port find the server there after a restart."""
        process = self.start()
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.1", self.port))
            squatter.listen()
            process.end(status=1)
            self.reactor.wait(0.3)
            self.assertIn(f"clientPort={self.port}\n", self.layout.config_file.read_text())
        self.stop()

    def test_machine_is_full(self) -> None:
        """When no process can be started, or nothing written, it is tried again."""
        process = self.start()
        self.reactor.out_of_processes = True
        process.end(status=1)
        self.reactor.wait(3)
        self.assertIn("Resource temporarily unavailable", self.service.trouble or "")
        self.reactor.out_of_processes = False
        self.reactor.wait(10)
        self.assertEqual(len(self.reactor.alive), 1)
        self.stop()

    def test_cannot_publish(self) -> None:
        """A server whose place cannot be written down is ended before another is started."""
        self.layout.create()
        self.layout.location_file.with_name(".zookeeper.json.new").mkdir()
        self.service.startService()
        self.reactor.serve(self.layout)
        self.reactor.wait(3)
        self.assertGreater(len(self.reactor.started), 2)
        self.assertLessEqual(len(self.reactor.alive), 1)
        self.layout.location_file.with_name(".zookeeper.json.new").rmdir()
        self.reactor.wait(10)
        self.assertIsNotNone(self.service.address)
        self.stop()


class Stopping(ServiceCase):
    def test_in_order(self) -> None:
        """The server is asked to end, and the stop is over when it has."""
        process = self.start()
        process.stubborn = True
        stopping = self.service.stopService()
        self.assertEqual(process.signals, ["TERM"])
        self.assertNoResult(stopping)
        process.end(status=143)
        self.successResultOf(stopping)
        self.assertEqual(self.logged("error"), [])
        self.assertClean()

    def test_stubborn(self) -> None:
        """A server that does not end when asked is killed after the timeout."""
        process = self.start()
        process.stubborn = True
        stopping = self.service.stopService()
        self.reactor.wait(9.9)
        self.assertNoResult(stopping)
        self.reactor.wait(0.2)
        self.assertEqual(process.signals, ["TERM", "KILL"])
        self.successResultOf(stopping)
        self.assertClean()

    def test_at_any_moment(self) -> None:
        """However far the start has come, the stop leaves nothing behind."""
        for steps in range(12):
            self.service = self.make()
            ready = self.service.when_ready()
            self.service.startService()
            if steps > 4:
                self.layout.data_dir.mkdir(parents=True, exist_ok=True)
                port = int(self.layout.port_file.read_text())
                self.reactor.listen(port, b"dataDir=%s/v\n" % bytes(self.layout.data_dir))
            for _ in range(steps):
                self.reactor.advance(0.01)
                for pump in self.reactor.pumps:
                    pump.pump()
            stopping = self.service.stopService()
            self.successResultOf(stopping)
            if self.service.address is None:
                self.failureResultOf(ready, CancelledError)
            self.assertClean()
            self.reactor.hang_up()

    def test_in_a_pause(self) -> None:
        """A stop between two starts ends the waiting."""
        process = self.start()
        process.end(status=1)
        self.stop()
        self.reactor.wait(60)
        self.assertEqual(len(self.reactor.started), 1)

    def test_from_the_good_news(self) -> None:
        """Who is told that the server is ready may stop it right there."""
        ready = self.service.when_ready()
        ready.addCallback(lambda _: self.service.stopService())
        self.start()
        self.successResultOf(ready)
        self.reactor.wait(60)
        self.assertEqual(len(self.reactor.started), 1)
        self.assertClean()

    def test_never_started(self) -> None:
        """Stopping what never ran is fine."""
        self.successResultOf(self.service.stopService())

    def test_start_again(self) -> None:
        """A service that was stopped can be started again."""
        self.start()
        self.stop()
        self.reactor.hang_up()
        self.service.startService()
        ready = self.service.when_ready()
        self.assertNoResult(ready)
        self.reactor.serve(self.layout)
        self.successResultOf(ready)
        self.stop()


class Conflicts(ServiceCase):
    def test_directory_in_use(self) -> None:
        """The second service on one directory is refused, with the first one's process."""
        self.start()
        second = self.make()
        ready = second.when_ready()
        second.startService()
        text = str(self.failureResultOf(ready, StateDirBusy).value)
        self.assertIn(str(self.layout.state_dir), text)
        self.assertIn("used by process", text)
        self.failureResultOf(second.when_ready(), StateDirBusy)
        self.assertEqual(len(self.logged("critical")), 1)
        self.successResultOf(second.stopService())
        self.assertTrue(self.layout.location_file.exists())
        self.assertEqual(len(self.reactor.alive), 1)
        self.stop()

    def test_unusable_directory(self) -> None:
        """A state directory that cannot be made fails the start."""
        self.layout.state_dir.parent.mkdir(parents=True)
        self.layout.state_dir.write_text("a file")
        ready = self.service.when_ready()
        self.service.startService()
        self.failureResultOf(ready, OSError)
        self.successResultOf(self.service.stopService())

    def test_orphan_is_ended_first(self) -> None:
        """A server that an earlier service left is asked to end before ours starts."""
        self.processes.servers = {77: 0}
        self.service.startService()
        self.assertEqual(self.processes.sent, [(77, signal.SIGTERM)])
        self.assertEqual(self.reactor.started, [])
        self.reactor.wait(0.1)
        self.assertEqual(len(self.reactor.started), 1)
        self.assertEqual(len(self.logged("warn")), 1)
        self.stop()

    def test_stubborn_orphan(self) -> None:
        """An orphan that does not end when asked is killed."""
        self.processes.servers = {77: 1, 78: 0}
        self.service.startService()
        self.reactor.wait(9.9)
        self.assertEqual(self.reactor.started, [])
        self.reactor.wait(0.3)
        self.assertEqual(
            self.processes.sent,
            [(77, signal.SIGTERM), (78, signal.SIGTERM), (77, signal.SIGKILL)],
        )
        self.assertEqual(len(self.reactor.started), 1)
        self.stop()

    def test_immortal_orphan(self) -> None:
        """Two servers never share the data: with an orphan that stays there is no start."""
        self.processes.servers = {77: 99}
        ready = self.service.when_ready()
        self.service.startService()
        self.reactor.wait(21)
        self.assertIn("77", str(self.failureResultOf(ready, StateDirBusy).value))
        self.assertEqual(self.reactor.started, [])
        self.stop()

    def test_orphan_of_another_user(self) -> None:
        """A server that we may not end is named."""
        self.processes.servers = {77: 0}
        self.processes.foreign = True
        ready = self.service.when_ready()
        self.service.startService()
        self.assertIn("process 77", str(self.failureResultOf(ready, StateDirBusy).value))
        self.stop()
