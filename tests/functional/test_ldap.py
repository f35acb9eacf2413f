"""Log-ins against a real LDAP server."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from nodepool_tx.auth.conversation import Conversation
from nodepool_tx.auth.interface import Denied, DirectoryTrouble, Principal
from nodepool_tx.auth.ldap import THREADS, WAITING, LdapDirectory
from nodepool_tx.config.operations import Ldap, LdapSearch
from tests.servers.certificates import Authority
from tests.servers.slapd import BASE, STRANGE, Slapd, group, person

pytestmark = pytest.mark.servers

SERVICE = f"cn=svc,ou=services,{BASE}"


def issued(
    authority: Authority, directory: pathlib.Path, **names: object
) -> dict[str, pathlib.Path]:
    """Files for a server."""
    directory.mkdir()
    certificate, key = authority.issue("slapd", **names)  # type: ignore[arg-type]
    files = {"certificate": directory / "cert.pem", "key": directory / "key.pem"}
    files["certificate"].write_bytes(certificate)
    files["key"].write_bytes(key)
    os.chmod(files["key"], 0o600)
    return {**files, "ca": authority.ca}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    directory = tmp_path_factory.mktemp("slapd")
    with Slapd(directory, **issued(authority, directory / "tls")) as slapd:
        yield slapd


@pytest.fixture
def by_dn(server: Slapd) -> Ldap:
    """Users are found by the form of their DN."""
    return Ldap(
        url=server.url,
        ca=str(server.ca),
        group=group("ops"),
        user_dn=f"uid={{user}},ou=people,{BASE}",
    )


@pytest.fixture
def by_search(by_dn: Ldap) -> Ldap:
    """Users are looked for by an account that may."""
    search = LdapSearch(base=BASE, bind_dn=SERVICE, bind_password="svc-pw")
    return attrs.evolve(by_dn, user_dn=None, search=search)


def extended_response(request: bytes, code: int) -> bytes:
    """The answer to an extended request, with a result code."""
    message_id = request[2 : 4 + request[3]]
    body = message_id + bytes.fromhex("78070a01") + bytes([code]) + bytes.fromhex("04000400")
    return b"\x30" + bytes([len(body)]) + body


def talk(settings: Ldap, user: str, password: str, wanted: str | None = None) -> Principal:
    return Conversation(settings, ("127.0.0.1",)).run(user, password, wanted or settings.group)


@pytest.mark.parametrize("scheme", ["url", "ldaps"])
def test_a_member_may_log_in(server: Slapd, by_dn: Ldap, scheme: str) -> None:
    """With StartTLS as with TLS from the begin."""
    settings = attrs.evolve(by_dn, url=getattr(server, scheme))
    assert talk(settings, "alice", "alice-pw") == Principal("alice", "password", (group("ops"),))


def test_names_are_written_as_in_the_directory(by_dn: Ldap) -> None:
    """However somebody types theirs."""
    for typed in ("ALICE", "\uff41\uff4c\uff49\uff43\uff45"):
        assert talk(by_dn, typed, "alice-pw").name == "alice"


@pytest.mark.parametrize("kind", ["ops", "unique", "posix"])
def test_all_kinds_of_groups_are_known(by_dn: Ldap, by_search: Ldap, kind: str) -> None:
    """Those with members, with unique members and with names of users."""
    for settings in (by_dn, by_search):
        assert talk(settings, "alice", "alice-pw", group(kind)).name == "alice"
        with pytest.raises(Denied, match="not in the group"):
            talk(settings, "bob", "bob-pw", group(kind))


def test_groups_may_be_told_by_the_users_alone(by_dn: Ldap, by_search: Ldap) -> None:
    """As ``memberOf``, of a group that has no entry itself."""
    for settings in (by_dn, by_search):
        assert talk(settings, "bob", "bob-pw", group("virtual")).name == "bob"
        with pytest.raises(Denied, match="not in the group"):
            talk(settings, "alice", "alice-pw", group("virtual"))


def test_the_account_that_searches_sees_more_groups(by_dn: Ldap, by_search: Ldap) -> None:
    """One that users cannot see has no members for them, but for the account it has."""
    assert talk(by_search, "alice", "alice-pw", group("secret")).name == "alice"
    with pytest.raises(Denied, match="not in the group"):
        talk(by_dn, "alice", "alice-pw", group("secret"))


def test_a_search_finds_users_anywhere(by_search: Ldap) -> None:
    """Whatever their DN; nobody if there are several."""
    assert talk(by_search, "carol", "carol-pw").name == "carol"
    with pytest.raises(Denied, match="no such user"):
        talk(by_search, "mallory", "x")
    with pytest.raises(Denied, match="several users"):
        talk(by_search, "twin", "twin-pw")


def test_strange_names_are_names(by_dn: Ldap, by_search: Ldap) -> None:
    """Whoever is really called so may log in."""
    for settings in (by_dn, by_search):
        assert talk(settings, STRANGE, f"{STRANGE}-pw").name == STRANGE


def test_a_lost_connection_is_not_opened_again(
    by_dn: Ldap, authority: Authority, tmp_path: pathlib.Path
) -> None:
    """ldap3 would do that by itself, without TLS, and then give the password away."""
    files = issued(authority, tmp_path / "tls")
    heard: list[bytes] = []
    encrypted: list[str | None] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files["certificate"], files["key"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        first, _ = listener.accept()
        # StartTLS is granted, and the connection lost right after the handshake.
        first.sendall(extended_response(first.recv(4096), 0))
        with contextlib.suppress(OSError):
            secured = context.wrap_socket(first, server_side=True)
            encrypted.append(secured.version())
            secured.close()
        listener.settimeout(2)
        with contextlib.suppress(OSError):
            second, _ = listener.accept()
            heard.append(second.recv(4096))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        plain = attrs.evolve(by_dn, url=f"ldap://localhost:{listener.getsockname()[1]}")
        with pytest.raises(DirectoryTrouble):
            talk(plain, "alice", "alice-pw")
        thread.join(5)
    assert encrypted in (["TLSv1.2"], ["TLSv1.3"])
    assert heard == []


@pytest.mark.parametrize("password", ["wrong", "alice-pw ", "x" * 2000, "a\0b", "\ud800"])
def test_a_wrong_password_is_denied(by_dn: Ldap, by_search: Ldap, password: str) -> None:
    """Also one that nobody can have."""
    for settings in (by_dn, by_search):
        with pytest.raises(Denied):
            talk(settings, "alice", password)


def test_an_empty_password_never_reaches_the_server(by_dn: Ldap) -> None:
    """A server would let it pass, as of somebody who does not want to say who they are."""
    nowhere = attrs.evolve(by_dn, url="ldap://localhost:1")
    with pytest.raises(Denied, match="password is empty"):
        talk(nowhere, "alice", "")


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "*)(uid=*",
        "alice)(uid=*",
        "a*",
        "alice,ou=people",
        "alice,ou=admins",
        "carol,ou=admins",
        "alice+cn=alice",
        "alice\0",
        "alice\n",
        "ali\u200dce",
        "\udc80",
        " alice",
        "",
        "a" * 300,
        "#616c696365",
        "alice\\",
        'alice"',
        "alíce",
        "名前",
        "{user}",
        "%s",
    ],
)
def test_hostile_names_find_nobody(by_dn: Ldap, by_search: Ldap, name: str) -> None:
    """Whatever they contain stays a part of the name; each has alice's password."""
    for settings in (by_dn, by_search):
        with pytest.raises(Denied):
            talk(settings, name, "alice-pw")


