"""TLS to a cloud's services, on the terms of ``clouds.yaml``.

Note: whom we trust
-------------------
Tokens are fetched by keystoneauth, everything else by us.  Both trust the same
certificates: those of ``cacert``; else what the requests library is told by its
environment variables or brings along.  Anything else would let one of the two
fail where the other works.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from nodepool_tx.providers.cloud.errors import InvalidConfiguration

__all__ = ["TLSPolicy", "TLSSettings"]

T = TypeVar("T")

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.*?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)


@attrs.frozen
class TLSSettings:
    """What ``clouds.yaml`` says about TLS.

    :ivar cloud: whose settings they are, for error messages.
    :ivar verify: look at the certificates of servers at all.
    :ivar cacert: a file or folder with the certificates that may have signed
        a server's; None for the public ones.
    :ivar cert: our own certificate, if servers want one; :ivar key: its
        private key, which may also be in the same file.
    """

    cloud: str
    verify: bool = True
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None

    def trusted(self) -> list[Certificate]:
        """Those who may have signed a server's certificate.

        :raises InvalidConfiguration: there are none to be read.
        """
        path = Path(self.cacert or _trusted_by_requests())

        def read() -> list[Certificate]:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            blocks = [block for file in files for block in _blocks(file)]
            if not blocks:
                raise ValueError("there is no certificate in it")
            return [Certificate.loadPEM(block) for block in dict.fromkeys(blocks)]

        return self._read("cacert", str(path), read)

    def identity(self) -> dict[str, Any]:
        """Our own certificate and key, as Twisted's options; empty without one.

        :raises InvalidConfiguration: they cannot be read or do not go together.
        """
        if self.cert is None:
            return {}
        cert, key = self.cert, self.key or self.cert

        def read_chain() -> list[crypto.X509]:
            blocks = _blocks(Path(cert))
            if not blocks:
                raise ValueError("there is no certificate in it")
            return [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]

        def read_key() -> crypto.PKey:
            # A key with a passphrase fails, and does not ask at a terminal.
            return crypto.load_privatekey(
                crypto.FILETYPE_PEM, Path(key).read_bytes(), passphrase=lambda *_: b""
            )

        chain = self._read("cert", cert, read_chain)
        return {
            "certificate": chain[0],
            "extraCertChain": chain[1:],
            "privateKey": self._read("key", key, read_key),
        }

    def _read(self, setting: str, path: str, read: Callable[[], T]) -> T:
        where = f"cloud {self.cloud} in clouds.yaml: {setting} {path}"
        try:
            return read()
        except OSError as error:
            raise InvalidConfiguration(f"{where} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise InvalidConfiguration(f"{where} is of no use: {error}") from error
        except (crypto.Error, SSL.Error) as error:
            raise InvalidConfiguration(f"{where} does not hold what it should") from error


def _blocks(file: Path) -> list[bytes]:
    return _CERTIFICATE.findall(file.read_bytes()) if file.is_file() else _missing(file)


def _missing(file: Path) -> list[bytes]:
    file.stat()  # Says why there is no such file.
    return []


def _trusted_by_requests() -> str:
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(variable):
            return os.environ[variable]
    return DEFAULT_CA_BUNDLE_PATH


@implementer(IPolicyForHTTPS)
class TLSPolicy:
    """What Twisted's Agent asks for each host; files are read once, when first needed.

    :raises InvalidConfiguration: as :class:`TLSSettings`, on connecting.
    """

    def __init__(self, settings: TLSSettings) -> None:
        self._settings = settings
        self._creators: dict[bytes, IOpenSSLClientConnectionCreator] = {}
        self._trust: Any = None

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        if hostname not in self._creators:
            self._creators[hostname] = self._creator(hostname.decode("ascii"))
        return self._creators[hostname]

    def _creator(self, host: str) -> IOpenSSLClientConnectionCreator:
        identity = self._settings.identity()
        if not self._settings.verify:
            return _Unverified(CertificateOptions(verify=False, **identity).getContext(), host)
        if self._trust is None:
            self._trust = trustRootFromCertificates(self._settings.trusted())
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            host, trustRoot=self._trust, extraCertificateOptions=identity
        )
        return creator


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Connects to whoever answers; only on request (``verify: false``)."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not self._host.replace(".", "").isdigit() and ":" not in self._host:
            connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection
