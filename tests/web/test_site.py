"""What clients cannot do to us, and what every answer has."""

from __future__ import annotations

import re

from nodepool_tx.web.site import (
    FAREWELL,
    IDLE,
    LARGEST_BODY,
    LARGEST_HEAD,
    LONGEST_LINE,
    WHOLE_REQUEST,
)
from nodepool_tx.web.turns import TURN
from tests.web.stage import WebTestCase

HEAD = "GET /health/live HTTP/1.1\r\nHost: x\r\n"


class LimitTests(WebTestCase):
    """Of connections and requests."""

    def test_whole_request(self) -> None:
        """A client that sends a byte now and then is cut off after a while."""
        visitor = self.visit()
        visitor.say(HEAD.encode())
        for _ in range(int(WHOLE_REQUEST) - 1):
            self.clock.advance(1)
            visitor.say(b"X")
        self.assertFalse(visitor.wire.ended)
        self.clock.advance(1)
        self.assertEqual(visitor.answer().status, 408)
        self.assertTrue(visitor.wire.ended)

    def test_trickled_body(self) -> None:
        """The time counts until the body is there, too."""
        visitor = self.visit()
        visitor.say(b"POST /api/requests HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        for _ in range(int(WHOLE_REQUEST)):
            visitor.say(b"x")
            self.clock.advance(1)
        self.assertEqual(visitor.answer().status, 408)

    def test_idle(self) -> None:
        """A connection without a request ends; each request begins the time anew."""
        visitor = self.visit()
        for _ in range(3):
            visitor.ask("/health/live")
            self.assertEqual(visitor.answer().status, 200)
            self.clock.advance(IDLE - 1)
            self.assertFalse(visitor.wire.ended)
        self.clock.advance(2)
        self.assertTrue(visitor.wire.ended)
        silent = self.visit()
        self.clock.advance(IDLE + 1)
        self.assertTrue(silent.wire.ended)

    def test_long_line(self) -> None:
        """A line without an end is refused."""
        visitor = self.visit()
        visitor.say(b"GET /" + b"x" * (LONGEST_LINE + 1))
        self.assertEqual(visitor.answer().status, 431)
        self.assertTrue(visitor.wire.ended)

    def test_large_head(self) -> None:
        """So is a head that is too large, or has too many fields."""
        for fields in (
            [f"X-{number}: {'x' * 1000}" for number in range(LARGEST_HEAD // 1000 + 1)],
            [f"X-{number}: x" for number in range(200)],
        ):
            visitor = self.visit()
            visitor.say((HEAD + "\r\n".join(fields) + "\r\n\r\n").encode())
            self.assertTrue(visitor.hear().startswith(b"HTTP/1.1 400 "))
            self.assertTrue(visitor.wire.ended)

    def test_large_body(self) -> None:
        """A body that is announced as too large is not read."""
        visitor = self.visit()
        length = LARGEST_BODY + 1
        visitor.say(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        self.assertEqual(visitor.answer().status, 413)
        self.assertTrue(visitor.wire.ended)

    def test_large_chunked_body(self) -> None:
        """One that is not announced is refused when it becomes too large."""
        visitor = self.visit()
        visitor.say(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        for _ in range(LARGEST_BODY // 0x4000):
            visitor.say(chunk)
        self.assertFalse(visitor.wire.ended)
        visitor.say(chunk + b"0\r\n\r\n")
        self.assertEqual(visitor.answer().status, 413)
        self.assertTrue(visitor.wire.ended)

    def test_too_many_connections(self) -> None:
        """There is a limit to connections, and room again when one ends."""
        visitors = [self.visit() for _ in range(self.most_connections)]
        for visitor in visitors:
            visitor.wire.fill()
            visitor.ask("/health/live")
        self.assertTrue(self.visit().turned_away)
        self.assertEqual((self.site.connections, self.site.turned_away), (20, 1))
        visitors[0].leave()
        self.assertFalse(self.visit().turned_away)

    def test_connections_that_are_just_held(self) -> None:
        """They make room for new ones, the oldest first; those that are answered stay."""
        visitors = [self.visit() for _ in range(self.most_connections)]
        visitors[0].wire.fill()
        visitors[0].ask("/health/live")
        visitors[2].say(b"GET / HT")
        for _ in range(3):
            self.assertFalse(self.visit().turned_away)
        self.assertEqual([each.wire.ended for each in visitors[:5]], [False, *[True] * 3, False])
        self.assertEqual((self.site.connections, self.site.turned_away), (20, 0))

    def test_a_client_that_does_not_go(self) -> None:
        """A connection that is to end and does not is cut."""
        visitor = self.visit()
        visitor.wire.loseConnection = lambda: None  # type: ignore[method-assign]
        self.clock.advance(IDLE + 1)
        self.assertFalse(visitor.wire.aborted)
        self.clock.advance(FAREWELL)
        self.assertTrue(visitor.wire.aborted)

    def test_many_requests_at_once(self) -> None:
        """Whoever sends a thousand in one piece is answered in turns, others in between."""

        def slow() -> dict[str, int]:
            self.clock.rightNow += 2 * TURN
            return {}

        self.patch(self.farm.tally, "nodes", slow)
        greedy, other = self.visit(), self.visit()
        greedy.say(b"GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        heard = greedy.hear()
        self.assertEqual(heard.count(b"HTTP/1.1 200"), 1)
        other.ask("/health/live")
        for _ in range(2):
            call = self.clock.calls.pop(0)
            call.func(*call.args, **call.kw)
        self.assertEqual(other.answer().status, 200)
        self.assertLess(greedy.hear().count(b"HTTP/1.1 200"), 10)

    def test_answers_that_are_not_read(self) -> None:
        """Nothing more is answered before they are."""
        visitor = self.visit()
        visitor.wire.fill()
        visitor.say((HEAD + "\r\n").encode() * 100)
        self.assertEqual(visitor.hear(), b"")
        visitor.wire.drain()
        self.clock.advance(0)
        self.assertEqual(visitor.hear().count(b"HTTP/1.1 200"), 100)

    def test_a_client_that_only_sends(self) -> None:
        """Of what comes behind a request no more is taken than fits, whatever it reads."""
        visitor = self.visit()
        visitor.ask("/api/events")
        visitor.wire.fill()
        for _ in range(16):
            self.assertEqual(visitor.wire.producerState, "producing")
            visitor.say(b"x" * 1024)
        visitor.say(b"x")
        self.assertEqual(visitor.wire.producerState, "paused")

    def test_answers_that_are_never_read(self) -> None:
        """A connection that nothing can be sent over ends as one that is idle."""
        visitor = self.visit()
        visitor.wire.fill()
        visitor.ask("/health/live")
        self.clock.advance(IDLE + 1)
        self.assertTrue(visitor.wire.ended)

    def test_nothing_stays(self) -> None:
        """When all connections are over no timer is left."""
        before = len(self.clock.getDelayedCalls())
        for data in (b"", b"GET", HEAD.encode(), HEAD.encode() + b"\r\n"):
            visitor = self.visit()
            visitor.say(data)
            visitor.leave()
        self.assertEqual(len(self.clock.getDelayedCalls()), before)
        self.assertEqual(self.site.connections, 0)

    def test_pipelined(self) -> None:
        """Requests sent at once are answered in order."""
        visitor = self.visit()
        visitor.say(f"{HEAD}\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n{HEAD}\r\n".encode())
        statuses = re.findall(rb"HTTP/1.1 (\d+) ", visitor.hear())
        self.assertEqual(statuses, [b"200", b"404", b"200"])

    def test_nonsense(self) -> None:
        """What is no HTTP is refused."""
        for data in (b"\x16\x03\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n"):
            visitor = self.visit()
            visitor.say(data)
            self.assertTrue(visitor.hear().startswith(b"HTTP/1.1 400 "), data)
            self.assertTrue(visitor.wire.ended)


class RoutingTests(WebTestCase):
    """Of every path."""

    def test_headers(self) -> None:
        """Every answer forbids what the dashboard does not need."""
        for path in ("/", "/api/status", "/node-list", "/nowhere", "/api/nodes?limit=x"):
            headers = self.get(path).headers
            self.assertIn("default-src 'self'", headers["content-security-policy"])
            self.assertIn("frame-ancestors 'none'", headers["content-security-policy"])
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["referrer-policy"], "no-referrer")
            self.assertEqual(headers["server"], "nodepool_tx")

    def test_unknown(self) -> None:
        """What there is not is answered in JSON."""
        for path in ("/nowhere", "/api", "/api/nodes/", "/static/", "/static/a/b"):
            answer = self.get(path)
            self.assertEqual((answer.status, answer.json["error"]), (404, "not found"), path)

    def test_wrong_method(self) -> None:
        """A wrong method is told which are right; OPTIONS asks for them."""
        for path, method, allowed in (
            ("/api/status", "POST", "GET, HEAD, OPTIONS"),
            ("/node-list", "DELETE", "GET, HEAD, OPTIONS"),
            ("/api/requests", "PUT", "GET, HEAD, OPTIONS, POST"),
        ):
            answer = self.get(path, method)
            self.assertEqual((answer.status, answer.headers["allow"]), (405, allowed))
            self.assertEqual(answer.json["error"], "method not allowed")
            options = self.get(path, "OPTIONS")
            self.assertEqual((options.status, options.headers["allow"]), (204, allowed))

    def test_head(self) -> None:
        """HEAD is answered as GET is, without the body."""
        for path in ("/", "/api/status", "/api/nodes", "/ready", "/label-list", "/nowhere"):
            got, head = self.get(path), self.get(path, "HEAD")
            self.assertEqual((head.status, head.body), (got.status, b""), path)

    def test_odd_paths(self) -> None:
        """Paths and hosts that are no text are refused, not stumbled over."""
        self.assertEqual(self.get("/%FF").status, 400)
        self.assertEqual(self.get("/api/nodes/%C3%28").status, 400)
        self.assertEqual(self.get("/api/nodes/%00").status, 404)
        self.assertEqual(self.get("/api/nodes/..%2F..").status, 404)
        for host in ("..", "x" * 300, "a..b", "[::1]:80", ":", "%"):
            self.assertIn(self.get("/health/live", headers={"Host": host}).status, (200, 400))

    def test_headers_that_are_no_text(self) -> None:
        """They are no trouble of ours: nothing fails, and the log has nothing to tell."""
        for path, header, status in (
            ("/label-list", "Host: \udcff", 400),
            ("/label-list", "Accept: text/\udcff", 406),
            ("/label-list", "If-None-Match: \udcff", 200),
            ("/api/events", "Last-Event-ID: \udcff", 200),
        ):
            visitor = self.visit()
            head = f"GET {path} HTTP/1.1\r\n{header}\r\n\r\n"
            visitor.say(head.encode("utf-8", "surrogateescape"))
            self.settle()
            self.assertIn(f"HTTP/1.1 {status} ".encode(), visitor.hear()[:13])
        self.assertEqual(self.flushLoggedErrors(), [])


class FileTests(WebTestCase):
    """The dashboard's files."""

    def test_index(self) -> None:
        """The dashboard is at the root, and is asked for anew each time."""
        answer = self.get("/")
        self.assertEqual(answer.headers["content-type"], "text/html; charset=utf-8")
        self.assertEqual(answer.headers["cache-control"], "no-cache")
        self.assertIn("<!doctype html>", answer.text.lower())
        again = self.get("/", headers={"If-None-Match": answer.headers["etag"]})
        self.assertEqual((again.status, again.body), (304, b""))

    def test_all_that_it_needs(self) -> None:
        """Whatever a page of ours refers to is there, with the right type."""
        page = self.get("/").text
        for name, content_type in (
            ("favicon.svg", "image/svg+xml"),
            ("main.js", "text/javascript"),
        ):
            self.assertIn(f"/static/{name}", page)
            answer = self.get(f"/static/{name}")
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.headers["content-type"].startswith(content_type))

    def test_nothing_else(self) -> None:
        """No file but those is to be had."""
        for name in (
            "..%2fapp.py",
            "%2e%2e%2fapp.py",
            "app.py",
            ".hidden",
            "..",
            "index",
            "%00.js",
        ):
            self.assertEqual(self.get(f"/static/{name}").status, 404, name)
