"""Listings are read to their end, each thing once."""

from __future__ import annotations

from typing import Any

from nodepool_tx.providers.cloud.errors import CloudError, Gone
from nodepool_tx.providers.openstack.paging import everything
from nodepool_tx.providers.openstack.transport import Answer
from tests.providers.openstack.recorded import RecordedTestCase, ok


class PagingTests(RecordedTestCase):
    def listed(self, key: str = "servers", **query: str) -> Any:
        return everything(
            self.calls, "list", "compute", "/things", key, query=query, version="2.47"
        )

    def play(self, *answers: Answer) -> None:
        self.cloud.play("compute", "GET", "/things", *answers)

    def page(self, *ids: str, link: str | None = None) -> Answer:
        body: dict[str, Any] = {"servers": [{"id": each} for each in ids]}
        if link:
            body["servers_links"] = [{"rel": "next", "href": link}]
        return ok(body)

    def ids(self, **query: str) -> list[str]:
        return [each["id"] for each in self.result(self.listed(**query))]

    def queries(self) -> list[dict[str, str]]:
        return [dict(asked.query) for asked in self.cloud.asked]

    def test_one_page(self) -> None:
        """A listing without a link is read with one request."""
        self.play(self.page("a", "b"))
        self.assertEqual(self.ids(), ["a", "b"])
        self.assertEqual(self.cloud.asked[0].version, "2.47")

    def test_links(self) -> None:
        """Links are followed by their query alone, with what was asked for at first."""
        self.play(
            self.page("a", link="http://elsewhere/v2.1/servers/detail?limit=1&marker=a"),
            self.page("b", link="/v2.1/servers/detail?limit=1&marker=b"),
            self.page(),
        )
        self.assertEqual(self.ids(all_tenants="0"), ["a", "b"])
        self.assertEqual(
            self.queries(),
            [
                {"all_tenants": "0"},
                {"all_tenants": "0", "limit": "1", "marker": "a"},
                {"all_tenants": "0", "limit": "1", "marker": "b"},
            ],
        )
        self.assertEqual({asked.path for asked in self.cloud.asked}, {"/things"})

    def test_glances_link(self) -> None:
        """Glance names the next page at the top of the answer."""
        self.play(
            ok({"images": [{"id": "a"}], "next": "/v2/images?marker=a", "first": "/v2/images"}),
            ok({"images": [{"id": "b"}], "first": "/v2/images"}),
        )
        found = self.result(self.listed("images"))
        self.assertEqual([each["id"] for each in found], ["a", "b"])

    def test_a_link_in_the_header(self) -> None:
        """A link may be in a header only."""
        header = {"link": '<http://x/things?marker=a>; rel="next"'}
        self.play(Answer(200, header, {"servers": [{"id": "a"}]}), self.page("b"))
        self.assertEqual(self.ids(), ["a", "b"])

    def test_things_that_move(self) -> None:
        """What is on two pages is there once."""
        self.play(self.page("a", "b", link="?marker=b"), self.page("b", "c"))
        self.assertEqual(self.ids(), ["a", "b", "c"])

    def test_pages_without_end(self) -> None:
        """A service that leads round in circles is given up."""
        self.play(self.page("a", link="?marker=a"))
        self.assertIn("do not come to an end", self.error(self.listed(), CloudError))
        self.assertEqual(len(self.cloud.asked), 2)

    def test_the_marker_is_deleted(self) -> None:
        """When the thing after which a page begins is gone, the listing begins again."""
        self.play(
            self.page("a", "b", link="?marker=b"),
            Answer(400, {}, {"badRequest": {"message": "marker [b] not found"}}),
            self.page("a", "c", link="?marker=c"),
            self.page("d"),
        )
        self.assertEqual(self.ids(), ["a", "c", "d"])

    def test_a_listing_that_never_holds_still(self) -> None:
        """It is not begun again for ever."""
        refused = Answer(400, {}, {"badRequest": {"message": "marker not found"}})
        first = self.page("a", link="?marker=a")
        self.play(first, refused, first, refused, first, refused)
        self.assertIn("changed too often", self.error(self.listed(), CloudError))

    def test_errors(self) -> None:
        """An error on the first page is that of the service; so is an answer without sense."""
        self.play(Answer(404))
        self.error(self.listed(), Gone)
        self.play(ok({"other": []}))
        self.assertIn("has no servers", self.error(self.listed(), CloudError))
        self.play(ok(None))
        self.error(self.listed(), CloudError)
