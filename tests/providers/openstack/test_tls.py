"""TLS as clouds.yaml asks for it, with real handshakes on loopback."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.ssl import Certificate, PrivateCertificate

from nodepool_tx.providers.cloud.errors import CloudError, InvalidConfiguration
from nodepool_tx.providers.openstack.http import HttpTransport
from nodepool_tx.providers.openstack.tls import TLSSettings
from tests.providers.openstack.web import Login, TransportCase
from tests.servers.certificates import Authority


class TLS(TransportCase):
    """Whom we talk to, and who we are."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority(self.folder)
        self.keystore = self.authority.keystore(self.folder / "server.pem")
        self.ca = str(self.authority.ca)

    async def listen(self, *, host: str = "127.0.0.1", clients: bool = False) -> int:
        """A service with TLS; with ``clients`` it lets in only those the authority knows."""
        own = PrivateCertificate.loadPEM(self.keystore.read_bytes())
        known = [Certificate.loadPEM(self.authority.ca.read_bytes())] if clients else []
        return await self.serve(tls=own.options(*known), host=host)

    async def asked(self, port: int, settings: TLSSettings, host: str = "localhost") -> int:
        """The status of the answer to a request."""
        transport: HttpTransport = self.transport(Login(f"https://{host}:{port}/v2.1", settings))
        return (await transport.request("compute", "GET", "/")).status

    async def test_trusted(self) -> None:
        """A certificate signed by ``cacert`` is good, by name and by address."""
        port = await self.listen()
        for host in ("localhost", "127.0.0.1"):
            self.assertEqual(await self.asked(port, TLSSettings("c", cacert=self.ca), host), 200)

    async def test_folder(self) -> None:
        """``cacert`` may be a folder, and its files may hold many certificates."""
        port = await self.listen()
        folder = self.folder / "certs"
        folder.mkdir()
        other = self.folder / "other"
        other.mkdir()
        both = Authority(other, "another ca").ca.read_bytes() + self.authority.ca.read_bytes()
        (folder / "both.pem").write_bytes(both)
        for place in (folder, folder / "both.pem"):
            self.assertEqual(await self.asked(port, TLSSettings("c", cacert=str(place))), 200)

    async def test_untrusted(self) -> None:
        """Without it the certificate is refused, and the error says what to set."""
        port = await self.listen()
        with self.assertRaisesRegex(CloudError, r"TLS failed .*verify failed.*cacert"):
            await self.asked(port, TLSSettings("c"))

    async def test_another_name(self) -> None:
        """A certificate for another name is refused."""
        port = await self.listen(host="127.0.0.2")
        with self.assertRaisesRegex(CloudError, "certificate is for another name"):
            await self.asked(port, TLSSettings("c", cacert=self.ca), "127.0.0.2")

    async def test_unverified(self) -> None:
        """``verify: false`` takes any certificate and any name."""
        port = await self.listen(host="127.0.0.2")
        self.assertEqual(await self.asked(port, TLSSettings("c", verify=False), "127.0.0.2"), 200)

    async def test_own_certificate(self) -> None:
        """``cert`` and ``key`` say who we are, to a service that asks."""
        port = await self.listen(clients=True)
        files = self.authority.client()
        ours = TLSSettings("c", cacert=self.ca, cert=files.cert, key=files.key)
        self.assertEqual(await self.asked(port, ours), 200)
        combined = self.folder / "combined.pem"
        combined.write_bytes(Path(files.cert).read_bytes() + Path(files.key).read_bytes())
        ours = TLSSettings("c", verify=False, cert=str(combined))
        self.assertEqual(await self.asked(port, ours), 200)
        with self.assertRaises(CloudError):
            await self.asked(port, TLSSettings("c", cacert=self.ca))

    async def test_files(self) -> None:
        """Files that cannot be used are named, with the cloud and the setting."""
        empty = self.folder / "empty.pem"
        empty.write_text("nothing\n")
        port = await self.listen()
        for settings, text in (
            (TLSSettings("c", cacert="/no/such"), "cloud c .*cacert /no/such cannot be read"),
            (TLSSettings("c", cacert=str(empty)), "cacert .*no certificate"),
            (TLSSettings("c", cert=str(empty)), "cert .*no certificate"),
            (TLSSettings("c", cert=self.ca, key=str(empty)), "key .*does not hold"),
        ):
            with self.assertRaisesRegex(InvalidConfiguration, text):
                await self.asked(port, settings)