def test_a_password_is_not_given_without_tls(by_dn: Ldap) -> None:
    """A server that does not begin TLS gets nothing, though it would take it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(4096))
                connection.sendall(extended_response(heard[0], 53))
                while more := connection.recv(4096):
                    heard.append(more)

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        plain = attrs.evolve(by_dn, url=f"ldap://localhost:{listener.getsockname()[1]}")
        with pytest.raises(DirectoryTrouble):
            talk(plain, "alice", "alice-pw")
        thread.join(5)
    assert b"alice" not in b"".join(heard)
    assert b"1.3.6.1.4.1.1466.20037" in heard[0]


def test_an_unknown_authority_is_refused(
    by_dn: Ldap, server: Slapd, tmp_path: pathlib.Path
) -> None:
    """With StartTLS and without; and so is everybody when there is no authority at all."""
    other = Authority(tmp_path, "somebody else")
    for url in (server.url, server.ldaps):
        for ca in (str(other.ca), None):
            with pytest.raises(DirectoryTrouble, match="certificate verify failed"):
                talk(attrs.evolve(by_dn, url=url, ca=ca), "alice", "alice-pw")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"host": "elsewhere.example.org", "address": "127.0.0.9"}, "not valid for 'localhost'"),
        ({"expired": True}, "expired"),
    ],
)
def test_a_wrong_certificate_is_refused(
    by_dn: Ldap, authority: Authority, tmp_path: pathlib.Path, names: dict[str, object], words: str
) -> None:
    """One for another host, one that is too old."""
    with Slapd(tmp_path, **issued(authority, tmp_path / "tls", **names)) as slapd:
        for url in (slapd.url, slapd.ldaps):
            with pytest.raises(DirectoryTrouble, match=words):
                talk(attrs.evolve(by_dn, url=url), "alice", "alice-pw")


def test_a_missing_file_of_authorities_is_trouble(by_dn: Ldap) -> None:
    """It is nobody's fault who logs in."""
    with pytest.raises(DirectoryTrouble):
        talk(attrs.evolve(by_dn, ca="/nowhere/ca.pem"), "alice", "alice-pw")


