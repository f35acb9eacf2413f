"""Who may do what with leases, and who may not."""

from __future__ import annotations

import json
from typing import Any

import attrs

from nodepool_tx.auth.attempts import MOST_FAILURES
from nodepool_tx.leases.polls import MOST_WAITING
from nodepool_tx.leases.rates import Rates
from nodepool_tx.web.site import LARGEST_BODY
from tests.leases.stage import TOKENS, LeaseTestCase, basic, bearer
from tests.pools.harness import written

#: Every path and method, with a body where there must be one.
OPERATIONS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/api/requests", {"labels": ["small"]}),
    ("GET", "/api/leases", None),
    ("GET", "/api/leases/{id}", None),
    ("DELETE", "/api/leases/{id}", None),
    ("POST", "/api/leases/{id}/renew", None),
)

#: Those that are about one lease.
OF_ONE = tuple(each for each in OPERATIONS if "{id}" in each[1])


class RefusalTests(LeaseTestCase):
    """What is refused changes nothing and is written down."""

    def setUp(self) -> None:
        super().setUp()
        self.mine = self.ready("large")
        self.before = self.inspector.dump("/nodepool")

    def assert_unchanged(self) -> None:
        self.assertEqual(self.inspector.dump("/nodepool"), self.before)

    def refuse_all(self, status: int, headers: dict[str, str], wait: float = 0.0) -> None:
        """Every operation is refused to somebody with these headers."""
        entries = len(self.audited())
        for method, path, body in OPERATIONS:
            visitor = self.send(
                method, path.format(id=self.mine["id"]), body, headers=headers, user=None
            )
            if wait:
                self.assertEqual(visitor.wire.value(), b"")
                self.wait(wait)
            answer = visitor.answer(method)
            self.assertEqual(answer.status, status, (method, path, answer.text))
            self.assertEqual(set(answer.json), {"error", "detail"})
            if status == 401:
                self.assertIn('Bearer realm="nodepool"', answer.headers["www-authenticate"])
        self.assert_unchanged()
        written = self.audited()[entries:]
        self.assertGreaterEqual(len(written), len(OPERATIONS))
        self.assertTrue(all(each["outcome"].startswith("refused") for each in written), written)

    def test_nobody(self) -> None:
        """Without credentials nothing is to be had."""
        self.refuse_all(401, {})

    def test_wrong_schemes(self) -> None:
        """Credentials of another kind, or garbage, are none."""
        for value in (
            "Digest x",
            "Basic !!!",
            "Basic " + "bm9jb2xvbg==",
            "Basic OnB3",
            "Basic /////w==",
            TOKENS["ci"],
        ):
            self.refuse_all(401, {"Authorization": value})

    def test_two_credentials(self) -> None:
        """Two of them are none: nobody is to choose for others which one counts."""
        both = {"Authorization": bearer()["Authorization"], "authorization": "Bearer x"}
        self.refuse_all(401, both)

    def test_wrong_tokens(self) -> None:
        """A wrong token is refused, later each time, and what begins like a right one is wrong."""
        for token in ("nonsense", TOKENS["ci"][:-1]):
            visitor = self.send("GET", "/api/leases", user=token)
            self.assertEqual(visitor.wire.value(), b"")
            self.wait(2)
            self.assertEqual(visitor.answer().status, 401)
        self.assert_unchanged()

    def test_every_operation_with_a_wrong_token(self) -> None:
        """There is none without a check."""
        self.refuse_all(401, {"Authorization": "Bearer wrong"}, wait=31)

    def test_every_operation_with_a_wrong_password(self) -> None:
        """There is none without a check."""
        self.refuse_all(401, basic("alice", "wrong"), wait=31)

    def test_guessing(self) -> None:
        """Who guesses is locked out for minutes; who has a token is not."""
        for _ in range(MOST_FAILURES):
            visitor = self.send("GET", "/api/leases", user="guess")
            self.wait(31)
            self.assertEqual(visitor.answer().status, 401)
        answer = self.call("GET", "/api/leases", user="guess")
        self.assertEqual(answer.status, 429)
        self.assertGreater(int(answer.headers["retry-after"]), 60)
        answer = self.call("GET", "/api/leases", headers=basic("alice", "alice-pw"), user=None)
        self.assertEqual(answer.status, 429)
        self.assertEqual(self.call("GET", "/api/leases").status, 200)
        outcomes = [each["outcome"] for each in self.audited()]
        self.assertEqual(outcomes.count("refused: 401 not authenticated"), MOST_FAILURES)
        self.assertEqual(outcomes.count("refused: 429 too many attempts"), 2)

    def test_many_guesses_at_once(self) -> None:
        """Asking in parallel gains nothing."""
        visitors = [self.send("GET", "/api/leases", user="guess") for _ in range(30)]
        self.wait(31)
        statuses = [visitor.answer().status for visitor in visitors]
        self.assertLessEqual(statuses.count(401), MOST_FAILURES)
        self.assertEqual(statuses.count(401) + statuses.count(429), 30)

    def test_others(self) -> None:
        """The leases of others are to nobody more than leases that do not exist."""
        for method, path, body in OF_ONE:
            answers = [
                self.call(method, path.format(id=each), body, user="alice")
                for each in (self.mine["id"], "0" * 32)
            ]
            self.assertEqual([answer.status for answer in answers], [404, 404])
            self.assertEqual(answers[0].body, answers[1].body)
        self.assertEqual(self.call("GET", "/api/leases", user="alice").json, {"leases": []})
        self.assert_unchanged()
        refused = [each for each in self.audited() if each["who"] == "alice"]
        self.assertEqual([each["outcome"] for each in refused], ["refused: 404 not found"] * 6)

    def test_same_name(self) -> None:
        """A user of the directory is not the token of the same name."""
        ci = basic("ci", "ci-pw")
        for method, path, body in OF_ONE:
            answer = self.call(method, path.format(id=self.mine["id"]), body, headers=ci, user=None)
            self.assertEqual(answer.status, 404)
        self.assert_unchanged()

    def test_not_in_the_group(self) -> None:
        """Who is known and not in the group is told so, after the delay of a failure."""
        self.refuse_all(403, basic("bob", "bob-pw"), wait=31)
        self.assertEqual(set(self.people.asked), {("bob", "cn=lenders")})

    def test_no_directory(self) -> None:
        """A directory that is away is no reason to let anybody in, or to count a failure."""
        self.people.away = True
        for _ in range(MOST_FAILURES + 1):
            answer = self.call("GET", "/api/leases", headers=basic("alice", "alice-pw"), user=None)
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "10"))
        self.people.away = False
        answer = self.call("GET", "/api/leases", headers=basic("alice", "alice-pw"), user=None)
        self.assertEqual(answer.status, 200)

    def test_passwords_not_wanted(self) -> None:
        """Where the directory is not for leases, nobody is looked up in it."""
        assert self.settings is not None
        self.settings = attrs.evolve(self.settings, ldap=False)
        self.refuse_all(401, basic("alice", "alice-pw"))
        self.assertEqual(self.people.asked, [])

    def test_not_configured(self) -> None:
        """Where nothing is lent, there is nothing to be had, with or without credentials."""
        self.settings = None
        for headers in ({}, bearer()):
            for method, path, body in OPERATIONS:
                answer = self.call(
                    method, path.format(id=self.mine["id"]), body, headers=headers, user=None
                )
                self.assertEqual(answer.status, 404)
                self.assertEqual(answer.json["error"], "leases are not configured")
        self.assert_unchanged()

    def test_methods(self) -> None:
        """Other methods are refused, and the answer says which there are."""
        for path, allowed in (
            ("/api/requests", "GET, HEAD, OPTIONS, POST"),
            ("/api/leases", "GET, HEAD, OPTIONS"),
            (f"/api/leases/{self.mine['id']}", "DELETE, GET, HEAD, OPTIONS"),
            (f"/api/leases/{self.mine['id']}/renew", "OPTIONS, POST"),
        ):
            answer = self.call("PUT", path)
            self.assertEqual((answer.status, answer.headers["allow"]), (405, allowed), path)
        self.assert_unchanged()


class SecretTests(LeaseTestCase):
    """Tokens and passwords."""

    def test_told_nowhere(self) -> None:
        """No token or password gets into the log, the audit log, ZooKeeper or an answer."""
        lease = self.ready("small")
        answers = [
            self.call("DELETE", f"/api/leases/{lease['id']}").text,
            self.call("GET", "/api/leases", headers=basic("alice", "alice-pw"), user=None).text,
        ]
        for headers in (
            {"Authorization": "Bearer wr0ng-token"},
            basic("alice", "wr0ng-password"),
            {"Authorization": "Basic wr0ng-basic"},
            {"Authorization": "Digest wr0ng-digest"},
        ):
            visitor = self.send("GET", "/api/leases", headers=headers, user=None)
            self.wait(31)
            answers.append(visitor.answer().text)
        secrets = [*TOKENS.values(), "alice-pw", "wr0ng"]
        shown = "\n".join(
            [
                *answers,
                *(repr(event) for event in self.events_logged),
                json.dumps(self.audited()),
                repr(self.inspector.dump("/nodepool")),
                repr(self.settings),
            ]
        )
        self.assertIn("refused", shown)
        for secret in secrets:
            self.assertNotIn(secret, shown)
        for headers in (bearer(), basic("alice", "alice-pw")):
            self.assertNotIn(headers["Authorization"].split()[1], shown)

    def test_changes_are_written_down(self) -> None:
        """Every change is in the audit log: who, from where, what, and of which lease."""
        lease = self.ready("small")
        self.call("POST", f"/api/leases/{lease['id']}/renew")
        self.call("DELETE", f"/api/leases/{lease['id']}")
        entries = [
            (each["who"], each["where"], each["what"], each["outcome"]) for each in self.audited()
        ]
        where = "http 192.0.2.1"
        self.assertEqual(
            entries,
            [
                ("ci", where, "ask for nodes", "ok"),
                ("ci", where, f"renew {lease['id']}", "ok"),
                ("ci", where, f"give back {lease['id']}", "ok"),
            ],
        )
        self.assertEqual(self.audited()[0]["lease"], lease["id"])

    def test_who_leaves_is_written_down(self) -> None:
        """A change goes on, and is written down, when the client goes away meanwhile."""
        self.zookeeper.inspector.before("transaction", lambda call: visitor.leave())
        body = json.dumps({"labels": ["small"]}).encode()
        visitor = self.visit()
        head = (
            f"POST /api/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {bearer()['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        visitor.say(head.encode() + body)
        self.wait(2)
        self.assertTrue(visitor.wire.ended)
        self.assertEqual([each["outcome"] for each in self.audited()], ["ok"])
        self.assertEqual(len(self.store.leases), 1)


class LimitTests(LeaseTestCase):
    """How much one user may have."""

    def test_rate(self) -> None:
        """Who asks too often is told when to come back, and others are not held up."""
        assert self.settings is not None
        self.settings = attrs.evolve(self.settings, requests_per_minute=6)
        statuses = [self.call("GET", "/api/leases").status for _ in range(8)]
        self.assertEqual(statuses, [200] * 6 + [429] * 2)
        answer = self.call("POST", "/api/requests", {"labels": ["small"]})
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "10"))
        self.assertEqual(self.call("GET", "/api/leases", user="alice").status, 200)
        self.wait(10)
        self.assertEqual(self.call("GET", "/api/leases").status, 200)
        self.assertEqual(self.call("GET", "/api/leases").status, 429)
        outcomes = [each["outcome"] for each in self.audited()]
        self.assertEqual(outcomes.count("refused: 429 too many requests"), 4)

    def test_clock_that_goes_back(self) -> None:
        """A clock that is put right locks nobody out."""
        rates = Rates(self.clock)
        self.assertEqual(rates.take(("a", "token"), 60), 0)
        self.clock.rightNow -= 1000
        self.assertEqual(rates.take(("a", "token"), 60), 0)
        self.clock.rightNow += 1000

    def test_leases(self) -> None:
        """Nobody has more leases at a time than they may; those that are over do not count."""
        assert self.settings is not None
        self.settings = attrs.evolve(self.settings, max_leases=2)
        first = self.ask("small")
        self.ask("small")
        answer = self.call("POST", "/api/requests", {"labels": ["small"]})
        self.assertEqual((answer.status, answer.json["error"]), (409, "too many leases"))
        self.assertEqual(len(self.store.leases), 2)
        self.ask("small", user="alice")
        self.call("DELETE", f"/api/leases/{first['id']}")
        self.ask("small")

    def test_leases_at_once(self) -> None:
        """Asking in parallel gains nothing."""
        assert self.settings is not None
        self.settings = attrs.evolve(self.settings, max_leases=3)
        body = json.dumps({"labels": ["small"]}).encode()
        head = (
            f"POST /api/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {bearer()['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        visitors = [self.visit() for _ in range(10)]
        for visitor in visitors:
            visitor.say(head.encode() + body)
        self.settle()
        statuses = sorted(visitor.answer().status for visitor in visitors)
        self.assertEqual(statuses, [201] * 3 + [409] * 7)
        self.assertEqual(len(self.store.leases), 3)

    def test_polls(self) -> None:
        """When very many wait, the next one is answered at once."""
        assert self.settings is not None
        self.settings = attrs.evolve(
            self.settings, max_leases=MOST_WAITING + 2, requests_per_minute=1000
        )
        self.ready("large")
        ids = [self.ask("large")["id"] for _ in range(MOST_WAITING + 1)]
        visitors = [self.send("GET", f"/api/leases/{each}?wait=60") for each in ids]
        self.assertEqual(len(self.polls), MOST_WAITING)
        self.assertEqual(visitors[-1].answer().json["state"], "waiting")
        for visitor in visitors:
            visitor.leave()
        self.settle()
        self.assertEqual(len(self.polls), 0)


class KeyTests(LeaseTestCase):
    """Asking twice for the same."""

    def test_again(self) -> None:
        """The same wish with the same key is the same lease, however often."""
        wish = {"labels": ["small"], "key": "build 7"}
        first = self.call("POST", "/api/requests", wish)
        again = self.call("POST", "/api/requests", wish)
        self.assertEqual((first.status, again.status), (201, 200))
        self.assertEqual(first.json["id"], again.json["id"])
        self.assertEqual(len(self.store.leases), 1)

    def test_at_once(self) -> None:
        """Also when both ask before either is answered."""
        body = json.dumps({"labels": ["small"], "key": "k"}).encode()
        head = (
            f"POST /api/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: {bearer()['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        visitors = [self.visit() for _ in range(4)]
        for visitor in visitors:
            visitor.say(head.encode() + body)
        self.settle()
        answers = [visitor.answer() for visitor in visitors]
        self.assertEqual(sorted(answer.status for answer in answers), [200, 200, 200, 201])
        self.assertEqual(len({answer.json["id"] for answer in answers}), 1)
        self.wait(2)
        self.assertEqual(len(self.held()), 1)

    def test_by_another_user(self) -> None:
        """A key says nothing to others: they get a lease of their own."""
        wish = {"labels": ["small"], "key": "k"}
        mine = self.call("POST", "/api/requests", wish)
        theirs = self.call("POST", "/api/requests", wish, user="alice")
        same_name = self.call(
            "POST", "/api/requests", wish, headers=basic("ci", "ci-pw"), user=None
        )
        self.assertEqual([a.status for a in (mine, theirs, same_name)], [201] * 3)
        self.assertEqual(len({a.json["id"] for a in (mine, theirs, same_name)}), 3)

    def test_for_something_else(self) -> None:
        """A key cannot be used for another wish."""
        self.call("POST", "/api/requests", {"labels": ["small"], "key": "k"})
        answer = self.call("POST", "/api/requests", {"labels": ["large"], "key": "k"})
        self.assertEqual((answer.status, answer.json["error"]), (409, "key in use"))


class BodyTests(LeaseTestCase):
    """Whatever is sent, the answer says what is wrong with it, and nothing is made."""

    def refused(self, status: int, **how: Any) -> str:
        answer = self.call("POST", "/api/requests", **how)
        self.assertEqual(answer.status, status, (how, answer.text))
        self.assertEqual(len(self.store.leases), 0)
        self.assertNotIn("Traceback", answer.text)
        return str(answer.json["detail"])

    def test_wrong_values(self) -> None:
        """A value that cannot be used is named."""
        for key, value in (
            ("labels", []),
            ("labels", "small"),
            ("labels", None),
            ("labels", {"small": 1}),
            ("labels", [1]),
            ("labels", [None]),
            ("labels", [["small"]]),
            ("labels", [""]),
            ("labels", ["small"] * 51),
            ("labels", ["x" * 256]),
            ("labels", ["sm\0all"]),
            ("labels", ["small\n"]),
            ("labels", ["\ud800"]),
            ("ttl", "60"),
            ("ttl", None),
            ("ttl", True),
            ("ttl", 0),
            ("ttl", -1),
            ("ttl", 1e300),
            ("ttl", 10**400),
            ("ttl", []),
            ("priority", 1000),
            ("priority", -1),
            ("priority", 1.5),
            ("priority", "100"),
            ("priority", False),
            ("priority", 10**100),
            ("comment", 1),
            ("comment", "x" * 501),
            ("comment", "\x1b[31m"),
            ("key", None),
            ("key", "x" * 201),
            ("key", "a\0b"),
        ):
            body = {"labels": ["small"], key: value}
            self.assertIn(key, self.refused(400, body=body))
        self.assertIn("labels", self.refused(400, body={}))

    def test_not_json(self) -> None:
        """What is not JSON, or JSON of another kind, is refused."""
        for data in (
            b"{",
            b"\xff\xfe",
            b"[]",
            b"null",
            b"7",
            b'"labels"',
            b'{"labels": ["small"], "labels": ["large"]}',
            b'{"labels": ["small"], "ttl": NaN}',
            b'{"labels": ["small"], "ttl": Infinity}',
            b'{"labels": ["small"], "ttl": 1e999}',
            b'{"labels": ["small"], "ttl": ' + b"9" * 5000 + b"}",
            b'{"labels": ' + b"[" * 30000 + b"]" * 30000 + b"}",
            b'{"a":' * 10000 + b"1" + b"}" * 10000,
            b'{"labels": ["small"]}\0',
        ):
            self.refused(400, data=data)
        self.refused(415, data=b"")

    def test_unknown_keys(self) -> None:
        """Keys that mean nothing are named, so that nobody believes they did."""
        detail = self.refused(400, body={"labels": ["small"], "lables": 1, "x\x1b": 2})
        self.assertEqual(detail, "unknown keys: lables, x?")
        answer = self.call("POST", "/api/leases/x/renew", {"tll": 1})
        self.assertEqual((answer.status, answer.json["detail"]), (400, "unknown keys: tll"))

    def test_unknown_labels(self) -> None:
        """Labels that no pool online offers are named."""
        answer = self.call("POST", "/api/requests", {"labels": ["small", "huge", "tiny", "huge"]})
        self.assertEqual(answer.status, 422)
        self.assertEqual(answer.json["detail"], {"labels": ["huge", "tiny"]})
        self.assertEqual(len(self.store.leases), 0)

    def test_media_types(self) -> None:
        """Only JSON is read: a browser's form can send none without asking first."""
        for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"):
            self.refused(415, body={"labels": ["small"]}, headers={"Content-Type": kind})
        self.refused(
            415,
            body={"labels": ["small"]},
            headers={"Content-Type": "application/json; charset=utf-16"},
        )
        self.refused(415, body={"labels": ["small"]}, headers={"Content-Encoding": "gzip"})
        answer = self.call(
            "POST",
            "/api/requests",
            {"labels": ["small"]},
            headers={"Content-Type": 'Application/JSON; Charset="UTF-8"'},
        )
        self.assertEqual(answer.status, 201)

    def test_too_large(self) -> None:
        """A body beyond the limit is not read."""
        answer = self.call("POST", "/api/requests", data=b" " * (LARGEST_BODY + 1))
        self.assertEqual(answer.status, 413)

    def test_parameters(self) -> None:
        """What follows the question mark is checked."""
        lease = self.ask("small")
        for query in ("wait=61", "wait=-1", "wait=x", "wait=1&wait=2", "state=ended", "state="):
            answer = self.call("GET", f"/api/leases/{lease['id']}?{query}")
            self.assertEqual((answer.status, answer.json["error"]), (400, "bad parameter"), query)

    def test_hostile_ids(self) -> None:
        """No path leads out of the leases."""
        for lease_id in ("..", "%2e%2e", "..%2Fnodes", "%00", "a" * 5000, "%F0%9F%98%80", "%1b"):
            for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/renew")):
                answer = self.call(method, f"/api/leases/{lease_id}{rest}")
                self.assertIn(answer.status, (400, 404), (lease_id, method))


class AwayTests(LeaseTestCase):
    """While ZooKeeper is not to be reached."""

    def test_away(self) -> None:
        """Everything is put off, with a word on when to come back; and nothing is lost."""
        lease = self.ready("small", ttl=300)
        self.inspector.suspend(self.client)
        self.settle()
        for method, path, body in OPERATIONS:
            answer = self.call(method, path.format(id=lease["id"]), body)
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"), path)
        self.inspector.resume(self.client)
        self.wait(5)
        self.assertEqual(self.look(lease["id"])["state"], "ready")

    def test_reply_lost(self) -> None:
        """When it is not known what became of a wish, asking again with its key tells."""
        self.inspector.lose_reply_next("transaction", path=written, client=self.client)
        wish = {"labels": ["small"], "key": "k"}
        answer = self.call("POST", "/api/requests", wish)
        self.assertEqual((answer.status, answer.json["error"]), (503, "not now"))
        self.wait(5)
        answer = self.call("POST", "/api/requests", wish)
        self.assertEqual((answer.status, answer.json["state"]), (200, "ready"))
        self.assertEqual(len(self.held()), 1)
