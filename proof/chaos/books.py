"""What became of every request that was ever made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from enum import Enum

import attrs

__all__ = ["Account", "Books", "End"]


class End(Enum):
    """How a request can end; what is not foreseen is no end but a complaint."""

    SERVED = "served"
    #: No provider could; only where a cloud is asked.
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: The session of who asked has ended; somebody else has removed the request.
    ORPHANED = "orphaned"
    #: Chaos has laid hands on the request, or on a node of it.
    SPOILED = "spoiled"


@attrs.define
class Account:
    """One request.

    :ivar requester: whose it is, as the request says.
    :ivar request: its id, once that is known.
    :ivar began: on the monotonic clock.
    """

    requester: str
    labels: Sequence[str]
    began: float
    request: str | None = None
    end: End | None = None

    def __str__(self) -> str:
        age = time.monotonic() - self.began
        what = f"request {self.request} of {self.requester} for {', '.join(self.labels)}"
        return f"{what}, {age:.0f} s old,"


@attrs.define
class Books:
    """All of them.

    :ivar open: those without an end.
    :ivar served_at: when, on the monotonic clock.
    :ivar waits: seconds until the answer of those that were served.
    :ivar complaints: what must not happen to any client.
    """

    open: list[Account] = attrs.field(factory=list)
    ends: Counter[End] = attrs.field(factory=Counter)
    served_at: list[float] = attrs.field(factory=list)
    waits: list[float] = attrs.field(factory=list)
    complaints: list[str] = attrs.field(factory=list)
    reprioritised: int = 0
    held: int = 0
    deaths: int = 0

    def begin(self, requester: str, labels: Sequence[str]) -> Account:
        account = Account(requester, labels, time.monotonic())
        self.open.append(account)
        return account

    def close(self, account: Account, end: End) -> None:
        """:raises AssertionError: it has ended already."""
        assert account.end is None, f"{account} has ended as {account.end}, now as {end}"
        account.end = end
        self.open.remove(account)
        self.ends[end] += 1

    def answered(self, account: Account) -> None:
        """It was fulfilled."""
        now = time.monotonic()
        self.served_at.append(now)
        self.waits.append(now - account.began)

    def complain(self, words: str) -> None:
        self.complaints.append(words)
