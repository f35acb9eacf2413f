"""TLS to ZooKeeper, with client certificates.

Note: host names are not verified
---------------------------------
The server's certificate chain is verified against the configured CA, always;
the name in it is not compared with the host we dialled.  Nodepool and Zuul
have always worked this way (kazoo's ``verify_certs`` without
``check_hostname``), their documented set-up is a private CA that signs nothing
but the ensemble and its clients, and servers there are often reached under
addresses their certificates do not carry.  With such a CA, being signed by it
is the statement that counts.  Do not use a public CA.
"""

from __future__ import annotations

import attrs
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

__all__ = ["TLSFiles", "TLSFilesError", "tls_reason"]


class TLSFilesError(ValueError):
    """A certificate or key file cannot be used; names the file and why."""


@attrs.frozen
class TLSFiles:
    """PEM files of a TLS client, by path.

    They are read for every connection, so that renewed ones are taken up
    without a restart.

    :ivar cert: our certificate, followed by its intermediates if any.
    :ivar key: its private key, without passphrase.
    :ivar ca: the certificates that may have signed the server's.
    """

    cert: str
    key: str
    ca: str

    def context(self) -> SSL.Context:
        """Read the files.

        :raises TLSFilesError: one is missing, unreadable, or not what it should be.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_verify(SSL.VERIFY_PEER, lambda conn, cert, errno, depth, ok: bool(ok))
        for what, path, load in (
            ("CA certificates", self.ca, context.load_verify_locations),
            ("the client certificate", self.cert, context.use_certificate_chain_file),
            ("the client key", self.key, context.use_privatekey_file),
        ):
            try:
                with open(path, "rb"):
                    pass
                load(path)
            except OSError as error:
                raise TLSFilesError(f"cannot read {what} {path}: {error.strerror}") from error
            except SSL.Error as error:
                raise TLSFilesError(f"{path} does not hold {what}: {tls_reason(error)}") from error
        try:
            context.check_privatekey()
        except SSL.Error as error:
            raise TLSFilesError(f"the key {self.key} does not belong to {self.cert}") from error
        return context

    def creator(self, host: str) -> ConnectionCreator:
        """What Twisted wraps an endpoint with; ``host`` is sent as SNI if a name."""
        return ConnectionCreator(self.context(), host)


@implementer(IOpenSSLClientConnectionCreator)
class ConnectionCreator:
    """Makes pyOpenSSL's side of one connection."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._host:
            connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection


def tls_reason(error: SSL.Error) -> str:
    """OpenSSL's own words for why, without its file and function names."""
    if not error.args or not isinstance(error.args[0], list):
        return str(error) or type(error).__name__
    return "; ".join(dict.fromkeys(reason for _, _, reason in error.args[0] if reason))
