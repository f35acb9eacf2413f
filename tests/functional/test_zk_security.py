"""Certificates, credentials and access lists, against a real server."""

from __future__ import annotations

from pathlib import Path

import attrs
from kazoo.exceptions import AuthFailedError, NoAuthError
from kazoo.security import CREATOR_ALL_ACL, make_digest_acl
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import TestCase

from nodepool_tx.txzookeeper.interface import SessionState
from nodepool_tx.txzookeeper.link import Pauses
from nodepool_tx.txzookeeper.tls import TLSFiles
from tests.contract.zookeeper import asynchronous, outcome, reached
from tests.functional.zk_clients import RealServerSteps, seconds
from tests.servers.certificates import Authority
from tests.servers.proxy import Proxy
from tests.servers.zookeeper import shared_authority


class TLSTests(RealServerSteps, TestCase):
    """Who may talk to whom."""

    def address(self) -> str:
        return self.server.tls_address

    def stranger(self) -> Authority:
        directory = Path(self.mktemp())
        directory.mkdir()
        return Authority(directory, "a stranger")

    async def fails_to_connect(self, address: str, tls: TLSFiles | None) -> str:
        """Try for two rounds; answers with what the client says is wrong."""
        client = self.make_client(address=address, tls=tls, pauses=Pauses(0.02, 0.02))
        self.addCleanup(client.close)
        connecting = outcome(client.connect())
        while client.counters.failed_attempts < 2 or not client.last_failure:
            await seconds(0.01)
        self.assertEqual(connecting, [])
        self.assertIs(client.state, SessionState.CONNECTING)
        return client.last_failure

    @asynchronous
    async def test_wrong_ca(self) -> None:
        """A server that our CA has not signed is refused, and said to be by file."""
        tls = attrs.evolve(shared_authority().client(), ca=str(self.stranger().ca))
        why = await self.fails_to_connect(self.address(), tls)
        self.assertIn(f"its certificate is not signed by the CA in {tls.ca}", why)
        self.assertIn(self.address(), why)

    @asynchronous
    async def test_wrong_client_certificate(self) -> None:
        """A client certificate the server does not accept is named."""
        files = self.stranger().client()
        tls = attrs.evolve(files, ca=shared_authority().client().ca)
        why = await self.fails_to_connect(self.address(), tls)
        self.assertIn(f"it refuses our certificate {tls.cert}", why)

    @asynchronous
    async def test_plain_to_tls(self) -> None:
        """Plain text on the TLS port leads to no session and a reason."""
        self.assertIn(self.address(), await self.fails_to_connect(self.address(), None))

    @asynchronous
    async def test_tls_to_plain(self) -> None:
        """TLS on the plain port leads to no session and a reason."""
        tls = shared_authority().client()
        why = await self.fails_to_connect(self.server.address, tls)
        self.assertIn(self.server.address, why)

    @asynchronous
    async def test_renewed_certificate(self) -> None:
        """Files that are replaced are used from the next connection on."""
        good = shared_authority().client()
        bad = attrs.evolve(good, ca=str(self.stranger().ca))
        client = self.make_client(tls=bad, pauses=Pauses(0.02, 0.02))
        self.addCleanup(client.close)
        connecting = client.connect()
        while not client.last_failure:
            await seconds(0.01)
        Path(bad.ca).write_bytes(Path(good.ca).read_bytes())
        await connecting

    @asynchronous
    async def test_names_in_certificates_do_not_matter(self) -> None:
        """The chain is verified, the name is not: see the note in ``tls``."""
        proxy = Proxy(reactor, self.server.tls_port, "::1")
        self.addCleanup(proxy.stop)
        client = await self.connected(address=proxy.address, tls=shared_authority().client())
        self.assertIn("[::1]", client.server)


class AuthenticationTests(RealServerSteps, TestCase):
    """Digest credentials and what they open."""

    @asynchronous
    async def test_digest_and_acl(self) -> None:
        """What one user creates for itself another cannot touch; neither can a stranger."""
        acl = [make_digest_acl("alice", "secret", all=True)]
        alice = await self.connected(auth=[("digest", "alice:secret")], acl=acl)
        bob = await self.connected(auth=[("digest", "bob:secret")])
        nobody = await self.connected()
        await alice.create("/a", b"private")
        for client in (bob, nobody):
            for request in (
                client.get("/a"),
                client.set("/a", b""),
                client.create("/a/b"),
                client.get_children("/a"),
            ):
                self.assertIsInstance(await _error(request), NoAuthError)
            self.assertIsNotNone(await client.exists("/a"))
        self.assertEqual((await alice.get("/a"))[0], b"private")
        back = await self.connected(auth=[("digest", "alice:secret")])
        self.assertEqual((await back.get("/a"))[0], b"private")

    @asynchronous
    async def test_authenticated_after_reconnect(self) -> None:
        """Credentials are given again on every connection and for every session."""
        client = await self.connected(auth=[("digest", "alice:secret")], acl=CREATOR_ALL_ACL)
        await client.create("/a", b"private")
        for hurt in (self.cut, self.expire):
            back = reached(client, SessionState.CONNECTED)
            await maybeDeferred(hurt, client)
            await back
            self.assertEqual((await client.get("/a"))[0], b"private")

    @asynchronous
    async def test_acls_as_kazoo_sees_them(self) -> None:
        """A transaction and ``makepath`` apply the client's ACL, as kazoo reads it."""
        acl = [make_digest_acl("alice", "secret", all=True)]
        client = await self.connected(auth=[("digest", "alice:secret")], acl=acl)
        await client.create("/p/a", makepath=True)
        transaction = client.transaction()
        transaction.create("/p/b")
        await transaction.commit()
        kazoo = self.kazoo(auth_data=[("digest", "alice:secret")])
        for path in ("/p", "/p/a", "/p/b"):
            self.assertEqual(kazoo.get_acls(path)[0], acl)

    @asynchronous
    async def test_ensure_path_below_what_is_not_ours(self) -> None:
        """Existing parents that we may not write to are no obstacle."""
        acl = [make_digest_acl("alice", "secret", all=True)]
        alice = await self.connected(auth=[("digest", "alice:secret")], acl=acl)
        await alice.ensure_path("/hers")
        nobody = await self.connected()
        self.assertIsInstance(await _error(nobody.ensure_path("/hers/mine")), NoAuthError)
        await nobody.ensure_path("/hers")

    @asynchronous
    async def test_refused(self) -> None:
        """Credentials the server does not take are final, and said."""
        client = self.make_client(auth=[("nonsense", "x")])
        self.addCleanup(client.close)
        states: list[SessionState] = []
        client.observe(states.append)
        self.assertIsInstance(await _error(client.connect()), AuthFailedError)
        self.assertEqual(states, [SessionState.AUTH_FAILED])
        self.assertIsInstance(await _error(client.get("/")), AuthFailedError)
        self.assertEqual(client.session_id, 0)


async def _error(request: object) -> object:
    """The exception a request fails with, or its result."""
    try:
        return await request  # type: ignore[misc]
    except Exception as error:
        return error
