"""Nodepool 11's lists; what they show is compared with Nodepool 11 in tests/interop."""

from __future__ import annotations

import json

from nodepool_tx.web.lists import MAX_AGE
from nodepool_tx.web.negotiation import best_offer
from tests.web.stage import WebTestCase

OFFERS = ("text/html", "text/plain", "application/json")


class ListTests(WebTestCase):
    """With a farm that is up."""

    def setUp(self) -> None:
        super().setUp()
        self.bring()

    def test_kept_for_a_second(self) -> None:
        """Who asks again within a second gets the same, and afterwards something new."""
        first = self.get("/node-list")
        self.add_node(provider="other")
        self.settle()
        self.assertEqual(self.get("/node-list").body, first.body)
        self.clock.advance(MAX_AGE)
        self.assertEqual(len(self.get("/node-list").text.splitlines()), 4 + 4)

    def test_conditional(self) -> None:
        """A client that has seen it is sent nothing; a tag counts more than a time."""
        first = self.get("/node-list")
        tag, since = first.headers["etag"], first.headers["last-modified"]
        for headers, status in (
            ({"If-None-Match": tag}, 304),
            ({"If-None-Match": '"other"'}, 200),
            ({"If-Modified-Since": since}, 304),
            ({"If-None-Match": '"other"', "If-Modified-Since": since}, 200),
        ):
            answer = self.get("/node-list", headers=headers)
            self.assertEqual(answer.status, status, headers)
            self.assertEqual(answer.headers["etag"], tag)
            self.assertEqual(answer.headers["last-modified"], since)

    def test_forms_have_tags_of_their_own(self) -> None:
        """Text and JSON differ, and caches between are told so."""
        text = self.get("/node-list")
        found = self.get("/node-list", headers={"Accept": "application/json"})
        self.assertNotEqual(text.headers["etag"], found.headers["etag"])
        self.assertEqual(found.headers["vary"], "Accept")
        self.assertEqual(len(found.json), 3)

    def test_not_acceptable(self) -> None:
        """A client that takes no form of it is told which there are."""
        answer = self.get("/node-list", headers={"Accept": "image/png"})
        self.assertEqual((answer.status, answer.json["error"]), (406, "not acceptable"))

    def test_long_lists(self) -> None:
        """A list longer than a turn of the reactor is whole, in both forms."""
        for number in range(333):
            self.add_node(provider="other", comment=f"node {number} " + 300 * "x")
        self.settle()
        text = self.get("/node-list").text
        lines = text.splitlines()
        self.assertEqual(len(lines), 336 + 4)
        self.assertEqual(len({len(line) for line in lines}), 1)
        answer = self.get("/node-list", headers={"Accept": "application/json"})
        self.assertEqual(len(answer.json), 336)
        self.assertEqual(json.dumps(answer.json), answer.text)

    def test_head(self) -> None:
        """HEAD has the headers of GET and no body."""
        got, head = self.get("/node-list"), self.get("/node-list", "HEAD")
        self.assertEqual(head.body, b"")
        self.assertEqual(head.headers["content-length"], str(len(got.body)))
        self.assertEqual(head.headers["etag"], got.headers["etag"])


class NegotiationTests(WebTestCase):
    """Which form a client gets."""

    def test_best_offer(self) -> None:
        """The greatest weight wins, of the most specific range; then our own order."""
        for accept, offer in (
            (None, "text/html"),
            ("", "text/html"),
            ("*/*", "text/html"),
            ("text/plain", "text/plain"),
            ("application/json", "application/json"),
            ("application/json;q=0.2, text/*;q=0.3", "text/html"),
            ("text/*;q=0.1, text/plain;q=0.9, application/json;q=0.5", "text/plain"),
            ("text/html;q=0, text/plain;q=0, application/json", "application/json"),
            ("image/png", None),
            ("*/*;q=0", None),
            ("nonsense", "text/html"),
            ("application/json;q=high", "text/html"),
            ("application/json; charset=utf-8", "application/json"),
        ):
            self.assertEqual(best_offer(accept, OFFERS), offer, accept)
