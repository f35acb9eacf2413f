"""A throw-away certificate authority for tests."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from nodepool_tx.txzookeeper.tls import TLSFiles

__all__ = ["Authority"]


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Authority:
    """Signs certificates and writes them below one directory.

    :ivar ca: the file with the authority's own certificate.
    """

    def __init__(self, directory: Path, name: str = "test ca") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._serial = 0
        self.ca = directory / "ca.pem"
        certificate = self._sign(self._name, self._key, authority=True)
        self.ca.write_bytes(certificate.public_bytes(Encoding.PEM))

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        authority: bool = False,
        host: str = "localhost",
        address: str = "127.0.0.1",
        expired: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        if expired:
            now -= datetime.timedelta(days=10)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address(address))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(
        self,
        common_name: str,
        host: str = "localhost",
        address: str = "127.0.0.1",
        expired: bool = False,
    ) -> tuple[bytes, bytes]:
        """A certificate for ``host`` and ``address`` and its PKCS#8 key, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            _name(common_name), key, host=host, address=address, expired=expired
        )
        return certificate.public_bytes(Encoding.PEM), _key_pem(key)

    def keystore(self, path: Path) -> Path:
        """Write a server's certificate and key into one file."""
        path.write_bytes(b"".join(self.issue("localhost")))
        return path

    def client(self, common_name: str = "client") -> TLSFiles:
        """Write a client's certificate and key."""
        self._serial += 1
        paths = [self._directory / f"{common_name}-{self._serial}.{end}" for end in ("pem", "key")]
        for path, content in zip(paths, self.issue(common_name), strict=True):
            path.write_bytes(content)
        return TLSFiles(cert=str(paths[0]), key=str(paths[1]), ca=str(self.ca))
