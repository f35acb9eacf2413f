"""What operators read about connections that failed."""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived

from nodepool_tx.providers.cloud.errors import CloudError, InvalidConfiguration
from nodepool_tx.providers.openstack.trouble import explain, was_given_up

UNTRUSTED = SSL.Error([("SSL routines", "", "certificate verify failed")])


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (error.DNSLookupError("no such host"), "its name is not known"),
        (error.ConnectionRefusedError(), "refused"),
        (error.TimeoutError(), "cannot be reached in time"),
        (error.TCPTimedOutError(), "cannot be reached in time"),
        (error.NoRouteError("no route"), "cannot be reached: "),
        (
            ResponseNeverReceived([Failure(UNTRUSTED)]),
            "TLS failed .certificate verify failed.*cacert",
        ),
        (ResponseNeverReceived([Failure(error.ConnectionLost())]), "closed before"),
        (RequestTransmissionFailed([Failure(error.ConnectionLost())]), "closed before"),
        (ResponseFailed([Failure(error.ConnectionDone())]), "middle of the answer"),
        (FileNotFoundError(2, "No such file", "/image"), "cannot read /image: No such file"),
        (ZeroDivisionError("what"), "ZeroDivisionError: what"),
    ],
)
def test_explained(raised: Exception, text: str) -> None:
    """One line: where, what happened, and what to look at."""
    told = explain("compute at host:1", raised)
    assert type(told) is CloudError
    with pytest.raises(CloudError, match=f"^compute at host:1: .*{text}"):
        raise told
    assert "\n" not in str(told)


def test_ours() -> None:
    """What is in the contract's terms already stays as it is."""
    ours = InvalidConfiguration("no such file")
    assert explain("compute", ours) is ours


@pytest.mark.parametrize(
    ("raised", "given_up"),
    [
        (CancelledError(), True),
        (ResponseNeverReceived([Failure(CancelledError())]), True),
        (ResponseFailed([Failure(error.ConnectionAborted())]), True),
        (ResponseFailed([Failure(error.ConnectionLost())]), False),
    ],
)
def test_given_up(raised: Exception, given_up: bool) -> None:
    """A request that we cancelled did not fail by itself."""
    assert was_given_up(raised) == given_up
