"""What OpenStack says becomes the error that the engine has a remedy for."""

from __future__ import annotations

from typing import Any

import pytest

from nodepool_tx.providers.cloud.errors import (
    CloudError,
    Gone,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from nodepool_tx.providers.openstack.faults import (
    VersionRefused,
    error_for,
    fault_of,
    message_of,
    retry_after,
)
from nodepool_tx.providers.openstack.transport import Answer


def nova(kind: str, message: str, code: int) -> dict[str, Any]:
    return {kind: {"code": code, "message": message}}


def neutron(kind: str, message: str) -> dict[str, Any]:
    return {"NeutronError": {"type": kind, "message": message, "detail": ""}}


QUOTA = "Quota exceeded for cores, instances: Requested 1, 1, but already used 3, 3 of 3, 3"
PORTS = "Maximum number of ports exceeded"
GIGABYTES = "VolumeSizeExceedsAvailableQuota: Requested volume exceeds allowed gigabytes quota."

ANSWERS = [
    (403, nova("forbidden", QUOTA, 403), OverQuota),
    (403, nova("forbidden", PORTS, 403), OverQuota),
    (413, nova("overLimit", GIGABYTES, 413), OverQuota),
    (409, neutron("OverQuota", "Quota exceeded for resources: ['floatingip']."), OverQuota),
    (403, nova("forbidden", "Policy doesn't allow it to be performed.", 403), InvalidConfiguration),
    (403, None, InvalidConfiguration),
    (400, nova("badRequest", "Can not find requested image", 400), InvalidConfiguration),
    (400, nova("badRequest", "Invalid key_name provided.", 400), InvalidConfiguration),
    (
        409,
        nova("conflictingRequest", "More than one possible network found.", 409),
        InvalidConfiguration,
    ),
    (409, nova("conflictingRequest", "Cannot 'delete' instance in task_state", 409), CloudError),
    (409, neutron("IpAddressGenerationFailure", "No more IP addresses available."), NoCapacity),
    (400, neutron("ExternalIpAddressExhausted", "Unable to find any IP address."), NoCapacity),
    (404, nova("itemNotFound", "Instance could not be found.", 404), Gone),
    (404, "<html><h1>404</h1></html>", Gone),
    (406, nova("computeFault", "Version 2.47 is not supported", 406), VersionRefused),
    (413, nova("overLimit", "This request was rate-limited.", 413), RetryLater),
    (429, None, RetryLater),
    (503, "<html><body><h1>503 Service Unavailable</h1></body></html>", RetryLater),
    (401, {"error": {"code": 401, "message": "Authentication required"}}, CloudError),
    (500, nova("computeFault", "Unexpected API Error.", 500), CloudError),
    (502, None, CloudError),
    (504, "<html>Gateway Time-out</html>", CloudError),
]


@pytest.mark.parametrize(("status", "body", "kind"), ANSWERS)
def test_answers(status: int, body: Any, kind: type[CloudError]) -> None:
    """Each refusal is of the kind that says what to do about it, on one line."""
    error = error_for("make a server", Answer(status, {}, body))
    assert type(error) is kind
    assert str(error).startswith(f"could not make a server: {status}")
    assert "\n" not in str(error)


FAULTS = [
    ("No valid host was found. There are not enough hosts available.", 500, NoCapacity),
    ("Exceeded maximum number of retries. Exhausted all hosts available.", 500, NoCapacity),
    ("No fixed IP addresses available for network: 5c1f", 500, NoCapacity),
    ("Quota exceeded for instances: Requested 1, but already used 3 of 3", 403, OverQuota),
    ("Build of instance 1 aborted: Maximum number of ports exceeded", 500, OverQuota),
    ("Flavor's memory is too small for requested image.", 400, InvalidConfiguration),
    ("Image 0aee is unacceptable: Image is not raw format", 400, InvalidConfiguration),
    ("Build of instance 1 aborted: unexpected", 500, CloudError),
]


@pytest.mark.parametrize(("message", "code", "kind"), FAULTS)
def test_faults(message: str, code: int, kind: type[CloudError]) -> None:
    """A server in ERROR says in its fault whether another zone, room or a change helps."""
    error = fault_of({"fault": {"code": code, "message": message, "created": "now"}})
    assert type(error) is kind
    assert message in str(error)


def test_a_fault_that_is_not_told() -> None:
    """A server may fail without a reason; that is said, too."""
    for server in ({}, {"fault": None}, {"fault": {"message": None}}):
        assert str(fault_of(server)) == "the server failed: the cloud does not say why"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, ""),
        ({}, ""),
        ([], ""),
        (["a"], "a"),
        ({"message": "a\n  b"}, "a b"),
        ({"errors": [{"status": 400, "title": "Bad", "detail": "worse"}]}, "worse"),
        ({"code": "403 Forbidden", "title": "Forbidden", "message": "no"}, "no"),
        ("<html><head><title>404</title></head> <p>gone</p>", "404 gone"),
        ({"badRequest": {"message": "x" * 1000}}, "x" * 397 + "..."),
    ],
)
def test_messages(body: Any, message: str) -> None:
    """The sentence is found however a service wraps it."""
    assert message_of(body) == message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "soon"}, None),
        (
            {
                "retry-after": "Sun, 22 Nov 2026 16:00:30 GMT",
                "date": "Sun, 22 Nov 2026 16:00:00 GMT",
            },
            30,
        ),
        ({"retry-after": "Sun, 22 Nov 2026 16:00:30 GMT"}, None),
        (
            {
                "retry-after": "Sun, 22 Nov 2026 15:00:00 GMT",
                "date": "Sun, 22 Nov 2026 16:00:00 GMT",
            },
            0,
        ),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """How long to wait is read in both forms, a date against the cloud's own clock."""
    assert retry_after(headers) == seconds


def test_a_busy_cloud_says_for_how_long() -> None:
    """The wait that a service asks for is in the error."""
    error = error_for("list the servers", Answer(503, {"retry-after": "12"}))
    assert isinstance(error, RetryLater)
    assert error.seconds == 12