def test_a_wrong_account_for_searches_is_trouble(by_search: Ldap) -> None:
    """It is nobody's fault who logs in."""
    assert by_search.search is not None
    wrong = attrs.evolve(by_search.search, bind_password="wrong")
    with pytest.raises(DirectoryTrouble, match="may not log in"):
        talk(attrs.evolve(by_search, search=wrong), "alice", "alice-pw")


# -- in the reactor --------------------------------------------------------


class InTheReactor(TestCase):
    """The directory's service, which must never keep the reactor."""

    timeout = 30

    @pytest.fixture(autouse=True)
    def _servers(self, server: Slapd, by_dn: Ldap) -> None:
        self.server = server
        self.settings = attrs.evolve(by_dn, timeout=1.0)

    def setUp(self) -> None:
        self.directory = LdapDirectory(reactor, lambda: self.settings)
        self.directory.startService()
        self.addCleanup(self.directory.stopService)

    async def outcome(self, log_in: Deferred[Principal]) -> str:
        try:
            return (await log_in).name
        except (Denied, DirectoryTrouble) as e:
            return f"{type(e).__name__}: {e}"

    def test_log_in(self) -> Deferred[None]:
        """Users in the group, users out of it, and a group other than the usual."""

        async def check() -> None:
            log_in = self.directory.log_in
            self.assertEqual((await log_in("alice", "alice-pw")).name, "alice")
            self.assertIn("not in the group", await self.outcome(log_in("bob", "bob-pw")))
            other = log_in("bob", "bob-pw", group("virtual"))
            self.assertEqual(await self.outcome(other), "bob")

        return Deferred.fromCoroutine(check())

    def test_a_server_that_is_down(self) -> Deferred[None]:
        """It is told at once that nothing can be told."""
        self.settings = attrs.evolve(self.settings, url="ldap://localhost:1")

        async def check() -> None:
            said = await self.outcome(self.directory.log_in("alice", "alice-pw"))
            self.assertIn("DirectoryTrouble", said)

        return Deferred.fromCoroutine(check())

    def test_a_name_that_leads_nowhere(self) -> Deferred[None]:
        """It is told that nothing can be told."""
        self.settings = attrs.evolve(self.settings, url="ldap://no-such-host.invalid")

        async def check() -> None:
            said = await self.outcome(self.directory.log_in("alice", "alice-pw"))
            self.assertIn("DirectoryTrouble", said)

        return Deferred.fromCoroutine(check())

    def _check_hanging(self, port: int, more: str = "") -> Deferred[None]:
        """Many log-ins at a server that hangs: all end, in time, and threads come back."""
        self.settings = attrs.evolve(self.settings, url=f"ldap://localhost:{port}")

        async def check() -> None:
            begun = time.monotonic()
            many = [self.directory.log_in("alice", "alice-pw") for _ in range(THREADS + WAITING)]
            refused = await self.outcome(self.directory.log_in("alice", "alice-pw"))
            self.assertIn("under way already", refused)
            self.assertFalse(any(each.called for each in many))
            for each in many:
                self.assertIn("not answered in time", await self.outcome(each))
            # Four at a time would take five seconds.
            self.assertLess(time.monotonic() - begun, 4.5)
            # Threads end a moment after the answer; then everything is as before.
            while self.directory._talking:
                await deferLater(reactor, 0.05)
            self.assertLess(time.monotonic() - begun, 15)
            self.settings = attrs.evolve(self.settings, url=self.server.url)
            self.assertEqual(
                await self.outcome(self.directory.log_in("alice", "alice-pw")), "alice"
            )

        return Deferred.fromCoroutine(check())

    def test_a_server_that_never_answers(self) -> Deferred[None]:
        """It takes connections and says nothing."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.addCleanup(listener.close)
        return self._check_hanging(listener.getsockname()[1])

    def test_a_server_that_drips(self) -> Deferred[None]:
        """It sends a byte now and then, so that no single read takes long."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.addCleanup(listener.close)

        def drip(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.sendall(b"\x30\x84\x00\x00\xff\xff")
                    while True:
                        time.sleep(0.2)
                        connection.sendall(b"\x00")
                except OSError:
                    return

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return self._check_hanging(listener.getsockname()[1])

    def test_a_server_that_stops_answering(self) -> Deferred[None]:
        """The kernel takes its connections; it goes on when it is woken up."""
        self.server.freeze()
        self.addCleanup(self.server.thaw)

        async def check() -> None:
            said = await self.outcome(self.directory.log_in("alice", "alice-pw"))
            self.assertIn("not answered in time", said)
            self.server.thaw()
            self.assertEqual(
                await self.outcome(self.directory.log_in("alice", "alice-pw")), "alice"
            )

        return Deferred.fromCoroutine(check())

    def test_stopping_ends_what_hangs(self) -> Deferred[None]:
        """Neither the log-in nor its thread is waited for."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.addCleanup(listener.close)
        self.settings = attrs.evolve(
            self.settings, url=f"ldap://localhost:{listener.getsockname()[1]}", timeout=60.0
        )
        outcomes: list[object] = []

        async def check() -> None:
            for _ in range(THREADS + 2):
                self.directory.log_in("alice", "alice-pw").addBoth(outcomes.append)
            await deferLater(reactor, 0.3)
            begun = time.monotonic()
            self.directory.stopService()
            self.assertLess(time.monotonic() - begun, 20)
            self.assertEqual(len(outcomes), THREADS + 2)
            self.assertTrue(all(isinstance(outcome, Failure) for outcome in outcomes))
            self.directory.startService()

        return Deferred.fromCoroutine(check())


def test_given_up_before_there_is_a_socket(by_dn: Ldap) -> None:
    """It ends once it is connected, and does not wait for an answer."""

    class GivenUp(Conversation):
        def _new_connection(self, context: ssl.SSLContext, address: str) -> Any:
            connection = super()._new_connection(context, address)
            self.abort()
            return connection

    with socket.create_server(("127.0.0.1", 0)) as listener:
        slow = attrs.evolve(
            by_dn, url=f"ldap://localhost:{listener.getsockname()[1]}", timeout=60.0
        )
        begun = time.monotonic()
        with pytest.raises(DirectoryTrouble, match="not answered in time"):
            GivenUp(slow, ("127.0.0.1",)).run("alice", "alice-pw", person("alice"))
        assert time.monotonic() - begun < 30


def test_the_reactor_goes_on(server: Slapd, by_dn: Ldap) -> None:
    """A conversation is aborted from another thread while it waits for an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        slow = attrs.evolve(
            by_dn, url=f"ldap://localhost:{listener.getsockname()[1]}", timeout=60.0
        )
        conversation = Conversation(slow, ("127.0.0.1",))
        threading.Timer(0.3, conversation.abort).start()
        begun = time.monotonic()
        with pytest.raises(DirectoryTrouble, match="not answered in time"):
            conversation.run("alice", "alice-pw", person("alice"))
        assert time.monotonic() - begun < 5
