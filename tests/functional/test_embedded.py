"""The embedded ZooKeeper with real processes, real crashes and a real client."""

from __future__ import annotations

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from nodepool_tx.embedded.layout import Layout, StateDirBusy
from nodepool_tx.embedded.location import locate
from nodepool_tx.embedded.proc import ProcFs
from nodepool_tx.embedded.runtime import find_runtime
from nodepool_tx.embedded.service import EmbeddedZookeeper
from tests.nodescan.contract import asynchronous

T = TypeVar("T")

#: A service of its own, to be killed; says when it is ready.
SERVICE = """
import sys
from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver
from nodepool_tx.embedded.runtime import find_runtime
from nodepool_tx.embedded.service import EmbeddedZookeeper

globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
service = EmbeddedZookeeper(reactor, sys.argv[1], find_runtime())
reactor.callWhenRunning(service.startService)
service.when_ready().addCallback(lambda address: print(address, flush=True))
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
"""


def with_client(address: str, work: Callable[[KazooClient], T]) -> T:
    """Do something with a client of its own, in a thread."""
    client = KazooClient(hosts=address, timeout=5)
    client.start(timeout=20)
    try:
        return work(client)
    finally:
        client.stop()
        client.close()


class Embedded(TestCase):
    timeout = 240

    def setUp(self) -> None:
        self.state_dir = pathlib.Path(self.mktemp())
        self.layout = Layout(self.state_dir)
        self.service = self.make()
        self.addCleanup(self.no_process_is_left)
        self.addCleanup(lambda: self.service.stopService())

    def make(self) -> EmbeddedZookeeper:
        return EmbeddedZookeeper(reactor, self.state_dir, find_runtime(), stop_timeout=20)

    def no_process_is_left(self) -> None:
        left = ProcFs().find(self.layout)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(left, [])

    def other_service(self) -> subprocess.Popen[str]:
        """Start a service in a process of its own; returns when it is ready."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        other = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(self.state_dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )

        def end() -> None:
            other.kill()
            other.communicate()

        self.addCleanup(end)
        return other

    @asynchronous
    async def test_start_use_stop(self) -> None:
        """It is up quickly, serves a client, is found by others, and leaves nothing."""
        began = time.monotonic()
        self.service.startService()
        address = await self.service.when_ready()
        self.assertLess(time.monotonic() - began, 20)
        self.assertEqual(locate(self.state_dir), address)
        self.assertEqual(ProcFs().find(self.layout), [self.service.pid])

        def use(client: KazooClient) -> bytes:
            client.create("/a/b", b"kept", makepath=True)
            data: bytes = client.get("/a/b")[0]
            return data

        self.assertEqual(await deferToThread(with_client, address, use), b"kept")
        await self.service.stopService()
        self.assertEqual(ProcFs().find(self.layout), [])
        self.assertIsNone(locate(self.state_dir))
        self.assertFalse(self.layout.location_file.exists())

    @asynchronous
    async def test_data_and_port_are_kept(self) -> None:
        """The next service finds the data of the last one, on the same port."""
        self.service.startService()
        first = await self.service.when_ready()
        await deferToThread(with_client, first, lambda client: client.create("/kept", b"1"))
        await self.service.stopService()
        self.service = self.make()
        self.service.startService()
        second = await self.service.when_ready()
        self.assertEqual(second, first)
        data, _ = await deferToThread(with_client, second, lambda client: client.get("/kept"))
        self.assertEqual(data, b"1")

    @asynchronous
    async def test_server_is_killed(self) -> None:
        """A killed server is back on its port, with all that was answered and the sessions."""
        self.service.startService()
        address = await self.service.when_ready()
        client = KazooClient(hosts=address, timeout=20)
        await deferToThread(client.start, 20)
        try:
            await deferToThread(client.create, "/mine", b"", ephemeral=True)
            session = client.client_id[0]
            written: list[str] = []
            for round_ in range(3):
                pid = self.service.pid
                assert pid is not None
                answered: list[str] = []
                writing = deferToThread(
                    self.write_until_lost, address, f"/round-{round_}-", answered
                )
                # Trouble at a random moment of the writing, and not before it: who comes
                # so late that the next server is there would go on writing for ever.
                while not answered and not writing.called:
                    await deferLater(reactor, 0.01)
                await deferLater(reactor, random.uniform(0.2, 0.5))
                os.kill(pid, signal.SIGKILL)
                await writing
                self.assertNotEqual(answered, [])
                written += answered
                while self.service.trouble is not None or self.service.pid == pid:
                    await deferLater(reactor, 0.02)
            self.assertEqual(self.service.restarts, 3)
            self.assertEqual(self.service.address, address)
            names = await deferToThread(
                with_client, address, lambda client: client.get_children("/")
            )
            self.assertLessEqual({path[1:] for path in written}, set(names))
            stat = await deferToThread(client.retry, client.exists, "/mine")
            self.assertEqual(stat.ephemeralOwner, session)
        finally:
            await deferToThread(client.stop)
            await deferToThread(client.close)

    def write_until_lost(self, address: str, prefix: str, answered: list[str]) -> None:
        """Write one znode after the other until the server goes away; adds what was answered."""
        client = KazooClient(hosts=address, timeout=20, connection_retry={"max_tries": 0})
        lost = threading.Event()
        client.add_listener(lambda state: lost.set() if state != KazooState.CONNECTED else None)
        client.start(20)
        try:
            # A write begun between the loss and the next server's start would succeed there,
            # and so would all that follow it.
            while not lost.is_set():
                # What is asked for in the moment of the loss kazoo may never answer.
                written = client.create_async(prefix, b"x", sequence=True)
                answered.append(written.get(timeout=20))
        except (KazooException, KazooTimeoutError):
            return
        finally:
            client.stop()
            client.close()

    @asynchronous
    async def test_service_is_killed(self) -> None:
        """After kill -9 of the service the server goes on, until the next service takes over."""
        other = self.other_service()
        address = (await deferToThread(other.stdout.readline)).strip()
        await deferToThread(with_client, address, lambda client: client.create("/kept", b"1"))
        other.kill()
        await deferToThread(other.wait)
        (orphan,) = ProcFs().find(self.layout)
        self.assertEqual(locate(self.state_dir), address)
        await deferToThread(with_client, address, lambda client: client.create("/late", b"2"))

        self.service.startService()
        self.assertEqual(await self.service.when_ready(), address)
        self.assertEqual(ProcFs().find(self.layout), [self.service.pid])
        self.assertNotEqual(self.service.pid, orphan)
        names = await deferToThread(with_client, address, lambda client: client.get_children("/"))
        self.assertEqual(sorted(names), ["kept", "late", "zookeeper"])

    @asynchronous
    async def test_service_is_killed_while_starting(self) -> None:
        """Killed at any moment of the start, the service leaves nothing that hinders the next."""
        for _ in range(4):
            other = self.other_service()
            await deferLater(reactor, random.uniform(0.3, 1.2))
            other.kill()
            await deferToThread(other.wait)
        self.service.startService()
        await self.service.when_ready()
        self.assertEqual(ProcFs().find(self.layout), [self.service.pid])

    @asynchronous
    async def test_everything_is_killed(self) -> None:
        """After a power cut, with what it leaves lying around, the next start is as any other."""
        other = self.other_service()
        address = (await deferToThread(other.stdout.readline)).strip()
        await deferToThread(with_client, address, lambda client: client.create("/kept", b"1"))
        (server,) = ProcFs().find(self.layout)
        other.kill()
        os.kill(server, signal.SIGKILL)
        await deferToThread(other.wait)
        self.assertTrue(self.layout.location_file.exists())
        while ProcFs().find(self.layout):
            await deferLater(reactor, 0.02)
        self.assertIsNone(locate(self.state_dir))
        self.service.startService()
        self.assertEqual(await self.service.when_ready(), address)
        names = await deferToThread(with_client, address, lambda client: client.get_children("/"))
        self.assertIn("kept", names)

    @asynchronous
    async def test_second_service_is_refused(self) -> None:
        """A second service on the same directory is refused and harms nothing."""
        other = self.other_service()
        address = (await deferToThread(other.stdout.readline)).strip()
        self.service.startService()
        with self.assertRaises(StateDirBusy) as caught:
            await self.service.when_ready()
        self.assertIn(f"used by process {other.pid}", str(caught.exception))
        await self.service.stopService()
        self.assertEqual(locate(self.state_dir), address)
        other.terminate()
        await deferToThread(other.wait)
        self.assertEqual(ProcFs().find(self.layout), [])

    @asynchronous
    async def test_interrupt_from_the_terminal(self) -> None:
        """A Ctrl-C goes to the whole process group; the server is not in it, but stopped by us."""
        other = self.other_service()
        await deferToThread(other.stdout.readline)
        (server,) = ProcFs().find(self.layout)
        self.assertEqual((os.getpgid(server), os.getsid(server)), (server, server))
        os.killpg(other.pid, signal.SIGINT)
        _, log = await deferToThread(other.communicate)
        self.assertEqual(ProcFs().find(self.layout), [])
        self.assertIn("Embedded ZooKeeper stopped", log)
        self.assertNotIn("is started again", log)

    @asynchronous
    async def test_broken_data(self) -> None:
        """A server that cannot read its data says why in our log, and is tried again."""
        self.layout.create()
        version = self.layout.data_dir / "version-2"
        version.mkdir()
        (version / "log.1").write_bytes(b"ZKLG" + b"\xff" * 100)
        (version / "snapshot.0").write_bytes(b"ZKSN" + b"\xff" * 100)
        log = EventLoggingObserver()
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        self.service.startService()
        while self.service.restarts < 2:
            await deferLater(reactor, 0.05)
        self.assertIsNone(self.service.address)
        (event, *_) = [event for event in log if "and is started again" in event["log_format"]]
        self.assertEqual(event["what"], "did not come up")
        self.assertIn("ERROR", event["tail"])

    @asynchronous
    async def test_loopback_only(self) -> None:
        """Nothing but the client port of loopback is open."""
        self.service.startService()
        address = await self.service.when_ready()
        inodes = {
            os.readlink(path)
            for path in pathlib.Path(f"/proc/{self.service.pid}/fd").iterdir()
            if os.path.lexists(path)
        }
        listening = []
        for table in ("tcp", "tcp6"):
            for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    listening.append(fields[1])
        port = int(address.split(":")[1])
        self.assertEqual([place[-5:] for place in listening], [f":{port:04X}"])
        self.assertIn("0100007F", listening[0])
        config = json.loads(self.layout.location_file.read_text())
        self.assertEqual(config["pid"], self.service.pid)
