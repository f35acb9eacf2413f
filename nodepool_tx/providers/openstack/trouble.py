"""What Twisted says of a failed connection, in words for an operator."""

from __future__ import annotations

from collections.abc import Iterator

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as neterror
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from nodepool_tx.providers.cloud.errors import CloudError

__all__ = ["explain", "was_given_up"]


def explain(where: str, error: BaseException) -> CloudError:
    """The error of the contract for a request that got no answer.

    :param where: begins the text: which service of which cloud.
    """
    if isinstance(error, CloudError):
        return error
    return CloudError(f"{where}: {_reason(error)}")


def was_given_up(error: BaseException) -> bool:
    """This is what comes of cancelling a request, in one of its forms."""
    ours = (CancelledError, neterror.ConnectionAborted)
    return any(isinstance(cause, ours) for cause in _causes(error))


def _reason(error: BaseException) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, VerificationError):
            return (
                "its certificate is for another name; correct the endpoint in the catalog,"
                " or set an endpoint override in clouds.yaml"
            )
        if isinstance(cause, SSL.Error) and cause.args:
            return f"TLS failed ({_tls(cause)}); see verify, cacert, cert and key in clouds.yaml"
    for cause in causes:
        if isinstance(cause, neterror.DNSLookupError):
            return "its name is not known; see the endpoint in the catalog and this host's DNS"
        if isinstance(cause, neterror.ConnectionRefusedError):
            return "the connection is refused; is the service running?"
        if isinstance(cause, (neterror.TimeoutError, neterror.TCPTimedOutError)):
            return "it cannot be reached in time; see networks and firewalls"
        if isinstance(cause, neterror.ConnectError):
            return f"it cannot be reached: {cause}"
        if isinstance(cause, OSError) and cause.filename:
            return f"cannot read {cause.filename}: {cause.strerror}"
    if isinstance(error, ResponseFailed) and not isinstance(error, ResponseNeverReceived):
        return "the connection was cut in the middle of the answer"
    closed = (neterror.ConnectionDone, neterror.ConnectionLost)
    if any(isinstance(cause, closed) for cause in causes):
        return "the connection was closed before there was an answer"
    return f"{type(causes[-1]).__name__}: {causes[-1]}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, innermost last."""
    yield error
    for inner in getattr(error, "reasons", ()):
        value = inner.value if isinstance(inner, Failure) else inner
        if isinstance(value, BaseException):
            yield from _causes(value)


def _tls(error: SSL.Error) -> str:
    reasons = error.args[0]
    if not isinstance(reasons, (list, tuple)):
        return str(error)
    return "; ".join(dict.fromkeys(part[-1] for part in reasons if part)) or "closed"
