"""Tokens, endpoints and requests, with a real Keystone and the services behind it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from nodepool_tx.providers.cloud.errors import CloudError, Gone, InvalidConfiguration
from nodepool_tx.providers.openstack.credentials import Access, Credentials
from nodepool_tx.providers.openstack.http import HttpTransport
from nodepool_tx.providers.openstack.keystone import Keystone, Token, look_up

CLOUDS = ("real", "real-member", "real-quota")
#: Seconds that a token of this Keystone lives.
LIFETIME = 14400


class Ahead:
    """The reactor's clock, put forward."""

    by = 0.0
    callLater = reactor.callLater

    def seconds(self) -> float:
        return float(reactor.seconds() + self.by)


class Counted(Credentials):
    """Counts the tokens that Keystone gives."""

    tokens = 0

    def __init__(self, cloud: str) -> None:
        self.clock = Ahead()
        super().__init__(self.clock, deferToThread, cloud=cloud, find=self.found)

    def found(self, cloud: str | None, region: str | None) -> Keystone:
        keystone = look_up(cloud, region)
        ask = keystone.token

        def token() -> Token:
            self.tokens += 1
            return ask()

        keystone.token = token  # type: ignore[method-assign]
        return keystone


class TransportCase(TestCase):
    timeout = 120

    def transport(self, cloud: str = "real-member") -> HttpTransport:
        self.credentials = Counted(cloud)
        transport = HttpTransport(reactor, self.credentials, deferToThread)
        transport.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(transport.stop()))
        return transport


class Clouds(TransportCase):
    """Every cloud in the file, and every service the adapter needs."""

    async def test_services(self) -> None:
        """The catalog leads to the version of each service that the adapter speaks."""
        for cloud in CLOUDS:
            transport = self.transport(cloud)
            for service, path, key, end in (
                ("compute", "/servers/detail", "servers", "/v2.1"),
                ("network", "/networks", "networks", "/v2.0"),
                ("image", "/images", "images", "/v2"),
                ("block-storage", "/limits", "limits", "/v3"),
            ):
                answer = await transport.request(service, "GET", path)
                self.assertEqual(answer.status, 200, (cloud, service))
                self.assertIn(key, answer.body)
                self.assertTrue((await self.credentials.endpoint(service)).endswith(end))
            self.assertEqual((transport.cloud, transport.region), (cloud, "RegionOne"))
            self.assertEqual(self.credentials.tokens, 1)

    async def test_who(self) -> None:
        """Each sees the servers and quotas of its own project."""
        limits = {}
        for cloud in CLOUDS:
            answer = await self.transport(cloud).request("compute", "GET", "/limits")
            limits[cloud] = answer.body["limits"]["absolute"]["maxTotalInstances"]
        self.assertEqual(limits, {"real": 1000, "real-member": 1000, "real-quota": 3})

    async def test_no_such_service(self) -> None:
        """The catalog does not have everything."""
        with self.assertRaisesRegex(Gone, "real-member has no dns service in region RegionOne"):
            await self.transport().request("dns", "GET", "/zones")


class Tokens(TransportCase):
    """Real tokens that are refused, revoked and out of date."""

    async def test_revoked(self) -> None:
        """A token that was revoked is replaced, and the request succeeds."""
        transport = self.transport()
        access = await self.credentials.access()
        await deferToThread(self.revoke, access, await self.credentials.endpoint("identity"))
        answer = await transport.request("compute", "GET", "/servers")
        self.assertEqual((answer.status, self.credentials.tokens), (200, 2))
        self.assertIsNot(await self.credentials.access(), access)

    def revoke(self, access: Access, keystone: str) -> None:
        token = access.token.headers["X-Auth-Token"]
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        request = Request(f"{keystone}/auth/tokens", headers=headers, method="DELETE")
        with urlopen(request, timeout=60) as answer:
            assert answer.status == 204

    async def test_shared(self) -> None:
        """Many requests that find the token refused share the new one."""
        transport = self.transport()
        access = await self.credentials.access()
        await deferToThread(self.revoke, access, await self.credentials.endpoint("identity"))
        asking = [
            Deferred.fromCoroutine(transport.request("network", "GET", "/networks"))
            for _ in range(8)
        ]
        answers = await gatherResults(asking)
        self.assertEqual({answer.status for answer in answers}, {200})
        self.assertEqual(self.credentials.tokens, 2)

    async def test_renewed(self) -> None:
        """A token near its end is renewed in the background; requests go on with it."""
        transport = self.transport()
        first = await self.credentials.access()
        self.credentials.clock.by = LIFETIME - 300
        self.assertIs(await self.credentials.access(), first)
        answer = await transport.request("network", "GET", "/networks")
        self.assertEqual(answer.status, 200)
        while await self.credentials.access() is first:
            await deferLater(reactor, 0.01)
        answer = await transport.request("network", "GET", "/networks")
        self.assertEqual((answer.status, self.credentials.tokens), (200, 2))

    async def test_run_out(self) -> None:
        """After its end a token is not used."""
        first = await self.credentials_of("real").access()
        self.credentials.clock.by = LIFETIME + 1
        self.assertIsNot(await self.credentials.access(), first)
        self.assertEqual(self.credentials.tokens, 2)

    def credentials_of(self, cloud: str) -> Counted:
        self.transport(cloud)
        return self.credentials


