"""Requests to a cloud's services, over real connections on loopback."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.web.server import NOT_DONE_YET, Request

from nodepool_tx.providers.cloud.errors import CloudError
from nodepool_tx.providers.openstack.bodies import BIG
from nodepool_tx.providers.openstack.transport import Transport
from tests.providers.openstack.web import Login, TransportCase


def later(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds, lambda: None)


class Requests(TransportCase):
    """What is sent, and what comes back."""

    async def test_transport(self) -> None:
        """It is what the adapter is written for."""
        transport: Transport = await self.connected()
        self.assertEqual((transport.cloud, transport.region), ("loopback", "here"))

    async def test_sent(self) -> None:
        """Method, path, query, JSON, token and micro-version go where they belong."""
        transport = await self.connected()
        await transport.request(
            "compute",
            "POST",
            "/servers",
            query={"all": "1 &"},
            json={"server": {"name": "é"}},
            version="2.79",
        )
        (seen,) = self.service.seen
        self.assertEqual((seen.method, seen.uri), ("POST", "/v2.1/servers?all=1+%26"))
        self.assertEqual(json.loads(seen.body), {"server": {"name": "é"}})
        self.assertEqual(seen.headers["content-type"], "application/json")
        self.assertEqual(seen.headers["x-auth-token"], "token-1")
        self.assertEqual(seen.headers["openstack-api-version"], "compute 2.79")

    async def test_headers(self) -> None:
        """Headers of the caller replace ours."""
        transport = await self.connected()
        await transport.request(
            "image", "PATCH", "/images/1", json=[], headers={"Content-Type": "application/patch"}
        )
        self.assertEqual(self.service.seen[0].headers["content-type"], "application/patch")

    async def test_answer(self) -> None:
        """Status, headers in lower case, and JSON, whatever the status."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(409)
            request.setHeader("X-OpenStack-Request-ID", "req-1")
            return b'{"conflictingRequest": {"message": "no"}}'

        transport = await self.connected()
        self.service.answer = answer
        found = await transport.request("compute", "GET", "/")
        self.assertEqual(found.status, 409)
        self.assertEqual(found.headers["x-openstack-request-id"], "req-1")
        self.assertEqual(found.body, {"conflictingRequest": {"message": "no"}})

    async def test_without_body(self) -> None:
        """An answer without content has no body."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(204)
            return b""

        transport = await self.connected()
        self.service.answer = answer
        found = await transport.request("compute", "DELETE", "/servers/1")
        self.assertEqual((found.status, found.body), (204, None))

    async def test_no_json(self) -> None:
        """A gateway's page is no body; where JSON is promised, its lack is an error."""

        def page(request: Request) -> bytes:
            request.setResponseCode(502)
            request.setHeader("Content-Type", "text/html")
            return b"<html>"

        transport = await self.connected()
        self.service.answer = page
        self.assertEqual((await transport.request("compute", "GET", "/")).body, None)
        self.service.answer = lambda request: b"<html>"
        with self.assertRaisesRegex(CloudError, "not JSON"):
            await transport.request("compute", "GET", "/")

    async def test_compressed(self) -> None:
        """A gateway may compress answers."""

        def answer(request: Request) -> bytes:
            assert "gzip" in self.service.seen[-1].headers["accept-encoding"]
            request.setHeader("Content-Encoding", "gzip")
            return gzip.compress(b'{"servers": []}')

        transport = await self.connected()
        self.service.answer = answer
        found = await transport.request("compute", "GET", "/servers")
        self.assertEqual(found.body, {"servers": []})

    async def test_next_page(self) -> None:
        """A link to a next page is followed below our endpoint, wherever it points."""
        transport = await self.connected()
        for link in (
            "http://10.0.0.1:8774/v2.1/servers/detail?limit=1&marker=a",
            "https://elsewhere/compute/v2.1/servers/detail?limit=1&marker=a",
            "/v2.1/servers/detail?limit=1&marker=a",
        ):
            await transport.request("compute", "GET", link)
            self.assertEqual(
                self.service.seen[-1].uri, "/v2.1/servers/detail?limit=1&marker=a", link
            )

    async def test_large(self) -> None:
        """A large answer is read in a thread, a small one at once."""
        transport = await self.connected()
        self.service.answer = lambda request: b'{"name": "small"}'
        await transport.request("compute", "GET", "/")
        self.assertEqual(self.offloaded, [])
        name = "x" * BIG
        self.service.answer = lambda request: json.dumps({"name": name}).encode()
        found = await transport.request("compute", "GET", "/")
        self.assertEqual((found.body, len(self.offloaded)), ({"name": name}, 1))


