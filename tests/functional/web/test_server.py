"""The web server of a real launcher: where it listens, what it streams, and that it stops."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.scene import Scene
from tests.functional.launcher.settings import configuration, host, provider
from tests.servers.zookeeper import free_ports

CONFIG = configuration(provider("rack", host("fake-1", "small")))
SERVING = r"serving HTTP on (\S+) port (\d+)"


class Stream:
    """An event stream, read as it comes."""

    def __init__(self, port: int, topics: str, address: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((address, port), 10)
        self._socket.sendall(
            f"GET /api/events?topics={topics} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        assert b" 200 " in self._file.readline()

    def next(self, name: str) -> Any:
        """The data of the next event of this name."""
        found = b""
        while True:
            line = self._file.readline()
            assert line, "the stream has ended"
            if line == f"event: {name}\n".encode():
                found = line
            elif found and line.startswith(b"data: "):
                return json.loads(line[6:])

    def ended(self) -> bool:
        """Everything that comes until the end."""
        return self._file.read() is not None

    def close(self) -> None:
        self._socket.close()


def ask(port: int, path: str, address: str = "127.0.0.1") -> tuple[int, bytes]:
    """Status and body."""
    with socket.create_connection((address, port), 10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


class ServerTests(Scene):
    """One launcher."""

    def at(self, port: int, address: str = "127.0.0.1", **more: Any) -> Mapping[str, Any]:
        where = {"port": port, "listen_address": address}
        return self.at_server({**CONFIG, **more, "webapp": where})

    async def stream(self, port: int, topics: str, address: str = "127.0.0.1") -> Stream:
        stream: Stream = await deferToThread(Stream, port, topics, address)
        self.addCleanup(stream.close)
        return stream

    async def port_of(self, launcher: LauncherProcess, count: int = 1) -> int:
        found = await self.until_logged(launcher, SERVING, count)
        return int(found[2])

    def test_streams(self) -> Deferred[None]:
        """A change of a node is told at once, and the launcher stops with streams open."""
        return Deferred.fromCoroutine(self._streams())

    async def _streams(self) -> None:
        launcher = await self.serving(self.at(0))
        port = await self.port_of(launcher)
        streams = [await self.stream(port, "nodes") for _ in range(20)]
        requester = await self.requester()
        began = time.monotonic()
        await requester.ask("small")
        for stream in streams:
            data = await deferToThread(stream.next, "nodes")
            self.assertEqual(data["changed"][0]["provider"], "rack")
        self.assertLess(time.monotonic() - began, 5)
        ended = await launcher.stop()
        self.assertEqual(ended.status, 0)
        self.assertLess(ended.seconds, 5)
        for stream in streams:
            await deferToThread(stream.ended)
        self.assert_nothing_unforeseen()

    def test_port_in_use(self) -> Deferred[None]:
        """A port in use keeps nothing else from working, and is had as soon as it is free."""
        return Deferred.fromCoroutine(self._port_in_use())

    async def _port_in_use(self) -> None:
        with socket.socket() as blocking:
            blocking.bind(("127.0.0.1", 0))
            blocking.listen()
            port = blocking.getsockname()[1]
            launcher = await self.serving(self.at(port))
            await self.until_logged(launcher, f"HTTP cannot be served on 127.0.0.1 port {port}")
        self.assertEqual(await self.port_of(launcher), port)
        status, body = await deferToThread(ask, port, "/ready")
        self.assertEqual((status, body), (200, b"OK"))
        self.assert_nothing_unforeseen()

    def test_reload(self) -> Deferred[None]:
        """A reload that leaves the place alone leaves streams alone; another place is moved to."""
        return Deferred.fromCoroutine(self._reload())

    async def _reload(self) -> None:
        first, second = free_ports(2)
        launcher = await self.serving(self.at(first))
        await self.port_of(launcher)
        stream = await self.stream(first, "reload")
        wider = provider("rack", host("fake-1", "small"), host("fake-2", "small"))
        launcher.write(self.at(first, providers=[wider]))
        data = await deferToThread(stream.next, "reload")
        self.assertEqual((data["reload"]["replaced"], data["errors"]), (["rack"], []))
        launcher.write(self.at(first, providers=[{"name": "rack"}]))
        data = await deferToThread(stream.next, "reload")
        self.assertTrue(data["errors"][0]["message"])
        launcher.write(self.at(second, "::1", providers=[wider]))
        self.assertEqual(await self.port_of(launcher, 2), second)
        await deferToThread(stream.ended)
        status, _ = await deferToThread(ask, second, "/api/status", "::1")
        self.assertEqual(status, 200)
        with self.assertRaises(OSError):
            await deferToThread(ask, first, "/ready")
        self.assertEqual(len(re.findall(SERVING, launcher.log)), 2)
        self.assert_nothing_unforeseen()
