"""Key scans of real OpenSSH servers, and of ports where something else lives."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyFactory, ProxyServer
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from nodepool_tx.nodescan.interface import (
    AddressFamily,
    KeyExchangeFailed,
    NotSSH,
    ScanError,
)
from nodepool_tx.nodescan.scanner import ReactorScanner
from tests.nodescan.contract import Place, ScannerContract, asynchronous
from tests.servers.sshd import SshServer, SshServers

T = TypeVar("T")

_directory: pathlib.Path
_servers: SshServers
_debian: SshServer


def setUpModule() -> None:
    global _directory, _servers, _debian
    _directory = pathlib.Path(tempfile.mkdtemp(prefix="nodescan-"))
    _servers = SshServers(_directory)
    try:
        # All of 127.0.0.0/8 leads to this one: many hosts for little money.
        _debian = _servers.start(host="0.0.0.0", options=["MaxStartups 1000"])
    except BaseException:
        tearDownModule()
        raise


def tearDownModule() -> None:
    _servers.stop()
    shutil.rmtree(_directory)


def by_type(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Keys in the order that a scan promises."""
    order = ["ssh-ed25519", *(f"ecdsa-sha2-nistp{bits}" for bits in (256, 384, 521)), "ssh-rsa"]
    return tuple(sorted(keys, key=lambda key: order.index(key.split()[0])))


class Silent(Protocol):
    """Takes the connection, says nothing, and knows who is connected."""

    def connectionMade(self) -> None:
        self.factory.connected.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.connected.discard(self)
        if not self.factory.connected:
            waiting, self.factory.waiting = self.factory.waiting, []
            for deferred in waiting:
                deferred.callback(None)


class SilentFactory(Factory):
    noisy = False
    protocol = Silent

    def __init__(self) -> None:
        self.connected: set[Silent] = set()
        self.waiting: list[Deferred[None]] = []

    def empty(self) -> Deferred[None]:
        """Fires when nobody is connected."""
        deferred: Deferred[None] = Deferred()
        if self.connected:
            self.waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred


class ScanCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.scanner = ReactorScanner(reactor)
        self.silent_factory = SilentFactory()

    def listen(self, factory: Factory, port: int = 0) -> int:
        """Serve on loopback until the test is over; the port."""
        factory.noisy = False
        listening = reactor.listenTCP(port, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return listening.getHost().port

    def full_port(self) -> int:
        """A port that swallows connection attempts, as a dead host does."""
        full = socket.socket()
        self.addCleanup(full.close)
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            self.addCleanup(filler.close)
            filler.connect_ex(full.getsockname())
        port: int = full.getsockname()[1]
        return port

    def free_port(self) -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
            return port

    async def raised(self, kind: type[T], answer: Deferred[Any]) -> T:
        try:
            result = await answer
        except ScanError as error:
            self.assertIs(type(error), kind, error)
            return error
        raise AssertionError(f"no {kind.__name__} but {result!r}")


class RealContract(ScanCase, ScannerContract):
    """The contract, on the real network."""

    def setUp(self) -> None:
        super().setUp()
        self.world = self

    def up(self) -> Place:
        return Place("127.0.0.1", _debian.port, by_type(_debian.keys))

    def closed(self) -> Place:
        return Place("127.0.0.1", self.free_port())

    def silent(self) -> Place:
        return Place("127.0.0.1", self.listen(self.silent_factory))

    def dead(self) -> Place:
        return Place("127.0.0.1", self.full_port())

    def booting(self) -> Place:
        port = self.free_port()
        sshd = ProxyFactory("127.0.0.1", _debian.port)
        reactor.callLater(0.5, self.listen, sshd, port)
        return Place("127.0.0.1", port, by_type(_debian.keys))

    def unknown(self) -> Place:
        return Place("no-such-host.invalid", 22)

    def settle(self, answer: Deferred[T]) -> Deferred[T]:
        return answer

    raised = ScannerContract.raised


class OpenSSH(ScanCase):
    """Servers as they are out there."""

    @asynchronous
    async def test_same_as_ssh_keyscan(self) -> None:
        """A scan finds what ssh-keyscan finds."""
        keyscan = await deferToThread(
            subprocess.run,
            ["ssh-keyscan", "-p", str(_debian.port), "127.0.0.1"],
            capture_output=True,
            text=True,
            check=True,
        )
        theirs = [line.split(" ", 1)[1] for line in keyscan.stdout.splitlines() if line[0] != "#"]
        ours = await self.scanner.scan_keys("127.0.0.1", _debian.port, 10)
        self.assertEqual(ours, by_type(tuple(theirs)))
        self.assertEqual(len(ours), 3)

    @asynchronous
    async def test_every_key_type(self) -> None:
        """All key types of OpenSSH are gathered from a server that has them all."""
        types = ("rsa", "ecdsa-521", "ed25519", "ecdsa-256", "ecdsa-384")
        with _servers.running(host="127.0.0.2", key_types=types[1:3]) as server:
            keys = await self.scanner.scan_keys("127.0.0.2", server.port, 10)
            self.assertEqual(keys, by_type(server.keys))
            self.assertEqual(
                [key.split()[0] for key in keys], ["ssh-ed25519", "ecdsa-sha2-nistp521"]
            )
        with _servers.running(key_types=types) as server:
            keys = await self.scanner.scan_keys(server.host, server.port, 10)
            self.assertEqual(keys, by_type(server.keys))
            self.assertEqual(len(keys), 5)

    @asynchronous
    async def test_other_server_other_keys(self) -> None:
        """A server that took another's place is seen with its own keys, not the old ones."""
        with _servers.running(key_types=["ed25519"]) as first:
            port = first.port
            before = await self.scanner.scan_keys("127.0.0.1", port, 10)
        with _servers.running(port=port, key_types=["ed25519"]) as second:
            after = await self.scanner.scan_keys("127.0.0.1", port, 10)
        self.assertEqual((before, after), (first.keys, second.keys))
        self.assertNotEqual(before, after)

    @asynchronous
    async def test_ipv6(self) -> None:
        """A server on IPv6 is scanned and probed by its address."""
        with _servers.running(host="::1", key_types=["ed25519"]) as server:
            keys = await self.scanner.scan_keys("::1", server.port, 10)
            self.assertEqual(keys, server.keys)
            address = await self.scanner.probe("::1", server.port, 10)
            self.assertEqual((address.family, address.ipv6), (AddressFamily.IPV6, "::1"))

    @asynchronous
    async def test_name(self) -> None:
        """A host name leads to its addresses."""
        keys = await self.scanner.scan_keys("localhost", _debian.port, 10)
        self.assertEqual(keys, by_type(_debian.keys))
        self.assertIn((await self.scanner.resolve("localhost", 22)).host, ("127.0.0.1", "::1"))

    @asynchronous
    async def test_hardened(self) -> None:
        """A server hardened beyond what conch can speak shows its keys."""
        options = (
            "Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com",
            "MACs hmac-sha2-512-etm@openssh.com,umac-128-etm@openssh.com",
            "KexAlgorithms curve25519-sha256",
            "HostKeyAlgorithms ssh-ed25519,rsa-sha2-512",
        )
        with _servers.running(options=options) as server:
            keys = await self.scanner.scan_keys(server.host, server.port, 10)
            self.assertEqual([key.split()[0] for key in keys], ["ssh-ed25519", "ssh-rsa"])

    @asynchronous
    async def test_old(self) -> None:
        """A server with nothing but the oldest key exchange shows its keys."""
        options = ("KexAlgorithms diffie-hellman-group14-sha1", "HostKeyAlgorithms ssh-rsa")
        with _servers.running(key_types=["rsa"], options=options) as server:
            self.assertEqual(
                await self.scanner.scan_keys(server.host, server.port, 10), server.keys
            )

    @asynchronous
    async def test_group_exchange(self) -> None:
        """A server that negotiates its Diffie-Hellman group shows its keys."""
        options = ("KexAlgorithms diffie-hellman-group-exchange-sha256",)
        with _servers.running(key_types=["ed25519"], options=options) as server:
            self.assertEqual(
                await self.scanner.scan_keys(server.host, server.port, 10), server.keys
            )

    @asynchronous
    async def test_few_connections_allowed(self) -> None:
        """Servers that take one login at a time show all their keys, scan after scan."""
        for option in ("MaxStartups 1", "PerSourceMaxStartups 1"):
            with _servers.running(options=[option]) as server:
                for _ in range(3):
                    keys = await self.scanner.scan_keys(server.host, server.port, 10)
                    self.assertEqual(keys, by_type(server.keys))

    @asynchronous
    async def test_leaves_in_order(self) -> None:
        """The server sees an orderly goodbye on each connection, and no error."""
        with _servers.running() as server:
            await self.scanner.scan_keys(server.host, server.port, 10)
            while server.running_connections():
                await deferLater(reactor, 0.01)
            self.assertEqual(server.log.count("host key seen"), 3)
            self.assertNotIn("error", server.log.lower())


class Trouble(ScanCase):
    @asynchronous
    async def test_http(self) -> None:
        """A web server is no SSH server, and is quoted."""
        site = Site(Resource())
        error = await self.raised(
            NotSSH, self.scanner.scan_keys("127.0.0.1", self.listen(site), 10)
        )
        self.assertIn("HTTP/1.1 400 Bad Request", str(error))

    @asynchronous
    async def test_killed_in_the_exchange(self) -> None:
        """A server that dies in the middle of the exchange fails the scan at once."""
        with _servers.running() as server:

            class Killer(ProxyServer):
                """Kills the server when the key exchange proper begins."""

                heard = 0

                def dataReceived(self, data: bytes) -> None:
                    self.heard += 1
                    if self.heard == 2:
                        server.kill()
                    super().dataReceived(data)

            proxy = ProxyFactory(server.host, server.port)
            proxy.protocol = Killer
            began = time.monotonic()
            error = await self.raised(
                KeyExchangeFailed, self.scanner.scan_keys("127.0.0.1", self.listen(proxy), 30)
            )
            self.assertIn("broke the connection off", str(error))
            self.assertLess(time.monotonic() - began, 5)

    @asynchronous
    async def test_frozen(self) -> None:
        """A server that is frozen takes connections and says nothing: no SSH in time."""
        with _servers.running(key_types=["ed25519"]) as server:
            os.kill(server.process.pid, signal.SIGSTOP)
            try:
                await self.raised(NotSSH, self.scanner.scan_keys(server.host, server.port, 0.3))
                scanning = self.scanner.scan_keys(server.host, server.port, 10)
                reactor.callLater(0.2, os.kill, server.process.pid, signal.SIGCONT)
                self.assertEqual(await scanning, server.keys)
            finally:
                os.kill(server.process.pid, signal.SIGCONT)

    @asynchronous
    async def test_cancel_closes(self) -> None:
        """Cancelling a look closes its connection, as the other side sees it."""
        port = self.listen(self.silent_factory)
        scanning = self.scanner.scan_keys("127.0.0.1", port, 30)
        while not self.silent_factory.connected:
            await deferLater(reactor, 0.01)
        scanning.addErrback(lambda _: None).cancel()
        await self.silent_factory.empty()
        self.assertEqual(self.scanner.active, 0)


class Many(ScanCase):
    @asynchronous
    async def test_two_hundred_at_once(self) -> None:
        """200 hosts are scanned together, and dead ones among them delay nobody."""
        scanner = ReactorScanner(reactor, max_parallel=30)
        began = time.monotonic()
        dead = [scanner.probe("127.0.0.1", self.full_port(), 120) for _ in range(5)]
        hosts = [f"127.0.0.{n}" for n in range(1, 201)]
        scans = [scanner.scan_keys(host, _debian.port, 20) for host in hosts]
        self.assertEqual((scanner.active, scanner.queued), (30, 175))
        found = await gatherResults(scans)
        self.assertEqual(set(found), {by_type(_debian.keys)})
        self.assertLess(time.monotonic() - began, 40)
        for probing in dead:
            probing.addErrback(lambda _: None).cancel()
        self.assertEqual((scanner.active, scanner.queued), (0, 0))