class Tokens(TransportCase):
    """Tokens that run out, and stay secret."""

    def refusing(self, request: Request) -> bytes:
        if self.service.seen[-1].headers["x-auth-token"] == "token-1":
            request.setResponseCode(401)
        return b"{}"

    async def test_replaced(self) -> None:
        """After a 401 the request is repeated with a new token."""
        transport = await self.connected()
        self.service.answer = self.refusing
        found = await transport.request("compute", "POST", "/servers", json={"a": 1})
        self.assertEqual(found.status, 200)
        self.assertEqual([json.loads(seen.body) for seen in self.service.seen], [{"a": 1}] * 2)

    async def test_once(self) -> None:
        """A second 401 is the answer."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(401)
            return b"{}"

        transport = await self.connected()
        self.service.answer = answer
        self.assertEqual((await transport.request("compute", "GET", "/")).status, 401)
        self.assertEqual(len(self.service.seen), 2)

    async def test_secret(self) -> None:
        """Tokens are in no log and in no error."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        transport = await self.connected()
        self.service.answer = self.refusing
        await transport.request("compute", "GET", "/")
        self.service.answer = self.service.hang
        with self.assertRaises(CloudError) as raised:
            await transport.request("compute", "GET", "/", timeout=0.05)
        self.assertTrue(any("new one" in event["log_format"] or "" for event in events))
        for text in (repr(events), str(raised.exception), repr(await self.login.access())):
            self.assertNotIn("token-", text)


