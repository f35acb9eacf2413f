"""Tokens and endpoints, with a Keystone in memory and threads that end when told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.providers.cloud.errors import CloudError, Gone, InvalidConfiguration
from nodepool_tx.providers.openstack.credentials import Access, Credentials
from nodepool_tx.providers.openstack.keystone import CloudSettings, Keystone, Token
from nodepool_tx.providers.openstack.tls import TLSSettings


class MemoryKeystone:
    """Numbered tokens that live for an hour."""

    settings = CloudSettings("memory", "north", TLSSettings("memory"), "qcow2")

    def __init__(self) -> None:
        self.tokens = 0
        self.located: list[str] = []
        self.lifetime: float | None = 3600.0
        self.trouble: Exception | None = None

    def token(self) -> Token:
        self.tokens += 1
        if self.trouble is not None:
            raise self.trouble
        return Token({"X-Auth-Token": f"token-{self.tokens}"}, self.lifetime)

    def locate(self, service: str) -> str:
        self.located.append(service)
        if service == "dns":
            raise Gone("no dns here")
        return f"http://cloud/{service}/{self.tokens}/"


class CredentialsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.keystone = MemoryKeystone()
        self.looked_up = 0
        self.threads: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.hold = False
        self.credentials = Credentials(
            self.clock, self.offload, cloud="memory", patience=120.0, find=self.find
        )

    def find(self, cloud: str | None, region: str | None) -> Keystone:
        self.looked_up += 1
        return self.keystone

    def offload(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.threads.append((work, done))
        if not self.hold:
            self.finish()
        return done

    def finish(self) -> None:
        """Let all threads run to their end."""
        while self.threads:
            work, done = self.threads.pop(0)
            try:
                result = work()
            except Exception:
                done.errback()
            else:
                done.callback(result)

    def asking(self) -> Deferred[Access]:
        return Deferred.fromCoroutine(self.credentials.access())

    def token(self) -> str:
        """The token in use now."""
        return self.successResultOf(self.asking()).token.headers["X-Auth-Token"]

    def endpoint(self, service: str) -> Deferred[str]:
        return Deferred.fromCoroutine(self.credentials.endpoint(service))


class Tokens(CredentialsCase):
    """When Keystone is asked for a token, and by whom."""

    def test_kept(self) -> None:
        """One token serves for most of its life."""
        self.assertEqual(self.token(), "token-1")
        self.clock.advance(2900)
        self.assertEqual((self.token(), self.keystone.tokens), ("token-1", 1))

    def test_shared(self) -> None:
        """All who wait get the same one."""
        self.hold = True
        waiting = [self.asking() for _ in range(50)]
        self.hold = False
        self.finish()
        self.assertEqual(len({id(self.successResultOf(each)) for each in waiting}), 1)
        self.assertEqual((self.keystone.tokens, self.looked_up), (1, 1))

    def test_renewed(self) -> None:
        """Ten minutes before its end it is renewed, while it goes on serving."""
        self.token()
        self.clock.advance(3001)
        self.hold = True
        self.assertEqual(self.token(), "token-1")
        self.assertEqual(len(self.threads), 1)
        self.assertEqual(self.token(), "token-1")
        self.assertEqual(len(self.threads), 1)
        self.finish()
        self.assertEqual(self.token(), "token-2")

    def test_renewal_fails(self) -> None:
        """While it is good the old one serves; there is an attempt every half minute."""
        self.token()
        self.clock.advance(3001)
        self.keystone.trouble = CloudError("Keystone is away")
        for _ in range(10):
            self.assertEqual(self.token(), "token-1")
            self.clock.advance(5)
        self.assertEqual(self.keystone.tokens, 3)
        self.clock.advance(540)
        self.assertIn("Keystone is away", str(self.failureResultOf(self.asking(), CloudError)))
        self.keystone.trouble = None
        self.assertNotEqual(self.token(), "token-1")

    def test_short(self) -> None:
        """A token with a short life is used for three quarters of it."""
        self.keystone.lifetime = 8.0
        self.token()
        self.clock.advance(5.9)
        self.assertEqual(self.token(), "token-1")
        self.clock.advance(0.2)
        self.hold = True
        self.assertEqual(self.token(), "token-1")
        self.finish()
        self.assertEqual(self.token(), "token-2")

    def test_for_ever(self) -> None:
        """A log-in without tokens does not end."""
        self.keystone.lifetime = None
        self.token()
        self.clock.advance(10**7)
        self.assertEqual((self.token(), self.keystone.tokens), ("token-1", 1))

    def test_refused_token(self) -> None:
        """A token that a service refuses is replaced once, however many find out."""
        access = self.successResultOf(self.asking())
        self.credentials.refuse(access)
        self.assertEqual(self.token(), "token-2")
        self.credentials.refuse(access)
        self.assertEqual(self.token(), "token-2")

    def test_cancelled(self) -> None:
        """Who stops waiting takes nothing away from the others."""
        self.hold = True
        first, second = self.asking(), self.asking()
        first.cancel()
        self.failureResultOf(first)
        self.hold = False
        self.finish()
        self.assertEqual(self.successResultOf(second).token.headers["X-Auth-Token"], "token-1")

    def test_hanging(self) -> None:
        """Waiting ends; a thread that hangs is the only one, and may still succeed."""
        self.token()
        self.credentials.refuse(self.successResultOf(self.asking()))
        self.hold = True
        for _ in range(3):
            waiting = self.asking()
            self.clock.advance(121)
            self.failureResultOf(waiting, CloudError)
        self.assertEqual(len(self.threads), 1)
        self.finish()
        self.assertEqual(self.token(), "token-2")

    def test_secret(self) -> None:
        """What is printed of a token does not hold it."""
        self.assertNotIn("token-1", repr(self.successResultOf(self.asking())))


class Refused(CredentialsCase):
    """Credentials that Keystone does not like."""

    def test_pause(self) -> None:
        """They are not tried again at once; then clouds.yaml is read anew."""
        self.keystone.trouble = InvalidConfiguration("wrong password")
        for _ in range(5):
            self.failureResultOf(self.asking(), InvalidConfiguration)
        self.assertEqual((self.keystone.tokens, self.looked_up), (1, 1))
        self.keystone.trouble = None
        self.clock.advance(11)
        self.assertEqual((self.token(), self.looked_up), ("token-2", 2))


class Endpoints(CredentialsCase):
    """Where services are."""

    def test_found(self) -> None:
        """An endpoint is looked for once, and has no slash at its end."""
        for _ in range(3):
            self.assertEqual(
                self.successResultOf(self.endpoint("compute")), "http://cloud/compute/1"
            )
        self.assertEqual(self.keystone.located, ["compute"])

    def test_new_catalog(self) -> None:
        """With a new token comes a new catalog."""
        self.successResultOf(self.endpoint("compute"))
        self.credentials.refuse(self.successResultOf(self.asking()))
        self.assertEqual(self.successResultOf(self.endpoint("compute")), "http://cloud/compute/2")

    def test_missing(self) -> None:
        """A service that is not in the catalog is gone."""
        self.failureResultOf(self.endpoint("dns"), Gone)

    def test_settings(self) -> None:
        """The settings need no token; the region is the one in use."""
        self.assertIsNone(self.credentials.region)
        settings = self.successResultOf(Deferred.fromCoroutine(self.credentials.settings()))
        self.assertEqual((settings.image_format, self.credentials.region), ("qcow2", "north"))
        self.assertEqual(self.keystone.tokens, 0)