class Troubles(TransportCase):
    """What an operator may get wrong in clouds.yaml."""

    async def refused(self, **auth: str) -> CloudError:
        """The error of a request, with a cloud ``real`` that logs in otherwise."""
        original = os.environ["OS_CLIENT_CONFIG_FILE"]
        clouds = yaml.safe_load(Path(original).read_text())
        clouds["clouds"]["real"]["auth"].update(auth)
        changed = Path(self.mktemp())
        changed.write_text(yaml.safe_dump(clouds))
        self.addCleanup(os.environ.update, OS_CLIENT_CONFIG_FILE=original)
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(changed)
        with self.assertRaises(CloudError) as raised:
            await self.transport("real").request("compute", "GET", "/servers")
        return raised.exception

    async def test_password(self) -> None:
        """A wrong password is a mistake in the configuration, and is not shown."""
        error = await self.refused(password="wrong-secret")
        self.assertIsInstance(error, InvalidConfiguration)
        self.assertRegex(str(error), "refuses the credentials of the cloud real in clouds.yaml")
        self.assertNotIn("wrong-secret", str(error))

    async def test_cloud(self) -> None:
        """A cloud that is not there is named."""
        with self.assertRaisesRegex(InvalidConfiguration, "the cloud nowhere of clouds.yaml"):
            await self.transport("nowhere").request("compute", "GET", "/servers")

    async def test_keystone_away(self) -> None:
        """A Keystone that does not answer is no mistake in the configuration."""
        error = await self.refused(auth_url="http://127.0.0.1:1/v3")
        self.assertNotIsInstance(error, InvalidConfiguration)
        self.assertRegex(str(error), "no token for the cloud real from http://127.0.0.1:1/v3")


class Requests(TransportCase):
    """The shapes of real answers."""

    async def test_micro_version(self) -> None:
        """Nova and Cinder answer in the version that was asked for."""
        transport = self.transport()
        answer = await transport.request("compute", "GET", "/servers", version="2.47")
        self.assertEqual(answer.headers["openstack-api-version"], "compute 2.47")
        answer = await transport.request("block-storage", "GET", "/volumes", version="3.50")
        self.assertEqual(answer.headers["openstack-api-version"], "volume 3.50")
        answer = await transport.request("compute", "GET", "/servers")
        self.assertEqual(answer.headers["openstack-api-version"], "compute 2.1")

    async def test_pages(self) -> None:
        """The links to next pages lead through a whole listing."""
        transport = self.transport("real")
        for service, path, key in (
            ("compute", "/flavors/detail", "flavors"),
            ("network", "/security-group-rules", "security_group_rules"),
        ):
            whole = (await transport.request(service, "GET", path)).body[key]
            found: list[dict[str, Any]] = []
            query: dict[str, str] | None = {"limit": "1"}
            place: str | None = path
            while place is not None:
                answer = await transport.request(service, "GET", place, query=query)
                self.assertLessEqual(len(answer.body[key]), 1)
                found += answer.body[key]
                links = answer.body.get(f"{key}_links", [])
                place = next((link["href"] for link in links if link["rel"] == "next"), None)
                query = None
            self.assertGreater(len(found), 2)
            self.assertEqual(
                sorted(each["id"] for each in found), sorted(each["id"] for each in whole)
            )

    async def test_images_in_pages(self) -> None:
        """Glance writes links without a host."""
        transport = self.transport("real")
        for number in range(2):
            await self.image(transport, f"page-{number}")
        place, names = "/images?limit=1", []
        while place:
            answer = await transport.request("image", "GET", place)
            names += [image["name"] for image in answer.body["images"]]
            place = answer.body.get("next")
        self.assertLessEqual({"tiny", "page-0", "page-1"}, set(names))

    async def test_upload(self) -> None:
        """A file of several megabytes arrives unharmed in Glance."""
        transport = self.transport()
        path = Path(self.mktemp())
        content = b"".join(bytes([number]) * 65536 for number in range(128))
        path.write_bytes(content)
        image = await self.image(transport, "uploaded")
        answer = await transport.request("image", "PUT", f"/images/{image}/file", file=path)
        self.assertEqual(answer.status, 204)
        found = (await transport.request("image", "GET", f"/images/{image}")).body
        self.assertEqual((found["status"], found["size"]), ("active", len(content)))
        self.assertEqual(found["os_hash_value"], hashlib.sha512(content).hexdigest())

    async def test_not_found(self) -> None:
        """An error of a service is an answer like any other."""
        answer = await self.transport().request("compute", "GET", "/servers/no-such")
        self.assertEqual(answer.status, 404)
        self.assertIn("message", answer.body["itemNotFound"])

    async def image(self, transport: HttpTransport, name: str) -> str:
        """The id of a new image without content, which the end of the test deletes."""
        answer = await transport.request(
            "image",
            "POST",
            "/images",
            json={"name": name, "disk_format": "raw", "container_format": "bare"},
        )
        self.assertEqual(answer.status, 201)
        place = f"/images/{answer.body['id']}"
        self.addCleanup(lambda: Deferred.fromCoroutine(transport.request("image", "DELETE", place)))
        return str(answer.body["id"])