class Connections(TransportCase):
    """Connections that are kept, closed, cut, and too many."""

    async def test_reused(self) -> None:
        """Requests that follow each other share a connection."""
        transport = await self.connected()
        for _ in range(5):
            await transport.request("compute", "GET", "/")
        self.assertEqual(len({seen.client for seen in self.service.seen}), 1)

    async def test_closed(self) -> None:
        """A service that closes connections is asked on new ones."""

        def answer(request: Request) -> bytes:
            request.setHeader("Connection", "close")
            return b"{}"

        transport = await self.connected()
        self.service.answer = answer
        for _ in range(3):
            await transport.request("compute", "GET", "/")
        self.assertEqual(len({seen.client for seen in self.service.seen}), 3)

    async def test_few(self) -> None:
        """More requests than connections wait their turn."""
        most = running = 0

        def answer(request: Request) -> int:
            nonlocal most, running
            running += 1
            most = max(most, running)

            def finish(_: None) -> None:
                nonlocal running
                running -= 1
                request.finish()

            later(0.01).addCallback(finish)
            return NOT_DONE_YET

        transport = await self.connected(connections=2)
        self.service.answer = answer
        asking = [
            Deferred.fromCoroutine(transport.request("compute", "GET", f"/{number}"))
            for number in range(8)
        ]
        await gatherResults(asking)
        self.assertEqual((most, len({seen.client for seen in self.service.seen})), (2, 2))

    async def test_kept_but_cut(self) -> None:
        """A GET whose kept connection is cut is repeated once; a POST is not."""

        def answer(request: Request) -> bytes | int:
            if len({seen.client for seen in self.service.seen}) == 1 < len(self.service.seen):
                request.transport.abortConnection()
                return NOT_DONE_YET
            return b"{}"

        transport = await self.connected()
        self.service.answer = answer
        await transport.request("compute", "GET", "/")
        self.assertEqual((await transport.request("compute", "GET", "/")).status, 200)
        self.assertEqual(len(self.service.seen), 3)
        self.service.seen.clear()
        await transport.request("compute", "POST", "/")
        with self.assertRaisesRegex(CloudError, "closed before there was an answer"):
            await transport.request("compute", "POST", "/")
        self.assertEqual(len(self.service.seen), 2)

    async def test_cut_in_an_answer(self) -> None:
        """An answer that ends too early is none."""

        def answer(request: Request) -> int:
            request.setHeader("Content-Length", "100")
            request.write(b'{"half')
            request.transport.loseConnection()
            return NOT_DONE_YET

        transport = await self.connected()
        self.service.answer = answer
        with self.assertRaisesRegex(CloudError, "middle of the answer"):
            await transport.request("compute", "GET", "/")

    async def test_refused(self) -> None:
        """Nobody listens: the error says where, and what to look at."""
        transport = self.transport(Login("http://127.0.0.1:1/v2.1"))
        with self.assertRaisesRegex(CloudError, r"127\.0\.0\.1:1: .*refused; is the service"):
            await transport.request("compute", "GET", "/")

    async def test_stopped(self) -> None:
        """Stopping gives up what is in flight or waits, and nothing is asked afterwards."""
        transport = await self.connected(connections=1)
        self.service.answer = self.service.hang
        asking = [
            Deferred.fromCoroutine(transport.request("compute", "GET", "/")) for _ in range(2)
        ]
        await self.arrived(1)
        await transport.stop()
        for each in asking:
            with self.assertRaisesRegex(CloudError, "stopped using the cloud loopback"):
                await each
        with self.assertRaisesRegex(CloudError, "stopped using the cloud loopback"):
            await transport.request("compute", "GET", "/")
        self.assertEqual(len(self.service.seen), 1)

    async def test_started_again(self) -> None:
        """A transport that was stopped can be started again."""
        transport = await self.connected(connections=1)
        await transport.stop()
        with self.assertRaises(CloudError):
            await transport.request("compute", "GET", "/")
        transport.start()
        for _ in range(2):
            self.assertEqual((await transport.request("compute", "GET", "/")).status, 200)

    async def test_cancelled(self) -> None:
        """Who cancels a request closes its connection."""
        transport = await self.connected()
        for begins in (False, True):
            gone: Deferred[None] = Deferred()

            def answer(request: Request, begins: bool = begins, gone: Deferred[None] = gone) -> int:
                request.notifyFinish().addErrback(lambda _: gone.callback(None))
                if begins:
                    request.write(b"{")
                return NOT_DONE_YET

            self.service.answer = answer
            self.service.seen.clear()
            asking = Deferred.fromCoroutine(transport.request("compute", "GET", "/"))
            await self.arrived(1)
            await later(0.02)
            asking.cancel()
            with self.assertRaises(CancelledError):
                await asking
            await gone

    async def test_cancelled_before_it_is_connected(self) -> None:
        """Who cancels a request is told so, also while a name is looked up or a connection made."""
        for pause in (None, 0.0, 0.001):
            transport = await self.connected()
            self.service.answer = self.service.hang
            asking = Deferred.fromCoroutine(transport.request("compute", "GET", "/"))
            if pause is not None:
                await later(pause)
            asking.cancel()
            with self.assertRaises(CancelledError):
                await asking

    async def arrived(self, count: int) -> None:
        while len(self.service.seen) < count:
            await later(0.005)


