"""What an OpenStack says when it does not do what it was asked, as our errors.

Services answer with a status and a sentence; a server that was accepted and
then failed carries a fault with a sentence.  What is to be done about it is
often only in the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from nodepool_tx.providers.cloud.errors import (
    CloudError,
    Gone,
    InvalidConfiguration,
    NoCapacity,
    OverQuota,
    RetryLater,
)
from nodepool_tx.providers.openstack.transport import Answer

__all__ = ["VersionRefused", "error_for", "fault_of", "message_of", "retry_after"]

#: Longer ones are cut: nobody reads a traceback in a log line.
_LONGEST = 400

#: The project may not have more.  The first two words come in either order.
_QUOTA = re.compile(r"quota.*exceed|exceed.*quota|number of ports exceeded|overquota", re.I)

#: There is not enough of something, here and now.
_CAPACITY = re.compile(
    r"no valid host|exhausted all hosts|not enough hosts|insufficient"
    r"|no (more )?(fixed )?ip(s| address)|unable to find any ip address",
    re.I,
)

#: The image and the flavor do not fit each other; they will not next time.
_IMPOSSIBLE = re.compile(r"flavor's \w+ is too small|image .* is unacceptable", re.I)

#: A name stands for several things.
_AMBIGUOUS = re.compile(r"more than one possible|multiple .*(matches|found)", re.I)

#: Statuses by which a service says that it has had enough for now.
_BUSY = (413, 429, 503)


class VersionRefused(CloudError):
    """The service does not know the micro-version that was asked for."""


def error_for(doing: str, answer: Answer) -> CloudError:
    """The error that an answer amounts to.

    :param doing: what was asked, for the operator: "make a server".
    """
    said = message_of(answer.body)
    text = f"could not {doing}: {answer.status}{' ' + said if said else ''}"
    if _QUOTA.search(said):
        return OverQuota(text)
    if answer.status in _BUSY:
        return RetryLater(text, retry_after(answer.headers))
    if answer.status == 404:
        return Gone(text)
    if answer.status in (400, 403):
        return NoCapacity(text) if _CAPACITY.search(said) else InvalidConfiguration(text)
    if answer.status == 406:
        return VersionRefused(text)
    if answer.status == 409 and _CAPACITY.search(said):
        return NoCapacity(text)
    if answer.status == 409 and _AMBIGUOUS.search(said):
        return InvalidConfiguration(text)
    return CloudError(text)


def fault_of(server: Mapping[str, Any]) -> CloudError:
    """Why a server is in ERROR."""
    fault = server.get("fault") or {}
    said = _one_line(fault.get("message") or "")
    code = fault.get("code")
    text = f"the server failed: {said or 'the cloud does not say why'}" + (
        f" ({code})" if code else ""
    )
    if _QUOTA.search(said):
        return OverQuota(text)
    if _CAPACITY.search(said):
        return NoCapacity(text)
    if _IMPOSSIBLE.search(said):
        return InvalidConfiguration(text)
    return CloudError(text)


def message_of(body: Any) -> str:
    """The sentence in an error's body, on one line; empty if there is none.

    Each service wraps it differently: ``{"badRequest": {"message": ...}}``,
    ``{"NeutronError": {"type": ..., "message": ...}}``, ``{"errors": [...]}``.
    """
    if isinstance(body, str):
        return _one_line(re.sub(r"<[^>]*>", " ", body))
    if isinstance(body, list):
        return next((said for said in map(message_of, body) if said), "")
    if not isinstance(body, Mapping):
        return ""
    for key in ("message", "detail", "faultstring", "title"):
        if isinstance(body.get(key), str) and body[key]:
            kind = body.get("type")
            return _one_line(f"{kind}: {body[key]}" if isinstance(kind, str) else body[key])
    return message_of([part for part in body.values() if isinstance(part, (Mapping, list))])


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, if the answer says so, in either form that HTTP has.

    A date is taken against the answer's own, as our clock may differ.
    """
    said = headers.get("retry-after", "").strip()
    try:
        return max(float(said), 0.0)
    except ValueError:
        pass
    try:
        until, now = parsedate_to_datetime(said), parsedate_to_datetime(headers.get("date", ""))
        return max((until - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