class Timeouts(TransportCase):
    """A request may take long, as long as something moves."""

    async def test_silence(self) -> None:
        """No answer is an error after the timeout, and the connection is closed."""
        gone: Deferred[None] = Deferred()

        def answer(request: Request) -> int:
            request.notifyFinish().addErrback(lambda _: gone.callback(None))
            return NOT_DONE_YET

        transport = await self.connected()
        self.service.answer = answer
        with self.assertRaisesRegex(CloudError, "nothing moved for 0 seconds"):
            await transport.request("compute", "GET", "/", timeout=0.3)
        await gone

    async def test_stalled(self) -> None:
        """An answer that stops in the middle is an error, too."""

        def answer(request: Request) -> int:
            request.write(b'{"half')
            return self.service.hang(request)

        transport = await self.connected()
        self.service.answer = answer
        with self.assertRaisesRegex(CloudError, "nothing moved"):
            await transport.request("compute", "GET", "/", timeout=0.05)

    async def test_slow(self) -> None:
        """An answer that trickles in is complete in the end."""

        def answer(request: Request) -> int:
            async def trickle() -> None:
                for bit in (b"[", b"1", b",", b"2", b",", b"3", b"]"):
                    request.write(bit)
                    await later(0.2)
                request.finish()

            Deferred.fromCoroutine(trickle())
            return NOT_DONE_YET

        transport = await self.connected()
        self.service.answer = answer
        found = await transport.request("compute", "GET", "/", timeout=1.0)
        self.assertEqual(found.body, [1, 2, 3])


class Gate(Protocol):
    """Reads an upload in bits with pauses; none of it while ``pause`` is None."""

    def connectionMade(self) -> None:
        self.got = 0
        self.length: int | None = None
        self.transport.pauseProducing()
        if self.factory.pause is not None:
            reactor.callLater(0, self.transport.resumeProducing)

    def dataReceived(self, data: bytes) -> None:
        if self.length is None:
            # The head arrives in one piece on loopback.
            head, _, data = data.partition(b"\r\n\r\n")
            fields = dict(line.split(b": ") for line in head.lower().splitlines()[1:])
            self.length = int(fields[b"content-length"])
        self.got += len(data)
        if self.got == self.length:
            self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif self.got - self.factory.paused_at > self.factory.every:
            self.factory.paused_at = self.got
            self.transport.pauseProducing()
            reactor.callLater(self.factory.pause, self.transport.resumeProducing)


class GateFactory(Factory):
    protocol = Gate
    noisy = False

    def __init__(self, pause: float | None, every: int) -> None:
        self.pause = pause
        self.every = every
        self.paused_at = 0


class Uploads(TransportCase):
    """Files as bodies."""

    def file(self, size: int) -> Path:
        path = Path(self.mktemp())
        with path.open("wb") as file:
            file.write(bytes(range(256)) * 40)
            file.truncate(size)
        return path

    async def test_uploaded(self) -> None:
        """The file arrives as it is, also after the token has been replaced."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(401 if len(self.service.seen) == 1 else 204)
            return b""

        transport = await self.connected()
        self.service.answer = answer
        path = self.file(3_000_000)
        found = await transport.request("image", "PUT", "/images/1/file", file=path)
        self.assertEqual(found.status, 204)
        first, second = self.service.seen
        self.assertEqual(first.headers["content-type"], "application/octet-stream")
        self.assertEqual(first.body, path.read_bytes())
        self.assertEqual(second.body, path.read_bytes())

    async def test_missing(self) -> None:
        """A file that is not there is named."""
        transport = await self.connected()
        with self.assertRaisesRegex(CloudError, "cannot read /no/such: No such file"):
            await transport.request("image", "PUT", "/images/1/file", file=Path("/no/such"))

    async def test_stalled(self) -> None:
        """A service that takes no more of the file is given up."""
        port = await self.serve(GateFactory(None, 0))
        transport = self.transport(Login(f"http://127.0.0.1:{port}/v2"))
        with self.assertRaisesRegex(CloudError, "nothing moved"):
            await transport.request(
                "image", "PUT", "/images/1/file", file=self.file(64 << 20), timeout=0.2
            )

    async def test_slow(self) -> None:
        """An upload may take many times the timeout, as long as it moves."""
        port = await self.serve(GateFactory(0.15, 6 << 20))
        transport = self.transport(Login(f"http://127.0.0.1:{port}/v2"))
        begun = reactor.seconds()
        found = await transport.request(
            "image", "PUT", "/images/1/file", file=self.file(64 << 20), timeout=1.0
        )
        self.assertEqual(found.status, 204)
        self.assertGreater(reactor.seconds() - begun, 1.0)
